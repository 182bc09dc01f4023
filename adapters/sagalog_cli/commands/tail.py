"""The command `tail`: it prints the events of the whole log as writers append them, a line each.

Rule: it ends when its reader wants it: on Ctrl-C, on SIGTERM, and with status 0 when the pipe is closed. It saves a
checkpoint only after it has written out everything before. It knows which events to choose, and must not know what they
mean.
"""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

import click

from sagalog import Corrupt, Engine, Recorded, Subscription
from sagalog.kernel.categories import JOURNAL
from sagalog.kernel.events import NAMES, Created
from sagalog_cli import arguments, json_output
from sagalog_cli.interrupts import heeding
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, pass_session
from sagalog_cli.tables import show_table
from sagalog_cli.timeline import followed

# How many events it shows first, and among how many of the newest it looks for them.
SHOWN: Final = 10
LOOKED_AT: Final = 10_000
_PAGE: Final = 500
# How often it looks whether the reader of a pipe has gone; it sees a commit at once.
_LOOK_EVERY_MS: Final = 100
# How many tasks' queues it remembers; a task's queue never changes.
_REMEMBERED: Final = 10_000

Fits = Callable[[Recorded], bool]


@click.command("tail", cls=StoreCommand, short_help="Follow the events of all tasks.")
@click.option(
    "--after",
    type=click.IntRange(0),
    metavar="POSITION",
    help="Begin after this position.  [default: with the last 10]",
)
@click.option("--from-start", is_flag=True, help="Begin with the first event of the log.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for new events, until Ctrl-C.")
# What no name is would fit no event, and the reader would wait for one for ever.
@click.option("--task", metavar="ID", callback=arguments.name, help="Only of this task.")
@click.option("--queue", metavar="NAME", callback=arguments.name, help="Only of the tasks of this queue.")
@click.option(
    "--type",
    "types",
    type=click.Choice(sorted(NAMES.values())),
    metavar="TYPE",
    multiple=True,
    help="Only of this type, as in completed. Repeatable: any of them.",
)
@click.option("--journals", is_flag=True, help="Also the events of journals, which are many.")
@click.option("--name", metavar="NAME", help="Keep a checkpoint under this name, and continue there next time.")
@pass_session
def tail(
    session: Session,
    after: int | None,
    from_start: bool,
    follow: bool,
    task: str | None,
    queue: str | None,
    types: tuple[str, ...],
    journals: bool,
    name: str | None,
) -> None:
    """Follow the events of the whole log, a line each: first the last 10 that fit, then new ones.

    With --name, the next `tail` of that name continues where this one stops, and may repeat the last events.
    """
    if after is not None and from_start:
        raise click.UsageError("--after and --from-start exclude each other")
    begin = 0 if from_start else after
    try:
        with heeding(signal.SIGTERM), session.open() as engine:
            wanted = None if task is None else whole_id(engine, task)
            journals = journals or not frozenset(JOURNAL.events.values()).isdisjoint(types)
            fits = _fitting(engine, wanted, queue, frozenset(types), journals)
            subscription = engine.subscribe(name, _last(engine, fits) if begin is None else begin, journals=journals)
            if begin is not None and subscription.position != begin:
                session.note("resumed", f"{name} goes on after position {subscription.position}, where it stopped")
            _show(session, subscription, fits, None if follow else engine.newest_position())
    except BrokenPipeError as error:
        # Not `return`: Python would offer a closed pipe once more what it did not take.
        raise click.exceptions.Exit(0) from error


def _show(session: Session, subscription: Subscription, fits: Fits, until: int | None) -> None:
    """Write new events, up to the position `until`; None: for ever."""
    shown = 0
    while until is None or subscription.position < until:
        events = subscription.read(_PAGE if until is None else min(_PAGE, until - subscription.position))
        if events:
            fitting = [one for one in events if fits(one)]
            shown += len(fitting)
            _write(session, fitting)
            if subscription.name is not None:
                subscription.save()
        elif not subscription.wait(_LOOK_EVERY_MS):
            if subscription.checkpoint is not None and subscription.position - subscription.checkpoint >= _PAGE:
                # It has passed over so many events of journals that the next reader need not do that again.
                subscription.save()
            require_reader()
    if not shown:
        session.note("empty", "no event fits")


def _write(session: Session, events: Sequence[Recorded]) -> None:
    session.answer_each(
        lambda: (json_output.recorded(one, full=False) for one in events), lambda: show_table(followed(events))
    )


def _fitting(engine: Engine, task: str | None, queue: str | None, types: frozenset[str], journals: bool) -> Fits:
    @lru_cache(_REMEMBERED)
    def queue_of(id: str) -> str | None:
        # The engine cannot say that a task that it cannot read is of another queue.
        with suppress(Corrupt):
            found = engine.get(id)
            return None if found is None else found.queue
        return queue

    def fits(one: Recorded) -> bool:
        category, _, id = one.stream.partition("/")
        if category == JOURNAL.name and not journals:
            return False
        if types and one.type not in types:
            return False
        if (task is not None or queue is not None) and category != "task":
            return False
        if task is not None and id != task:
            return False
        if queue is None:
            return True
        return queue == (one.event.queue if isinstance(one.event, Created) else queue_of(id))

    return fits


def _last(engine: Engine, fits: Fits) -> int:
    """Return the position after which the last fitting events are, within the newest that it looks at."""
    end = newest = engine.newest_position()
    found, page = 0, SHOWN
    while end and newest - end < LOOKED_AT:
        begin = max(end - page, 0)
        try:
            events = engine.events(after=begin, limit=end - begin)
        except Corrupt:
            # A reader that begins here reports it at its place, after the events before it. [LOG-5]
            return begin
        for one in reversed(events):
            found += fits(one)
            if found == SHOWN:
                return one.position - 1
        end, page = begin, _PAGE
    return end


def require_reader() -> None:
    """Raise BrokenPipeError if the reader of standard output has gone, though there is nothing to write."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    looking = select.poll()
    looking.register(output, 0)
    if any(events & select.POLLERR for _, events in looking.poll(0)):
        raise BrokenPipeError
