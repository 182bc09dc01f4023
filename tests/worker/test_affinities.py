"""Draining by model: what a worker asks for first, how often it swaps, and how long it passes others over. [ORDER-2]"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import sagalog
from sagalog import Worker
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS

TASK_MS = 1_000
WAIT_MS = 60_000
TURNS = 250


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path / 'store.db'}", clock=clock, durability="normal") as engine:
        yield engine


class Run(NamedTuple):
    """One task that a machine has run: its model, and how long it was ready before."""

    model: str
    waited_ms: int


class Machine:
    """A machine with room for one model, which runs one task after another."""

    def __init__(self, engine: sagalog.Engine, clock: ManualClock, resident: str) -> None:
        self._engine, self._clock = engine, clock
        self.resident, self.swaps = resident, 0
        self.runs: list[Run] = []

    def run_one(self) -> bool:
        """Claim the next task, with the resident model first, and run it; False where there is none."""
        leases = self._engine.claim("gpu", owner="box", ttl_ms=10 * TASK_MS, affinity=self.resident)
        if not leases:
            return False
        task = leases[0].task
        assert task.affinity is not None
        if task.affinity != self.resident:
            self.resident, self.swaps = task.affinity, self.swaps + 1
        self.runs.append(Run(task.affinity, self._clock.now_ms() - task.created_ms))
        self._clock.advance(TASK_MS)
        leases[0].complete()
        return True


def test_two_models_are_drained_with_one_swap(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[ORDER-1] 200 tasks interleaved, without a bound."""
    models = ["red", "blue"] * 100
    engine.create_many({"kind": "prompt", "queue": "gpu", "affinity": model} for model in models)
    machine = Machine(engine, clock, "red")

    while machine.run_one():
        pass

    assert [run.model for run in machine.runs] == ["red"] * 100 + ["blue"] * 100
    assert machine.swaps == 1


@pytest.mark.parametrize("bound_ms", [WAIT_MS, None])
def test_no_task_waits_longer_than_its_bound_and_one_task(
    engine: sagalog.Engine, clock: ManualClock, bound_ms: int | None
) -> None:
    """[ORDER-2] Five tasks of one model are always ready, and one of the other is created every seven seconds."""
    engine.set_queue("gpu", affinity_wait_ms=bound_ms)
    machine = Machine(engine, clock, "red")

    ready = 0
    for turn in range(TURNS):
        ready += len(more := [{"kind": "prompt", "queue": "gpu", "affinity": "red"}] * (5 - ready))
        if turn % 7 == 0:
            more.append({"kind": "prompt", "queue": "gpu", "affinity": "blue"})
        engine.create_many(more)
        assert machine.run_one()
        ready -= machine.runs[-1].model == "red"

    waits = [run.waited_ms for run in machine.runs if run.model == "blue"]
    if bound_ms is None:
        assert waits == [], "the test shows nothing: without a bound they ran too"
        return
    assert len(waits) >= 20
    assert WAIT_MS <= max(waits) <= WAIT_MS + TASK_MS
    # One swap there and one back for all that wait by then.
    assert machine.swaps <= 2 * (TURNS * TASK_MS // WAIT_MS + 1)


def test_a_worker_asks_for_its_affinities_before_each_claim(tmp_path: Path) -> None:
    """[WORKER-11]"""
    resident = ["blue"]
    with sagalog.open(f"sqlite:///{tmp_path / 'store.db'}") as engine:
        worker = Worker("gpu", concurrency=1, affinity=lambda: resident)
        ran: list[str] = []

        @worker.task("prompt")
        def prompt(context: object, model: str) -> None:
            resident[0] = model
            ran.append(model)

        for model in ("red", "blue") * 3:
            engine.create("prompt", model, queue="gpu", affinity=model)
        worker.run(engine, until="idle")

    assert ran == ["blue"] * 3 + ["red"] * 3


@pytest.mark.parametrize("given", ["blue", ["green", "blue"]])
def test_a_worker_may_ask_for_the_same_affinities_always(tmp_path: Path, given: str | list[str]) -> None:
    """[WORKER-11]"""
    with sagalog.open(f"sqlite:///{tmp_path / 'store.db'}") as engine:
        worker = Worker("gpu", concurrency=1, affinity=given)
        ran: list[str] = []

        @worker.task("prompt")
        def prompt(context: object, model: str) -> None:
            ran.append(model)

        for model in ("red", "blue"):
            engine.create("prompt", model, queue="gpu", affinity=model)
        worker.run(engine, until="idle")

    assert ran == ["blue", "red"]


@pytest.mark.parametrize("given", [None, (), [], "", 7, "raise"])
def test_affinities_that_are_none_or_unknown_stop_no_worker(
    tmp_path: Path, given: object, caplog: pytest.LogCaptureFixture
) -> None:
    """[WORKER-11] One that fails is logged once."""

    def affinities() -> str:
        if given == "raise":
            raise RuntimeError("the GPU does not answer")
        return given  # type: ignore[return-value]

    with (
        sagalog.open(f"sqlite:///{tmp_path / 'store.db'}") as engine,
        caplog.at_level(logging.WARNING, "sagalog.worker"),
    ):
        worker = Worker("gpu", concurrency=1, affinity=affinities)

        @worker.task("prompt")
        def prompt(context: object, payload: object) -> None: ...

        engine.create_many([{"kind": "prompt", "queue": "gpu"}] * 3)
        assert worker.run(engine, until="idle").outcomes == {"completed": 3}

    warned = [record for record in caplog.records if "affinities of this worker" in record.getMessage()]
    assert len(warned) == (0 if given is None or given in ((), []) else 1)


@pytest.mark.parametrize("given", ["", 7, ["a", 3]])
def test_a_worker_refuses_affinities_that_are_no_names(given: object) -> None:
    """[WORKER-11]"""
    with pytest.raises(sagalog.InvalidValue) as refused:
        Worker(affinity=given)  # type: ignore[arg-type]
    assert refused.value.fields["path"] == "affinity"
