"""The options that say what a task is: the same ones where a command creates it and where a schedule does.

Rule: one option, one name, one conversion and one text, whatever command has it. Knows no command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from sagalog_cli import arguments

F = TypeVar("F", bound=Callable[..., Any])

_WHEN: Final = "milliseconds, ISO 8601, or +10m from now."

queue_option = click.option("--queue", help="The queue where the task waits.  [default: default]")
priority_option = click.option("--priority", type=int, help="Smaller runs first.  [default: 0]")
affinity_option = click.option("--affinity", help="A hint, such as a machine; claims may prefer it.")
build_option = click.option("--build", help="The build of the workers that may work on it.  [default: any worker]")
key_option = click.option("--key", help="A name by which to group tasks, and by which their queue may limit them.")
start_by_option = click.option(
    "--start-by",
    "start_by_ms",
    metavar="TIME",
    callback=arguments.instant,
    help=f"Cancel it then if no worker has begun it: {_WHEN}",
)
deadline_option = click.option(
    "--deadline",
    "deadline_ms",
    metavar="TIME",
    callback=arguments.instant,
    help=f"Cancel it then, or ask its worker to stop: {_WHEN}",
)
retry_option = click.option(
    "--retry",
    multiple=True,
    metavar="NAME=VALUE",
    callback=arguments.retry,
    help="A budget or delay, as in attempts_max=5; none: no limit. Repeatable.",
)
waiver_option = click.option(
    "--waive-compensation", metavar="REASON", help="Why the task may fail without a compensation."
)
tag_option = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    callback=arguments.tags,
    help="A tag by which to find the task. Repeatable.",
)
correlation_option = click.option("--correlation-id", help="A name that tasks of one matter share.")


def use(text: str) -> Callable[[F], F]:
    """Return the option of limits, with a text of its own where it changes a task."""
    return click.option("--use", "uses", metavar="LIMIT[=UNITS]", multiple=True, callback=arguments.uses, help=text)


use_option = use("A limit that its work counts under, and how many units it takes, 1 if left out. Repeatable.")
