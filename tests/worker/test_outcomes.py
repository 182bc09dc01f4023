"""What a handler raises chooses what becomes of its task, and no exception of any sort ends its worker. [WORKER-1]"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, Park, Permanent, Quarantine, Retry, Transient
from sagalog.testing import ManualClock
from tests.worker.inline_runs import ONCE, WAIVED, raises, run
from tests.worker.worker_processes import at_work, ended, story, until


@pytest.mark.parametrize(
    ("error", "state", "code", "types"),
    [
        (ValueError("no"), "failed", "attempts_spent", ["failed"]),
        (Failed("no", code="odd"), "failed", "attempts_spent", ["failed"]),
        (Transient("busy"), "failed", "transients_spent", ["failed"]),
        (Permanent("no"), "failed", "failed", ["failed"]),
        (Quarantine("look", code="strange"), "quarantined", "strange", ["quarantined"]),
        (Transient("later", budget="quota", retry_after_ms=50), "pending", None, ["retried"]),
        (Park("w", signal="go"), "pending", None, ["parked"]),
        (SystemExit(3), "failed", "attempts_spent", ["failed"]),
        (KeyboardInterrupt(), "failed", "attempts_spent", ["failed"]),
        (GeneratorExit(), "failed", "attempts_spent", ["failed"]),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else None,
)
def test_what_a_handler_raises_chooses_what_becomes_of_its_task(
    error: BaseException, state: str, code: str | None, types: list[str], engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[ATTEMPT-2] [ATTEMPT-3] [WAIT-1] [WORKER-1]"""
    task = run(engine, clock, raises(error))

    assert (task.state, task.code) == (state, code)
    assert story(engine, task.id) == ["created", "leased", *types]


def test_a_retry_after_longer_than_the_backoff_counts(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[ATTEMPT-4] The event holds its delay."""
    retry = Retry(transient_max=5, delay_min_ms=10, delay_max_ms=10)
    longer = run(engine, clock, raises(Transient("busy", retry_after_ms=70)), retry=retry)
    shorter = run(engine, clock, raises(Transient("busy", retry_after_ms=3)), retry=retry)

    assert 70 <= longer.run_at_ms - clock.now_ms() <= 80
    assert shorter.run_at_ms == clock.now_ms() + 10


def test_a_permanent_failure_without_undo_or_waiver_is_for_a_human(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[COMP-2]"""
    task = run(engine, clock, raises(Permanent("no")), waive_compensation=None)
    assert (task.state, task.code) == ("quarantined", "compensation_required")

    waived = run(engine, clock, raises(Permanent("no", waive_compensation="read only")), waive_compensation=None)
    assert waived.state == "failed"


@pytest.mark.parametrize(
    "result", [object(), {1: 2}, float("nan"), "x" * 20_000_000, b"bytes"], ids=lambda r: type(r).__name__
)
def test_a_task_whose_result_cannot_be_stored_is_quarantined(
    result: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1] It is not done again."""
    task = run(engine, clock, lambda _context, _payload: {"found": [result]}, retry=Retry(delay_min_ms=0))

    assert (task.state, task.code, task.leases) == ("quarantined", "unstorable_result", 1)
    assert task.error is not None
    assert task.error.details["path"].startswith("result")
    assert task.unrecorded_steps == ()


def test_a_traceback_of_megabytes_leaves_a_small_event(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[BOUND-3] The event says where the handler broke."""

    def breaks() -> None:
        raise ValueError("\udc80 and " + "é\x00" * 2_000_000)

    # A frame of code whose file has a name of a megabyte, as generated code may have.
    long = compile("breaks()", "x" * 1_000_000, "exec")
    task = run(engine, clock, lambda _context, _payload: exec(long, {"breaks": breaks}))  # noqa: S102

    assert task.error is not None
    assert task.error.code == "ValueError"
    assert len(task.error.message) < 5_000
    assert "raise ValueError" in "\n".join(task.error.details["traceback"][:2])
    assert max(len(one.body) for one in engine.history(task.id)) < 70_000


def test_an_exception_whose_text_cannot_be_made_is_recorded_all_the_same(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("never")

    task = run(engine, clock, raises(Mute()))
    assert task.error is not None
    assert task.error.code == "Mute"


def test_an_outcome_in_a_group_of_exceptions_counts(
    real: sagalog.Engine,
) -> None:
    """[WORKER-1] [WAIT-2] A broken child leaves the event loop to others."""
    worker = sagalog.Worker(concurrency=4)

    @worker.task("group")
    async def group(context: Any, _payload: Any) -> Any:
        async with asyncio.TaskGroup() as tasks:
            waited = tasks.create_task(context.wait_signal("go"))
        return waited.result()

    @worker.task("breaks")
    async def breaks(_context: Any, _payload: Any) -> None:
        async def child() -> None:
            raise SystemExit(1)

        await asyncio.gather(child())

    @worker.task("quick")
    async def quick(_context: Any, payload: Any) -> Any:
        return payload

    waiting = real.create("group").id
    broken = real.create("breaks", retry=ONCE, waive_compensation=WAIVED).id
    with at_work(worker, real):
        until(real, waiting, lambda task: task.waiting is not None)
        real.signal(waiting, "go", "on")
        assert ended(real, waiting).result == "on"
        assert ended(real, broken).state == "failed"
        assert ended(real, real.create("quick", 1).id).result == 1
    assert story(real, waiting) == ["created", "leased", "parked", "signalled", "unblocked", "leased", "completed"]


class Unmade(Permanent):
    """An outcome whose class was not made as it should be."""

    def __init__(self, _number: int) -> None:
        """Say nothing to the base."""


class Hostile(Exception):
    """An exception whose text ends the program."""

    def __str__(self) -> str:
        raise SystemExit(9)


@pytest.mark.parametrize("error", [Unmade(3), Hostile()], ids=["unmade", "hostile"])
def test_no_exception_of_a_handler_ends_its_worker(
    error: BaseException, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1]"""
    task = run(engine, clock, raises(error))
    assert task.state == "failed"
    assert task.error is not None
    assert task.error.message


@pytest.mark.parametrize(
    ("said", "least_ms"),
    [
        (1_500.2, 1_501), (0.4, 1), (0, 0), ("30000", 30_000), (365 * 86_400_000, 365 * 86_400_000),
        (-3, None), (10**30, None), (1e300, None), (365 * 86_400_000 + 1, None), ("soon", None), ("nan", None),
        (float("inf"), None), (float("-inf"), None), (float("nan"), None), (True, None), ([5], None), (10**400, None),
    ],
)  # fmt: skip
def test_a_retry_after_of_any_sort_costs_no_more_than_a_wait(
    said: Any, least_ms: int | None, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[ATTEMPT-4]"""

    class SaidLater(Transient):
        def __init__(self) -> None:
            super().__init__("busy")
            self.retry_after_ms = said

    retry = Retry(attempts_max=1, transient_max=20, delay_min_ms=7, delay_max_ms=7)
    for error in (Transient("busy", retry_after_ms=said), SaidLater()):
        task = run(engine, clock, raises(error), retry=retry)
        assert (task.state, task.error and task.error.code) == ("pending", "transient")
        delay_ms = task.run_at_ms - clock.now_ms()
        assert delay_ms == 7 if least_ms is None else 0 <= delay_ms - max(7, least_ms) <= 7


def test_a_retry_after_of_any_sort_costs_an_undo_no_more_than_a_wait(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[ATTEMPT-4] [UNDO-3]"""
    retry = Retry(delay_min_ms=7, delay_max_ms=7, undo_attempts_max=2)
    undo = Compensation("undo", None)
    for said in (float("inf"), float("nan"), -1):
        task = run(
            engine,
            clock,
            raises(Permanent("no", compensations=[undo])),
            raises(Transient("busy", retry_after_ms=said)),
            retry=retry,
        )
        assert (task.state, task.error and task.error.code) == ("compensating", "transient")
        assert task.run_at_ms == clock.now_ms() + 7
