"""Repeats: what a command that is on record already is compared in.

Rule: compared is what the command gives, not what it left to defaults, clock or chance [REPEAT-6]; the same content
gets the first answer, any other is a conflict. Knows commands and events, and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from sagalog.errors import AlreadyExists, Conflict
from sagalog.forms import given_of
from sagalog.json_values import canonical
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.state import TaskFold

_UNSHOWN: Final = frozenset({"payload", "inputs", "params", "result", "results", "data", "compensations", "error"})

# The events in which a command with an idempotency key leaves its mark.
YIELDS: Final[Mapping[type[c.Command], frozenset[str]]] = {
    c.Create: frozenset({"created"}),
    c.Acquire: frozenset({"leased"}),
    c.Cancel: frozenset({"cancel_requested", "cancelled"}),
    c.Quarantine: frozenset({"quarantined"}),
    c.Signal: frozenset({"signalled"}),
    c.Note: frozenset({"noted"}),
    c.RetryAsNew: frozenset({"noted"}),
    c.Waive: frozenset({"compensation_waived"}),
}


def compare(command: c.Command, event: e.Recordable, task: TaskFold) -> None:
    """Compare what the command gives with the event on record. [REPEAT-6]

    Raises:
        AlreadyExists: another creation. Conflict: anything else of other content.
    """
    given, found = _CONTENTS[type(command)](command, event, task)
    differs = sorted(name for name in given if canonical(_plain(given[name])) != canonical(_plain(found.get(name))))
    if not differs:
        return
    shown = "; ".join(_difference(name, given[name], found.get(name)) for name in differs)
    if isinstance(command, c.Create):
        raise AlreadyExists(
            f"task {task.id!r} exists with other content ({shown}); choose another id, or repeat it as it was",
            task=task.id,
            differs=differs,
        )
    if isinstance(command, c.RetryAsNew) and isinstance(event, e.Noted) and event.successor:
        raise Conflict(
            f"task {task.id!r} was retried as {event.successor!r} with other content ({shown}); look at that one, or "
            "repeat the retry as it was",
            task=task.id,
            differs=differs,
            successor=event.successor,
        )
    raise Conflict(
        f"task {task.id!r}: the same {e.NAMES[type(event)]!r} is on record with other content ({shown})",
        task=task.id,
        differs=differs,
    )


def _plain(value: Any) -> Any:
    """Plain JSON values, whatever is kept as encoded bytes decoded."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _difference(name: str, given: Any, found: Any) -> str:
    """What differs, in words; what may hold a secret of somebody else is named and not shown."""
    if name in _UNSHOWN:
        return f"{name} differ" if name.endswith("s") else f"{name} differs"
    return f"{name}: {_short(given)} given, {_short(found)} on record"


def _short(value: Any) -> str:
    text = repr(_plain(value))
    return text if len(text) <= 60 else text[:59] + "…"


Contents = tuple[dict[str, Any], dict[str, Any]]


def _created_contents(command: c.Create, event: e.Created, _: TaskFold) -> Contents:
    names = {"kind", "payload"} | given_of(command)
    return {name: getattr(command, name) for name in names}, {name: getattr(event, name) for name in names}


def _registered_contents(command: c.Register, event: Any, task: TaskFold) -> Contents:
    one = command.compensation
    if isinstance(event, e.Created):
        event = event.compensations[task.compensations[one.id or ""].index]
    return {"kind": one.kind, "params": one.params}, {"kind": event.kind, "params": event.params}


def _acquired_contents(command: c.Acquire, event: e.Leased, task: TaskFold) -> Contents:
    given: dict[str, Any] = {name: getattr(command, name) for name in ("owner", "purpose", "ttl_ms", "waiver")}
    found: dict[str, Any] = {name: getattr(event, name) for name in given}
    if command.kinds is not None:
        work = event.purpose == "work"
        leased = {task.kind} if work else {task.compensations[id].kind for id in task.owed()}
        given["kinds"] = sorted(command.kinds)
        found["kinds"] = given["kinds"] if leased <= command.kinds else sorted(leased)
    return given, found


def _step_contents(command: c.CompleteStep, event: e.Recordable, task: TaskFold) -> Contents:
    given: dict[str, Any] = {"result": command.result}
    if command.compensation is not None:
        given["compensation"] = command.compensation
    found = e.step_result(event, command.name)
    return given, {"result": found, "compensation": task.steps[command.name].compensation}


def _released_contents(command: c.Release, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"reason": command.reason}
    if isinstance(event, e.Released) and command.run_at_ms is not None:
        given["run_at_ms"] = command.run_at_ms
    # A release that spent its budget was recorded as the end of the task, with the worker's reason.
    return given, {"reason": event.reason, "run_at_ms": getattr(event, "run_at_ms", None)}


def _parked_contents(command: c.Park, event: Any, _: TaskFold) -> Contents:
    if isinstance(event, e.Quarantined):
        # It would have waited more often than it may, and what for is not on record.
        return {}, {}
    # Until when a wait lasts is computed from the clock of whoever parks, so a repeat may name another time.
    names = ("name", "number", "signal", "after")
    return {name: getattr(command, name) for name in names}, {name: getattr(event, name, None) for name in names}


def _retried_contents(command: c.TryAgain, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"error": command.error}
    if isinstance(event, e.Retried):
        given["budget"] = command.budget
        if command.run_at_ms is not None:
            given["run_at_ms"] = command.run_at_ms
    names = ("error", "budget", "run_at_ms")
    return given, {name: getattr(event, name, None) for name in names}


def _failed_contents(command: c.Fail, event: Any, task: TaskFold) -> Contents:
    # Those on record are compared one by one; here it counts that none is new.
    brought = [one.id for one in command.compensations]
    on_record = [id for id in brought if id in task.compensations]
    return (
        {"error": command.error, "waiver": command.waiver, "compensations": brought},
        {"error": event.error, "waiver": getattr(event, "waiver", None), "compensations": on_record},
    )


def _cancelled_contents(command: c.Cancel, event: Any, _: TaskFold) -> Contents:
    now = command.now
    if isinstance(event, e.CancelRequested):
        now = False
    elif event.fence is not None:
        # Nobody had to be asked where nobody held the task; here a lease was ended.
        now = True
    return {"reason": command.reason, "now": command.now}, {"reason": event.reason, "now": now}


def _undo_failed_contents(command: c.FailCompensation, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"error": command.error}
    if isinstance(event, e.CompensationFailed):
        given["id"] = command.compensation
        if command.run_at_ms is not None:
            given["run_at_ms"] = command.run_at_ms
    return given, {name: getattr(event, name, None) for name in ("error", "id", "run_at_ms")}


def _noted_contents(command: c.Note, event: e.Noted, _: TaskFold) -> Contents:
    given = {"text": command.text, "settles": command.settles, "successor": None}
    return given, {"text": event.text, "settles": event.settles, "successor": event.successor}


def _given_up_contents(command: c.GiveUp, event: e.Quarantined, task: TaskFold) -> Contents:
    # Steps whose results came on record before it are not named by it.
    given = {"error": command.error, "steps": tuple(step for step in command.steps if step.name not in task.steps)}
    return given, {"error": event.error, "steps": event.steps}


def _succeeded_contents(command: c.RetryAsNew, event: e.Noted, _: TaskFold) -> Contents:
    # Which successor was drawn is chance; that there is one is what was asked.
    given: dict[str, Any] = {"retried": True}
    if command.results or command.rerun:
        given |= {"results": command.results, "rerun": sorted(command.rerun)}
    return given, {"retried": event.successor is not None, "results": event.results or {}, "rerun": sorted(event.rerun)}


def _fields(*pairs: tuple[str, str]) -> Callable[[Any, Any, TaskFold], Contents]:
    """Compare single fields: (of the command, of the event)."""

    def contents(command: Any, event: Any, _: TaskFold) -> Contents:
        return (
            {mine: getattr(command, mine) for mine, _theirs in pairs},
            {mine: getattr(event, theirs, None) for mine, theirs in pairs},
        )

    return contents


_CONTENTS: Final[Mapping[type[c.Command], Callable[[Any, Any, TaskFold], Contents]]] = {
    c.Create: _created_contents,
    c.Acquire: _acquired_contents,
    c.Register: _registered_contents,
    c.CompleteStep: _step_contents,
    c.PutArtifact: _fields(("digest", "digest"), ("media_type", "media_type")),
    c.AdoptChild: _fields(("child", "task")),
    c.Park: _parked_contents,
    c.Release: _released_contents,
    c.TryAgain: _retried_contents,
    c.Complete: _fields(("result", "result")),
    c.Fail: _failed_contents,
    c.GiveUp: _given_up_contents,
    c.FinishCompensation: _fields(("compensation", "id")),
    c.FailCompensation: _undo_failed_contents,
    c.Cancel: _cancelled_contents,
    c.Quarantine: _fields(("reason", "reason")),
    c.Signal: _fields(("name", "name"), ("data", "data")),
    c.Note: _noted_contents,
    c.RetryAsNew: _succeeded_contents,
    c.Waive: _fields(("compensation", "id"), ("reason", "reason")),
}
