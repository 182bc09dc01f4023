"""The commands `queue ls`, `holders`, `limit`, `pause` and `resume`: what may run of a queue, for operators.

Rule: they say what is to be, and hold for every task of a queue, whether `queue push` or another caller has created it.
The names are those of `Engine.limit_queue`, on the command line with hyphens.
"""

from __future__ import annotations

from typing import Any

import click

from sagalog import Engine, QueueStatus
from sagalog_cli import arguments, json_output, settings_tables
from sagalog_cli.no_task import note_if_unused
from sagalog_cli.paused import note_if_before
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
        before = _status(engine, queue)
        engine.limit_queue(queue, **limits)
        _answer(session, engine, queue, before)
        note_if_unused(session, engine, queue=queue)


@click.command("set", cls=StoreCommand, short_help="Set in which order a queue is claimed.")
@click.argument("queue")
@click.option(
    "--affinity-wait",
    "affinity_wait_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="How long claims may pass over a ready task of another affinity, as in 60s; or",
)
@click.option("--no-affinity-wait", "unbounded", is_flag=True, help="without end, as of a queue that was never set.")
@actor_option
@pass_session
def set_queue(session: Session, queue: str, affinity_wait_ms: int | None, unbounded: bool, actor: str) -> None:
    """Set for how long claims of a queue may prefer an affinity to a ready task of another; then that goes first."""
    if unbounded == (affinity_wait_ms is not None):
        raise click.UsageError(
            "--no-affinity-wait takes the bound away: leave out --affinity-wait"
            if unbounded
            else "nothing to set: give --affinity-wait, or --no-affinity-wait"
        )
    with session.open_for(actor, lambda stage: stage.set_queue(queue, affinity_wait_ms=affinity_wait_ms)) as engine:
        before = _status(engine, queue)
        engine.set_queue(queue, affinity_wait_ms=affinity_wait_ms)
        _answer(session, engine, queue, before)
        note_if_unused(session, engine, queue=queue)


@click.command("pause", cls=StoreCommand, short_help="Let no task of a queue start.")
@click.argument("queue")
@click.argument("reason", required=False)
@key_option
@actor_option
@pass_session
def pause(session: Session, queue: str, reason: str | None, key: str | None, actor: str) -> None:
    """Let no task of a queue, or of one key in it, start until `resume`; those that run go on."""
    with session.open(actor=actor) as engine:
        status = _status(engine, queue)
        before = status.pause if key is None else status.paused_keys.get(key)
        engine.pause(queue=queue, key=key, reason=reason)
        _answer(session, engine, queue)
        note_if_unused(session, engine, queue=queue)
    what = f"the queue {queue!r}" if key is None else f"the key {key!r} of the queue {queue!r}"
    note_if_before(session, what, before)


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


def _status(engine: Engine, name: str) -> QueueStatus:
    found = next((one for one in engine.queues() if one.name == name), None)
    return found or QueueStatus(name, None, None, None, None, 0, None, False, {})


def _answer(session: Session, engine: Engine, name: str, before: QueueStatus | None = None) -> None:
    status = _status(engine, name)
    session.answer(lambda: json_output.queue_status(status), lambda: show_line(_told(status, before or status)))


def _told(one: QueueStatus, before: QueueStatus) -> str:
    """Return one sentence about a queue after a write: all that is set now, and what was set before it."""
    limits = _limits(one)
    said = list(limits.values()) or ["no limit"]
    said += ["paused"] if one.paused else []
    said += [f"paused keys: {', '.join(one.paused_keys)}"] if one.paused_keys else []
    taken = [text for name, text in _limits(before).items() if name not in limits]
    return f"queue {one.name}: {', '.join(said)}" + (f"; taken away: {', '.join(taken)}" if taken else "")


def _limits(one: QueueStatus) -> dict[str, str]:
    """Return what is set of a queue, in words, by the option that sets it."""
    limits = {
        "slots": None if one.slots is None else settings_tables.slots(one.slots),
        "rate": _with("rate", settings_tables.rate(one.rate)),
        "per_key_slots": None if one.per_key_slots is None else f"per key {settings_tables.slots(one.per_key_slots)}",
        "per_key_rate": _with("per key rate", settings_tables.rate(one.per_key_rate)),
        "breaker": _with("breaker", settings_tables.breaker(one.breaker)),
        "affinity_wait": None
        if one.affinity_wait_ms is None
        else f"affinities wait {exact_duration(one.affinity_wait_ms)}",
    }
    return {name: text for name, text in limits.items() if text is not None}


def _with(name: str, text: str) -> str | None:
    return f"{name} {text}" if text else None
