"""Calls of several threads in one transaction: each is answered as if it had been alone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sagalog.errors import Closed, Conflict, Unavailable
from sagalog.store import Operation, Result, View
from sagalog_sqlite.commit_queue import CALLS_MAX, OPERATIONS_MAX
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.callers import Caller, Gate, call, counted_transactions, held_up, in_line, until
from tests.adapters.sqlite.stores import START_MS, created, leased, open_at, seeing, versions, writing


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path)
    yield store
    store.close()


def order_of(store: SqliteStore) -> list[str]:
    """The tasks of the log in the order of their first events."""
    with store.read() as snapshot:
        log = snapshot.events(0, 100_000)
    assert [one.position for one in log] == list(range(1, len(log) + 1))
    return [one.stream.removeprefix("task/") for one in log if one.version == 1]


def refusing(refusal: Exception) -> Operation:
    def decide(_: View) -> Result:
        raise refusal

    return Operation(decide)


# --- who is taken together ------------------------------------------------------------------------------------------


def test_a_caller_that_is_alone_has_a_transaction_for_each_call(store: SqliteStore) -> None:
    with counted_transactions() as begun:
        for number in range(5):
            assert store.commit([writing(f"t{number}", created())]) == [1]
    assert len(begun) == 5
    assert in_line(store) == 0


def test_all_calls_that_arrive_during_a_commit_are_one_transaction(store: SqliteStore) -> None:
    """The transaction takes them in order of arrival."""
    names = [f"t{number}" for number in range(12)]
    with counted_transactions() as begun, held_up(store) as go_on:
        callers = call(store, *([writing(name, created()), writing(name, leased())] for name in names))
        go_on()
        assert [caller.ends().answers for caller in callers] == [[1, 2]] * 12
    assert len(begun) == 2
    assert order_of(store) == names
    assert in_line(store) == 0


def test_a_call_sees_what_those_before_it_in_its_group_have_written(store: SqliteStore) -> None:
    with held_up(store) as go_on:
        callers = call(
            store,
            [writing("a", created())],
            [seeing(lambda view: view.saved("task/a") is not None, "a")],
            [writing("a", leased())],
        )
        go_on()
        assert [caller.ends().answers for caller in callers] == [[1], [True], [2]]


def test_a_group_takes_no_more_calls_than_a_turn_may(store: SqliteStore) -> None:
    with counted_transactions() as begun, held_up(store) as go_on:
        callers = call(store, *([writing(f"t{number}", created())] for number in range(CALLS_MAX + 3)))
        go_on()
        assert [caller.ends().answers for caller in callers] == [[1]] * (CALLS_MAX + 3)
    assert len(begun) == 1 + 2


def test_a_call_of_more_operations_than_a_turn_may_take_goes_alone(store: SqliteStore) -> None:
    look = seeing(lambda _: "seen")
    with counted_transactions() as begun, held_up(store) as go_on:
        callers = call(store, [look], [look] * OPERATIONS_MAX, [look], [look] * (OPERATIONS_MAX - 1))
        go_on()
        assert [len(caller.ends().answers or ()) for caller in callers] == [1, OPERATIONS_MAX, 1, OPERATIONS_MAX - 1]
    assert len(begun) == 1 + 3


def test_many_threads_get_the_answers_of_their_own_operations(store: SqliteStore) -> None:
    def write(name: str, mine: list[Any]) -> None:
        for number in range(200):
            id = f"{name}-{number:03}"
            look = seeing(lambda view, id=id: view.saved(f"task/{id}").fold.id, id)  # type: ignore[misc]
            mine += store.commit([writing(id, created()), look])

    answers: dict[str, list[Any]] = {f"thread {number}": [] for number in range(16)}
    threads = [threading.Thread(target=write, args=(name, mine)) for name, mine in answers.items()]
    with counted_transactions() as begun:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, mine in answers.items():
        assert mine == [answer for number in range(200) for answer in (1, f"{name}-{number:03}")]
    ids = order_of(store)
    assert len(ids) == 3_200
    for name in answers:
        own = [id for id in ids if id.startswith(f"{name}-")]
        assert own == sorted(own)
    assert len(begun) < 3_200


def test_another_process_has_its_turn_before_the_group_that_came_after_it(store: SqliteStore, path: Path) -> None:
    other = open_at(path)
    with held_up(store) as go_on:
        [waiting] = call(other, [writing("other", created())])
        until(lambda: other._turns.ticket_lock._file_waiter.is_waiting)
        callers = call(store, *([writing(f"t{number}", created())] for number in range(3)))
        go_on()
        for caller in (waiting, *callers):
            assert caller.ends().answers == [1]
    assert order_of(store) == ["other", "t0", "t1", "t2"]
    other.close()


def test_a_rebuild_goes_on_beside_groups(store: SqliteStore) -> None:
    store.commit([writing(f"old{number}", created(), leased()) for number in range(300)])
    before = store._commit_queue
    callers = [Caller(store, *(writing(f"{name}{number}", created()) for number in range(20))) for name in "abcdefgh"]
    assert store.rebuild() >= 300
    assert [caller.ends().answers for caller in callers] == [[1] * 20] * 8
    assert len(versions(store)) == 460
    assert store._commit_queue is before


# --- refusals and faults of one call --------------------------------------------------------------------------------


def test_a_refusal_undoes_its_own_unit_and_nothing_else_of_the_group(store: SqliteStore) -> None:
    refusal = Conflict("no")
    with counted_transactions() as begun, held_up(store) as go_on:
        callers = call(
            store,
            [writing("a", created())],
            [writing("b", created()), refusing(refusal), writing("c", created())],
            [writing("a", leased())],
        )
        go_on()
        assert [caller.ends().answers for caller in callers] == [[1], [1, refusal, 1], [2]]
    assert len(begun) == 2
    assert versions(store) == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_failing_function_is_raised_in_its_own_caller_only(store: SqliteStore, place: int) -> None:
    """The calls of the others are written. 0: the leader of the group; 3: the last one."""
    bug = ZeroDivisionError("a bug")
    calls = [[writing(f"t{number}", created())] for number in range(4)]
    calls[place].append(refusing(bug))
    with held_up(store) as go_on:
        callers = call(store, *calls)
        go_on()
        for number, caller in enumerate(callers):
            assert caller.ends().error is (bug if number == place else None)
            assert caller.answers == (None if number == place else [1])
    assert sorted(versions(store)) == [f"t{number}" for number in range(4) if number != place]
    assert in_line(store) == 0


def test_who_leads_waits_for_one_failure_of_others_at_most(store: SqliteStore) -> None:
    with counted_transactions() as begun, held_up(store) as go_on:
        callers = call(
            store,
            [writing("leader", created())],
            *([refusing(ZeroDivisionError(str(number)))] for number in range(3)),
            [writing("last", created())],
        )
        go_on()
        assert callers[0].ends().answers == [1]
        assert [str(caller.ends().error) for caller in callers[1:4]] == ["0", "1", "2"]
        assert callers[4].ends().answers == [1]
    # The holder; the group that failed; its leader alone; the second and the third bug; and the last one.
    assert len(begun) == 6


def test_a_function_that_touches_its_store_is_refused_in_any_thread(store: SqliteStore) -> None:
    def decide(_: View) -> Result:
        with pytest.raises(RuntimeError, match="may not touch"):
            store.commit([writing("inner", created())])
        with pytest.raises(RuntimeError, match="may not touch"):
            store.close()
        return Result(threading.get_ident())

    with held_up(store) as go_on:
        leader, follower = call(store, [seeing(lambda _: threading.get_ident())], [Operation(decide)])
        go_on()
        assert follower.ends().answers == leader.ends().answers
    assert versions(store) == {}


# --- waiting --------------------------------------------------------------------------------------------------------


def test_a_caller_is_told_at_its_deadline_that_no_turn_came(path: Path) -> None:
    """Its call is not written."""
    store = open_at(path, turn_timeout_ms=60)
    with held_up(store):
        late = Caller(store, writing("late", created())).ends()
        assert isinstance(late.error, Unavailable)
        assert "no turn to write within" in str(late.error)
        assert late.error.holder_pid == os.getpid()
        assert in_line(store) == 1
    assert store.commit([writing("next", created())]) == [1]
    assert versions(store) == {"next": 1}
    store.close()


def test_a_caller_that_is_being_run_at_its_deadline_has_its_answer(path: Path) -> None:
    store = open_at(path, turn_timeout_ms=200)
    gate = Gate()
    with held_up(store) as go_on:
        leader, follower = call(store, [gate.unit()], [writing("t", created())])
        go_on()
        gate.wait_for_it()
        deadline = store._commit_queue._calls[1].began + 0.25
        until(lambda: time.monotonic() > deadline)
        gate.open()
        assert (leader.ends().answers, follower.ends().answers) == (["held"], [1])
    store.close()


def test_every_caller_is_told_when_another_process_keeps_the_turn(path: Path) -> None:
    """No caller hangs."""
    other, store = open_at(path), open_at(path, turn_timeout_ms=80)
    with held_up(other):
        callers = call(store, *([writing(f"t{number}", created())] for number in range(4)))
        errors = [caller.ends().error for caller in callers]
        assert [type(error) for error in errors] == [Unavailable] * 4
        assert len({id(error) for error in errors}) == 4
        assert in_line(store) == 0
    assert store.commit([writing("next", created())]) == [1]
    assert versions(store) == {"next": 1}
    for one in (store, other):
        one.close()


def test_a_caller_that_leads_late_waits_only_for_the_rest_of_its_time(path: Path) -> None:
    other, store = open_at(path), open_at(path, turn_timeout_ms=400)
    with held_up(other):
        [first] = call(store, [writing("first", created())])
        until(lambda: store._commit_queue._calls[0].waited_ms() > 150)
        [second] = call(store, [writing("second", created())])
        second_call = store._commit_queue._calls[1]
        assert isinstance(first.ends().error, Unavailable)
        assert isinstance(second.ends().error, Unavailable)
        assert 400 <= second_call.waited_ms() < 600
    for one in (store, other):
        one.close()


def test_who_waits_while_the_store_is_closed_is_told_so_and_not_written(path: Path) -> None:
    store = open_at(path)
    with held_up(store) as go_on:
        callers = call(store, *([writing(f"t{number}", created())] for number in range(3)))
        closer = threading.Thread(target=store.close)
        closer.start()
        until(lambda: store._refusal is not None)
        go_on()
        assert [type(caller.ends().error) for caller in callers] == [Closed] * 3
        closer.join()
    again = open_at(path)
    assert versions(again) == {}
    again.close()


def test_a_call_from_a_signal_handler_of_a_waiting_thread_is_refused(store: SqliteStore) -> None:
    caught: list[Exception] = []

    def handle(*_: object) -> None:
        try:
            store.commit([writing("inner", created())])
        except RuntimeError as error:
            caught.append(error)

    before = signal.signal(signal.SIGUSR1, handle)
    me = threading.get_ident()

    def direct() -> None:
        until(lambda: in_line(store) == 2)
        signal.pthread_kill(me, signal.SIGUSR1)
        until(lambda: bool(caught))
        go_on()

    try:
        with held_up(store) as go_on:
            director = threading.Thread(target=direct)
            director.start()
            assert store.commit([writing("outer", created())]) == [1]
            director.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "waits for it, already" in str(caught[0])
    assert versions(store) == {"outer": 1}


def test_a_child_forked_while_threads_wait_refuses(store: SqliteStore) -> None:
    """The parent answers them."""
    with held_up(store) as go_on:
        callers = call(store, *([writing(f"t{number}", created())] for number in range(3)))
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                store.commit([writing("child", created())])
            except Closed:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go_on()
        assert [caller.ends().answers for caller in callers] == [[1]] * 3
    assert sorted(versions(store)) == ["t0", "t1", "t2"]


def test_the_clock_is_read_after_every_caller_of_the_group_has_come(path: Path) -> None:
    class Rising:
        def __init__(self) -> None:
            self.ms = START_MS

        def now_ms(self) -> int:
            self.ms += 1
            return self.ms

        def monotonic_ms(self) -> int:
            return 0

    clock = Rising()
    store = open_at(path, clock)
    later_ms: list[int] = []

    def write() -> None:
        for _ in range(100):
            arrived = clock.now_ms()
            [at_ms] = store.commit([seeing(lambda view: view.now_ms)])
            later_ms.append(at_ms - arrived)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(later_ms) == 800
    assert min(later_ms) > 0
    store.close()
