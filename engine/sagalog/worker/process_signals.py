"""The signals SIGTERM, SIGINT and SIGHUP for all workers that listen in the main thread: each listener gets each.

Rule: the first listener installs the handlers, and the last one that leaves restores the earlier ones; ignored signals
stay ignored. A child that is forked meanwhile has the default handlers: it is no worker, and its signals are meant for
it. Only the main thread uses this module, so it has no lock. It must not know workers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

# A closed terminal, or a dropped connection, stops a worker like any other signal; not every system has SIGHUP.
_HANG_UP: Final = getattr(signal, "SIGHUP", None)
NUMBERS: Final = tuple(one for one in (signal.SIGTERM, signal.SIGINT, _HANG_UP) if one is not None)

Listener = Callable[[int], None]

_listeners: Final[list[Listener]] = []
_before: Final[dict[signal.Signals, Any]] = {}
_delivered: Final[set[int]] = set()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` with the number of each of these signals while the block lasts, if this is the main thread.

    SIGHUP comes once: a shell repeats it to its jobs after the terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _listeners:
        _install()
    _listeners.append(listener)
    try:
        yield
    finally:
        # A forked child has no listener left.
        if listener in _listeners:
            _listeners.remove(listener)
            if not _listeners:
                _restore()


def _deliver(number: int, _frame: FrameType | None) -> None:
    if number == _HANG_UP and number in _delivered:
        return
    _delivered.add(number)
    for listener in tuple(_listeners):
        listener(number)


def _install() -> None:
    _delivered.clear()
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _before[number] = signal.signal(number, _deliver)


def _restore() -> None:
    for number, handler in _before.items():
        signal.signal(number, handler)
    _before.clear()


def _reset_in_child() -> None:
    """Give a forked child Python's own handlers; its signals wake no event loop of the parent's."""
    if not _listeners:
        return
    # Only the main thread may set handlers; in a child that is the thread that has forked.
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in _before:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _listeners.clear()
    _before.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
