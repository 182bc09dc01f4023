"""SIGTERM and SIGINT for all workers that run in the main thread: each is told of each.

Rule: taken when the first begins to listen, and given back as they were when the last has ceased; what the process
ignores stays ignored. Used in the main thread alone, so nothing here is locked. Knows no worker.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_NUMBERS: Final = (signal.SIGTERM, signal.SIGINT)

_listeners: Final[list[Callable[[], None]]] = []
_before: Final[dict[signal.Signals, Any]] = {}


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """Within the block `listener` is called at each of these signals, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _listeners:
        _take()
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
        if not _listeners:
            _give_back()


def _tell(_number: int, _frame: FrameType | None) -> None:
    for listener in tuple(_listeners):
        listener()


def _take() -> None:
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _before[number] = signal.signal(number, _tell)


def _give_back() -> None:
    for number, handler in _before.items():
        signal.signal(number, handler)
    _before.clear()
