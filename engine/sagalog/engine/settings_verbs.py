"""Verbs of operators that say what may run: limits, the limits of queues, and pauses; arguments -> entry.

Rule: as in `verbs`, each call is here once, with its whole signature and text. A call states what is to be, so that a
repeated one changes nothing. Writes nothing.
"""

from __future__ import annotations

from sagalog.actors import optional_actor
from sagalog.engine.entries import SettingEntry
from sagalog.engine.executor import Executor
from sagalog.kernel import commands as c
from sagalog.kernel.values import Breaker, Rate
from sagalog.validation import settings as forms


def set_limit(
    executor: Executor,
    name: str,
    *,
    slots: int | None = None,
    rate: Rate | None = None,
    breaker: Breaker | None = None,
    actor: str | None = None,
) -> SettingEntry:
    """Set a named limit, which tasks use by `create(uses={name: units})`, to exactly what is given. [LIMIT-1]

    What is left out is taken away: slots, rate and breaker alike. A breaker that is given again with other numbers
    stays open or closed as it was, and the numbers count from now on. [BREAKER-4] Leases that live keep their units.
    A limit that is lowered below what runs only lets nothing start.

    Args:
        name: its name.
        slots: how many units leases may have at a time; or
        rate: how many units leases may take per period; the end of a lease gives none of them back.
        breaker: when tasks that use it stop to start because of failures; it may be alone, without slots and rate.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: slots and rate are given, or nothing is, or less than 1; to let nothing start, `pause` the limit.
    """
    return _by_operator(executor, forms.set_limit(name, slots, rate, breaker), actor)


def remove_limit(executor: Executor, name: str, *, actor: str | None = None) -> SettingEntry:
    """Remove a named limit that no live task uses. [LIMIT-1]

    Args:
        name: its name.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        NotFound: there is no such limit.
        WrongState: a live task uses it, which the field `task` names.
    """
    return _by_operator(executor, forms.remove_limit(name), actor)


def limit_queue(
    executor: Executor,
    queue: str,
    *,
    slots: int | None = None,
    rate: Rate | None = None,
    per_key_slots: int | None = None,
    per_key_rate: Rate | None = None,
    breaker: Breaker | None = None,
    actor: str | None = None,
) -> SettingEntry:
    """Set the limits of a queue, and of each key within it; what is left out is not limited any more. [LIMIT-1]

    Each lease for work takes one unit of them. Leases that live count from now on.

    Args:
        queue: its name.
        slots, rate: of the queue: how many tasks may run at a time, and how many may start per period.
        per_key_slots, per_key_rate: the same for each `key` of its tasks by itself.
        breaker: when its tasks stop to start because of failures. [BREAKER-1]
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: less than 1; to let nothing start, `pause` the queue.
    """
    return _by_operator(executor, forms.limit_queue(queue, slots, rate, per_key_slots, per_key_rate, breaker), actor)


def reset_breaker(
    executor: Executor, *, queue: str | None = None, limit: str | None = None, actor: str | None = None
) -> SettingEntry:
    """Close the breaker of a queue, or of a named limit: its tasks start again, all at once. [BREAKER-4]

    One that is closed stays as it is, with the failures that it has counted.

    Args:
        queue: the queue; or
        limit: the named limit.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: neither is given, or both.
        NotFound: there is no such limit, or no breaker.
    """
    return _by_operator(executor, forms.reset_breaker(queue, limit), actor)


def set_queue(
    executor: Executor, queue: str, *, affinity_wait_ms: int | None = None, actor: str | None = None
) -> SettingEntry:
    """Set how long tasks of a queue may be passed over for an affinity; what is left out is not so any more. [ORDER-2]

    Claims that ask for an affinity get its tasks first, so under constant load for one no other task would start. A
    task with an affinity that has been ready for the bound goes before every affinity and priority, the oldest first.

    Args:
        queue: its name.
        affinity_wait_ms: that bound, in milliseconds, counted from the due time of a task or, where that is later, from
            its creation; left out, there is none.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: less than 1.
    """
    return _by_operator(executor, forms.set_queue(queue, affinity_wait_ms), actor)


def pause(
    executor: Executor,
    *,
    queue: str | None = None,
    key: str | None = None,
    limit: str | None = None,
    kind: str | None = None,
    schedule: str | None = None,
    reason: str | None = None,
    actor: str | None = None,
) -> SettingEntry:
    """Let no task start until `resume`: of a queue, of a key within it, of a named limit, or of a kind. [PAUSE-1]

    Tasks that run go on, and undoing too. A schedule that is paused creates no task.

    Args:
        queue: the queue; or
        key: a key within that queue (left out: "default"); or
        limit: a named limit; or
        kind: a kind of tasks, in every queue; or
        schedule: a schedule.
        reason: why, for the log and for people.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: none of them is given, or several.
        NotFound: there is no such limit, or no such schedule.
        OverBound: 1,000 keys of the queue, or kinds, are paused.
    """
    return _by_operator(executor, forms.pause(executor.store_id, queue, key, limit, kind, reason, schedule), actor)


def resume(
    executor: Executor,
    *,
    queue: str | None = None,
    key: str | None = None,
    limit: str | None = None,
    kind: str | None = None,
    schedule: str | None = None,
    actor: str | None = None,
) -> SettingEntry:
    """End a pause, as `pause` began it; what is not paused stays as it is. [PAUSE-1]

    A schedule goes on with its first nominal time after now, also if it had stopped by itself. [SCHEDULE-7]

    Args:
        queue, key, limit, kind, schedule: what to resume, as for `pause`.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: none of them is given, or several; or this machine does not know the schedule's zone.
        NotFound: there is no such limit, or no such schedule.
    """
    return _by_operator(executor, forms.resume(executor.store_id, queue, key, limit, kind, schedule), actor)


def _by_operator(executor: Executor, command: c.Setting, actor: str | None) -> SettingEntry:
    return SettingEntry(command, optional_actor(actor, "actor") or executor.actor)
