"""The commands of the holder of a lease for forward work: register, retry, complete, fail, quarantine_held.

Rule: each carries the lease's fence [FENCE-2]; a task that was leased does not fail without a compensation, unless a
caller gave the reason why none is needed [COMP-2]. Knows no other task.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sagalog.errors import AlreadySettled, CompensationRequired, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import (
    Decision,
    Repeat,
    cancelled_after,
    cut,
    cut_failure,
    due_in,
    ended_by,
    existing,
    held,
    in_place,
    is_spent,
    lacks_undo,
    lost,
    next_try_ms,
    policy_of,
    quarantined,
    repeat_unless_held,
    require_compensations_fit,
    require_room,
    spent_event,
    state_after,
    undo_missing,
)
from sagalog.kernel.decide.verbs import Contents, Verb, fields, names
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, KernelCode, State, TheirCode, UnrecordedStep


def register(task: TaskFold | None, command: c.Register, now_ms: int, epoch: int) -> Decision:
    """Record an undo before its effect; the same id again is a repeat. [COMP-1] [REPEAT-3]

    It records again an undo that was only inherited: from then on this task has the effect too. [COMP-7]
    """
    task = existing(task, command.task)
    record = task.compensations.get(command.compensation.id or "")
    if held(task, command.fence, epoch) is None:
        if record is not None and record.fence == command.fence and record.index < 0:
            return Repeat(record.version)
        raise lost(task, command.fence, "register a compensation for")
    in_place(task, "compensation_registered", "register a compensation for")
    if record is not None:
        _require_unsettled(task, command.compensation, command.fence)
        if not record.is_inherited:
            return Repeat(record.version)
    require_room(task, "register a compensation for")
    require_compensations_fit(task.id, len(task.compensations) + (record is None))
    return (_registered(command.compensation, command.fence),)


def retry(task: TaskFold | None, command: c.Retry, now_ms: int, epoch: int) -> Decision:
    """Schedule another attempt; or, where that spends the budget, end the forward work. [ATTEMPT-3]"""
    task = existing(task, command.task)
    if repeat := repeat_unless_held(task, command.fence, epoch, "retry"):
        return repeat
    in_place(task, "retried", "retry")
    error = cut_failure(command.error)
    tries = task.transients if command.budget == "transient" else task.failures
    run_at_ms = next_try_ms(policy_of(task), tries, command, now_ms)
    retried = e.Retried(fence=command.fence, verb="retry", error=error, budget=command.budget, run_at_ms=run_at_ms)
    if command.budget == "quota" and (back_ms := _quota_back_ms(command, now_ms)) is not None:
        retried = msgspec.structs.replace(retried, quota_back_ms=back_ms)
    if task.cancel_version:
        return (retried, *cancelled_after(task))
    if code := _spent_code(task, command, now_ms):
        return (spent_event(task, code, error, command.fence, "retry"),)
    return (retried,)


def _quota_back_ms(command: c.Retry, now_ms: int) -> int | None:
    """Return when a quota is back, as the worker has said; None: a backoff says nothing of it. [BREAKER-1]"""
    if command.run_at_ms is not None:
        return command.run_at_ms
    return None if command.retry_after_ms is None else due_in(command.retry_after_ms, now_ms)


def complete(task: TaskFold | None, command: c.Complete, now_ms: int, epoch: int) -> Decision:
    """Complete the task; no task undoes what it has registered. It wins over a requested cancel. [CANCEL-2]

    A new task undoes what was inherited and nothing of this task replaces. [COMP-7]
    """
    task = existing(task, command.task)
    if repeat := repeat_unless_held(task, command.fence, epoch, "complete"):
        return repeat
    in_place(task, "completed", "complete")
    left = task.left()
    completed = e.Completed(fence=command.fence, verb="complete", result=command.result, left=left)
    if not left:
        return (completed,)
    if command.undoer is None:
        raise Rejected(f"cannot complete task {task.id!r}: no task is named to undo what it leaves: {list(left)}")
    return (completed, e.Noted(code="left_over", settles=left, successor=command.undoer))


def fail(task: TaskFold | None, command: c.Fail, now_ms: int, epoch: int) -> Decision:
    """End the forward work without success; undoing what is owed comes next. [COMP-2]"""
    task = existing(task, command.task)
    if repeat := repeat_unless_held(task, command.fence, epoch, "fail"):
        return repeat
    in_place(task, "failed", "fail")
    # An id that is on record, or given twice here, is the same undo; the unit of work compares its content. [REPEAT-3]
    for one in command.compensations:
        _require_unsettled(task, one, command.fence)
    brought = {one.id: one for one in command.compensations if one.id not in task.compensations}.values()
    require_compensations_fit(task.id, len(task.compensations) + len(brought))
    if lacks_undo(task) and not brought and command.waiver is None:
        if command.or_quarantine:
            return (undo_missing(task, "failed", cut_failure(command.error), command.fence, "fail"),)
        raise CompensationRequired(
            f"cannot fail task {task.id!r}: it was leased and has no compensation on record; register one, give "
            "compensations=, or say why none is needed with waive_compensation=",
            task=task.id,
        )
    return (
        *(_registered(one, command.fence) for one in brought),
        e.Failed(
            to=state_after(task, "failed", undoes=bool(brought or task.owed())),
            code="failed",
            error=cut_failure(command.error),
            waiver=cut(command.waiver),
            compensations=tuple(one.id or "" for one in brought),
            fence=command.fence,
            verb="fail",
        ),
    )


def quarantine_held(task: TaskFold | None, command: c.QuarantineHeld, now_ms: int, epoch: int) -> Decision:
    """Quarantine the task as its holder asks, at work or at an undo; the event names what it owes. [COMP-6]"""
    task = existing(task, command.task)
    if held(task, command.fence, epoch) is None:
        # [REPEAT-5] An operator's quarantine ends a lease by the same verb, and is no repeat of the holder's.
        repeat = ended_by(task, command.fence, "quarantine") if task.is_quarantined_by_holder else None
        if repeat is None:
            raise lost(task, command.fence, "quarantine")
        return repeat
    in_place(task, "quarantined", "quarantine")
    error = cut_failure(command.error)
    steps = _unrecorded(task, command.steps)
    return (
        quarantined(
            task,
            TheirCode(error.code),
            error.message,
            error,
            command.fence,
            "quarantine",
            steps,
            error.parameters,
        ),
    )


def _unrecorded(task: TaskFold, steps: tuple[UnrecordedStep, ...]) -> tuple[UnrecordedStep, ...]:
    """Return the steps that a quarantine names, without those whose results are on record by now. [STEP-1]"""
    if steps and task.state is State.COMPENSATING:
        raise Rejected(
            f"cannot quarantine task {task.id!r} over its step {steps[0].name!r}: an undo has no steps; leave it out",
            task=task.id,
            step=steps[0].name,
        )
    for step in steps:
        if step.compensation is not None and step.compensation not in task.compensations:
            raise Rejected(
                f"cannot quarantine task {task.id!r} over its step {step.name!r}, whose undo {step.compensation!r} is "
                "not on record: leave the undo out",
                task=task.id,
                step=step.name,
                compensation=step.compensation,
            )
    return tuple([step for step in steps if step.name not in task.steps])


def _require_unsettled(task: TaskFold, compensation: Compensation, fence: int) -> None:
    """Refuse an undo that an earlier lease has settled: the effect of this attempt needs its own. [COMP-1]"""
    record = task.compensations.get(compensation.id or "")
    if record is None or record.status in ("owed", "planned") or record.fence == fence:
        return
    raise AlreadySettled(
        f"compensation {compensation.id!r} of task {task.id!r} is settled already: {record.status}; what this attempt "
        "did needs an undo of its own: give it an id of its own",
        task=task.id,
        compensation=compensation.id,
        status=record.status,
    )


def _spent_code(task: TaskFold, command: c.Retry, now_ms: int) -> KernelCode | None:
    """Return the code of the budget that this retry spends, if it spends one. [ATTEMPT-2]"""
    policy = policy_of(task)
    if command.budget == "attempt":
        return "attempts_spent" if is_spent(task.failures + 1, policy.attempts_max) else None
    if command.budget == "transient":
        return "transients_spent" if is_spent(task.transients + 1, policy.transient_max) else None
    since_ms = now_ms if task.quota_since_ms is None else task.quota_since_ms
    # A bound of 0 allows no quota wait at all.
    return "quota_wait_spent" if is_spent(now_ms - since_ms, policy.quota_wait_max_ms) else None


def _registered(compensation: Compensation, fence: int) -> e.CompensationRegistered:
    assert compensation.id is not None
    return e.CompensationRegistered(
        id=compensation.id,
        kind=compensation.kind,
        fence=fence,
        params=compensation.params,
        reason=cut(compensation.reason),
    )


def _registered_contents(command: c.Register, event: Any, task: TaskFold) -> Contents:
    one = command.compensation
    if isinstance(event, e.Created):
        event = event.compensations[task.compensations[one.id or ""].index]
    return {"kind": one.kind, "params": one.params}, {"kind": event.kind, "params": event.params}


def _retried_contents(command: c.Retry, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"error": command.error}
    if isinstance(event, e.Retried):
        given["budget"] = command.budget
        if command.run_at_ms is not None:
            given["run_at_ms"] = command.run_at_ms
    names = ("error", "budget", "run_at_ms")
    return given, {name: getattr(event, name, None) for name in names}


def _failed_contents(command: c.Fail, event: Any, task: TaskFold) -> Contents:
    # The unit of work compares those on record one by one; here it only matters that none is new.
    brought = [one.id for one in command.compensations]
    on_record = [id for id in brought if id in task.compensations]
    return (
        {"error": command.error, "waiver": command.waiver, "compensations": brought},
        {"error": event.error, "waiver": getattr(event, "waiver", None), "compensations": on_record},
    )


def _quarantined_contents(command: c.QuarantineHeld, event: e.Quarantined, task: TaskFold) -> Contents:
    # The event names no step whose result was on record before it.
    given = {"error": command.error, "steps": tuple(step for step in command.steps if step.name not in task.steps)}
    return given, {"error": event.error, "steps": event.steps}


VERBS: Final = (
    Verb(c.Register, register, names("compensation_registered"), contents=_registered_contents),
    Verb(
        c.Retry,
        retry,
        names("retried", "cancelled", "failed", "quarantined"),
        contents=_retried_contents,
        time="run_at_ms",
    ),
    Verb(c.Complete, complete, names("completed", "noted"), contents=fields(("result", "result"))),
    Verb(c.Fail, fail, names("compensation_registered", "failed", "quarantined"), contents=_failed_contents),
    Verb(c.QuarantineHeld, quarantine_held, names("quarantined"), contents=_quarantined_contents),
)
