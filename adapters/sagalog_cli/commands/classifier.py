"""The group `command` with its one command `classify`: what a classifier makes of an output in a file.

Rule: it gives the answer that a worker would give for the same output, by the same rules. It opens no store and runs
nothing.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import click

from sagalog.validation.values import check_milliseconds
from sagalog_cli import arguments, json_output
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.session import Session, StoreCommand, now_ms, options, pass_session
from sagalog_cli.tables import Table, show_table
from sagalog_cli.times import duration, instant
from sagalog_command import CLAUDE, CODEX, EXIT_STATUS, GEMINI, Classifier, Ending, Verdict, classify, load_classifier

COMMANDS: Final[dict[str, Place]] = {
    "classify": Place("sagalog_cli.commands.classifier", "classify_output", "Say what the end of a command means."),
}
SHIPPED: Final[Mapping[str, Classifier]] = {each.name: each for each in (CLAUDE, CODEX, GEMINI, EXIT_STATUS)}


@click.group("command", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def command() -> None:
    """Try, without a worker, what a worker would make of the output of a command."""


def _classifier(_: click.Context, param: click.Parameter, given: str) -> Classifier:
    """Return a shipped classifier by its name, or the one of a TOML or JSON file."""
    if given in SHIPPED:
        return SHIPPED[given]
    path = Path(given)
    if path.suffix not in (".toml", ".json"):
        names = ", ".join(SHIPPED)
        raise click.BadParameter(f"{given!r} is none of {names}, and no file of .toml or .json", param=param)
    try:
        text = path.read_bytes().decode()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise click.BadParameter(f"{given}: {error.strerror}", param=param) from error
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"{given} cannot be read as {path.suffix[1:].upper()}: {error}", param=param
        ) from error
    return load_classifier(data, path.name)


def _zone(_: click.Context, param: click.Parameter, given: str | None) -> tzinfo:
    try:
        zone = datetime.now().astimezone().tzinfo if given is None else ZoneInfo(given)
    except (KeyError, ValueError, OSError) as error:
        raise click.BadParameter(f"{given!r} is no zone; give a name like Europe/Lisbon", param=param) from error
    assert zone is not None
    return zone


class OutputFile(click.File):
    """A file of bytes, or `-` for standard input, which may be closed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Open it."""
        if value == "-" and sys.stdin is None:
            self.fail("standard input is closed, and this command reads from it", param, ctx)
        return super().convert(value, param, ctx)


def _ended_ms(context: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """A point in time that the engine takes too."""
    at_ms = arguments.instant(context, param, given)
    return None if at_ms is None else check_milliseconds(at_ms, "--now")


@click.command("classify", cls=StoreCommand, short_help="Say what the end of a command means.")
@click.argument("file", type=OutputFile("rb"))
@click.option(
    "--with",
    "classifier",
    metavar="NAME",
    required=True,
    callback=_classifier,
    help="claude, codex, gemini, exit_status, or a TOML or JSON file with your own classifier.",
)
@click.option(
    "--exit",
    "status",
    type=click.IntRange(-64, 255),
    default=0,
    show_default=True,
    help="The exit status; the negative number of a signal if one has ended the command.",
)
@click.option("--stderr", type=OutputFile("rb"), help="What the command wrote to standard error.")
@click.option("--over-time", is_flag=True, help="The command was ended because its time was over.")
@click.option("--now", "at_ms", metavar="TIME", callback=_ended_ms, help="When the command ended.  [default: now]")
@click.option(
    "--zone",
    metavar="NAME",
    callback=_zone,
    help="The zone of times of day without one.  [default: this machine's]",
)
@pass_session
def classify_output(
    session: Session,
    /,
    file: BinaryIO,
    classifier: Classifier,
    status: int,
    stderr: BinaryIO | None,
    over_time: bool,
    at_ms: int | None,
    zone: tzinfo,
) -> None:
    """Print what a classifier makes of the output in FILE; `-` is standard input.

    FILE holds what the command wrote to standard output. The answer is the class, the rule, how long to wait, and why.
    """
    ending = Ending.from_output(
        classifier,
        status,
        file.read(),
        b"" if stderr is None else stderr.read(),
        is_over_time=over_time,
        zone=zone,
    )
    at_ms = now_ms() if at_ms is None else at_ms
    verdict = classify(classifier, ending, at_ms)
    session.answer(lambda: json_output.classified(verdict), lambda: _show(verdict, at_ms))


def _show(verdict: Verdict, at_ms: int) -> None:
    wait_ms = verdict.retry_after_ms
    wait = "" if wait_ms is None else f"{duration(wait_ms)}, until {instant(at_ms + wait_ms)}"
    fields = [(f"field {name}", _text(value)) for name, value in verdict.fields.items()]
    rows = [
        ("class", str(verdict.class_)),
        ("rule", verdict.rule or "none"),
        ("wait", wait or "none is named"),
        ("why", verdict.message),
        *fields,
    ]
    show_table(Table((), rows))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_output.encode(value)
