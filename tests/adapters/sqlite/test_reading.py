"""Reading: consistent, beside writers, not for too long; and the news of what others have committed."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from sagalog.errors import Closed, LogDamaged, Unavailable
from sagalog.store import Query
from sagalog.testing import ManualClock
from sagalog_sqlite import change_waiter, changes, listing
from sagalog_sqlite.readers import IDLE_MAX
from sagalog_sqlite.snapshot import AGE_MAX_MS
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.processes import run
from tests.adapters.sqlite.stores import START_MS, created, leased, open_at, versions, writing

# --- snapshots ------------------------------------------------------------------------------------------------------


def test_a_snapshot_shows_one_moment_while_others_write(store: SqliteStore, path: Path) -> None:
    other = open_at(path)
    store.commit([writing("a", created())])
    with store.read() as snapshot:
        assert snapshot.head() == (1, 1)
        other.commit([writing("b", created())])
        store.commit([writing("a", leased())])
        assert snapshot.head() == (1, 1)
        assert [one.name for one in snapshot.events(0, 10)] == ["task/a@1"]
        assert snapshot.task("b") is None
    with store.read() as snapshot:
        assert snapshot.head() == (3, 3)
    other.close()


def test_a_snapshot_that_has_grown_old_refuses_and_a_new_one_reads_on(store: SqliteStore, clock: ManualClock) -> None:
    with store.read() as snapshot:
        clock.advance(AGE_MAX_MS)
        assert snapshot.head() == (0, 0)
        clock.advance(1)
        with pytest.raises(Unavailable, match="read in pages"):
            snapshot.head()
    with store.read() as snapshot:
        assert snapshot.head() == (0, 0)


def test_snapshots_of_many_threads_share_a_few_connections(store: SqliteStore) -> None:
    store.commit([writing("a", created())])
    together = threading.Barrier(12)
    seen: list[int] = []

    def look() -> None:
        for _ in range(5):
            with store.read() as snapshot:
                together.wait(20)
                seen.append(snapshot.head()[0])

    threads = [threading.Thread(target=look) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 60
    assert len(store._connections.readers._idle) == IDLE_MAX


def test_an_error_within_the_block_gives_the_connection_back(store: SqliteStore) -> None:
    with pytest.raises(ZeroDivisionError), store.read() as snapshot:
        assert 1 // snapshot.head()[0]
    [connection] = store._connections.readers._idle
    assert connection.in_transaction is False


def test_a_snapshot_cannot_write(store: SqliteStore) -> None:
    with store.read() as snapshot, pytest.raises(Unavailable):
        snapshot._rows("DELETE FROM tasks")


def test_an_event_that_is_not_there_is_a_damaged_log(store: SqliteStore) -> None:
    store.commit([writing("a", created())])
    with store.read() as snapshot, pytest.raises(LogDamaged, match="task/a@2"):
        snapshot.recorded("a", 2)


# --- listings -------------------------------------------------------------------------------------------------------


def test_a_listing_goes_on_where_its_last_page_ended_whatever_it_asks_for(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PAGE", 4)
    units = []
    for number in range(30):
        fields = {"queue": "ab"[number % 2], "kind": "xyz"[number % 3], "tags": {"n": str(number % 5), "all": "yes"}}
        units.append(writing(f"t{number:02}", created(**fields), *([leased()] if number % 4 == 0 else [])))  # type: ignore[arg-type]
    store.commit(units)
    queries = [
        Query(),
        Query(queues=("a",)),
        Query(kind="x"),
        Query(states=("running",)),
        Query(states=("running", "pending"), queues=("b", "a"), since_ms=START_MS),
        Query(states=("pending",), queues=("b",)),
        Query(states=("pending",), queues=("b",), kind="z"),
        Query(queues=("a",), kind="y"),
        Query(tags=(("all", "yes"), ("n", "3"))),
        Query(tags=(("n", "3"),), queues=("b",), states=("pending",)),
        Query(states=("completed",)),
        Query(queues=("none",)),
    ]
    with store.read() as snapshot:
        every = snapshot.find(Query())
        assert [one.fold.id for one in every] == [f"t{number:02}" for number in range(30)]
        for query in [turned for one in queries for turned in (one, replace(one, newest_first=True))]:
            wanted = [one for one in every if fits(one.fold, query)][:: -1 if query.newest_first else 1]
            assert snapshot.find(query) == wanted, query
            paged, after = [], 0
            while page := snapshot.find(replace(query, after=after, limit=3)):
                assert len(page) <= 3
                paged += page
                after = page[-1].order
            assert paged == wanted, query


def fits(fold: object, query: Query) -> bool:
    wanted = {"queue": query.queues, "kind": query.kind and (query.kind,), "state": query.states}
    tags = getattr(fold, "tags", None) or {}
    return all(values is None or getattr(fold, name) in values for name, values in wanted.items()) and all(
        tags.get(name) == value for name, value in query.tags
    )


# --- news -----------------------------------------------------------------------------------------------------------


def test_the_number_of_changes_differs_only_after_a_commit(store: SqliteStore, path: Path) -> None:
    """Any process may commit."""
    other = open_at(path)
    numbers = [store.changes()]
    store.commit([])
    with store.read() as snapshot:
        snapshot.head()
    assert store.changes() == numbers[0]
    store.commit([writing("a", created())])
    numbers.append(store.changes())
    other.commit([writing("b", created())])
    numbers.append(store.changes())
    assert len(set(numbers)) == 3
    other.close()


def test_a_thread_that_waits_is_woken_by_a_commit_of_its_own_process(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The system tells it of no write, and it polls hardly ever: only its own process can wake it.
    monkeypatch.setattr(change_waiter, "watch", lambda _path: -1)
    monkeypatch.setattr(change_waiter, "POLL_S", 20)
    since, woken = store.changes(), threading.Event()

    def wait() -> None:
        store.wait_change(since, 20_000)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not woken.wait(0.05)
    store.commit([writing("a", created())])
    assert woken.wait(5)
    thread.join()


@pytest.mark.parametrize("is_notified", [True, False], ids=["told by the system", "polling"])
def test_a_thread_that_waits_sees_a_commit_of_another_process(
    is_notified: bool, store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_notified:
        monkeypatch.setattr(change_waiter, "watch", lambda _path: -1)
    since, began = store.changes(), time.monotonic()
    thread = threading.Thread(target=store.wait_change, args=(since, 20_000))
    thread.start()
    assert run(path, "committing", "t", 1) == (0, ["t0"])
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < 10
    assert versions(store) == {"t0": 3}


def test_waiting_ends_at_its_time_or_at_once_after_a_change(store: SqliteStore) -> None:
    since = store.changes()
    store.wait_change(since, 0)
    store.wait_change(since, 10)
    store.commit([writing("a", created())])
    began = time.monotonic()
    store.wait_change(since, 20_000)
    assert time.monotonic() - began < 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of writes")
def test_a_waiter_sleeps_until_a_process_writes(tmp_path: Path) -> None:
    """It sleeps only shortly once the file is gone."""
    file = tmp_path / "file"
    file.touch()
    waiter = change_waiter.ChangeWaiter(str(file))
    told = [waiter.is_notified]
    assert not waiter.wait(0.01)
    file.write_text("something")
    assert waiter.wait(5)
    assert not waiter.wait(0.01)
    file.unlink()
    assert waiter.wait(5)
    told.append(waiter.is_notified)
    assert told == [True, False]
    waiter.wake()
    assert waiter.wait(5)
    waiter.close()


def test_closing_wakes_who_waits(path: Path) -> None:
    store = open_at(path)
    since, ended = store.changes(), []

    def wait() -> None:
        with pytest.raises(Closed):
            store.wait_change(since, 20_000)
        ended.append("closed")

    thread = threading.Thread(target=wait)
    thread.start()
    store.close()
    thread.join(10)
    assert ended == ["closed"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of writes")
def test_a_commit_that_shows_long_after_its_write_is_not_missed(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk a write is heard of, its sync takes its time, and the system does not tell of the end of that."""
    monkeypatch.setattr(change_waiter, "NOTIFIED_S", 30)  # who misses it sleeps for long
    since, seen, shows = store.changes(), threading.Event(), threading.Event()
    number = changes.Changes.number
    monkeypatch.setattr(changes.Changes, "number", lambda self: number(self) if shows.is_set() else since)

    def wait() -> None:
        store.wait_change(since, 20_000)
        seen.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not seen.wait(0.02)
    other = open_at(path)
    other.commit([writing("t", created())])
    assert not seen.wait(0.05)
    shows.set()
    assert seen.wait(5)
    thread.join()
    other.close()
