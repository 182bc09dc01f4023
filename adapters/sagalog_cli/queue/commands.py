"""The group `queue` for shells, and its commands `push`, `pop`, `ack`, `nack` and `depth`.

Rule: it promises nothing that `sagalog_queue` does not keep. A command turns words into one call of it, and names an
item by id and fence, so that another process can acknowledge the item.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import click

from sagalog import Engine, InvalidValue, NotFound, SagalogError, Task, Unknown
from sagalog.kernel.bounds import INTEGER_MAX
from sagalog_cli import arguments, json_output, render
from sagalog_cli.lazy_group import LazyGroup, Place
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, actor_option, advised, options, pass_session
from sagalog_cli.tables import Table, show_line, show_table
from sagalog_queue import Item, Queue, default_owner
from sagalog_queue.fifo import NAME, RETURNS_MAX

COMMANDS: Final[dict[str, Place]] = {
    "push": Place("sagalog_cli.queue.commands", "push", "Add an item, or many from JSON lines."),
    "pop": Place("sagalog_cli.queue.commands", "pop", "Take the oldest item that no consumer holds."),
    "ack": Place("sagalog_cli.queue.commands", "ack", "Acknowledge an item that is done."),
    "nack": Place("sagalog_cli.queue.commands", "nack", "Give an item back, or drop it."),
    "depth": Place("sagalog_cli.queue.commands", "depth", "Count the items."),
    "watch": Place("sagalog_cli.queue.watch", "watch", "Count the items after every change."),
    "work": Place("sagalog_cli.queue.work", "work", "Run a command for each item."),
    "ls": Place("sagalog_cli.queue.settings", "list_queues", "List the queues that have limits or pauses."),
    "holders": Place("sagalog_cli.queue.settings", "holders", "List the tasks that have units of a queue's limits."),
    "set": Place("sagalog_cli.queue.settings", "set_queue", "Set in which order a queue is claimed."),
    "limit": Place("sagalog_cli.queue.settings", "limit", "Limit how much of a queue runs."),
    "pause": Place("sagalog_cli.queue.settings", "pause", "Let no task of a queue start."),
    "resume": Place("sagalog_cli.queue.settings", "resume", "Let tasks of a queue start again."),
}

queue_option = click.option(
    "--queue",
    "name",
    metavar="NAME",
    default=NAME,
    show_default=True,
    callback=arguments.name,
    help="The name of the queue.",
)
owner_option = click.option(
    "--owner", metavar="NAME", help="Who holds the item, for the record.  [default: made of the host's name]"
)
visibility_option = click.option(
    "--visibility",
    "visibility_ms",
    metavar="DURATION",
    default="60s",
    show_default=True,
    callback=arguments.visibility,
    help="How long the holder has the item; none: until an ack or nack, even if the holder dies.",
)
delay_option = click.option(
    "--delay",
    "delay_ms",
    metavar="DURATION",
    default="0",
    callback=arguments.duration,
    help="How long before a returned item may be popped again, as in 500ms or 2s.  [default: none]",
)


@click.group("queue", cls=LazyGroup, places=COMMANDS, params=options(), no_args_is_help=False)
def queue() -> None:
    """Push items, pop them first in, first out, and acknowledge what is done.

    An item has one holder at a time. If the holder dies, the item comes back when its visibility is over.

    `ls`, `limit`, `pause` and `resume` are for any queue: they say how many of its tasks, items or others, may run.
    """


# --- items in --------------------------------------------------------------------------------------------------------


@click.command("push", cls=StoreCommand)
@click.argument("payload", required=False)
@click.option("--text", is_flag=True, help="PAYLOAD is plain text and no JSON; the queue stores it as a JSON string.")
@click.option("--many", is_flag=True, help="Add each line of standard input as an item; all, or none.")
@click.option("--id", help="The item's id.  [default: a new ULID]")
@click.option(
    "--returns-max",
    metavar="N",
    default=str(RETURNS_MAX),
    show_default=True,
    callback=arguments.returns_max,
    help="Quarantine the item if it comes back so many times; none: never.",
)
@queue_option
@actor_option
@pass_session
def push(
    session: Session,
    /,
    payload: str | None,
    text: bool,
    many: bool,
    id: str | None,
    name: str,
    actor: str,
    returns_max: int | None,
) -> None:
    """Add an item at the end and print its id; PAYLOAD is JSON, `-` reads it from standard input.

    Repeat the command with the same --id and PAYLOAD, and it adds nothing.
    """

    def of(engine: Engine) -> Queue:
        return Queue(engine, name=name, returns_max=returns_max)

    if not many:
        value = _payload(payload, text)
        ids = [session.carry_out(actor, lambda engine: _push_one(of(engine), value, id))]
    elif payload is not None or id is not None:
        raise click.UsageError(
            f"--many takes items from the lines: leave out {'PAYLOAD' if payload is not None else '--id'}"
        )
    else:
        ids = _push_lines(session, actor, of, arguments.as_text if text else arguments.decode)

    def show_ids() -> None:
        for one in ids:
            show_line(one)

    session.answer_each(lambda: map(json_output.pushed, ids), show_ids)


def _payload(word: str | None, is_text: bool) -> Any:
    """Return the value of the word PAYLOAD."""
    if is_text:
        if word is None:
            raise click.UsageError("--text needs a PAYLOAD: the text, or - for standard input")
        return arguments.read_text() if word == "-" else word
    context = click.get_current_context()
    given = arguments.payload(context, next(one for one in context.command.params if one.name == "payload"), word)
    if given is arguments.STDIN:
        return arguments.read_json()
    return None if given is None else given.value


def _push_one(queue: Queue, payload: Any, id: str | None) -> str:
    try:
        return queue.push(payload, id=id)
    except Unknown as error:
        raise advised(error, "repeat the command with that --id") from error


def _push_lines(session: Session, actor: str, of: Callable[[Engine], Queue], read: Callable[[bytes], Any]) -> list[str]:
    numbers, payloads = arguments.read_batch(read)
    if not payloads:
        session.note("empty", "standard input held no line: nothing to push")
        return []

    def work(engine: Engine) -> list[str]:
        try:
            return of(engine).push_many(payloads)
        except SagalogError as error:
            raise arguments.by_line(error, numbers) from error

    return session.carry_out(actor, work)


# --- items out -------------------------------------------------------------------------------------------------------


@click.command("pop", cls=StoreCommand)
@click.option(
    "--timeout",
    "timeout_ms",
    metavar="DURATION",
    default="0",
    show_default=True,
    callback=arguments.duration,
    help="How long to wait for an item, as in 500ms or 2s.",
)
@owner_option
@visibility_option
@queue_option
@pass_session
def pop(session: Session, timeout_ms: int, owner: str | None, visibility_ms: int | None, name: str) -> None:
    """Take the oldest item that no consumer holds: print its id, fence, attempts and payload, with tabs in between.

    Then acknowledge it by `ack`, or give it back by `nack`. If the queue has no item, the status is 4. If the answer
    cannot be written, the item goes back at once.
    """
    with session.open() as engine:
        queue = Queue(engine, name=name, visibility_ms=visibility_ms)
        item = queue.pop(default_owner() if owner is None else owner, timeout_ms)
        if item is None:
            raise NotFound(
                f"queue {name!r} has nothing to pop", queue=name, hint="push an item, or let --timeout wait for one"
            )
        try:
            session.answer(lambda: json_output.item(item), lambda: _show_item(item))
        except BaseException:
            # The caller does not know that it holds the item.
            with suppress(SagalogError):
                queue.hand_back(item, "the caller that popped it did not get it")
            raise


def _show_item(item: Item) -> None:
    """Write four fields, none empty and none with a tab; as bytes, because JSON is UTF-8 on any terminal."""
    line = f"{item.id}\t{item.lease.fence}\t{item.attempts}\t{json_output.encode(item.payload)}\n"
    sys.stdout.buffer.write(line.encode())


@click.command("ack", cls=StoreCommand)
@click.argument("id")
@click.argument("fence", type=click.IntRange(1, INTEGER_MAX))
@click.option("--queue", "name", metavar="NAME", callback=arguments.name, help="Refuse an item of another queue.")
@pass_session
def ack(session: Session, id: str, fence: int, name: str | None) -> None:
    """Acknowledge an item that is done; ID and FENCE are those that `queue pop` printed.

    A second call changes nothing. If another consumer has the item by now, nothing is acknowledged: status 5.
    """
    _settle(session, id, fence, name, lambda queue, item: queue.ack(item))


@click.command("nack", cls=StoreCommand)
@click.argument("id")
@click.argument("fence", type=click.IntRange(1, INTEGER_MAX))
@click.option("--drop", is_flag=True, help="End the item as failed; it does not come back.")
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@delay_option
@click.option("--queue", "name", metavar="NAME", callback=arguments.name, help="Refuse an item of another queue.")
@pass_session
def nack(
    session: Session, id: str, fence: int, drop: bool, reason: str | None, delay_ms: int, name: str | None
) -> None:
    """Give back an item that is not done; ID and FENCE are those that `queue pop` printed.

    It goes back to the head of the queue, or to quarantine if it has come back too often.
    """
    if drop and delay_ms:
        raise click.UsageError("--drop and --delay: a dropped item does not come back; leave out one of them")
    _settle(
        session,
        id,
        fence,
        name,
        lambda queue, item: queue.nack(item, requeue=not drop, reason=reason, delay_ms=delay_ms),
    )


def _settle(session: Session, id: str, fence: int, name: str | None, verb: Callable[[Queue, Item], bool]) -> None:
    """Carry out a holder's verb and answer with the task of the item as it is then."""
    task: Task | None = None
    with session.open() as engine:
        queue = Queue(engine)
        id = whole_id(engine, id)
        item = queue.resume(id, fence)
        if item is not None:
            found = item.lease.task.queue
            if name is not None and found != name:
                raise InvalidValue(f"--queue: item {id!r} is in {found!r}, not in {name!r}", path="queue")
            verb(queue, item)
            task = engine.get(id)
    if task is None:
        session.note("unknown_item", f"there is no item {id!r}: nothing was changed")
        return
    answered = task
    session.answer(lambda: json_output.task(answered), lambda: show_line(render.outcome(answered)))


# --- what is there ---------------------------------------------------------------------------------------------------


@click.command("depth", cls=StoreCommand)
@queue_option
@pass_session
def depth(session: Session, name: str) -> None:
    """Count the items that wait, those that consumers hold, and those in quarantine."""
    with session.open() as engine:
        queue = Queue(engine, name=name)
        counts = (queue.depth(), queue.in_flight(), len(queue.quarantined()))
    head = ("DEPTH", "IN_FLIGHT", "QUARANTINED")
    session.answer(
        lambda: json_output.depth(name, *counts),
        lambda: show_table(Table(head, [tuple(str(count) for count in counts)])),
    )
