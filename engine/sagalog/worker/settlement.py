"""From a lease to a settlement: run the handler, and say what is to be written for how it ended.

Rule: a handler may do what it likes and the lease is settled in some way all the same [WORKER-1]. What is
written last is only said here; the loop, which runs many handlers, writes it with whatever else it has to write.
Knows no queue and no thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from sagalog.engine.batch import Batch
from sagalog.engine.lease import Lease
from sagalog.engine.task import TaskCompensation
from sagalog.errors import AlreadyExists, AlreadySettled, CompensationRequired, InvalidValue, OverBound, SagalogError
from sagalog.kernel.values import Budget, Failure, UnrecordedStep
from sagalog.outcomes import (
    Interrupted,
    Outcome,
    Park,
    Permanent,
    Quarantine,
    StepMismatch,
    Transient,
    failure_of,
    storable,
    wait_of,
)
from sagalog.sentences import worded
from sagalog.worker import handler_log
from sagalog.worker.async_context import to_its_end
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.verdicts import give_back, held_up, unstorable
from sagalog.worker.work_context import WorkContext

_log: Final = logging.getLogger("sagalog.worker")
_NAMES_SHOWN_MAX: Final = 5

# How a lease is to be settled: recorded into the batch that is written next. None: it is settled already.
Settlement = Callable[[Batch], None]
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """A settlement that knows its verb, what its handler has said went wrong, and which steps it has left begun."""

    record: Settlement
    verb: str
    failure: Failure | None = None
    begun: tuple[UnrecordedStep, ...] = ()

    def __call__(self, batch: Batch) -> None:
        """Record it."""
        self.record(batch)


def settlement_of(context: WorkContext, lease: Lease, result: Any, error: BaseException | None) -> Settlement | None:
    """What a handler's return or exception means for the lease of a task's work; None: that is on record already."""
    timed_out, was_told = context.timed_out, context.stopping or context._interruption() is not None
    unmet = context._end()
    if (verdict := context._verdict) is not None:
        # [WORKER-1] Whatever it says, the effect of a step stands without a record.
        message = worded(verdict.failure).message
        said = Quarantine(message).with_traceback(None if error is None else error.__traceback__)
        handler_log.ended(lease, said, verdict.failure)
        if context._is_settled:
            return None
        why, steps = verdict.failure, verdict.steps
        return Ending(lambda batch: batch.quarantine_held(lease, why, steps), "quarantine", why)
    if error is None and result is None and context._has_read_cancelled:
        error = Interrupted("cancelled")
    if error is None and unmet:
        error = _unmet_mismatch(context, unmet)
    error = None if error is None else outcome_in(error)
    if isinstance(error, Park) and context._conflict is not None:
        # One of two threads was refused, and the other's park is what came out of the handler.
        error = context._conflict
    failure = None if error is None else _failure_in(error)
    # Threads that it has left behind may be at a step: a quarantine names it.
    begun = context._unrecorded_steps()
    handler_log.ended(lease, error, failure)

    def settle(batch: Batch) -> None:
        if isinstance(error, Interrupted):
            # What it wanted to begin is not begun: it is called off, or will ask again.
            if timed_out:
                batch.retry(lease, Failure("time_limit", ""))
            elif was_told:
                give_back(batch, lease, "interrupted", str(error))
            else:
                # The worker has not told it to end, so it must cost something, or it would go round for ever.
                batch.retry(lease, Failure("interrupted", str(error)), budget="transient")
            return
        context._record_children(batch)
        if error is None or failure is None:
            _complete(batch, lease, result, begun)
        else:
            _settle_error(batch, lease, error, failure, begun)

    return Ending(settle, _verb_of(error, was_told and not timed_out), failure, begun)


def _verb_of(error: BaseException | None, gives_back: bool) -> str:
    """The verb by which a handler that has ended so has its lease settled."""
    match error:
        case None:
            return "complete"
        case Interrupted():
            return "release" if gives_back else "retry"
        case Park():
            return "park"
        case Permanent():
            return "fail"
        case Quarantine():
            return "quarantine"
        case _:
            return "retry"


def _unmet_mismatch(context: WorkContext, unmet: list[str]) -> StepMismatch | None:
    """What it means that a handler has returned without asking for steps on record. [WORKER-4]"""
    names = ", ".join(repr(name) for name in unmet[:_NAMES_SHOWN_MAX]) + (
        ", …" if len(unmet) > _NAMES_SHOWN_MAX else ""
    )
    if context._is_strict:
        return StepMismatch(
            f"the handler has ended without asking for steps that are on record: {names}; deploy the version that "
            "began this task, and retry the task as new"
        )
    _log.warning(
        "task %s (%s) completes without asking for steps that are on record: %s; the code has changed since, and a "
        "step that was renamed ran again",
        context.task.id,
        context.task.kind,
        names,
    )
    return None


def _complete(batch: Batch, lease: Lease, result: Any, begun: tuple[UnrecordedStep, ...]) -> None:
    """Complete the task; a result that cannot be stored is a human's matter, since the work is done. [WORKER-1]"""
    try:
        batch.complete(lease, result)
    except InvalidValue as refusal:
        batch.quarantine_held(lease, unstorable(refusal, {"returned": "result"}), begun)


def _failure_in(error: BaseException) -> Failure:
    """What went wrong, made in the handler's own thread: foreign classes run foreign code, which may fail or hang.

    It can be stored, so that what a handler says is kept whichever rule decides what becomes of its task.
    """
    stand_in = Outcome.code if isinstance(error, Outcome) else "error"
    try:
        return storable(error.failure() if isinstance(error, Outcome) else failure_of(error), stand_in)
    except BaseException as another:  # noqa: BLE001  it is as foreign as the first
        said = f"(what it says could not be made: {type(another).__name__})"
        return storable(Failure(type(error).__name__, said), stand_in)


def outcome_in(error: BaseException) -> BaseException:
    """What a group of exceptions means: the one outcome in it, if there is one; an asyncio.TaskGroup raises groups.

    A mismatch outweighs whatever else is in it; where all park, the task waits for the first, and then for the next.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [outcome_in(one) for one in error.exceptions]
    found = [one for one in inner if isinstance(one, Outcome | Park | Interrupted)]
    mismatches = [one for one in found if isinstance(one, StepMismatch)]
    if mismatches:
        return mismatches[0]
    only_parks = len(found) == len(inner) and all(isinstance(one, Park) for one in found)
    return found[0] if len(found) == 1 or (found and only_parks) else error


def _settle_error(
    batch: Batch, lease: Lease, error: BaseException, failure: Failure, begun: tuple[UnrecordedStep, ...]
) -> None:
    match error:
        case Park():
            batch.park(lease, error.name, error.signal, error.after, error.until_ms, error.number)
        case Transient():
            budget: Budget = getattr(error, "budget", "transient")
            after_ms = wait_of(getattr(error, "retry_after_ms", None))
            batch.retry(lease, failure, budget=budget, retry_after_ms=after_ms)
        case Permanent():
            compensations, waiver = getattr(error, "compensations", ()), getattr(error, "waive_compensation", None)
            batch.fail(lease, failure, compensations, waiver, or_quarantine=True)
        case Quarantine():
            batch.quarantine_held(lease, failure, begun)
        case _:
            batch.retry(lease, failure)


def undo_settlement_of(lease: Lease, id: str, error: BaseException, was_told: bool = True) -> Settlement:
    """What an exception means for the lease of an undoing, at the compensation `id`. [UNDO-3]"""
    error = outcome_in(error)
    failure = _failure_in(error)
    handler_log.ended(lease, error, failure, id)

    def settle(batch: Batch) -> None:
        match error:
            case _ if not id or (was_told and isinstance(error, Interrupted)):
                # Told to end, or nothing was begun.
                give_back(batch, lease, "interrupted", str(error))
            case Permanent() | Quarantine():
                batch.quarantine_held(lease, failure)
            case Transient():
                after_ms = wait_of(getattr(error, "retry_after_ms", None))
                batch.compensation_failed(lease, id, failure, retry_after_ms=after_ms)
            case _:
                batch.compensation_failed(lease, id, failure)

    if isinstance(error, Interrupted) and (was_told or not id):
        return Ending(settle, "release", failure)
    return Ending(settle, "quarantine" if isinstance(error, Permanent | Quarantine) else "compensation_failed", failure)


def held_up_settlement(lease: Lease, now_ms: int) -> Settlement:
    """What is written where the first settlement met another task that cannot be read: this one waits. [LOG-5]"""
    park = held_up(lease.task, now_ms)
    return Ending(
        lambda batch: batch.park(lease, park.name, until_ms=park.until_ms, number=park.number),
        "park",
    )


def second_settlement(lease: Lease, at: str | None, refusal: Exception, first: Settlement | None = None) -> Settlement:
    """What is written where the `first` settlement was refused for what it said; `at` is the compensation in hand.

    What its handler has said went wrong stands in it all the same, with the refusal among the details.
    What cannot be stored is the handler's failure; what may not be, without an undo, is a human's matter. [COMP-2]
    """
    said = Failure(refusal.code, refusal.message) if isinstance(refusal, SagalogError) else None
    failure = said or _failure_in(refusal)
    if isinstance(first, Ending) and first.failure is not None:
        failure = _refused(first.failure, failure)
    begun = first.begun if isinstance(first, Ending) else ()

    def settle(batch: Batch) -> None:
        if at == "" or (at is not None and isinstance(refusal, AlreadySettled)):
            # Nothing was begun, or what was in hand was settled by word; what is left is for the next worker.
            give_back(batch, lease, "undo_settled")
        elif at is not None:
            batch.compensation_failed(lease, at, failure)
        elif isinstance(refusal, CompensationRequired | AlreadyExists):
            batch.quarantine_held(lease, failure, begun)
        elif isinstance(refusal, OverBound) and isinstance(first, Ending) and first.verb == "park":
            # Every attempt would ask again for the wait that does not fit.
            batch.quarantine_held(lease, Failure("bound", refusal.message), begun)
        else:
            batch.retry(lease, failure)

    return Ending(settle, "retry" if at is None else "compensation_failed", failure)


def _refused(said: Failure, refusal: Failure) -> Failure:
    """What a handler has said, with why it could not be written so."""
    why = {"code": refusal.code, "message": refusal.message}
    kept = {} if said.details is None else {"said": said.details}
    whole = storable(Failure(said.code, said.message, {"refused": why, **kept}, said.parameters), said.code)
    if "left_out" not in whole.details:
        return whole
    return Failure(said.code, said.message, {"refused": why}, said.parameters)


def work(context: WorkContext, lease: Lease, handler: Handler) -> Settlement | None:
    """Run the handler of a task in this thread, to its end."""
    handler_log.begun(lease)
    try:
        context.go_on()
        result = handler(context, context.payload)
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


async def work_async(context: WorkContext, asking: Any, lease: Lease, handler: Handler) -> Settlement | None:
    """Run the handler of a task on this event loop; `asking` is the context as coroutines use it."""
    handler_log.begun(lease)
    try:
        context.go_on()
        result = await handler(asking, context.payload)
    except asyncio.CancelledError as error:
        return settlement_of(context, lease, None, context._interruption() or error)
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


def is_coroutine_function(handler: Handler) -> bool:
    """Whether calling it gives a coroutine: an `async def`, or an object that is called as one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004  no question whether it can be called


class Undoing:
    """The undoing of one task: its compensations in reverse order, each on record before the next begins. [COMP-5]"""

    def __init__(self, context: UndoContext, lease: Lease, handlers: dict[str, Handler]) -> None:
        self.context = context
        self.at = ""
        self._lease = lease
        self._handlers = handlers
        self._owed: tuple[TaskCompensation, ...] = ()

    def run(self) -> Settlement | None:
        """Undo in this thread what may be undone so."""
        try:
            self._look()
            while (one := self._next()) is not None:
                self._handlers[one.kind](self.context, one.params)
                self._done(one)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error, self._was_told)
        return None

    async def run_async(
        self, asking: Any, off_loop: Callable[..., Awaitable[Any]], apart: Callable[..., Awaitable[Any]]
    ) -> Settlement | None:
        """The same on this event loop; what writes is done by `off_loop`, and what is no coroutine by `apart`."""
        try:
            await off_loop(self._look)
            while (one := self._next()) is not None:
                handler = self._handlers[one.kind]
                if is_coroutine_function(handler):
                    await handler(asking, one.params)
                else:
                    await to_its_end(apart(handler, self.context, one.params))
                await off_loop(self._done, one)
        except asyncio.CancelledError as error:
            return undo_settlement_of(self._lease, self.at, self.context._interruption() or error)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error, self._was_told)
        return None

    @property
    def _was_told(self) -> bool:
        return self.context.stopping or self.context._interruption() is not None

    def _look(self) -> None:
        """Read what is owed by now: the lease may have waited for its turn."""
        self._owed = self.context._owed()

    def _next(self) -> TaskCompensation | None:
        """The one to undo next; None: nothing is owed any more."""
        if not self._owed:
            return None
        self.context.go_on()
        one = self._owed[0]
        self.at = self.context.compensation = one.id
        return one

    def _done(self, one: TaskCompensation) -> None:
        self._owed = self.context._done(one.id)
