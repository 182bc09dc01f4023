"""Signals and the time limit that end the demo early, and when they may.

Rule: an interruption is an exception in the main thread, and it is raised only where the code admits it. So no Ctrl-C
comes between the start of a process and the line that remembers it, and none breaks off the clean-up.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

from sagalog_cli.demo.errors import DemoFailed

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """A context manager, to be entered in the main thread, that holds back SIGINT, SIGTERM and SIGHUP.

    Within `admitted` the first of them is raised: KeyboardInterrupt, or SystemExit with 128 and the signal's number.
    Later ones are ignored, since the demo is on its way out. One that came where none is admitted is raised as soon as
    one is, at the latest when the context ends. A signal that was ignored before stays ignored.
    """

    def __init__(self) -> None:
        self._admitting = False
        self._held: BaseException | None = None
        self._raised = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruptions:
        for number in (*_SIGNALS, signal.SIGALRM):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGALRM:
                self._handlers[number] = signal.signal(number, self._arrive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if error is None and self._held is not None:
            raise self._held

    @contextmanager
    def admitted(self, limit_s: float | None = None) -> Iterator[None]:
        """Admit interruptions within the block, and raise DemoFailed there after `limit_s` seconds."""
        self._limit_s = limit_s
        try:
            self._admitting = True
            self._raise_held()
            signal.setitimer(signal.ITIMER_REAL, limit_s or 0)
            yield
        finally:
            self._admitting = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold interruptions back within the block; one that came meanwhile is raised at its end."""
        before, self._admitting = self._admitting, False
        try:
            yield
        finally:
            self._admitting = before
            if before:
                self._raise_held()

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        if self._raised or self._held is not None:
            return
        self._held = self._exception(number)
        if self._admitting:
            self._raise_held()

    def _exception(self, number: int) -> BaseException:
        if number == signal.SIGALRM:
            return DemoFailed(f"the demo did not end within {self._limit_s:g} s")
        return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)

    def _raise_held(self) -> None:
        if self._held is not None:
            error, self._held, self._raised = self._held, None, True
            raise error
