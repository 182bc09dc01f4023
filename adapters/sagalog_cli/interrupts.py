"""The signals that end a command: Ctrl-C everywhere, SIGTERM and SIGHUP where a command heeds them.

Rule: the first signal is an exception, so that the command closes everything on the way out. A second one does not wait
for that, and ends the process where it is. Ignored signals stay ignored. It must not know any command.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

_CODES: Final = {signal.SIGHUP: "hung_up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

# The signals that are heeded now, and their earlier handlers.
_heeded: Final[dict[int, Any]] = {}


class Stopped(KeyboardInterrupt):
    """The end of a command by a signal; `code`, `message` and `fields` are those of an error."""

    def __init__(self, number: int, said: str = "the store keeps what was answered", **fields: object) -> None:
        self.number = number
        self.code = _CODES[signal.Signals(number)]
        self.message = f"{self.code.replace('_', ' ')}; {said}"
        self.fields = fields
        super().__init__(self.message)


def end_at_once() -> None:
    """Have Ctrl-C end this process without a word until a command heeds it: during imports Python prints a traceback.

    A process that ignores Ctrl-C goes on ignoring it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def heeding(*numbers: int, until_the_end: bool = False) -> Iterator[None]:
    """Raise Stopped at the first of these signals while the block lasts; end the process at once at a second one.

    Args:
        numbers: of SIGINT, SIGTERM and SIGHUP; the signals of outer blocks are heeded too.
        until_the_end: the process ends right after the block, and no signal may find it halfway: there each of these
            signals ends it at once.
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
    """A delay of the first signal until whole work has ended; a second one does not wait. A reusable context.

    It works only within `heeding`, whose signals it holds back.
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
