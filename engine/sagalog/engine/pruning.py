"""Pruning: which bytes beside the log nothing needs any more, and the commits that delete them, slice by slice.

Rule: bytes are needed until all tasks that name them, and all that go on from these, wait for them or are their
parents, have ended long enough ago. [PRUNE-1] The commit that deletes looks again at what it deletes. Knows no store by
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final, Literal

import msgspec

from sagalog.codec import enclose
from sagalog.errors import Corrupt, SagalogError
from sagalog.kernel import events as e
from sagalog.kernel.bounds import PRUNE_BYTES, PRUNE_DIGESTS_MAX, PRUNE_LOOKS
from sagalog.kernel.categories import STORE
from sagalog.kernel.references import AWAITS, SUCCEEDS
from sagalog.kernel.state import TaskFold
from sagalog.ports import Clock
from sagalog.store import Append, Operation, Progress, Pruning, ReferenceReads, Result, Store, View, project_fold

_TASK: Final = "task/"
# Where so many of the newest streams that name bytes need them no more, the look asks for all.
_NEWEST: Final = 32


class PruneReport(msgspec.Struct, frozen=True):
    """The outcome of `Engine.prune`.

    tasks        how many tasks had named what was pruned
    blobs        how many inputs, artifacts and other bytes were pruned, each content once
    size_bytes   how many bytes these had
    dry_run      whether it has only looked, and pruned nothing
    """

    tasks: int
    blobs: int
    size_bytes: int
    dry_run: bool


class Found(msgspec.Struct, frozen=True):
    """The bytes that nothing needs, of the digests at which one look has looked.

    digests      their digests
    size_bytes   how many bytes they have
    tasks        the ids of the tasks that name them
    looked       at how many digests it has looked
    """

    digests: tuple[str, ...]
    size_bytes: int
    tasks: frozenset[str]
    looked: int


def prune(
    store: Store,
    store_id: str,
    clock: Clock,
    older_than_ms: int,
    limit: int | None,
    queue: str | None,
    dry_run: bool,
    progress: Progress | None,
    actor: str | None,
) -> PruneReport:
    """Prune as `Engine.prune` says: a snapshot finds the bytes of a slice, and a commit of its own deletes them."""
    total = _digest_count(store) if progress is not None else 0
    blobs = size_bytes = looked = 0
    tasks: set[str] = set()
    after = ""
    while limit is None or blobs < limit:
        if progress is not None:
            progress(min(looked, total), total)
        most = PRUNE_DIGESTS_MAX if limit is None else min(PRUNE_DIGESTS_MAX, limit - blobs)
        with store.read() as snapshot:
            digests = snapshot.digests(after, PRUNE_DIGESTS_MAX)
            found = look(snapshot, digests, clock.now_ms() - older_than_ms, most, queue)
        if not digests:
            break
        looked, after = looked + found.looked, digests[found.looked - 1]
        if found.digests and not dry_run:
            answer = store.commit((pruning(store_id, found.digests, older_than_ms, queue, actor),))[0]
            if isinstance(answer, SagalogError):
                raise answer
            found = answer
        blobs, size_bytes, tasks = blobs + len(found.digests), size_bytes + found.size_bytes, tasks | found.tasks
    if progress is not None:
        progress(total, total)
    return PruneReport(len(tasks), blobs, size_bytes, dry_run)


def pruning(store: str, digests: Sequence[str], older_than_ms: int, queue: str | None, actor: str | None) -> Operation:
    """Make an operation that deletes those of these bytes that nothing needs; it answers `Found`. [PRUNE-1]

    `store` is the id of the store, in whose stream it says so.
    """
    return Operation(partial(_prune, digests, older_than_ms, queue, actor), writes=(STORE.stream(store),), prunes=True)


def _prune(digests: Sequence[str], older_than_ms: int, queue: str | None, actor: str | None, view: View) -> Result:
    found = look(view, digests, view.now_ms - older_than_ms, len(digests), queue)
    if not found.digests:
        return Result(found)
    store = view.store
    assert store is not None, "an engine founds its store"
    event = e.Pruned(digests=found.digests, size_bytes=found.size_bytes, older_than_ms=older_than_ms)
    stream, version = STORE.stream(store.id), store.version + 1
    fold = STORE.evolve(store, event, version, view.now_ms)
    envelope = enclose(stream, version, view.now_ms, event, actor)
    append = Append(stream, store.version, (envelope,), project_fold(fold))
    return Result(found, (append,), pruned=Pruning(version, found.digests))


def look(reads: ReferenceReads, digests: Sequence[str], until_ms: int, limit: int, queue: str | None = None) -> Found:
    """Find, among digests in their order, bytes that no task needs of those that have not ended by `until_ms`.

    With a queue, only what its tasks alone name.

    It ends with `limit` of them, or once they are many bytes, or it has looked at many tasks. One digest always fits.
    """
    survey = _Survey(reads, until_ms, queue)
    found: list[str] = []
    tasks: set[str] = set()
    size_bytes = looked = 0
    for digest in digests:
        size = reads.blob_size(digest) or 0
        if looked and (len(found) == limit or survey.looks >= PRUNE_LOOKS or size_bytes + size > PRUNE_BYTES):
            break
        looked += 1
        naming = survey.naming(digest)
        if naming is not None and reads.blob_size(digest) is not None:
            found.append(digest)
            size_bytes += size
            tasks |= naming
    return Found(tuple(found), size_bytes, frozenset(tasks), looked)


class _Survey:
    """The tasks of one look, each loaded once; `looks` counts them, and the names that it has looked up."""

    def __init__(self, reads: ReferenceReads, until_ms: int, queue: str | None) -> None:
        self.looks = 0
        self._reads = reads
        self._queue = queue
        self._until_ms = until_ms
        self._tasks: dict[str, TaskFold | Literal["unreadable"] | None] = {}
        self._over: dict[str, bool] = {}

    def naming(self, digest: str) -> frozenset[str] | None:
        """Return the tasks that name bytes, if nothing needs these any more; None: they are needed. [PRUNE-1]"""
        tasks: set[str] = set()
        newest = self._reads.referring(digest, _NEWEST)
        more = (self._reads.referring(digest) for _ in range(len(newest) == _NEWEST))
        for stream, task in chain(newest, chain.from_iterable(more)):
            id = stream.removeprefix(_TASK) if task is None and stream.startswith(_TASK) else task
            # [PRUNE-2] Bytes that are named for no task stay.
            if id is None or not self._is_of_queue(id) or not self._is_over(id):
                return None
            tasks.add(id)
        return frozenset(tasks)

    def _is_of_queue(self, id: str) -> bool:
        """Check that a task is of the queue that is pruned, if only one is."""
        task = None if self._queue is None else self._task(id)
        return self._queue is None or (isinstance(task, TaskFold) and task.queue == self._queue)

    def _is_over(self, id: str) -> bool:
        """Check that a task has ended long enough ago, with all that may still read what it names. [PRUNE-1]"""
        known = self._over.get(id)
        if known is None:
            known = self._over[id] = self._have_ended((id,)) and self._have_ended(self._beside(id))
        return known

    def _beside(self, id: str) -> Iterator[str]:
        """Yield the parent of a task, and the tasks that have waited for it."""
        task = self._task(id)
        if isinstance(task, TaskFold) and task.parent is not None:
            yield task.parent
        yield from self._referring(AWAITS + id)

    def _have_ended(self, ids: Iterable[str]) -> bool:
        """Check that these tasks have ended long enough ago, and all their successors. [PRUNE-1]"""
        for id in ids:
            ahead = [id]
            while ahead:
                task = self._task(one := ahead.pop())
                if task is None:
                    continue
                if not isinstance(task, TaskFold) or not task.is_terminal:
                    return False
                # An end that is on record before the creation shows a clock that had stepped back.
                if max(task.created_ms, task.updated_ms) > self._until_ms:
                    return False
                ahead += self._referring(SUCCEEDS + one)
        return True

    def _referring(self, name: str) -> list[str]:
        self.looks += 1
        return [one.stream.removeprefix(_TASK) for one in self._reads.referring(name)]

    def _task(self, id: str) -> TaskFold | Literal["unreadable"] | None:
        """Return a task; "unreadable" where this version cannot tell what it needs. [LOG-5]"""
        if id not in self._tasks:
            self.looks += 1
            try:
                self._tasks[id] = self._reads.task(id)
            except Corrupt:
                self._tasks[id] = "unreadable"
        return self._tasks[id]


def _digest_count(store: Store) -> int:
    with store.read() as snapshot:
        return snapshot.digest_count()
