"""A docstring, taken apart: its text, its arguments, its answer, its errors and its example.

The text comes first, in paragraphs; one of them may be a table, `name     what it is`, a row each, where a name may be
a call, `name(argument)`. Then come the sections of Google's style, as far as there is something to say: `Args:` and
`Raises:` with `name: text` or `name, name: text` in each line and what goes on of it indented, `Returns:` with a text,
`Example:` with code that runs.

Rule: this is the one form; what does not fit is an error here, not a guess.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

SECTIONS: Final = ("Args", "Returns", "Raises", "Example")
_SECTION: Final = re.compile(rf"({'|'.join(SECTIONS)}):")
_ITEM: Final = re.compile(r"(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): (.+)")
_ROW: Final = re.compile(r"([\w.*]+(?:, [\w.*]+)*|\w+\([\w=, ]*\)) {2,}(\S.*)")
# The end of a sentence, with the rules that it cites behind it.
_SENTENCE: Final = re.compile(r"(?<=[.!?])((?: \[[A-Z]+-\d+\])*) (?=[A-Z`])")


@dataclass(frozen=True)
class Table:
    """Names with their texts, as a docstring lists them."""

    rows: dict[str, str]


@dataclass
class Docstring:
    """The parts of a docstring."""

    text: list[str | Table] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: dict[str, str] = field(default_factory=dict)
    example: str = ""

    @property
    def rows(self) -> dict[str, str]:
        """What its tables say, by name."""
        return {name: text for one in self.text if isinstance(one, Table) for name, text in one.rows.items()}

    @property
    def paragraphs(self) -> list[str]:
        """Its text without the tables."""
        return [one for one in self.text if isinstance(one, str)]


def parse(doc: str) -> Docstring:
    """Take a docstring apart.

    Raises:
        ValueError: a part of it has another form; the text says which.
    """
    parsed = Docstring()
    for section, block in _blocks(inspect.cleandoc(doc)):
        if section == "":
            parsed.text.append(_paragraph(block))
        elif section == "Args":
            parsed.arguments.update(_items(block))
        elif section == "Raises":
            parsed.raises.update(_items(block))
        elif section == "Returns":
            parsed.returns = _joined(block)
        else:
            parsed.example = "\n".join(block).strip("\n")
    return parsed


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, with the rules that they cite."""
    return _SENTENCE.sub(r"\1\n", paragraph).split("\n")


def _blocks(doc: str) -> Iterator[tuple[str, list[str]]]:
    """Each paragraph, and each section with its lines, in order: ("", lines) or ("Args", lines)."""
    section, block = "", list[str]()
    for line in [*doc.splitlines(), "", "."]:
        begins = _SECTION.fullmatch(line)
        is_over = line.strip() == "" if section == "" else line != "" and not line.startswith(" ")
        if begins or is_over:
            if any(block):
                yield section, block
            section, block = begins[1] if begins else "", []
        if not begins and line:
            block.append(line if section == "" else line[4:])
        elif section == "Example":
            block.append("")


def _paragraph(block: list[str]) -> str | Table:
    rows = _rows(block)
    return _joined(block) if rows is None else Table(rows)


def _rows(block: list[str]) -> dict[str, str] | None:
    """The rows of a table; None: it is none."""
    rows: dict[str, str] = {}
    last = ""
    for line in block:
        row = _ROW.fullmatch(line)
        if row:
            last = row[1]
            rows[last] = row[2]
        elif last and line.startswith("  "):
            rows[last] += f" {line.strip()}"
        else:
            return None
    return rows


def _items(block: list[str]) -> dict[str, str]:
    """`name: text` or `name, name: text`, each going on in lines that are indented."""
    items: dict[str, str] = {}
    last: list[str] = []
    for line in block:
        item = _ITEM.fullmatch(line)
        if item and not line.startswith(" "):
            last = item[1].replace("*", "").split(", ")
            items.update(dict.fromkeys(last, item[2]))
        elif last and line.startswith(" "):
            items.update({name: f"{items[name]} {line.strip()}" for name in last})
        else:
            raise ValueError(f"expected `name: text`, found {line!r}")
    return items


def _joined(block: list[str]) -> str:
    return " ".join(line.strip() for line in block)
