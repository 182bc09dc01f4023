"""Preflights: a worker claims a kind only while its machine can do it; tasks wait unharmed meanwhile."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, ClassVar

import pytest

import sagalog
import sagalog.aio
from sagalog import Compensation, FailedPreflight, InvalidValue, Rejected
from sagalog.testing import ManualClock
from sagalog.worker.claims import PASSED_MS
from sagalog.worker.config import PREFLIGHT_RETRY_MS, PREFLIGHT_TIMEOUT_MS, PREFLIGHT_VALID_MS, Preflight, WorkerConfig
from sagalog.worker.handler_pool import Inbox, ThreadHandlerPool
from sagalog.worker.preflights import Preflights, verdict
from sagalog.worker.registration import Registration
from sagalog.worker.worker_loop import WorkerLoop
from tests.worker.inline import InlineHandlerPool
from tests.worker.worker_processes import PATIENCE_S, at_work, ended, story, until


def done(_context: Any, _given: Any) -> str:
    return "done"


class Checked:
    """A worker loop with real threads and preflights, on a clock that a test moves."""

    pools: ClassVar[list[ThreadHandlerPool]] = []

    def __init__(self, engine: sagalog.Engine, clock: ManualClock, *preflights: Preflight, undo: bool = False) -> None:
        config = WorkerConfig(
            ("default",),
            {"claude": done, "plain": done},
            {"undo": done, "clean": done} if undo else {},
            4,
            0,
            600_000,
            False,
            preflights=preflights,
        )
        self.engine = engine
        self.inbox = Inbox()
        self.pool = ThreadHandlerPool(4, self.inbox)
        self.pools.append(self.pool)
        self.preflights = Preflights(preflights, self.pool.start_preflight, self.inbox.put, clock)
        self.registration = Registration(engine, "w", config)
        name = self.registration.name
        self.worker_loop = WorkerLoop(engine, config, name, self.pool, clock, self.registration, self.preflights)

    def turn(self) -> None:
        """Look, write what is due, and take what ends meanwhile."""
        self.worker_loop.look()
        while self.worker_loop.run_round():
            while any(not job.ended for job in self.worker_loop._jobs):
                self.worker_loop.collect(self.inbox.take(PATIENCE_S))
        self.registration.write_alone(self.worker_loop.running)

    def answered(self) -> None:
        """Turn once every preflight that was begun has answered."""
        self.turn()
        for state in self.preflights._states:
            if state.future is not None:
                state.future.exception(PATIENCE_S)
        self.turn()

    def failed(self) -> list[FailedPreflight]:
        """What the worker's row shows."""
        [worker] = self.engine.workers()
        return list(worker.failed_preflights)


def preflight(function: Callable[[], Any], name: str = "claude", kinds: tuple[str, ...] = ("claude",)) -> Preflight:
    return Preflight(name, function, kinds, (), PREFLIGHT_VALID_MS, PREFLIGHT_RETRY_MS)


class Answers:
    """A preflight that answers what a test says, and counts its calls."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    yield
    while Checked.pools:
        Checked.pools.pop().close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "sagalog.worker")
    return caplog


# --- what is claimed --------------------------------------------------------------------------------------------------


def test_nothing_of_a_kind_is_claimed_before_its_first_success(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9] Other kinds go on meanwhile."""
    go_on = threading.Event()
    worker = Checked(engine, clock, preflight(lambda: None if go_on.wait(PATIENCE_S) else "late"))
    held, other = engine.create("claude").id, engine.create("plain").id
    worker.turn()
    assert (story(engine, held), story(engine, other)[-1]) == (["created"], "completed")
    assert not worker.worker_loop.is_idle

    go_on.set()
    worker.answered()

    assert story(engine, held)[-1] == "completed"
    assert worker.worker_loop.is_idle


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (False, "it returned False"),
        ("no such program", "no such program"),
        ("", ""),
        (FileNotFoundError("claude"), "FileNotFoundError: claude"),
        (SystemExit(3), "SystemExit: 3"),
        ("\ud800", "\\ud800"),
        ("x" * 2_000, "x" * 999 + "…"),
    ],
)
def test_a_failure_holds_its_kinds_and_burns_nothing(
    engine: sagalog.Engine, clock: ManualClock, answer: Any, text: str
) -> None:
    """[WORKER-9] The worker's row says why."""
    check = Answers(answer)
    worker = Checked(engine, clock, preflight(check))
    task = engine.create("claude").id
    worker.answered()
    since_ms = clock.now_ms()
    for _ in range(3):
        clock.advance(PREFLIGHT_RETRY_MS)
        worker.answered()

    assert (story(engine, task), check.calls) == (["created"], 4)
    assert worker.failed() == [FailedPreflight("claude", text, since_ms, ("claude",))]
    check.answer = None
    clock.advance(PREFLIGHT_RETRY_MS)
    worker.answered()
    assert story(engine, task)[-1] == "completed"
    assert worker.failed() == []


@pytest.mark.parametrize("answer", [None, True, 0, "unless it is text", {"version": 2}])
def test_whatever_else_it_returns_is_a_success(engine: sagalog.Engine, clock: ManualClock, answer: Any) -> None:
    """[WORKER-9]"""
    worker = Checked(engine, clock, preflight(Answers(7 if isinstance(answer, str) else answer)))
    task = engine.create("claude").id
    worker.answered()
    assert story(engine, task)[-1] == "completed"


def test_a_result_is_kept_for_its_time_and_not_longer(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9] A success for 300 s, and then nothing is claimed before the next one; a failure for 15 s."""
    check = Answers()
    worker = Checked(engine, clock, preflight(check))
    worker.answered()
    clock.advance(PREFLIGHT_VALID_MS - 1)
    assert story(engine, created_and_turned(worker))[-1] == "completed"
    assert check.calls == 1

    check.answer = "gone"
    clock.advance(1)
    late = engine.create("claude").id
    worker.answered()
    assert (story(engine, late), check.calls) == (["created"], 2)
    check.answer = None
    clock.advance(PREFLIGHT_RETRY_MS - 1)
    worker.answered()
    assert check.calls == 2
    clock.advance(1)
    worker.answered()
    assert (story(engine, late)[-1], check.calls) == ("completed", 3)


def created_and_turned(worker: Checked) -> str:
    id = worker.engine.create("claude").id
    worker.turn()
    return id


def test_a_kind_with_two_preflights_needs_both(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9]"""
    first, second = Answers(), Answers("no key")
    worker = Checked(engine, clock, preflight(first, "program"), preflight(second, "key"))
    task = engine.create("claude").id
    worker.answered()
    assert (story(engine, task), [one.name for one in worker.failed()]) == (["created"], ["key"])

    first.answer, second.answer = "no program", None
    clock.advance(PREFLIGHT_RETRY_MS)
    worker.answered()
    assert story(engine, task)[-1] == "completed"


def test_an_undo_of_a_kind_waits_with_its_preflight(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9] [UNDO-1] An undoing that owes nothing of that kind goes on."""
    check = Answers("no git")
    held_back = Preflight("git", check, (), ("clean",), PREFLIGHT_VALID_MS, PREFLIGHT_RETRY_MS)
    worker = Checked(engine, clock, held_back, undo=True)
    for id, kinds in (("both", ("undo", "clean")), ("one", ("undo",))):
        engine.create("other", id=id, compensations=[Compensation(kind, id=kind) for kind in kinds])
        engine.acquire(id, owner="ann", ttl_ms=None).fail("no")
    worker.answered()
    assert (engine.get("both").state, engine.get("one").state) == ("compensating", "compensated")  # type: ignore[union-attr]

    check.answer = None
    clock.advance(PREFLIGHT_RETRY_MS)
    worker.answered()
    assert engine.get("both").state == "compensated"  # type: ignore[union-attr]


def test_a_worker_whose_every_kind_is_held_claims_nothing_and_waits(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9] It neither spins nor forgets to try again."""
    worker = Checked(engine, clock, preflight(Answers("no"), kinds=("claude", "plain")))
    for kind in ("claude", "plain"):
        engine.create(kind)
    worker.answered()
    commits = worker.worker_loop.stats.commits
    worker.turn()

    assert worker.worker_loop.stats.commits == commits == 0
    assert 0 < worker.worker_loop.wait_ms() <= PREFLIGHT_RETRY_MS
    assert worker.worker_loop.is_idle
    assert not worker.worker_loop.is_drained()


def at_once(function: Callable[[], Any]) -> Future[str | None]:
    """Run a preflight in this thread."""
    future: Future[str | None] = Future()
    future.set_result(verdict(function))
    return future


def test_a_suspect_that_was_waited_for_is_given_up_with_its_kind(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-5] [WORKER-9] The worker had made room for it."""
    check = Answers()
    checked = preflight(check, kinds=("claude", "plain"))
    config = WorkerConfig(
        ("default",), {"claude": done, "plain": done}, {}, 2, 0, 900_000, False, preflights=(checked,)
    )
    pool = InlineHandlerPool()
    worker = WorkerLoop(engine, config, "w", pool, clock, None, Preflights((checked,), at_once, lambda: None, clock))
    engine.create("claude", id="s", retry=sagalog.Retry(expiries_max=2))
    engine.acquire("s", owner="ann", ttl_ms=1)
    clock.advance(2)
    engine.create("plain", id="held", priority=-1)

    def turn() -> None:
        for _ in range(3):
            worker.look()
            worker.run_round()

    turn()
    assert [job.lease.task.id for job in pool.waiting] == ["held"]
    for _ in range(2):
        engine.create("plain", priority=-1, run_at_ms=clock.now_ms() + 1)
        clock.advance(1_000)
        turn()
    clock.advance(PASSED_MS)
    turn()
    assert worker.room == 0

    check.answer = "no"
    clock.advance(PREFLIGHT_VALID_MS)
    turn()
    for job in pool.take_back():
        job.begun = True
        job.run()
        worker.collect([job])
    turn()

    assert engine.get("held").state == "completed"  # type: ignore[union-attr]
    assert engine.get("s").state == "pending"  # type: ignore[union-attr]


# --- how it runs ------------------------------------------------------------------------------------------------------


def test_a_call_that_hangs_fails_after_60_s_and_is_not_begun_again(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-9]"""
    release, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        release.wait(PATIENCE_S)

    worker = Checked(engine, clock, preflight(hang))
    task = engine.create("claude").id
    worker.turn()
    clock.advance(PREFLIGHT_TIMEOUT_MS - 1)
    worker.turn()
    assert worker.failed() == []
    clock.advance(1)
    for _ in range(3):
        worker.turn()
        clock.advance(PREFLIGHT_RETRY_MS)
    assert [one.text for one in worker.failed()] == ["it did not answer within 60 s"]
    assert (story(engine, task), len(calls)) == (["created"], 1)

    release.set()
    worker.answered()
    worker.answered()

    assert (story(engine, task)[-1], len(calls)) == ("completed", 2)


def test_it_holds_up_no_renewal_and_may_use_the_store(real: sagalog.Engine) -> None:
    """[WORKER-9] [LEASE-3] It runs beside a handler that has the only place, and outside every transaction."""
    worker = sagalog.Worker(concurrency=1, ttl_ms=300)
    release, used = threading.Event(), threading.Event()

    @worker.task("long")
    def long(context: Any, _payload: Any) -> bool:
        release.wait(PATIENCE_S)
        return bool(context.lost)

    worker.task("claude")(done)

    @worker.preflight("claude", kinds=["claude"])
    def check() -> None:
        real.create("note", id="by the preflight")
        used.set()
        release.wait(PATIENCE_S)

    id = real.create("long").id
    with at_work(worker, real):
        assert used.wait(PATIENCE_S)
        until(real, id, lambda task: sum(one.type == "heartbeat" for one in real.history(task.id)) >= 3)
        release.set()
        assert ended(real, id).result is False


@pytest.mark.parametrize("passes", [True, False])
def test_a_coroutine_function_runs_on_the_event_loop_of_the_handlers(real: sagalog.Engine, passes: bool) -> None:
    """[WORKER-9] Until it has answered, a worker that ends when idle does not end."""
    worker = sagalog.aio.Worker()
    loops: list[object] = []

    @worker.task("claude")
    async def claude(_context: Any, _payload: Any) -> str:
        loops.append(asyncio.get_running_loop())
        return "done"

    @worker.preflight("claude", kinds=["claude"])
    async def check() -> bool:
        await asyncio.sleep(0.05)
        loops.append(asyncio.get_running_loop())
        return passes

    id = real.create("claude").id

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        await worker.run(real, until="idle")

    asyncio.run(run())

    assert story(real, id)[-1] == ("completed" if passes else "created")
    assert len(set(loops)) == 1


def test_a_coroutine_function_of_a_plain_worker_has_an_event_loop(real: sagalog.Engine) -> None:
    """[WORKER-9]"""
    worker = sagalog.Worker()
    worker.task("claude")(done)

    @worker.preflight("claude", kinds=["claude"])
    async def check() -> None:
        await asyncio.sleep(0)

    id = real.create("claude").id
    worker.run(real, until="idle", handle_signals=False)

    assert story(real, id)[-1] == "completed"


def test_a_worker_that_drains_waits_until_its_preflight_passes(real: sagalog.Engine) -> None:
    """[WORKER-9] `until="drained"` ends once no live task is left that it has handlers for."""
    worker = sagalog.Worker()
    worker.task("claude")(done)
    answers = iter(["not yet", None])
    worker.preflight("claude", kinds=["claude"], retry_ms=10)(lambda: next(answers))
    id = real.create("claude").id

    worker.run(real, until="drained", handle_signals=False)

    assert story(real, id)[-1] == "completed"


def test_a_failure_is_logged_once_until_it_changes(
    engine: sagalog.Engine, clock: ManualClock, logged: pytest.LogCaptureFixture
) -> None:
    """[WORKER-9]"""
    check = Answers("no program")
    worker = Checked(engine, clock, preflight(check))
    for answer in ("no program", "no program", "no key", "no key", None, None, "no key"):
        check.answer = answer
        worker.answered()
        clock.advance(PREFLIGHT_VALID_MS)

    assert [record.getMessage() for record in logged.records if "preflight" in record.getMessage()] == [
        "the preflight 'claude' fails, so this worker claims no claude: no program",
        "the preflight 'claude' fails, so this worker claims no claude: no key",
        "the preflight 'claude' passes again, so this worker claims claude",
        "the preflight 'claude' fails, so this worker claims no claude: no key",
    ]


# --- as it is declared ------------------------------------------------------------------------------------------------


def test_what_is_no_preflight_is_refused() -> None:
    worker = sagalog.Worker()
    with pytest.raises(InvalidValue, match="name: found a function; name the preflight"):
        worker.preflight(print)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="'git': expected kinds that need it, found none"):
        worker.preflight("git")
    with pytest.raises(InvalidValue, match="kinds"):
        worker.preflight("git", kinds=["\n"])
    with pytest.raises(InvalidValue, match="valid_ms"):
        worker.preflight("git", kinds=["a"], valid_ms=0)
    with pytest.raises(InvalidValue, match="retry_ms"):
        worker.preflight("git", kinds=["a"], retry_ms=0)
    with pytest.raises(InvalidValue, match="expected a function, found int"):
        worker.preflight("git", kinds=["a"])(7)  # type: ignore[type-var]
    with pytest.raises(InvalidValue, match="expected a function without arguments"):
        worker.preflight("git", kinds=["a"])(lambda needed: needed)  # type: ignore[type-var]
    worker.preflight("git", kinds=["a"])(functools.partial(print, "x"))
    with pytest.raises(InvalidValue, match="'git' is there already"):
        worker.preflight("git", kinds=["b"])(print)


def test_a_preflight_of_a_kind_without_a_handler_is_refused_at_the_start(engine: sagalog.Engine) -> None:
    """Mistyped, it would hold back nothing."""
    worker = sagalog.Worker()
    worker.task("agent")(done)
    worker.preflight("claude", kinds=["agnet"], compensation_kinds=["agent"])(lambda: None)

    with pytest.raises(Rejected, match="the preflight 'claude' names 'agnet', 'agent', and this worker has no such"):
        worker.run(engine)

    assert engine.workers() == []
