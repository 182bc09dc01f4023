"""Events as rows, a task's history as a timeline or those of many tasks: one row an event, told by its own fields.

Rule: an event of any type is told without a line of code of its own, so that none is ever left out; what is large or
said elsewhere is clipped, and `--full` shows it. Knows the shape of envelopes, not what the events mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sagalog import Failure, Recorded
from sagalog.sentences import reason_of, worded
from sagalog_cli import json_output
from sagalog_cli.tables import Cell, Table
from sagalog_cli.times import duration, instant, offset
from sagalog_cli.tracebacks import clipped, lines_in

_CLIPPED_CHARACTERS: Final = 80
# The place and the code of the innermost frames; `show` has more, and `--full` all.
_TRACEBACK_LINES: Final = 6
# The whole policy stands in every `created`; `show` and `--full` have it.
_LEFT_OUT: Final = frozenset({"policy"})
# What most events need, so that lines which come one by one stand below each other: a ULID, the longest type.
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
    """Position, version, time, distance from the first event, type, actor, details; with `full` the whole body.

    `beside` says what is known beside the event of a version; it ends the details. Below an event comes the traceback
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
    return Table((*head[:-1], "BODY") if full else head, rows, below)


def followed(events: Sequence[Recorded]) -> Table:
    """Events of any tasks as they come: position, time, name, type, actor, details; as wide in each call, no head."""
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
        # What the engine has to say, in words.
        fields |= {"parameters": None, "reason": reason_of(one.event)}
    pieces = [
        f"{_name(field)}={_told(field, value, one.at_ms)}"
        for field, value in fields.items()
        if field not in _LEFT_OUT and value is not None and value != () and value is not False
    ]
    named = [
        f"{name}={value}"
        for name, value in (("idempotency_key", one.idempotency_key), ("cause", one.cause))
        if value is not None
    ]
    return " ".join((*pieces, *named))


def _name(field: str) -> str:
    """Times are shown as such, so their unit goes."""
    return field.removesuffix("_ms")


def _told(field: str, value: Any, at_ms: int) -> str:
    if field in ("expires_ms", "run_at_ms"):
        # What was decided for later reads best from where the event stands.
        return "now" if value == at_ms else offset(value - at_ms)
    if field.endswith("_ms") and isinstance(value, int):
        return duration(value) if field == "ttl_ms" else instant(value)
    if isinstance(value, Failure):
        return _clipped(f"{value.code}: {worded(value).message}")
    if isinstance(value, tuple):
        return _clipped(",".join(_named(one) for one in value), quoted=False)
    if isinstance(value, str):
        return _clipped(value)
    return _clipped(json_output.encode(value), quoted=False)


def _named(one: Any) -> str:
    """A compensation by its id, an input by its name, a task by its id, and whatever is a name by itself."""
    return next((str(name) for field in ("id", "name", "task") if (name := getattr(one, field, None))), str(one))


def _clipped(text: str, quoted: bool = True) -> str:
    short = text if len(text) <= _CLIPPED_CHARACTERS else text[: _CLIPPED_CHARACTERS - 1] + "…"
    return f'"{short}"' if quoted and (not short or " " in short) else short
