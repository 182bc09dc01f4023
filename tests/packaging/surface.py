"""The public surface as README's table of stability states it: which module, how stable, and the extra it needs.

Rule: the table is read, never repeated here; a row that cannot be read is a defect of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEAD = ["part", "what it is", "stability", "extra"]
_NONE = "—"
_MODULE = re.compile(r"`(sagalog\w*(?:\.\w+)*)`")
_EXTRA = re.compile(r"`([\w-]+)`")


@dataclass(frozen=True)
class Row:
    """One row: the modules that its part names (perhaps none), and the extra without which they do not import."""

    modules: tuple[str, ...]
    is_stable: bool
    extra: str | None


def read(text: str) -> list[Row]:
    """Give the rows of the one table below the heading Stability; raises ValueError where it has another form."""
    section = text.partition("\n## Stability\n")[2].partition("\n## ")[0]
    head, _, *lines = _cells(section)
    if head != _HEAD:
        raise ValueError(f"the table of stability has the columns {head}, not {_HEAD}")
    return [_row(line) for line in lines]


def _cells(section: str) -> Iterator[list[str]]:
    for line in section.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _row(cells: list[str]) -> Row:
    part, _, stability, extra = cells
    named = _EXTRA.fullmatch(extra)
    if named is None and extra != _NONE:
        raise ValueError(f"the row of {part} names the extra {extra!r}; a row without one has {_NONE}")
    return Row(tuple(_MODULE.findall(part)), stability == "stable", named and named[1])
