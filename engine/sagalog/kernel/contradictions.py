"""The comparisons of an event with the fold that it meets: where both hold the same fact, they must agree. [RECORD-1]

Rule: a function compares a field exactly if the task, the other fields and the time determine it; due times, codes and
texts were decided freely and are not compared. `evolve` and `changes` check whether the event may follow at all, whose
lease it names and what it settles. Knows no store and no other stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sagalog.kernel import events as e
from sagalog.kernel.amendments import REMOVABLE, obstacle
from sagalog.kernel.bounds import ENDS_NAMED_MAX, TIME_MS_MAX
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.ends import counted, digest_of_ends, digest_of_ids
from sagalog.kernel.state import TaskFold, Waiting, shows_due
from sagalog.kernel.values import DEADLINE_CODES, TERMINAL, State, Unchanged

# The task that the event meets, the event, its time -> how they disagree; None: they agree.
Comparison = Callable[[TaskFold, Any, int], str | None]


def contradiction(task: TaskFold, event: e.Recordable, at_ms: int) -> str | None:
    """Return how the event disagrees with the task that it meets; None: they agree."""
    compare = comparison(type(event), task.state)
    return None if compare is None else compare(task, event, at_ms)


def comparison(kind: type[e.Recordable], state: State | None) -> Comparison | None:
    """Return the comparison for an event of this type and a task in `state`; None: there is nothing to compare."""
    compare = _COMPARISONS.get(kind)
    if kind in _VERBS:
        compare = _requiring_verb(_VERBS[kind], compare)
    if state is State.COMPENSATING and kind is not e.Compensated:
        compare = _requiring_debt(compare)
    return compare


def _requiring_debt(compare: Comparison | None) -> Comparison:
    """Require that the task owes something: one commit settles the last undo and writes `compensated`. [COMP-6]"""

    def require_debt(task: TaskFold, event: e.Recordable, at_ms: int) -> str | None:
        if not task.owed():
            return "nothing is owed any more and 'compensated' was expected"
        return None if compare is None else compare(task, event, at_ms)

    return require_debt


def _requiring_verb(verb: str, compare: Comparison | None) -> Comparison:
    """Require that the event ends its lease by this verb. [REPEAT-5]"""

    def require_verb(task: TaskFold, event: Any, at_ms: int) -> str | None:
        if event.verb != verb:
            return f"it ends a lease by the verb {event.verb!r} and {verb!r} was expected"
        return None if compare is None else compare(task, event, at_ms)

    return require_verb


# The events that only one verb writes. Several verbs write the others that end a lease. [REPEAT-5]
_VERBS: Final[dict[type[e.Recordable], str]] = {
    e.Released: "release",
    e.LeaseExpired: "expire",
    e.Retried: "retry",
    e.Parked: "park",
    e.CompensationFailed: "compensation_failed",
    e.Completed: "complete",
}


def _leased(task: TaskFold, event: e.Leased, at_ms: int) -> str | None:
    if event.attempt != task.attempt:
        return f"attempt {task.attempt} was expected and it names {event.attempt}"
    return _expiry(event, at_ms)


def _heartbeat(task: TaskFold, event: e.Heartbeat, at_ms: int) -> str | None:
    lease = task.lease
    as_it_was = lease is not None and (event.ttl_ms, event.expires_ms) == (lease.ttl_ms, lease.expires_ms)
    # [LEASE-3] A heartbeat may note progress without renewing the lease.
    return None if as_it_was and event.progress is not None else _expiry(event, at_ms)


def _expiry(event: e.Leased | e.Heartbeat, at_ms: int) -> str | None:
    """Compare the expiry with the ttl; without a ttl there is none. [LEASE-3]"""
    # [TIME-4] An expiry beyond the latest time is that time.
    expires_ms = None if event.ttl_ms is None else at_ms + event.ttl_ms
    if expires_ms is not None and expires_ms > TIME_MS_MAX:
        expires_ms = TIME_MS_MAX
    if event.expires_ms != expires_ms:
        return f"a ttl of {event.ttl_ms} from {at_ms} on ends at {expires_ms} and it names {event.expires_ms}"
    return None


def _lease_expired(task: TaskFold, event: e.LeaseExpired, at_ms: int) -> str | None:
    """Check that the lease is over by the cause that the event names. [LEASE-4]

    It cannot check the store's epoch, which is in another stream.
    """
    lease, seen = task.lease, event.seen
    if (event.why == "unseen") != (seen is not None):
        return f"the lease was over by {event.why!r} and the event says that an observer saw {seen}"
    if lease is None:
        return None
    if event.why == "clock" and (lease.expires_ms is None or at_ms < lease.expires_ms):
        return f"the lease was over by the clock at {at_ms} and lasts until {lease.expires_ms}"
    if seen is not None:
        of_lease = (seen.fence, seen.renewed_ms) == (lease.fence, lease.renewed_ms)
        if not of_lease or lease.ttl_ms is None or seen.unchanged_ms < lease.ttl_ms:
            return f"what an observer saw ({seen}) does not show that {lease} is over"
    return None


def _promoted(task: TaskFold, event: e.Promoted, at_ms: int) -> str | None:
    """Check that the task is due. [TIME-3]"""
    return _unchanged(task, event.seen, task.run_at_ms, at_ms)


def _unchanged(task: TaskFold, seen: Unchanged, due_ms: int | None, at_ms: int) -> str | None:
    """Check that the observation shows the task to be due while the clock could not show it. [TIME-3]"""
    if not shows_due(task, seen, due_ms, at_ms):
        return f"what an observer saw ({seen}) at {at_ms} does not show that it is due at {due_ms}"
    return None


def _parked(task: TaskFold, event: e.Parked, _: int) -> str | None:
    """Check that the wait is for something, and not for two things at once. [WAIT-1] [WAIT-4]"""
    if event.signal is not None and event.after:
        return "it waits for a signal and for tasks"
    if event.signal is None and not event.after and event.until_ms is None:
        return "it waits for nothing"
    if task.id in event.after:
        return "it waits for its own end"
    if len(set(event.after)) < len(event.after):
        return "it waits twice for one task"
    return None


def _unblocked(task: TaskFold, event: e.Unblocked, at_ms: int) -> str | None:
    """Check that the cause that the event names ends this wait. [WAIT-1] [WAIT-3]"""
    waiting = task.waiting
    if (event.by == "signal") != (event.signal_version is not None):
        return f"the wait is over by {event.by!r} and the event names the signal at version {event.signal_version}"
    if waiting is None:
        return None
    if event.by == "tasks" and not waiting.tasks:
        return f"the wait {waiting.name!r} is for no tasks"
    if why := _ends(event, waiting if event.by == "tasks" else None):
        return why
    if event.seen is not None:
        return _unchanged(task, event.seen, waiting.until_ms if event.by == "time" else None, at_ms)
    if event.by == "time" and (waiting.until_ms is None or at_ms < waiting.until_ms):
        return f"the wait is over by time at {at_ms} and lasts until {waiting.until_ms}"
    return None


def _ends(event: e.Unblocked, waiting: Waiting | None) -> str | None:
    """Check that the event sums up the ends of the tasks waited for, or none if those did not end the wait. [WAIT-3]

    Of more than 256 tasks it names none, and only their number can be compared.
    """
    summary = (event.counts, event.digest)
    if waiting is None:
        return None if summary == (None, None) and not event.ended else "other tasks did not end the wait"
    named, counts = [one.task for one in event.ended], event.counts or {}
    if len(named) != (waiting.tasks if waiting.tasks <= ENDS_NAMED_MAX else 0):
        return f"it names the ends of {len(named)} tasks and {waiting.tasks} were waited for"
    if not TERMINAL.issuperset(counts) or sum(counts.values()) != waiting.tasks or event.digest is None:
        return f"it counts {counts} and the ends of {waiting.tasks} tasks were waited for"
    if named and digest_of_ids(named) != waiting.digest:
        return f"it names the ends of {named}, and others were waited for"
    if named and summary != (counted(event.ended), digest_of_ends(event.ended)):
        return "its counts or its digest do not fit the ends that it names"
    return None


def _failed(task: TaskFold, event: e.Failed, _: int) -> str | None:
    """Check that each compensation that the event names was registered under its lease."""
    for id in event.compensations:
        record = task.compensations.get(id)
        if record is None or record.index >= 0 or record.fence != event.fence:
            return f"it names compensation {id!r}, which was not registered under its lease"
    return _ending(event)


def _cancel_requested(task: TaskFold, event: e.CancelRequested, at_ms: int) -> str | None:
    return _deadline(task, event.code, at_ms) or _parameters(event)


def _cancelled(task: TaskFold, event: e.Cancelled, at_ms: int) -> str | None:
    # [CANCEL-2] What the engine had asked the owner for, it says again as the lease ends.
    why = None if event.code == task.cancel_code else _deadline(task, event.code, at_ms)
    return why or _ending(event) or _parameters(event)


def _deadline(task: TaskFold, code: str | None, at_ms: int) -> str | None:
    """Check that a deadline which the engine names has come. [DEADLINE-1]"""
    if code in DEADLINE_CODES and code != (found := passed_deadline(task, at_ms)):
        return f"it names the code {code!r} at {at_ms}, and by then {found or 'no deadline'} had come"
    return None


def _quarantined(task: TaskFold, event: e.Quarantined, _: int) -> str | None:
    """Check that the event names what is owed. [COMP-6]"""
    if list(event.owed) != task.owed():
        return f"{task.owed()} are owed and it names {list(event.owed)}"
    return _ending(event)


def _ending(event: e.Failed | e.Cancelled | e.Quarantined | e.Compensated) -> str | None:
    """Check that the event names both the lease that it ends and the verb, or neither."""
    if (event.fence is None) != (event.verb is None):
        return f"it ends the lease of fence {event.fence} by the verb {event.verb!r}, and one needs the other"
    return None


def _compensation_failed(task: TaskFold, event: e.CompensationFailed, _: int) -> str | None:
    """Check that the undo is the last that is owed. [COMP-5]"""
    if task.owed()[-1] != event.id:
        return f"{event.id!r} is not the last that is owed"
    return None


def _compensated(task: TaskFold, event: e.Compensated, _: int) -> str | None:
    if event.outcome != task.outcome:
        return f"its work was {task.outcome} and it names {event.outcome}"
    return _ending(event)


def _released(_: TaskFold, event: e.Released, __: int) -> str | None:
    return _parameters(event)


def _parameters(event: e.Released | e.Noted | e.Cancelled | e.CancelRequested) -> str | None:
    """Check that parameters belong to a code. [RECORD-6]"""
    if event.parameters is not None and event.code is None:
        return "it has parameters and no code"
    return None


def _noted(task: TaskFold, event: e.Noted, _: int) -> str | None:
    if (event.text is None) == (event.code is None):
        return f"it holds the text {event.text!r} and the code {event.code!r}, and one of them was expected"
    if why := _parameters(event):
        return why
    if event.settles and not task.is_terminal:
        return "it settles what is owed before the end"
    left = [id for id in task.owed() if id not in event.settles]
    if event.successor is not None and left:
        # [COMP-7] One task at a time owes a compensation.
        return f"it names a successor and leaves {left} owed"
    return None


def _amended(task: TaskFold, event: e.Amended, _: int) -> str | None:
    """Check that the event changes what may change, and gives nothing as it was. [AMEND-1] [AMEND-2]"""
    given = [name for name in _AMENDABLE if getattr(event, name) is not None]
    given += ["payload"] if event.payload_blob is not None else []
    names = (*given, *event.removes)
    if not names or len(set(names)) < len(names):
        return "it changes nothing, or something twice"
    if wrong := [name for name in event.removes if name not in REMOVABLE or name == "run_at_ms"]:
        return f"it removes {wrong}, which a task always has"
    if event.uses == {}:
        return "it gives no limit, and does not remove them"
    if (found := obstacle(task, names)) is not None:
        return f"it changes {found[0]!r} of a task that is {found[1]}"
    before = {name: getattr(task, name) for name in names if name not in ("payload", "policy")}
    same = [name for name, value in before.items() if value == getattr(event, name)]
    if event.policy is not None and task.policy is not None and task.policy.plain() == event.policy:
        same.append("policy")
    return f"it gives {same} as they were" if same else None


_AMENDABLE: Final = (
    "queue",
    "priority",
    "run_at_ms",
    "payload",
    "affinity",
    "key",
    "build",
    "deadline_ms",
    "start_by_ms",
    "policy",
    "uses",
)


_COMPARISONS: Final[dict[type[e.Recordable], Comparison]] = {
    e.Leased: _leased,
    e.Heartbeat: _heartbeat,
    e.Released: _released,
    e.LeaseExpired: _lease_expired,
    e.Promoted: _promoted,
    e.Parked: _parked,
    e.Unblocked: _unblocked,
    e.Failed: _failed,
    e.CancelRequested: _cancel_requested,
    e.Cancelled: _cancelled,
    e.CompensationFailed: _compensation_failed,
    e.Compensated: _compensated,
    e.Quarantined: _quarantined,
    e.Noted: _noted,
    e.Amended: _amended,
}
