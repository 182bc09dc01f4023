"""The checks that several commands share (the task exists, lives, is held by this fence), and the ends of forward work.

Rule: every refusal names the task, what was expected, what was found, and what the caller does next. Holds no command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from sagalog.errors import LeaseLost, NotFound, OverBound, TerminalTask, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import (
    COMPENSATIONS_MAX,
    STREAM_EVENTS_MAX,
    STREAM_EVENTS_RESERVE,
    TEXT_CHARACTERS_MAX,
    TIME_MS_MAX,
)
from sagalog.kernel.lifecycle import TASK_LIFE, UNBORN
from sagalog.kernel.state import KeptPolicy, TaskFold, epoch_of
from sagalog.kernel.values import (
    Failure,
    KernelCode,
    LeaseRecord,
    Parameters,
    Policy,
    State,
    TheirCode,
    UnrecordedStep,
)

EVENTS_MAX: Final = STREAM_EVENTS_MAX

# [ATTEMPT-4] How much jitter a requested delay gets on top: up to a second, or up to a twentieth of it.
_SPREAD_MS: Final = 1_000
_SPREAD_PART: Final = 20


@dataclass(frozen=True, slots=True)
class Repeat:
    """The decision that the identity is on record: the event at `version` answers, if the contents agree. [REPEAT-1]

    `task` is the id of the predecessor whose stream holds the event, where that is not the task's own.
    """

    version: int
    task: str | None = None


Events = tuple[e.Recordable, ...]
Decision = Events | Repeat


def existing(task: TaskFold | None, id: str) -> TaskFold:
    """Return the task; raises NotFound."""
    if task is None or task.state is None:
        raise NotFound(f"there is no task {id!r}; create it first, or check the id and the store", task=id)
    return task


def in_place(task: TaskFold, event: str, verb: str, instead: str = "create a new task instead") -> TaskFold:
    """Return the task, if the table of the lifecycle has a place for `event` in its state. [LIFE-1] [TERM-1]

    `instead` is what the caller can do where the task has ended.
    """
    state = task.state or ""
    if TASK_LIFE.allows(state, event):
        return task
    if task.is_terminal:
        raise TerminalTask(
            f"cannot {verb} task {task.id!r}: it has ended as {state}, and only notes are accepted after the end; "
            f"{instead}",
            task=task.id,
            state=str(state),
        )
    raise WrongState(
        f"cannot {verb} task {task.id!r}: it is {state}, which has no place for {event!r}",
        task=task.id,
        state=str(state),
    )


def state_after(task: TaskFold | None, event: str, undoes: bool | None = None) -> State:
    """Return the state in which `event` leaves the task, by the table; the event records it. [LIFE-1] [RECORD-1]

    `undoes`: whether undoing comes next; left out, whether the task owes something.
    """
    state = UNBORN if task is None or task.state is None else task.state
    if undoes is None:
        undoes = task is not None and bool(task.owed())
    dest = TASK_LIFE.destination(state, event, undoes)
    assert isinstance(dest, State), "in_place has asked the table first"
    return dest


def held(task: TaskFold, fence: int, epoch: int) -> LeaseRecord | None:
    """Return the lease with this fence, if no event has ended it and it is of the store's epoch. [FENCE-2]

    The clock does not matter: the engine accepts finished work while no other holder has taken over.
    """
    lease = task.lease
    if lease is not None and lease.fence == fence and epoch_of(fence) == epoch:
        return lease
    return None


def ended_by(task: TaskFold, fence: int, verb: str) -> Repeat | None:
    """Return a repeat, if `verb` under this fence ended the last lease. [REPEAT-5]"""
    ended = task.ended
    if ended is not None and ended.fence == fence and ended.verb == verb:
        return Repeat(ended.version)
    return None


def repeat_unless_held(task: TaskFold, fence: int, epoch: int, verb: str, asked: str | None = None) -> Repeat | None:
    """Return None, if this fence holds the task; a repeat, if `verb` under it ended the last lease.

    Raises:
        LeaseLost: neither; `asked` names the request in the error, where the verb does not. [FENCE-2] [REPEAT-5]
    """
    if held(task, fence, epoch) is not None:
        return None
    if repeat := ended_by(task, fence, verb):
        return repeat
    raise lost(task, fence, asked or verb)


def lost(task: TaskFold, fence: int, verb: str) -> LeaseLost:
    """Return the refusal of a late holder. [FENCE-2]"""
    if task.lease is not None and task.lease.fence != fence:
        now = f"it is held by {task.lease.owner!r} under fence {task.lease.fence}"
    else:
        now = f"that lease has ended (newest fence {task.fence}) and the task is {task.state}"
    return LeaseLost(
        f"cannot {verb} task {task.id!r} under fence {fence}: {now}; stop working on it and claim anew",
        task=task.id,
        fence=fence,
        current=task.fence,
        state=str(task.state),
    )


def policy_of(task: TaskFold) -> KeptPolicy:
    """Return the policy that `created` recorded, or the newest `amended` that changed it."""
    assert task.policy is not None
    return task.policy


def is_spent(count: int, maximum: int | None) -> bool:
    """Check whether a budget is spent: the n-th time spends a budget of n; None is without end. [ATTEMPT-2]"""
    return maximum is not None and count >= maximum


def backoff_ms(policy: Policy, tries: int, jitter: float) -> int:
    """Return a delay: exponential, with full jitter, within the policy's bounds; the event records it. [ATTEMPT-4]"""
    ceiling_ms = min(policy.delay_max_ms, policy.delay_min_ms << min(tries, 40))
    floor_ms = min(policy.delay_min_ms, ceiling_ms)
    return floor_ms + int(jitter * (ceiling_ms - floor_ms + 1))


def next_try_ms(policy: Policy, tries: int, command: c.Retry | c.CompensationFailed, now_ms: int) -> int:
    """Return when the next try is due: as the caller says, else after the backoff or the requested delay, the longer.

    [ATTEMPT-4] A service may ask many tasks for the same delay: each gets jitter on top, or all would come at once.
    """
    if command.run_at_ms is not None:
        return command.run_at_ms
    delay_ms = backoff_ms(policy, tries, command.jitter)
    if command.retry_after_ms is not None:
        delay_ms = max(delay_ms, command.retry_after_ms + _spread_ms(policy, command.retry_after_ms, command.jitter))
    return due_in(delay_ms, now_ms)


def due_in(delay_ms: int, now_ms: int) -> int:
    """Return the time so many milliseconds from now, within the bound of times. [TIME-4]"""
    return min(now_ms + delay_ms, TIME_MS_MAX)


def _spread_ms(policy: Policy, asked_ms: int, jitter: float) -> int:
    """Return the jitter on top of a requested delay: up to a second or 5 %, and never beyond `delay_max_ms`."""
    ceiling_ms = min(max(_SPREAD_MS, asked_ms // _SPREAD_PART), policy.delay_max_ms)
    return int(jitter * (ceiling_ms + 1))


def cut(text: str | None) -> str | None:
    """Cut the text of an error, reason or note at the bound; the kernel does not refuse it. [BOUND-3]"""
    if text is None or len(text) <= TEXT_CHARACTERS_MAX:
        return text
    return text[: TEXT_CHARACTERS_MAX - 1] + "…"


def cut_failure(error: Failure) -> Failure:
    """Cut the message of a failure at the bound. [BOUND-3]"""
    message = cut(error.message) or ""
    return error if message is error.message else msgspec.structs.replace(error, message=message)


def stream_bound(task: TaskFold) -> int:
    """Return how long the stream may become by events that neither end nor settle anything. [BOUND-2]

    Forward work leaves a reserve for undoing; undoing leaves room for what settles each compensation and ends the task.
    """
    if task.is_terminal:
        return EVENTS_MAX
    if task.state is State.COMPENSATING:
        return EVENTS_MAX - len(task.owed()) - 2
    return EVENTS_MAX - STREAM_EVENTS_RESERVE


def require_room(task: TaskFold, verb: str, count: int = 1) -> None:
    """Refuse an event that neither ends nor settles anything when the stream is at its bound. [BOUND-2]"""
    maximum = stream_bound(task)
    if task.length + count > maximum:
        raise OverBound(
            f"cannot {verb} task {task.id!r}: its stream has {task.length} events and the bound is {maximum} "
            "(heartbeats not counted); end the task and go on in a new one",
            task=task.id,
            bound="stream_events",
            maximum=maximum,
        )


def require_compensations_fit(id: str, count: int) -> None:
    """Refuse more compensations than the reserve of a stream has room to settle. [BOUND-2]"""
    if count > COMPENSATIONS_MAX:
        raise OverBound(
            f"task {id!r} would have {count} compensations and the bound is {COMPENSATIONS_MAX}; one compensation may "
            "undo several effects",
            task=id,
            bound="compensations",
            maximum=COMPENSATIONS_MAX,
        )


def cancelled_after(task: TaskFold) -> Events:
    """Return what follows the end of a lease whose owner the engine had asked to stop. [CANCEL-2]"""
    return (e.Cancelled(to=state_after(task, "cancelled"), code=task.cancel_code),)


def spent_event(
    task: TaskFold,
    code: KernelCode,
    error: Failure | None = None,
    fence: int | None = None,
    verb: str | None = None,
    reason: str | None = None,
) -> e.Failed | e.Quarantined:
    """Return the event by which the engine ends the forward work over a spent budget. [ATTEMPT-3] [COMP-3]"""
    if policy_of(task).spent == "quarantine":
        return quarantined(task, code, reason, error, fence, verb)
    if lacks_undo(task):
        return undo_missing(task, code, error, fence, verb, reason)
    return e.Failed(to=state_after(task, "failed"), code=code, error=error, fence=fence, verb=verb, reason=reason)


def lacks_undo(task: TaskFold) -> bool:
    """Check whether the task did work that no compensation and no waiver on record covers. [COMP-2] [COMP-3]"""
    return task.needs_undo and not task.compensations and not task.has_waiver


def undo_missing(
    task: TaskFold,
    code: str,
    error: Failure | None,
    fence: int | None = None,
    verb: str | None = None,
    reason: str | None = None,
) -> e.Quarantined:
    """Return the quarantine of a task that was to fail, by `code`, and lacks an undo; it holds its worker's words."""
    parameters: Parameters = {"instead_of": code}
    return quarantined(task, "compensation_required", reason, error, fence, verb, parameters=parameters)


def quarantined(
    task: TaskFold,
    code: KernelCode | TheirCode,
    reason: str | None = None,
    error: Failure | None = None,
    fence: int | None = None,
    verb: str | None = None,
    steps: tuple[UnrecordedStep, ...] = (),
    parameters: Parameters | None = None,
) -> e.Quarantined:
    """Return the quarantine of a task: what it still owes [COMP-6], and the steps that are not on record [STEP-1]."""
    return e.Quarantined(
        code=code,
        reason=cut(reason),
        error=error,
        owed=tuple(task.owed()),
        fence=fence,
        verb=verb,
        steps=steps,
        parameters=parameters,
    )
