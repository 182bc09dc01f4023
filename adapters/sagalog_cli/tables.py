"""Tables and lines for people: coloured on a terminal, plain and stable in a pipe.

Rule: every text passes `printable` here before it is shown, so no stored or typed text can steer a terminal, reorder a
line or forge one; markup in data is data. Only a terminal makes it import rich. It must not know tasks and events.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import click

if TYPE_CHECKING:
    from rich.text import Text

_GAP: Final = "  "
# The text of an empty cell, so that a script that counts columns counts right.
_NOTHING: Final = "-"
# A last column narrower than this cannot be read; then it goes on a line of its own.
_READABLE: Final = 30
_INDENT: Final = 4
_WIDTH_UNKNOWN: Final = 80


class Cell(NamedTuple):
    """A text; the colour that a terminal may give it, in the words of rich; perhaps a shorter text for a terminal."""

    text: str
    style: str = ""
    short: str = ""


class Table(NamedTuple):
    """Rows of cells under a head, which may be empty; `below` gives the lines below a row, by its number from 0."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    below: Mapping[int, Sequence[str]] = {}
    # Whether a last cell that goes below its row has the name of its column before it.
    names_last: bool = True


def printable(text: str) -> str:
    r"""Return the text with every invisible character (a control, a direction mark) as `\x1b` or `\u202e`.

    Line breaks too: one value is one line. Spaces of every kind stay.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or unicodedata.category(one) == "Zs" else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    code = ord(character)
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if known is not None:
        return known
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show_table(table: Table) -> None:
    """Write a table to standard output; write nothing if it has no rows."""
    if not table.rows:
        return
    if sys.stdout is not None and sys.stdout.isatty():
        _show_on_terminal(table)
    else:
        click.echo("\n".join(plain(table)))


def show_line(text: str) -> None:
    """Write one line to standard output."""
    click.echo(printable(text))


def counted(number: int, what: str) -> str:
    """Return a number of things in words, as in `1 task` and `1,204 tasks`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _filled(table: Table) -> Table:
    """Return a table without the columns that are empty in every row."""
    kept = [
        number for number in range(len(table.head)) if any(_cell(row[number]).text != _NOTHING for row in table.rows)
    ]
    rows = [[row[number] for number in kept] for row in table.rows]
    return table._replace(head=[table.head[number] for number in kept], rows=rows)


def _cell(given: Cell | str) -> Cell:
    cell = Cell(given) if isinstance(given, str) else given
    return cell._replace(text=printable(cell.text) or _NOTHING, short=printable(cell.short))


def plain(table: Table) -> list[str]:
    """Return the lines of a table for a pipe."""
    rows = [[_cell(one).text for one in row] for row in table.rows]
    if table.head:
        rows.insert(0, list(table.head))
    widths = [max(_width(text) for text in column) for column in zip(*rows, strict=True)]
    # The last column needs no width: nothing follows that would have to be aligned.
    widths[-1] = 0
    lines = []
    for number, row in enumerate(rows, start=-1 if table.head else 0):
        lines.append(_GAP.join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)))
        lines += map(printable, table.below.get(number, ()))
    return lines


def _width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _show_on_terminal(table: Table) -> None:
    """Show all columns in full width, so that ids and times can be copied; the last folds, or goes below its row.

    A column that no row has anything in is left out: a terminal has little room, and no script counts its columns.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    if console.width < 1:
        # COLUMNS=0 means that the width is unknown; rich would write nothing at all.
        console.width = _WIDTH_UNKNOWN
    table = _filled(table) if table.head else table
    rows = [[Text(cell.short or cell.text, cell.style) for cell in map(_cell, row)] for row in table.rows]
    if table.head:
        rows.insert(0, [Text(name, "bold") for name in table.head])
    widths = [max(text.cell_len for text in column) for column in zip(*rows, strict=True)]
    indent = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    hangs = console.width - indent < min(widths[-1], _READABLE)
    margin = _INDENT if hangs else indent
    if hangs and table.head and table.names_last:
        # The name of the column goes with each cell, and no longer with the head.
        rows = [[*rows[0][:-1], Text(_NOTHING)], *([*row[:-1], _named(table.head[-1], row[-1])] for row in rows[1:])]
    for number, row in enumerate(rows, start=-1 if table.head else 0):
        line = Text()
        for text, width in zip(row[:-1], widths, strict=False):
            line.append_text(text).append(" " * (width - text.cell_len) + _GAP)
        folded = row[-1].wrap(console, max(console.width - margin, _READABLE), overflow="fold")
        if hangs:
            line.rstrip()
        for index, part in enumerate(folded if not hangs or row[-1].plain != _NOTHING else ()):
            part.rstrip()
            line.append("\n" + " " * margin if hangs or index else "").append_text(part)
        for below in table.below.get(number, ()):
            line.append("\n" + printable(below))
        console.print(line, soft_wrap=True)


def _named(name: str, cell: Text) -> Text:
    """Return a cell with the name of its column before it; an empty one as it is."""
    from rich.text import Text

    return cell if cell.plain == _NOTHING else Text(f"{name}: ", "bold").append_text(cell)
