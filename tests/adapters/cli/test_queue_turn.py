"""An item, its command and its lease at their edges: between two lines, and while the store does not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import sagalog
from sagalog import Corrupt, LeaseLost, Unavailable, Unknown
from sagalog_cli.queue.lease_renewal import Renewal
from sagalog_cli.queue.process import Command, Signals
from sagalog_cli.queue.turn import Turn
from sagalog_cli.queue.work import Plan, Worker
from sagalog_cli.session import Session
from sagalog_queue import Item, Queue
from tests.adapters.command.attempt import until

SLEEPS = ("sleep", "600")


class SlowQueue(Queue):
    """A queue whose renewals wait until a test lets them go on, and then do what the test says."""

    def __init__(self, engine: sagalog.Engine) -> None:
        super().__init__(engine)
        self.sent = 0
        self.go_on = threading.Event()
        self.errors: list[Exception] = []

    def heartbeat(self, item: Item, visibility_ms: int | None = None) -> Item:
        self.sent += 1
        self.go_on.wait(60)
        if self.errors:
            raise self.errors.pop(0)
        return super().heartbeat(item, visibility_ms)


@pytest.fixture
def queue() -> Iterator[SlowQueue]:
    with sagalog.open("memory:") as engine:
        queue = SlowQueue(engine)
        queue.push("payload")
        yield queue


def popped(queue: Queue, visibility_ms: int | None = 60_000) -> Item:
    item = Queue(queue.engine, visibility_ms=visibility_ms).pop("me", 0)
    assert item is not None
    return item


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_command_is_ended_before_its_lease_is_over(queue: SlowQueue) -> None:
    """The worker ends it while the store does not answer, too."""
    item = popped(queue)
    begun: list[Command] = []

    def start(variables: Mapping[str, str]) -> Command:
        begun.append(Command(SLEEPS, b"", variables))
        return begun[0]

    with Signals() as signals, Renewal(queue, item, 0.6, time.monotonic(), signals.wake) as renewal:
        turn = Turn(renewal, signals, grace_s=20)
        # Nothing lets the renewal go on before the command has ended.
        status = turn.serve(start)
        assert not queue.go_on.is_set()
        queue.go_on.set()

    assert (turn.is_lost, turn.is_stopped, status) == (True, False, -15)
    assert queue.sent == 1


def test_a_renewal_counts_from_its_sending(queue: SlowQueue) -> None:
    item = popped(queue)
    with Renewal(queue, item, 30.0, time.monotonic() - 20.0, lambda: None) as renewal:
        until(lambda: queue.sent == 1)
        before_s = time.monotonic()
        while time.monotonic() < before_s + 0.3:  # the answer takes its time
            pass
        queue.go_on.set()
        until(lambda: renewal.left_s() > 20)
        assert renewal.left_s() <= 25 - 0.3


def test_a_pop_counts_from_its_sending_too(queue: SlowQueue) -> None:
    renewal = Renewal(queue, popped(queue), 30.0, time.monotonic() - 26.0, lambda: None)

    assert renewal.is_lost()
    assert not Renewal(queue, popped_again(queue), 30.0, time.monotonic() - 24.0, lambda: None).is_lost()


def popped_again(queue: Queue) -> Item:
    queue.push("another")
    return popped(queue)


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), Unknown("it may be written")])
def test_a_renewal_that_the_store_could_not_take_is_repeated(queue: SlowQueue, error: Exception) -> None:
    queue.errors = [error]
    queue.go_on.set()
    with Renewal(queue, popped(queue), 3.0, time.monotonic(), lambda: None) as renewal:
        until(lambda: queue.sent >= 2 and renewal.left_s() > 1.5)
        assert not renewal.is_lost()


def test_a_lease_that_is_lost_wakes_the_thread_that_waits(queue: SlowQueue) -> None:
    queue.errors = [LeaseLost("another consumer has it")]
    queue.go_on.set()
    woken = threading.Event()
    with Renewal(queue, popped(queue), 60.0, time.monotonic() - 30.0, woken.set) as renewal:
        assert woken.wait(30)
        assert renewal.is_lost()
        assert renewal.left_s() > 0


def test_a_store_that_refuses_renewals_is_told_to_the_caller_that_looks(queue: SlowQueue) -> None:
    queue.errors = [Corrupt("the log is damaged")]
    queue.go_on.set()
    woken = threading.Event()
    with Renewal(queue, popped(queue), 60.0, time.monotonic() - 30.0, woken.set) as renewal:
        assert woken.wait(30)
        with pytest.raises(Corrupt):
            renewal.is_lost()


def test_a_lease_without_end_is_not_renewed_and_never_lost(queue: SlowQueue) -> None:
    with Renewal(queue, popped(queue, None), None, 0.0, lambda: None) as renewal:
        assert not renewal.is_lost()
        assert renewal.left_s() == float("inf")
    assert queue.sent == 0


def test_a_worker_measures_a_pop_from_before_it_is_sent(queue: SlowQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_s: list[float] = []
    plan = Plan(("true",), "me", 60_000, 5_000, 0, once=True, until_empty=True, text=False)
    with Signals() as signals:
        worker = Worker(Session(), queue, signals, plan)
        pop = queue.pop

        def late(*arguments: Any, **named: Any) -> Item | None:
            sent_s.append(time.monotonic())
            item = pop(*arguments, **named)
            until(lambda: time.monotonic() > sent_s[0])
            return item

        monkeypatch.setattr(queue, "pop", late)
        queue.go_on.set()
        worker.run()

    assert worker._popped_s <= sent_s[0]
    assert queue.depth() == 0


# --- what has ended by itself ----------------------------------------------------------------------------------------


class EndsUnseen(Command):
    """A command that ends by itself right after it was looked at for the first time."""

    looks = 0

    def look(self) -> int | None:
        self.looks += 1
        if self.looks == 1:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            return None
        return super().look()


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_that_had_ended_when_it_was_stopped_was_not_stopped(queue: SlowQueue, status: int) -> None:
    with Signals() as signals, Renewal(queue, popped(queue), 60.0, time.monotonic(), signals.wake) as renewal:
        signals.stops += [15, 15]
        turn = Turn(renewal, signals, grace_s=20)
        found = turn.serve(lambda variables: EndsUnseen(("sh", "-c", f"exit {status}"), b"", variables))
        queue.go_on.set()

    assert (found, turn.is_stopped, turn.is_lost) == (status, False, False)


def test_a_command_that_ended_before_its_lease_was_lost_keeps_its_item(queue: SlowQueue) -> None:
    queue.errors = [LeaseLost("another consumer has it")]
    queue.go_on.set()
    with Signals() as signals, Renewal(queue, popped(queue), 60.0, time.monotonic() - 30.0, signals.wake) as renewal:
        turn = Turn(renewal, signals, grace_s=20)
        until(renewal.is_lost)
        found = turn.serve(lambda variables: EndsUnseen(("true",), b"", variables))

    # Whether it is still ours the acknowledgement tells: it carries the fence.
    assert (found, turn.is_lost) == (0, False)


def test_a_command_is_told_to_end_once_and_killed_after_its_grace(queue: SlowQueue) -> None:
    with Signals() as signals, Renewal(queue, popped(queue), 60.0, time.monotonic(), signals.wake) as renewal:
        signals.stops += [15, 15]
        turn = Turn(renewal, signals, grace_s=20)
        found = turn.serve(lambda variables: Command(SLEEPS, b"", variables))
        queue.go_on.set()

    assert (found, turn.is_stopped, turn.is_lost) == (-15, True, False)
