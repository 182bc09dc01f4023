"""The command `queue work`: it runs a command for each item, and the end of the command decides about the item.

Rule: it acknowledges an item only after its command has ended well. If an item is lost, it ends the command before it
begins anything else. One item at a time: for more, start more workers.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, ParamSpec, TypeVar

import click

from sagalog import LeaseLost, Unavailable, Unknown
from sagalog_cli import arguments, json_output
from sagalog_cli.interrupts import Stopped
from sagalog_cli.queue.commands import delay_option, owner_option, queue_option, visibility_option
from sagalog_cli.queue.lease_renewal import Renewal
from sagalog_cli.queue.process import Command, Signals, ended_by
from sagalog_cli.queue.turn import Turn
from sagalog_cli.session import Session, StoreCommand, pass_session
from sagalog_queue import Item, Queue, default_owner

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

# How soon a worker that waits for an item notices a signal to stop.
_POP_MS: Final = 500
_PAUSES_S: Final = (0.1, 1, 5)
# Errors that come from the word itself, for every item; any other may come from the machine's state of the moment.
_NO_COMMAND: Final = frozenset(
    getattr(errno, name)
    for name in ("ENOENT", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ENOEXEC", "ELOOP", "ENAMETOOLONG", "E2BIG")
)


@dataclass(frozen=True)
class Plan:
    """The settings of a worker."""

    words: tuple[str, ...]
    owner: str
    visibility_ms: int | None
    grace_ms: int
    delay_ms: int
    once: bool
    until_empty: bool
    text: bool


@click.command("work", cls=StoreCommand, context_settings={"allow_interspersed_args": False})
@click.argument("words", metavar="COMMAND [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--once", is_flag=True, help="End after one item.")
@click.option("--until-empty", is_flag=True, help="End once no item waits.")
@click.option("--text", is_flag=True, help="Give a payload that is a string as plain text, not as JSON.")
@delay_option
@click.option(
    "--grace",
    "grace_ms",
    metavar="DURATION",
    default="5s",
    show_default=True,
    callback=arguments.duration,
    help="How long a stopped command has between SIGTERM and SIGKILL.",
)
@owner_option
@visibility_option
@queue_option
@pass_session
def work(
    session: Session,
    words: tuple[str, ...],
    once: bool,
    until_empty: bool,
    text: bool,
    delay_ms: int,
    grace_ms: int,
    owner: str | None,
    visibility_ms: int | None,
    name: str,
) -> None:
    """Run COMMAND for each item, with the payload as JSON on its standard input.

    Exit status 0 acknowledges the item; any other gives it back. The worker holds the item for as long as COMMAND runs.

    SIGTERM, SIGHUP or Ctrl-C let the running command end first; a second signal ends it, and gives the item back.
    """
    owner = default_owner() if owner is None else owner
    plan = Plan(words, owner, visibility_ms, grace_ms, delay_ms, once, until_empty, text)
    with session.open() as engine, Signals() as signals:
        Worker(session, Queue(engine, name=name, visibility_ms=visibility_ms), signals, plan).run()
    if signals.stops:
        raise Stopped(signals.stops[0])


class Worker:
    """The loop: pop, run, acknowledge or give back."""

    def __init__(self, session: Session, queue: Queue, signals: Signals, plan: Plan) -> None:
        self._session = session
        self._queue = queue
        self._signals = signals
        self._plan = plan
        # When the last pop was sent, on the monotonic clock.
        self._popped_s = 0.0
        # The item whose command has ended well; the next pop acknowledges it, or the end does.
        self._done: Item | None = None

    def run(self) -> None:
        """Work until the plan or a signal ends the loop."""
        while (item := self._next()) is not None:
            self._work_on(item)
            if self._plan.once:
                break
        if self._done is not None:
            self._settle(self._done, self._queue.ack)

    def _next(self) -> Item | None:
        """Pop the next item in the commit that acknowledges the one that is done; None: the loop is over."""
        timeout_ms = 0 if self._plan.until_empty else self._pop_ms()
        while not self._signals.stops:
            try:
                item = _repeat(self._pop, timeout_ms)
            except LeaseLost as lost:
                self._note_lost(lost)
                self._done = None
                continue
            self._done, timeout_ms = None, self._pop_ms()
            if item is not None and self._signals.stops:
                self._hand_back(item, "a signal stopped its worker before its command began")
                return None
            if item is not None or (self._plan.until_empty and not self._queue.depth()):
                return item
        return None

    def _pop(self, timeout_ms: int) -> Item | None:
        self._popped_s = time.monotonic()
        return self._queue.pop(self._plan.owner, timeout_ms, ack=self._done)

    def _pop_ms(self) -> int:
        """Return how long to wait for an item: its lease counts from the moment at which the pop was sent."""
        visibility_ms = self._plan.visibility_ms
        return _POP_MS if visibility_ms is None else max(1, min(_POP_MS, visibility_ms // 6))

    def _work_on(self, item: Item) -> None:
        """Run the command for an item; settle the item at once if it is not done."""
        visibility_s = None if self._plan.visibility_ms is None else self._plan.visibility_ms / 1_000
        with Renewal(self._queue, item, visibility_s, self._popped_s, self._signals.wake) as renewal:
            turn = Turn(renewal, self._signals, self._plan.grace_ms / 1_000)
            try:
                status = turn.serve(lambda variables: Command(self._plan.words, self._input(item), variables))
            except (OSError, Unavailable) as error:
                # No fault of the item: a mistyped word must quarantine nothing.
                self._refuse(renewal.item, error)
        if turn.orphans:
            ended = ", ".join(map(str, turn.orphans))
            self._session.note("orphans", f"item {item.id}: ended what an earlier holder has left: process {ended}")
        if turn.is_lost:
            self._session.note("lost", f"item {item.id} was lost, and its command ended")
        elif turn.is_stopped:
            self._hand_back(renewal.item, "its worker was stopped")
        elif status:
            self._give_back(renewal.item, ended_by(status))
        else:
            self._done = renewal.item

    def _refuse(self, item: Item, error: OSError | Unavailable) -> NoReturn:
        """Give back an item whose command could not start, and end."""
        if isinstance(error, Unavailable):
            self._settle(item, lambda held: self._queue.hand_back(held, error.message))
            raise error
        said = f"{self._plan.words[0]!r} cannot be started: {error.strerror}"
        self._settle(item, lambda held: self._queue.hand_back(held, said))
        if error.errno in _NO_COMMAND:
            raise click.UsageError(f"COMMAND: {said}; item {item.id} was given back") from error
        raise error

    def _input(self, item: Item) -> bytes:
        if self._plan.text and isinstance(item.payload, str):
            return f"{item.payload}\n".encode()
        return f"{json_output.encode(item.payload)}\n".encode()

    def _give_back(self, item: Item, reason: str) -> None:
        """Give back an item whose command failed, which counts as a return."""
        if self._settle(item, lambda held: self._queue.nack(held, reason=reason, delay_ms=self._plan.delay_ms)):
            self._note_return(item, reason)

    def _hand_back(self, item: Item, reason: str) -> None:
        """Give back an item because its worker stops, which is no fault of the item."""
        if self._settle(item, lambda held: self._queue.hand_back(held, reason)):
            self._note_return(item, reason)

    def _note_return(self, item: Item, reason: str) -> None:
        task = self._queue.engine.get(item.id)
        state = "gone" if task is None else task.state
        self._session.note("given_back", f"item {item.id}: {reason}; it is {state}")

    def _settle(self, item: Item, verb: Callable[[Item], bool]) -> bool:
        try:
            return _repeat(verb, item)
        except LeaseLost as lost:
            self._note_lost(lost)
            return False

    def _note_lost(self, lost: LeaseLost) -> None:
        self._session.note("lost", f"{lost.message}; what its command did may be done twice")


def _repeat(call: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
    """Repeat a call that wrote nothing or whose outcome is unknown: what a command has done should be on record."""
    for pause_s in _PAUSES_S:
        try:
            return call(*args, **kwargs)
        except (Unavailable, Unknown):
            time.sleep(pause_s)
    return call(*args, **kwargs)
