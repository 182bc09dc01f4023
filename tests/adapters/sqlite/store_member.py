"""A member: a process of its own with a store on a path, which does what it is told and says what came of it.

Run as `python -m tests.adapters.sqlite.store_member PATH COMMAND WORDS…` by the tests of the SQLite store. Each answer
is one line. It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sagalog.errors import SagalogError
from sagalog.kernel import events as e
from sagalog.store import Operation, Result, View
from sagalog.system import SystemClock
from sagalog_sqlite import fork_hooks as forking_
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.stores import created, leased, open_at, raw, seeing, writing


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201  # the answer


def open_here(path: Path, create: bool = True) -> SqliteStore:
    return open_at(path, SystemClock(), create=create, durability="full")


def opening(path: Path, id: str) -> None:
    """Open the store, making it if it is absent, and create one task."""
    input()
    store = open_here(path)
    say(store.commit([writing(id, created())])[0])
    store.close()


def committing(path: Path, prefix: str, count: str) -> None:
    """Create tasks of two events each, naming every one that was acknowledged."""
    store = open_here(path)
    for number in range(int(count)):
        id = f"{prefix}{number}"
        store.commit([writing(id, created(), leased(ttl_ms=None)), writing(id, e.Completed(1, "complete"))])
        say(id)


def filling(path: Path) -> None:
    """Create large tasks until the disk is full; then read; then, with room again, go on."""
    room = path.with_name("room")
    room.write_bytes(b"x" * 100_000)
    store = open_here(path)
    fill(store, room.unlink)


def making(path: Path) -> None:
    """Open an absent store with ever more room on the disk, and again once there is enough: what became of each."""
    for room_kib in range(0, 300, 8):
        folder = path.parent / f"room{room_kib}"
        folder.mkdir()
        disk = os.statvfs(folder)
        filler = path.parent / "filler"
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize - room_kib * 1024))
        store = folder / "store.db"
        say(room_kib, opened(store), *sorted(os.listdir(folder)))
        filler.unlink()
        say(room_kib, opened(store))
        shutil.rmtree(folder)


def opened(path: Path) -> str:
    try:
        store = open_here(path)
    except SagalogError as error:
        return error.code
    store.close()
    return "made"


def outgrowing(path: Path, limit_bytes: str) -> None:
    """The same with a limit on the size of a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = open_here(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), resource.RLIM_INFINITY))
    fill(store, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))


def fill(store: SqliteStore, make_room: Callable[[], object]) -> None:
    acknowledged = 0
    try:
        while True:
            store.commit([writing(f"t{acknowledged}", created(payload="x" * 20_000))])
            acknowledged += 1
    except SagalogError as error:
        say(error.code, acknowledged, str(error).replace("\n", " "))
    say(*counted(store))
    say(error_of(store, "refused"))
    make_room()
    say(error_of(store, "after"))
    say(*counted(store))
    store.close()


def error_of(store: SqliteStore, id: str) -> str:
    try:
        store.commit([writing(id, created(payload="x" * 20_000))])
    except SagalogError as error:
        return error.code
    return "written"


def counted(store: SqliteStore) -> tuple[Any, ...]:
    with store.read() as snapshot:
        return (*snapshot.head(), *snapshot.check())


def without_rights(path: Path, create: str) -> None:
    """Open the store without the rights of root; say the error."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        open_here(path, create == "create").close()
    except SagalogError as error:
        say(error.code, error.message)
    else:
        say("opened")


def masked(path: Path, umask: str) -> None:
    """Make the store and write to it under an umask; stay until told."""
    os.umask(int(umask, 8))
    store = open_here(path)
    store.commit([writing("t", created())])
    say("written")
    input()
    store.close()


def holding(path: Path) -> None:
    """Hold SQLite's own write lock, past the ticket, until told."""
    connection = raw(path)
    connection.execute("BEGIN IMMEDIATE")
    say("held")
    input()
    connection.execute("ROLLBACK")


def forking(path: Path) -> None:
    """Fork in the middle of a commit; the child ends as an interpreter ends, throwing every object away."""
    store = open_here(path)
    store.commit([writing("old", created())])

    def decide(_: View) -> Result:
        if child := os.fork():
            return Result(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sys.exit(0)

    # More than fits into the cache, so that the transaction is already in the WAL when the fork comes.
    large = [writing(f"large{number}", created(payload="x" * 1_000_000)) for number in range(6)]
    names = [f"large{number}" for number in range(6)]
    look = seeing(lambda view: sum(len(str(view.event(f"task/{name}", 1))) > 1_000_000 for name in names), *names)
    say(*store.commit([*large, Operation(decide), look, writing("large0", leased(ttl_ms=None))]))
    say(*counted(store))
    store.close()


def orphaning(path: Path) -> None:
    """Fork in the middle of a commit and die; the child stays until it is told."""
    store = open_here(path)

    def decide(_: View) -> Result:
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        say("alone")
        input()
        os._exit(0)

    store.commit([writing("lost", created()), Operation(decide)])


def orphaning_beside(path: Path) -> None:
    """Fork while another thread is in a commit, and die; the child stays until it is told."""
    store = open_here(path)
    begun = threading.Event()

    def decide(_: View) -> Result:
        begun.set()
        threading.Event().wait()
        return Result(None)

    threading.Thread(target=store.commit, args=([writing("lost", created()), Operation(decide)],), daemon=True).start()
    begun.wait()
    forking_.WAIT_S = 0.05  # type: ignore[misc]  # no thread comes back from that commit
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    say("alone")
    input()
    os._exit(0)


def returning(path: Path) -> None:
    """Fork in the middle of a commit and come back to it on both sides; the child says what it was told."""
    store = open_here(path)
    wal = path.with_name(path.name + "-wal")
    sizes: list[int] = []

    def decide(_: View) -> Result:
        child = os.fork()
        sizes.append(wal.stat().st_size)
        return Result(0 if child == 0 else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    large = [writing(f"large{number}", created(payload="x" * 1_000_000)) for number in range(6)]
    try:
        answers = store.commit([writing("first", created()), Operation(decide), *large, writing("last", created())])
    except SagalogError as error:
        say(error.code, wal.stat().st_size - sizes[0])
        os._exit(0)
    say(*answers[:2])
    with store.read() as snapshot:
        say(len(snapshot.check()) + 2, snapshot.head()[0] - 6)
    store.close()


def failing_to_fork(path: Path) -> None:
    """Be refused another process by the system, and go on."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    store = open_here(path)
    store.commit([writing("before", created())])
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        os.fork()
    except OSError as error:
        say(type(error).__name__)
    say(*store.commit([writing("after", created())]))
    say(*counted(store))
    store.close()


def main() -> None:
    path, command, *words = sys.argv[1:]
    commands = (
        opening,
        committing,
        filling,
        making,
        outgrowing,
        without_rights,
        masked,
        holding,
        forking,
        orphaning,
        orphaning_beside,
        returning,
        failing_to_fork,
    )
    {one.__name__: one for one in commands}[command](Path(path), *words)


if __name__ == "__main__":
    main()
