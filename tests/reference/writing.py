"""The Markdown of the reference: one section for each public name, then all limits and all errors.

Rule: in the order of `surface`; one sentence a line, as in every document here. Links are compared by a test.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from tests.reference import constants, surface, tables
from tests.reference.attributes import attributes_of
from tests.reference.docstrings import Docstring, Table, parse, sentences
from tests.reference.limits import limit_of
from tests.reference.members import Call, calls_of, properties_of
from tests.reference.shared_arguments import SHARED
from tests.reference.signatures import parameters_of, signature_of, spelled, starred
from tests.reference.surface import Name

COMMAND: Final = "python -m tests.reference docs/reference.md"
_INTRODUCTION: Final = f"""\
# Reference

<!-- Written by `{COMMAND}` from the docstrings; edit those. -->

Every public name of sagalog: what it promises, its arguments with their limits, and the errors that it may raise.
Times are whole milliseconds since 1970 and end in `_ms`, as lengths of time do; sizes end in `_bytes`.
A number in brackets, such as [LEASE-1], is a rule of [specs/rules.md](../specs/rules.md).
[glossary.md](glossary.md) says what the words mean, and [tutorial.md](tutorial.md) how the parts work together.
"""
# How many names without a heading the contents list in one line.
_LISTED_MAX: Final = 24
_RULE: Final = re.compile(r"\[([A-Z]+)-\d+\]")


def reference() -> str:
    """The whole text."""
    page = _Page()
    parts = [_INTRODUCTION, *page.contents(), *_shared(), *page.modules(), *tables.limits(), *page.errors()]
    text = "\n".join(parts)
    return f"{text}\n{_rule_links(text)}"


def anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def link(title: str, heading: str = "") -> str:
    """A link to the section of a name, under its title or under another heading."""
    return f"[`{title}`](#{anchor(heading or title)})"


def _by_sort(names: list[Name]) -> dict[str, list[Name]]:
    """Many names by what they name; classes also by the letter with which they begin, a dozen or so together."""
    classes = [one for one in names if one.is_class]
    parts = {}
    for at in range(0, len(classes), _LISTED_MAX // 2):
        some = classes[at : at + _LISTED_MAX // 2]
        parts[f"Classes, {some[0].name} to {some[-1].name}"] = some
    return {
        **parts,
        "Functions": [one for one in names if one.is_call],
        "Constants": [one for one in names if not one.is_class and not one.is_call],
    }


class _Page:
    """The sections of all names; it knows which text is where, so that none is told twice."""

    def __init__(self) -> None:
        self._titles: dict[Any, str] = {}
        self._calls: dict[str, tuple[str, Call]] = {}
        self._names = {
            id(one.found): one.name
            for one in surface.all_names()
            if not one.is_class and not one.is_call and not isinstance(one.found, str | int)
        }
        for one in surface.all_names():
            if one.is_class:
                self._titles[one.found] = one.title

    def contents(self) -> Iterator[str]:
        """The table of contents."""
        yield "## Contents\n"
        yield f"- [Arguments of many calls](#{anchor('Arguments of many calls')})"
        for module in surface.MODULES:
            yield f"- [`{module}`](#{anchor(module)})"
            for heading, names in surface.headings_of(module).items():
                parts = {heading: names} if heading or len(names) <= _LISTED_MAX else _by_sort(names)
                for begin, some in parts.items():
                    if some:
                        links = ", ".join(link(one.title, one.heading) for one in some)
                        yield f"  - {begin}{': ' if begin else ''}{links}"
        yield "- [Limits](#limits)"
        yield "- [Errors](#errors)\n"

    def modules(self) -> Iterator[str]:
        """The sections of all modules."""
        for module in surface.MODULES:
            yield f"## `{module}`\n"
            paragraph, *_ = parse(surface.module_of(module).__doc__ or "").paragraphs
            yield f"{sentences(paragraph)[0]}\n"
            for names in surface.headings_of(module).values():
                for one in names:
                    yield from self._section(one)

    def errors(self) -> Iterator[str]:
        """Every error, by what the caller does next."""
        yield "## Errors\n"
        yield from self._section(surface.name_of("sagalog", "SagalogError"))
        yield "The exit status in the tables below is that of the command `sagalog` where the error ends a command.\n"
        for branch in tables.branches():
            yield f"### `{branch.__name__}`\n"
            yield from tables.errors(branch)

    def _section(self, one: Name) -> Iterator[str]:
        yield f"### {one.heading}\n"
        if one.is_class:
            yield from self._class(one)
        elif one.is_call:
            yield from self._call(Call(one.name, one.found, type(None)), one.title, one.name)
            if one.title == "open":
                yield from tables.stores()
        else:
            yield from constants.section(one)

    def _class(self, one: Name) -> Iterator[str]:
        kind = one.found
        doc = parse(kind.__doc__ or "")
        made_by = kind.__init__
        is_told_there = "Args:" in (made_by.__doc__ or "")
        own = parse(made_by.__doc__) if is_told_there else doc
        if own.arguments:
            yield from _code(signature_of(made_by, one.name, self._names).removesuffix(" -> None"))
        yield from _text(doc, frozenset(each.name for each in attributes_of(kind, self._names)))
        if own.arguments:
            yield from _arguments(one.title, made_by, own)
        if is_told_there:
            yield from _raises(own, "**Raises**, as it is made:")
        when = [
            *(["as it is made"] if own is doc and own.arguments else []),
            *(["in any call"] if calls_of(kind) else []),
        ]
        yield from _raises(doc, f"**Raises**{', ' if when else ''}{' or '.join(when)}:")
        yield from _example(doc)
        bases = [base for base in kind.__mro__[1:] if base in self._titles]
        if bases:
            yield f"It has all that {link(self._titles[bases[0]])} has.\n"
        yield from self._attributes(kind, set(bases), set(own.arguments))
        yield from self._calls_of(one, set(bases))

    def _attributes(self, kind: type, told: set[type], arguments: set[str]) -> Iterator[str]:
        """What is no argument: that is told already."""
        theirs = {attribute.name for base in told for attribute in attributes_of(base, self._names)}
        own = [one for one in attributes_of(kind, self._names) if one.name not in theirs]
        given = [f"`{one.name}`" for one in own if one.name in arguments]
        if given:
            yield f"Arguments that are attributes too: {', '.join(given)}.\n"
        rows = [
            (f"`{one.name}`", _quoted(one.spelled_type), _quoted(one.default), one.text)
            for one in own
            if one.name not in arguments
        ]
        rows += [
            (f"`{each.name}`", _quoted(each.spelled_type), "", " ".join(parse(each.doc).paragraphs))
            for each in properties_of(kind)
            if each.owner not in told
        ]
        is_enum = issubclass(kind, Enum)
        yield from tables.table(
            ("member" if is_enum else "attribute", "type", "value" if is_enum else "default", "meaning"), rows
        )

    def _calls_of(self, one: Name, told: set[type]) -> Iterator[str]:
        calls = [call for call in calls_of(one.found) if call.owner not in told]
        known = [call for call in calls if call.doc in self._calls]
        yield from self._as_told(known, one)
        for call in calls:
            if call in known:
                continue
            title = f"{one.title}.{call.name}"
            self._calls.setdefault(call.doc, (title, call))
            yield f"#### `{title}`\n"
            yield from self._call(call, title, f"{one.name}.{call.name}" if call.is_of_class else call.name)

    def _as_told(self, calls: list[Call], one: Name) -> Iterator[str]:
        """Calls whose text is elsewhere: what they return, and what they take beside that."""
        if not calls:
            return
        yield "These have the arguments and errors of the calls that are linked:\n"
        for call in calls:
            title, other = self._calls[call.doc]
            theirs = {parameter.name for parameter in parameters_of(other.call)}
            more = [parameter.name for parameter in parameters_of(call.call) if parameter.name not in theirs]
            begin = ", ".join([*more, "…"])
            is_awaited = inspect.iscoroutinefunction(call.call)
            returned = spelled(inspect.signature(call.call).return_annotation)
            yield f"- `{'await ' if is_awaited else ''}{call.name}({begin})` gives `{returned}`: as {link(title)}"
        yield ""

    def _call(self, call: Call, title: str, name: str) -> Iterator[str]:
        doc = parse(call.doc)
        yield from _code(signature_of(call.call, name, self._names))
        yield from _text(doc)
        yield from _arguments(title, call.call, doc)
        if doc.returns:
            yield f"**Returns**: {doc.returns}\n"
        yield from _raises(doc, "**Raises**:")
        yield from _example(doc)


def _quoted(text: str) -> str:
    return f"`{text}`" if text else ""


def _shared() -> Iterator[str]:
    yield "## Arguments of many calls\n"
    yield "Where a call says nothing else of an argument of these names, it means this:\n"
    rows = [(f"`{name}`", text, limit_of("Engine", name)) for name, text in SHARED.items()]
    yield from tables.table(("argument", "meaning", "limit"), rows)


def _text(doc: Docstring, attributes: frozenset[str] = frozenset()) -> Iterator[str]:
    """The text; what a table says of attributes is told with them."""
    for one in doc.text:
        if isinstance(one, Table):
            rows = [(f"`{name}`", text) for name, text in one.rows.items() if name.split(", ")[0] not in attributes]
            yield from tables.table(("name", "meaning"), rows)
        else:
            yield from sentences(one)
            yield ""


def _arguments(title: str, call: Any, doc: Docstring) -> Iterator[str]:
    """One row an argument: what its docstring says, else what all arguments of the name mean.

    Neighbours that the docstring tells together share a row.
    """
    told: list[tuple[str, dict[str, str]]] = []
    for one in parameters_of(call):
        meaning = doc.arguments.get(one.name) or SHARED.get(one.name, "")
        if not (told and meaning and told[-1][0] == meaning):
            told.append((meaning, {}))
        told[-1][1][f"`{starred(one)}`"] = limit_of(title, one.name)
    rows = [(", ".join(limits), meaning, _limits(limits)) for meaning, limits in told]
    if any(meaning or limit for _, meaning, limit in rows):
        yield from tables.table(("argument", "meaning", "limit"), rows)


def _limits(limits: dict[str, str]) -> str:
    """The limits of the arguments of a row: one where all have it, else each with the arguments that have it."""
    if len(set(limits.values())) == 1:
        return next(iter(limits.values()))
    names: dict[str, list[str]] = {}
    for name, limit in limits.items():
        names.setdefault(limit, []).append(name)
    return "; ".join(f"{', '.join(of)}: {limit}" for limit, of in names.items() if limit)


def _raises(doc: Docstring, heading: str) -> Iterator[str]:
    if doc.raises:
        yield f"{heading}\n"
        yield from (f"- {tables.error_link(name)}: {text}" for name, text in doc.raises.items())
        yield ""


def _example(doc: Docstring) -> Iterator[str]:
    if doc.example:
        yield f"```python\n{doc.example}\n```\n"


def _code(text: str) -> Iterator[str]:
    # Not as `python`: a test runs what is marked so.
    yield f"```py\n{text}\n```\n"


def _rule_links(text: str) -> str:
    """Where each rule that is cited is found: under the heading of its area."""
    headings = re.findall(r"^## (([A-Z]+): .+)$", tables.rules_text(), re.MULTILINE)
    anchors = {area: anchor(heading) for heading, area in headings}
    cited = sorted({(match[1], int(match[0].strip("[]").split("-")[1])) for match in _RULE.finditer(text)})
    return "".join(f"[{area}-{number}]: ../specs/rules.md#{anchors[area]}\n" for area, number in cited)
