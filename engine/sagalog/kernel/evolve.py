"""Event -> state: how each event changes the fold of its stream.

Rule: `evolve` checks the table of the lifecycle and the lease, then takes what the event says; it decides nothing. What
the table forbids is a damaged log and is refused, never folded. [RECORD-1] Knows nothing of commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.contradictions import Comparison, comparison
from sagalog.kernel.lifecycle import FOUNDED, STORE_LIFE, TASK_LIFE, UNBORN, Fork
from sagalog.kernel.state import (
    AdoptedChild,
    CompensationRecord,
    EndedLease,
    EndedWaits,
    KeptPolicy,
    KeptSignal,
    Recording,
    StepRecord,
    StoreFold,
    TakenSignal,
    TaskFold,
    Waiting,
)
from sagalog.kernel.values import KeptWaits, LeaseRecord, SignalEnd, State

Change = Callable[[TaskFold, Any, int, int], None]
# What an event does to a task in one state: the state that follows, or where there are two, which; what to compare;
# what changes; and by how much the stream's length grows.
Move = tuple[Any, Fork | None, Comparison | None, Change, int]


def evolve(task: TaskFold, event: e.Recordable, version: int, at_ms: int) -> TaskFold:
    """The fold after one more event of the task's stream; `task` itself stays as it is.

    Order is the version's: `at_ms` is kept as it was recorded and may be earlier than the one before. [TIME-2]

    Raises:
        LogDamaged: a version out of turn, a move that the table forbids, or a fence that is not the lease's.
    """
    # Half the cost of `copy.copy`, which looks this method up anew each time.
    after: TaskFold = task.__copy__()  # type: ignore[attr-defined]
    _take(after, event, version, at_ms)
    return after


def fold(id: str, events: Iterable[tuple[e.Recordable, int, int]]) -> TaskFold:
    """`evolve` over a whole stream of (event, version, at_ms), from nothing.

    Raises:
        LogDamaged: as `evolve`.
    """
    task = TaskFold(id)
    for event, version, at_ms in events:
        _take(task, event, version, at_ms)
    return task


def evolve_store(store: StoreFold, event: e.Recordable, version: int, at_ms: int) -> StoreFold:
    """The fold of the store's own stream after one more event.

    Raises:
        LogDamaged: a version out of turn, a move that the table forbids, or another store's founding.
    """
    state = FOUNDED if store.version else UNBORN
    name = e.NAMES[type(event)]
    why = f"holds {name!r} at version {version}, which cannot follow {state!r} at version {store.version}"
    if STORE_LIFE.allows(state, name) and version == store.version + 1:
        match event:
            case e.Founded() if event.id == store.id:
                return StoreFold(event.id, version, event.format, writer=event.writer)
            case e.Founded():
                why = f"founds a store of the id {event.id!r}"
            case e.Upgraded() if event.writer != store.writer:
                return msgspec.structs.replace(store, version=version, writer=event.writer)
            case _:
                why = f"names the writer {store.writer!r} once more at version {version}"
    raise LogDamaged(
        f"the stream store/{store.id} {why}: stop, keep the file, and compare it with a backup",
        stream=f"store/{store.id}",
        version=version,
        type=name,
    )


def _take(task: TaskFold, event: e.Recordable, version: int, at_ms: int) -> None:
    """Change `task` in place; containers inside are replaced, never changed, since older folds share them."""
    try:
        dest, fork, compare, change, counts = _MOVES[task.state][type(event)]
    except KeyError:
        raise _misplaced(task, event, version) from None
    if version != task.version + 1:
        raise _misplaced(task, event, version)
    if fork is not None:
        dest = _said(task, event, version, fork)
    if compare is not None:
        why = compare(task, event, at_ms)
        if why is not None:
            raise _damaged(task, e.NAMES[type(event)], version, why)
    change(task, event, version, at_ms)
    task.version = version
    task.state = dest
    task.length += counts
    task.updated_ms = at_ms
    if task.waiting is not None and dest is not State.PENDING:
        task.waiting = None


def _misplaced(task: TaskFold, event: e.Recordable, version: int) -> LogDamaged:
    name = e.NAMES[type(event)]
    if type(event) not in _CHANGES:
        return _damaged(task, name, version, "it is no event of a task")
    if version != task.version + 1:
        return _damaged(task, name, version, f"version {task.version + 1} was expected")
    return _damaged(task, name, version, f"the task is {task.state or UNBORN}")


def _said(task: TaskFold, event: e.Recordable, version: int, fork: Fork) -> Any:
    """[RECORD-1] [COMP-6] Where an event may lead to several states it says to which, as the table has it."""
    # [COMP-7] Of a creation: whether the forward work was over before.
    undoes = event.outcome is not None if type(event) is e.Created else bool(task.owed())
    dest = fork.undoing if undoes else fork.otherwise
    if dest is None:
        raise _damaged(task, e.NAMES[type(event)], version, f"{task.owed()} are still owed")
    said = getattr(event, "to", dest)
    if said is not dest:
        why = f"it says that the task is then {said}, and {dest} was expected"
        raise _damaged(task, e.NAMES[type(event)], version, why)
    return dest


def _damaged(task: TaskFold, name: str, version: int, why: str) -> LogDamaged:
    return LogDamaged(
        f"the log of task {task.id!r} is damaged: {name!r} at version {version} cannot stand there, {why}; "
        "stop, keep the file, and compare it with a backup",
        stream=f"task/{task.id}",
        version=version,
        type=name,
    )


def _require_lease(task: TaskFold, event: Any, version: int) -> LeaseRecord:
    """The lease that the event's fence names. [FENCE-2]"""
    lease = task.lease
    if lease is None or lease.fence != event.fence:
        held = "no lease" if lease is None else f"the lease of fence {lease.fence}"
        raise _damaged(task, e.NAMES[type(event)], version, f"it carries fence {event.fence} and the task has {held}")
    return lease


def _end_lease(task: TaskFold, event: Any, version: int) -> None:
    """[REPEAT-5]"""
    task.ended = EndedLease(event.fence, event.verb, version)
    task.lease = None


def _end_lease_if_named(task: TaskFold, event: Any, version: int) -> None:
    """End the lease that `event.fence` names; an event without a fence must meet a task without a lease."""
    if event.fence is None:
        if task.lease is not None:
            raise _damaged(task, e.NAMES[type(event)], version, "it names no fence and the task is leased")
        return
    _require_lease(task, event, version)
    _end_lease(task, event, version)


def _settle(task: TaskFold, id: str, status: Any, done_fence: int, name: str, version: int) -> None:
    record = task.compensations.get(id)
    if record is None or record.status not in ("owed", "planned"):
        raise _damaged(task, name, version, f"compensation {id!r} is {record.status if record else 'not on record'}")
    task.compensations = {**task.compensations, id: _settled(record, status, version, done_fence)}


def _settled(record: CompensationRecord, status: Any, version: int, done_fence: int = 0) -> CompensationRecord:
    return CompensationRecord(
        record.kind, record.version, record.index, status, record.fence, version, done_fence, record.source
    )


def _owe_planned(task: TaskFold) -> None:
    """[COMP-1] What was planned is owed from the first lease for work on; where no work begins it never is."""
    task.compensations = {
        id: CompensationRecord(r.kind, r.version, r.index, "owed", r.fence) if r.status == "planned" else r
        for id, r in task.compensations.items()
    }


def _created(task: TaskFold, event: e.Created, version: int, at_ms: int) -> None:
    task.kind, task.queue, task.priority = event.kind, event.queue, event.priority
    task.affinity, task.key, task.tags, task.run_at_ms = event.affinity, event.key, event.tags, event.run_at_ms
    task.policy, task.has_waiver = KeptPolicy.of(event.policy), event.waiver is not None
    if event.inherited or event.steps or event.waits:
        _take_over(task, event, version)
    if event.compensations or event.inherited:
        task.compensations = _of_created(event, version, task.sources)
    if event.outcome is not None:
        if not event.inherited:
            raise _damaged(task, "created", version, "it only undoes and inherits nothing")
        task.outcome = event.outcome
    task.data_key, task.parent, task.correlation_id = event.data_key, event.parent, event.correlation_id
    task.created_ms = at_ms


def _of_created(event: e.Created, version: int, sources: tuple[str, ...]) -> dict[str, CompensationRecord]:
    """[COMP-7] What is inherited is owed at once; what a successor plans that only undoes is for its own successors."""
    planned = () if event.to is State.COMPENSATING else event.compensations
    records = {one.id or "": CompensationRecord(one.kind, version, at, "planned") for at, one in enumerate(planned)}
    for one in event.inherited:
        mine = records.get(one.id)
        if mine is None:
            source = sources.index(one.task) + 1
            records[one.id] = CompensationRecord(one.kind, one.version, one.index, "owed", source=source)
        else:
            records[one.id] = CompensationRecord(mine.kind, version, mine.index, "owed")
    return records


def _take_over(task: TaskFold, event: e.Created, version: int) -> None:
    """[STEP-1] [COMP-7] What a successor keeps and inherits, by reference; a task that only undoes keeps no steps."""
    if event.predecessor is None:
        raise _damaged(task, "created", version, "it inherits or keeps something and names no predecessor")
    named = [one.id for one in event.inherited], [one.name for one in event.steps], [one.name for one in event.waits]
    if any(len(set(names)) < len(names) for names in named):
        raise _damaged(task, "created", version, "it inherits or keeps something twice")
    if (event.steps or event.waits) and event.to is State.COMPENSATING:
        raise _damaged(task, "created", version, "it only undoes and keeps steps or waits")
    taken = [end for one in event.waits for end in one.ends if isinstance(end, SignalEnd)]
    named_tasks = [one.task for one in event.inherited] + [one.task for one in event.steps]
    task.sources = tuple(dict.fromkeys(named_tasks + [end.task for end in taken]))
    task.steps = {
        one.name: StepRecord(one.version, 0, task.sources.index(one.task) + 1, one.compensation) for one in event.steps
    }
    if any(not _is_row(one) for one in event.waits):
        raise _damaged(task, "created", version, "it keeps waits that are no row of sleeps, signals and gaps")
    task.waits = {one.name: _kept_waits(one, task.sources) for one in event.waits}
    task.kept_wait_names = len(task.waits)


def _is_row(waits: KeptWaits) -> bool:
    """[WAIT-1] Something is over behind each wait that is asked anew."""
    return bool(waits.ends) and waits.ends[-1] != 0 and all(not isinstance(end, int) or end <= 0 for end in waits.ends)


def _kept_waits(waits: KeptWaits, sources: tuple[str, ...]) -> EndedWaits:
    return EndedWaits.of(
        [end if isinstance(end, int) else TakenSignal(end.version, sources.index(end.task) + 1) for end in waits.ends]
    )


def _leased(task: TaskFold, event: e.Leased, version: int, at_ms: int) -> None:
    if task.lease is not None:
        raise _damaged(task, "leased", version, f"the lease of fence {task.lease.fence} has not ended")
    if event.fence % FENCE_EPOCH != task.leases + 1 or event.fence <= task.fence:
        raise _damaged(task, "leased", version, f"fence {event.fence} is not next after {task.leases} leases")
    if event.purpose != ("undo" if task.state is State.COMPENSATING else "work"):
        raise _damaged(task, "leased", version, f"its purpose is {event.purpose}")
    if task.waiting is not None:
        raise _damaged(task, "leased", version, f"its wait {task.waiting.name!r} is not over")
    if task.leases == 0 and task.compensations and event.purpose == "work":
        _owe_planned(task)
    task.needs_undo = task.needs_undo or (event.purpose == "work" and event.waiver is None)
    task.leases += 1
    task.lease = LeaseRecord(
        event.owner, event.fence, event.attempt, event.purpose, event.ttl_ms, event.expires_ms, at_ms, event.probe
    )


def _heartbeat(task: TaskFold, event: e.Heartbeat, version: int, at_ms: int) -> None:
    lease = _require_lease(task, event, version)
    task.lease = LeaseRecord(
        lease.owner, lease.fence, lease.attempt, lease.purpose, event.ttl_ms, event.expires_ms, at_ms, lease.probe
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
        raise _damaged(task, "promoted", version, "it is held, or waits for something else than its due time")
    task.run_at_ms = at_ms


def _step_completed(task: TaskFold, event: e.StepCompleted, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.name in task.steps:
        raise _damaged(task, "step_completed", version, f"the step {event.name!r} is on record already")
    if event.compensation is not None and event.compensation not in task.compensations:
        why = f"it names the compensation {event.compensation!r}, which is not on record"
        raise _damaged(task, "step_completed", version, why)
    task.steps = {**task.steps, event.name: StepRecord(version, event.fence, 0, event.compensation)}


def _artifact_put(task: TaskFold, event: e.ArtifactPut, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    task.artifacts = {**task.artifacts, event.name: Recording(version, event.fence)}


def _child_adopted(task: TaskFold, event: e.ChildAdopted, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.name in task.children:
        raise _damaged(task, "child_adopted", version, f"the child {event.name!r} is on record already")
    task.children = {**task.children, event.name: AdoptedChild(event.task, version, event.fence)}


def _parked(task: TaskFold, event: e.Parked, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    if event.number != task.next_wait(event.name):
        why = (
            f"it begins wait {event.number} of the name {event.name!r}, where wait {task.next_wait(event.name)} is next"
        )
        raise _damaged(task, "parked", version, why)
    task.waiting = Waiting(event.name, event.number, version, event.signal, event.after, event.until_ms)
    task.run_at_ms = at_ms
    _end_lease(task, event, version)


def _signalled(task: TaskFold, event: e.Signalled, version: int, at_ms: int) -> None:
    task.signals = (*task.signals, KeptSignal(event.name, version))


def _unblocked(task: TaskFold, event: e.Unblocked, version: int, at_ms: int) -> None:
    waiting = task.waiting
    if waiting is None or (waiting.name, waiting.number) != (event.wait, event.number):
        stands = "it waits for nothing" if waiting is None else f"its wait is {waiting.name!r}, number {waiting.number}"
        raise _damaged(task, "unblocked", version, stands)
    if event.by == "signal":
        # [WAIT-2] The oldest of its name, which no other wait can take any more.
        kept = next((one for one in task.signals if one.name == waiting.signal), None)
        if kept is None or kept.version != event.signal_version:
            raise _damaged(task, "unblocked", version, f"the signal at version {event.signal_version} is not the next")
        task.signals = tuple(one for one in task.signals if one is not kept)
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
        raise _damaged(task, "compensation_registered", version, f"{event.id!r} is on record already")
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
    # Where nothing else says why, its code does.
    says_why = event.reason is not None or event.error is None
    task.reason_version = version if says_why else 0
    if event.waiver is not None:
        task.has_waiver = True
    if event.error is not None:
        task.error_version = version


def _cancel_requested(task: TaskFold, event: e.CancelRequested, version: int, at_ms: int) -> None:
    task.cancel_version = version
    task.reason_version = version


def _cancelled(task: TaskFold, event: e.Cancelled, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)
    task.outcome, task.run_at_ms = "cancelled", at_ms
    if event.reason is not None:
        task.reason_version = version


def _compensation_done(task: TaskFold, event: e.CompensationDone, version: int, at_ms: int) -> None:
    _require_lease(task, event, version)
    owed = task.owed()
    if not owed or owed[-1] != event.id:
        raise _damaged(task, "compensation_done", version, f"{event.id!r} is not the last that is owed")
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
    # What went wrong on the way, or was asked for too late, is history now and not what the task came to.
    task.error_version = task.reason_version = 0


def _void(task: TaskFold, event: e.Completed, version: int) -> None:
    """[COMP-6] What a completed task owes is never undone, but for what it hands over."""
    if event.left != task.left():
        raise _damaged(task, "completed", version, f"it leaves {event.left}, and left are {task.left()}")
    task.compensations = {
        id: _settled(record, "void", version) if record.status == "owed" and id not in event.left else record
        for id, record in task.compensations.items()
    }


def _quarantined(task: TaskFold, event: e.Quarantined, version: int, at_ms: int) -> None:
    _end_lease_if_named(task, event, version)
    task.code = event.code
    for step in event.steps:
        if step.name in task.steps:
            raise _damaged(task, "quarantined", version, f"the result of the step {step.name!r} is on record")
        if step.compensation is not None and step.compensation not in task.compensations:
            raise _damaged(task, "quarantined", version, f"no undo {step.compensation!r} of a step is on record")
    if len({step.name for step in event.steps}) < len(event.steps):
        raise _damaged(task, "quarantined", version, "it names a step twice")
    task.unrecorded_steps = event.steps
    says_why = event.reason is not None or event.parameters is not None or event.error is None
    task.reason_version = version if says_why else 0
    if event.error is not None:
        task.error_version = version


def _noted(task: TaskFold, event: e.Noted, version: int, at_ms: int) -> None:
    for id in event.settles:
        _settle(task, id, "noted", 0, "noted", version)
    if event.successor is not None:
        if not task.is_terminal or task.successor_version:
            raise _damaged(task, "noted", version, "it names a successor of a task that has none, or has one already")
        task.successor_version = version


_CHANGES: Final[dict[type[e.Recordable], Change]] = {
    e.Created: _created,
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
}


def _moves(state: State | None) -> dict[type[e.Recordable], Move]:
    moves: dict[type[e.Recordable], Move] = {}
    for kind, change in _CHANGES.items():
        cell = TASK_LIFE.after.get((state or UNBORN, e.NAMES[kind]))
        if cell is not None:
            fork = cell if isinstance(cell, Fork) else None
            # [BOUND-2] Heartbeats do not count against the bound of a stream.
            counts = 0 if kind is e.Heartbeat else 1
            moves[kind] = (None if fork else cell, fork, comparison(kind, state), change, counts)
    return moves


# One look-up an event: the table is asked at every write.
_MOVES: Final = {state: _moves(state) for state in (None, *State)}
