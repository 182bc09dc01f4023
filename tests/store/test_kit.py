"""The kit for stores is enough: the store on SQLite is written from it and the errors, by names that are promised."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sagalog.store
import sagalog_sqlite

SOURCES = sorted(Path(sagalog_sqlite.__file__).parent.glob("*.py"))


def imported(source: Path) -> set[tuple[str, str]]:
    """What a file imports from sagalog: module and name."""
    tree = ast.parse(source.read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in plain if name.split(".")[0] == "sagalog"], "names are imported one by one"
    ours = [node for node in froms if (node.module or "").split(".")[0] == "sagalog"]
    return {(node.module or "", alias.name) for node in ours for alias in node.names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_store_needs_the_kit_and_the_errors_and_nothing_else(source: Path) -> None:
    names = imported(source)
    assert {module for module, _ in names} <= {"sagalog.store", "sagalog.errors"}
    assert {name for module, name in names if module == "sagalog.store"} <= set(sagalog.store.__all__)


def test_every_name_of_the_kit_is_there_and_says_what_it_is() -> None:
    for name in sagalog.store.__all__:
        kept = getattr(sagalog.store, name)
        assert name.isupper() or name in ("Gate", "Tag") or kept.__doc__, name
