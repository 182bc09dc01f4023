"""Progress bars on standard error, for long work on a terminal.

Rule: click draws them; this module decides whether to draw one, how wide, and with which text. A bar is no answer: if
it cannot be drawn, the work continues, and an answer on the same terminal comes above it. It must not know any command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from sagalog_cli.session import Session

# On a narrower terminal a bar and its figures do not fit into one line.
COLUMNS_MIN: Final = 40
# The assumed width of a terminal that does not report one.
_COLUMNS: Final = 80
_WIDTH_MIN: Final = 8
_WIDTH_MAX: Final = 30
_BAR: Final = "%(label)s  [%(bar)s]  %(info)s"
_FIGURES: Final = "%(label)s  %(info)s"
# Go to the beginning of the line, and clear it.
_ERASE: Final = "\r\x1b[K"


class Bar:
    """The progress of some work: a part of a total, if that is known, and the text beside it.

    If there is nothing to draw (`label` is None), all methods do nothing.
    """

    def __init__(self, label: str | None) -> None:
        self._label = label
        self._drawn: Any = None if label is None else _new(label)

    def show(self, done: int, total: int | None, said: str | None = None) -> None:
        """Draw the bar anew. Without a total, `said` is all that it shows."""
        if self._label is None:
            return
        if total and not self._drawn.length:
            # The time until the total was known says nothing about the time that is left.
            self._drawn = _new(self._label)
        drawn = self._drawn
        drawn.length = total
        drawn.bar_template = _FIGURES if total is None else _BAR
        drawn.current_item = said
        if done > drawn.pos:
            # Step before the fit: a step may add an estimate of the time that is left.
            drawn.make_step(done - drawn.pos)
        _fit(drawn)
        # The work continues even if the terminal has gone.
        with suppress(OSError):
            drawn.render_progress()

    def make_room(self) -> None:
        """Remove the bar if the answer goes to a terminal too; the next `show` draws it below the answer."""
        if self._label is not None and sys.stdout is not None and sys.stdout.isatty():
            with suppress(OSError):
                sys.stderr.write(_ERASE)
                sys.stderr.flush()

    def finish(self) -> None:
        """Leave the bar as it is, and show the cursor again."""
        if self._label is not None:
            with suppress(OSError):
                self._drawn.render_finish()


@contextmanager
def bar(session: Session, label: str, total: int | None = 0) -> Iterator[Bar]:
    """Give a bar for the block: on a terminal that is wide enough, without `--json`; otherwise one that does nothing.

    `total` may follow later (0), or never (None).
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
    """Return the terminal's present width: it may be resized. click would ask standard output, which may be a file."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def _fit(drawn: Any) -> None:
    """Make the bar as wide as the figures allow; leave out the text beside it if it does not fit."""
    # Some terminals begin a new line when a line is full.
    room = _columns() - 1
    drawn.width = 0
    if drawn.length is not None and len(drawn.format_progress_line()) > room - _WIDTH_MIN:
        drawn.current_item = None
    drawn.width = max(0, min(_WIDTH_MAX, room - len(drawn.format_progress_line())))
    if drawn.max_width is not None:
        drawn.max_width = min(drawn.max_width, room)
