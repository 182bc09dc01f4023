"""The reason why no worker works on a task: the gate at which the task waits and what opens it, as data and as words.

Rule: all of it follows from the task, the time, and what holds it back as `Engine.held_back` says. Whether a worker
that knows the kind is running, `explain` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sagalog import Reason, Task
from sagalog_cli.tables import Cell
from sagalog_cli.times import distance, instant

# What opens the gate of a task that something holds back, by the code of the reason; a breaker has a time behind it.
_OPENERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]]] = {
    "paused_kind": lambda given: ("resume of the kind ", given["kind"]),
    "paused_queue": lambda given: ("resume of the queue ", given["queue"]),
    "paused_key": lambda given: ("resume of the key ", given["key"]),
    "paused_limit": lambda given: ("resume of the limit ", given["limit"]),
    "settings_unreadable": lambda given: ("a version that reads ", given["stream"]),
    "breaker_open": lambda given: ("the breaker of ", given.get("limit") or f"the queue {given['queue']}"),
    "breaker_half_open": lambda given: ("the probe of ", given.get("limit") or f"the queue {given['queue']}"),
    "held": lambda given: ("a limit: ", given.get("limit") or f"key {given['key']}"),
}
# The width of a column below its row, on a terminal of 40 columns.
_SHORT_MAX: Final = 36


def waits_for(task: Task, now_ms: int, held_back: Sequence[Reason]) -> dict[str, Any] | None:
    """Return what opens the gate of a task, as fields; None: it is leased, or has ended.

    gate       its name, as in the glossary
    until_ms   when time opens it, or ends its wait
    signal     the signal for which it waits
    tasks      how many tasks it waits for
    undos      the kinds that it owes while it is compensating
    held_back  what holds it back: pauses, breakers, a limit, each as `explain` gives it, by its code and parameters
    build      the build to which it is pinned
    """
    if task.is_terminal or task.lease is not None:
        return None
    waiting = task.waiting
    return {
        "gate": "held" if any(one.code == "held" for one in held_back) else _gate(task, now_ms),
        "until_ms": waiting.until_ms if waiting is not None else task.run_at_ms if task.run_at_ms > now_ms else None,
        "signal": None if waiting is None else waiting.signal,
        "tasks": 0 if waiting is None else len(waiting.after),
        "undos": list(dict.fromkeys(one.kind for one in task.owed)) if task.state == "compensating" else [],
        "held_back": [{"code": one.code, "parameters": one.parameters} for one in held_back],
        "build": task.build,
    }


def cell(task: Task, now_ms: int, held_back: Sequence[Reason]) -> Cell:
    """Return the same for a listing: whole and exact in a pipe, at most 36 characters on a terminal."""
    found = waits_for(task, now_ms, held_back)
    if found is None:
        return Cell("")
    if task.waiting is not None:
        return _wait(found, now_ms)
    if found["undos"]:
        alone = ", alone" if task.is_suspect else ""
        return _timed("undo ", ", ".join(found["undos"]), alone, task.run_at_ms, now_ms)
    if found["until_ms"] is not None:
        return _timed("time", "", "", task.run_at_ms, now_ms)
    return _held_back(held_back[0], now_ms) if held_back else _free(task)


def _held_back(reason: Reason, now_ms: int) -> Cell:
    """Return what opens the gate of a task that is held back, by the first reason."""
    head, name = _OPENERS[reason.code](reason.parameters)
    until_ms = reason.parameters.get("until_ms")
    if isinstance(until_ms, int):
        return _timed(head, name, "", until_ms, now_ms)
    return Cell(head + name, "yellow", _short(head, name, ""))


def _free(task: Task) -> Cell:
    if task.is_suspect:
        return Cell("a lease alone: a suspect", "yellow")
    if task.build is None:
        return Cell("a worker")
    head = "a worker of build "
    return Cell(head + task.build, short=_short(head, task.build, ""))


def _gate(task: Task, now_ms: int) -> str:
    if task.waiting is not None:
        return "waiting"
    if task.run_at_ms > now_ms:
        return "later"
    gate = "undo" if task.state == "compensating" else "ready"
    return f"{gate}_alone" if task.is_suspect else gate


def _wait(found: dict[str, Any], now_ms: int) -> Cell:
    tasks = found["tasks"]
    many = f"{tasks:,} task{'' if tasks == 1 else 's'}" if tasks else ""
    if found["signal"] is not None:
        head, name = "signal ", str(found["signal"])
    else:
        head, name = many or "time", ""
    if found["until_ms"] is None:
        return Cell(head + name, short=_short(head, name, ""))
    return _timed(head, name, "", found["until_ms"], now_ms)


def _timed(head: str, name: str, tail: str, time_ms: int, now_ms: int) -> Cell:
    return Cell(
        f"{head}{name}{tail}, {instant(time_ms)}", short=_short(head, name, f"{tail}, {distance(time_ms, now_ms)}")
    )


def _short(head: str, name: str, tail: str) -> str:
    """Join the three, with as much of the name as fits."""
    room = _SHORT_MAX - len(head) - len(tail)
    return head + (name if len(name) <= room else name[: room - 1] + "…") + tail
