"""Groups that fail: every caller in one is told the truth, each by an error of its own, and none hangs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sagalog import failpoints
from sagalog.errors import Corrupt, Unavailable, Unknown
from sagalog.store import Operation, Result, View
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.callers import Caller, Gate, call, held_up, in_line, until
from tests.adapters.sqlite.faulty_files import FaultyFiles, failing, faulty_files
from tests.adapters.sqlite.interrupts import Interrupt
from tests.adapters.sqlite.stores import created, leased, open_at, raw, versions, writing
from tests.adapters.sqlite.test_commit import COMMIT_POINTS

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path, durability="full")
    yield store
    store.close()


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with faulty_files() as files:
        yield files


@pytest.fixture
def faulty(path: Path, files: FaultyFiles) -> Iterator[SqliteStore]:
    """A store on files that can be made to fail."""
    store = open_at(path, durability="full")
    yield store
    files.strike = None
    store.close()


def group(store: SqliteStore, *names: str, payload: str = "") -> list[list[Operation]]:
    """A call for each name, of two units."""
    return [[writing(name, created(payload=payload)), writing(name, leased())] for name in names]


def errors_of(callers: list[Caller]) -> list[BaseException]:
    """The errors of all, each an object of its own."""
    errors = [caller.ends().error for caller in callers]
    assert len({id(error) for error in errors}) == len(callers)
    return [error for error in errors if error is not None]


def told_truly(store: SqliteStore, callers: dict[str, Caller]) -> None:
    """What each caller was told is what the log holds: all of it, or nothing."""
    for caller in callers.values():
        caller.ends()
    found = versions(store)
    for name, caller in callers.items():
        written = found.get(name, 0)
        assert written in (0, 2), name
        if caller.error is None:
            assert (caller.answers, written) == ([1, 2], 2), name
        elif isinstance(caller.error, Unavailable):
            assert written == 0, name
        else:
            assert isinstance(caller.error, Unknown), name


# --- the disk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_full_disk_at_a_groups_commit_is_told_to_every_caller(
    faulty: SqliteStore, files: FaultyFiles, after: int
) -> None:
    """Nothing is written."""
    with held_up(faulty) as go_on:
        callers = call(faulty, *group(faulty, *NAMES, payload="x" * 5_000))
        files.strike = failing("write", "-wal", apsw.FullError, after)
        go_on()
        errors = errors_of(callers)
    assert [type(error) for error in errors] == [Unavailable] * 4
    assert all("the disk is full" in str(error) for error in errors)
    assert all(isinstance(error.__cause__, apsw.FullError) for error in errors)
    assert versions(faulty) == {}
    files.strike = None
    for units in group(faulty, *NAMES):
        assert faulty.commit(units) == [1, 2]


def test_a_file_that_cannot_grow_amid_a_group_fails_the_whole_group(store: SqliteStore) -> None:
    with held_up(store) as go_on:
        callers = call(store, *group(store, "a"), *group(store, "b", payload="x" * 200_000), *group(store, "c"))
        assert store._connections.writer is not None
        size = store._connections.writer.pragma("page_count")
        store._connections.writer.pragma("max_page_count", size + 20)
        go_on()
        errors = errors_of(callers)
    assert [type(error) for error in errors] == [Unavailable] * 3
    assert versions(store) == {}
    assert store._connections.writer is not None
    store._connections.writer.pragma("max_page_count", 1_000_000)
    for units in group(store, *NAMES):
        assert store.commit(units) == [1, 2]


def test_a_group_whose_commit_fails_half_way_is_told_as_unknown(faulty: SqliteStore, files: FaultyFiles) -> None:
    """Repeating the calls settles it."""
    with held_up(faulty) as go_on:
        callers = call(faulty, *group(faulty, *NAMES))
        files.strike = failing("sync", "-wal", apsw.IOError)
        go_on()
        errors = errors_of(callers)
    assert [type(error) for error in errors] == [Unknown] * 4
    files.strike = None
    assert faulty.commit([writing("next", created())]) == [1]
    found = versions(faulty)
    # All of the group or nothing of it.
    assert {name: found[name] for name in NAMES if name in found} in ({}, dict.fromkeys(NAMES, 2))


def test_changed_tables_are_told_as_corrupt_to_every_caller(store: SqliteStore, path: Path) -> None:
    """Another connection has changed them."""
    other = raw(path)

    def change() -> None:
        other.execute("ALTER TABLE tasks RENAME COLUMN fold TO folded")

    with held_up(store) as go_on:
        callers = call(store, *group(store, *NAMES))
        failpoints.armed["commit.before_begin"] = change
        try:
            go_on()
            errors = errors_of(callers)
        finally:
            del failpoints.armed["commit.before_begin"]
    assert [type(error) for error in errors] == [Corrupt] * 4
    other.execute("ALTER TABLE tasks RENAME COLUMN folded TO fold")
    assert store.commit([writing("next", created())]) == [1]


# --- exceptions at a failpoint --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_an_exception_at_any_point_of_a_group_is_raised_once(
    store: SqliteStore, point: str, error: type[BaseException]
) -> None:
    """The other callers are told the truth."""

    def arm() -> None:
        del failpoints.armed["commit.before_begin"]
        failpoints.armed[point] = strike
        if point == "commit.before_begin":
            strike()

    def strike() -> None:
        del failpoints.armed[point]
        raise error

    with held_up(store) as go_on:
        callers = dict(zip(NAMES, call(store, *group(store, *NAMES)), strict=True))
        # Not before the group begins: the caller that holds it up has to pass the last points too.
        failpoints.armed["commit.before_begin"] = arm
        go_on()
        leader, *_ = [caller.ends() for caller in callers.values()]
    assert isinstance(leader.error, error)
    followers = {name: caller for name, caller in callers.items() if name != "a"}
    told_truly(store, followers)
    codes = {getattr(caller.error, "code", "answered") for caller in followers.values()}
    in_a_unit = point in ("commit.after_events", "commit.after_fold")
    answered = point == "commit.after_commit" or (in_a_unit and error is RuntimeError)
    assert codes == {"answered" if answered else "unavailable"}
    assert in_line(store) == 0
    assert store.commit([writing("next", created())]) == [1]


def test_an_interrupt_that_comes_with_the_commit_itself_is_told_as_unknown(
    faulty: SqliteStore, files: FaultyFiles
) -> None:
    """SQLite has ended the transaction, and the store cannot say how."""

    def strike(operation: str, path: str) -> None:
        if operation == "sync" and path.endswith("-wal"):
            files.strike = None
            raise KeyboardInterrupt

    with held_up(faulty) as go_on:
        leader, *followers = call(faulty, *group(faulty, *NAMES))
        files.strike = strike
        go_on()
        assert isinstance(leader.ends().error, KeyboardInterrupt)
        assert [type(error) for error in errors_of(followers)] == [Unknown] * 3
    assert faulty.commit([writing("next", created())]) == [1]


def test_an_interrupt_before_the_commit_begins_is_told_as_not_written(store: SqliteStore) -> None:
    """The transaction was still open, and so was rolled back."""
    assert store._connections.writer is not None
    writer = store._connections.writer

    def trace(_: apsw.Cursor, statement: str, __: object) -> bool:
        if statement == "COMMIT":
            writer.exec_trace = None
            raise KeyboardInterrupt
        return True

    def arm() -> None:
        writer.exec_trace = trace

    with held_up(store) as go_on:
        leader, *followers = call(store, *group(store, *NAMES))
        failpoints.armed["commit.before_begin"] = arm
        try:
            go_on()
            assert isinstance(leader.ends().error, KeyboardInterrupt)
            assert [type(error) for error in errors_of(followers)] == [Unavailable] * 3
        finally:
            del failpoints.armed["commit.before_begin"]
    assert versions(store) == {}
    assert store.commit([writing("next", created())]) == [1]


# --- interrupts at any line -----------------------------------------------------------------------------------------


class Scene:
    """One commit of this thread in a group, interrupted at one of its lines; the rest is directed by another thread.

    `led`: this thread leads the group; else it follows.
    """

    def __init__(self, store: SqliteStore, at: int, led: bool) -> None:
        self._store, self._led = store, led
        self._mine = f"mine {at}"
        self._interrupt = Interrupt(at)
        self._over = threading.Event()
        self.callers: dict[str, Caller] = {}
        self._gate = Gate()
        holder = Caller(store, self._gate.unit())
        self._gate.wait_for_it()
        names = [f"before {at}", f"after {at}"]
        if not led:
            self._come(names.pop(0))
        director = threading.Thread(target=self._direct, args=(names,))
        director.start()
        self.interrupted = False
        try:
            with self._interrupt:
                store.commit(group(store, self._mine)[0])
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self._over.set()
        director.join()
        assert holder.ends().answers == ["held"]

    def moments(self, each_reach: bool) -> list[int]:
        return self._interrupt.moments(each_reach)

    def judge(self) -> None:
        """No caller hangs, each is told truly, and this thread's own units are there wholly or not at all."""
        told_truly(self._store, self.callers)
        written = versions(self._store).get(self._mine, 0)
        assert written in ((0, 2) if self.interrupted else (2,))
        assert in_line(self._store) == 0
        assert self._store._turn_of is None

    def _direct(self, names: list[str]) -> None:
        until(lambda: in_line(self._store) >= (2 if self._led else 3) or self._over.is_set())
        for name in names:
            self._come(name)
        self._gate.open()

    def _come(self, name: str) -> None:
        before = in_line(self._store)
        self.callers[name] = Caller(self._store, *group(self._store, name)[0])
        until(lambda: in_line(self._store) > before or self.callers[name].error is not None)


@pytest.mark.parametrize(
    ("led", "each_reach"),
    [(True, False), (False, True), pytest.param(True, True, marks=pytest.mark.slow)],
    ids=["leading", "following", "leading, at each reach"],
)
def test_an_interrupt_at_any_line_of_a_group_leaves_no_caller_hanging(path: Path, led: bool, each_reach: bool) -> None:
    """Every caller is told the truth. Only the campaign interrupts a leader at each time that it reaches a line."""
    store, other = open_at(path), open_at(path, turn_timeout_ms=5_000)
    counting = Scene(store, 0, led)
    counting.judge()
    assert len(counting.moments(each_reach)) > (150 if led else 20)
    told = set()
    for at in counting.moments(each_reach):
        scene = Scene(store, at, led)
        scene.judge()
        told |= {getattr(caller.error, "code", "answered") for caller in scene.callers.values()}
        assert other.commit([]) == [], f"line {at} kept the turn"
    # Unknown only where it struck between the commit and the line that notes it.
    assert told == ({"answered", "unavailable", "unknown"} if led else {"answered"})
    assert store.commit([writing("next", created())]) == [1]
    with store.read() as snapshot:
        assert snapshot.check() == []
    for one in (store, other):
        one.close()


# --- a signal while waiting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [False, True])
def test_a_caller_interrupted_while_it_waits_is_withdrawn(store: SqliteStore, taken: bool) -> None:
    """A caller that was taken into a group is written; either way no other waits for the one that has gone."""
    me = threading.get_ident()
    first, second = Gate(), Gate()
    callers: list[Caller] = []

    def direct() -> None:
        until(lambda: in_line(store) == 3)
        callers.extend(call(store, [writing("behind", created())]))
        if taken:
            first.open()
            second.wait_for_it()
        signal.pthread_kill(me, signal.SIGINT)
        gone.wait(20)
        first.open()
        second.open()

    gone = threading.Event()
    callers.append(Caller(store, first.unit()))
    first.wait_for_it()
    callers += call(store, [second.unit()])
    director = threading.Thread(target=direct)
    director.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            store.commit([writing("mine", created())])
    finally:
        gone.set()
    assert store.commit([writing("mine again", created())]) == [1]
    director.join()
    assert [caller.ends().answers for caller in callers] == [["held"], ["held"], [1]]
    assert sorted(versions(store)) == ["behind", *(["mine"] if taken else []), "mine again"]
    assert in_line(store) == 0


def test_a_caller_that_left_a_group_that_runs_again_is_not_written(store: SqliteStore) -> None:
    """And it never leads one."""
    me = threading.get_ident()
    first, second = Gate(), Gate()
    callers: list[Caller] = []
    gone = threading.Event()

    def fail(_: View) -> Result:
        second.pass_through()
        raise ZeroDivisionError

    def direct() -> None:
        until(lambda: in_line(store) == 3)
        callers.extend(call(store, [Operation(fail)], [writing("behind", created())]))
        first.open()
        second.wait_for_it()
        signal.pthread_kill(me, signal.SIGINT)
        gone.wait(20)
        second.open()

    callers.append(Caller(store, first.unit()))
    first.wait_for_it()
    leader = Caller(store, writing("leader", created()))
    until(lambda: in_line(store) == 2)
    director = threading.Thread(target=direct)
    director.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            store.commit([writing("mine", created())])
    finally:
        gone.set()
    director.join()
    assert leader.ends().answers == [1]
    assert [type(caller.ends().error) for caller in callers] == [type(None), ZeroDivisionError, type(None)]
    assert sorted(versions(store)) == ["behind", "leader"]
    assert in_line(store) == 0
