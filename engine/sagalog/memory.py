"""The reference store: the shortest code that keeps every promise of the port, in this process's memory.

Rule: what it answers is right by definition; random runs compare every other store with it. So it looks at all live
tasks for a claim where another store has an index, and nothing in it is clever. Keeps nothing beyond the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from sagalog import failpoints
from sagalog.codec import Envelope, read
from sagalog.errors import Closed, SagalogError, VersionConflict
from sagalog.forks import stands_still_in_forks
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.ports import Append, Claim, Clock, Decided, Due, Listed, Query, StreamHead, Tag, UnclaimedUndo, Unit
from sagalog.projection import (
    awaited,
    columns,
    decode_fold,
    encode_fold,
    gate,
    gate_afresh,
    gate_next,
    overdue_ms,
    refold,
)


def open_store(url: str, *, create: bool, clock: Clock, durability: str) -> MemoryStore:  # noqa: ARG001  nothing to keep
    """A new, empty store; nothing can be opened twice, so `create=False` finds nothing.

    Raises:
        ValueError: the URL is not `memory:`, or asks for an existing store.
    """
    if url not in ("memory:", "memory://"):
        raise ValueError(f"a memory store has no name: use 'memory:' instead of {url!r}")
    if not create:
        raise ValueError("a memory store is always new: create=False cannot be kept")
    return MemoryStore(clock)


class MemoryStore:
    """A log in a list and a fold per task in a dictionary, behind one lock.

    A forked child has a copy of its own, which no other process writes to or reads; no fork takes place within a commit
    of another thread, but for one of more than two seconds, whose child refuses its half-written copy. [FORK-1]
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._is_writing = False
        self._is_torn = False
        self._commits = 0
        self._closed = False
        self.log: list[Envelope] = []
        self.stream_of: dict[str, list[Envelope]] = {}
        self.folds: dict[str, TaskFold] = {}
        self.gates: dict[str, str | None] = {}
        self.order: dict[str, int] = {}
        self.blobs: dict[str, bytes] = {}
        self.store_fold: StoreFold | None = None
        self.checkpoints: dict[str, int] = {}
        stands_still_in_forks(self)

    def hold(self, timeout_s: float) -> bool:
        """Before a fork: wait for the commit that is under way."""
        return self._changed.acquire(timeout=timeout_s)

    def let_go(self) -> None:
        """After a fork, in the parent."""
        self._changed.release()

    def begin_anew(self) -> None:
        """In the child: the lock may be a thread's that is not here."""
        self._changed = threading.Condition(threading.RLock())
        self._is_torn, self._is_writing = self._is_torn or self._is_writing, False

    def commit(self, units: Sequence[Unit]) -> list[Any]:
        """As the port says; a unit appends once its function has returned, so a refusal has nothing to undo."""
        with self._changed:
            self._require_open()
            failpoints.reach("commit.before_begin")
            now_ms = self._clock.now_ms()
            length = len(self.log)
            self._is_writing = True
            try:
                answers = [self._answer(unit, now_ms) for unit in units]
            except BaseException:
                self._take_back(length)
                raise
            finally:
                self._is_writing = False
            if len(self.log) > length:
                self._commits += 1
                self._changed.notify_all()
            failpoints.reach("commit.after_commit")
            return answers

    def _answer(self, unit: Unit, now_ms: int) -> Any:
        try:
            return self._run(unit, now_ms).answer
        except SagalogError as refusal:
            return refusal

    def _take_back(self, length: int) -> None:
        """Undo what the units before an exception appended: the log is cut, and the rest follows from it."""
        del self.log[length:]
        self.stream_of = {}
        for envelope in self.log:
            self.stream_of.setdefault(envelope.stream, []).append(envelope)
        if not self.log:
            self.store_fold = None
        self._refold()

    def _run(self, unit: Unit, now_ms: int) -> Decided:
        decided = unit.decide(MemoryView(self, unit, now_ms))
        for append in decided.appends:
            actual = len(self.stream_of.get(append.stream, ()))
            if actual != append.expected:
                raise VersionConflict(
                    f"{append.stream} stands at version {actual}, not {append.expected}: load it again",
                    stream=append.stream,
                    expected=append.expected,
                    actual=actual,
                )
        for blob in decided.blobs:
            self.blobs.setdefault(blob.digest, blob.data)
        for append in decided.appends:
            self._append(append, now_ms)
        # Once all is there: who began to wait in this very unit is told too.
        for append in decided.appends:
            if isinstance(append.fold, TaskFold) and append.fold.is_terminal:
                self._wake(append.fold.id)
        for id in decided.unreadable:
            self.gates[id] = "unreadable"
        return decided

    def _append(self, append: Append, now_ms: int) -> None:
        stream = self.stream_of.setdefault(append.stream, [])
        for envelope in append.envelopes:
            stored = msgspec.structs.replace(envelope, position=len(self.log) + 1)
            self.log.append(stored)
            stream.append(stored)
        if isinstance(append.fold, StoreFold):
            self.store_fold = append.fold
            return
        # Saved as text and read back, so that nobody shares a container with the store.
        task = decode_fold(encode_fold(append.fold))
        self.order.setdefault(task.id, len(self.order) + 1)
        due_before_ms = self.folds[task.id].run_at_ms if task.id in self.folds else 0
        self.folds[task.id] = task
        self.gates[task.id] = gate_next(task, now_ms, self.gates.get(task.id), due_before_ms)

    def _wake(self, ended: str) -> None:
        """[WAIT-3] Whoever waits for a task that has ended is looked at by the next upkeep."""
        for id, task in self.folds.items():
            if self.gates[id] == "waiting" and task.waiting is not None and ended in task.waiting.after:
                self.gates[id] = "waking"

    @contextmanager
    def read(self) -> Iterator[MemorySnapshot]:
        """A snapshot that is consistent by holding the lock for the block."""
        with self._changed:
            self._require_open()
            yield MemorySnapshot(self)

    def rebuild(self) -> int:
        """Fold every task afresh."""
        with self._changed:
            self._require_open()
            return self._refold()

    def _refold(self) -> int:
        now_ms = self._clock.now_ms()
        kept, self.folds, self.gates, self.order = self.folds, {}, {}, {}
        for stream, envelopes in self.stream_of.items():
            category, _, id = stream.partition("/")
            if category != "task":
                continue
            self.order[id] = len(self.order) + 1
            try:
                self.folds[id] = refold(id, envelopes)
                self.gates[id] = gate_afresh(self.folds[id], now_ms)
            except SagalogError:
                # What was known of it last is still counted; nothing else looks at it.
                self.gates[id] = "unreadable"
                if id in kept:
                    self.folds[id] = kept[id]
        return len(self.order)

    def standing_for(self, claim: Claim) -> list[TaskFold]:
        """The tasks that a claim takes, in its order."""
        gate = "undo" if claim.purpose == "undo" else "ready"
        standing = self._at(gate, claim)
        first = self._at(f"{gate}_alone", claim)[:1]
        if claim.suspects == "only":
            return first
        if (
            claim.suspects == "alone"
            and first
            and (not standing or self._rank(first[0], claim) < self._rank(standing[0], claim))
        ):
            return first
        return standing[: claim.limit]

    def _at(self, gate: str, claim: Claim) -> list[TaskFold]:
        """The tasks that stand at a gate and fit a claim, in its order."""
        found = [
            task
            for id, task in self.folds.items()
            if self.gates[id] == gate and task.queue in claim.queues and _fits(task, claim)
        ]
        return sorted(found, key=lambda task: self._rank(task, claim))

    def _rank(self, task: TaskFold, claim: Claim) -> tuple[int, int, int]:
        return (_affinity_rank(task, claim), task.priority, self.order[task.id])

    def readable(self) -> list[TaskFold]:
        """The folds that may be used, in order of creation. [LOG-5]"""
        return [task for id, task in self.folds.items() if self.gates[id] != "unreadable"]

    def changes(self) -> int:
        """How many commits there were."""
        with self._changed:
            return self._commits

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Sleep until a commit comes or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._commits != since, timeout_ms / 1_000)
            self._require_open()

    def close(self) -> None:
        """Forget that it is open; what it held can still be looked at by a debugger, not by the engine."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def save_checkpoint(self, name: str, expected: int | None, position: int) -> bool:
        """Compare and set under the lock. [SUBSCRIBE-3]"""
        with self._changed:
            self._require_open()
            if self.checkpoints.get(name) != expected:
                return False
            self.checkpoints[name] = position
            return True

    def file_health(self) -> None:
        """There is no file."""
        self._require_open()

    def _require_open(self) -> None:
        if self._is_torn:
            raise Closed(
                "this memory store was being written when this process was forked, so the copy is half-written: start "
                "processes by spawn or forkserver, or fork while nothing writes"
            )
        if self._closed:
            raise Closed("this memory store was closed; open a new one")


class MemoryView:
    """What a unit sees of the store."""

    def __init__(self, store: MemoryStore, unit: Unit, now_ms: int) -> None:
        self._store = store
        self._unit = unit
        self.now_ms = now_ms
        self.store = store.store_fold
        self.epoch = 0 if store.store_fold is None else store.store_fold.epoch
        self.let_in = 0
        if unit.due is not None:
            self._let_in(unit.due)

    @property
    def claimed(self) -> Sequence[TaskFold]:
        """Every ready task, sorted, cut to the limit."""
        assert self._unit.claim is not None
        return self._store.standing_for(self._unit.claim)

    def task(self, id: str) -> TaskFold | None:
        """The fold, if the gate does not say that it cannot be read."""
        return MemorySnapshot(self._store).task(id)

    def event(self, id: str, version: int) -> Recordable:
        """By place in the stream's list."""
        return read(self._store.stream_of[f"task/{id}"][version - 1])

    def keyed(self, idempotency_key: str) -> Sequence[Envelope]:
        """By looking through the whole log."""
        return [envelope for envelope in self._store.log if envelope.idempotency_key == idempotency_key]

    @property
    def due(self) -> Sequence[TaskFold]:
        """Leases that are over, then waits that may be; the latter are looked at by this, and not again for nothing."""
        due, store = self._unit.due, self._store
        assert due is not None
        mine = self._among(due)
        waits = _waits_over(store, mine, self.now_ms)[: due.limit]
        for task in waits:
            store.gates[task.id] = "waiting"
        return [*_over(mine, self.now_ms)[: due.limit], *waits]

    def _among(self, due: Due) -> list[TaskFold]:
        return [task for task in self._store.readable() if due.queues is None or task.queue in due.queues]

    def _let_in(self, due: Due) -> None:
        store = self._store
        later = [task for task in self._among(due) if store.gates[task.id] == "later" and task.run_at_ms <= self.now_ms]
        later.sort(key=lambda task: (task.run_at_ms, store.order[task.id]))
        for task in later[: due.limit]:
            store.gates[task.id] = gate(task, self.now_ms)
            self.let_in += 1


class MemorySnapshot:
    """The port's snapshot over plain lists."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def task(self, id: str) -> TaskFold | None:
        """The fold, folded afresh where it is said to be unreadable: then that raises and says why."""
        if self._store.gates.get(id) == "unreadable":
            return refold(id, self._store.stream_of[f"task/{id}"])
        return self._store.folds.get(id)

    def recorded(self, id: str, version: int) -> Envelope:
        """By place in the stream's list."""
        return self._store.stream_of[f"task/{id}"][version - 1]

    def blob(self, digest: str) -> bytes | None:
        """By digest."""
        return self._store.blobs.get(digest)

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """A slice of the stream's list."""
        return self._store.stream_of.get(stream, [])[after:][:limit]

    def events(self, after: int, limit: int) -> list[Envelope]:
        """A slice of the log."""
        return self._store.log[after : after + limit]

    def find(self, query: Query) -> list[Listed]:
        """Every task that matches, in order of creation."""
        store = self._store
        listed = [Listed(store.order[task.id], task) for task in store.readable()]
        listed = [row for row in listed if row.order > query.after and _matches(row.fold, query)]
        return listed[: query.limit]

    def unreadable(self) -> list[str]:
        """By gate."""
        return [id for id, gate in self._store.gates.items() if gate == "unreadable"]

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """By counting."""
        counted: dict[str, dict[str, int]] = {}
        for task in self._store.folds.values():
            if queue is None or task.queue == queue:
                states = counted.setdefault(task.queue, {})
                states[str(task.state)] = states.get(str(task.state), 0) + 1
        return counted

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """By looking at every lease."""
        return _over(self._store.readable(), now_ms)[:limit]

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """By looking at every wait."""
        return _waits_over(self._store, self._store.readable(), now_ms)[:limit]

    def behind(self, now_ms: int, queues: tuple[str, ...] | None = None) -> list[TaskFold]:
        """By looking at every lease."""
        return [
            task
            for task in self._store.readable()
            if task.lease is not None
            and task.lease.expires_ms is not None
            and task.lease.renewed_ms > now_ms
            and (queues is None or task.queue in queues)
        ]

    def delayed(self, now_ms: int, limit: int) -> list[TaskFold]:
        """By looking at every task."""
        store = self._store
        later = [task for task in store.readable() if store.gates[task.id] == "later" and task.run_at_ms > now_ms]
        timed = [
            (task.waiting.until_ms, task)
            for task in store.readable()
            if store.gates[task.id] == "waiting" and task.waiting is not None and task.waiting.until_ms is not None
        ]
        ahead = [(until_ms, task) for until_ms, task in timed if until_ms > now_ms]
        first = sorted(later, key=lambda task: (task.run_at_ms, store.order[task.id]))[:limit]
        ahead.sort(key=lambda pair: (pair[0], store.order[pair[1].id]))
        return [task for task in (*first, *(task for _, task in ahead[:limit])) if task.updated_ms > now_ms]

    def ready_kinds(self, queues: tuple[str, ...], limit: int) -> list[str]:
        """By looking at every task."""
        store = self._store
        ready = [task for task in store.readable() if store.gates[task.id] == "ready"]
        found = (sorted({task.kind for task in ready if task.queue == queue})[:limit] for queue in queues)
        return sorted({kind for kinds in found for kind in kinds})

    def latest_ms(self, count: int) -> int:
        """By looking at them."""
        return max((envelope.at_ms for envelope in self._store.log[-count:]), default=0)

    def standing(self, claim: Claim) -> list[str]:
        """By looking at every task."""
        return [task.id for task in self._store.standing_for(claim)]

    def claimable_ms(self, claim: Claim) -> int | None:
        """By looking at every task."""
        if self._store.standing_for(claim):
            return 0
        mine = [task for task in self._store.readable() if task.queue in claim.queues]
        if any(self._store.gates[task.id] == "waking" for task in mine):
            return 0
        later = [task.run_at_ms for task in mine if self._store.gates[task.id] == "later"]
        over = [task.lease.expires_ms for task in mine if task.lease is not None and task.lease.expires_ms is not None]
        waits = [task.waiting.until_ms for task in mine if task.waiting is not None]
        return min((*later, *over, *(time for time in waits if time is not None)), default=None)

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """By looking at every task."""
        found = []
        for task in self._unleased_undos():
            kinds = _owed_kinds(task)
            late_ms = overdue_ms(task)
            is_hopeless = not kinds.isdisjoint(unknown) or not (known is None or kinds <= known)
            if (queues is None or task.queue in queues) and (
                is_hopeless or (late_ms is not None and late_ms <= now_ms)
            ):
                found.append(task.id)
        return found

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """By looking at every task; nothing here grows so far that counting has to end."""
        since: dict[tuple[str, str], list[int]] = {}
        for task in self._unleased_undos():
            if task.run_at_ms <= now_ms:
                for kind in _owed_kinds(task):
                    since.setdefault((task.queue, kind), []).append(task.run_at_ms)
        return [UnclaimedUndo(*where, len(times), min(times)) for where, times in sorted(since.items())]

    def _unleased_undos(self) -> list[TaskFold]:
        return [task for task in self._store.readable() if task.state == "compensating" and task.lease is None]

    def store(self) -> StoreFold | None:
        """As the last commit left it."""
        return self._store.store_fold

    def head(self) -> tuple[int, int]:
        """The length of the log, and the position of its last event."""
        log = self._store.log
        return len(log), log[-1].position if log else 0

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Streams in order of their first event."""
        heads = [
            StreamHead(number, name, len(envelopes))
            for number, (name, envelopes) in enumerate(self._store.stream_of.items(), start=1)
        ]
        return heads[after : after + limit]

    def saved(self, stream: str) -> tuple[TaskFold | None, dict[str, object]] | None:
        """The fold and its columns."""
        task = self._store.folds.get(stream.partition("/")[2])
        if task is None:
            return None
        beside = {"gate": self._store.gates[task.id], "tags": task.tags or {}, "awaited": awaited(task)}
        return task, {**columns(task)._asdict(), **beside}

    def strays(self) -> list[str]:
        """Here a projection is never without its stream."""
        return []

    def tag_count(self) -> int:
        """Those of all folds: here tasks are found by nothing else."""
        return sum(len(fold.tags or {}) for fold in self._store.folds.values())

    def stray_tags(self, _after: Tag, _limit: int) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Here a task is found by the tags of its fold."""
        return [], None

    def check(self) -> list[str]:
        """Memory has no pages that could be damaged."""
        return []

    def checkpoint(self, name: str) -> int | None:
        """By name."""
        return self._store.checkpoints.get(name)

    def checkpoints(self) -> dict[str, int]:
        """All of them."""
        return dict(self._store.checkpoints)


def _fits(task: TaskFold, claim: Claim) -> bool:
    if claim.kinds is None:
        return True
    if claim.purpose == "work":
        return task.kind in claim.kinds
    # [UNDO-1] Whoever undoes must know every kind that is owed.
    return all(task.compensations[id].kind in claim.kinds for id in task.owed())


def _affinity_rank(task: TaskFold, claim: Claim) -> int:
    if claim.purpose == "work" and task.affinity in claim.affinities:
        return claim.affinities.index(task.affinity)
    return len(claim.affinities)


def _over(tasks: list[TaskFold], now_ms: int) -> list[TaskFold]:
    """Tasks whose lease is over by the clock, oldest expiry first."""
    over = [
        (task.lease.expires_ms, index, task)
        for index, task in enumerate(tasks)
        if task.lease is not None and task.lease.expires_ms is not None and now_ms >= task.lease.expires_ms
    ]
    over.sort(key=lambda row: row[:2])
    return [task for _, _, task in over]


def _waits_over(store: MemoryStore, tasks: list[TaskFold], now_ms: int) -> list[TaskFold]:
    """Tasks whose wait may be over, in the order of `View.due`."""
    waking = [task for task in tasks if store.gates[task.id] == "waking"]
    timed = [
        (task.waiting.until_ms, store.order[task.id], task)
        for task in tasks
        if task.waiting is not None and task.waiting.until_ms is not None and task.waiting.until_ms <= now_ms
    ]
    timed.sort(key=lambda row: row[:2])
    waking.sort(key=lambda task: store.order[task.id])
    return [*waking, *(task for _, _, task in timed if store.gates[task.id] != "waking")]


def _matches(task: TaskFold, query: Query) -> bool:
    tags = task.tags or {}
    return (
        (query.queue is None or task.queue == query.queue)
        and (query.kind is None or task.kind == query.kind)
        and (query.state is None or task.state == query.state)
        and all(tags.get(name) == value for name, value in query.tags)
    )


__all__ = ["MemorySnapshot", "MemoryStore", "MemoryView", "open_store"]


def _owed_kinds(task: TaskFold) -> set[str]:
    return {task.compensations[id].kind for id in task.owed()}
