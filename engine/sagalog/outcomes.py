"""How a handler says what became of its work: by returning, or by raising one of these.

    returns           the task completes with that as its result
    Transient         the surroundings failed: try again later, on a budget of its own
    Failed            the attempt failed: try again later, as any other exception means too
    Permanent         the work cannot be done: the task fails, and what it owes is undone
    ChildFailed       the same, because a child that was gathered has not completed
    Quarantine        a human must look
    Park              go on when something is there
    Interrupted       no outcome: the lease is lost, the task is cancelled, or the worker shuts down

Rule: values only; `sagalog.worker.settlement` says what is written for each. `Park` and `Interrupted` are no
`Exception`, so that a handler's own `except Exception` does not take them for failures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import DETAILS_BYTES_MAX
from sagalog.kernel.values import Budget, Compensation, Failure
from sagalog.tracebacks import lines_of
from sagalog.validation.json_values import check_json
from sagalog.validation.values import check_name, shown

_MESSAGE_CHARACTERS_MAX: Final = 4_000
_BUDGETS: Final = get_args(Budget)
# A year: what is longer is no wait.
_RETRY_AFTER_MS_MAX: Final = 365 * 86_400_000


class Outcome(Exception):
    """The base of what a handler raises to say what became of its work.

    Args:
        message: a sentence for people, which `Task.error` keeps.
        code: a slug for programs, of 1 to 200 characters, read back as `Task.error.code`; None: that of the class. One
            that is no name is replaced, and `left_out` of the details says so.
        details: JSON of at most 64 KiB.
    """

    code: str = "failed"

    def __init__(self, message: str = "", *, code: str | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.message: str = message or type(self).__name__
        self.code = code or self.code
        self.details: Any = details

    def failure(self) -> Failure:
        """Give the outcome as the log takes it, also for a class below this one that makes itself otherwise."""
        message = getattr(self, "message", None) or type(self).__name__
        return Failure(self.code, message, getattr(self, "details", None))


class Failed(Outcome):
    """The outcome of an attempt that failed: it is tried again, and counts against `attempts_max`. [ATTEMPT-2]

    Any exception that is no outcome means the same.
    """


class Transient(Outcome):
    """The outcome of an attempt whose surroundings failed: overload, a rate limit, a connection. [ATTEMPT-2]

    It is tried again, and counts against `transient_max` instead of `attempts_max`.

    Args:
        message, code, details: as in `Outcome`.
        retry_after_ms: the least delay before the next attempt, in milliseconds; a longer backoff counts instead.
            What is no number from 0 to a year is left to the backoff. [ATTEMPT-4]
        budget: "transient", or "quota" where a quota has to come back, which counts by time and not by number.
        limit: the named limit of the task whose breaker this strikes; None: that of the queue. [BREAKER-2]

    Raises:
        InvalidValue: the budget is none of these; in a handler, that fails the attempt.

    Example:
        import sagalog


        def fetch(context: object, payload: object) -> None:
            raise sagalog.Transient("the server is busy", code="busy", retry_after_ms=5_000)
    """

    code = "transient"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retry_after_ms: float | str | None = None,
        budget: Budget = "transient",
        limit: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.limit: str | None = limit
        self.retry_after_ms: int | None = wait_of(retry_after_ms)
        if budget not in _BUDGETS:
            words = ", ".join(map(repr, _BUDGETS))
            raise InvalidValue(f"budget: expected one of {words}, found {shown(budget)}", path="budget")
        self.budget: Budget = budget

    def failure(self) -> Failure:
        """Give the outcome as the log takes it, with the limit whose breaker it strikes."""
        return msgspec.structs.replace(super().failure(), limit=getattr(self, "limit", None))


class Permanent(Outcome):
    """The outcome of work that cannot be done: no further attempt, and what the task owes is undone. [COMP-2]

    Without an undo on record and without a waiver the task is quarantined instead.

    Args:
        message, code, details: as in `Outcome`.
        compensations: undos of what this attempt did that are not on record yet.
        waive_compensation: why there is nothing to undo.

    Example:
        import sagalog


        def build(context: object, payload: object) -> None:
            raise sagalog.Permanent("no such branch", code="branch", waive_compensation="nothing was made")
    """

    code = "permanent"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        compensations: Sequence[Compensation] = (),
        waive_compensation: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.compensations: tuple[Compensation, ...] = tuple(compensations)
        self.waive_compensation = waive_compensation


class ChildFailed(Permanent):
    """The outcome where a child that a handler gathers has not completed. [STEP-3]

    `gather` raises it. A handler that lets it pass fails for good, as by any `Permanent`: the child's end is final.

    Args:
        message, code, compensations, waive_compensation, details: as in `Permanent`.
        task: the child as it ended.
    """

    code = "child_failed"

    def __init__(
        self,
        message: str = "",
        *,
        task: Any = None,
        code: str | None = None,
        compensations: Sequence[Compensation] = (),
        waive_compensation: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            compensations=compensations,
            waive_compensation=waive_compensation,
            details=details,
        )
        self.task: Any = task


class Quarantine(Outcome):
    """The outcome of work that a human must look at: no further attempt, and what the task owes stays owed. [COMP-6]

    Args:
        message, code, details: as in `Outcome`.
    """

    code = "handler"


class StepMismatch(Quarantine):
    """The outcome where code and history disagree: going on would do something twice or not at all. [WORKER-4]

    The context raises it; the task is quarantined. Deploy the version that began the task, then retry it as new.
    """

    code = "step_mismatch"


class Park(BaseException):
    """The outcome of a handler that waits: it is called again when something is there. [WAIT-1]

    No thread and no lease is held meanwhile, and no failure is counted. The waits of a context raise it; it is no
    `Exception`, so that `except Exception` lets it pass.

    Args:
        name: the name of the wait.
        number: which wait of this name it is, from 1 on.
        signal: the name of a signal to wait for; or
        after: ids of tasks, until all of them have ended; or neither.
        until_ms: when the wait is over in any case, in milliseconds since 1970 by the store's clock.
    """

    def __init__(
        self,
        name: str,
        *,
        number: int = 1,
        signal: str | None = None,
        after: Sequence[str] = (),
        until_ms: int | None = None,
    ) -> None:
        super().__init__(name)
        self.name = name
        self.number = number
        self.signal = signal
        self.after: tuple[str, ...] = tuple(after)
        self.until_ms = until_ms


class Interrupted(BaseException):
    """The outcome of a handler that was told to end, and did: its task is given back unharmed. [WORKER-3]

    No failure is counted. The context raises it where the lease is lost, the task is cancelled, the time limit has come
    (then the attempt has failed) or the worker shuts down. It is no `Exception`, so that `except Exception` lets it
    pass.
    """


def wait_of(said: object) -> int | None:
    """A wait in whole milliseconds, of whatever a server has said; None where it is none that can be kept.

    Servers say all sorts of things, and what they say must not cost more than a wait: NaN, infinities, what is negative
    or longer than a year, and what is no number leave it to the backoff. [ATTEMPT-4]
    """
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        wait_ms = float(said)
    except (ValueError, OverflowError):
        return None
    return math.ceil(wait_ms) if 0 <= wait_ms <= _RETRY_AFTER_MS_MAX else None


def storable(failure: Failure, code: str) -> Failure:
    """The failure as it can be stored, whatever a handler has said: its message and its code are never lost.

    What cannot be stored of it is left out, and `details` says so under `left_out`; `code` replaces a code that is
    no name.
    """
    left_out: list[str] = []
    kept_code: str = failure.code
    try:
        check_name(kept_code, "code")
    except InvalidValue as refusal:
        left_out.append(refusal.message)
        kept_code = code
    message: object = failure.message
    kept_message = message if type(message) is str else str(message) if isinstance(message, str) else shown(message)
    kept_limit: str | None = failure.limit
    try:
        kept_limit = None if kept_limit is None else check_name(kept_limit, "limit")
    except InvalidValue as refusal:
        left_out.append(refusal.message)
        kept_limit = None
    details = failure.details
    try:
        check_json(details, "details", DETAILS_BYTES_MAX)
    except InvalidValue as refusal:
        left_out.append(refusal.message)
        details = None
    if not left_out:
        return failure if kept_message is message else msgspec.structs.replace(failure, message=kept_message)
    said = {} if details is None else {"said": details}
    return msgspec.structs.replace(
        failure, code=kept_code, message=kept_message, details={"left_out": left_out, **said}, limit=kept_limit
    )


def failure_of(error: BaseException) -> Failure:
    """Any exception as the log takes it: the name of its class as code, its text, and its traceback in the details.

    `details["traceback"]` is a list of lines, as `tracebacks.lines_of` makes it: the user's own frames come first.
    """
    try:
        message = str(error)
    except BaseException as another:  # noqa: BLE001  a text is made by foreign code
        message = f"(its text could not be made: {type(another).__name__})"
    kept = message if len(message) <= _MESSAGE_CHARACTERS_MAX else message[: _MESSAGE_CHARACTERS_MAX - 1] + "…"
    lines = lines_of(error.__traceback__)
    return Failure(type(error).__name__, kept or type(error).__name__, {"traceback": lines})
