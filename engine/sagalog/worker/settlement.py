"""The settlement of a lease: it runs the handler, and decides what the worker writes for its end.

Rule: the lease is settled in some way, whatever the handler does. [WORKER-1] This module only makes the settlement; the
worker loop, which has many handlers, writes it in the commit of a round. It must not know queues and threads.
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

# What records the settlement of a lease into the next batch. None in its place: the lease is settled already.
Settlement = Callable[[Batch], None]
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """A settlement with its verb, its handler's failure, and the steps that the handler has begun and not recorded."""

    record: Settlement
    verb: str
    failure: Failure | None = None
    begun: tuple[UnrecordedStep, ...] = ()

    def __call__(self, batch: Batch) -> None:
        """Record it."""
        self.record(batch)


def settlement_of(context: WorkContext, lease: Lease, result: Any, error: BaseException | None) -> Settlement | None:
    """Return the settlement for a handler's return or exception; None: it is on record already."""
    timed_out, was_interrupted = context.timed_out, context.stopping or context._interruption() is not None
    unmet = context._end()
    if (verdict := context._verdict) is not None:
        # [WORKER-1] In any case a step has had its effect, and has no record.
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
        # One of two threads was refused, and the handler raised the park of the other one.
        error = context._conflict
    failure = None if error is None else _failure_in(error)
    # Threads that the handler has left behind may be in a step: a quarantine names that step.
    begun = context._unrecorded_steps()
    handler_log.ended(lease, error, failure)

    def settle(batch: Batch) -> None:
        if isinstance(error, Interrupted):
            # The children that it asked for are not created: its task is cancelled, or a later attempt asks again.
            if timed_out:
                batch.retry(lease, Failure("time_limit", ""))
            elif was_interrupted:
                give_back(batch, lease, "interrupted", str(error))
            else:
                # The worker has not interrupted it, so this must cost a budget, or the task would repeat for ever.
                batch.retry(lease, Failure("interrupted", str(error)), budget="transient")
            return
        context._record_children(batch)
        if error is None or failure is None:
            _complete(batch, lease, result, begun)
        else:
            _settle_error(batch, lease, error, failure, begun)

    return Ending(settle, _verb_of(error, was_interrupted and not timed_out), failure, begun)


def _verb_of(error: BaseException | None, gives_back: bool) -> str:
    """Return the verb that settles the lease of a handler with this end."""
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
    """Return the error of a strict handler that has not asked for steps on record; otherwise warn. [WORKER-4]"""
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
    """Complete the task; quarantine it if its result cannot be stored, because the work is done. [WORKER-1]"""
    try:
        batch.complete(lease, result)
    except InvalidValue as refusal:
        batch.quarantine_held(lease, unstorable(refusal, {"returned": "result"}), begun)


def _failure_in(error: BaseException) -> Failure:
    """Make the failure in the handler's own thread: foreign classes run foreign code, which may fail or hang.

    The failure can always be stored, so the log keeps it whatever rule decides about the task.
    """
    default_code = Outcome.code if isinstance(error, Outcome) else "error"
    try:
        return storable(error.failure() if isinstance(error, Outcome) else failure_of(error), default_code)
    except BaseException as another:  # noqa: BLE001  this code is foreign too
        said = f"(what it says could not be made: {type(another).__name__})"
        return storable(Failure(type(error).__name__, said), default_code)


def outcome_in(error: BaseException) -> BaseException:
    """Return the one outcome in a group of exceptions, if it has one; an asyncio.TaskGroup raises groups.

    A mismatch outweighs all others in the group. If all park, the task waits for the first, and then for the next.
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


def undo_settlement_of(lease: Lease, id: str, error: BaseException, was_interrupted: bool = True) -> Settlement:
    """Return the settlement for an exception of an undoing, at the compensation `id`. [UNDO-3]"""
    error = outcome_in(error)
    failure = _failure_in(error)
    handler_log.ended(lease, error, failure, id)

    def settle(batch: Batch) -> None:
        match error:
            case _ if not id or (was_interrupted and isinstance(error, Interrupted)):
                # The worker has interrupted it, or it has begun nothing.
                give_back(batch, lease, "interrupted", str(error))
            case Permanent() | Quarantine():
                batch.quarantine_held(lease, failure)
            case Transient():
                after_ms = wait_of(getattr(error, "retry_after_ms", None))
                batch.compensation_failed(lease, id, failure, retry_after_ms=after_ms)
            case _:
                batch.compensation_failed(lease, id, failure)

    if isinstance(error, Interrupted) and (was_interrupted or not id):
        return Ending(settle, "release", failure)
    return Ending(settle, "quarantine" if isinstance(error, Permanent | Quarantine) else "compensation_failed", failure)


def held_up_settlement(lease: Lease, now_ms: int) -> Settlement:
    """Return the settlement if the first one met another task that cannot be read: this task waits. [LOG-5]"""
    park = held_up(lease.task, now_ms)
    return Ending(
        lambda batch: batch.park(lease, park.name, until_ms=park.until_ms, number=park.number),
        "park",
    )


def second_settlement(lease: Lease, at: str | None, refusal: Exception, first: Settlement | None = None) -> Settlement:
    """Return the settlement after the store has refused the `first`; `at` is the current compensation.

    It keeps the handler's own failure, and has the refusal among the details. A result that cannot be stored is the
    handler's failure; a failure that is not allowed without an undo goes to a human. [COMP-2]
    """
    said = Failure(refusal.code, refusal.message) if isinstance(refusal, SagalogError) else None
    failure = said or _failure_in(refusal)
    if isinstance(first, Ending) and first.failure is not None:
        failure = _refused(first.failure, failure)
    begun = first.begun if isinstance(first, Ending) else ()

    def settle(batch: Batch) -> None:
        if at == "" or (at is not None and isinstance(refusal, AlreadySettled)):
            # It has begun nothing, or an operator has settled the current undo; the next worker does the rest.
            give_back(batch, lease, "undo_settled")
        elif at is not None:
            batch.compensation_failed(lease, at, failure)
        elif isinstance(refusal, CompensationRequired | AlreadyExists):
            batch.quarantine_held(lease, failure, begun)
        elif isinstance(refusal, OverBound) and isinstance(first, Ending) and first.verb == "park":
            # Every attempt would ask again for the wait that is over the bound.
            batch.quarantine_held(lease, Failure("bound", refusal.message), begun)
        else:
            batch.retry(lease, failure)

    return Ending(settle, "retry" if at is None else "compensation_failed", failure)


def _refused(said: Failure, refusal: Failure) -> Failure:
    """Return a handler's failure, with the reason why it could not be written as it was."""
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
        context._flush_journals()
    except BaseException as error:  # noqa: BLE001  everything that a handler raises is its outcome
        context._try_to_flush_journals()
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


async def work_async(context: WorkContext, async_context: Any, lease: Lease, handler: Handler) -> Settlement | None:
    """Run the handler of a task on this event loop; `async_context` is the context for coroutines."""
    handler_log.begun(lease)
    try:
        context.go_on()
        result = await handler(async_context, context.payload)
        await async_context._flush_journals()
    except asyncio.CancelledError as error:
        await async_context._try_to_flush_journals()
        return settlement_of(context, lease, None, context._interruption() or error)
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        await async_context._try_to_flush_journals()
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


def is_coroutine_function(handler: Handler) -> bool:
    """Tell whether a call gives a coroutine: of an `async def`, or of an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004  not a test for a callable


class Undoing:
    """The undoing of one task: its compensations in reverse order, each on record before the next begins. [COMP-5]"""

    def __init__(self, context: UndoContext, lease: Lease, handlers: dict[str, Handler]) -> None:
        self.context = context
        self.at = ""
        self._lease = lease
        self._handlers = handlers
        self._owed: tuple[TaskCompensation, ...] = ()

    def run(self) -> Settlement | None:
        """Undo in this thread what may be undone there."""
        try:
            self._look()
            while (one := self._next()) is not None:
                self._handlers[one.kind](self.context, one.params)
                self._done(one)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error, self._was_interrupted)
        return None

    async def run_async(
        self, async_context: Any, off_loop: Callable[..., Awaitable[Any]], in_thread: Callable[..., Awaitable[Any]]
    ) -> Settlement | None:
        """Undo on this event loop; write by `off_loop`, and run plain handlers by `in_thread`."""
        try:
            await off_loop(self._look)
            while (one := self._next()) is not None:
                handler = self._handlers[one.kind]
                if is_coroutine_function(handler):
                    await handler(async_context, one.params)
                else:
                    await to_its_end(in_thread(handler, self.context, one.params))
                await off_loop(self._done, one)
        except asyncio.CancelledError as error:
            return undo_settlement_of(self._lease, self.at, self.context._interruption() or error)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error, self._was_interrupted)
        return None

    @property
    def _was_interrupted(self) -> bool:
        return self.context.stopping or self.context._interruption() is not None

    def _look(self) -> None:
        """Read what the task owes now: the lease may have waited in the pool."""
        self._owed = self.context._owed()

    def _next(self) -> TaskCompensation | None:
        """Return the compensation to undo next; None: the task owes nothing any more."""
        if not self._owed:
            return None
        self.context.go_on()
        one = self._owed[0]
        self.at = self.context.compensation = one.id
        return one

    def _done(self, one: TaskCompensation) -> None:
        self._owed = self.context._done(one.id)
