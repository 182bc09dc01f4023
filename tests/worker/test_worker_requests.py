"""What an operator asks of a worker: to drain or to stop; and what becomes of it, whenever it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import sagalog
from sagalog import NotFound, Rejected, WorkerInfo
from sagalog.engine.workers import LIVE_MS, REQUESTS
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext, WorkerStats, registration
from sagalog.worker.registration import Registration
from tests.worker.test_worker_rows import config_of, done
from tests.worker.worker_processes import PATIENCE_S, until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker looks at once, where users would wait for a second."""
    monkeypatch.setattr(registration, "_LOOK_MS", 0)


class Run:
    """A worker that runs in a thread, with one handler that waits until it is let go, or told to end."""

    def __init__(self, engine: sagalog.Engine, **settings: Any) -> None:
        self.engine = engine
        self.worker = sagalog.Worker(name="w", concurrency=1, **settings)
        self.worker.task("do")(done)
        self.worker.task("hold")(self.hold)
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.was_told = threading.Event()
        self.stats: WorkerStats | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def hold(self, context: WorkContext, _payload: Any) -> str:
        self.begun.set()
        while not self.go_on.is_set():
            if context.stopping:
                self.was_told.set()
            context.wait_stop(5)
            context.go_on()
        return "held"

    def _run(self) -> None:
        self.stats = self.worker.run(self.engine, handle_signals=False)

    def start(self) -> str:
        """Start it on a task that holds it; its name."""
        self.task = self.engine.create("hold").id
        self._thread.start()
        assert self.begun.wait(PATIENCE_S)
        lease = until(self.engine, self.task, lambda task: task.lease is not None).lease
        assert lease is not None
        self.name = lease.owner
        return self.name

    def row(self, holds: Callable[[WorkerInfo], bool]) -> WorkerInfo:
        """The row of it, once something holds of that."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            [row] = [one for one in self.engine.workers() if one.name == self.name]
            if holds(row):
                return row
            assert time.monotonic() < until_s, row
            time.sleep(0.01)

    def end(self) -> WorkerStats:
        self.go_on.set()
        self._thread.join(PATIENCE_S)
        assert self.stats is not None
        return self.stats


def test_a_worker_that_drains_takes_nothing_new_and_ends_what_it_has(real: sagalog.Engine) -> None:
    """[WORKER-8] However long that takes: its grace does not count."""
    run = Run(real, grace_ms=0, claim_ahead=2)
    name = run.start()
    ahead = real.create("do").id
    until(real, ahead, lambda task: task.state == "running")

    asked = real.drain_worker(name)
    assert (asked.name, asked.is_live) == (name, True)
    assert run.row(lambda row: row.state == "draining").is_live
    later = real.create("do").id
    stats = run.end()

    assert real.get(run.task).result == "held"  # type: ignore[union-attr]
    assert [real.get(id).state for id in (ahead, later)] == ["pending", "pending"]  # type: ignore[union-attr]
    assert not run.was_told.is_set()
    assert stats.outcomes == {"completed": 1, "released": 1}
    assert run.row(lambda row: row.state == "ended").running == 0


def test_a_worker_that_is_stopped_goes_as_after_a_signal(real: sagalog.Engine) -> None:
    """[WORKER-8] [WORKER-3] A second request is none to stop at once."""
    run = Run(real, grace_ms=60_000)
    name = run.start()

    real.stop_worker(name)
    assert run.was_told.wait(PATIENCE_S)
    real.stop_worker(name)
    run.row(lambda row: row.state == "stopping")
    real.create("do")
    stats = run.end()

    assert real.get(run.task).result == "held"  # type: ignore[union-attr]
    assert stats.claimed == 1


def test_a_worker_that_drains_may_still_be_stopped(real: sagalog.Engine) -> None:
    """[WORKER-8] To drain it again does not take that back."""
    run = Run(real, grace_ms=60_000)
    name = run.start()
    real.drain_worker(name)
    run.row(lambda row: row.state == "draining")
    assert not run.was_told.is_set()

    real.stop_worker(name)
    real.drain_worker(name)

    assert run.was_told.wait(PATIENCE_S)
    run.row(lambda row: row.state == "stopping")
    run.end()


def test_a_worker_that_is_stopped_while_it_starts_begins_nothing(
    real: sagalog.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[WORKER-8]"""
    worker = sagalog.Worker()
    worker.task("do")(done)
    task = real.create("do").id
    remove = Registration._remove_outdated

    def stop_at_once(self: Registration) -> None:
        remove(self)
        real.stop_worker(self.name)

    monkeypatch.setattr(Registration, "_remove_outdated", stop_at_once)
    stats = worker.run(real, handle_signals=False)

    assert stats.claimed == 0
    assert real.get(task).state == "pending"  # type: ignore[union-attr]


def test_two_workers_are_asked_each_by_itself(real: sagalog.Engine) -> None:
    """[WORKER-8]"""
    run, other = Run(real), Run(real)
    run.start()
    other.start()

    real.drain_worker(other.name)
    other.row(lambda row: row.state == "draining")
    other.end()

    assert run.row(lambda _: True).state == "working"
    real.stop_worker(run.name)
    run.end()


def test_a_worker_that_is_not_known_or_not_live_is_not_asked(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-8] The error says which are."""
    with pytest.raises(NotFound, match="there is no worker 'w'; no worker is live") as unknown:
        engine.drain_worker("w")
    killed = Registration(engine, "killed", config_of()).name
    clock.advance(LIVE_MS)
    over = Registration(engine, "over", config_of())
    over.end()
    live = Registration(engine, "live", config_of()).name

    with pytest.raises(NotFound, match=f"there is no worker 'w'; the live ones are '{live}'"):
        engine.stop_worker("w")
    with pytest.raises(Rejected, match=f"'{killed}' was not seen for 30 s.*'{live}'") as dead:
        engine.stop_worker(killed)
    with pytest.raises(Rejected, match=f"'{over.name}' has ended"):
        engine.drain_worker(over.name)
    with pytest.raises(sagalog.InvalidValue):
        engine.drain_worker("")

    assert (unknown.value.live, dead.value.live) == ([], [live])
    assert engine._executor.queries.kept_in(REQUESTS, "", 10) == []


def test_who_asks_is_on_record_until_the_row_is_removed(engine: sagalog.Engine) -> None:
    """[WORKER-8]"""
    name = Registration(engine, "w", config_of()).name
    engine.drain_worker(name)
    engine.stop_worker(name)

    [(of, kept)] = engine._executor.queries.kept_in(REQUESTS, "", 10)

    assert of == name
    assert '"verb":"stop"' in kept
