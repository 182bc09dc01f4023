"""The names of tests: short enough to be read at a glance, each its own within a module, and filed by topic.

Rule: the sources are read, not imported, so that a test that is not collected counts too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
FOLDERS: Final = ("tests", "engine/sagalog/testing/contract", "docs/examples")
CHARACTERS_MAX: Final = 70


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def scopes(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each module and class of a file, with the names of the tests that it holds itself."""
    code = path.read_text(encoding="utf-8")
    if "def test_" not in code:
        return
    waiting: list[ast.Module | ast.ClassDef] = [ast.parse(code)]
    while waiting:
        scope = waiting.pop()
        tests = [one.name for one in scope.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
        name = str(path.relative_to(ROOT)) + (f"::{scope.name}" if isinstance(scope, ast.ClassDef) else "")
        yield name, [one for one in tests if one.startswith("test_")]
        waiting += [one for one in scope.body if isinstance(one, ast.ClassDef)]


@cache
def all_tests() -> list[tuple[str, list[str]]]:
    """Those of all files, which are read once."""
    return [scope for path in files() for scope in scopes(path)]


def test_the_name_of_a_test_has_at_most_70_characters() -> None:
    assert sum(len(names) for _, names in all_tests()) > 2_000
    assert [f"{place}::{name}" for place, names in all_tests() for name in names if len(name) > CHARACTERS_MAX] == []


def test_no_two_tests_of_one_module_or_class_have_the_same_name() -> None:
    """The second would hide the first, which would never run."""
    twice = [f"{place}::{name}" for place, names in all_tests() for name, count in Counter(names).items() if count > 1]
    assert twice == []


def test_no_file_of_tests_is_named_after_regressions() -> None:
    """A mended defect has its test beside those of its topic."""
    assert [str(path) for path in files() if "regression" in path.name] == []
