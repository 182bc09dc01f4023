"""`tail`: the events of the whole log as they come, a line each.

Rule: it ends as its reader wishes: on Ctrl-C, on SIGTERM and where the pipe is closed, always with status 0. A
checkpoint is saved only once what lies before it was written out. Knows how events are chosen, not what they mean.
"""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Final

import click

from sagalog import Corrupt, Engine, Recorded, Subscription
from sagalog.kernel.events import NAMES, Created
from sagalog_cli import arguments, json_output
from sagalog_cli.prefixes import whole_id
from sagalog_cli.session import Session, StoreCommand, pass_session
from sagalog_cli.tables import show_table
from sagalog_cli.timeline import followed

# How many events are shown before what comes, and among how many of the newest they are looked for.
SHOWN: Final = 10
LOOKED_AT: Final = 10_000
_PAGE: Final = 500
# How soon it is seen that the reader of a pipe has gone; a commit is seen at once.
_LOOK_EVERY_MS: Final = 100
# A task's queue never changes; of so many tasks it is remembered.
_REMEMBERED: Final = 10_000

Fits = Callable[[Recorded], bool]


@click.command("tail", cls=StoreCommand, short_help="Follow the events of all tasks as they come.")
@click.option(
    "--after",
    type=click.IntRange(0),
    metavar="POSITION",
    help="Begin behind this position.  [default: with the last 10]",
)
@click.option("--from-start", is_flag=True, help="Begin with the first event of the log.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on with what comes, until Ctrl-C.")
# What no name is would fit no event, and the reader would wait for one for ever.
@click.option("--task", metavar="ID", callback=arguments.name, help="Only of this task.")
@click.option("--queue", metavar="NAME", callback=arguments.name, help="Only of the tasks of this queue.")
@click.option(
    "--type",
    "types",
    type=click.Choice(sorted(NAMES.values())),
    metavar="TYPE",
    multiple=True,
    help="Only of this type, as in completed. Repeatable: any may fit.",
)
@click.option("--name", metavar="NAME", help="Keep a checkpoint under this name, and go on there the next time.")
@pass_session
def tail(
    session: Session,
    after: int | None,
    from_start: bool,
    follow: bool,
    task: str | None,
    queue: str | None,
    types: tuple[str, ...],
    name: str | None,
) -> None:
    """Follow the events of the whole log, a line each: first the last 10 that fit, then what comes.

    With --name nothing is left out between one run and the next, and what was shown last may be shown again.
    """
    if after is not None and from_start:
        raise click.UsageError("--after and --from-start exclude each other")
    begin = 0 if from_start else after
    try:
        with _sigterm_interrupts(), session.open() as engine:
            wanted = None if task is None else whole_id(engine, task)
            fits = _fitting(engine, wanted, queue, frozenset(types))
            subscription = engine.subscribe(name, _last(engine, fits) if begin is None else begin)
            if begin is not None and subscription.position != begin:
                session.note("resumed", f"{name} goes on after position {subscription.position}, where it stopped")
            _show(session, subscription, fits, None if follow else engine.newest_position())
    except (KeyboardInterrupt, BrokenPipeError) as error:
        # Not `return`: what a closed pipe did not take would be offered to it once more.
        raise click.exceptions.Exit(0) from error


def _show(session: Session, subscription: Subscription, fits: Fits, until: int | None) -> None:
    """Write out what comes, up to the position `until`; None: for ever."""
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
            _require_reader()
    if not shown:
        session.note("empty", "no event fits")


def _write(session: Session, events: Sequence[Recorded]) -> None:
    session.answer_each(
        lambda: (json_output.recorded(one, full=False) for one in events), lambda: show_table(followed(events))
    )


def _fitting(engine: Engine, task: str | None, queue: str | None, types: frozenset[str]) -> Fits:
    @lru_cache(_REMEMBERED)
    def queue_of(id: str) -> str | None:
        # Of a task that cannot be read the engine cannot say that it is of another queue.
        with suppress(Corrupt):
            found = engine.get(id)
            return None if found is None else found.queue
        return queue

    def fits(one: Recorded) -> bool:
        category, _, id = one.stream.partition("/")
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
    """The position behind which the last events lie that fit, as far back as is looked."""
    end = newest = engine.newest_position()
    found, page = 0, SHOWN
    while end and newest - end < LOOKED_AT:
        begin = max(end - page, 0)
        try:
            events = engine.events(after=begin, limit=end - begin)
        except Corrupt:
            # Read on from here it is told at its place, behind what comes before it. [LOG-5]
            return begin
        for one in reversed(events):
            found += fits(one)
            if found == SHOWN:
                return one.position - 1
        end, page = begin, _PAGE
    return end


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, while the block lasts; behind it, it ends the process as ever."""

    def interrupt(_: int, __: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_reader() -> None:
    """Raise BrokenPipeError where the reader of standard output has gone, though there is nothing to write."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return
    looking = select.poll()
    looking.register(output, 0)
    if any(events & select.POLLERR for _, events in looking.poll(0)):
        raise BrokenPipeError
