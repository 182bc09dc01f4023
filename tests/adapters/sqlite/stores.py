"""Stores on real files and small units for them: only what a test is about is spelled out.

Rule: defaults only; nothing here checks. Units are made by hand from events of the kernel, so that what a test sees is
the store and not the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from sagalog.codec import enclose
from sagalog.engine import Engine
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve, evolve_store
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import Compensation, Purpose, Retry, State
from sagalog.ports import Clock
from sagalog.store import Append, Claim, Due, Operation, Projection, Result, Saved, View
from sagalog.store.projection import project
from sagalog.testing import ManualClock, SeededEntropy
from sagalog_sqlite.opening import open_store
from sagalog_sqlite.store import SqliteStore

START_MS = 1_700_000_000_000
TTL_MS = 1_000


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def open_at(
    path: Path,
    clock: Clock | None = None,
    create: bool = True,
    durability: str = "normal",
    turn_timeout_ms: int = 10_000,
) -> SqliteStore:
    """The store at `path`, on a clock that does not move unless another is given."""
    return open_store(
        url_of(path),
        create=create,
        clock=clock or ManualClock(START_MS),
        durability=durability,
        turn_timeout_ms=turn_timeout_ms,
    )


def created(queue: str = "q", kind: str = "build", run_at_ms: int = START_MS, **fields: Any) -> e.Created:
    """The first event of a task."""
    return e.Created(
        kind=kind,
        queue=queue,
        priority=fields.pop("priority", 0),
        run_at_ms=run_at_ms,
        policy=Retry().resolve(),
        to=State.PENDING,
        **fields,
    )


def leased(fence: int = 1, purpose: Purpose = "work", at_ms: int = START_MS, ttl_ms: int | None = TTL_MS) -> e.Leased:
    return e.Leased("ann", fence, 1, purpose, False, ttl_ms, None if ttl_ms is None else at_ms + ttl_ms)


def writing(id: str, *events: e.Recordable, idempotency_key: str | None = None) -> Operation:
    """An operation that appends events to a task, new or not; answers its version afterwards."""
    stream = f"task/{id}"

    def decide(view: View) -> Result:
        append = appended(shown(view, id), events, view.now_ms, idempotency_key)
        return result(append.projection.fold.version, append)

    return Operation(decide, (stream,))


def result(answer: Any, *appends: Append) -> Result:
    """A result that appends, and tells which tasks have ended by that."""
    folds = [append.projection.fold for append in appends]
    ended = [fold.id for fold in folds if isinstance(fold, TaskFold) and fold.is_terminal]
    return Result(answer, appends, ended=tuple(ended))


def shown(view: View, id: str) -> Saved:
    """A task as the view shows it; a new one has no events yet."""
    return view.saved(f"task/{id}") or new(id)


def new(id: str) -> Saved:
    return Saved(f"task/{id}", TaskFold(id))


def appended(saved: Saved, events: Sequence[e.Recordable], at_ms: int, idempotency_key: str | None = None) -> Append:
    task = saved.fold
    assert isinstance(task, TaskFold)
    expected = task.version
    envelopes = []
    for version, event in enumerate(events, start=expected + 1):
        envelopes.append(enclose(saved.stream, version, at_ms, event, idempotency_key=idempotency_key))
        task = evolve(task, event, version, at_ms)
    awaited = e.awaited_tasks(events[-1]) if events else ()
    return Append(saved.stream, expected, tuple(envelopes), project(task, at_ms, saved.row, None, awaited or None))


def claiming(claim: Claim, ttl_ms: int | None = TTL_MS) -> Operation:
    """An operation that leases what a claim selects; answers the ids, in the claim's order."""

    def decide(view: View) -> Result:
        appends, ids = [], []
        for saved in view.select(claim):
            task = saved.fold
            assert isinstance(task, TaskFold)
            lease = leased(task.leases + 1, claim.purpose, view.now_ms, ttl_ms)
            appends.append(appended(saved, [lease], view.now_ms))
            ids.append(task.id)
        return Result(ids, tuple(appends))

    return Operation(decide, claim=claim)


def work(*queues: str, limit: int = 1, kinds: frozenset[str] | None = None, affinities: tuple[str, ...] = ()) -> Claim:
    return Claim(queues or ("q",), "work", limit, kinds, affinities)


def undo(*queues: str, limit: int = 1, kinds: frozenset[str] | None = None) -> Claim:
    return Claim(queues or ("q",), "undo", limit, kinds)


def seeing(
    look: Callable[[View], Any],
    *reads: str,
    keys: tuple[str, ...] = (),
    claim: Claim | None = None,
    due: Due | None = None,
) -> Operation:
    """An operation that only looks, at these tasks and what is found; answers what it saw."""
    streams = tuple(f"task/{id}" for id in reads)
    return Operation(lambda view: Result(look(view)), reads=streams, keys=keys, claim=claim, due=due)


def tending(due: Due) -> Operation:
    """An operation that answers the ids of the tasks whose lease is over, or whose wait may be, and ends none."""
    return seeing(lambda view: ids_of((*view.expired, *view.waits_over)), due=due)


def ids_of(found: Sequence[Saved]) -> list[str]:
    return [saved.stream.removeprefix("task/") for saved in found]


def founding(id: str = "s") -> Operation:
    def decide(view: View) -> Result:
        event = e.Founded(id, 0, "1")
        fold = evolve_store(StoreFold(id), event, 1, view.now_ms)
        envelope = enclose(f"store/{id}", 1, view.now_ms, event)
        return Result(fold, (Append(f"store/{id}", 0, (envelope,), Projection(fold)),))

    return Operation(decide, (f"store/{id}",))


def owing(*kinds: str) -> tuple[e.Recordable, ...]:
    """The events of a task that has failed and owes a compensation of each of these kinds."""
    return (
        created(compensations=tuple(Compensation(kind, id=f"undo-{kind}") for kind in kinds)),
        leased(),
        e.Failed(State.COMPENSATING, "failed", fence=1, verb="fail"),
    )


def engine_on(store: SqliteStore) -> Engine:
    """An engine over a store, on the store's own clock."""
    return Engine(store, clock=store._clock, entropy=SeededEntropy(1))


def raw(path: Path) -> apsw.Connection:
    """A connection that knows nothing of us, to look at the file and to change it behind the store's back."""
    return apsw.Connection(str(path))


def versions(store: SqliteStore) -> dict[str, int]:
    """Every task of the log and its newest version."""
    with store.read() as snapshot:
        heads = snapshot.streams(0, 100_000)
    return {head.stream.removeprefix("task/"): head.version for head in heads if head.stream.startswith("task/")}
