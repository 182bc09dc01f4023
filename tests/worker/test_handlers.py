"""What handlers do to a worker: they raise, hang, fork, exit, ignore what they are told; the log shows what came of it.

Rule: real workers with threads where threads matter; else turn by turn on a manual clock.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, Park, Permanent, Quarantine, Retry, Transient, failpoints
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.worker import UndoContext, WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.crew_of import at_work, ended, story, until
from tests.worker.inline import InlineWorker

WAIVED = "it has no effects"
ONCE = Retry(attempts_max=1, transient_max=1, undo_attempts_max=2, delay_min_ms=10, delay_max_ms=10)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


@pytest.fixture
def engine(clock: ManualClock) -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:", clock=clock, entropy=SeededEntropy(1)) as engine:
        yield engine


@pytest.fixture
def real(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path}/store.db") as engine:
        yield engine


def worker_of(
    engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **config: Any
) -> InlineWorker:
    """A worker whose one handler is this."""
    compensations = {} if undo is None else {"undo": undo}
    config = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": 100, "quarantine_unknown": True, **config}
    return InlineWorker(engine, WorkerConfig(("default",), {"do": handler}, compensations, **config), "w", clock)


def raises(error: BaseException) -> Any:
    def handler(_context: WorkContext, _payload: Any) -> None:
        raise error

    return handler


def run(engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **create: Any) -> sagalog.Task:
    """What becomes of a task whose handler is this, until the worker finds nothing more to do now."""
    task = engine.create("do", **{"retry": ONCE, "waive_compensation": WAIVED, **create})
    worker_of(engine, clock, handler, undo).until_idle()
    after = engine.get(task.id)
    assert after is not None
    return after


# --- outcomes ---------------------------------------------------------------------------------------------------------


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
    "result", [object(), {1: 2}, float("nan"), "x" * 2_000_000, b"bytes"], ids=lambda r: type(r).__name__
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


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_step_that_is_on_record_gives_its_result_and_is_not_run_again(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-1] [COMP-1]"""
    ran: list[str] = []

    def noted(name: str, result: Any) -> Any:
        ran.append(name)
        return result

    def handler(context: WorkContext, _payload: Any) -> Any:
        undo = Compensation("undo", {"n": 1})
        first = context.step("first", lambda: noted("first", {"n": 1}), compensation=undo)
        if context.attempt == 1:
            raise Failed("after the first")
        return [first, context.step("second", lambda: noted("second", 2))]

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, lambda _context, _params: None).until_idle()

    assert ran == ["first", "second"]
    assert engine.get(task.id).result == [{"n": 1}, 2]  # type: ignore[union-attr]
    assert story(engine, task.id).count("compensation_registered") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda context: context.step("a", lambda: 1), lambda context: context.step("b", lambda: 1)),
        (
            lambda context: (context.step("a", lambda: 1), context.step("b", lambda: 1)),
            lambda context: context.step("b", lambda: 1),
        ),
        (lambda _context: None, lambda context: (context.step("a", lambda: 1), context.step("a", lambda: 2))),
        (
            lambda context: (context.spawn("kid", "do", 1), context.step("a", lambda: 1)),
            lambda context: context.spawn("kid", "do", 2),
        ),
        (
            lambda context: context.step("a", lambda: 1, compensation=Compensation("undo", 1, id="u")) and 1 / 0,
            lambda context: (
                context.step("a", lambda: 1),
                context.step("b", lambda: 1, compensation=Compensation("undo", 2, id="u")),
            ),
        ),
    ],
    ids=["another step", "another order", "a name twice", "another child", "another undo of that id"],
)
def test_strict_code_that_disagrees_with_the_history_does_nothing(
    first: Any, second: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[STEP-1] [STEP-2] [REPEAT-3] [WORKER-4]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        if context.task.parent is not None:
            return
        (first if context.task.leases == 1 else second)(context)
        if context.task.leases == 1:
            raise Failed("once more")

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, lambda _context, _params: None, strict=frozenset({"do"})).until_idle()

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code) == ("quarantined", "step_mismatch")


def test_children_are_created_once_with_what_follows_and_waited_for(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[STEP-2] [WAIT-3]"""

    def handler(context: WorkContext, payload: Any) -> Any:
        if context.task.parent is not None:
            return payload * 2
        before = len(engine.find())
        for number in range(3):
            context.spawn(f"kid{number}", "do", number, waive_compensation=WAIVED)
        assert context.task.leases > 1 or len(engine.find()) == before
        return [task.result for task in context.wait_tasks()]

    task = run(engine, clock, handler)

    assert (task.state, task.result) == ("completed", [0, 2, 4])
    assert [other.parent for other in engine.find()] == [None, task.id, task.id, task.id]
    positions = {one.type: one.position for one in engine.history(task.id)}
    assert [one.position for one in engine.events() if one.type == "created"][1:] == [
        positions["parked"] - 3,
        positions["parked"] - 2,
        positions["parked"] - 1,
    ]


def test_a_signal_that_came_before_its_wait_is_there_when_the_wait_begins(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WAIT-2]"""
    task = engine.create("do")
    engine.signal(task.id, "go", {"by": "ann"})
    worker_of(engine, clock, lambda context, _payload: context.wait_signal("go")).until_idle()

    assert engine.get(task.id).result == {"by": "ann"}  # type: ignore[union-attr]
    assert story(engine, task.id) == ["created", "signalled", "leased", "parked", "unblocked", "leased", "completed"]


# --- undoing ----------------------------------------------------------------------------------------------------------


def test_an_undo_that_always_fails_ends_in_quarantine(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-3] [COMP-6] The task shows what it owes."""
    keys: list[str] = []

    def undo(context: UndoContext, _params: Any) -> None:
        keys.append(context.idempotency_key)
        raise OSError("still there")

    undos = [Compensation("undo", {"path": "wt"}, id="u")]
    task = engine.create("do", compensations=undos, retry=ONCE)
    worker = worker_of(engine, clock, raises(Permanent("no")), undo)
    for _ in range(3):
        worker.until_idle()
        clock.advance(10)

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code) == ("quarantined", "undo_attempts_spent")
    assert [(one.kind, one.params) for one in after.owed] == [("undo", {"path": "wt"})]
    assert "'u' of kind 'undo' failed 2 times" in str(after.reason)
    assert keys == [f"{task.id}/u"] * 2


def test_a_task_that_owes_an_unknown_kind_runs_none_of_its_undos(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-1] [UNDO-2] It is quarantined."""
    ran: list[str] = []
    undos = [Compensation("unheard-of"), Compensation("undo")]
    task = engine.create("do", compensations=undos)
    left = engine.create("do", compensations=undos, queue="other")
    engine.acquire(left.id, owner="x", ttl_ms=10).fail("no")
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda _context, _params: ran.append("undo"))
    worker.until_idle()
    clock.advance(1_000)
    worker.until_idle()

    after = engine.get(task.id)
    assert after is not None
    assert (after.state, after.code, ran) == ("quarantined", "unknown_compensation", [])
    assert engine.get(left.id).state == "compensating"  # type: ignore[union-attr]


def test_a_worker_leaves_unknown_kinds_to_others_and_names_each_once(
    engine: sagalog.Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """[UNDO-1] [UNDO-2]"""
    tasks = [engine.create("do", compensations=[Compensation("unheard-of", number)]) for number in range(2)]
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda *_: None, quarantine_unknown=False)
    with caplog.at_level("WARNING", "sagalog.worker"):
        worker.until_idle()
        clock.advance(1_000)
        worker.until_idle()
    assert [engine.get(task.id).state for task in tasks] == ["compensating"] * 2  # type: ignore[union-attr]
    warned = [one.getMessage() for one in caplog.records if "'unheard-of'" in one.getMessage()]
    assert len(warned) == 1
    assert "'default'" in warned[0]


def test_a_worker_names_the_unknown_undos_that_others_have_left(
    engine: sagalog.Engine, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """[UNDO-2]"""
    for queue, kind in (("default", "unheard-of"), ("elsewhere", "of-others")):
        id = engine.create("do", compensations=[Compensation(kind)], queue=queue).id
        engine.acquire(id, owner="x", ttl_ms=10).fail("no")
    worker = worker_of(engine, clock, raises(Permanent("no")), lambda *_: None, quarantine_unknown=False)
    with caplog.at_level("WARNING", "sagalog.worker"):
        for _ in range(3):
            worker.until_idle()
            clock.advance(60_000)
    warned = [one.getMessage() for one in caplog.records if "undo of kind" in one.getMessage()]
    assert len(warned) == 1
    assert "'unheard-of'" in warned[0]


def test_an_undo_that_no_worker_knows_is_quarantined_after_a_week(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-2]"""
    week_ms = 7 * 24 * 3_600_000
    worker = sagalog.Worker()
    worker.task("do")(raises(Permanent("no")))
    worker.compensation("undo")(lambda *_: None)
    task = engine.create("do", compensations=[Compensation("unheard-of")])
    for wait_ms, state, code in (
        (0, "compensating", "failed"),
        (week_ms - 1, "compensating", "failed"),
        (1, "quarantined", "undo_wait"),
    ):
        clock.advance(wait_ms)
        worker.run(engine, until="idle", handle_signals=False)
        after = engine.get(task.id)
        assert after is not None
        assert (after.state, after.code) == (state, code), wait_ms


# --- leases -----------------------------------------------------------------------------------------------------------


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


# --- handlers that do not end -----------------------------------------------------------------------------------------


def test_a_handler_that_takes_too_long_has_failed(real: sagalog.Engine) -> None:
    """[ATTEMPT-3] Its place is given to others."""
    worker = sagalog.Worker(concurrency=1, ttl_ms=1_000, grace_ms=0)
    release = threading.Event()

    @worker.task("hang", time_limit_ms=30)
    def hang(_context: WorkContext, _payload: Any) -> None:
        release.wait(20)

    @worker.task("obey", time_limit_ms=30)
    def obey(context: WorkContext, _payload: Any) -> None:
        context.wait_stop(20_000)
        context.go_on()

    @worker.task("quick")
    def quick(_context: WorkContext, payload: Any) -> Any:
        return payload

    hung, told, other = (
        real.create(kind, retry=ONCE, waive_compensation=WAIVED).id for kind in ("hang", "obey", "quick")
    )
    with at_work(worker, real):
        assert ended(real, other).state == "completed"
        for id in (hung, told):
            task = ended(real, id)
            assert task.error is not None
            assert (task.state, task.error.code) == ("failed", "time_limit")
        release.set()
    assert story(real, hung)[-1] == "failed"


def test_a_handler_that_ignores_a_cancel_completes_and_so_does_its_task(real: sagalog.Engine) -> None:
    """[CANCEL-2]"""
    worker = sagalog.Worker()
    begun, go_on = threading.Event(), threading.Event()

    @worker.task("deaf")
    def deaf(_context: WorkContext, _payload: Any) -> str:
        begun.set()
        go_on.wait(20)
        return "done"

    id = real.create("deaf").id
    with at_work(worker, real):
        assert begun.wait(20)
        real.cancel(id, "not needed")
        go_on.set()
        assert ended(real, id).result == "done"
    assert story(real, id)[-2:] == ["cancel_requested", "completed"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_copy_of_a_handler_that_forks_ends_and_writes_nothing(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    children: list[int] = []

    @worker.task("fork")
    def fork(_context: WorkContext, _payload: Any) -> str:
        child = os.fork()
        if child:
            children.append(child)
            return "parent"
        return "child"

    id = real.create("fork").id
    with at_work(worker, real):
        assert ended(real, id).result == "parent"
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == os.EX_SOFTWARE
    assert story(real, id) == ["created", "leased", "completed"]


def test_coroutines_and_functions_work_side_by_side(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=3)

    @worker.task("plain")
    def plain(context: WorkContext, payload: int) -> int:
        return context.step("add", lambda: payload + 1)

    @worker.task("coroutine")
    async def coroutine(context: Any, payload: int) -> int:
        async def add() -> int:
            return payload + 1

        await context.sleep("nap", 1)
        added: int = await context.step("add", add)
        return added

    ids = [real.create(kind, number).id for number in range(6) for kind in ("plain", "coroutine")]
    with at_work(worker, real):
        assert [ended(real, id).result for id in ids] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_a_worker_that_shuts_down_gives_back_what_it_has_not_begun(real: sagalog.Engine) -> None:
    """[ATTEMPT-1] [WORKER-3]"""
    worker = sagalog.Worker(concurrency=1, claim_ahead=3, grace_ms=20_000)
    begun, go_on = threading.Event(), threading.Event()

    @worker.task("slow")
    def slow(context: WorkContext, _payload: Any) -> bool:
        begun.set()
        go_on.wait(20)
        return context.stopping

    ids = [real.create("slow").id for _ in range(4)]
    thread = threading.Thread(target=worker.run, args=(real,))
    thread.start()
    assert begun.wait(20)
    until(real, ids[3], lambda task: task.lease is not None)
    worker.stop()
    for id in ids[1:]:
        until(real, id, lambda task: task.lease is None)
    go_on.set()
    thread.join(20)

    assert ended(real, ids[0]).result is True
    assert [story(real, id)[-1] for id in ids[1:]] == ["released"] * 3


@pytest.mark.parametrize("decorator", ["task", "compensation"])
def test_a_decorator_without_its_kind_is_refused(decorator: str) -> None:
    worker = sagalog.Worker()
    with pytest.raises(sagalog.InvalidValue, match=rf"name the kind, as in @worker\.{decorator}\("):
        getattr(worker, decorator)(print)


@pytest.mark.parametrize("strict", ["yes", 1, None])
def test_strict_is_true_or_false(strict: Any) -> None:
    with pytest.raises(sagalog.InvalidValue, match="strict: expected True or False"):
        sagalog.Worker().task("order", strict=strict)


def test_a_worker_without_handlers_and_one_that_runs_already_say_so(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    with pytest.raises(sagalog.Rejected, match="no handler"):
        worker.run(real)

    @worker.task("do")
    def do(_context: WorkContext, _payload: Any) -> None: ...

    with pytest.raises(sagalog.InvalidValue, match="has a handler already"):
        worker.task("do")(do)
    id = real.create("do").id
    with at_work(worker, real):
        ended(real, id)
        with pytest.raises(sagalog.Rejected, match="runs already"):
            worker.run(real)
    assert worker.run(real, until="idle").claimed == 0


def test_a_worker_that_ends_when_idle_has_seen_what_its_last_work_let_in(real: sagalog.Engine) -> None:
    """[WAIT-3]"""
    worker = sagalog.Worker(concurrency=2)

    @worker.task("parent")
    def parent(context: WorkContext, _payload: Any) -> Any:
        context.spawn("kid", "child", 1)
        return [task.result for task in context.wait_tasks()]

    @worker.task("child")
    def child(_context: WorkContext, payload: Any) -> Any:
        return payload + 1

    ids = [real.create("parent").id for _ in range(5)]
    worker.run(real, until="idle")
    assert [real.get(id).result for id in ids] == [[2]] * 5  # type: ignore[union-attr]


def test_a_task_that_is_cancelled_before_it_is_begun_is_not_begun(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[CANCEL-2]"""
    began: list[str] = []
    task = engine.create("do")
    worker = worker_of(engine, clock, lambda context, _payload: began.append(context.task.id))
    worker.turn()
    engine.cancel(task.id, "not needed")
    clock.advance(40)
    worker.turn()
    worker.until_idle()
    assert (began, engine.get(task.id).state) == ([], "cancelled")  # type: ignore[union-attr]


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


def test_the_newest_progress_is_written_with_a_renewal(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[LEASE-3]"""

    def handler(context: WorkContext, _payload: Any) -> None:
        context.progress({"done": 1})
        context.progress({"done": 2})
        clock.advance(40)
        worker.worker_loop.turn()
        seen = engine.get(context.task.id)
        assert seen is not None
        assert seen.progress == {"done": 2}
        context.progress(object())
        clock.advance(40)
        worker.worker_loop.turn()

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
            worker.worker_loop.turn()
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
            worker.worker_loop.turn()
        return context.step("only", lambda: "done")

    task = engine.create("do")
    worker = worker_of(engine, clock, handler)
    worker.until_idle()

    assert engine.get(task.id).result == "done"  # type: ignore[union-attr]
    told = [one for one in story(engine, task.id) if one != "heartbeat"]
    assert told == ["created", "leased", "step_completed", "completed"]


def test_a_coroutine_behind_functions_is_begun_when_they_have_ended(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=2, claim_ahead=5)
    both = threading.Barrier(2, timeout=20)

    @worker.task("plain")
    def plain(_context: WorkContext, _payload: Any) -> None:
        both.wait()

    @worker.task("coroutine")
    async def coroutine(_context: Any, payload: Any) -> Any:
        return payload

    ids = [real.create(kind, "begun").id for kind in ("plain", "plain", "coroutine")]
    with at_work(worker, real):
        assert ended(real, ids[-1]).result == "begun"


def test_many_tasks_at_hand_need_no_more_threads_than_may_run(real: sagalog.Engine) -> None:
    worker = sagalog.Worker(concurrency=2, claim_ahead=200)
    alive: list[int] = []

    @worker.task("do")
    def do(_context: WorkContext, _payload: Any) -> None:
        alive.append(sum(one.name.startswith("sagalog-handler") for one in threading.enumerate()))

    real.create_many({"kind": "do"} for _ in range(200))
    assert worker.run(real, until="idle").settled == 200
    assert max(alive) <= 2


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


def test_a_callback_that_fails_keeps_no_other_from_being_told(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-2]"""
    told = threading.Event()

    def fails() -> None:
        raise RuntimeError("callback")

    def handler(context: WorkContext, _payload: Any) -> None:
        with context.on_stop(fails), context.on_stop(told.set):
            clock.advance(90)
            worker.worker_loop.watch()
            assert told.wait(20)

    engine.create("do", id="a")
    worker = worker_of(engine, clock, handler)
    worker.turn()
    worker.run_job()
    assert told.is_set()


def test_a_handler_that_interrupts_itself_does_not_go_round_for_ever(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[LIFE-2] [ATTEMPT-2]"""
    task = run(engine, clock, raises(sagalog.Interrupted()))
    assert (task.state, task.code) == ("failed", "transients_spent")


def test_a_step_on_record_that_strict_code_does_not_ask_is_a_mismatch(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-4] [STEP-2] A parent that is interrupted begins no child."""

    def handler(context: WorkContext, _payload: Any) -> None:
        if context.task.leases == 1:
            context.step("a", lambda: 1)
            raise Failed("again")

    task = engine.create("do", retry=Retry(delay_min_ms=0, delay_max_ms=0))
    worker_of(engine, clock, handler, strict=frozenset({"do"})).until_idle()
    assert engine.get(task.id).code == "step_mismatch"  # type: ignore[union-attr]

    def parent(context: WorkContext, _payload: Any) -> None:
        context.spawn("kid", "do")
        engine.cancel(context.task.id)
        worker.worker_loop._look_for_cancels()
        context.go_on()

    called_off = engine.create("do")
    worker = worker_of(engine, clock, parent)
    worker.until_idle()
    assert engine.get(called_off.id).state == "cancelled"  # type: ignore[union-attr]
    assert len(engine.find()) == 2


def test_an_undo_settled_by_word_that_fails_leaves_the_rest_to_the_next(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-4] The next holder does them."""
    undone: list[str] = []

    def undo(context: UndoContext, _params: Any) -> None:
        if context.compensation == "b":
            engine.waive(context.task.id, "b", "gone already")
            raise OSError("as they said")
        undone.append(context.compensation)

    undos = [Compensation("undo", id="a"), Compensation("undo", 2, id="b")]
    task = run(engine, clock, raises(Permanent("no")), undo, compensations=undos)
    assert (task.state, undone) == ("compensated", ["a"])


def test_a_context_that_outlives_its_handler_begins_nothing_more(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-1]"""
    kept: list[WorkContext] = []
    ran: list[int] = []
    run(engine, clock, lambda context, _payload: kept.append(context))
    with pytest.raises(sagalog.Interrupted, match="has ended"):
        kept[0].step("late", ran.append, 1)
    with pytest.raises(sagalog.Interrupted, match="has ended"):
        kept[0].spawn("kid", "do")
    assert ran == []


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
