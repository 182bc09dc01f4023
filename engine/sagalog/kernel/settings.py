"""Event -> state, of the streams that say what may run: named limits, queues, and schedules.

Rule: as for a task, an event that the table forbids, or that says what is so already, is a damaged log [RECORD-1].
A fold may begin at the newest `..._carried` event, which holds all before it [CARRY-1]. Knows no command.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.lifecycle import (
    GOVERNED,
    LIMIT_LIFE,
    LIMITING,
    QUEUE_LIFE,
    REMOVED,
    SCHEDULE_LIFE,
    SCHEDULED,
    UNBORN,
    Lifecycle,
)
from sagalog.kernel.state import JournalFold, LimitFold, QueueFold, ScheduleFold
from sagalog.kernel.values import CLOSED, BreakerPolicy, BreakerState, Limit, Schedule

F = TypeVar("F", LimitFold, QueueFold, ScheduleFold, JournalFold)
L = TypeVar("L", LimitFold, QueueFold)

_CARRIED: Final = (e.LimitCarried, e.QueueCarried, e.ScheduleCarried, e.JournalCarried)


def state_of_limit(fold: LimitFold) -> str:
    """Return the state of a named limit, as its table names it."""
    if fold.version == 0:
        return UNBORN
    return REMOVED if fold.is_removed else LIMITING


def state_of_queue(fold: QueueFold) -> str:
    """Return the state of a queue, as its table names it."""
    return GOVERNED if fold.version else UNBORN


def state_of_schedule(fold: ScheduleFold) -> str:
    """Return the state of a schedule, as its table names it."""
    if fold.version == 0:
        return UNBORN
    return REMOVED if fold.is_removed else SCHEDULED


def evolve_limit(fold: LimitFold, event: e.Recordable, version: int, at_ms: int) -> LimitFold:
    """Return the fold of a named limit after one more event; raises LogDamaged."""
    after = _breaker_after(fold, event, version, at_ms) or _limit_after(fold, event, version)
    return checked("limit", state_of_limit(fold), LIMIT_LIFE, fold, event, version, after)


def evolve_queue(fold: QueueFold, event: e.Recordable, version: int, at_ms: int) -> QueueFold:
    """Return the fold of a queue after one more event; raises LogDamaged."""
    after = _breaker_after(fold, event, version, at_ms) or _queue_after(fold, event, version)
    return checked("queue", state_of_queue(fold), QUEUE_LIFE, fold, event, version, after)


def evolve_schedule(fold: ScheduleFold, event: e.Recordable, version: int, at_ms: int) -> ScheduleFold:
    """Return the fold of a schedule after one more event; raises LogDamaged."""
    after = _schedule_after(fold, event, version)
    return checked("schedule", state_of_schedule(fold), SCHEDULE_LIFE, fold, event, version, after)


def carried_limit(fold: LimitFold) -> e.LimitCarried:
    """Return the event that holds the whole fold of a named limit."""
    return e.LimitCarried(
        fold.is_removed,
        fold.limit.slots,
        fold.limit.rate,
        fold.paused or None,
        fold.breaker,
        _state_carried(fold),
    )


def carried_queue(fold: QueueFold) -> e.QueueCarried:
    """Return the event that holds the whole fold of a queue."""
    return e.QueueCarried(
        fold.own,
        fold.per_key,
        fold.paused or None,
        fold.paused_keys or None,
        fold.breaker,
        _state_carried(fold),
        fold.affinity_wait_ms,
    )


def carried_schedule(fold: ScheduleFold) -> e.ScheduleCarried:
    """Return the event that holds the whole fold of a schedule."""
    assert fold.schedule is not None
    return e.ScheduleCarried(
        fold.is_removed,
        fold.schedule,
        fold.anchor_ms,
        fold.settled_ms,
        fold.next_ms,
        fold.task,
        fold.task_ms,
        fold.paused or None,
        fold.stopped,
    )


def is_same_schedule(one: Schedule | None, other: Schedule) -> bool:
    """Check whether two schedules are the same as JSON: in their payloads, 1 is not true, nor 1.0."""
    return one is not None and msgspec.json.encode(one) == msgspec.json.encode(other)


def with_breaker(fold: L, breaker: BreakerPolicy | None, version: int) -> L:
    """Return a fold with the breaker that an event sets: one that is there goes on, a new one begins closed."""
    if breaker is None:
        state = CLOSED
    else:
        state = fold.breaker_state if fold.breaker is not None else BreakerState("closed", version, 0, 0, 0)
    return msgspec.structs.replace(fold, breaker=breaker, breaker_state=state)


def _state_carried(fold: LimitFold | QueueFold) -> BreakerState | None:
    return None if fold.breaker is None else fold.breaker_state


def _breaker_after(fold: L, event: Any, version: int, at_ms: int) -> L | None:
    """Return the fold after an event of its breaker; None where it is no such event, or cannot be. [BREAKER-1]"""
    before = fold.breaker_state
    match event:
        case e.BreakerOpened() if fold.breaker is not None and before.mode != "open":
            after = BreakerState("open", version, at_ms, event.until_ms, event.trips)
        case e.BreakerHalfOpened() if before.mode == "open":
            after = BreakerState("half_open", version, before.since_ms, before.until_ms, before.trips, event.task)
        case e.BreakerClosed() if before.mode != "closed":
            after = BreakerState("closed", version, 0, 0, 0)
        case _:
            return None
    return msgspec.structs.replace(fold, breaker_state=after)


def _limit_after(fold: LimitFold, event: Any, version: int) -> LimitFold | None:
    """Return the fold after an event; None where it says what is so already, or cannot be."""
    match event:
        case e.LimitSet():
            limit = Limit(event.slots, event.rate)
            is_new = fold.is_removed or (limit, event.breaker) != (fold.limit, fold.breaker)
            after = msgspec.structs.replace(fold, is_removed=False, limit=limit)
            return with_breaker(after, event.breaker, version) if is_new else None
        case e.LimitRemoved():
            after = msgspec.structs.replace(fold, is_removed=True, limit=Limit(), paused=0)
            return with_breaker(after, None, version)
        case e.LimitPaused():
            return msgspec.structs.replace(fold, paused=version) if not fold.paused else None
        case e.LimitResumed():
            return msgspec.structs.replace(fold, paused=0) if fold.paused else None
        case e.LimitCarried():
            limit, state = Limit(event.slots, event.rate), event.breaker_state or CLOSED
            return LimitFold(fold.id, 0, 0, event.removed, limit, event.paused or 0, event.breaker, state)
        case _:
            return None


def _queue_after(fold: QueueFold, event: Any, version: int) -> QueueFold | None:
    match event:
        case e.QueueLimited():
            own = Limit(event.slots, event.rate)
            per_key = Limit(event.per_key_slots, event.per_key_rate)
            if (own, per_key, event.breaker) == (fold.own, fold.per_key, fold.breaker):
                return None
            return with_breaker(msgspec.structs.replace(fold, own=own, per_key=per_key), event.breaker, version)
        case e.QueueSet() if event.affinity_wait_ms != fold.affinity_wait_ms:
            return msgspec.structs.replace(fold, affinity_wait_ms=event.affinity_wait_ms)
        case e.QueuePaused():
            return msgspec.structs.replace(fold, paused=version) if not fold.paused else None
        case e.QueueResumed():
            return msgspec.structs.replace(fold, paused=0) if fold.paused else None
        case e.KeyPaused() if event.key not in fold.paused_keys:
            return msgspec.structs.replace(fold, paused_keys={**fold.paused_keys, event.key: version})
        case e.KeyResumed() if event.key in fold.paused_keys:
            kept = {key: at for key, at in fold.paused_keys.items() if key != event.key}
            return msgspec.structs.replace(fold, paused_keys=kept)
        case e.QueueCarried():
            paused, keys, state = event.paused or 0, event.paused_keys or {}, event.breaker_state or CLOSED
            breaker, wait_ms = event.breaker, event.affinity_wait_ms
            return QueueFold(fold.id, 0, 0, event.own, event.per_key, paused, keys, breaker, state, wait_ms)
        case _:
            return None


def _schedule_after(fold: ScheduleFold, event: Any, version: int) -> ScheduleFold | None:
    replace = msgspec.structs.replace
    match event:
        case e.ScheduleSet():
            is_new = fold.is_removed or fold.stopped is not None or not is_same_schedule(fold.schedule, event.schedule)
            times = (event.anchor_ms, event.settled_ms, event.next_ms)
            return _from(fold, event.schedule, times) if is_new else None
        case e.ScheduleRemoved():
            return replace(fold, is_removed=True, paused=0, stopped=None)
        case e.SchedulePaused():
            return replace(fold, paused=version) if not fold.paused else None
        case e.ScheduleResumed() if fold.paused or fold.stopped is not None:
            return replace(fold, paused=0, stopped=None, settled_ms=event.settled_ms, next_ms=event.next_ms)
        case e.ScheduleFired() if _settles(fold, event.nominal_ms, event.next_ms):
            times_after = {"settled_ms": event.nominal_ms, "next_ms": event.next_ms, "task_ms": event.nominal_ms}
            return replace(fold, task=event.task, **times_after)
        case e.ScheduleSkipped() if _settles(fold, event.nominal_ms, event.next_ms):
            return replace(fold, settled_ms=event.nominal_ms, next_ms=event.next_ms)
        case e.ScheduleStopped():
            return replace(fold, stopped=event.code) if fold.stopped is None else None
        case e.ScheduleReset() if event.settled_ms < fold.settled_ms and fold.due_ms is not None:
            return replace(fold, settled_ms=event.settled_ms, next_ms=event.next_ms)
        case e.ScheduleCarried():
            return ScheduleFold(
                fold.id,
                0,
                0,
                event.removed,
                event.schedule,
                event.anchor_ms,
                event.settled_ms,
                event.next_ms,
                event.task,
                event.task_ms,
                event.paused or 0,
                event.stopped,
            )
        case _:
            return None


def _from(fold: ScheduleFold, schedule: Schedule, times: tuple[int, int, int]) -> ScheduleFold:
    """Return the fold of a schedule that is set; a pause goes on, unless it was removed meanwhile."""
    anchor_ms, settled_ms, next_ms = times
    return msgspec.structs.replace(
        fold,
        is_removed=False,
        schedule=schedule,
        anchor_ms=anchor_ms,
        settled_ms=settled_ms,
        next_ms=next_ms,
        stopped=None,
    )


def _settles(fold: ScheduleFold, nominal_ms: int, next_ms: int | None) -> bool:
    """Check that a nominal time is settled once, in order, by a schedule that may fire. [SCHEDULE-2]"""
    is_next = fold.due_ms is not None and nominal_ms >= fold.due_ms > fold.settled_ms
    return is_next and (next_ms is None or next_ms > nominal_ms)


def checked(
    category: str, state: str, life: Lifecycle, fold: F, event: e.Recordable, version: int, after: F | None
) -> F:
    """Return the fold after an event that fits the table, the version and the fold before. [CARRY-1]"""
    name = e.NAMES[type(event)]
    begins = isinstance(event, _CARRIED) and fold.version == 0
    if not begins and (not life.allows(state, name) or version != fold.version + 1):
        raise _damaged(category, fold.id, name, version, f"it cannot follow {state!r} at version {fold.version}")
    if after is None:
        raise _damaged(category, fold.id, name, version, "it says what is so already")
    if isinstance(event, _CARRIED):
        same = msgspec.structs.replace(fold, version=0, length=0)
        if not begins and after != same:
            raise _damaged(category, fold.id, name, version, "it does not hold what the events before it give")
        return msgspec.structs.replace(after, version=version, length=0)
    return msgspec.structs.replace(after, version=version, length=fold.length + 1)


def _damaged(category: str, id: str, name: str, version: int, why: str) -> LogDamaged:
    stream = f"{category}/{id}"
    return LogDamaged(
        f"the stream {stream} holds {name!r} at version {version}, and {why}: stop, keep the file, and compare it with "
        "a backup",
        stream=stream,
        version=version,
        type=name,
    )
