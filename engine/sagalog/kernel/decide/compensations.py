"""The commands that settle what is owed: compensation_done, compensation_failed, waive.

Rule: in reverse order of registration [COMP-5]; `compensated` follows in the same commit once the task owes nothing.
Knows no handler and no params.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.errors import AlreadySettled, CompensationOrder, NotFound
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import (
    Decision,
    Events,
    Repeat,
    cut,
    cut_failure,
    existing,
    held,
    in_place,
    is_spent,
    lost,
    next_try_ms,
    policy_of,
    quarantined,
    repeat_unless_held,
)
from sagalog.kernel.decide.verbs import Contents, Verb, fields, names
from sagalog.kernel.state import CompensationRecord, TaskFold
from sagalog.kernel.values import Parameters, State


def compensation_done(task: TaskFold | None, command: c.CompensationDone, now_ms: int, epoch: int) -> Decision:
    """Settle the last owed undo, which the worker has carried out. [COMP-5] [REPEAT-3]"""
    task = existing(task, command.task)
    known = task.compensations.get(command.compensation)
    if known is not None and known.status == "done" and known.done_fence == command.fence:
        return Repeat(known.settled)
    if held(task, command.fence, epoch) is None:
        raise lost(task, command.fence, "settle a compensation of")
    in_place(task, "compensation_done", "settle a compensation of")
    record = _record(task, command.compensation)
    _require_last(task, command.compensation, record)
    done = e.CompensationDone(id=command.compensation, fence=command.fence)
    return (done, *_compensated_after(task, command.compensation, "compensation_done"))


def compensation_failed(task: TaskFold | None, command: c.CompensationFailed, now_ms: int, epoch: int) -> Decision:
    """Record that an undo failed, and when a worker tries it again; a spent budget quarantines the task. [UNDO-3]"""
    task = existing(task, command.task)
    if repeat := repeat_unless_held(task, command.fence, epoch, "compensation_failed", "fail a compensation of"):
        return repeat
    in_place(task, "compensation_failed", "fail a compensation of")
    record = _record(task, command.compensation)
    _require_last(task, command.compensation, record)
    error = cut_failure(command.error)
    policy = policy_of(task)
    if is_spent(task.undo_failures + 1, policy.undo_attempts_max):
        parameters: Parameters = {
            "compensation": command.compensation,
            "kind": record.kind,
            "failures": task.undo_failures + 1,
        }
        verb = "compensation_failed"
        return (quarantined(task, "undo_attempts_spent", None, error, command.fence, verb, parameters=parameters),)
    run_at_ms = next_try_ms(policy, task.undo_failures, command, now_ms)
    return (
        e.CompensationFailed(
            id=command.compensation,
            fence=command.fence,
            verb="compensation_failed",
            error=error,
            run_at_ms=run_at_ms,
        ),
    )


def waive(task: TaskFold | None, command: c.Waive, now_ms: int, epoch: int) -> Decision:
    """Settle an undo without doing it, in any order: an impossible one cannot block those before it. [COMP-4]"""
    task = existing(task, command.task)
    record = _record(task, command.compensation)
    if record.status == "waived":
        return Repeat(record.settled)
    in_place(task, "compensation_waived", "waive a compensation of", "a note with `settles` settles what is still owed")
    if record.status not in ("owed", "planned"):
        raise _settled(task, command.compensation, record)
    waived = e.CompensationWaived(id=command.compensation, reason=cut(command.reason) or "")
    return (waived, *_compensated_after(task, command.compensation, "waive"))


def _record(task: TaskFold, id: str) -> CompensationRecord:
    record = task.compensations.get(id)
    if record is None:
        known = sorted(task.compensations) or "none"
        raise NotFound(
            f"task {task.id!r} has no compensation {id!r}; on record: {known}", task=task.id, compensation=id
        )
    return record


def _require_last(task: TaskFold, id: str, record: CompensationRecord) -> None:
    """Require that the undo is the last that is owed: workers undo in reverse order. [COMP-5]"""
    if record.status != "owed":
        raise _settled(task, id, record)
    last = task.owed()[-1]
    if id != last:
        raise CompensationOrder(
            f"cannot settle compensation {id!r} of task {task.id!r} yet: {last!r} was registered after it and is "
            "undone first",
            task=task.id,
            compensation=id,
            expected=last,
        )


def _settled(task: TaskFold, id: str, record: CompensationRecord) -> AlreadySettled:
    return AlreadySettled(
        f"compensation {id!r} of task {task.id!r} is settled already: {record.status}",
        task=task.id,
        compensation=id,
        status=record.status,
    )


def _compensated_after(task: TaskFold, settled: str, verb: str) -> Events:
    """Return `compensated` if this settles the last undo that a compensating task owes; it ends the task's lease."""
    if task.state is not State.COMPENSATING or task.owed() != [settled]:
        return ()
    outcome, lease = task.outcome or "failed", task.lease
    if lease is None:
        return (e.Compensated(outcome=outcome),)
    return (e.Compensated(outcome=outcome, fence=lease.fence, verb=verb),)


def _undo_failed_contents(command: c.CompensationFailed, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"error": command.error}
    if isinstance(event, e.CompensationFailed):
        given["id"] = command.compensation
        if command.run_at_ms is not None:
            given["run_at_ms"] = command.run_at_ms
    return given, {name: getattr(event, name, None) for name in ("error", "id", "run_at_ms")}


VERBS: Final = (
    Verb(
        c.CompensationDone,
        compensation_done,
        names("compensation_done", "compensated"),
        contents=fields(("compensation", "id")),
    ),
    Verb(
        c.CompensationFailed,
        compensation_failed,
        names("compensation_failed", "quarantined"),
        contents=_undo_failed_contents,
        time="run_at_ms",
    ),
    Verb(
        c.Waive,
        waive,
        names("compensation_waived", "compensated"),
        marks=names("compensation_waived"),
        contents=fields(("compensation", "id"), ("reason", "reason")),
    ),
)
