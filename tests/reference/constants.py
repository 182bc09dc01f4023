"""Public names that are neither classes nor calls: other names of types, and constants.

Rule: what is shown is the source: its type or its value as it is written, and the comment above it.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.reference.signatures import default_of
from tests.reference.surface import Name, module_of

_SHOWN: Final = (bool, int, str, frozenset)


def section(one: Name) -> Iterator[str]:
    """What a constant is."""
    module, node = _assignment(one.module, one.name)
    source = inspect.getsource(sys.modules[module])
    if isinstance(one.found, _SHOWN):
        yield f"```py\n{one.name} = {default_of(one.found, {})}\n```\n"
    elif _is_of_a_class_of_ours(one):
        yield f"```py\n{one.name}: {type(one.found).__name__}\n```\n"
    else:
        assert node.value is not None
        text = re.sub(r"\s+", " ", ast.get_source_segment(source, node.value) or "")
        yield f"```py\n{one.name} = {text}\n```\n"
    comment = _comment_above(source, node.lineno)
    if comment:
        yield f"{comment}\n"


def comment_of(one: Name) -> str:
    """What the comment above a constant says; "": there is none."""
    module, node = _assignment(one.module, one.name)
    return _comment_above(inspect.getsource(sys.modules[module]), node.lineno)


def _comment_above(source: str, line: int) -> str:
    """The comment that ends right above a line; "": none."""
    lines = source.splitlines()[: line - 1]
    found: list[str] = []
    while lines and lines[-1].startswith("# "):
        found.insert(0, lines.pop()[2:])
    return " ".join(found)


def _is_of_a_class_of_ours(one: Name) -> bool:
    return type(one.found).__module__.startswith("sagalog")


@cache
def _body(module: str) -> list[ast.stmt]:
    """The statements of a module, and those that only type checkers see."""
    body = ast.parse(inspect.getsource(module_of(module))).body
    return [one for node in body for one in (node.body if isinstance(node, ast.If) else [node])]


def _assignment(module: str, name: str) -> tuple[str, ast.Assign | ast.AnnAssign]:
    """The module in which a name is given its value, and the line that does."""
    for node in _body(module):
        if isinstance(node, ast.ImportFrom) and node.module and name in [one.asname or one.name for one in node.names]:
            return _assignment(node.module, name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in [getattr(one, "id", "") for one in targets]:
            return module, node
    raise LookupError(f"{module} gives {name} no value")
