"""Commits: whole or nothing, and no transaction and no turn left behind on any way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sagalog import failpoints
from sagalog.codec import enclose
from sagalog.errors import Closed, Conflict, SchemaMismatch, Unavailable, VersionConflict
from sagalog.kernel import events as e
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.store import Append, Operation, Projection, Result, Saved, View
from sagalog.store.projection import project
from sagalog.testing import ManualClock
from sagalog_sqlite.lock_files import LockFiles
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.interrupts import Interrupt
from tests.adapters.sqlite.processes import hear, run, start
from tests.adapters.sqlite.stores import (
    START_MS,
    appended,
    claiming,
    created,
    leased,
    new,
    open_at,
    owing,
    raw,
    seeing,
    shown,
    undo,
    versions,
    work,
    writing,
)

COMMIT_POINTS = tuple(name for name in failpoints.NAMES if name.startswith("commit."))


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path)
    yield store
    store.close()


def failing(error: BaseException) -> Operation:
    def decide(view: View) -> Result:
        raise error

    return Operation(decide)


def free(store: SqliteStore) -> bool:
    """Whether another store can write at once: no turn is kept, no transaction is open."""
    other = open_at(Path(store.path), turn_timeout_ms=50)
    try:
        return other.commit([]) == []
    finally:
        other.close()


# --- operations ----------------------------------------------------------------------------------------------------


def test_positions_and_versions_have_no_gaps_whatever_was_refused(store: SqliteStore) -> None:
    refusal = Conflict("no")
    answers = store.commit([writing("a", created(), leased()), failing(refusal), writing("b", created())])
    assert answers == [2, refusal, 1]
    with pytest.raises(ZeroDivisionError):
        store.commit([writing("c", created()), failing(ZeroDivisionError())])
    store.commit([writing("b", leased())])
    with store.read() as snapshot:
        events = snapshot.events(0, 10)
        assert [(one.position, one.name) for one in events] == [
            (1, "task/a@1"),
            (2, "task/a@2"),
            (3, "task/b@1"),
            (4, "task/b@2"),
        ]
        assert snapshot.head() == (4, 4)


def test_an_operation_sees_what_the_operations_before_it_have_written(store: SqliteStore) -> None:
    def look(view: View) -> tuple[int, str, int]:
        task = shown(view, "a").fold
        assert task is not None
        return task.version, type(view.event("task/a", 2)).__name__, len(view.keyed("r"))

    answers = store.commit(
        [
            writing("a", created(), leased(), idempotency_key="r"),
            seeing(look, "a", keys=("r",)),
            claiming(work()),
            writing("b", created()),
        ]
    )
    assert answers == [2, (2, "Leased", 2), [], 1]
    assert store.commit([claiming(work()), claiming(work())]) == [["b"], []]


def test_an_append_to_a_stream_that_moved_on_is_refused_unwritten(store: SqliteStore) -> None:
    store.commit([writing("a", created())])
    stale = Operation(lambda view: Result(None, (appended(new("a"), [created()], view.now_ms),)), ("task/a",))

    def half_stale(view: View) -> Result:
        good = appended(new("b"), [created()], view.now_ms)
        return Result(None, (good, appended(new("a"), [created()], view.now_ms)))

    answers = store.commit([stale, Operation(half_stale, ("task/a", "task/b"))])
    assert [(type(one), one.stream, one.expected, one.actual) for one in answers] == [
        (VersionConflict, "task/a", 0, 1)
    ] * 2
    assert versions(store) == {"a": 1}


def test_two_appends_to_one_stream_in_one_operation_follow_one_another(store: SqliteStore) -> None:
    def decide(view: View) -> Result:
        first = appended(new("a"), [created()], view.now_ms)
        between = Saved("task/a", first.projection.fold, first.projection.row)
        return Result(None, (first, appended(between, [leased()], view.now_ms)))

    assert store.commit([Operation(decide, ("task/a",))]) == [None]
    assert versions(store) == {"a": 2}


def test_a_version_that_skips_one_is_never_stored(store: SqliteStore) -> None:
    event = created()
    gap = Append("task/a", 0, (enclose("task/a", 2, START_MS, event),), project(TaskFold("a", 2), START_MS, None))
    with pytest.raises(ValueError, match="task/a@2"):
        store.commit([Operation(lambda _: Result(None, (gap,)), ("task/a",))])
    assert versions(store) == {}
    assert free(store)


def test_a_store_is_not_founded_in_a_format_that_the_file_has_not(store: SqliteStore) -> None:
    envelope = enclose("store/s", 1, START_MS, e.Founded("s", 9, "1"))
    append = Append("store/s", 0, (envelope,), Projection(StoreFold("s", 1, 9, 0, "1")))
    [answer] = store.commit([Operation(lambda _: Result(None, (append,)), ("store/s",))])
    assert answer.code == "schema_mismatch"
    assert store.commit([]) == []


def test_a_format_that_another_connection_has_raised_stops_every_write(store: SqliteStore, path: Path) -> None:
    store.commit([writing("a", created())])
    other = raw(path)
    other.execute("UPDATE store SET format = 1")
    with pytest.raises(SchemaMismatch, match="format 1"):
        store.commit([writing("b", created())])
    other.execute("UPDATE store SET format = 0")
    assert store.commit([writing("b", created())]) == [1]


def test_the_clock_is_read_once_a_commit_and_after_the_lock(path: Path) -> None:
    class Counting(ManualClock):
        reads = 0

        def now_ms(self) -> int:
            assert other.in_transaction is False
            with pytest.raises(apsw.BusyError):
                other.execute("BEGIN IMMEDIATE")
            self.reads += 1
            return START_MS + self.reads

    open_at(path).close()
    other, clock = raw(path), Counting()
    store = open_at(path, clock)
    seen = store.commit([seeing(lambda view: view.now_ms)] * 3)
    assert seen == [START_MS + 1] * 3
    store.close()


# --- ways out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", COMMIT_POINTS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_at_any_point_leaves_whole_commits_and_a_free_turn(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, point: str, error: type[BaseException]
) -> None:
    def strike() -> None:
        raise error

    monkeypatch.setitem(failpoints.armed, point, strike)
    with pytest.raises(error):
        store.commit([writing("a", created(), leased()), writing("b", created(), leased())])
    monkeypatch.delitem(failpoints.armed, point)
    written = point == "commit.after_commit"
    assert versions(store) == ({"a": 2, "b": 2} if written else {})
    assert free(store)
    assert store.commit([writing("c", created())]) == [1]


def test_a_rollback_that_was_interrupted_is_made_up_for(store: SqliteStore) -> None:
    writer = store._connections.writer
    assert writer is not None
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO streams(category, id) VALUES ('task', 'ghost')")
    store.commit([writing("a", created())])
    assert versions(store) == {"a": 1}


def test_a_statement_left_half_read_is_given_up_with_its_connection(store: SqliteStore, path: Path) -> None:
    """By it the connection would go on reading what was there before another one committed."""
    store.commit([writing(id, created()) for id in ("a", "b")])
    writer = store._connections.writer
    assert writer is not None
    half_read = writer.execute("SELECT number FROM streams")
    next(half_read)
    other = open_at(path)
    other.commit([writing("c", created())])
    other.close()
    with pytest.raises(Unavailable):
        store.commit([writing("d", created())])
    assert store.commit([writing("d", created())]) == [1]
    del half_read


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_process_killed_at_any_point_leaves_whole_commits(path: Path, point: str) -> None:
    """All that it acknowledged is there."""
    reached_a_commit = 2 if point in ("commit.after_events", "commit.after_fold") else 1
    status, acknowledged = run(path, "committing", "t", 9, failpoint=f"{point}:{3 * reached_a_commit}")
    assert status == -signal.SIGKILL
    assert acknowledged == ["t0", "t1"]
    store = open_at(path)
    found = versions(store)
    assert set(found.values()) == {3}
    assert set(found) == ({"t0", "t1", "t2"} if point == "commit.after_commit" else {"t0", "t1"})
    with store.read() as snapshot:
        assert snapshot.check() == []
        assert snapshot.counts(None) == {"q": {"completed": len(found)}}
    assert store.commit([writing("next", created())]) == [1]
    store.close()


def test_nothing_is_ever_written_in_a_transaction_that_began_by_reading(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    begun: dict[apsw.Connection, str] = {}

    def trace(cursor: apsw.Cursor, statement: str, _: object) -> bool:
        if statement.startswith("BEGIN"):
            begun[cursor.connection] = statement
        elif not cursor.is_readonly and not statement.startswith(("PRAGMA", "pragma", "COMMIT", "ROLLBACK")):
            writes.append(begun.get(cursor.connection, "") if cursor.connection.in_transaction else "")
        return True

    def traced(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    monkeypatch.setattr(apsw, "connection_hooks", [traced])
    store = open_at(path)
    store.commit([writing("a", created(tags={"x": "y"}), leased()), writing("u", *owing("x"))])
    store.commit([claiming(undo())])
    with store.read() as snapshot:
        assert snapshot.task("a") is not None
    store.rebuild()
    store.close()
    assert len(writes) > 30
    assert set(writes) == {"BEGIN IMMEDIATE"}


# --- turns ----------------------------------------------------------------------------------------------------------


def test_a_locked_file_is_waited_for_and_then_named_unavailable(path: Path) -> None:
    """Another program keeps it locked."""
    store = open_at(path, turn_timeout_ms=50)
    store.commit([writing("a", created())])
    other = start(path, "holding")
    assert hear(other) == "held"
    with pytest.raises(Unavailable, match="another program keeps it locked") as caught:
        store.commit([writing("b", created())])
    assert isinstance(caught.value.__cause__, apsw.BusyError)
    assert versions(store) == {"a": 1}
    other.communicate("\n", timeout=60)
    assert store.commit([writing("b", created())]) == [1]
    store.close()


def test_who_has_the_turn_for_too_long_is_named(path: Path) -> None:
    slow, quick = open_at(path), open_at(path, turn_timeout_ms=50)
    caught: list[BaseException] = []

    def decide(view: View) -> Result:
        try:
            quick.commit([writing("b", created())])
        except Unavailable as error:
            caught.append(error)
        return Result("slow")

    assert slow.commit([Operation(decide)]) == ["slow"]
    assert "no turn to write within" in str(caught[0])
    assert quick.commit([writing("b", created())]) == [1]
    slow.close()
    quick.close()


def test_an_operation_that_writes_to_its_own_store_is_refused(store: SqliteStore) -> None:
    """It keeps its turn."""

    def decide(_: View) -> Result:
        with pytest.raises(RuntimeError, match="may not touch"):
            store.commit([writing("inner", created())])
        with pytest.raises(RuntimeError, match="may not touch"):
            store.close()
        assert not free(store)
        return Result("outer")

    def free(store: SqliteStore) -> bool:
        other = LockFiles(store.path)
        try:
            return other.try_turn()
        finally:
            other.close()

    assert store.commit([Operation(decide), writing("a", created())]) == ["outer", 1]
    assert free(store)
    assert versions(store) == {"a": 1}


def test_threads_share_a_store(store: SqliteStore) -> None:
    def write(name: str) -> Callable[[], None]:
        def run() -> None:
            for number in range(25):
                assert store.commit([writing(f"{name}{number}", created())]) == [1]

        return run

    threads = [threading.Thread(target=write(name)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(versions(store)) == 100


# --- closing --------------------------------------------------------------------------------------------------------


def test_a_closed_store_refuses_everything_and_can_be_closed_again(path: Path) -> None:
    store = open_at(path)
    with store.read() as snapshot:
        store.close()
        with pytest.raises(Closed):
            snapshot.head()
    store.close()
    for use in (lambda: store.commit([]), store.rebuild, store.changes, lambda: store.wait_change(0, 1)):
        with pytest.raises(Closed, match="open it again"):
            use()
    with pytest.raises(Closed), store.read():
        pass


def test_a_clean_close_leaves_one_whole_file(path: Path) -> None:
    store = open_at(path)
    store.commit([writing("a", created())])
    store.close()
    assert not path.with_name("store.db-wal").exists()
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    again = open_at(copy)
    assert versions(again) == {"a": 1}
    again.close()


# --- interrupts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("each_reach", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupt_at_any_line_of_a_commit_leaves_whole_commits(
    store: SqliteStore, path: Path, each_reach: bool
) -> None:
    """The turn is free afterwards. Only the campaign interrupts a line at each time that the commit reaches it."""

    def units(name: str) -> list[Operation]:
        return [writing(f"{name}a", created(), leased()), claiming(work()), writing(f"{name}b", created())]

    store.commit([writing("ready", created())])  # each commit takes one and leaves one, so all run the same lines
    store.commit(units("first"))
    with Interrupt(0) as counting:
        store.commit(units("counted"))
    assert counting.lines > 200
    other = open_at(path, turn_timeout_ms=2_000)
    for at in counting.moments(each_reach):
        try:
            with Interrupt(at):
                store.commit(units(f"n{at}"))
        except KeyboardInterrupt:
            pass
        assert other.commit([]) == [], f"line {at} kept the turn"
        found = {id for id in versions(other) if id.startswith(f"n{at}")}
        assert found in (set(), {f"n{at}a", f"n{at}b"}), f"line {at}"
    assert store.commit(units("after"))[0] == 2
    with store.read() as snapshot:
        assert snapshot.check() == []
    other.close()
