"""The validation of the calls that say what may run: limits, the limits of queues, and pauses.

Rule: as for tasks, a refusal names the argument and says what to give instead. Knows no state and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sagalog.errors import InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Breaker, BreakerPolicy, Rate
from sagalog.validation.arguments import optional_sentence
from sagalog.validation.values import check_integer, check_name, shown

_DEFAULT_QUEUE: Final = "default"


def set_limit(name: str, slots: int | None, rate: Rate | None, breaker: Breaker | None) -> c.SetLimit:
    """Make the command behind `Engine.set_limit`; raises InvalidValue."""
    if slots is not None and rate is not None:
        raise InvalidValue("slots, rate: expected one of the two, found both; a limit is of one kind", path="slots")
    if slots is None and rate is None and breaker is None:
        text = "slots, rate, breaker: found none of them; give slots or a rate, and a breaker besides or alone"
        raise InvalidValue(text, path="slots")
    return c.SetLimit(
        id=check_name(name, "name"),
        slots=_slots(slots, "slots"),
        rate=_rate(rate, "rate"),
        breaker=_breaker(breaker),
    )


def remove_limit(name: str) -> c.RemoveLimit:
    """Make the command behind `Engine.remove_limit`; raises InvalidValue."""
    return c.RemoveLimit(id=check_name(name, "name"))


def limit_queue(
    queue: str,
    slots: int | None,
    rate: Rate | None,
    per_key_slots: int | None,
    per_key_rate: Rate | None,
    breaker: Breaker | None,
) -> c.LimitQueue:
    """Make the command behind `Engine.limit_queue`; raises InvalidValue."""
    return c.LimitQueue(
        id=check_name(queue, "queue"),
        slots=_slots(slots, "slots"),
        rate=_rate(rate, "rate"),
        per_key_slots=_slots(per_key_slots, "per_key_slots"),
        per_key_rate=_rate(per_key_rate, "per_key_rate"),
        breaker=_breaker(breaker),
    )


def reset_breaker(queue: str | None, limit: str | None) -> c.Setting:
    """Make the command behind `Engine.reset_breaker`; raises InvalidValue."""
    if (queue is None) == (limit is None):
        found = "neither" if queue is None else "both"
        raise InvalidValue(f"queue, limit: expected one of the two, found {found}", path="queue")
    if limit is not None:
        return c.ResetLimitBreaker(id=check_name(limit, "limit"))
    return c.ResetQueueBreaker(id=check_name(queue, "queue"))


def set_queue(queue: str, affinity_wait_ms: int | None) -> c.SetQueue:
    """Make the command behind `Engine.set_queue`; raises InvalidValue."""
    wait_ms = affinity_wait_ms
    if wait_ms is not None:
        wait_ms = check_integer(wait_ms, "affinity_wait_ms", 1, bounds.TIME_MS_MAX)
    return c.SetQueue(id=check_name(queue, "queue"), affinity_wait_ms=wait_ms)


def pause(
    store_id: str,
    queue: str | None,
    key: str | None,
    limit: str | None,
    kind: str | None,
    reason: str | None,
    schedule: str | None = None,
) -> c.Setting:
    """Make the command behind `Engine.pause`; raises InvalidValue."""
    _require_one(queue, key, limit, kind, schedule)
    text = optional_sentence(reason, "reason")
    if schedule is not None:
        return c.PauseSchedule(id=check_name(schedule, "schedule"), reason=text)
    if limit is not None:
        return c.PauseLimit(id=check_name(limit, "limit"), reason=text)
    if kind is not None:
        return c.PauseKind(id=store_id, kind=check_name(kind, "kind"), reason=text)
    where = check_name(_DEFAULT_QUEUE if queue is None else queue, "queue")
    if key is not None:
        return c.PauseKey(id=where, key=check_name(key, "key"), reason=text)
    return c.PauseQueue(id=where, reason=text)


def resume(
    store_id: str,
    queue: str | None,
    key: str | None,
    limit: str | None,
    kind: str | None,
    schedule: str | None = None,
) -> c.Setting:
    """Make the command behind `Engine.resume`; raises InvalidValue."""
    _require_one(queue, key, limit, kind, schedule)
    if schedule is not None:
        return c.ResumeSchedule(id=check_name(schedule, "schedule"))
    if limit is not None:
        return c.ResumeLimit(id=check_name(limit, "limit"))
    if kind is not None:
        return c.ResumeKind(id=store_id, kind=check_name(kind, "kind"))
    where = check_name(_DEFAULT_QUEUE if queue is None else queue, "queue")
    if key is not None:
        return c.ResumeKey(id=where, key=check_name(key, "key"))
    return c.ResumeQueue(id=where)


def uses_of(given: Mapping[str, int] | None) -> dict[str, int] | None:
    """Check the units of named limits that a task uses; raises InvalidValue, OverBound."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InvalidValue(f"uses: expected a mapping of limits to units, found {shown(given)}", path="uses")
    if len(given) > bounds.LIMITS_MAX:
        raise OverBound(
            f"uses: at most {bounds.LIMITS_MAX} limits, found {len(given)}; let one limit do for several",
            bound="limits",
            maximum=bounds.LIMITS_MAX,
        )
    checked = {
        check_name(name, "uses"): check_integer(units, f"uses[{name!r}]", 1, bounds.UNITS_MAX)
        for name, units in given.items()
    }
    return checked or None


def _require_one(queue: str | None, key: str | None, limit: str | None, kind: str | None, schedule: str | None) -> None:
    alone = (("limit", limit), ("kind", kind), ("schedule", schedule))
    given = [name for name, value in alone if value is not None]
    if queue is not None or key is not None:
        given.append("queue" if key is None else "key")
    if len(given) != 1:
        raise InvalidValue(
            f"queue, key, limit, kind, schedule: expected one of them (a key within a queue), found {given or 'none'}",
            path=given[0] if given else "queue",
        )


def _slots(given: int | None, name: str) -> int | None:
    if given is None:
        return None
    if type(given) is int and given < 1:
        raise InvalidValue(f"{name}: expected 1 or more, found {given}; to let nothing start, pause instead", path=name)
    return check_integer(given, name, 1, bounds.UNITS_MAX)


def _rate(given: Rate | None, name: str) -> Rate | None:
    """Check a rate, and return it with its burst spelled out, as the log records it."""
    if given is None:
        return None
    if not isinstance(given, Rate):
        raise InvalidValue(f"{name}: expected a sagalog.Rate, found {shown(given)}", path=name)
    units = _slots(given.units, f"{name}.units")
    assert units is not None
    period_ms = check_integer(given.period_ms, f"{name}.period_ms", 1, bounds.PERIOD_MS_MAX)
    burst = _slots(given.most, f"{name}.burst")
    return Rate(units, period_ms, burst)


def _breaker(given: Breaker | None) -> BreakerPolicy | None:
    if given is None:
        return None
    if not isinstance(given, Breaker):
        raise InvalidValue(f"breaker: expected a sagalog.Breaker, found {shown(given)}", path="breaker")
    failures = check_integer(given.failures, "breaker.failures", 1, bounds.BREAKER_FAILURES_MAX)
    pause_ms = check_integer(given.pause_ms, "breaker.pause_ms", 1, bounds.BREAKER_OPEN_MS_MAX)
    pause_max_ms = check_integer(given.pause_max_ms, "breaker.pause_max_ms", 1, bounds.BREAKER_OPEN_MS_MAX)
    if pause_max_ms < pause_ms:
        raise InvalidValue(
            f"breaker.pause_max_ms: expected at least pause_ms, {pause_ms}, found {pause_max_ms}",
            path="breaker.pause_max_ms",
        )
    return BreakerPolicy(failures, pause_ms, pause_max_ms)
