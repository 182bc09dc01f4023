"""An interrupt at any line of the store: what Ctrl-C does, at a place that a test chooses.

Rule: it strikes once, in the thread that has entered it, and only in the files of the store.
"""

from __future__ import annotations

import gc
import linecache
import opcode
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

_LOCKS: Final = ("ticket_lock.py", "lock_files.py")
_POP_EXCEPT: Final = opcode.opmap["POP_EXCEPT"]


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of the store in this thread; counts lines if n is 0.

    A trace can strike where no signal does: at the word `try`, and between the last line of a `with` and its end. There
    it would leave a lock of C locked, which the tests that come later would wait for.

    The ticket lock is left out: it has tests of its own.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self._places: list[tuple[str, int]] = []
        self._collects = True

    @property
    def lines(self) -> int:
        """How many lines were reached."""
        return len(self._places)

    def moments(self, each_reach: bool) -> list[int]:
        """Every number to interrupt at, or the number of the first reach of each line: loops reach theirs again."""
        if each_reach:
            return list(range(1, self.lines + 1))
        return [number for number, place in enumerate(self._places, 1) if self._places.index(place) == number - 1]

    def __enter__(self) -> Interrupt:
        # What an earlier test has left would be collected within the block, and its finalizer be struck.
        self._collects = gc.isenabled()
        gc.disable()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        if self._collects:
            gc.enable()

    def _call(self, frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        if not _is_traced(frame.f_code.co_filename):
            return None
        blocks_begun: set[int] = set()

        def line(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            if event == "line" and _may_strike(frame, blocks_begun):
                self._places.append((frame.f_code.co_filename, frame.f_lineno))
                if len(self._places) == self.at:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return line

        return line


@cache
def _is_traced(path: str) -> bool:
    file = Path(path)
    return file.parent.name == "sagalog_sqlite" and file.name not in _LOCKS


@cache
def _word(path: str, line: int) -> str:
    """Return `with` or `try` where the line begins such a block."""
    text = linecache.getline(path, line).strip()
    return "with" if text.startswith("with ") else "try" if text == "try:" else ""


def _may_strike(frame: FrameType, blocks_begun: set[int]) -> bool:
    """Whether a signal could strike here; notes which `with` of the frame has begun, and so ends the next time.

    Python looks for no signal where it leaves an `except`. An exception there would have it take the handled one for
    handled for ever, and every later one in the thread would have that one as its context.
    """
    if frame.f_code.co_code[frame.f_lasti] == _POP_EXCEPT:
        return False
    word = _word(frame.f_code.co_filename, frame.f_lineno)
    if word != "with":
        return word != "try"
    if frame.f_lineno in blocks_begun:
        blocks_begun.remove(frame.f_lineno)
        return False
    blocks_begun.add(frame.f_lineno)
    return True
