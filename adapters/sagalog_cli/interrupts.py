"""Signals that end a command: Ctrl-C everywhere, SIGTERM and SIGHUP where a command heeds them.

Rule: the first one is an exception, so that whatever is open is closed on the way out; a second one does not wait for
that, and ends the process where it is. What the process ignores stays ignored. Knows no command.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

_CODES: Final = {signal.SIGHUP: "hung_up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

# Those that are heeded now, and their handlers before that.
_heeded: Final[dict[int, Any]] = {}


class Stopped(KeyboardInterrupt):
    """A signal has ended the command; `code`, `message` and `fields` are told, as those of an error."""

    def __init__(self, number: int, said: str = "whatever was answered is kept", **fields: object) -> None:
        self.number = number
        self.code = _CODES[signal.Signals(number)]
        self.message = f"{self.code.replace('_', ' ')}; {said}"
        self.fields = fields
        super().__init__(self.message)


@contextmanager
def heeding(*numbers: int, until_the_end: bool = False) -> Iterator[None]:
    """Within the block the first of these signals raises Stopped, and a second one ends the process at once.

    Args:
        numbers: of SIGINT, SIGTERM and SIGHUP; of outer blocks, theirs are heeded too.
        until_the_end: nothing comes behind the block but the end of the process, which no signal shall find halfway:
            there each of these ends it at once.
    """
    taken = [each for each in numbers if each not in _heeded] if _is_main_thread() else []
    for number in taken:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            _heeded[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in taken:
            if number in _heeded:
                before = _heeded.pop(number)
                signal.signal(number, signal.SIG_DFL if until_the_end else before)


class Delay:
    """A first signal waits for the end of what must be whole, a second one does not; a context manager, used again.

    Only within `heeding`, whose signals it holds back.
    """

    def __init__(self) -> None:
        self._came: int | None = None

    def __enter__(self) -> Delay:
        self._handlers = {number: signal.signal(number, self._note) for number in _heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Stopped):
            return  # the next signal does not wait for anything
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._came is not None and error is None:
            _stop(self._came, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came is not None:
            _stop(number, frame)
        self._came = number


def _stop(number: int, _: FrameType | None) -> NoReturn:
    for each in _heeded:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
