"""SIGTERM, SIGINT and SIGHUP for all workers that take them in the main thread: each is told of each.

Rule: taken when the first begins to listen, and given back as they were when the last has ceased; what the process
ignores stays ignored. A child that is forked meanwhile has the default handlers: it is no worker, and what it is sent
is meant for it. Used in the main thread alone, so nothing here is locked. Knows no worker.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

# A terminal that is closed, or a connection that drops, is a stop as any other; not every system has that signal.
_HANG_UP: Final = getattr(signal, "SIGHUP", None)
NUMBERS: Final = tuple(one for one in (signal.SIGTERM, signal.SIGINT, _HANG_UP) if one is not None)

Listener = Callable[[int], None]

_listeners: Final[list[Listener]] = []
_before: Final[dict[signal.Signals, Any]] = {}
_heard: Final[set[int]] = set()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block `listener` is called with the number of each of these signals, where this is the main thread.

    SIGHUP is told once: a shell repeats to its jobs what the terminal has told them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _listeners:
        _take()
    _listeners.append(listener)
    try:
        yield
    finally:
        # In a forked child no listener is left.
        if listener in _listeners:
            _listeners.remove(listener)
            if not _listeners:
                _give_back()


def _tell(number: int, _frame: FrameType | None) -> None:
    if number == _HANG_UP and number in _heard:
        return
    _heard.add(number)
    for listener in tuple(_listeners):
        listener(number)


def _take() -> None:
    _heard.clear()
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _before[number] = signal.signal(number, _tell)


def _give_back() -> None:
    for number, handler in _before.items():
        signal.signal(number, handler)
    _before.clear()


def _forget() -> None:
    """In a forked child: whatever was taken is as Python begins, and wakes no event loop of the parent's."""
    if not _listeners:
        return
    # The thread that has forked is the main one now.
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in _before:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _listeners.clear()
    _before.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
