"""Random runs of workers that die at every boundary, hang, stop and race, on tasks that do everything a task may.

Rule: whatever happened, once it is quiet and fresh workers have come, every task has ended, and what failed is undone.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import sagalog
from sagalog import Retry, SagalogError
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.history import check, explain
from tests.worker.inline import InlineWorker, killed_at
from tests.worker.programs import ENDS, STEPS, World

SMALL = Retry(attempts_max=3, transient_max=3, expiries_max=4, delay_min_ms=1, delay_max_ms=20, undo_attempts_max=3)
PICK = st.integers(0, 5)


class Workers(RuleBasedStateMachine):
    """One run: a store, a world, and up to three workers at a time."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1_000_000_000_000)
        self.engine = sagalog.open("memory:", clock=self.clock, entropy=SeededEntropy(1))
        self.world = World(self.engine)
        self.workers: list[InlineWorker] = []
        self.ids: list[str] = []
        self.started = 0
        self.latest_ms = 0

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(
        steps=st.lists(st.sampled_from(STEPS), max_size=5),
        ends=st.lists(st.sampled_from(ENDS), max_size=3),
        last=st.sampled_from(("return", "return", "permanent")),
        waived=st.booleans(),
        failing_undos=st.sampled_from((0, 0, 1, 2, 5)),
        spent=st.sampled_from(("fail", "quarantine")),
    )
    def create(
        self, steps: list[str], ends: list[str], last: str, waived: bool, failing_undos: int, spent: Any
    ) -> None:
        retry = Retry(**{name: getattr(SMALL, name) for name in SMALL.__struct_fields__} | {"spent": spent})
        task = self.engine.create(
            "program",
            {"steps": steps, "ends": [*ends, last]},
            id=f"t{len(self.ids)}",
            retry=retry,
            waive_compensation="nothing lasts" if waived else None,
        )
        self.ids.append(task.id)
        self.world.failing_undos[task.id] = failing_undos

    @rule(pick=PICK)
    def turn(self, pick: int) -> None:
        self._worker(pick).turn()

    @rule(pick=PICK, job=PICK)
    def run_a_handler(self, pick: int, job: int) -> None:
        self._worker(pick).run_job(job)

    @rule(pick=PICK)
    def work_on(self, pick: int) -> None:
        self._worker(pick).until_idle()

    @rule(pick=PICK, job=PICK, boundary=st.integers(1, 9))
    def die_in_a_handler(self, pick: int, job: int, boundary: int) -> None:
        worker = self._worker(pick)
        worker.turn()
        with killed_at(boundary) as died:
            worker.run_job(job)
        self._bury(worker, died())

    @rule(pick=PICK, boundary=st.integers(1, 6))
    def die_in_a_turn(self, pick: int, boundary: int) -> None:
        worker = self._worker(pick)
        with killed_at(boundary) as died:
            worker.turn()
            worker.run_job()
            worker.turn()
        self._bury(worker, died())

    @rule(ms=st.sampled_from((1, 5, 20, 40, 150)))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)
        for worker in self.workers:
            worker.worker_loop.watch()

    @rule(ms=st.sampled_from((3_600_000, -3_600_000)))
    def the_clock_jumps(self, ms: int) -> None:
        self.latest_ms = max(self.latest_ms, self.clock.now_ms())
        self.clock.step(ms)

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        worker = self._worker(pick)
        worker.worker_loop.announce_stop()
        worker.worker_loop.run_round()
        worker.worker_loop.give_back()
        worker.worker_loop.run_round()
        assert worker.worker_loop.held == 0
        self.workers.remove(worker)

    @rule(pick=PICK, job=PICK)
    def drain(self, pick: int, job: int) -> None:
        """[WORKER-8]"""
        worker = self._worker(pick)
        worker.turn()
        if worker.pool.waiting:
            worker.run_job(job)
        worker.worker_loop.drain()
        for _ in range(3):
            worker.turn()
        assert worker.worker_loop.held == 0
        self.workers.remove(worker)

    @rule(pick=PICK, now=st.booleans())
    def cancel(self, pick: int, now: bool) -> None:
        self._try(lambda id: self.engine.cancel(id, "not needed", now), pick)

    @rule(pick=PICK)
    def signal(self, pick: int) -> None:
        self._try(lambda id: self.engine.signal(id, "go", "data"), pick)

    # --- the end --------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self._heal()
            self._judge()
        finally:
            type(self).seen += self.world.seen
            self.engine.close()

    def _heal(self) -> None:
        """No worker dies any more, time passes, and every task that waits for a signal gets one."""
        self.workers.clear()
        # What was due by a clock that has stepped back since is due when that time comes again.
        self.clock.advance(max(0, self.latest_ms - self.clock.now_ms()))
        live: list[sagalog.Task] = []
        for _ in range(60):
            self._worker(0).until_idle()
            live = [task for task in self.engine.find() if not task.is_terminal]
            if not live:
                return
            for task in live:
                if task.waiting is not None and task.waiting.signal == "go":
                    self.engine.signal(task.id, "go", "data")
            self.clock.advance(500)
            self.engine.recover()
        raise AssertionError(f"never ended: {[(task.id, task.state, task.waiting) for task in live]}")

    def _judge(self) -> None:
        log = self.engine.events(limit=10_000)
        violations = check(log)
        assert not violations, explain(violations)
        assert self.engine.verify().ok
        for task in self.engine.find():
            self.seen[str(task.state)] += 1
            for (id, name), count in self.world.effects.items():
                if id == task.id and task.state in ("compensated", "failed", "cancelled"):
                    assert count == 0, f"{name} of {id} is left behind, and the task is {task.state}"
            if task.state == "completed":
                children = [other for other in self.engine.find(kind="child") if other.parent == task.id]
                wanted = task.payload["steps"].count("spawn") if task.kind == "program" else 0
                assert len(children) == wanted
        for recorded in log:
            self.seen[recorded.type] += 1

    # --- inside ---------------------------------------------------------------------------------------------------

    def _worker(self, pick: int) -> InlineWorker:
        if pick >= len(self.workers) and len(self.workers) < 3:
            self.started += 1
            worker = InlineWorker(self.engine, self.world.config(), f"w{self.started}", self.clock)
            self.workers.append(worker)
        return self.workers[pick % len(self.workers)]

    def _bury(self, worker: InlineWorker, died: bool) -> None:
        if died:
            self.workers.remove(worker)

    def _try(self, act: Any, pick: int) -> None:
        if self.ids:
            try:
                act(self.ids[pick % len(self.ids)])
            except SagalogError:
                self.seen["refused"] += 1


# What is found is shrunk only where there is time for it.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
EVERYTHING = {
    *ENDS, *STEPS, "undo", "undo failed", "timed out", "completed", "failed", "compensated", "cancelled", "quarantined",
    "step_completed", "compensation_registered", "artifact_put", "parked", "signalled", "unblocked", "retried",
    "released", "lease_expired", "cancel_requested", "compensation_done", "compensation_failed",
}  # fmt: skip


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(180, 50), pytest.param(5_000, 60, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])],
    ids=["gate", "campaign"],
)
def test_every_task_ends_whatever_happens_to_workers(examples: int, steps: int) -> None:
    """[COMP-1] [COMP-5] [COMP-6] [FENCE-2] [WAIT-1] [WAIT-2] [WAIT-3] [STEP-1] [STEP-2] [UPKEEP-1] [UNDO-2] [UNDO-3]

    What failed is undone.
    """
    Workers.seen = Counter()
    run_state_machine_as_test(
        Workers,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < 1_000,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
    missing = EVERYTHING - set(Workers.seen)
    assert not missing, f"never happened: {sorted(missing)}"


def forgets(_world: World, _context: object, _params: object) -> None:
    """A compensation that does nothing."""


def test_the_machine_sees_a_worker_that_forgets_what_it_owes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that could not fail would prove nothing."""
    monkeypatch.setattr(World, "undo", forgets)
    machine = settings(
        max_examples=250, stateful_step_count=30, deadline=None, derandomize=True, phases=[Phase.generate]
    )
    with pytest.raises(BaseException, match="left behind"):
        run_state_machine_as_test(Workers, settings=machine)
