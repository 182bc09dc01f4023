"""The work of each public call after a warm-up: files and functions entered, SQL statements, syncs, WAL pages.

Rule: the suite makes each call many times before it counts one. The counters are on a store that is opened as every
caller opens it: SQLite's own trace, its file system, and Python's profiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import apsw

import sagalog
from bench import stores
from bench.plan import Plan
from bench.report import Figure, Goal, single
from sagalog import Engine, Lease
from sagalog.testing import ManualClock
from sagalog_sqlite.store import SqliteStore
from tests.store_of import store_of

_START_MS: Final = 1_700_000_000_000
_WARM: Final = 60
_BATCH: Final = 100
_STATEMENTS: Final = {"create": 5, "claim": 5, "heartbeat": 4, "complete": 4}
# Half of the functions that an earlier version entered, without those of comprehensions.
_FUNCTIONS: Final = {"create": 52, "claim": 60, "complete": 56, "step": 58}
_INSIDE: Final = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>")


@dataclass
class Counted:
    """The work of one call."""

    files: int = 0
    functions: int = 0
    statements: int = 0
    syncs: int = 0
    pages: int = 0


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the figures of each verb at full durability, so that they include syncs."""
    for verb, counted in counts(plan.folder, 3 if plan.tiny else _WARM).items():
        # For a worker, the figures leave out the functions and statements of its threads.
        functions, statements = _FUNCTIONS.get(verb), _STATEMENTS.get(verb)
        yield single(f"{verb}: files entered", counted.files, "")
        goal = None if functions is None else Goal("<=", functions)
        yield single(f"{verb}: functions entered", counted.functions, "", goal)
        goal = None if statements is None else Goal("<=", statements)
        yield single(f"{verb}: SQL statements", counted.statements, "", goal)
        yield single(f"{verb}: syncs", counted.syncs, "")
        yield single(f"{verb}: pages in the WAL", counted.pages, "")


def counts(folder: Path, warm: int) -> Mapping[str, Counted]:
    """Return verb -> the work of one call of it, after `warm` lifecycles."""
    clock = ManualClock(_START_MS)
    path = folder / "calls.db"
    with _counted_files() as files, stores.open_engine(path, "full", clock) as engine:
        for _ in range(warm):
            for _, call in _life(engine, clock):
                call()
        counted = {}
        for verb, call in _life(engine, clock):
            # By the store's own connection, so that the store forgets nothing. Then no checkpoint happens during the
            # counted call, nor the sync of a WAL that SQLite starts anew.
            writer = _store_of(engine)._connections.writer
            assert writer is not None, "the store has written before"
            writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            engine.note(engine.create("other", queue="other").id, "the WAL is begun")
            counted[verb] = _count(engine, files, call)
        return counted


def _life(engine: Engine, clock: ManualClock) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the calls of one task's life, then those of a hundred tasks at once."""
    held: list[Lease] = []

    def claim() -> None:
        held[:] = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS)

    def heartbeat() -> None:
        held[0] = held[0].heartbeat()

    yield "create", lambda: engine.create(stores.KIND, stores.PAYLOAD, queue=stores.QUEUE)
    yield "claim", claim
    clock.advance(10)
    yield "heartbeat", heartbeat
    yield "step", lambda: held[0].step("one", {"n": 1})
    yield "complete", lambda: held[0].complete(stores.RESULT)
    spec = {"kind": stores.KIND, "payload": stores.PAYLOAD, "queue": stores.QUEUE}
    yield f"create, {_BATCH} at once", lambda: engine.create_many([spec] * _BATCH)

    def claim_many() -> None:
        held[:] = engine.claim(stores.QUEUE, owner=stores.OWNER, ttl_ms=stores.TTL_MS, limit=_BATCH)

    def complete_many() -> None:
        with engine.batch() as batch:
            for lease in held:
                batch.complete(lease, stores.RESULT)

    yield f"claim, {_BATCH} at once", claim_many
    yield f"complete, {_BATCH} at once", complete_many
    worker = sagalog.Worker(concurrency=8, claim_ahead=2 * _BATCH, queues=[stores.QUEUE])
    worker.task(stores.KIND)(lambda _context, _payload: None)

    def work() -> None:
        engine.create_many([spec] * _BATCH)
        worker.run(engine, until="idle")

    yield f"a busy worker, {_BATCH} tasks", work


def _count(engine: Engine, files: _CountedFiles, call: Callable[[], Any]) -> Counted:
    store = _store_of(engine)
    writer = store._connections.writer
    assert writer is not None, "the store has written before"
    counted, codes = Counted(), set[CodeType]()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name not in _INSIDE:
            codes.add(frame.f_code)

    def trace(_: dict[str, Any]) -> None:
        counted.statements += 1

    syncs, pages = files.syncs, store.checkpoints.wal_pages
    writer.trace_v2(apsw.SQLITE_TRACE_PROFILE, trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        writer.trace_v2(0, None)
    counted.syncs, counted.pages = files.syncs - syncs, store.checkpoints.wal_pages - pages
    # The profiler also sees the functions of this file.
    codes = {code for code in codes if code.co_filename != __file__}
    counted.functions, counted.files = len(codes), len({code.co_filename for code in codes})
    return counted


def _store_of(engine: Engine) -> SqliteStore:
    store = store_of(engine)
    assert isinstance(store, SqliteStore)
    return store


@dataclass
class _CountedFiles:
    """The number of syncs that SQLite has requested."""

    syncs: int = 0
    vfs: list[apsw.VFS] = field(default_factory=list)


@contextmanager
def _counted_files() -> Iterator[_CountedFiles]:
    """Have the default file system count syncs while the block lasts."""
    counted, real = _CountedFiles(), apsw.vfs_names()[0]

    class File(apsw.VFSFile):
        def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
            super().__init__(real, name, flags)

        def xSync(self, flags: int) -> None:  # noqa: N802  SQLite's name
            counted.syncs += 1
            super().xSync(flags)

    class Files(apsw.VFS):
        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> File:  # noqa: N802  SQLite's name
            return File(name, flags)

    files = Files("counted", real, makedefault=True)
    try:
        yield counted
    finally:
        files.unregister()
