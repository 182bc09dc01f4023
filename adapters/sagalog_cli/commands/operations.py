"""The commands `init`, `cancel`, `quarantine`, `retry`, `amend`, `note`, `waive`, `signal`, `recover`: operators write.

Rule: an operator's write names who asks, takes an `--idempotency-key` as its identity, and answers with the task as it
is now; `retry` answers with the successor.
"""

from __future__ import annotations

import shlex
from typing import Any, Final

import click
import msgspec

from sagalog import ResultRequired, Retry, Task
from sagalog_cli import arguments, json_output, render, task_options
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import (
    LIMIT,
    Session,
    StoreCommand,
    actor_option,
    advised,
    idempotency_key_option,
    pass_session,
)
from sagalog_cli.tables import show_line, show_table


@click.command("init", cls=StoreCommand, short_help="Make a new store.")
@pass_session
def init(session: Session) -> None:
    """Make a new store; if it exists, open it and leave it as it is."""
    engine, made = session.open_or_make()
    with engine:
        session.answer(
            lambda: json_output.founded(engine, session.url, made),
            lambda: show_line(f"{'made' if made else 'found'} store {engine.store_id} at {session.url}"),
        )


@click.command("cancel", cls=StoreCommand, short_help="Cancel a task.")
@click.argument("id")
@click.option("--reason", metavar="TEXT", help="Why.")
@click.option("--now", is_flag=True, help="End its lease too; do not wait for its owner to stop.")
@actor_option
@idempotency_key_option
@pass_session
def cancel(session: Session, id: str, reason: str | None, now: bool, actor: str, idempotency_key: str | None) -> None:
    """Cancel a task: at once if no worker holds it; otherwise ask its owner to stop.

    The task first undoes what it owes; `show` follows that. A second call changes nothing.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.cancel(whole_id(engine, id), reason, now, idempotency_key=idempotency_key))


@click.command("quarantine", cls=StoreCommand, short_help="End a task for a human to look at.")
@click.argument("id")
@click.option("--reason", metavar="TEXT", required=True, help="What a human has to look at.")
@actor_option
@idempotency_key_option
@pass_session
def quarantine(session: Session, id: str, reason: str, actor: str, idempotency_key: str | None) -> None:
    """End a task so that a human can look at it; no worker claims it again.

    `show` lists what it still owes; settle that by `note --settles`, or continue with `retry`.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.quarantine(whole_id(engine, id), reason, idempotency_key=idempotency_key))


@click.command("retry", cls=StoreCommand, short_help="Retry an ended task as a new one.")
@click.argument("id")
@click.option(
    "--result",
    "results",
    multiple=True,
    metavar="STEP=JSON",
    callback=arguments.results,
    help="State the result of a step without one on record, or whose undo a note has settled. Repeatable.",
)
@click.option(
    "--rerun", multiple=True, metavar="STEP", help="Run such a step again: its effect may happen twice. Repeatable."
)
@task_options.deadline_option
@task_options.start_by_option
@actor_option
@idempotency_key_option
@pass_session
def retry(
    session: Session, /, id: str, results: dict[str, Any], rerun: tuple[str, ...], actor: str, **given: Any
) -> None:
    """Create a successor of a task that has ended without success, and print its id.

    The successor has the same work and fresh budgets, and owes what is still owed. If the task was quarantined in its
    forward work, the successor keeps its steps, the sleeps that are over, and the signals that its waits took. A signal
    that no wait has taken stays behind: send it to the successor. A second call gives the same successor. It has the
    deadlines that you give here, and no other.
    """
    with session.open(actor=actor) as engine:
        try:
            successor = engine.retry_as_new(whole_id(engine, id), results=results, rerun=rerun, **given)
        except ResultRequired as error:
            kept = " ".join(f"--result {shlex.quote(step)}=JSON" for step in error.steps)
            again = " ".join(f"--rerun {shlex.quote(step)}" for step in error.steps)
            advice = f"look at what each step has done; then, for each: {kept} keeps it, and {again} runs it again"
            raise advised(error, advice) from error
    if successor.is_terminal:
        session.note(
            "retried_before",
            f"the task was retried before, and its successor {successor.id} has ended as {successor.state}: "
            "retry the successor to try once more",
            successor=successor.id,
            state=successor.state,
        )
    session.answer(lambda: json_output.task(successor), lambda: show_line(successor.id))


# What `--without` takes away, and its name for the engine.
_WITHOUT: Final = {
    "affinity": "affinity",
    "key": "key",
    "build": "build",
    "deadline": "deadline_ms",
    "start-by": "start_by_ms",
    "use": "uses",
}


@click.command("amend", cls=StoreCommand, short_help="Change a live task.")
@click.argument("id")
@click.option("--queue", help="The queue where it waits.")
@click.option("--priority", type=int, help="Smaller runs first.")
@task_options.affinity_option
@task_options.key_option
@click.option("--build", help="Another build of the workers that may work on it.")
@click.option(
    "--run-at",
    "run_at_ms",
    metavar="TIME",
    callback=arguments.instant,
    help="When it is due: milliseconds, ISO 8601, or +10m from now; +0s: now.",
)
@click.option(
    "--payload",
    metavar="JSON",
    callback=arguments.payload,
    help="Its payload; `-` reads it from standard input. Only before the first lease.",
)
@click.option(
    "--retry",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=arguments.retry_settings,
    help="A budget or delay, as in attempts_max=5; none: no limit. Repeatable.",
)
@task_options.deadline_option
@task_options.start_by_option
@task_options.use(
    "A limit that its work counts under from now on, and how many units it takes, 1 if left out. Those that you give "
    "replace all that the task has. Repeatable."
)
@click.option(
    "--without", multiple=True, type=click.Choice([*_WITHOUT]), help="Take one of these away from it. Repeatable."
)
@actor_option
@idempotency_key_option
@pass_session
def amend(
    session: Session,
    /,
    id: str,
    payload: arguments.Payload | None,
    settings: dict[str, Any],
    without: tuple[str, ...],
    actor: str,
    idempotency_key: str | None,
    **given: Any,
) -> None:
    """Change a live task; an option that you leave out changes nothing, and neither does one that is so already.

    While a worker holds the task, only its deadlines and --retry can change: wait for the end of the lease, or cancel
    the task. A task that has ended never changes: `retry` creates its successor, which you can amend.
    """
    changes = {name: value for name, value in given.items() if value is not None and value != {}}
    for name in without:
        if _WITHOUT[name] in changes:
            raise click.UsageError(f"--without {name}: --{name} is given too; leave one of them out")
        changes[_WITHOUT[name]] = None
    if payload is not None:
        changes["payload"] = arguments.read_json() if payload is arguments.STDIN else payload.value
    if not changes and not settings:
        raise click.UsageError("nothing to change: give one of the options, such as --priority")
    with session.open(actor=actor) as engine:
        whole = whole_id(engine, id)
        before = engine.get(whole)
        if settings:
            policy = {} if before is None else msgspec.structs.asdict(before.policy)
            changes["retry"] = Retry(**{**policy, **settings})
        task = engine.amend(whole, idempotency_key=idempotency_key, **changes)
    changed = [] if before is None else [name for name in changes if _differs(before, task, name)]
    session.answer(lambda: json_output.task(task), lambda: show_line(f"{render.outcome(task)}; {_told(changed)}"))


def _differs(before: Task, after: Task, name: str) -> bool:
    field = "policy" if name == "retry" else name
    return bool(getattr(before, field) != getattr(after, field))


def _told(changed: list[str]) -> str:
    """Return what an amendment has changed, by the names of the options."""
    option_of = {field: option for option, field in _WITHOUT.items()} | {"run_at_ms": "run-at"}
    names = [f"--{option_of.get(name, name)}" for name in changed]
    return f"changed: {', '.join(names)}" if names else "nothing changed"


@click.command("note", cls=StoreCommand, short_help="Put a remark on record for a task.")
@click.argument("id")
@click.argument("text")
@click.option(
    "--settles", multiple=True, metavar="COMPENSATION", help="A compensation that you have undone. Repeatable."
)
@actor_option
@idempotency_key_option
@pass_session
def note(
    session: Session, id: str, text: str, settles: tuple[str, ...], actor: str, idempotency_key: str | None
) -> None:
    """Put a remark on record for a task, in any state.

    After the task's end the remark can also settle compensations that it still owes; `show` lists their ids.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.note(whole_id(engine, id), text, settles, idempotency_key=idempotency_key))


@click.command("waive", cls=StoreCommand, short_help="Settle an owed compensation without undoing it.")
@click.argument("id")
@click.argument("compensation")
@click.option("--reason", metavar="TEXT", required=True, help="Why no worker need undo it.")
@actor_option
@idempotency_key_option
@pass_session
def waive(session: Session, id: str, compensation: str, reason: str, actor: str, idempotency_key: str | None) -> None:
    """Settle one owed COMPENSATION of a live task without undoing it; `show` lists the ids."""
    with session.open(actor=actor) as engine:
        _answer(session, engine.waive(whole_id(engine, id), compensation, reason, idempotency_key=idempotency_key))


@click.command("signal", cls=StoreCommand, short_help="Send a task a signal that it waits for.")
@click.argument("id")
@click.argument("name")
@click.argument("data", callback=arguments.payload, required=False)
@actor_option
@idempotency_key_option
@pass_session
def signal(
    session: Session, id: str, name: str, data: arguments.Payload | None, actor: str, idempotency_key: str | None
) -> None:
    """Send a task the signal NAME: a wait for it takes it, now or whenever the wait begins.

    DATA is JSON that the task gets with it; `-` reads it from standard input. A wait takes each signal once: without
    --idempotency-key, the same command sends another one.
    """
    given = arguments.Payload(arguments.read_json()) if data is arguments.STDIN else data
    with session.open(actor=actor) as engine:
        value = None if given is None else given.value
        task = engine.signal(whole_id(engine, id), name, value, idempotency_key=idempotency_key)
        _answer(session, task)


@click.command("recover", cls=StoreCommand, short_help="Do all maintenance that is due.")
@click.option("--limit", type=LIMIT, metavar="N", help="At most so many tasks.  [default: all]")
@click.option(
    "--unknown-kind",
    "unknown_kinds",
    multiple=True,
    metavar="KIND",
    help="A kind of undo that no worker knows: quarantine every task that owes one. Repeatable.",
)
@pass_session
def recover(session: Session, limit: int | None, unknown_kinds: tuple[str, ...]) -> None:
    """Do all maintenance that is due: end leases that are over, make due tasks ready, quarantine overdue undos.

    It fires schedules that are due, too. Workers do all of it when they claim, so this is for stores without a worker.
    It prints one line for each task that it changes or creates. A second call changes nothing more.
    """
    with session.open() as engine:
        done = engine.recover(limit, unknown_kinds)
    session.answer_each(lambda: map(json_output.maintained, done), lambda: show_table(render.maintained(done)))
    if not done:
        session.note("empty", "nothing was due")


def _answer(session: Session, task: Task) -> None:
    session.answer(lambda: json_output.task(task), lambda: show_line(render.outcome(task)))
