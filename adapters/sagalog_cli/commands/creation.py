"""`create`: one task from the command line, or many from JSON lines, slice by slice.

Rule: the names are those of `Engine.create`, on the command line with hyphens. What is refused is named by its option
or by its line, and then nothing of it was written, nor of the lines of its slice.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import click
import msgspec

from sagalog import Compensation, Engine, Retry, SagalogError, Task, Unknown
from sagalog_cli import arguments, json_output
from sagalog_cli.interrupts import Delay, heeding
from sagalog_cli.progress import bar
from sagalog_cli.session import Session, StoreCommand, actor_option, advised, idempotency_key_option, pass_session
from sagalog_cli.slices import Account, Slice, input_bytes, read_slices
from sagalog_cli.tables import show_line

UNSET: Final = msgspec.UNSET


class NewTask(msgspec.Struct, forbid_unknown_fields=True):
    """One line of `--many`: the arguments of `Engine.create` by name, times in milliseconds, bytes as base64."""

    kind: str
    payload: Any = None
    id: str | None = None
    queue: str | msgspec.UnsetType = UNSET
    priority: int | msgspec.UnsetType = UNSET
    affinity: str | None = None
    key: str | None = None
    run_at_ms: int | None = None
    retry: Retry | None = None
    inputs: dict[str, bytes] | None = None
    compensations: list[Compensation] | msgspec.UnsetType = UNSET
    waive_compensation: str | None = None
    tags: dict[str, str] | None = None
    correlation_id: str | None = None
    parent: str | None = None
    trace: str | None = None
    tracestate: str | None = None
    data_key: str | None = None
    actor: str | None = None
    cause: str | None = None
    idempotency_key: str | None = None


@click.command("create", cls=StoreCommand, short_help="Create a task, or many from JSON lines.")
@click.argument("kind", required=False)
@click.argument("payload", callback=arguments.payload, required=False)
@click.option("--many", is_flag=True, help="Read JSON lines from standard input, each an object of create's arguments.")
@click.option("--id", help="The task's id; a ULID is drawn if left out.")
@click.option("--queue", help="Where it waits.  [default: default]")
@click.option("--priority", type=int, help="Smaller runs first.  [default: 0]")
@click.option("--affinity", help="A hint that claims may ask for.")
@click.option("--key", help="A name to group tasks by; no claim looks at it.")
@click.option(
    "--run-at",
    "run_at_ms",
    metavar="TIME",
    callback=arguments.instant,
    help="Not due before: milliseconds, ISO 8601, or +10m from now.",
)
@click.option(
    "--retry",
    multiple=True,
    metavar="NAME=VALUE",
    callback=arguments.retry,
    help="A budget or delay, as in attempts_max=5; none is without end. Repeatable.",
)
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    callback=arguments.inputs,
    help="The bytes of a file, kept with the task under NAME. Repeatable.",
)
@click.option(
    "--compensation",
    "compensations",
    metavar="KIND[=JSON]",
    multiple=True,
    callback=arguments.compensations,
    help="A planned undo, with params as JSON, or a JSON object with kind, params, reason, id. Repeatable.",
)
@click.option("--waive-compensation", metavar="REASON", help="Why this task may fail without any compensation.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", callback=arguments.tags, help="Repeatable.")
@click.option("--correlation-id", help="What it belongs together with.")
@click.option("--parent", metavar="ID", help="The task that it belongs to.")
@click.option("--trace", help="A W3C traceparent.")
@click.option("--tracestate", help="The W3C tracestate that stands beside it.")
@click.option("--data-key", metavar="NAME", help="The name of its subject's key.  [default: the task's id]")
@click.option("--cause", metavar="EVENT", help="The event because of which it is created, as in task/ID@7.")
@actor_option
@idempotency_key_option
@pass_session
def create(session: Session, /, many: bool, actor: str, **given: Any) -> None:
    """Create a task of KIND and print its id; PAYLOAD is JSON, `-` reads it from standard input.

    The same --id or --idempotency-key again, with the same content, gives the task that exists.

    With --many every line of standard input is one task, as in {"kind": "build", "payload": {"n": 1}}. Up to 10,000
    lines (or 16 MiB of them) are created in one commit, or none of them; of more, one such slice after another.
    """
    wanted = {name: value for name, value in given.items() if value is not None and value not in ([], {})}
    if many:
        if wanted:
            raise click.UsageError(f"--many takes everything from the lines: leave out {_spelled(wanted)}")
        _create_lines(session, actor)
        return
    if "kind" not in wanted:
        raise click.UsageError("Missing argument 'KIND': what is the task to do? (--many reads tasks from lines)")
    _answer(session, [_create_one(session, actor, wanted)])


def _answer(session: Session, tasks: list[Task]) -> None:
    def show_ids() -> None:
        for task in tasks:
            show_line(task.id)

    session.answer_each(lambda: map(json_output.task, tasks), show_ids)


def _create_one(session: Session, actor: str, wanted: dict[str, Any]) -> Task:
    given = wanted.pop("payload", None)
    if given is arguments.STDIN:
        given = arguments.Payload(arguments.read_json())
    payload = None if given is None else given.value

    def work(engine: Engine) -> Task:
        try:
            return engine.create(payload=payload, **wanted)
        except Unknown as error:
            raise advised(error, "repeat the command with that --id, or with the same --idempotency-key") from error

    return session.carry_out(actor, work)


def _create_lines(session: Session, actor: str) -> None:
    """Create what the lines say, a commit a slice, and answer each slice once it is durable.

    A signal waits for the end of the slice that is under way, its answer included; a second one does not.
    """
    account, delay, slices, total = Account(), Delay(), read_slices(_spec), input_bytes()
    with heeding(signal.SIGTERM), account.telling(), ExitStack() as opened:
        found = next(slices, None)
        if found is None:
            session.note("empty", "standard input held no line: nothing to create")
            return
        engine = opened.enter_context(session.open_for(actor, partial(_create_slice, slice=found)))
        # Not before: a remark of the opening would stand in its line.
        progress = opened.enter_context(bar(session, "create", total))
        began_s = time.monotonic()
        while found is not None:
            with delay:
                with account.landing(found):
                    tasks = _create_slice(engine, found)
                progress.make_room()
                _answer(session, tasks)
            rate = account.created / max(time.monotonic() - began_s, 0.001)
            progress.show(account.size_bytes, total, f"{account.created:,} tasks, {rate:,.0f}/s")
            # What is done is let go before more is read.
            found, tasks = None, []
            found = next(slices, None)


def _create_slice(engine: Engine, slice: Slice[dict[str, Any]]) -> list[Task]:
    try:
        return engine.create_many(slice.values)
    except SagalogError as error:
        raise arguments.by_line(error, slice.numbers) from error


def _spec(line: bytes) -> dict[str, Any]:
    """The arguments that a line gives; what it leaves out is left out."""
    given = msgspec.convert(arguments.decode(line), NewTask)
    named = {name: getattr(given, name) for name in NewTask.__struct_fields__}
    return {name: value for name, value in named.items() if value is not UNSET}


def _spelled(wanted: dict[str, Any]) -> str:
    """The arguments as they stand on the command line."""
    params = click.get_current_context().command.params
    return ", ".join(
        max(param.opts, key=len) if isinstance(param, click.Option) else str(param.name).upper()
        for param in params
        if param.name in wanted
    )
