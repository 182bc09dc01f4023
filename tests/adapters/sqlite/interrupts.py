"""An interrupt at any line of the store: what Ctrl-C does, at a place that a test chooses.

Rule: it strikes once, in the thread that has entered it, and only in the files of the store.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

_LOCKS: Final = ("ticket_lock.py", "lock_files.py")


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of the store in this thread; counts lines if n is 0.

    A trace can strike where no signal does: at the word `try`, and between the last line of a `with` and its end. There
    it would leave a lock of C locked, which the tests that come later would wait for.

    The ticket lock is left out: it has tests of its own.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.lines = 0

    def __enter__(self) -> Interrupt:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        file = Path(frame.f_code.co_filename)
        if file.parent.name != "sagalog_sqlite" or file.name in _LOCKS:
            return None
        blocks_begun: set[int] = set()

        def line(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            if event == "line" and _may_strike(frame, blocks_begun):
                self.lines += 1
                if self.lines == self.at:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return line

        return line


def _may_strike(frame: FrameType, blocks_begun: set[int]) -> bool:
    """Whether a signal could strike here; notes which `with` of the frame has begun, and so ends the next time."""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    if not text.startswith("with "):
        return text != "try:"
    if frame.f_lineno in blocks_begun:
        blocks_begun.remove(frame.f_lineno)
        return False
    blocks_begun.add(frame.f_lineno)
    return True
