"""Fork: parent and child go on, each with connections of its own, or the child is told that it cannot. [FORK-1]"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sagalog.errors import Closed, Unavailable
from sagalog_sqlite import fork_hooks
from sagalog_sqlite.fork_barrier import BARRIER
from sagalog_sqlite.store import SqliteStore
from tests.adapters.cli.calls import environment
from tests.adapters.sqlite.callers import Caller, Gate, held_up
from tests.adapters.sqlite.interrupts import Interrupt
from tests.adapters.sqlite.processes import hear, run, run_anew, start
from tests.adapters.sqlite.stores import created, open_at, raw, seeing, versions, writing
from tests.adapters.sqlite.test_closing import links_of_descriptors

INSTEAD = "start processes by spawn or forkserver"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_at(path)
    store.commit([writing("old", created())])
    yield store
    store.close()


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Run `work` in a forked child; its exit status, 0 if it did not raise."""
    child = fork()
    if child == 0:
        finish(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finish(work: Callable[[], object]) -> None:
    signal.alarm(60)
    try:
        work()
    except BaseException as error:  # noqa: BLE001  # the status tells the parent
        os.write(2, repr(error).encode())
        os._exit(1)
    os._exit(0)


def writes(store: SqliteStore, id: str) -> Callable[[], None]:
    def work() -> None:
        assert store.commit([writing(id, created())]) == [1]
        assert id in versions(store)

    return work


def refuses(store: SqliteStore, path: Path) -> Callable[[], None]:
    """What a child does that must not use the file: everything is refused, and so is opening it once more."""

    def work() -> None:
        for use in (lambda: store.commit([]), store.rebuild, store.changes, lambda: store.wait_change(0, 1)):
            with pytest.raises(Closed, match=INSTEAD):
                use()
        with pytest.raises(Closed, match=INSTEAD), store.read():
            pass
        with pytest.raises(Unavailable, match=INSTEAD):
            open_at(path)
        store.close()

    return work


# --- forks while nothing uses the store -----------------------------------------------------------------------------


def test_parent_and_child_go_on_with_the_store_that_was_open(store: SqliteStore) -> None:
    """[FORK-1]"""
    changes = store.changes()
    assert in_child(writes(store, "child")) == 0
    writes(store, "parent")()
    assert versions(store) == {"old": 1, "child": 1, "parent": 1}
    assert store.changes() != changes


def test_a_child_opens_the_store_for_itself_and_both_write(store: SqliteStore, path: Path) -> None:
    def work() -> None:
        mine = open_at(path)
        writes(mine, "child")()
        mine.close()

    assert in_child(work) == 0
    writes(store, "parent")()
    assert versions(store) == {"old": 1, "child": 1, "parent": 1}


def test_a_child_of_a_child_goes_on_too(store: SqliteStore) -> None:
    def work() -> None:
        writes(store, "child")()
        assert in_child(writes(store, "grandchild")) == 0
        writes(store, "child again")()

    assert in_child(work) == 0
    assert versions(store) == {"old": 1, "child": 1, "grandchild": 1, "child again": 1}


def test_closing_in_the_child_closes_nothing_of_the_parents(store: SqliteStore, path: Path) -> None:
    assert in_child(store.close) == 0
    writes(store, "parent")()
    store.close()
    assert not path.with_name("store.db-wal").exists(), "the parent has closed as if it had never forked"


def test_a_child_inherits_no_descriptor_of_the_store(store: SqliteStore, path: Path) -> None:
    """[FORK-1] Nor any that tells of writes: what the child read there the parent would never be told."""
    versions(store)
    store.wait_change(store.changes(), 1)
    before = links_of_descriptors()
    assert any("inotify" in name for name in before)
    assert any(name.endswith(".turn") for name in before)

    def look() -> None:
        kept = [name for name in links_of_descriptors() if name.startswith(str(path)) or "inotify" in name]
        assert kept == []

    assert in_child(look) == 0


def test_processes_that_multiprocessing_forks_use_the_store(store: SqliteStore) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=writes(store, f"w{number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert versions(store) == {"old": 1, **{f"w{number}": 1 for number in range(4)}}


def test_a_store_that_is_not_in_use_goes_on_beside_one_that_is(store: SqliteStore, path: Path) -> None:
    busy = open_at(path.with_name("busy.db"))
    with busy.read():
        assert in_child(refuses(busy, path.with_name("busy.db"))) == 0
        assert in_child(writes(store, "child")) == 0
    busy.close()


# --- forks beside other threads -------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits long enough for threads of a machine that has much else to do."""
    monkeypatch.setattr(fork_hooks, "WAIT_S", 60.0)


def test_a_fork_waits_for_the_transaction_of_another_thread(store: SqliteStore, patient: None) -> None:
    """[FORK-1]"""
    gate = Gate()
    holder = Caller(store, gate.unit(), writing("held", created()))
    gate.wait_for_it()

    def open_later() -> None:
        until_shut()
        gate.open()

    opener = threading.Thread(target=open_later)
    opener.start()
    assert in_child(writes(store, "child")) == 0
    opener.join()
    assert holder.ends().answers == ["held", 1]
    assert versions(store) == {"old": 1, "held": 1, "child": 1}


def until_shut() -> None:
    """Return when a fork has begun in another thread."""
    while not BARRIER.shut_by:
        time.sleep(0.001)


def test_a_fork_waits_for_a_bounded_time_and_tells_its_child_what_to_do(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[FORK-1]"""
    monkeypatch.setattr(fork_hooks, "WAIT_S", 0.05)
    with held_up(store) as go_on:
        assert in_child(refuses(store, path)) == 0
        go_on()
    writes(store, "parent")()


def test_writers_that_arrive_during_a_fork_wait_for_its_end(path: Path) -> None:
    """They leave the turn to others meanwhile."""
    store = open_at(path, turn_timeout_ms=60_000)
    assert BARRIER.shut()
    try:
        caller = Caller(store, writing("later", created()))
        reader = threading.Thread(target=lambda: versions(store))
        reader.start()
        status, lines = run(path, "committing", "other", 1)
        assert (status, lines) == (0, ["other0"])
        assert caller.answers is None
        assert reader.is_alive()
    finally:
        BARRIER.open()
    assert caller.ends().answers == [1]
    reader.join(10)
    assert not reader.is_alive()
    store.close()


def test_a_place_that_an_interrupt_left_behind_is_free_once_dropped(path: Path) -> None:
    """Else every later fork would wait for it in vain, and its child would refuse the file."""
    place = BARRIER.place(str(path))
    with pytest.raises(KeyboardInterrupt), place, Interrupt(1):
        place.__exit__(None, None, None)
    place.__enter__()
    assert BARRIER.occupied(0) == {str(path)}
    del place
    assert BARRIER.occupied(0) == set()


def test_no_thread_opens_a_store_while_a_fork_is_under_way(path: Path) -> None:
    opened: list[SqliteStore] = []
    assert BARRIER.shut()
    try:
        opener = threading.Thread(target=lambda: opened.append(open_at(path)))
        opener.start()
        opener.join(0.1)
        assert not path.exists()
    finally:
        BARRIER.open()
    opener.join(10)
    writes(opened[0], "t")()
    opened[0].close()


def test_a_thread_that_is_forking_is_refused_and_does_not_wait_for_itself(store: SqliteStore) -> None:
    """As a hook of its own, or a signal's handler, may try."""
    assert BARRIER.shut()
    try:
        with pytest.raises(Unavailable, match="in the middle of a fork"):
            store.commit([writing("t", created())])
        with pytest.raises(Unavailable, match="in the middle of a fork"), store.read():
            pass
    finally:
        BARRIER.open()
    writes(store, "t")()


def test_a_fork_by_a_signal_handler_amid_a_fork_has_a_refusing_child(
    store: SqliteStore, path: Path, patient: None
) -> None:
    statuses: list[int] = []
    gate = Gate()

    def handle(_number: int, _frame: object) -> None:
        statuses.append(in_child(refuses(store, path)))
        gate.open()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        holder = Caller(store, gate.unit(), writing("held", created()))
        gate.wait_for_it()

        def interrupt() -> None:
            until_shut()
            os.kill(os.getpid(), signal.SIGUSR1)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        assert in_child(writes(store, "child")) == 0
        interrupter.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert statuses == [0]
    assert holder.ends().answers == ["held", 1]
    assert not BARRIER.shut_by
    assert versions(store) == {"old": 1, "held": 1, "child": 1}


def test_a_fork_waits_before_it_takes_a_lock_of_the_standard_library() -> None:
    """Asked in a new process, where nothing else has imported the library whose hook takes that lock."""
    orders = (
        "import os; order = []; register = os.register_at_fork\n"
        "os.register_at_fork = lambda **hooks: (order.append(hooks.get('before')), register(**hooks))\n"
        "import sagalog_sqlite.fork_hooks as forking, concurrent.futures.thread as pools\n"
        "print(order.index(pools._global_shutdown_lock.acquire) < order.index(forking._before))"
    )
    asked = subprocess.run([sys.executable, "-c", orders], capture_output=True, text=True, env=environment())
    assert (asked.stdout, asked.stderr) == ("True\n", "")


def test_a_fork_while_connections_are_had_anew_has_a_child_that_refuses(store: SqliteStore, path: Path) -> None:
    """A signal's handler again, in a thread that mends lost locks just then."""
    assert BARRIER.shut()
    try:
        assert in_child(refuses(store, path)) == 0
        assert BARRIER.is_mine()
    finally:
        BARRIER.open()
    assert in_child(writes(store, "child")) == 0


def test_forks_from_several_threads_at_once_all_have_a_store(store: SqliteStore, patient: None) -> None:
    statuses: list[int] = []

    def forks(name: str) -> None:
        for number in range(3):
            statuses.append(in_child(writes(store, f"{name}-{number}")))
            writes(store, f"{name}-{number}-parent")()

    threads = [threading.Thread(target=forks, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [0] * 9
    assert len(versions(store)) == 1 + 18


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that a process without rights can reach: pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_a_fork_that_fails_leaves_the_store_as_it_was(anybodys: Path) -> None:
    """[FORK-1] The process may start no other: the system refuses, and the barrier is open again."""
    status, lines = run(anybodys / "store.db", "failing_to_fork")
    assert (status, lines) == (0, ["BlockingIOError", "1", "2 2"])


# --- forks within a use ---------------------------------------------------------------------------------------------


def test_a_snapshot_open_at_the_fork_is_refused_in_the_child(store: SqliteStore, path: Path) -> None:
    """[FORK-1] It stays whole in the parent."""
    with store.read() as snapshot:

        def look() -> None:
            with pytest.raises(Closed, match=INSTEAD):
                snapshot.task("old")
            refuses(store, path)()

        assert in_child(look) == 0
        assert snapshot.task("old") is not None
    assert versions(store) == {"old": 1}
    assert in_child(writes(store, "child")) == 0


def test_a_child_that_ends_amid_its_parents_commit_takes_nothing_from_it(path: Path) -> None:
    status, lines = run_anew(path, "forking")
    assert (status, lines) == (0, ["1 1 1 1 1 1 0 6 2", "8 8"])


def test_a_child_that_returns_into_its_parents_commit_writes_nothing(path: Path) -> None:
    """As a signal's handler does that forks and returns on both sides; not even what overflows the cache."""
    status, lines = run_anew(path, "returning")
    assert (status, lines) == (0, ["closed 0", "1 0", "2 2"])


def test_a_child_whose_parent_has_a_connection_of_its_own_is_told_so(store: SqliteStore, path: Path) -> None:
    """[FORK-1] One that the store does not know of, and so cannot close."""
    stranger = raw(path)
    stranger.execute("SELECT count(*) FROM sqlite_schema")
    assert in_child(refuses(store, path)) == 0
    stranger.close()
    assert in_child(writes(store, "child")) == 0


def test_a_child_that_was_forked_past_python_is_told_so(store: SqliteStore, path: Path) -> None:
    """Some servers fork in C and tell Python only afterwards, in the child."""
    here = ctypes.PyDLL(None)

    def fork() -> int:
        child: int = here.fork()
        if child == 0:
            here.PyOS_AfterFork_Child()
        return child

    assert in_child(refuses(store, path), fork) == 0
    writes(store, "parent")()


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["orphaning", "orphaning_beside"])
def test_a_child_that_outlives_its_parent_keeps_no_turn(path: Path, where: str) -> None:
    """[FORK-1] The parent was in a commit, in the thread that forked or in another."""
    parent = start(path, where)
    assert hear(parent) == "alone"
    assert parent.wait(10) == -signal.SIGKILL
    store = open_at(path, turn_timeout_ms=2_000)
    assert store.commit([writing("t", created())]) == [1]
    assert versions(store) == {"t": 1}
    store.close()
    parent.communicate("\n", timeout=10)


def test_a_child_that_is_killed_in_a_commit_takes_nothing_from_its_parent(store: SqliteStore) -> None:
    def work() -> None:
        store.commit([writing("lost", created()), seeing(lambda _: os.kill(os.getpid(), signal.SIGKILL))])

    assert in_child(work) == -signal.SIGKILL
    writes(store, "parent")()
    assert versions(store) == {"old": 1, "parent": 1}
