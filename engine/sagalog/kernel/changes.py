"""The change by each event of a task: one function an event.

Rule: a function checks that the event fits the task, takes what the event says, and decides nothing. It replaces the
containers inside a fold and never changes them, since older folds share them. What does not fit is a damaged log
[RECORD-1]. Knows nothing of states: `evolve` asks the table of the lifecycle first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.creation import created
from sagalog.kernel.damage import damaged
from sagalog.kernel.ends import digest_of_ids
from sagalog.kernel.state import (
    AdoptedChild,
    CompensationRecord,
    EndedLease,
    EndedWaits,
    KeptPolicy,
    KeptSignal,
    Recording,
    StepRecord,
    TakenSignal,
    TaskFold,
    Waiting,
)
from sagalog.kernel.values import LeaseRecord, State

# Changes a fold in place by an event, at its version and time.
Change = Callable[[TaskFold, Any, int, int], None]


def _require_lease(task: TaskFold, event: Any, version: int) -> LeaseRecord:
    """Return the lease that the event's fence names. [FENCE-2]"""
    lease = task.lease
    if lease is None or lease.fence != event.fence:
        held = "no lease" if lease is None else f"the lease of fence {lease.fence}"
        raise damaged(task, e.NAMES[type(event)], version, f"it carries fence {event.fence} and the task has {held}")
    return lease


def _end_lease(task: TaskFold, event: Any, version: int) -> None:
    """End the lease of the task, and keep which verb ended it. [REPEAT-5]"""
    task.ended = EndedLease(event.fence, event.verb, version)
    task.lease = None


def _end_lease_if_named(task: TaskFold, event: Any, version: int) -> None:
    """End the lease that `event.fence` names; an event without a fence must meet a task without a lease."""
    if event.fence is None:
        if task.lease is not None:
            raise damaged(task, e.NAMES[type(event)], version, "it names no fence and the task is leased")
        return
    _require_lease(task, event, version)
    _end_lease(task, event, version)


def _settle(task: TaskFold, id: str, status: Any, done_fence: int, name: str, version: int) -> None:
    record = task.compensations.get(id)
    if record is None or record.status not in ("owed", "planned"):
        raise damaged(task, name, version, f"compensation {id!r} is {record.status if record else 'not on record'}")
    task.compensations = {**task.compensations, id: _settled(record, status, version, done_fence)}


def _settled(record: CompensationRecord, status: Any, version: int, done_fence: int = 0) -> CompensationRecord:
    return CompensationRecord(
        record.kind, record.version, record.index, status, record.fence, version, done_fence, record.source
    )


def _owe_planned(task: TaskFold) -> None:
    """Owe what was planned, as the first lease for work does; where no work begins, the task never owes it. [COMP-1]"""
    task.compensations = {
        id: CompensationRecord(r.kind, r.version, r.index, "owed", r.fence) if r.status == "planned" else r
        for id, r in task.compensations.items()
    }


def _leased(task: TaskFold, event: e.Leased, version: int, at_ms: int) -> None:
    if task.lease is not None:
        raise damaged(task, "leased", version, f"the lease of fence {task.lease.fence} has not ended")
    if event.fence % FENCE_EPOCH != task.leases + 1 or event.fence <= task.fence:
        raise damaged(task, "leased", version, f"fence {event.fence} is not next after {task.leases} leases")
    if event.purpose != ("undo" if task.state is State.COMPENSATING else "work"):
        raise damaged(task, "leased", version, f"its purpose is {event.purpose}")
    if task.waiting is not None:
        raise damaged(task, "leased", version, f"its wait {task.waiting.name!r} is not over")
    if task.leases == 0 and task.compensations and event.purpose == "work":
        _owe_planned(task)
    task.needs_undo = task.needs_undo or (event.purpose == "work" and event.waiver is None)
    task.leases += 1
    task.lease = LeaseRecord(
        event.owner,
        event.fence,
        event.attempt,
        event.purpose,
        event.ttl_ms,
        event.expires_ms,
        at_ms,
        event.probe,
        event.uses,
    )


def _heartbeat(task: TaskFold, event: e.Heartbeat, version: int, at_ms: int) -> None:
    lease = _require_lease(task, event, version)
    task.lease = LeaseRecord(
        lease.owner,
        lease.fence,
        lease.attempt,
        lease.purpose,
        event.ttl_ms,
        event.expires_ms,
        at_ms,
        lease.probe,
        lease.uses,
    )
    if event.progress is not None:
        task.progress_version = version


def _released(task: TaskFold, event: e.Released, version: int, at_ms: int) -> None:
    lease = _require_lease(task, event, version)
    if lease.purpose == "undo":
        task.undo_releases += 1
    else:
        task.releases += 1
    task.run_at_ms = event.run_at_ms
    _end_lease(task, event, version)


def _lease_expired(task: TaskFold, event: e.LeaseExpired, version: int, at_ms: int) -> None:
    lease = _require_lease(task, event, version)
    if lease.purpose == "undo":
        task.undo_expiries += 1
    else:
        task.expiries += 1
    task.run_at_ms = at_ms
    _end_lease(task, event, version)


def _promoted(task: TaskFold, event: e.Promoted, version: int, at_ms: int) -> None:
    if task.lease is not None or task.waiting is not None:
        raise damaged(task, "promoted", version, "it is held, or waits for something else than its due time")
    task.run_at_ms = at_ms


def _step_completed(task: TaskFold, event: e.StepCompleted, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.name in task.steps:
        raise damaged(task, "step_completed", version, f"the step {event.name!r} is on record already")
    if event.compensation is not None and event.compensation not in task.compensations:
        why = f"it names the compensation {event.compensation!r}, which is not on record"
        raise damaged(task, "step_completed", version, why)
    task.steps = {**task.steps, event.name: StepRecord(version, event.fence, 0, event.compensation)}


def _artifact_put(task: TaskFold, event: e.ArtifactPut, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    task.artifacts = {**task.artifacts, event.name: Recording(version, event.fence)}


def _child_adopted(task: TaskFold, event: e.ChildAdopted, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.name in task.children:
        raise damaged(task, "child_adopted", version, f"the child {event.name!r} is on record already")
    task.children = {**task.children, event.name: AdoptedChild(event.task, version, event.fence)}


def _parked(task: TaskFold, event: e.Parked, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.number != task.next_wait(event.name):
        why = (
            f"it begins wait {event.number} of the name {event.name!r}, where wait {task.next_wait(event.name)} is next"
        )
        raise damaged(task, "parked", version, why)
    digest = digest_of_ids(event.after) if event.after else None
    task.waiting = Waiting(event.name, event.number, version, event.signal, len(event.after), event.until_ms, digest)
    task.run_at_ms = at_ms
    _end_lease(task, event, version)


def _signalled(task: TaskFold, event: e.Signalled, version: int, at_ms: int) -> None:
    task.signals = (*task.signals, KeptSignal(event.name, version))


def _unblocked(task: TaskFold, event: e.Unblocked, version: int, at_ms: int) -> None:
    waiting = task.waiting
    if waiting is None or (waiting.name, waiting.number) != (event.wait, event.number):
        found = "it waits for nothing" if waiting is None else f"its wait is {waiting.name!r}, number {waiting.number}"
        raise damaged(task, "unblocked", version, found)
    if event.by == "signal":
        # [WAIT-2] The oldest signal of its name; no other wait can take it any more.
        kept = next((one for one in task.signals if one.name == waiting.signal), None)
        if kept is None or kept.version != event.signal_version:
            raise damaged(task, "unblocked", version, f"the signal at version {event.signal_version} is not the next")
        task.signals = tuple(one for one in task.signals if one is not kept)
    if waiting.is_of_creation:
        # [WAIT-5] Both must be over, this wait and the time at which the task was to be due.
        task.run_at_ms, task.waiting = max(task.run_at_ms, at_ms), None
        task.is_blocked = waiting.on_failed != "run" and set(event.counts or ()) != {State.COMPLETED}
        return
    end = -1 if waiting.is_sleep else TakenSignal(version) if event.by == "signal" else version
    ended = task.waits.get(waiting.name, EndedWaits()).and_more(end)
    task.waits = {**task.waits, waiting.name: ended}
    task.rounds += 1
    task.waiting = None
    task.run_at_ms = at_ms


def _compensation_registered(task: TaskFold, event: e.CompensationRegistered, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    known = task.compensations.get(event.id)
    if known is not None and not (known.is_inherited and known.status == "owed" and known.kind == event.kind):
        raise damaged(task, "compensation_registered", version, f"{event.id!r} is on record already")
    record = CompensationRecord(event.kind, version, -1, "owed", event.fence)
    task.compensations = {**task.compensations, event.id: record}


def _compensation_waived(task: TaskFold, event: e.CompensationWaived, version: int, at_ms: int) -> None:
    _settle(task, event.id, "waived", 0, "compensation_waived", version)


def _retried(task: TaskFold, event: e.Retried, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.budget == "attempt":
        task.failures += 1
    elif event.budget == "transient":
        task.transients += 1
    if event.budget != "quota":
        task.quota_since_ms = None
    elif task.quota_since_ms is None:
        task.quota_since_ms = at_ms
    task.run_at_ms = event.run_at_ms
    task.error_version = version
    _end_lease(task, event, version)


def _failed(task: TaskFold, event: e.Failed, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)
    task.outcome, task.code, task.run_at_ms = "failed", event.code, at_ms
    # An event without a reason and an error has its code as the reason.
    holds_reason = event.reason is not None or event.error is None
    task.reason_version = version if holds_reason else 0
    if event.waiver is not None:
        task.has_waiver = True
    if event.error is not None:
        task.error_version = version


def _cancel_requested(task: TaskFold, event: e.CancelRequested, version: int, at_ms: int) -> None:
    task.cancel_version = version
    task.reason_version = version
    task.cancel_code = event.code
    task.ends_with_parent = False


def _cancelled(task: TaskFold, event: e.Cancelled, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)
    task.outcome, task.run_at_ms = "cancelled", at_ms
    if event.code is not None:
        task.code = event.code
    # What the engine had asked its holder for keeps the reason of the request, which has the parameters.
    if event.reason is not None or event.code not in (None, task.cancel_code):
        task.reason_version = version


def _compensation_done(task: TaskFold, event: e.CompensationDone, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    owed = task.owed()
    if not owed or owed[-1] != event.id:
        raise damaged(task, "compensation_done", version, f"{event.id!r} is not the last that is owed")
    _settle(task, event.id, "done", event.fence, "compensation_done", version)


def _compensation_failed(task: TaskFold, event: e.CompensationFailed, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    task.undo_failures += 1
    task.run_at_ms = event.run_at_ms
    task.error_version = version
    _end_lease(task, event, version)


def _compensated(task: TaskFold, event: e.Compensated, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)


def _completed(task: TaskFold, event: e.Completed, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    _end_lease(task, event, version)
    if task.compensations or event.left:
        _void(task, event, version)
    task.result_version = version
    # A failed attempt, or a cancel that was requested too late, is history now and not how the task ended.
    task.error_version = task.reason_version = 0


def _void(task: TaskFold, event: e.Completed, version: int) -> None:
    """Void what a completed task owes, except for what it hands over: no task ever undoes it. [COMP-6]"""
    if event.left != task.left():
        raise damaged(task, "completed", version, f"it leaves {event.left}, and left are {task.left()}")
    task.compensations = {
        id: _settled(record, "void", version) if record.status == "owed" and id not in event.left else record
        for id, record in task.compensations.items()
    }


def _quarantined(task: TaskFold, event: e.Quarantined, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)
    task.code = event.code
    for step in event.steps:
        if step.name in task.steps:
            raise damaged(task, "quarantined", version, f"the result of the step {step.name!r} is on record")
        if step.compensation is not None and step.compensation not in task.compensations:
            raise damaged(task, "quarantined", version, f"no undo {step.compensation!r} of a step is on record")
    if len({step.name for step in event.steps}) < len(event.steps):
        raise damaged(task, "quarantined", version, "it names a step twice")
    task.unrecorded_steps = event.steps
    holds_reason = event.reason is not None or event.parameters is not None or event.error is None
    task.reason_version = version if holds_reason else 0
    if event.error is not None:
        task.error_version = version


def _noted(task: TaskFold, event: e.Noted, version: int, at_ms: int) -> None:
    for id in event.settles:
        _settle(task, id, "noted", 0, "noted", version)
    if event.successor is not None:
        if not task.is_terminal or task.successor_version:
            raise damaged(task, "noted", version, "it names a successor of a task that has none, or has one already")
        task.successor_version = version


def _used(task: TaskFold, event: e.Used, version: int, at_ms: int) -> None:
    lease = _require_lease(task, event, version)
    account = account_of_limit(event.limit)
    if all(one.account != account for one in lease.uses):
        raise damaged(task, "used", version, f"its lease uses no limit {event.limit!r}")
    uses = tuple(
        msgspec.structs.replace(one, units=event.units) if one.account == account else one for one in lease.uses
    )
    task.lease = msgspec.structs.replace(lease, uses=uses)


def _amended(task: TaskFold, event: e.Amended, version: int, at_ms: int) -> None:
    """Change what the event gives, and take away what it removes; a policy and a payload stay in their event."""
    for name in _AMENDED_VALUES:
        value = getattr(event, name)
        if value is not None:
            setattr(task, name, value)
    if event.policy is not None:
        task.policy, task.policy_version = KeptPolicy.of(event.policy), version
    if event.payload is not None or event.payload_blob is not None:
        task.payload_version = version
    for name in event.removes:
        if name == "payload":
            task.payload_version = version
        else:
            setattr(task, name, None)


_AMENDED_VALUES: Final = (
    "queue",
    "priority",
    "run_at_ms",
    "affinity",
    "key",
    "build",
    "deadline_ms",
    "start_by_ms",
    "uses",
)


CHANGES: Final[dict[type[e.Recordable], Change]] = {
    e.Created: created,
    e.Leased: _leased,
    e.Heartbeat: _heartbeat,
    e.Released: _released,
    e.LeaseExpired: _lease_expired,
    e.Promoted: _promoted,
    e.StepCompleted: _step_completed,
    e.CompensationRegistered: _compensation_registered,
    e.CompensationWaived: _compensation_waived,
    e.ArtifactPut: _artifact_put,
    e.ChildAdopted: _child_adopted,
    e.Retried: _retried,
    e.Parked: _parked,
    e.Signalled: _signalled,
    e.Unblocked: _unblocked,
    e.Failed: _failed,
    e.CancelRequested: _cancel_requested,
    e.Cancelled: _cancelled,
    e.CompensationDone: _compensation_done,
    e.CompensationFailed: _compensation_failed,
    e.Compensated: _compensated,
    e.Completed: _completed,
    e.Quarantined: _quarantined,
    e.Noted: _noted,
    e.Used: _used,
    e.Amended: _amended,
}
