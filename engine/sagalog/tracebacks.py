"""Tracebacks as lines: the place of an exception, the user's own frames first, and the innermost of them at the top.

Rule: it reads frames and lines of source, and never the exception, whose text foreign code makes. The result is
bounded for every input. Knows no task.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable
from itertools import groupby
from traceback import FrameSummary
from types import TracebackType
from typing import Final

# How much it keeps of a traceback: JSON may make six bytes of a character, and they fit into a failure's details.
CHARACTERS_MAX: Final = 8_000
_NAME_CHARACTERS_MAX: Final = 300
_LINE_CHARACTERS_MAX: Final = 500

_SAGALOG: Final = os.path.join(os.path.dirname(__file__), "")
_STANDARD: Final = os.path.join(os.path.dirname(os.__file__), "")
# The parts of the standard library that call the user's code; their frames do not help a reader.
_CALLING: Final = tuple(
    _STANDARD + part for part in ("asyncio/", "concurrent/", "importlib/", "threading.py", "runpy.py")
)
# The adapters that are shipped with it, each a package of its own, in a checkout or installed.
_ADAPTER: Final = re.compile(r".*[/\\]sagalog_(?:cli|command|pytest|queue|sqlite)[/\\][^/\\]+")
# A package that is installed, up to its folder or its file.
_INSTALLED: Final = re.compile(r".*[/\\](?:site|dist)-packages[/\\][^/\\]+")


def lines_of(trace: TracebackType | None) -> list[str]:
    """Return the frames of a traceback, two lines each: the place, as Python writes it, and after four spaces the code.

    First come the frames of the user's code, from the innermost to the handler itself; then those of libraries, the
    innermost first. It leaves out frames of sagalog and its adapters, and of the parts of the standard library that
    call code, unless there are no others. A user's own frames are those of the handler's package, and of code that is
    not installed.
    """
    frames = traceback.extract_tb(trace)[::-1]
    # Where an adapter itself is the handler, its frames are all that there is to tell.
    beyond = [frame for frame in frames if not _is_machinery(frame.filename)] or frames
    kept = [frame for frame in beyond if not _ADAPTER.match(frame.filename)] or beyond
    home = _INSTALLED.match(kept[-1].filename) if kept else None
    own: list[FrameSummary] = []
    others: list[FrameSummary] = []
    for frame in kept:
        (own if _is_own(frame.filename, None if home is None else home.group()) else others).append(frame)
    return _bounded(line for frames in (own, others) for line in _lines(frames))


def _is_machinery(file: str) -> bool:
    return file.startswith((_SAGALOG, "<frozen ", *_CALLING))


def _is_own(file: str, home: str | None) -> bool:
    """Check whether a frame of this file is the user's; `home` is the package of the handler, where it is installed."""
    installed = _INSTALLED.match(file)
    if installed is not None:
        return installed.group() == home
    return not file.startswith((_STANDARD, _SAGALOG, "<frozen "))


def _lines(frames: Iterable[FrameSummary]) -> Iterable[str]:
    for (file, line, name), same in groupby(frames, lambda one: (one.filename, one.lineno, one.name)):
        first, *more = same
        yield f'File "{_end_of(file)}", line {line}, in {_end_of(name)}'
        if first.line:
            yield f"    {first.line[:_LINE_CHARACTERS_MAX]}"
        if more:
            yield f"    … and {len(more):,} times more"


def _end_of(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS_MAX else "…" + name[-_NAME_CHARACTERS_MAX:]


def _bounded(lines: Iterable[str]) -> list[str]:
    """Return the first lines, as text that a store keeps, and how many more there are."""
    kept: list[str] = []
    room, left_out = CHARACTERS_MAX, 0
    for line in lines:
        room -= len(line)
        if room >= 0:
            kept.append(line.encode("utf-8", "replace").decode())
        else:
            left_out += 1
    return [*kept, f"… and {left_out:,} lines more"] if left_out else kept
