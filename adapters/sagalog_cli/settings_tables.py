"""The tables of what may run: limits, queues that have settings, and what is paused, by whom, since when and why.

Rule: as `render`, it gives data to `tables`, which makes it safe to show. Rates and times are as the options take them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sagalog import Breaker, LimitStatus, Pause, QueueStatus, Rate
from sagalog_cli.tables import Cell, Table
from sagalog_cli.times import distance, exact_duration, instant

if TYPE_CHECKING:
    from sagalog_http.tokens import Token  # only `token` imports it


def limits(listed: Sequence[LimitStatus], now_ms: int) -> Table:
    """Return a table with one row a named limit."""
    head = ("NAME", "ALLOWED", "USED", "FREE", "HELD", "BREAKER", "PAUSED")
    return Table(head, [_limit(one, now_ms) for one in listed])


def _limit(one: LimitStatus, now_ms: int) -> Sequence[Cell | str]:
    if one.code is not None:
        return (one.name, "", "", "", str(one.held), "", unreadable(one.error))
    counts = (str(one.used), _count(one.free), str(one.held))
    return (one.name, allowed(one), *counts, _breaker(one), paused(one.pause, now_ms))


def holders(listed: Sequence[tuple[str, int]]) -> Table:
    """Return a table with one row a task that has units of a limit."""
    return Table(("ID", "UNITS"), [(id, str(units)) for id, units in listed])


def allowed(one: LimitStatus) -> str:
    """Return what a limit allows: `4 slots`, or a rate."""
    if one.slots is None:
        return rate(one.rate) or "any number"
    return slots(one.slots)


def slots(many: int) -> str:
    """Return a number of slots in words."""
    return f"{many} slot{'' if many == 1 else 's'}"


def free(one: LimitStatus) -> str:
    """Return what is free of a limit, behind what it allows; nothing where it has a breaker alone."""
    return "" if one.free is None else f", {one.free} free"


def breaker(one: Breaker | None) -> str:
    """Return a breaker as the options take it: `5/1m..1h`; nothing where there is none."""
    return "" if one is None else f"{one.failures}/{exact_duration(one.pause_ms)}..{exact_duration(one.pause_max_ms)}"


def _breaker(one: LimitStatus | QueueStatus) -> Cell:
    """Return a breaker, and whether it is open."""
    is_closed = one.breaker_mode in (None, "closed")
    mode = "" if is_closed else f" {str(one.breaker_mode).replace('_', ' ')}"
    return Cell(breaker(one.breaker) + mode, "" if is_closed else "red")


def queues(listed: Sequence[QueueStatus], now_ms: int) -> Table:
    """Return a table with one row a queue that has settings, and below it a line for each key that is paused."""
    head = ("QUEUE", "SLOTS", "RATE", "KEY_SLOTS", "KEY_RATE", "RUNNING", "FREE", "BREAKER", "AFFINITY_WAIT", "PAUSED")
    below = {
        number: [f"    key {key} is paused: {paused(pause, now_ms).text}" for key, pause in one.paused_keys.items()]
        for number, one in enumerate(listed)
        if one.paused_keys
    }
    return Table(head, [_queue(one, now_ms) for one in listed], below)


def _queue(one: QueueStatus, now_ms: int) -> Sequence[Cell | str]:
    if one.code is not None:
        return (one.name, "", "", "", "", "", "", "", "", unreadable(one.error))
    return (
        one.name,
        _count(one.slots),
        rate(one.rate),
        _count(one.per_key_slots),
        rate(one.per_key_rate),
        str(one.used),
        _count(one.free),
        _breaker(one),
        "" if one.affinity_wait_ms is None else exact_duration(one.affinity_wait_ms),
        paused(one.pause, now_ms),
    )


def kinds(listed: Mapping[str, Pause], now_ms: int) -> Table:
    """Return a table with one row a kind that is paused."""
    return Table(("KIND", "PAUSED"), [(name, paused(pause, now_ms)) for name, pause in listed.items()])


def rate(of: Rate | None) -> str:
    """Return a rate as `--rate` takes it: `10/1m`, or with a burst of its own `10/1m:20`; "" for none."""
    if of is None:
        return ""
    burst = "" if of.most == of.units else f":{of.most}"
    return f"{of.units}/{exact_duration(of.period_ms)}{burst}"


def paused(pause: Pause | None, now_ms: int) -> Cell:
    """Return since when something is paused, by whom and why; nothing where it is not."""
    if pause is None:
        return Cell("")
    rest = ("" if pause.actor is None else f" by {pause.actor}") + ("" if pause.reason is None else f": {pause.reason}")
    if pause.at_ms is None:
        return Cell("paused", "yellow")
    return Cell(instant(pause.at_ms) + rest, "yellow", distance(pause.at_ms, now_ms) + rest)


def unreadable(error: str | None) -> Cell:
    """Return that something cannot be read, and why."""
    return Cell(f"unreadable: {error}", "red")


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def tokens(listed: Sequence[Token], now_ms: int) -> Table:
    """Return a table with one row a token."""
    head = ("NAME", "STATE", "SCOPES", "QUEUES", "KINDS", "EXPIRES", "USED")
    return Table(head, [_token(one, now_ms) for one in listed])


def _token(one: Token, now_ms: int) -> Sequence[Cell | str]:
    state = one.state(now_ms)
    return (
        one.name,
        Cell(state, "" if state == "live" else "red"),
        ",".join(one.scopes),
        ",".join(one.queues),
        ",".join(one.kinds),
        _time(one.expires_ms, now_ms),
        _time(one.used_ms, now_ms),
    )


def _time(time_ms: int | None, now_ms: int) -> Cell:
    return Cell("") if time_ms is None else Cell(instant(time_ms), short=distance(time_ms, now_ms))
