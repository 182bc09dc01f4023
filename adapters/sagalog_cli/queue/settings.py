"""The commands `queue ls`, `holders`, `limit`, `pause` and `resume`: what may run of a queue, for operators.

Rule: they say what is to be, and hold for every task of a queue, whether `queue push` or another caller has created it.
The names are those of `Engine.limit_queue`, on the command line with hyphens.
"""

from __future__ import annotations

from typing import Any

import click

from sagalog import Engine, QueueStatus
from sagalog_cli import arguments, json_output, settings_tables
from sagalog_cli.session import Session, StoreCommand, actor_option, now_ms, pass_session
from sagalog_cli.tables import show_line, show_table
from sagalog_cli.times import exact_duration

key_option = click.option("--key", help="Only the tasks of this key in the queue.")
_RATE = "UNITS/PERIOD[:BURST]"


@click.command("ls", cls=StoreCommand, short_help="List the queues that have limits or pauses.")
@pass_session
def list_queues(session: Session) -> None:
    """List the queues that have limits or pauses, by name, and the keys in them that are paused.

    `sagalog stats` counts the tasks of every queue.
    """
    with session.open() as engine:
        found = engine.queues()
    session.answer_each(
        lambda: map(json_output.queue_status, found), lambda: show_table(settings_tables.queues(found, now_ms()))
    )
    if not found:
        session.note("empty", "no queue has a limit or a pause; `sagalog stats` lists every queue")


@click.command("holders", cls=StoreCommand, short_help="List the tasks that have units of a queue's limits.")
@click.argument("queue")
@key_option
@pass_session
def holders(session: Session, queue: str, key: str | None) -> None:
    """List the tasks that have units of the limits of a queue, or of one key in it, the oldest first."""
    with session.open() as engine:
        found = engine.holders(queue=queue, key=key)
    session.answer_each(
        lambda: [json_output.holder(id, units) for id, units in found],
        lambda: show_table(settings_tables.holders(found)),
    )
    if not found:
        where = f"queue {queue!r}" if key is None else f"the key {key!r} of queue {queue!r}"
        session.note("empty", f"no task has a unit of {where}")


@click.command("limit", cls=StoreCommand, short_help="Limit how much of a queue runs.")
@click.argument("queue")
@click.option("--slots", type=int, help="How many of its tasks may run at a time.")
@click.option("--rate", metavar=_RATE, callback=arguments.rate, help="How many may start per period, as in 10/60s.")
@click.option("--per-key-slots", type=int, help="How many of each key may run at a time.")
@click.option("--per-key-rate", metavar=_RATE, callback=arguments.rate, help="How many of each key may start.")
@arguments.breaker_option
@click.option("--unlimited", is_flag=True, help="Take all limits of the queue away.")
@actor_option
@pass_session
def limit(session: Session, /, queue: str, unlimited: bool, actor: str, **given: Any) -> None:
    """Limit how many tasks of a queue, and of each key in it, run at a time or start per period.

    What you leave out is not limited any more. Tasks that run go on, and count.
    """
    limits = {name: value for name, value in given.items() if value is not None}
    if unlimited == bool(limits):
        raise click.UsageError(
            "--unlimited takes all limits away: leave out the others"
            if unlimited
            else "nothing to limit: give one of the options, such as --slots, or --unlimited"
        )
    with session.open_for(actor, lambda stage: stage.limit_queue(queue, **limits)) as engine:
        engine.limit_queue(queue, **limits)
        _answer(session, engine, queue)


@click.command("set", cls=StoreCommand, short_help="Set in which order a queue is claimed.")
@click.argument("queue")
@click.option(
    "--affinity-wait",
    "affinity_wait_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long claims may pass over a ready task of another affinity, as in 60s.  [default: without end]",
)
@actor_option
@pass_session
def set_queue(session: Session, queue: str, affinity_wait_ms: int | None, actor: str) -> None:
    """Set for how long claims of a queue may prefer an affinity to a ready task of another one; then that goes first.

    What you leave out is not bounded any more.
    """
    with session.open_for(actor, lambda stage: stage.set_queue(queue, affinity_wait_ms=affinity_wait_ms)) as engine:
        engine.set_queue(queue, affinity_wait_ms=affinity_wait_ms)
        _answer(session, engine, queue)


@click.command("pause", cls=StoreCommand, short_help="Let no task of a queue start.")
@click.argument("queue")
@click.argument("reason", required=False)
@key_option
@actor_option
@pass_session
def pause(session: Session, queue: str, reason: str | None, key: str | None, actor: str) -> None:
    """Let no task of a queue, or of one key in it, start until `resume`; those that run go on."""
    with session.open(actor=actor) as engine:
        engine.pause(queue=queue, key=key, reason=reason)
        _answer(session, engine, queue)


@click.command("resume", cls=StoreCommand, short_help="Let tasks of a queue start again.")
@click.argument("queue")
@key_option
@actor_option
@pass_session
def resume(session: Session, queue: str, key: str | None, actor: str) -> None:
    """Let tasks of a queue, or of one key in it, start again: what was paused by itself is resumed by itself."""
    with session.open(actor=actor) as engine:
        engine.resume(queue=queue, key=key)
        _answer(session, engine, queue)


def _answer(session: Session, engine: Engine, name: str) -> None:
    found = next((one for one in engine.queues() if one.name == name), None)
    status = found or QueueStatus(name, None, None, None, None, 0, None, False, {})
    session.answer(lambda: json_output.queue_status(status), lambda: show_line(_told(status)))


def _told(one: QueueStatus) -> str:
    """Return one sentence about a queue after a write."""
    limits = {
        "": None if one.slots is None else f"{one.slots} slots",
        "rate ": settings_tables.rate(one.rate) or None,
        "per key ": None if one.per_key_slots is None else f"{one.per_key_slots} slots",
        "per key rate ": settings_tables.rate(one.per_key_rate) or None,
        "breaker ": settings_tables.breaker(one.breaker) or None,
        "affinities wait ": None if one.affinity_wait_ms is None else exact_duration(one.affinity_wait_ms),
    }
    said = [name + value for name, value in limits.items() if value is not None] or ["no limit"]
    said += ["paused"] if one.paused else []
    said += [f"paused keys: {', '.join(one.paused_keys)}"] if one.paused_keys else []
    return f"queue {one.name}: {', '.join(said)}"
