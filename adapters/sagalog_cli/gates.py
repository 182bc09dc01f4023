"""The reason why no worker works on a task: the gate at which the task waits and what opens it, as data and as words.

Rule: all of it follows from the task and the time. The store cannot say whether a worker that knows the kind is
running.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog import Task
from sagalog_cli.tables import Cell
from sagalog_cli.times import distance, instant

# The width of a column below its row, on a terminal of 40 columns.
_SHORT_MAX: Final = 36


def waits_for(task: Task, now_ms: int) -> dict[str, Any] | None:
    """Return what opens the gate of a task, as fields; None: it is leased, or has ended.

    gate     its name, as in the glossary
    until_ms when time opens it, or ends its wait
    signal   the signal for which it waits
    tasks    how many tasks it waits for
    undos    the kinds that it owes while it is compensating
    """
    if task.is_terminal or task.lease is not None:
        return None
    waiting = task.waiting
    return {
        "gate": _gate(task, now_ms),
        "until_ms": waiting.until_ms if waiting is not None else task.run_at_ms if task.run_at_ms > now_ms else None,
        "signal": None if waiting is None else waiting.signal,
        "tasks": 0 if waiting is None else len(waiting.after),
        "undos": list(dict.fromkeys(one.kind for one in task.owed)) if task.state == "compensating" else [],
    }


def cell(task: Task, now_ms: int) -> Cell:
    """Return the same for a listing: whole and exact in a pipe, at most 36 characters on a terminal."""
    found = waits_for(task, now_ms)
    if found is None:
        return Cell("")
    if task.waiting is not None:
        return _wait(found, now_ms)
    if found["undos"]:
        alone = ", alone" if task.is_suspect else ""
        return _timed("undo ", ", ".join(found["undos"]), alone, task.run_at_ms, now_ms)
    if found["until_ms"] is not None:
        return _timed("time", "", "", task.run_at_ms, now_ms)
    return Cell("a lease alone: a suspect", "yellow") if task.is_suspect else Cell("a worker")


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
