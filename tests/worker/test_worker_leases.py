"""Leases of a worker: how they are renewed, and what jumping clocks and a store that is away cost them."""

from __future__ import annotations

import threading
from typing import Any

import sagalog
from sagalog import failpoints
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from tests.worker.inline_runs import worker_of
from tests.worker.worker_processes import at_work, ended, story


def test_all_leases_are_renewed_in_one_commit_with_what_else_is_due(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-3]"""
    for id in ("a", "b", "c"):
        engine.create("do", id=id)
    worker = worker_of(engine, clock, lambda context, _payload: context.task.id, concurrency=3)
    worker.turn()
    clock.advance(40)
    worker.run_job()
    engine.create("do", id="d")
    commits = worker.worker_loop.stats.commits
    worker.turn()

    assert worker.worker_loop.stats.commits == commits + 1
    newest = [one.type for one in engine.events()][-4:]
    assert sorted(newest) == ["completed", "heartbeat", "heartbeat", "leased"]


def test_a_handler_is_told_before_its_lease_can_end(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[FENCE-2] [WORKER-2] Nothing is written late."""
    told: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        clock.advance(85)
        worker.worker_loop.watch()
        told.append(context.lost)
        clock.advance(20)
        engine.claim("default", owner="other", ttl_ms=1_000)
        context.step("late", lambda: told.append(True))

    task = engine.create("do")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()

    assert told == [True]
    assert story(engine, task.id) == ["created", "leased", "lease_expired", "leased"]


def test_two_workers_of_one_name_do_not_take_each_other_for_themselves(real: sagalog.Engine) -> None:
    """[LEASE-1]"""
    together = threading.Barrier(2, timeout=20)

    def handler(context: WorkContext, _payload: Any) -> str:
        together.wait()
        return context.owner

    workers = []
    for _ in range(2):
        worker = sagalog.Worker(name="twin", concurrency=1)
        worker.task("do")(handler)
        workers.append(worker)
    tasks = [real.create("do") for _ in range(2)]
    with at_work(workers[0], real), at_work(workers[1], real):
        owners = {ended(real, task.id).result for task in tasks}

    assert len(owners) == 2
    assert all(owner.startswith("twin-") for owner in owners)


def test_the_newest_progress_is_written_with_a_renewal(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-3]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress({"done": 1})
        context.progress({"done": 2})
        clock.advance(40)
        worker.worker_loop.run_round()
        seen = engine.get(context.task.id)
        assert seen is not None
        assert seen.progress == {"done": 2}
        context.progress(object())
        clock.advance(40)
        worker.worker_loop.run_round()

    task = engine.create("do")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()
    assert engine.get(task.id).state == "completed"  # type: ignore[union-attr]


def test_a_clock_that_jumps_forward_costs_a_lease_and_no_step(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-2] [FENCE-2] [WORKER-2]"""
    jumps = [3_600_000]
    told: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> list[int]:
        first = context.step("first", lambda: context.task.leases)
        if jumps:
            clock.step(jumps.pop())
            clock.advance(40)
            worker.worker_loop.run_round()
            told.append(context.lost)
        return [first, context.step("second", lambda: context.task.leases)]

    task = engine.create("do")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()

    after = engine.get(task.id)
    assert after is not None
    assert (told, after.state, after.result, after.attempt) == ([True], "completed", [1, 2], 1)
    assert story(engine, task.id) == [
        *("created", "leased", "step_completed", "lease_expired", "leased", "step_completed", "completed")
    ]


def test_a_clock_that_jumps_back_costs_nothing(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[TIME-3] [LEASE-3]"""

    def handler(context: WorkContext, _payload: Any) -> str:
        clock.step(-3_600_000)
        for _ in range(4):
            clock.advance(40)
            worker.worker_loop.run_round()
        return context.step("only", lambda: "done")

    task = engine.create("do")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()

    assert engine.get(task.id).result == "done"  # type: ignore[union-attr]
    told = [one for one in story(engine, task.id) if one != "heartbeat"]
    assert told == ["created", "leased", "step_completed", "completed"]


def test_a_store_that_is_away_for_a_while_costs_neither_a_lease_nor_a_step(real: sagalog.Engine) -> None:
    """[LEASE-3] [STEP-1]"""
    worker = sagalog.Worker(ttl_ms=20_000)
    begun, away = threading.Event(), threading.Event()
    failures: list[int] = []

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> Any:
        begun.set()
        away.wait(20)
        context.progress({"at": "the step"})
        return context.step("write", lambda: "written")

    def fail() -> None:
        failures.append(1)
        raise sagalog.Unavailable("the disk is full")

    id = real.create("do").id
    with at_work(worker, real):
        assert begun.wait(20)
        failpoints.armed["commit.before_begin"] = fail
        try:
            while not failures:
                real.wait_change(real.changes(), 5)
            away.set()
            while len(failures) < 6:
                real.wait_change(real.changes(), 5)
        finally:
            del failpoints.armed["commit.before_begin"]
        assert ended(real, id).result == "written"
    assert [one for one in story(real, id) if one != "heartbeat"] == [
        "created",
        "leased",
        "step_completed",
        "completed",
    ]


def test_tasks_leased_in_an_unknown_commit_are_found_and_worked_on(real: sagalog.Engine) -> None:
    """[REPEAT-1]"""
    worker = sagalog.Worker()
    worker.task("do")(lambda _context, _payload: "done")
    id = real.create("do").id
    unknown: list[int] = []

    def lose_the_answer() -> None:
        if any(one.type == "leased" for one in real.history(id)) and not unknown:
            unknown.append(1)
            raise sagalog.Unknown("the commit may have been written")

    failpoints.armed["commit.after_commit"] = lose_the_answer
    try:
        with at_work(worker, real):
            assert ended(real, id).result == "done"
    finally:
        del failpoints.armed["commit.after_commit"]
    assert unknown
    assert story(real, id) == ["created", "leased", "completed"]
