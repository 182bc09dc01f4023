"""Waits of handlers: numbered by name, each taking what is its own, replayed without being waited for again. [WAIT-1]

Rule: turn by turn on a manual clock; coroutines and pools of threads where their order is what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, InvalidValue, Retry, Worker
from sagalog.engine import sizes
from sagalog.kernel.bounds import FOLD_BYTES_RESERVE, TIME_MS_MAX
from sagalog.kernel.decide import waits
from sagalog.store.projection import encode_fold
from sagalog.testing import ManualClock
from sagalog.worker import AsyncWorkContext, WorkContext
from sagalog.worker.config import WorkerConfig
from tests.store_of import store_of
from tests.worker.inline import InlineWorker
from tests.worker.worker_processes import story

ONCE = Retry(attempts_max=1, delay_min_ms=0, delay_max_ms=0)
Handler = Callable[[WorkContext, Any], Any]


class Work:
    """One task and a worker whose only handler is its."""

    def __init__(self, engine: sagalog.Engine, clock: ManualClock, handler: Handler, retry: Retry = ONCE) -> None:
        self._engine = engine
        self.id = engine.create("do", retry=retry, waive_compensation="it has no effects").id
        config = WorkerConfig(("default",), {"do": handler}, {}, 1, 0, 1_000, True)
        self._worker = InlineWorker(engine, config, "w", clock)

    def go_on(self, turns_max: int = 100) -> sagalog.Task:
        """Work until there is nothing to do now; the task as it is then."""
        self._worker.until_idle(turns_max)
        task = self._engine.get(self.id)
        assert task is not None
        return task


def test_a_loop_of_sleeps_under_one_name_sleeps_every_time(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WAIT-1]"""
    looked: list[int] = []

    def poll(context: WorkContext, _: Any) -> str:
        for number in range(4):
            context.step(f"look {number}", looked.append, number)
            context.sleep("poll", 60_000)
        return "there"

    work = Work(engine, clock, poll)
    for number in range(4):
        task = work.go_on()
        assert looked == list(range(number + 1))
        assert task.waiting is not None
        assert (task.waiting.name, task.waiting.number) == ("poll", number + 1)
        assert work.go_on().waiting == task.waiting
        clock.advance(60_000)

    task = work.go_on()
    assert (task.state, task.result, task.attempt, task.waits) == ("completed", "there", 1, {"poll": 4})


def test_a_pollers_hundredth_round_costs_what_the_first_costs(
    engine: sagalog.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[WAIT-1] Sleeps of one name are one count in the fold, and no later attempt reads their ends."""

    def poll(context: WorkContext, _: Any) -> None:
        while True:
            context.sleep("poll", 10)

    # The worker cannot read the ends, and does not have to.
    monkeypatch.setattr(engine, "wait_ends", None)
    work = Work(engine, clock, poll)
    sizes = []
    for _ in range(100):
        work.go_on()
        with store_of(engine).read() as snapshot:
            fold = snapshot.task(work.id)
        assert fold is not None
        sizes.append(len(encode_fold(fold)))
        clock.advance(10)

    assert sizes[99] - sizes[9] < 20
    assert len(story(engine, work.id)) == 1 + 99 * 3 + 2


def test_each_wait_of_a_loop_takes_a_signal_of_its_own(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WAIT-2]"""

    def talk(context: WorkContext, _: Any) -> list[Any]:
        heard: list[Any] = []
        while not heard or heard[-1] != "bye":
            heard.append(context.wait_signal("msg"))
        return heard

    work = Work(engine, clock, talk)
    engine.signal(work.id, "msg", "approve")
    task = work.go_on()
    assert task.waiting is not None
    assert (task.waiting.number, task.signals) == (2, ())
    for said in ("and", "bye"):
        engine.signal(work.id, "msg", said)

    assert work.go_on().result == ["approve", "and", "bye"]


def test_a_wait_that_ran_out_of_time_is_followed_by_another_that_waits(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WAIT-1]"""

    def wait(context: WorkContext, _: Any) -> Any:
        late = 0
        while True:
            try:
                return [late, context.wait_signal("go", timeout_ms=100)]
            except TimeoutError:
                late += 1

    work = Work(engine, clock, wait)
    for _ in range(3):
        assert work.go_on().state == "pending"
        clock.advance(100)
    assert work.go_on().state == "pending"
    engine.signal(work.id, "go", "at last")

    assert work.go_on().result == [3, "at last"]


def test_waits_of_one_name_for_tasks_are_each_for_their_own(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WAIT-1] [WAIT-3]"""
    for id in ("a", "b"):
        engine.create("other", id=id, queue="elsewhere")

    def wait(context: WorkContext, _: Any) -> list[str]:
        return [task.id for id in ("a", "b") for task in context.wait_tasks([id])]

    work = Work(engine, clock, wait)
    for number, id in enumerate(("a", "b"), start=1):
        task = work.go_on()
        assert task.waiting is not None
        assert (task.waiting.number, task.waiting.after) == (number, (id,))
        engine.cancel(id)

    assert work.go_on().result == ["a", "b"]


def test_the_ends_of_waits_are_read_once_per_attempt(
    engine: sagalog.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    wait_ends = engine.wait_ends

    def counted(id: str) -> Any:
        read.append(id)
        return wait_ends(id)

    monkeypatch.setattr(engine, "wait_ends", counted)
    work = Work(engine, clock, lambda context, _: [context.wait_signal("msg") for _ in range(5)])
    for number in range(5):
        work.go_on()
        engine.signal(work.id, "msg", number)

    assert work.go_on().result == [0, 1, 2, 3, 4]
    # The first attempt has nothing to read.
    assert len(read) == 5


def test_two_waits_of_one_name_that_are_open_at_the_same_time_are_refused(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WAIT-1] [WORKER-4] In the next attempt each could get what was the other's."""

    def both(context: WorkContext, _: Any) -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(context.wait_signal, "msg") for _ in range(2)]
        return [future.result() for future in futures]

    async def both_async(context: AsyncWorkContext, _: Any) -> Any:
        return await asyncio.gather(context.wait_signal("msg"), context.wait_signal("msg"))

    async def in_a_group(context: AsyncWorkContext, _: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(context.wait_signal("msg"))
            group.create_task(context.wait_signal("msg"))

    for kind, handler in (("threads", both), ("gather", both_async), ("group", in_a_group)):
        worker = Worker()
        worker.task(kind)(handler)
        id = engine.create(kind, retry=ONCE).id
        worker.run(engine, until="idle", handle_signals=False)
        task = engine.get(id)
        assert task is not None
        assert (task.state, task.code) == ("quarantined", "step_mismatch"), kind
        assert task.error is not None
        assert "with name=" in task.error.message


def test_open_waits_of_several_names_are_waited_for_one_by_one(
    engine: sagalog.Engine,
) -> None:
    async def both(context: AsyncWorkContext, _: Any) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(context.wait_signal("msg", name=name)) for name in ("one", "two")]
        return [task.result() for task in tasks]

    worker = Worker()
    worker.task("do")(both)
    id = engine.create("do", retry=ONCE).id
    for number in (1, 2):
        worker.run(engine, until="idle", handle_signals=False)
        task = engine.get(id)
        assert task is not None
        assert task.waiting is not None
        engine.signal(id, "msg", number)
    worker.run(engine, until="idle", handle_signals=False)

    task = engine.get(id)
    assert task is not None
    assert task.state == "completed"
    assert sorted(task.result) == [1, 2]


def test_what_a_wait_is_given_is_checked_where_it_is_called(engine: sagalog.Engine, clock: ManualClock) -> None:
    """Code that is wrong fails at its call, and nothing is parked that the store would refuse."""
    refused: list[str] = []

    def wrong(context: WorkContext, _: Any) -> None:
        calls: list[Callable[[], Any]] = [
            lambda: context.sleep("nap", -1),
            lambda: context.sleep("nap", 1.5),  # type: ignore[arg-type]
            lambda: context.sleep("x" * 201, 1),
            lambda: context.wait_signal("go\n", timeout_ms=1),
            lambda: context.wait_signal("go", timeout_ms=-1),
            lambda: context.wait_signal("go", name=""),
            lambda: context.wait_tasks(["a b\n"]),
        ]
        for call in calls:
            try:
                call()
            except InvalidValue as error:
                refused.append(str(error.fields["path"]))

    task = Work(engine, clock, wrong).go_on()

    assert (task.state, len(refused)) == ("completed", 7)


def test_a_wait_that_was_refused_has_used_up_no_number(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WAIT-1] Else the next of its name would come after one that has not been, at every attempt."""

    def corrects_itself(context: WorkContext, _: Any) -> Any:
        with pytest.raises(InvalidValue):
            context.sleep("nap", -1)
        context.sleep("nap", 1)
        with pytest.raises(InvalidValue):
            context.wait_signal("go", timeout_ms=-1)
        return context.wait_signal("go")

    work = Work(engine, clock, corrects_itself)
    work.go_on()
    clock.advance(1)
    engine.signal(work.id, "go", "there")
    task = work.go_on()

    assert (task.state, task.result, task.waits) == ("completed", "there", {"nap": 1, "go": 1})


def test_a_wait_whose_coroutine_was_cancelled_has_used_up_no_number(engine: sagalog.Engine) -> None:
    """[WAIT-1] Whether its end was on record by then or not: no handler was given it."""

    async def impatient(context: AsyncWorkContext, _: Any) -> Any:
        for _ in range(2):
            waiting = asyncio.ensure_future(context.wait_signal("go"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return await context.wait_signal("go")

    worker = Worker()
    worker.task("do")(impatient)
    id = engine.create("do", retry=ONCE).id
    engine.signal(id, "go", "there")
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)

    assert task is not None
    assert (task.state, task.result, task.waits) == ("completed", "there", {"go": 1})


@pytest.mark.parametrize("wait", ["sleep", "signal"])
def test_a_wait_that_would_last_beyond_the_bound_of_times_lasts_to_it(
    wait: str, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[TIME-4]"""

    def patient(context: WorkContext, _: Any) -> None:
        if wait == "sleep":
            context.sleep("w", TIME_MS_MAX)
        context.wait_signal("w", timeout_ms=TIME_MS_MAX)

    waiting = Work(engine, clock, patient).go_on().waiting
    assert waiting is not None
    assert waiting.until_ms == TIME_MS_MAX


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (lambda context: context.wait_signal("w"), ("quarantined", "step_mismatch", None)),
        (lambda context: context.wait_tasks(["a"], name="w"), ("quarantined", "step_mismatch", None)),
        (lambda context: context.wait_signal("w", timeout_ms=9), ("completed", None, "late")),
    ],
    ids=["a signal", "tasks", "a signal until a time"],
)
def test_a_wait_that_ended_as_this_one_cannot_is_a_mismatch(
    second: Callable[[WorkContext], Any], expected: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-4] The code was changed between two attempts; a wait until a time may also have run out of time."""
    engine.create("other", id="a", queue="elsewhere")
    code: list[Callable[[WorkContext], Any]] = [lambda context: context.sleep("w", 5)]

    def handler(context: WorkContext, _: Any) -> Any:
        try:
            return code[-1](context)
        except TimeoutError:
            return "late"

    work = Work(engine, clock, handler)
    work.go_on()
    clock.advance(5)
    code.append(second)
    task = work.go_on()

    assert (task.state, task.code, task.result) == expected


def test_a_poller_that_has_waited_too_often_is_quarantined(
    engine: sagalog.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[BOUND-1] [WAIT-1] It undoes nothing. The bound is a small one here; what is counted is the same."""
    monkeypatch.setattr(waits, "WAITS_MAX", 3)

    def poll(context: WorkContext, _: Any) -> None:
        context.step("made", lambda: 1, compensation=Compensation("undo"))
        while True:
            context.sleep("poll", 10)

    work = Work(engine, clock, poll)
    for _ in range(5):
        work.go_on()
        clock.advance(10)

    task = work.go_on()
    assert (task.state, task.code, task.waits, task.attempt) == ("quarantined", "bound", {"poll": 3}, 1)
    assert (story(engine, work.id).count("parked"), [one.kind for one in task.owed]) == (3, ["undo"])


def test_a_wait_whose_name_does_not_fit_any_more_quarantines_the_task(
    engine: sagalog.Engine, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[BOUND-1] [BOUND-4] It costs no attempt. Every attempt would ask again. The bound is a small one here."""
    monkeypatch.setattr(sizes, "FOLD_BYTES_MAX", FOLD_BYTES_RESERVE + 30_000)

    def wait(context: WorkContext, _: Any) -> None:
        for number in range(90):
            context.sleep(f"{number:03}" + "\N{PILE OF POO}" * 197, 0)

    work = Work(engine, clock, wait)
    task = work.go_on(200)

    assert (task.state, task.code, task.attempt) == ("quarantined", "bound", 1)
    assert 30 < len(task.waits) < 90


def test_children_of_a_gather_are_waited_for_in_the_order_of_the_calls(engine: sagalog.Engine) -> None:
    """[WAIT-1] [WAIT-3] However its threads run: here the first is done last."""
    worker = Worker()

    @worker.task("do")
    async def handler(context: AsyncWorkContext, _: Any) -> None:
        off_loop, second_is_done = context._off_loop, asyncio.Event()

        async def late(*call: Any) -> Any:
            context._off_loop = off_loop
            await second_is_done.wait()
            return await off_loop(*call)

        async def second() -> None:
            await context.spawn("b", "part", queue="elsewhere")
            second_is_done.set()

        context._off_loop = late
        await asyncio.gather(context.spawn("a", "part", queue="elsewhere"), second())
        await context.wait_tasks()

    id = engine.create("do", retry=ONCE, id="t").id
    worker.run(engine, until="idle", handle_signals=False)
    task = engine.get(id)

    assert task is not None
    assert task.waiting is not None, task
    assert task.waiting.after == ("t/a", "t/b")
