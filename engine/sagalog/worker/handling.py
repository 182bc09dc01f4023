"""From a lease to a settlement: run the handler, and say what is to be written for how it ended.

Rule: a handler may do what it likes and the lease is settled in some way all the same [WORKER-1]. What is
written last is only said here; whoever runs many handlers writes it with whatever else it has to write. Knows no queue
and no thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from sagalog.batch import Batch
from sagalog.errors import AlreadyExists, AlreadySettled, CompensationRequired, SagalogError
from sagalog.kernel.values import Failure
from sagalog.outcomes import Interrupted, Outcome, Park, Permanent, Quarantine, Transient, failure_of
from sagalog.task import Lease, TaskCompensation
from sagalog.worker.context import UndoContext, WorkContext

# How a lease is to be settled: recorded into the batch that is written next. None: it is settled already.
Settlement = Callable[[Batch], None]
Handler = Callable[..., Any]


def settlement_of(context: WorkContext, lease: Lease, result: Any, error: BaseException | None) -> Settlement:
    """What a handler's return or exception means for the lease of a task's work."""
    timed_out = context.timed_out
    error = None if error is None else outcome_in(error)

    def settle(batch: Batch) -> None:
        context.record_children(batch)
        if error is None:
            batch.complete(lease, result)
        elif isinstance(error, Interrupted) and timed_out:
            batch.retry(lease, Failure("time_limit", "its handler was told to end at its time limit"))
        else:
            _settle_error(batch, lease, error)

    return settle


def outcome_in(error: BaseException) -> BaseException:
    """What a group of exceptions means: the one outcome in it, if there is one; an asyncio.TaskGroup raises groups."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [one for one in map(outcome_in, error.exceptions) if isinstance(one, Outcome | Park | Interrupted)]
    return found[0] if len(found) == 1 else error


def _settle_error(batch: Batch, lease: Lease, error: BaseException) -> None:
    match error:
        case Interrupted():
            batch.release(lease, f"interrupted: {error}")
        case Park():
            batch.park(lease, error.name, error.signal, error.after, error.until_ms)
        case Transient():
            batch.retry(lease, error.failure(), budget=error.budget, retry_after_ms=error.retry_after_ms)
        case Permanent():
            batch.fail(lease, error.failure(), error.compensations, error.waive_compensation)
        case Quarantine():
            batch.give_up(lease, error.failure())
        case Outcome():
            batch.retry(lease, error.failure())
        case _:
            batch.retry(lease, failure_of(error))


def undo_settlement_of(lease: Lease, id: str, error: BaseException) -> Settlement:
    """What an exception means for the lease of an undoing, at the compensation `id`. [UNDO-3]"""
    error = outcome_in(error)

    def settle(batch: Batch) -> None:
        match error:
            case Interrupted():
                batch.release(lease, f"interrupted: {error}")
            case Permanent() | Quarantine():
                batch.give_up(lease, error.failure())
            case Transient():
                batch.compensation_failed(lease, id, error.failure(), retry_after_ms=error.retry_after_ms)
            case Outcome():
                batch.compensation_failed(lease, id, error.failure())
            case _:
                batch.compensation_failed(lease, id, failure_of(error))

    return settle


def second_settlement(lease: Lease, at: str | None, refusal: SagalogError) -> Settlement:
    """What is written where the first settlement was refused for what it said; `at` is the compensation in hand.

    What cannot be stored is the handler's failure; what may not be, without an undo, is a human's matter. [COMP-2]
    """
    failure = Failure(refusal.code, refusal.message)

    def settle(batch: Batch) -> None:
        if at is not None:
            batch.compensation_failed(lease, at, failure)
        elif isinstance(refusal, CompensationRequired | AlreadyExists):
            batch.give_up(lease, failure)
        else:
            batch.retry(lease, failure)

    return settle


def work(context: WorkContext, lease: Lease, handler: Handler) -> Settlement:
    """Run the handler of a task in this thread, to its end."""
    try:
        context.go_on()
        result = handler(context, context.payload)
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


async def work_async(context: WorkContext, asking: Any, lease: Lease, handler: Handler) -> Settlement:
    """Run the handler of a task on this event loop; `asking` is the context as coroutines use it."""
    try:
        context.go_on()
        result = await handler(asking, context.payload)
    except asyncio.CancelledError as error:
        return settlement_of(context, lease, None, context.interruption() or error)
    except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
        return settlement_of(context, lease, None, error)
    return settlement_of(context, lease, result, None)


def is_coroutine_function(handler: Handler) -> bool:
    """Whether calling it gives a coroutine: an `async def`, or an object that is called as one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


class Undoing:
    """The undoing of one task: its compensations in reverse order, each on record before the next begins. [COMP-5]"""

    def __init__(self, context: UndoContext, lease: Lease, handlers: dict[str, Handler]) -> None:
        self.context = context
        self.at = ""
        self._lease = lease
        self._handlers = handlers

    def run(self) -> Settlement | None:
        """Undo in this thread what may be undone so."""
        try:
            for one in self._each():
                self._handlers[one.kind](self.context, one.params)
                self._done(one)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error)
        return None

    async def run_async(self, asking: Any, off_loop: Callable[..., Awaitable[Any]]) -> Settlement | None:
        """The same on this event loop; what writes, or is no coroutine, is done by `off_loop`."""
        try:
            for one in self._each():
                handler = self._handlers[one.kind]
                if is_coroutine_function(handler):
                    await handler(asking, one.params)
                else:
                    await off_loop(handler, self.context, one.params)
                await off_loop(self._done, one)
        except asyncio.CancelledError as error:
            return undo_settlement_of(self._lease, self.at, self.context.interruption() or error)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            return undo_settlement_of(self._lease, self.at, error)
        return None

    def _each(self) -> Iterator[TaskCompensation]:
        for one in self._lease.task.owed:
            self.context.go_on()
            self.at = self.context.compensation = one.id
            yield one

    def _done(self, one: TaskCompensation) -> None:
        # Somebody may have settled it by word meanwhile; it is done all the same. [COMP-4]
        with suppress(AlreadySettled):
            self.context.done(one.id)
