"""What happens between two lines of a worker's commit: time passes, answers are lost, handlers go on.

Rule: a manual clock, real threads where they matter, faults in a row; nothing waits for a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent, Unavailable, Unknown
from sagalog.engine import holder_verbs
from sagalog.store.memory import MemoryStore
from sagalog.store.memory_snapshot import MemorySnapshot
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.faults import answer_lost, away, faults, slow_commits
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.crew_of import PATIENCE_S, at_work, ended, story
from tests.worker.inline import InlineWorker
from tests.worker.threaded import ThreadedWorker

TTL_MS = 100
UNDO = Compensation("undo", {"n": 1}, id="u")
BEFORE, AFTER = "commit.before_begin", "commit.after_commit"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


def plan_of(handler: Any, undo: Any = None, **given: Any) -> WorkerConfig:
    compensations = {} if undo is None else {"undo": undo}
    given = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": TTL_MS, "quarantine_unknown": False, **given}
    return WorkerConfig(("default",), {"do": handler}, compensations, **given)


def failing(engine: sagalog.Engine, *ids: str) -> None:
    """Tasks that are to be undone."""
    for id in ids:
        engine.create("do", id=id, compensations=[UNDO])
        engine.acquire(id, owner="another", ttl_ms=TTL_MS).fail("no")


# --- time passes in a commit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before_ms", "after_ms"), [(50, 0), (0, 50), (25, 25)])
def test_a_lease_is_measured_from_the_sending_of_its_claim(
    engine: sagalog.Engine, clock: ManualClock, before_ms: int, after_ms: int
) -> None:
    """[WORKER-2] The answer of a commit comes later than its request, and the store's clock may have run meanwhile."""
    lost: list[tuple[int, bool]] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        for ms in (29, 1):
            clock.advance(ms)
            worker.worker_loop.watch()
            lost.append((clock.monotonic_ms() - sent_ms, context.lost))

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.worker_loop.look()
    sent_ms = clock.monotonic_ms()
    with slow_commits(clock, before_ms, after_ms):
        worker.worker_loop.turn()
    worker.run_job()
    # Told at 80 of 100 ms since the sending, not since the answer.
    assert lost == [(79, False), (80, True)]


@pytest.mark.parametrize(("before_ms", "after_ms"), [(30, 0), (0, 30)])
def test_a_renewal_is_measured_from_its_sending(
    engine: sagalog.Engine, clock: ManualClock, before_ms: int, after_ms: int
) -> None:
    """[WORKER-2]"""
    lost: list[tuple[int, bool]] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        clock.advance(40)
        sent_ms = clock.monotonic_ms()
        with slow_commits(clock, before_ms, after_ms):
            worker.worker_loop.turn()
        assert worker.worker_loop.stats.renewed == 1
        for ms in (49, 1):
            clock.advance(ms)
            worker.worker_loop.watch()
            lost.append((clock.monotonic_ms() - sent_ms, context.lost))

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.turn()
    worker.run_job()
    assert lost == [(79, False), (80, True)]


def test_the_watchdog_tells_a_handler_while_its_renewal_is_under_way(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] The commit of that renewal is running.

    In real threads: the worker's own is in the commit, and its watchdog is not.
    """
    begun = threading.Event()
    lost: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        begun.set()
        lost.append(context.wait_stop(int(PATIENCE_S * 1_000)) and context.lost)

    engine.create("do")
    with ThreadedWorker(engine, plan_of(handler), "w", clock) as worker:
        worker.turn()
        assert begun.wait(PATIENCE_S)
        clock.advance(40)

        def hang() -> None:
            clock.advance(45)
            worker.worker_loop.watch()
            worker.take()

        with faults(BEFORE, hang):
            worker.worker_loop.turn()
        assert lost == [True]


def test_progress_that_is_told_during_a_renewal_is_written_with_the_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[LEASE-3]"""
    seen: list[Any] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress({"done": 1})
        for fault in (lambda: context.progress({"done": 2}), None):
            clock.advance(40)
            with faults(AFTER, fault):
                worker.worker_loop.turn()
            seen.append(engine.get(context.task.id).progress)  # type: ignore[union-attr]
        # What is written is written once.
        clock.advance(40)
        worker.worker_loop.turn()
        newest = engine.history(context.task.id)[-1].event
        seen.append(newest.progress)  # type: ignore[attr-defined]

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert seen == [{"done": 1}, {"done": 2}, None]


def test_progress_of_a_renewal_that_failed_is_written_with_the_next(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-3]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress("half")
        clock.advance(40)
        with faults(BEFORE, away), pytest.raises(Unavailable):
            worker.worker_loop.turn()
        worker.worker_loop.turn()
        assert engine.get(context.task.id).progress == "half"  # type: ignore[union-attr]

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert worker.worker_loop.stats.settled == 1


# --- commits of unknown outcome ---------------------------------------------------------------------------------------


class ShortOfReads(MemoryStore):
    """A memory store that cannot be read so many times."""

    left = 0

    @contextmanager
    def read(self) -> Iterator[MemorySnapshot]:
        if self.left:
            self.left -= 1
            raise Unavailable("no snapshot is to be had")
        with super().read() as snapshot:
            yield snapshot


def test_tasks_claimed_in_an_unknown_commit_are_found_after_more_failures(
    clock: ManualClock,
) -> None:
    """[REPEAT-1] Unknown, then Unavailable again and again: that says nothing of what was claimed."""
    ran: list[str] = []
    store = ShortOfReads(clock)
    engine = sagalog.Engine(store, clock=clock, entropy=SeededEntropy(1))
    for id in ("a", "b"):
        engine.create("do", id=id)
    worker = InlineWorker(engine, plan_of(lambda context, _payload: ran.append(context.task.id)), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.turn()
    assert worker.worker_loop.held == 0
    for reads in (1, 2, 3):
        # It fails before it finds the first, between the two, and behind them.
        store.left = 0
        with faults(BEFORE, away), suppress(Unavailable):
            engine.note("a", "anything")
        store.left = reads
        with suppress(Unavailable):
            worker.worker_loop.turn()
    store.left = 0
    worker.until_idle()

    assert sorted(ran) == ["a", "b"]
    for id in ("a", "b"):
        assert [one for one in story(engine, id) if one != "noted"] == ["created", "leased", "completed"]


def test_undos_claimed_in_an_unknown_commit_are_carried_out(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[REPEAT-1] [UNDO-3]"""
    undone: list[str] = []
    failing(engine, "a", "b")
    worker = InlineWorker(engine, plan_of(None, lambda context, _params: undone.append(context.task.id)), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.turn()
    worker.until_idle()

    assert sorted(undone) == ["a", "b"]
    assert story(engine, "a") == ["created", "leased", "failed", "leased", "compensation_done", "compensated"]


def test_tasks_found_after_an_unknown_commit_count_time_from_that_claim(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] Their leases are measured from the commit that claimed them."""
    told: list[bool] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        clock.advance(9)
        worker.worker_loop.watch()
        told.append(context.lost)
        clock.advance(1)
        worker.worker_loop.watch()
        told.append(context.lost)

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.turn()
    clock.advance(70)
    # The first turn after that finds it; its own commit says nothing of when the lease began.
    worker.worker_loop._find_own()
    worker.run_job()
    assert told == [False, True]


def test_a_closing_worker_gives_back_what_an_unknown_commit_claimed(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-3] Nothing of it is begun, and none of it waits for its lease to run out."""
    ran: list[str] = []
    engine.create("do", id="a")
    failing(engine, "b")
    worker = InlineWorker(engine, plan_of(lambda *_: ran.append("work"), lambda *_: ran.append("undo")), "w", clock)
    worker.worker_loop.look()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.turn()
    assert (story(engine, "a")[-1], story(engine, "b")[-1]) == ("created", "leased")
    with faults(AFTER, None, answer_lost):
        # It finds the undo, and in the second commit from there it claims the work.
        while story(engine, "a")[-1] == "created":
            with suppress(Unknown):
                worker.turn()
    worker.worker_loop.announce_stop()
    before = worker.worker_loop.owes
    worker.worker_loop.turn()

    assert (before, worker.worker_loop.owes) == (True, False)
    assert worker.pool.waiting == []
    assert ran == []
    assert [story(engine, id)[-1] for id in ("a", "b")] == ["released", "released"]
    assert [task.attempt for task in engine.find()] == [1, 1]


def test_a_stopped_worker_leaves_no_lease_of_an_unknown_commit() -> None:
    """[WORKER-3] A real worker is told to stop in that commit."""
    worker = sagalog.Worker(ttl_ms=600_000)
    worker.task("do")(lambda _context, _payload: "done")

    with sagalog.open("memory:") as opened:

        def stop_and_lose() -> None:
            if any(task.lease is not None for task in opened.find()):
                worker.stop()
                answer_lost()

        opened.create("do", id="a")
        with faults(AFTER, *[stop_and_lose] * 10):
            worker.run(opened, handle_signals=False)
        task = opened.get("a")
        assert task is not None
        assert (task.state, task.lease, task.attempt) == ("pending", None, 1)
        assert story(opened, "a") == ["created", "leased", "released"]


def test_a_settlement_whose_answer_was_lost_is_written_once(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[REPEAT-5] The store is lost as well, afterwards."""
    engine.create("do", id="a")
    worker = InlineWorker(engine, plan_of(lambda *_: "done"), "w", clock)
    worker.turn()
    worker.run_job()
    with faults(AFTER, answer_lost), pytest.raises(Unknown):
        worker.worker_loop.turn()
    with faults(BEFORE, away), pytest.raises(Unavailable):
        worker.worker_loop.turn()
    worker.until_idle()
    assert story(engine, "a") == ["created", "leased", "completed"]
    assert (worker.worker_loop.stats.settled, worker.worker_loop.stats.lost) == (1, 0)


def test_a_step_whose_answer_was_lost_twice_is_recorded_once_and_run_once(tmp_path: Any) -> None:
    """[STEP-1] [REPEAT-3]"""
    worker = sagalog.Worker()
    ran: list[int] = []
    planned: list[Any] = []

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> Any:
        with faults(AFTER, answer_lost, answer_lost) as happened, faults(BEFORE, None, away):
            planned.append(happened)
            return context.step("once", lambda: ran.append(1) or "written", compensation=UNDO)  # type: ignore[func-returns-value]

    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        id = engine.create("do").id
        with at_work(worker, engine):
            assert ended(engine, id).result == "written"
        assert planned[0].left == 0
        assert ran == [1]
        assert story(engine, id) == ["created", "leased", "compensation_registered", "step_completed", "completed"]


@pytest.mark.parametrize("together", [True, False])
def test_an_unknown_batch_names_every_task_that_it_would_create(engine: sagalog.Engine, together: bool) -> None:
    """It names those within groups, too."""
    ids: list[str] = []

    def record() -> None:
        with engine.batch(together=together) as batch:
            ids.append(batch.create("do"))
            if not together:
                with batch.group():
                    ids.append(batch.create("do"))
                    batch.note(ids[0], "seen")
                    ids.append(batch.create("do"))
            batch.note(ids[0], "seen again")
            ids.append(batch.create("do"))

    with faults(AFTER, answer_lost), pytest.raises(Unknown) as unknown:
        record()
    assert unknown.value.fields["identity"] == {"ids": ids}
    assert [task.id for task in engine.find()] == ids


# --- a commit that is refused -----------------------------------------------------------------------------------------


def test_children_of_a_refused_step_are_left_to_what_is_written_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-2] The children stand or fall with what they were to be recorded with, and none is lost or made twice."""
    found: list[int] = []

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload
        context.spawn("kid", "do", 1)
        context.spawn("other", "do", 2)
        engine.waive(context.task.id, "u", "not needed")
        with pytest.raises(sagalog.StepMismatch):
            # Its undo was settled before this lease, so the registration is refused, and all that came with it.
            context._record("an undo", holder_verbs.register, Compensation("undo", {"n": 2}, id="u"))
        found.append(len(engine.find()))
        context.step("next", lambda: "written")
        found.append(len(engine.find()))
        return "done"

    task = engine.create("do", compensations=[UNDO])
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert found == [1, 3]
    assert [one.state for one in engine.find()] == ["completed"] * 3
    assert story(engine, task.id) == ["created", "leased", "compensation_waived", "step_completed", "completed"]


@pytest.mark.parametrize("how", ["fails", "interrupted"])
def test_children_of_a_refused_step_need_a_handler_that_tells_its_end(
    engine: sagalog.Engine, clock: ManualClock, how: str
) -> None:
    """[STEP-2] No other outcome begins them."""

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload
        context.spawn("kid", "do", 1)
        context.step("a", lambda: 1)
        context.spawn("other", "do", 2)
        with pytest.raises(sagalog.StepMismatch):
            context._record("a step", holder_verbs.step, "a", "another result")
        if how == "fails":
            raise Permanent("no way on", waive_compensation="nothing was done")
        engine.cancel(context.task.id)
        worker.worker_loop._look_for_cancels()
        context.go_on()
        return None

    engine.create("do")
    worker = InlineWorker(engine, plan_of(handler), "w", clock)
    worker.until_idle()
    assert len(engine.find()) == (3 if how == "fails" else 2)


# --- compensations that are being registered --------------------------------------------------------------------------


def stopped_while_it_registers(
    engine: sagalog.Engine, clock: ManualClock, act: Callable[[str, InlineWorker], None]
) -> list[str]:
    """What a step does whose undo is being put on record while something happens."""
    effects: list[str] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        with faults(BEFORE, lambda: act(context.task.id, worker)):
            context.step("make", lambda: effects.append("made"), compensation=UNDO)

    engine.create("do", id="a")
    worker = InlineWorker(engine, plan_of(handler, lambda *_: effects.append("undone")), "w", clock)
    worker.turn()
    worker.run_job()
    worker.turn()
    return effects


def test_a_cancel_before_an_undo_is_registered_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-4] [CANCEL-1] No caller has told the worker: it reads so in the answer of its own commit."""
    made = stopped_while_it_registers(engine, clock, lambda id, _: asked(engine, id))
    assert made == []
    assert story(engine, "a")[:4] == ["created", "leased", "cancel_requested", "compensation_registered"]
    assert engine.get("a").state == "compensating"  # type: ignore[union-attr]


def asked(engine: sagalog.Engine, id: str) -> None:
    engine.cancel(id, "not needed")


def at_once(engine: sagalog.Engine, id: str) -> None:
    engine.cancel(id, now=True)


def test_a_cancel_at_once_during_a_registration_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[FENCE-2] It comes while an undo is registered."""
    made = stopped_while_it_registers(engine, clock, lambda id, _: at_once(engine, id))
    assert made == []
    assert engine.get("a").state == "cancelled"  # type: ignore[union-attr]


def test_a_doubtful_lease_during_a_registration_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] It may be over while an undo is registered."""

    def pass_time(_id: str, worker: InlineWorker) -> None:
        clock.advance(85)
        worker.worker_loop.watch()

    assert stopped_while_it_registers(engine, clock, pass_time) == []
    assert story(engine, "a")[2] == "compensation_registered"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_cancel_during_a_registration_reaches_handlers_in_threads(
    engine: sagalog.Engine, clock: ManualClock, kind: str
) -> None:
    """[WORKER-4] [CANCEL-2] The threads are real, and an undo is being registered."""
    effects: list[str] = []

    def plain(context: WorkContext, _payload: Any) -> None:
        context.step("make", lambda: effects.append("made"), compensation=UNDO)

    async def coroutine(context: Any, _payload: Any) -> None:
        await context.step("make", lambda: effects.append("made"), compensation=UNDO)

    engine.create("do", id="a")
    handler = plain if kind == "plain" else coroutine
    with ThreadedWorker(engine, plan_of(handler, lambda *_: effects.append("undone")), "w", clock) as worker:
        worker.worker_loop.look()
        # The claim's commit is the first to get there, and the registration the second.
        with faults(BEFORE, None, lambda: asked(engine, "a")):
            worker.worker_loop.turn()
            worker.take()
        assert effects == []
        worker.turn()
        worker.turn()
        worker.take()
        worker.turn()
    assert effects == ["undone"]
    assert story(engine, "a") == [
        *("created", "leased", "cancel_requested", "compensation_registered", "released", "cancelled"),
        *("leased", "compensation_done", "compensated"),
    ]
