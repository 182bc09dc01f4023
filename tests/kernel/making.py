"""Short ways to make the commands of one task, `t`, with only what a test is about spelled out.

Rule: defaults only; nothing here decides or checks. Fences are those of epoch 0, where the n-th lease has fence n.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.ends import counted, digest_of_ends, digest_of_ids
from sagalog.kernel.state import Waiting
from sagalog.kernel.values import (
    Budget,
    Compensation,
    Failure,
    Inherited,
    Policy,
    Purpose,
    Retry,
    Seen,
    State,
    TaskEnd,
    Unchanged,
    Units,
    UnrecordedStep,
)

TTL_MS = 100
ERROR = Failure("broken", "it broke")
UNDO = Compensation("remove", {"path": "wt"}, "left over", "u1")
LATER_UNDO = Compensation("close", None, None, "u2")


def policy(**changed: Any) -> Policy:
    """The default policy without backoff drawn over a span: the delay is 10 ms, unless changed."""
    plain = msgspec.structs.replace(Retry(), delay_min_ms=10, delay_max_ms=10)
    return msgspec.structs.replace(plain, **changed).resolve()


def create(
    *compensations: Compensation,
    run_at_ms: int | None = 0,
    waiver: str | None = None,
    deadline_ms: int | None = None,
    start_by_ms: int | None = None,
    **changed: Any,
) -> c.Create:
    """Create the task; further names are fields of its policy."""
    return c.Create(
        task="t",
        kind="build",
        queue="q",
        priority=0,
        run_at_ms=run_at_ms,
        policy=policy(**changed),
        compensations=compensations,
        waiver=waiver,
        deadline_ms=deadline_ms,
        start_by_ms=start_by_ms,
    )


def acquire(
    owner: str = "ann",
    ttl_ms: int | None = TTL_MS,
    purpose: Purpose = "work",
    kinds: frozenset[str] | None = None,
    waiver: str | None = None,
    uses: tuple[Units, ...] = (),
    build: str | None = None,
) -> c.Acquire:
    return c.Acquire(
        task="t", owner=owner, ttl_ms=ttl_ms, purpose=purpose, kinds=kinds, waiver=waiver, uses=uses, build=build
    )


def acquire_undo(owner: str = "ann", kinds: frozenset[str] | None = None) -> c.Acquire:
    return acquire(owner, purpose="undo", kinds=kinds)


def leased(fence: int = 1, owner: str = "ann", attempt: int = 1, at_ms: int = 0, purpose: Purpose = "work") -> e.Leased:
    """The event that `acquire` leads to at `at_ms`."""
    return e.Leased(owner, fence, attempt, purpose, False, TTL_MS, at_ms + TTL_MS)


def heartbeat(fence: int = 1, ttl_ms: int | None = None, progress: Any = None) -> c.Heartbeat:
    return c.Heartbeat(task="t", fence=fence, ttl_ms=ttl_ms, progress=progress)


def release(fence: int = 1, reason: str | None = None, run_at_ms: int | None = None) -> c.Release:
    return c.Release(task="t", fence=fence, reason=reason, run_at_ms=run_at_ms)


def register(compensation: Compensation = UNDO, fence: int = 1) -> c.Register:
    return c.Register(task="t", fence=fence, compensation=compensation)


def registered(compensation: Compensation = UNDO, fence: int = 1) -> e.CompensationRegistered:
    """The event that `register` leads to."""
    assert compensation.id is not None
    return e.CompensationRegistered(compensation.id, compensation.kind, fence, compensation.params, compensation.reason)


def inherited(compensation: Compensation = UNDO, index: int = -1, version: int = 3, task: str = "t0") -> Inherited:
    """The reference by which a successor inherits this undo of its predecessor `t0`."""
    assert compensation.id is not None
    return Inherited(compensation.id, compensation.kind, task, version, index)


def retry(
    fence: int = 1,
    budget: Budget = "attempt",
    run_at_ms: int | None = None,
    jitter: float = 0.0,
    error: Failure = ERROR,
    retry_after_ms: int | None = None,
) -> c.Retry:
    return c.Retry(
        task="t",
        fence=fence,
        error=error,
        budget=budget,
        jitter=jitter,
        run_at_ms=run_at_ms,
        retry_after_ms=retry_after_ms,
    )


def step(name: str = "s1", fence: int = 1, result: Any = None, compensation: str | None = None) -> c.Step:
    return c.Step(task="t", fence=fence, name=name, result=result, compensation=compensation)


def put_artifact(name: str = "log", fence: int = 1, digest: str = "ab" * 32) -> c.PutArtifact:
    return c.PutArtifact(task="t", fence=fence, name=name, digest=digest, size_bytes=3, media_type="text/plain")


def use(fence: int = 1, units: int = 2, limit: str = "gpu") -> c.Use:
    return c.Use(task="t", fence=fence, limit=limit, units=units)


def healthy(fence: int = 1, limit: str | None = None) -> c.Healthy:
    return c.Healthy(task="t", fence=fence, limit=limit)


def adopt_child(name: str = "build", fence: int = 1, child: str = "t0/build") -> c.AdoptChild:
    return c.AdoptChild(task="t", fence=fence, name=name, child=child)


def park(
    name: str = "w",
    fence: int = 1,
    signal: str | None = None,
    after: tuple[str, ...] = (),
    until_ms: int | None = None,
    ended: Iterable[str] = (),
    number: int = 1,
) -> c.Park:
    return c.Park(
        task="t",
        fence=fence,
        name=name,
        number=number,
        signal=signal,
        after=after,
        until_ms=until_ms,
        ended=ends(*ended),
    )


def waiting_for(*ids: str, until_ms: int | None = None) -> Waiting:
    """The wait `w` of a fold for these tasks, begun by the third event."""
    return Waiting("w", 1, 3, None, len(ids), until_ms, digest_of_ids(ids))


def ends(*ids: str) -> tuple[TaskEnd, ...]:
    """The ends of these tasks: each has completed, at version 3."""
    return tuple(TaskEnd(id, 3, State.COMPLETED) for id in ids)


def unblocked_by_tasks(name: str, number: int, *ends: TaskEnd) -> e.Unblocked:
    """The event by which a wait for these tasks is over."""
    return e.Unblocked(name, number, "tasks", None, counted(ends), digest_of_ends(ends), ends)


def signal(name: str = "go", data: Any = None) -> c.Signal:
    return c.Signal(task="t", name=name, data=data)


def quarantine_held(fence: int = 1, error: Failure = ERROR, *steps: UnrecordedStep) -> c.QuarantineHeld:
    return c.QuarantineHeld(task="t", fence=fence, error=error, steps=steps)


def complete(fence: int = 1, result: Any = None, undoer: str | None = None) -> c.Complete:
    return c.Complete(task="t", fence=fence, result=result, undoer=undoer)


def fail(
    *compensations: Compensation,
    fence: int = 1,
    waiver: str | None = None,
    error: Failure = ERROR,
    or_quarantine: bool = False,
) -> c.Fail:
    return c.Fail(
        task="t",
        fence=fence,
        error=error,
        compensations=compensations,
        waiver=waiver,
        or_quarantine=or_quarantine,
    )


def compensation_done(compensation: str = "u1", fence: int = 2) -> c.CompensationDone:
    return c.CompensationDone(task="t", fence=fence, compensation=compensation)


def compensation_failed(
    compensation: str = "u1",
    fence: int = 2,
    run_at_ms: int | None = None,
    jitter: float = 0.0,
    error: Failure = ERROR,
    retry_after_ms: int | None = None,
) -> c.CompensationFailed:
    return c.CompensationFailed(
        task="t",
        fence=fence,
        compensation=compensation,
        error=error,
        jitter=jitter,
        run_at_ms=run_at_ms,
        retry_after_ms=retry_after_ms,
    )


def cancel(reason: str | None = None, now: bool = False) -> c.Cancel:
    return c.Cancel(task="t", reason=reason, now=now)


def quarantine(reason: str = "odd", code: str = "operator") -> c.Quarantine:
    return c.Quarantine(task="t", reason=reason, code=code)


def note(text: str = "seen", settles: tuple[str, ...] = ()) -> c.Note:
    return c.Note(task="t", text=text, settles=settles)


def retry_as_new(
    successor: str = "t2", results: dict[str, Any] | None = None, rerun: tuple[str, ...] = (), **deadlines: int
) -> c.RetryAsNew:
    return c.RetryAsNew(task="t", successor=successor, results=results or {}, rerun=rerun, **deadlines)


def amend(**given: Any) -> c.Amend:
    return c.Amend(task="t", **given)


def waive(compensation: str = "u1", reason: str = "gone already") -> c.Waive:
    return c.Waive(task="t", compensation=compensation, reason=reason)


def maintain(
    seen: Seen | None = None,
    unknown_kinds: frozenset[str] = frozenset(),
    overdue: bool = False,
    known_kinds: frozenset[str] | None = None,
    ended: Iterable[str] = (),
) -> c.Maintain:
    return c.Maintain(
        task="t", seen=seen, unknown_kinds=unknown_kinds, known_kinds=known_kinds, overdue=overdue, ended=ends(*ended)
    )


def maintain_unchanged(version: int, unchanged_ms: int) -> c.Maintain:
    """What is due by what an observer saw of the whole task."""
    return c.Maintain(task="t", unchanged=Unchanged(version, unchanged_ms))


def in_epoch(epoch: int, n: int) -> int:
    """The fence of the task's n-th lease, taken in `epoch`. [FENCE-1]"""
    return epoch * FENCE_EPOCH + n
