"""The command amend: a caller changes where, when and how a live task is worked on. [AMEND-1]

Rule: it writes exactly what changes, and nothing where nothing does; what a worker has leased a task with stays as it
is under that lease [AMEND-2]. The unit of work leaves out a payload that the task has already, since the kernel never
looks into one [RECORD-5].
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.errors import Blocked, InvalidValue, LeaseHeld, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.amendments import Obstacle, obstacle
from sagalog.kernel.deadlines import cannot_start
from sagalog.kernel.decide.rules import Decision, existing, in_place, policy_of, require_room
from sagalog.kernel.decide.times import require_deadlines
from sagalog.kernel.decide.verbs import Contents, Verb, names
from sagalog.kernel.state import TaskFold

# What the fold holds under the same name.
_VALUES: Final = ("queue", "priority", "run_at_ms", "affinity", "key", "build", "deadline_ms", "start_by_ms", "uses")
_INSTEAD: Final = "retry it as new, or create a new task, and amend that"


def amend(task: TaskFold | None, command: c.Amend, now_ms: int, epoch: int) -> Decision:
    """Change what the call gives and the task has not; nothing where it is so already. [AMEND-1]"""
    require_deadlines(command, now_ms)
    task = in_place(existing(task, command.task), "amended", "amend", _INSTEAD)
    changed, removed = _changes(task, command, now_ms), _removals(task, command)
    if not changed and not removed:
        return ()
    found = obstacle(task, (*changed, *removed))
    if found is not None:
        raise _refusal(task, *found)
    _require_chance(task, changed, removed)
    require_room(task, "amend")
    return (e.Amended(**changed, removes=removed),)


def _changes(task: TaskFold, command: c.Amend, now_ms: int) -> dict[str, Any]:
    """Return what the command gives and the task has not, by name."""
    given = {name: value for name in _VALUES if (value := getattr(command, name)) is not None}
    if "run_at_ms" in command.removes:
        # What is due already stays as it is.
        given["run_at_ms"] = min(task.run_at_ms, now_ms)
    changed = {name: value for name, value in given.items() if value != getattr(task, name)}
    if task.waiting is not None and "run_at_ms" in given:
        # Whatever time was given to a parked task, it is not due by it.
        changed["run_at_ms"] = given["run_at_ms"]
    if command.payload is not None:
        changed["payload"] = command.payload
    if command.policy is not None and command.policy != policy_of(task).plain():
        changed["policy"] = command.policy
    return changed


def _removals(task: TaskFold, command: c.Amend) -> tuple[str, ...]:
    """Return what the command takes away and the task has."""
    named = [name for name in command.removes if name != "run_at_ms"]
    return tuple([name for name in named if name == "payload" or getattr(task, name) is not None])


def _require_chance(task: TaskFold, changed: dict[str, Any], removed: tuple[str, ...]) -> None:
    """Refuse a time at which the deadline has come already. [DEADLINE-4]"""
    if "run_at_ms" not in changed:
        return
    run_at_ms = changed["run_at_ms"]
    deadline_ms = None if "deadline_ms" in removed else changed.get("deadline_ms", task.deadline_ms)
    start_by_ms = None if "start_by_ms" in removed or task.leases else changed.get("start_by_ms", task.start_by_ms)
    name = cannot_start(run_at_ms, deadline_ms, start_by_ms)
    if name is not None:
        by_ms = deadline_ms if name == "deadline_ms" else start_by_ms
        raise InvalidValue(
            f"run_at_ms: {run_at_ms} is not before the task's {name}, {by_ms}: it could never start; give an earlier "
            f"time, or amend {name} too",
            path="run_at_ms",
            task=task.id,
        )


def _refusal(task: TaskFold, name: str, why: Obstacle) -> LeaseHeld | Blocked | WrongState:
    """Return the refusal: what cannot change now, why, and what the caller does next. [AMEND-2]"""
    cannot = f"cannot amend {name} of task {task.id!r}"
    lease = task.lease
    if why == "held" and lease is not None:
        return LeaseHeld(
            f"{cannot}: {lease.owner!r} holds it under fence {lease.fence}; wait for the end of that lease, or cancel "
            "the task",
            task=task.id,
            owner=lease.owner,
            fence=lease.fence,
            expires_ms=lease.expires_ms,
        )
    if why == "parked" and task.waiting is not None:
        return Blocked(
            f"{cannot}: it is parked under the name {task.waiting.name!r}, and due once that wait is over; see to what "
            "it waits for, or cancel it",
            task=task.id,
            state=str(task.state),
            wait=task.waiting.name,
        )
    what = {
        "undoing": "it is being undone, by what its undos were registered with",
        "begun": "a worker has leased it with the payload that it has",
    }[why]
    return WrongState(
        f"{cannot}: {what}; cancel it, and retry it as new or create another task", task=task.id, state=str(task.state)
    )


def _amended_contents(command: c.Amend, event: e.Amended, task: TaskFold) -> Contents:
    """Compare what the event holds; what it leaves out was so already, and is compared with the task as it is now.

    The unit of work has left out a payload that the task has now and the event does not hold.
    """
    given: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name in (*_VALUES, "payload", "policy"):
        mine, theirs = getattr(command, name), getattr(event, name)
        is_at_once = name == "run_at_ms" and name in command.removes
        if is_at_once or (mine is None and theirs is None):
            continue
        given[name] = mine
        found[name] = theirs if theirs is not None or name == "payload" else _present(task, name)
    asked = {*command.removes} - {"run_at_ms"}
    absent = {name for name in asked - {"payload"} if getattr(event, name) is None and getattr(task, name) is None}
    if asked or event.removes:
        given["removes"], found["removes"] = sorted(asked), sorted({*event.removes} | absent)
    return given, found


def _present(task: TaskFold, name: str) -> Any:
    """Return what the task has under this name now."""
    return policy_of(task).plain() if name == "policy" else getattr(task, name)


VERBS: Final = (
    Verb(
        c.Amend,
        amend,
        names("amended"),
        marks=names("amended"),
        contents=_amended_contents,
        time="run_at_ms",
    ),
)
