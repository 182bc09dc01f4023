"""Fork: a child refuses the store that its parent opened, touches nothing of it, and may open its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sagalog.errors import Closed
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite_making import created, open_at, versions, writing
from tests.adapters.sqlite_processes import hear, run, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path)
    store.commit([writing("old", created())])
    yield store
    store.close()


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; its exit status, 0 if it did not raise."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the status tells the parent
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def refuses_everything(store: SqliteStore) -> None:
    for use in (lambda: store.commit([]), store.rebuild, store.changes, lambda: store.wait_change(0, 1)):
        with pytest.raises(Closed, match="open it again in the child"):
            use()
    with pytest.raises(Closed), store.read():
        pass
    store.close()


def test_a_child_refuses_the_store_and_the_parent_goes_on(store: SqliteStore) -> None:
    store.changes()
    assert in_child(lambda: refuses_everything(store)) == 0
    assert store.commit([writing("new", created())]) == [1]
    assert versions(store) == {"old": 1, "new": 1}


def test_a_snapshot_that_was_open_at_the_fork_is_refused_in_the_child_and_whole_in_the_parent(
    store: SqliteStore,
) -> None:
    with store.read() as snapshot:

        def look() -> None:
            with pytest.raises(Closed):
                snapshot.task("old")

        assert in_child(look) == 0
        assert snapshot.task("old") is not None
    assert versions(store) == {"old": 1}


def test_a_child_that_ends_in_the_middle_of_its_parents_commit_takes_nothing_from_it(path: Path) -> None:
    status, lines = run(path, "forking")
    assert (status, lines) == (0, ["1 1 1 1 1 1 0 6 2", "8 8"])


def test_a_child_opens_the_store_for_itself_and_both_write(store: SqliteStore, path: Path) -> None:
    def work() -> None:
        mine = open_at(path)
        assert mine.commit([writing("child", created())]) == [1]
        mine.close()

    assert in_child(work) == 0
    assert store.commit([writing("parent", created())]) == [1]
    assert versions(store) == {"old": 1, "child": 1, "parent": 1}


def test_a_child_that_outlives_its_parent_keeps_no_turn(path: Path) -> None:
    parent = start(path, "orphaning")
    assert hear(parent) == "alone"
    assert parent.wait(10) == -signal.SIGKILL
    store = open_at(path, turn_timeout_ms=2_000)
    assert store.commit([writing("t", created())]) == [1]
    assert versions(store) == {"t": 1}
    store.close()
    parent.communicate("\n", timeout=10)
