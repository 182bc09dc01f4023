"""The command `create`: one task from the command line, or many from JSON lines, slice by slice.

Rule: the names are those of `Engine.create`, on the command line with hyphens. A refusal names the option or the line,
and the command has then written neither that line nor any other line of its slice.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import click
import msgspec

from sagalog import Compensation, Dedupe, Engine, Retry, SagalogError, Task, Unknown
from sagalog_cli import arguments, json_output, task_options
from sagalog_cli.interrupts import Delay, heeding
from sagalog_cli.progress import bar
from sagalog_cli.session import Session, StoreCommand, actor_option, advised, idempotency_key_option, pass_session
from sagalog_cli.slices import Account, Slice, input_bytes, read_slices
from sagalog_cli.tables import show_line

UNSET: Final = msgspec.UNSET
# How many tasks a note names that have a dedupe key already.
_EXISTING_SHOWN: Final = 8


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
    deadline_ms: int | None = None
    start_by_ms: int | None = None
    after: list[str] | msgspec.UnsetType = UNSET
    on_failed: str | msgspec.UnsetType = UNSET
    uses: dict[str, int] | None = None
    dedupe: Dedupe | None = None
    build: str | None = None
    actor: str | None = None
    cause: str | None = None
    idempotency_key: str | None = None


@click.command("create", cls=StoreCommand, short_help="Create a task, or many from JSON lines.")
@click.argument("kind", required=False)
@click.argument("payload", callback=arguments.payload, required=False)
@click.option("--many", is_flag=True, help="Read tasks from standard input, one JSON object a line.")
@click.option("--id", help="The task's id.  [default: a new ULID]")
@task_options.queue_option
@task_options.priority_option
@task_options.affinity_option
@task_options.key_option
@task_options.build_option
@click.option(
    "--run-at",
    "run_at_ms",
    metavar="TIME",
    callback=arguments.instant,
    help="When the task is due: milliseconds, ISO 8601, or +10m from now.",
)
@task_options.deadline_option
@task_options.start_by_option
@task_options.retry_option
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE",
    multiple=True,
    callback=arguments.inputs,
    help="Keep the bytes of a file with the task under NAME. Repeatable.",
)
@click.option(
    "--compensation",
    "compensations",
    metavar="KIND[=JSON]",
    multiple=True,
    callback=arguments.compensations,
    help="A planned undo: kind and params, or a JSON object with kind, params, reason, id. Repeatable.",
)
@task_options.waiver_option
@task_options.tag_option
@task_options.correlation_option
@click.option("--parent", metavar="ID", help="The task to which it belongs.")
@click.option("--trace", help="A W3C traceparent.")
@click.option("--tracestate", help="The W3C tracestate of that traceparent.")
@click.option("--data-key", metavar="NAME", help="The name of the key of its subject.  [default: the task's id]")
@click.option("--after", metavar="ID", multiple=True, help="A task that has to end before this one. Repeatable.")
@click.option(
    "--on-failed",
    type=click.Choice(["cancel", "run", "quarantine"]),
    help="What becomes of this task if one of those does not complete.  [default: cancel]",
)
@task_options.use_option
@click.option("--dedupe", metavar="KEY", help="A key of which its kind has one task at most; it gives that one.")
@click.option(
    "--dedupe-scope",
    type=click.Choice(["live", "period", "ever"]),
    help="How long the task has that key: while it lives, for a period, or for ever.  [default: live]",
)
@click.option(
    "--dedupe-period",
    "dedupe_period_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long from its creation, as in 24h; with --dedupe-scope period.",
)
@click.option("--cause", metavar="EVENT", help="The event that causes it, as in task/ID@7.")
@actor_option
@idempotency_key_option
@pass_session
def create(session: Session, /, many: bool, actor: str, **given: Any) -> None:
    """Create a task of KIND and print its id; PAYLOAD is JSON, `-` reads it from standard input.

    Repeat the command with the same --id or --idempotency-key and content, and it prints the task that exists. Where a
    task of KIND has the key of --dedupe, the command prints that task, whatever else it says, and leaves a note.

    With --many every line of standard input is one task, as in {"kind": "build", "payload": {"n": 1}}. One commit
    creates up to 10,000 lines (or 16 MiB), or none of them; more lines take one commit after another.
    """
    wanted = {name: value for name, value in given.items() if value is not None and value not in ([], {}, ())}
    if many:
        if wanted:
            raise click.UsageError(f"--many takes everything from the lines: leave out {_option_names(wanted)}")
        _create_lines(session, actor)
        return
    _take_dedupe(wanted)
    if "kind" not in wanted:
        raise click.UsageError("Missing argument 'KIND': what is the task to do? (--many reads tasks from lines)")
    _answer(session, [_create_one(session, actor, wanted)])


def _take_dedupe(wanted: dict[str, Any]) -> None:
    """Make one argument of the options of a dedupe key."""
    given = {
        name: wanted.pop(option)
        for name, option in (("key", "dedupe"), ("scope", "dedupe_scope"), ("period_ms", "dedupe_period_ms"))
        if option in wanted
    }
    if given and "key" not in given:
        raise click.UsageError("--dedupe-scope and --dedupe-period say nothing without --dedupe: give a key there")
    if given:
        wanted["dedupe"] = Dedupe(**given)


def _answer(session: Session, tasks: list[Task]) -> None:
    def show_ids() -> None:
        for task in tasks:
            show_line(task.id)

    session.answer_each(lambda: map(json_output.task, tasks), show_ids)
    existing = [task for task in tasks if task.deduplicated]
    if existing:
        what = "a task has" if len(existing) == 1 else f"{len(existing):,} tasks have"
        ids = [task.id for task in existing]
        session.note(
            "deduplicated",
            f"{what} the dedupe key already, so nothing was created: {', '.join(ids[:_EXISTING_SHOWN])}",
            tasks=ids,
        )


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
    """Create the tasks of the lines, a commit a slice, and answer each slice once it is durable.

    A signal waits until the current slice is created and answered; a second one does not.
    """
    account, delay, slices, total = Account(), Delay(), read_slices(_spec), input_bytes()
    with heeding(signal.SIGTERM), account.reporting(), ExitStack() as opened:
        found = next(slices, None)
        if found is None:
            session.note("empty", "standard input held no line: nothing to create")
            return
        engine = opened.enter_context(session.open_for(actor, partial(_create_slice, slice=found)))
        # Not before: a remark of the opening would share its line.
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
    """Return the arguments that a line gives, without those that it leaves out."""
    given = msgspec.convert(arguments.decode(line), NewTask)
    named = {name: getattr(given, name) for name in NewTask.__struct_fields__}
    return {name: value for name, value in named.items() if value is not UNSET}


def _option_names(wanted: dict[str, Any]) -> str:
    """Return the arguments by their names on the command line."""
    params = click.get_current_context().command.params
    return ", ".join(
        max(param.opts, key=len) if isinstance(param, click.Option) else str(param.name).upper()
        for param in params
        if param.name in wanted
    )
