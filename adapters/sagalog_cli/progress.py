"""Bars that show on a terminal how far long work is: on standard error, and nowhere but on a terminal.

Rule: click draws them; here is decided whether there is one, how wide it may be, and what it says. A bar is no answer:
where it cannot be drawn the work goes on, and what is answered on the same terminal stands above it. Knows no command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from sagalog_cli.session import Session

# Below this a bar and its figures do not fit into one line.
COLUMNS_MIN: Final = 40
# What a terminal has that does not say how wide it is.
_COLUMNS: Final = 80
_WIDTH_MIN: Final = 8
_WIDTH_MAX: Final = 30
_BAR: Final = "%(label)s  [%(bar)s]  %(info)s"
_FIGURES: Final = "%(label)s  %(info)s"
# To the beginning of the line, and clear it.
_ERASE: Final = "\r\x1b[K"


class Bar:
    """How far some work is: part of a total, where that is known, and what `said` says beside it.

    Where nothing is to be drawn (`label` is None), all of it does nothing.
    """

    def __init__(self, label: str | None) -> None:
        self._label = label
        self._drawn: Any = None if label is None else _new(label)

    def show(self, done: int, total: int | None, said: str | None = None) -> None:
        """Draw it anew. Without a total `said` is all there is to show."""
        if self._label is None:
            return
        if total and not self._drawn.length:
            # The time until the total was known says nothing about the rest of it.
            self._drawn = _new(self._label)
        drawn = self._drawn
        drawn.length = total
        drawn.bar_template = _FIGURES if total is None else _BAR
        drawn.current_item = said
        if done > drawn.pos:
            # Before it is fitted: it may bring an estimate of the time that is left.
            drawn.make_step(done - drawn.pos)
        _fit(drawn)
        # A terminal that has gone is no reason to end the work.
        with suppress(OSError):
            drawn.render_progress()

    def make_room(self) -> None:
        """Take it away, where the answer goes to a terminal too; the next `show` draws it below the answer."""
        if self._label is not None and sys.stdout is not None and sys.stdout.isatty():
            with suppress(OSError):
                sys.stderr.write(_ERASE)
                sys.stderr.flush()

    def finish(self) -> None:
        """Leave it as it is, and give the cursor back."""
        if self._label is not None:
            with suppress(OSError):
                self._drawn.render_finish()


@contextmanager
def bar(session: Session, label: str, total: int | None = 0) -> Iterator[Bar]:
    """A bar for the block: on a terminal wide enough, without `--json`; else one that does nothing.

    `total` may be told later (0), or never (None).
    """
    shown = Bar(None if session.as_json or not _can_draw() else label)
    try:
        shown.show(0, total)
        yield shown
    finally:
        shown.finish()


def _new(label: str) -> Any:
    return click.progressbar(length=0, label=label, file=sys.stderr, item_show_func=lambda said: said)


def _can_draw() -> bool:
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return _columns() >= COLUMNS_MIN


def _columns() -> int:
    """How wide the terminal is, now: it may be resized. click asks about standard output, which may be a file."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def _fit(drawn: Any) -> None:
    """As wide as the figures leave room for; without what is said beside them where that leaves none."""
    # What fills a line to its end makes some terminals begin another one.
    room = _columns() - 1
    drawn.width = 0
    if drawn.length is not None and len(drawn.format_progress_line()) > room - _WIDTH_MIN:
        drawn.current_item = None
    drawn.width = max(0, min(_WIDTH_MAX, room - len(drawn.format_progress_line())))
    if drawn.max_width is not None:
        drawn.max_width = min(drawn.max_width, room)
