"""Events as rows, of one task as a timeline or of many tasks: one row an event, made of the event's own fields.

Rule: no type of event has code of its own here, so the timeline leaves none out. It clips what is large or shown
elsewhere, and `--full` shows it. It knows the shape of envelopes and must not know what events mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from sagalog import Failure, Recorded
from sagalog.sentences import reason_of, worded
from sagalog_cli import json_output
from sagalog_cli.tables import Cell, Table
from sagalog_cli.times import duration, instant, offset
from sagalog_cli.tracebacks import clipped, lines_in

_CLIPPED_CHARACTERS: Final = 80
# Room for the place and the code of the innermost frames; `show` has more lines, and `--full` all.
_TRACEBACK_LINES: Final = 6
# Every creation, which names a kind, has the whole policy; `show` and `--full` show it.
_LEFT_OUT_WITH_KIND: Final = frozenset({"policy"})
# Widths that fit most events (a ULID, the longest type), so that lines printed one by one align.
_POSITION_WIDTH: Final = 6
_NAME_WIDTH: Final = 34
_TYPE_WIDTH: Final = 23
_ACTOR_WIDTH: Final = 18
_COLOURS: Final = {
    "completed": "green",
    "compensated": "magenta",
    "failed": "red",
    "quarantined": "bright_red",
    "lease_expired": "yellow",
    "promoted": "yellow",
    "parked": "cyan",
    "unblocked": "cyan",
    "retried": "yellow",
    "compensation_failed": "yellow",
}


def timeline(history: Sequence[Recorded], full: bool, beside: Mapping[int, str]) -> Table:
    """Return position, version, time, distance from the first event, type, actor, details; with `full` the whole body.

    `beside` adds to the details of the event of a version what is known beside it. Below an event comes the traceback
    of its failure.
    """
    head = ("POS", "VER", "AT", "SINCE", "EVENT", "ACTOR", "DETAILS")
    first_ms = history[0].at_ms if history else 0
    rows = [
        (
            str(one.position),
            str(one.version),
            instant(one.at_ms),
            offset(one.at_ms - first_ms),
            Cell(one.type, _COLOURS.get(one.type, "")),
            one.actor or "",
            one.body
            if full
            else " ".join(filter(None, (_details(one), _clipped(beside.get(one.version, ""), quoted=False)))),
        )
        for one in history
    ]
    traces = {number: _traceback(one) for number, one in enumerate(history)}
    below = {number: clipped(lines, None if full else _TRACEBACK_LINES) for number, lines in traces.items() if lines}
    return Table((*head[:-1], "BODY") if full else head, rows, below, names_last=False)


def followed(events: Sequence[Recorded]) -> Table:
    """Return events of any tasks: position, time, name, type, actor, details; the same widths in each call, no head."""
    rows = [
        (
            f"{one.position:<{_POSITION_WIDTH}}",
            instant(one.at_ms),
            f"{one.name:<{_NAME_WIDTH}}",
            Cell(f"{one.type:<{_TYPE_WIDTH}}", _COLOURS.get(one.type, "")),
            f"{one.actor or '-':<{_ACTOR_WIDTH}}",
            _details(one),
        )
        for one in events
    ]
    return Table((), rows)


def _traceback(one: Recorded) -> list[str]:
    failures = (value for value in msgspec.structs.asdict(one.event).values() if isinstance(value, Failure))
    return [line for failure in failures for line in lines_in(failure.details)]


def _details(one: Recorded) -> str:
    fields = msgspec.structs.asdict(one.event)
    if fields.get("code") is not None:
        # The code and its parameters as a sentence.
        fields |= {"parameters": None, "reason": reason_of(one.event)}
    left_out = _LEFT_OUT_WITH_KIND if "kind" in fields else frozenset()
    pieces = [
        f"{_name(field)}={_shown(field, value, one.at_ms)}"
        for field, value in fields.items()
        if field not in left_out and value is not None and value != () and value is not False
    ]
    named = [
        f"{name}={value}"
        for name, value in (("idempotency_key", one.idempotency_key), ("cause", one.cause))
        if value is not None
    ]
    return " ".join((*pieces, *named))


def _name(field: str) -> str:
    """Return the name of a field without its unit: times are shown as times."""
    return field.removesuffix("_ms")


def _shown(field: str, value: Any, at_ms: int) -> str:
    if field in ("expires_ms", "run_at_ms"):
        # A time that the event sets for later reads best as a distance from the event.
        return "now" if value == at_ms else offset(value - at_ms)
    if field.endswith("_ms") and isinstance(value, int):
        return duration(value) if field == "ttl_ms" else instant(value)
    if field == "uses":
        return _clipped(",".join(_units(value)), quoted=False)
    if isinstance(value, Failure):
        return _clipped(f"{value.code}: {worded(value).message}")
    if isinstance(value, tuple):
        return _clipped(",".join(_named(one) for one in value), quoted=False)
    if isinstance(value, str):
        return _clipped(value)
    return _clipped(json_output.encode(value), quoted=False)


def _units(uses: Any) -> Iterator[str]:
    """Yield what a task asks for, or what its lease has taken: `provider=1`, of a queue `queue/agents=1`."""
    if isinstance(uses, Mapping):
        yield from (f"{name}={units}" for name, units in uses.items())
    else:
        yield from (f"{one.account.removeprefix('limit/')}={one.units}" for one in uses)


def _named(one: Any) -> str:
    """Return a compensation by its id, an input by its name, a task by its id, and a name as it is."""
    return next((str(name) for field in ("id", "name", "task") if (name := getattr(one, field, None))), str(one))


def _clipped(text: str, quoted: bool = True) -> str:
    short = text if len(text) <= _CLIPPED_CHARACTERS else text[: _CLIPPED_CHARACTERS - 1] + "…"
    return f'"{short}"' if quoted and (not short or " " in short) else short
