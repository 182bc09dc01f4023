"""The preflights of a running worker: which of its kinds its machine can do now, found out beside the handlers.

Rule: a kind is claimed only while the result of each of its preflights is a success and still valid. [WORKER-9] A
preflight runs in a thread of its own or on the event loop, one call at a time, and the worker never waits for it. It
must not know the store.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from sagalog.engine.workers import FailedPreflight
from sagalog.errors import InvalidValue, Rejected
from sagalog.kernel import bounds
from sagalog.kernel.values import Failure
from sagalog.outcomes import failure_of, storable
from sagalog.ports import Clock
from sagalog.validation import arguments
from sagalog.validation.values import check_integer, check_name
from sagalog.worker.config import PREFLIGHT_TIMEOUT_MS, Preflight

_log: Final = logging.getLogger("sagalog.worker")

_TEXT_CHARACTERS_MAX: Final = 1_000

# Starts a preflight beside the handlers; its future gives the text of a failure, or None.
Start = Callable[[Callable[[], Any]], "Future[str | None]"]


class Preflights:
    """The state of the preflights of one run, for one thread.

    Args:
        preflights: what to run, and what each holds back.
        start: starts one.
        wake: called from any thread once a result is there.
    """

    def __init__(self, preflights: Sequence[Preflight], start: Start, wake: Callable[[], None], clock: Clock) -> None:
        self._states = [_State(one) for one in preflights]
        self._start = start
        self._wake = wake
        self._clock = clock

    def look(self) -> None:
        """Take results, give up on calls that take too long, and begin what is due."""
        for state in self._states:
            if state.future is not None:
                self._look_at_call(state, state.future)
            if state.future is None and self._clock.monotonic_ms() >= state.due_ms:
                self._begin(state)

    @property
    def barred(self) -> frozenset[str]:
        """Return the kinds of tasks that the worker may not claim now."""
        return frozenset(kind for state in self._barring() for kind in state.preflight.kinds)

    @property
    def barred_compensations(self) -> frozenset[str]:
        """Return the kinds of compensations that it may not claim now."""
        return frozenset(kind for state in self._barring() for kind in state.preflight.compensation_kinds)

    @property
    def failed(self) -> tuple[FailedPreflight, ...]:
        """Return those that fail, in the order of the worker."""
        return tuple(
            FailedPreflight(
                state.preflight.name,
                state.text,
                state.since_ms,
                state.preflight.kinds,
                state.preflight.compensation_kinds,
            )
            for state in self._states
            if state.text is not None
        )

    @property
    def is_undecided(self) -> bool:
        """Tell whether a call is under way, so that more may be claimed soon."""
        return any(state.future is not None and not state.is_given_up for state in self._states)

    def wait_ms(self) -> int | None:
        """Return how soon one of them is due; None: there is none. For a result, `wake` is called."""
        now_ms = self._clock.monotonic_ms()
        times = [
            state.begun_ms + PREFLIGHT_TIMEOUT_MS if state.future is not None else state.due_ms
            for state in self._states
            if not (state.future is not None and state.is_given_up)
        ]
        return max(0, min(times) - now_ms) if times else None

    def close(self) -> None:
        """Begin nothing more, and cancel what runs on an event loop."""
        for state in self._states:
            if state.future is not None:
                state.future.cancel()
        self._states = []

    # --- inside -------------------------------------------------------------------------------------------------

    def _barring(self) -> list[_State]:
        now_ms = self._clock.monotonic_ms()
        return [state for state in self._states if not state.has_passed or now_ms >= state.due_ms]

    def _look_at_call(self, state: _State, future: Future[str | None]) -> None:
        if future.done():
            state.future = None
            if not state.is_given_up:
                self._settle(state, "it was cancelled" if future.cancelled() else future.result())
        elif not state.is_given_up and self._clock.monotonic_ms() - state.begun_ms >= PREFLIGHT_TIMEOUT_MS:
            state.is_given_up = True
            future.cancel()
            self._settle(state, f"it did not answer within {PREFLIGHT_TIMEOUT_MS // 1_000} s")

    def _begin(self, state: _State) -> None:
        state.is_given_up = False
        state.begun_ms = self._clock.monotonic_ms()
        try:
            state.future = self._start(state.preflight.function)
        except RuntimeError as error:
            # The event loop of the caller has ended, or the system has no more threads.
            self._settle(state, _text_of(error))
        else:
            state.future.add_done_callback(lambda _: self._wake())

    def _settle(self, state: _State, text: str | None) -> None:
        preflight = state.preflight
        state.due_ms = self._clock.monotonic_ms() + (preflight.valid_ms if text is None else preflight.retry_ms)
        if text is not None and text != state.text:
            _log.warning("the preflight %r fails, so this worker claims no %s: %s", preflight.name, preflight, text)
        elif text is None and state.text is not None:
            _log.info("the preflight %r passes again, so this worker claims %s", preflight.name, preflight)
        if text is not None and state.text is None:
            state.since_ms = self._clock.now_ms()
        state.text, state.has_passed = text, text is None


class _State:
    """What is known of one preflight: its call under way, its last result, and when the next call is due."""

    def __init__(self, preflight: Preflight) -> None:
        self.preflight = preflight
        self.future: Future[str | None] | None = None
        self.is_given_up = False
        self.begun_ms = 0
        self.due_ms = 0
        self.has_passed = False
        self.text: str | None = None
        self.since_ms = 0


def preflight_of(
    name: str, kinds: Iterable[str], compensation_kinds: Iterable[str], valid_ms: int, retry_ms: int
) -> Callable[[Callable[[], Any]], Preflight]:
    """Check the arguments of `Worker.preflight`; return what makes one of its function. Both raise InvalidValue."""
    if callable(name):
        text = 'name: found a function; name the preflight, as in @worker.preflight("git", kinds=["build"])'
        raise InvalidValue(text, path="name")
    check_name(name, "name")
    named = tuple(sorted(arguments.names(kinds, "kinds") or ()))
    compensations = tuple(sorted(arguments.names(compensation_kinds, "compensation_kinds") or ()))
    if not named and not compensations:
        raise InvalidValue(f"preflight {name!r}: expected kinds that need it, found none", path="kinds")
    check_integer(valid_ms, "valid_ms", 1, bounds.TIME_MS_MAX // 2)
    check_integer(retry_ms, "retry_ms", 1, bounds.TIME_MS_MAX // 2)

    def make(function: Callable[[], Any]) -> Preflight:
        _require_no_arguments(function, f"preflight {name!r}")
        return Preflight(name, function, named, compensations, valid_ms, retry_ms)

    return make


def require_known(preflights: Iterable[Preflight], kinds: Container[str], compensation_kinds: Container[str]) -> None:
    """Refuse a preflight of a kind that has no handler: mistyped, it would hold back nothing. Raises Rejected."""
    for one in preflights:
        unknown = [kind for kind in one.kinds if kind not in kinds]
        unknown += [kind for kind in one.compensation_kinds if kind not in compensation_kinds]
        if unknown:
            names = ", ".join(map(repr, unknown))
            raise Rejected(f"the preflight {one.name!r} names {names}, and this worker has no such handler")


def _require_no_arguments(function: object, what: str) -> None:
    """Refuse what cannot be called without arguments; raises InvalidValue."""
    if not callable(function):
        raise InvalidValue(f"{what}: expected a function, found {type(function).__name__}", path="name")
    with suppress(ValueError):  # of some built-in functions nothing is known
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise InvalidValue(f"{what}: expected a function without arguments: {error}", path="name") from error


def verdict(function: Callable[[], Any]) -> str | None:
    """Call a preflight in this thread; return the text of its failure, or None."""
    try:
        return _verdict_of(contextvars.Context().run(function))
    except BaseException as error:  # noqa: BLE001  whatever it raises is its failure
        return _text_of(error)


async def verdict_async(function: Callable[[], Any]) -> str | None:
    """Await a preflight on this event loop; return the text of its failure, or None."""
    try:
        return _verdict_of(await function())
    except asyncio.CancelledError:
        return "it was cancelled"
    except BaseException as error:  # noqa: BLE001  as above
        return _text_of(error)


def _verdict_of(said: object) -> str | None:
    if said is False:
        return "it returned False"
    if isinstance(said, str):
        return _cut(storable(Failure("preflight", said), "preflight").message)
    if inspect.iscoroutine(said):
        said.close()
        return "it returned a coroutine: decorate the coroutine function itself"
    return None


def _text_of(error: BaseException) -> str:
    with suppress(BaseException):  # its class may run foreign code
        failure = storable(failure_of(error), "error")
        return _cut(failure.message if failure.message == failure.code else f"{failure.code}: {failure.message}")
    return f"{type(error).__name__}, and its text cannot be made"


def _cut(text: str) -> str:
    """Cut a text that would make the worker's row too long."""
    clean = text.encode(errors="backslashreplace").decode()
    return clean if len(clean) <= _TEXT_CHARACTERS_MAX else clean[: _TEXT_CHARACTERS_MAX - 1] + "…"
