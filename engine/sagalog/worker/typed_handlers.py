"""Handlers with an annotated payload or params: they get a value of that type, made of the recorded JSON.

Rule: JSON that does not fit is a permanent failure, and the worker does not call the handler. [WORKER-6] A handler that
takes JSON is called directly. It must not know the store.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from sagalog.kernel.values import Failure, Parameters
from sagalog.outcomes import Permanent
from sagalog.worker.annotations import Conversion, Unfit, of_given
from sagalog.worker.async_context import AsyncContext, AsyncWorkContext
from sagalog.worker.settlement import Handler, is_coroutine_function
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

# What a type checker accepts as a handler: a function or a coroutine function that takes the context of its sort, and
# one more argument of any type.
OfTask = TypeVar(
    "OfTask", bound=Callable[[WorkContext, Any], Any] | Callable[[AsyncWorkContext, Any], Coroutine[Any, Any, Any]]
)
OfCompensation = TypeVar(
    "OfCompensation", bound=Callable[[UndoContext, Any], Any] | Callable[[AsyncContext, Any], Coroutine[Any, Any, Any]]
)

TASK: Final = "invalid_payload"
COMPENSATION: Final = "invalid_params"


class UnfitGiven(Permanent):
    """Recorded JSON that does not fit what the handler takes; no attempt would do better."""

    def __init__(self, code: str, unfit: Unfit, parameters: Parameters) -> None:
        super().__init__(unfit.message, code=code, details={"path": unfit.path})
        self.parameters = parameters

    def failure(self) -> Failure:
        """Return the failure for the log: a code with its parameters, and what is wrong with the value. [RECORD-6]"""
        return Failure(self.code, self.message, self.details, self.parameters)


def typed(handler: Handler, what: str, code: str) -> Handler:
    """Return the handler for recorded JSON: the handler itself, if its annotation names no type of its own.

    Args:
        handler: what a user has registered.
        what: what it is for, such as `task 'book'`.
        code: of the failure for JSON that does not fit, TASK or COMPENSATION.

    Raises:
        InvalidValue: its annotation cannot be resolved, or JSON gives no value of it.
    """
    conversion = of_given(handler, what)
    if conversion is None:
        return handler
    made = functools.partial(_made, conversion, code)
    return _awaited(handler, made) if is_coroutine_function(handler) else _called(handler, made)


def _called(handler: Handler, made: Callable[[Any, Any], Any]) -> Handler:
    @functools.wraps(handler)
    def call(context: Any, recorded: Any) -> Any:
        return handler(context, made(context, recorded))

    return call


def _awaited(handler: Handler, made: Callable[[Any, Any], Any]) -> Handler:
    @functools.wraps(handler)
    async def call(context: Any, recorded: Any) -> Any:
        return await handler(context, made(context, recorded))

    return call


def _made(conversion: Conversion, code: str, context: Any, recorded: Any) -> Any:
    """Make the value that the handler takes; raises UnfitGiven."""
    try:
        return conversion.of(recorded)
    except Unfit as unfit:
        named: Parameters = {"compensation": context.compensation} if code == COMPENSATION else {}
        raise UnfitGiven(code, unfit, {"type": conversion.name, **named}) from unfit.__cause__
