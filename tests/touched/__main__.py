"""`python -m tests.touched`: how many files a new event, a new category and a new store touch, and name today's.

Rule: what a new one touches is counted on a change that is made and tried by a test; what names those that are there is
counted beside it, for it shows where each has grown beyond the least.
"""

from __future__ import annotations

from statistics import median

from tests.touched import counted, naming, reranked
from tests.touched.copies import ROOT, Change

ROOMS = tuple(naming.ROOMS)


def show() -> None:
    """Print it all."""
    _heading("What a new one touches, of engine/sagalog")
    _touched("an event: decided, folded, shown, checked", reranked.EVENT)
    _touched("a call for it, of engines and batches", reranked.CALL)
    _touched("a category: kept, folded, rebuilt, checked", counted.CATEGORY)
    _touched("a command on it, and a call for that", counted.CALL)
    _heading("What a store imports of sagalog")
    for module, files in naming.imported(ROOT / "adapters" / "sagalog_sqlite").items():
        print(f"{module:<20} {len(files)} files of sagalog_sqlite")
    _heading("Files that name an event by its class, its log name or its command")
    _table({name: (called, name) for name, called in naming.events().items()})
    _heading("Files that name a category, its fold, its table or the union of its events")
    _table({name: (called, None) for name, called in naming.CATEGORIES.items()})


def _heading(text: str) -> None:
    print(f"\n{text}\n")


def _touched(what: str, change: Change) -> None:
    print(f"{len(change):>2} files   {what:<46} {', '.join(change)}")


def _table(rows: dict[str, tuple[frozenset[str], str | None]]) -> None:
    counts = {name: _counts(*one) for name, one in rows.items()}
    _row("", ["production", *ROOMS])
    for name in sorted(counts, key=lambda name: (-counts[name][0], name)):
        _row(name, counts[name])
    columns = list(zip(*counts.values(), strict=True))
    _row("largest", [max(column) for column in columns])
    _row("median", [f"{median(column):g}" for column in columns])


def _counts(called: frozenset[str], string: str | None) -> list[int]:
    found = {room: len(naming.naming(room, called, string)) for room in ROOMS}
    return [sum(found[room] for room in naming.PRODUCTION), *found.values()]


def _row(name: str, values: list[object] | list[int] | list[str]) -> None:
    print(f"{name:<26}" + "".join(f"{value!s:>11}" for value in values))


if __name__ == "__main__":
    show()
