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
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve, evolve_store
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, Purpose, Retry, State
from sagalog.ports import Append, Claim, Clock, Decided, Due, Unit, View
from sagalog.testing import ManualClock
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
    """The store at `path`, on a clock that stands still unless another is given."""
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


def writing(id: str, *events: e.Recordable, idempotency_key: str | None = None) -> Unit:
    """A unit that appends events to a task, new or not; answers its version afterwards."""

    def decide(view: View) -> Decided:
        append = appended(view.task(id) or TaskFold(id), events, view.now_ms, idempotency_key)
        return Decided((append,), append.fold.version)

    return Unit(decide, tasks=(id,))


def appended(task: TaskFold, events: Sequence[e.Recordable], at_ms: int, idempotency_key: str | None = None) -> Append:
    stream, expected = f"task/{task.id}", task.version
    envelopes = []
    for version, event in enumerate(events, start=expected + 1):
        envelopes.append(enclose(stream, version, at_ms, event, idempotency_key=idempotency_key))
        task = evolve(task, event, version, at_ms)
    return Append(stream, expected, tuple(envelopes), task)


def claiming(claim: Claim, ttl_ms: int | None = TTL_MS) -> Unit:
    """A unit that leases what a claim selects; answers the ids, in the claim's order."""

    def decide(view: View) -> Decided:
        tasks = list(view.claimed)
        appends = [
            appended(task, [leased(task.leases + 1, claim.purpose, view.now_ms, ttl_ms)], view.now_ms) for task in tasks
        ]
        return Decided(tuple(appends), [task.id for task in tasks])

    return Unit(decide, claim=claim)


def work(*queues: str, limit: int = 1, kinds: frozenset[str] | None = None, affinities: tuple[str, ...] = ()) -> Claim:
    return Claim(queues or ("q",), "work", limit, kinds, affinities)


def undo(*queues: str, limit: int = 1, kinds: frozenset[str] | None = None) -> Claim:
    return Claim(queues or ("q",), "undo", limit, kinds)


def seeing(look: Callable[[View], Any], claim: Claim | None = None, due: Due | None = None) -> Unit:
    """A unit that only looks; answers what it saw."""
    return Unit(lambda view: Decided((), look(view)), claim=claim, due=due)


def tending(due: Due) -> Unit:
    """A unit that answers the ids of the tasks whose lease is over, and ends none."""
    return seeing(lambda view: [task.id for task in view.due], due=due)


def founding(id: str = "s") -> Unit:
    def decide(view: View) -> Decided:
        event = e.Founded(id, 0, "1")
        fold = evolve_store(view.store, event, 1)
        return Decided((Append(f"store/{id}", 0, (enclose(f"store/{id}", 1, view.now_ms, event),), fold),), fold)

    return Unit(decide)


def owing(*kinds: str) -> tuple[e.Recordable, ...]:
    """The events of a task that has failed and owes a compensation of each of these kinds."""
    return (
        created(compensations=tuple(Compensation(kind, id=f"undo-{kind}") for kind in kinds)),
        leased(),
        e.Failed(State.COMPENSATING, "failed", fence=1, verb="fail"),
    )


def raw(path: Path) -> apsw.Connection:
    """A connection that knows nothing of us, to look at the file and to change it behind the store's back."""
    return apsw.Connection(str(path))


def versions(store: SqliteStore) -> dict[str, int]:
    """Every task of the log and its newest version."""
    with store.read() as snapshot:
        heads = snapshot.streams(0, 100_000)
    return {head.stream.removeprefix("task/"): head.version for head in heads if head.stream.startswith("task/")}
