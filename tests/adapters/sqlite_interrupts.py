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

_TICKET: Final = ("ticket.py", "lock_files.py")


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of the store in this thread; counts lines if n is 0.

    The ticket is left out: it has tests of its own, and a trace strikes where a signal cannot, at the end of a `with`.
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
        return self._line if file.parent.name == "sagalog_sqlite" and file.name not in _TICKET else None

    def _line(self, frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        # A signal is looked at where something is called, so never at the word `try` itself.
        if event == "line" and linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() != "try:":
            self.lines += 1
            if self.lines == self.at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._line
