"""Which files name an event or a category today, and which modules of sagalog a store imports: read from the sources.

Rule: a name in the code counts, and so does the log name as a string; comments and docstrings do not. A log name may
mean a state or a code as well, so what is counted is never too little.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from sagalog.kernel import events as e
from sagalog.kernel.decide import VERBS
from tests.touched.copies import ROOT

# Room -> folders of it, and folders within those that are another room's.
ROOMS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "engine": (("engine/sagalog",), ("engine/sagalog/testing",)),
    "adapters": (("adapters",), ("adapters/sagalog_cli",)),
    "cli": (("adapters/sagalog_cli",), ()),
    "kit": (("engine/sagalog/testing",), ()),
    "tests": (("tests", "docs/examples"), ()),
    "docs": (("docs", "specs"), ()),
}
PRODUCTION: Final = ("engine", "adapters")

# The category of the store has a format, an epoch and a row of its own, which one without need not have.
CATEGORIES: Final[dict[str, frozenset[str]]] = {
    "task": frozenset({"TASK", "TaskFold", "TaskEvent", "TASK_EVENTS", "TASK_LIFE", "TASK_ROWS"}),
    "store": frozenset({"STORE", "StoreFold", "StoreEvent", "STORE_EVENTS", "STORE_LIFE", "STORE_ROWS"}),
}


class Named(NamedTuple):
    """What one file names in code, and its strings; a command with its module, since others have its name."""

    names: frozenset[str]
    strings: frozenset[str]


def events() -> dict[str, frozenset[str]]:
    """Log name of each event -> what it is called: its class, and its command where one has its spelling."""
    return {name: frozenset({kind.__name__, *_commands(name)}) for kind, name in e.NAMES.items()}


def _commands(event: str) -> list[str]:
    """The commands that may write an event and are spelled like it: `c.Note`, `c.PutArtifact`, as all files have it."""
    found = [verb.command.__name__ for verb in VERBS if event in verb.writes]
    return [f"c.{name}" for name in found if all(stem in event for stem in _stems(name))]


def _stems(name: str) -> list[str]:
    return [word.lower().rstrip("ey") for word in re.findall("[A-Z][a-z]*", name)]


def naming(room: str, called: frozenset[str], string: str | None = None) -> list[Path]:
    """The files of a room in which one of the names is, or the string."""
    if room == "docs":
        words = re.compile(
            rf"\b({'|'.join(sorted(map(re.escape, called if string is None else {*called, string})))})\b"
        )
        files = [path for folder in ROOMS[room][0] for path in (ROOT / folder).rglob("*.md")]
        return [path for path in files if words.search(path.read_text(encoding="utf-8"))]
    files = sources(*ROOMS[room])
    return [path for path in files if not called.isdisjoint(named(path).names) or string in named(path).strings]


@cache
def sources(folders: tuple[str, ...], others: tuple[str, ...]) -> list[Path]:
    """The Python files of some folders, without those of the others."""
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(path.is_relative_to(ROOT / other) for other in others)
    ]


@cache
def named(path: Path) -> Named:
    names: set[str] = set()
    strings: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Constant(value=str(text)):
                strings.add(text)
            case _:
                pass
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ClassDef) and path.name == "commands.py":
            names.add(f"c.{node.name}")
    return Named(frozenset(names), frozenset(strings))


def imported(package: Path) -> dict[str, list[str]]:
    """Module of sagalog -> the files of a package that import it."""
    found: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for module in sorted(set(_modules(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))):
            if module.split(".")[0] == "sagalog":
                found.setdefault(module, []).append(path.name)
    return found


def _modules(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
