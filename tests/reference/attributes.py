"""The public attributes of a class: fields, what is set as an object is made, and what a property gives.

A text is in the line below the attribute, as a docstring of its own, or in a table of the class's docstring.

Rule: types are read from the source, where a type checker has compared them with the code. Nothing is guessed: a public
attribute without a type is an error here.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from tests.reference.docstrings import parse
from tests.reference.signatures import default_of


@dataclass(frozen=True)
class Attribute:
    """One attribute: its type as it is written, its default as it is written ("": none), and its text."""

    name: str
    spelled_type: str
    default: str
    text: str


def attributes_of(kind: type, names: dict[int, str]) -> list[Attribute]:
    """The attributes of a class and of its bases in sagalog, the bases first; `names` as for a signature."""
    found: dict[str, Attribute] = {}
    for base in _bases(kind):
        rows = parse(base.__doc__ or "").rows if _has_own_doc(base) else {}
        texts = {name: text for row, text in rows.items() for name in row.split(", ")}
        for name, (spelled_type, text) in _declared(base).items():
            default = _default(kind, name, names)
            found[name] = Attribute(name, spelled_type, default, text or texts.get(name, ""))
        for name, text in texts.items():
            if name in found and not found[name].text:
                found[name] = Attribute(name, found[name].spelled_type, found[name].default, text)
    if issubclass(kind, enum.Enum):
        texts = parse(kind.__doc__ or "").rows
        return [Attribute(str(one.name), "", default_of(one.value, names), texts.get(one.name, "")) for one in kind]
    return list(found.values())


def untyped_of(kind: type) -> list[str]:
    """The public attributes that methods of a class set and that no line gives a type."""
    typed = {name for base in _bases(kind) for name in _declared(base)}
    return sorted({name for base in _bases(kind) for name, _ in _set_in(_node(base))} - typed)


def _bases(kind: type) -> list[type]:
    return [base for base in reversed(kind.__mro__) if base.__module__.startswith("sagalog")]


def _has_own_doc(kind: type) -> bool:
    return "__doc__" in vars(kind) and vars(kind)["__doc__"] is not None


@cache
def _declared(kind: type) -> dict[str, tuple[str, str]]:
    """Name -> type and text, of what the source of a class gives a type."""
    node = _node(kind)
    found: dict[str, tuple[str, str]] = {}
    for line, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            found[line.target.id] = (_written(kind, line.annotation), _text(following))
    for name, annotation in _set_in(node):
        if annotation is not None:
            found.setdefault(name, (_written(kind, annotation), ""))
    return {name: one for name, one in found.items() if not name.startswith("_")}


def _set_in(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """What methods of a class set on `self`, and its type: as it is written, or that of the parameter that it is."""
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        given = {one.arg: one.annotation for one in (*method.args.args, *method.args.kwonlyargs)}
        for line in ast.walk(method):
            if isinstance(line, ast.AnnAssign) and (name := _of_self(line.target)):
                yield name, line.annotation
            elif isinstance(line, ast.Assign):
                is_given = isinstance(line.value, ast.Name)
                for name in filter(None, map(_of_self, line.targets)):
                    yield name, given.get(line.value.id) if is_given else None  # type: ignore[attr-defined]


def _of_self(target: ast.expr) -> str:
    """The public attribute of `self` that is set; "": none."""
    is_of_self = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
    return target.attr if is_of_self and not target.attr.startswith("_") else ""  # type: ignore[attr-defined]


def _text(following: ast.stmt | None) -> str:
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        value = following.value.value
        return " ".join(value.split()) if isinstance(value, str) else ""
    return ""


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _default(kind: type, name: str, names: dict[int, str]) -> str:
    if issubclass(kind, msgspec.Struct):
        field = next(one for one in _fields(kind) if one.name == name)
        if field.default is not msgspec.NODEFAULT:
            return default_of(field.default, names)
        return "" if field.default_factory is msgspec.NODEFAULT else default_of(field.default_factory(), names)
    fields: dict[str, Any] = getattr(kind, "__dataclass_fields__", {})
    if name not in fields:
        return ""
    parameter = inspect.signature(kind).parameters.get(name)
    if parameter is None or parameter.default is parameter.empty:
        return ""
    factory = fields[name].default_factory
    return default_of(factory() if callable(factory) else parameter.default, names)


@cache
def _tree(module: str) -> tuple[list[bytes], ast.Module]:
    """The lines of a module as bytes, in which syntax trees count columns, and its tree."""
    source = inspect.getsource(sys.modules[module])
    return source.encode().splitlines(), ast.parse(source)


@cache
def _node(kind: type) -> ast.ClassDef:
    _, tree = _tree(kind.__module__)
    return next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__)


def _written(kind: type, node: ast.expr) -> str:
    lines, _ = _tree(kind.__module__)
    assert node.end_lineno is not None
    whole = [*lines[node.lineno - 1 : node.end_lineno]]
    whole[-1] = whole[-1][: node.end_col_offset]
    whole[0] = whole[0][node.col_offset :]
    return re.sub(r"\s+", " ", b" ".join(whole).decode())
