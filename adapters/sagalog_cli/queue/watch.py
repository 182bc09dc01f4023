"""The command `queue watch`: the counts of a queue now and after every change.

Rule: it only reads, and prints each change once. It decides on one consistent view whether a queue is empty: an item
that goes back between two looks would otherwise be in neither.
"""

from __future__ import annotations

import select
import sys
import time
from typing import Final, NamedTuple

import click

from sagalog import Unavailable
from sagalog_cli import arguments, json_output
from sagalog_cli.queue.commands import queue_option
from sagalog_cli.session import Session, StoreCommand, now_ms, pass_session
from sagalog_cli.tables import show_line
from sagalog_cli.times import duration, instant
from sagalog_queue import Queue

LOOK_EVERY_MS: Final = 100


class Counts(NamedTuple):
    """The numbers of items that wait, that are held, and that are in quarantine."""

    depth: int
    in_flight: int
    quarantined: int


class QueueCounter:
    """The repeated look at a queue, which reads anew only what may have changed."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._position = -1
        self._quarantined = 0

    def look(self) -> Counts:
        """Return the counts as they are now."""
        engine, name = self._queue.engine, self._queue.name
        position = engine.newest_position()
        if position != self._position:
            self._position, self._quarantined = position, len(self._queue.quarantined())
        states = engine.counts(name).get(name, {})
        pending, running = states.get("pending", 0), states.get("running", 0)
        # Leases that are over: no event records that moment, and their items wait from then on.
        over = min(running, sum(task.queue == name for task in engine.stale())) if running else 0
        return Counts(pending + over, running - over, self._quarantined)


@click.command("watch", cls=StoreCommand)
@click.option("--until-empty", is_flag=True, help="End with status 0 once no item waits or is held.")
@click.option(
    "--timeout",
    "timeout_ms",
    metavar="DURATION",
    callback=arguments.duration,
    help="End with status 6 after so long, as in 500ms or 2s.  [default: never]",
)
@queue_option
@pass_session
def watch(session: Session, until_empty: bool, timeout_ms: int | None, name: str) -> None:
    """Count the items now and after every change, one line each, until Ctrl-C."""
    ends_at_ms = None if timeout_ms is None else time.monotonic_ns() // 1_000_000 + timeout_ms
    shown: Counts | None = None
    with session.open() as engine:
        counter = QueueCounter(Queue(engine, name=name))
        while True:
            counts = counter.look()
            if counts != shown:
                _show(session, name, counts)
                shown = counts
            if until_empty and not (counts.depth or counts.in_flight):
                return
            left_ms = None if ends_at_ms is None else ends_at_ms - time.monotonic_ns() // 1_000_000
            if left_ms is not None and left_ms <= 0:
                raise Unavailable(
                    f"queue {name!r} has {counts.depth} waiting and {counts.in_flight} in flight after "
                    f"{duration(timeout_ms or 0)}; wait and watch again",
                    queue=name,
                    **counts._asdict(),
                )
            _pause(LOOK_EVERY_MS if left_ms is None else min(LOOK_EVERY_MS, left_ms))


def _show(session: Session, name: str, counts: Counts) -> None:
    at_ms = now_ms()
    session.answer(
        lambda: {"at_ms": at_ms, **json_output.depth(name, *counts)},
        lambda: show_line(
            f"{instant(at_ms)}  depth={counts.depth}  in_flight={counts.in_flight}  quarantined={counts.quarantined}"
        ),
    )


def _pause(length_ms: int) -> None:
    """Wait; return early only by an error, if the reader has gone.

    Raises:
        BrokenPipeError: the reader of standard output has gone.
    """
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        time.sleep(length_ms / 1_000)
        return
    looking = select.poll()
    looking.register(output, 0)
    if any(events & select.POLLERR for _, events in looking.poll(length_ms)):
        raise BrokenPipeError
