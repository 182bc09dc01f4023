"""Commands that write, but for `create`: `init`, what operators do to a task, and upkeep.

Rule: an operator's write names who asked, takes an `--idempotency-key` as its identity, and answers with the task as it
is now; `retry` with the one that takes its place.
"""

from __future__ import annotations

import shlex
from typing import Any

import click

from sagalog import ResultRequired, Task
from sagalog_cli import arguments, json_output, render
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
    """Make a new store; one that exists is opened, looked at and left as it is."""
    engine, made = session.open_or_make()
    with engine:
        session.answer(
            lambda: json_output.founded(engine, session.url, made),
            lambda: show_line(f"{'made' if made else 'found'} store {engine.store_id} at {session.url}"),
        )


@click.command("cancel", cls=StoreCommand, short_help="Call a task off.")
@click.argument("id")
@click.option("--reason", metavar="TEXT", help="Why.")
@click.option("--now", is_flag=True, help="End its lease too, instead of asking its owner to stop.")
@actor_option
@idempotency_key_option
@pass_session
def cancel(session: Session, id: str, reason: str | None, now: bool, actor: str, idempotency_key: str | None) -> None:
    """Call a task off: at once where no worker holds it, else its owner is asked to stop.

    What the task owes is compensated first. Asking again changes nothing.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.cancel(whole_id(engine, id), reason, now, idempotency_key=idempotency_key))


@click.command("quarantine", cls=StoreCommand, short_help="Take a task out of circulation.")
@click.argument("id")
@click.option("--reason", metavar="TEXT", required=True, help="What a human has to look at.")
@actor_option
@idempotency_key_option
@pass_session
def quarantine(session: Session, id: str, reason: str, actor: str, idempotency_key: str | None) -> None:
    """Take a task out of circulation until a human has looked; it ends here, and what it owes is named."""
    with session.open(actor=actor) as engine:
        _answer(session, engine.quarantine(whole_id(engine, id), reason, idempotency_key=idempotency_key))


@click.command("retry", cls=StoreCommand, short_help="Let a successor take the place of an ended task.")
@click.argument("id")
@click.option(
    "--result",
    "results",
    multiple=True,
    metavar="STEP=JSON",
    callback=arguments.results,
    help="The result of a step that has none on record, or whose undo a note has settled. Repeatable.",
)
@click.option(
    "--rerun", multiple=True, metavar="STEP", help="Such a step runs again: its effect may come twice. Repeatable."
)
@actor_option
@idempotency_key_option
@pass_session
def retry(
    session: Session, id: str, results: dict[str, Any], rerun: tuple[str, ...], actor: str, idempotency_key: str | None
) -> None:
    """Let a successor take the place of a task that has ended without success; prints the successor's id.

    It has the same work and fresh budgets, and takes over what is still owed. Of a task that was quarantined in its
    forward work it keeps the steps, the sleeps that are over, and the signals that its waits took; a signal that no
    wait had taken is not handed on: send it to the successor. Asking again gives the same successor.
    """
    with session.open(actor=actor) as engine:
        try:
            successor = engine.retry_as_new(
                whole_id(engine, id), results=results, rerun=rerun, idempotency_key=idempotency_key
            )
        except ResultRequired as error:
            kept = " ".join(f"--result {shlex.quote(step)}=JSON" for step in error.steps)
            again = " ".join(f"--rerun {shlex.quote(step)}" for step in error.steps)
            advice = f"look at what each step has done; then, for each: {kept} keeps it, and {again} carries it out"
            raise advised(error, advice) from error
    session.answer(lambda: json_output.task(successor), lambda: show_line(successor.id))


@click.command("note", cls=StoreCommand, short_help="Leave a remark on a task.")
@click.argument("id")
@click.argument("text")
@click.option("--settles", multiple=True, metavar="COMPENSATION", help="Settled by hand, after the end. Repeatable.")
@actor_option
@idempotency_key_option
@pass_session
def note(
    session: Session, id: str, text: str, settles: tuple[str, ...], actor: str, idempotency_key: str | None
) -> None:
    """Leave a remark on a task, in any state.

    After its end the remark may also settle compensations that are still owed.
    """
    with session.open(actor=actor) as engine:
        _answer(session, engine.note(whole_id(engine, id), text, settles, idempotency_key=idempotency_key))


@click.command("waive", cls=StoreCommand, short_help="Settle one owed compensation by word.")
@click.argument("id")
@click.argument("compensation")
@click.option("--reason", metavar="TEXT", required=True, help="Why it need not be undone.")
@actor_option
@idempotency_key_option
@pass_session
def waive(session: Session, id: str, compensation: str, reason: str, actor: str, idempotency_key: str | None) -> None:
    """Settle one owed COMPENSATION of a live task by word; `show` lists their ids."""
    with session.open(actor=actor) as engine:
        _answer(session, engine.waive(whole_id(engine, id), compensation, reason, idempotency_key=idempotency_key))


@click.command("signal", cls=StoreCommand, short_help="Tell a task something that it waits for.")
@click.argument("id")
@click.argument("name")
@click.argument("data", callback=arguments.payload, required=False)
@actor_option
@idempotency_key_option
@pass_session
def signal(
    session: Session, id: str, name: str, data: arguments.Payload | None, actor: str, idempotency_key: str | None
) -> None:
    """Tell a task something: a wait for the signal NAME takes it, now or whenever it begins.

    DATA is JSON that the task gets with it; `-` reads it from standard input. Each signal is taken once: without
    --idempotency-key the same command again sends another one.
    """
    given = arguments.Payload(arguments.read_json()) if data is arguments.STDIN else data
    with session.open(actor=actor) as engine:
        value = None if given is None else given.value
        task = engine.signal(whole_id(engine, id), name, value, idempotency_key=idempotency_key)
        _answer(session, task)


@click.command("recover", cls=StoreCommand, short_help="Do all upkeep that is due.")
@click.option("--limit", type=LIMIT, metavar="N", help="At most so many tasks.")
@click.option(
    "--unknown-kind",
    "unknown_kinds",
    multiple=True,
    metavar="KIND",
    help="A compensation kind that no worker can carry out: a task that owes one is quarantined. Repeatable.",
)
@pass_session
def recover(session: Session, limit: int | None, unknown_kinds: tuple[str, ...]) -> None:
    """Do all upkeep that is due: end leases that are over, let in what has become due, quarantine overdue undos.

    One line for each task that was touched. Doing it again changes nothing more.
    """
    with session.open() as engine:
        done = engine.recover(limit, unknown_kinds)
    session.answer_each(lambda: map(json_output.maintained, done), lambda: show_table(render.maintained(done)))
    if not done:
        session.note("empty", "nothing was due")


def _answer(session: Session, task: Task) -> None:
    session.answer(lambda: json_output.task(task), lambda: show_line(render.outcome(task)))
