"""Public docstrings are written to one form, which people can rely on and the reference reads."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sagalog import Engine, Lease, SagalogError, errors, outcomes
from sagalog.errors import NotFound, Rejected, TerminalTask, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERB_OF
from tests.reference import surface
from tests.reference.attributes import attributes_of, untyped_of
from tests.reference.constants import comment_of
from tests.reference.docstrings import Docstring, parse
from tests.reference.members import calls_of, properties_of
from tests.reference.shared_arguments import SHARED
from tests.reference.signatures import parameters_of, spelled


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The kit for stores and what it shows of the kernel are written for those who write a store, in the words of a port.
KIT = "sagalog.store"
# The first words of calls; a new one is added here, once it is seen to be a verb.
VERBS = words("""
    Acknowledge Answer Append Ask Audit Begin Call Change Check Close Count Create Decide Decorate Do Draw End Find
    Flush Follow Get Give Go Group Hand Have Iterate Keep Lease Let List Look Make Move Open Pop Push Put Read
    Reattach Record Refuse Remove Renew Retry Return Revoke Run Save Say Send Serve Set Settle Sleep State Stop Take
    Tell Throw Wait
""")
# The first words of classes: those of a noun phrase.
NOUNS = words("A An Both Bytes Commands One The")
# Whole numbers that count something or name a place. Any other says its unit at its end.
COUNTS = words("""
    after claim_ahead concurrency count epoch expected fence level limit number per_key_slots port position priority
    seed since
    slots status threads units version
""")
UNITS = ("_ms", "_bytes", "_max", "_min")
LINES_MAX = 30

# The calls that one command decides.
DECIDED: dict[str, type[c.Command]] = {
    **{
        f"Engine.{kind.__name__.lower()}": kind
        for kind in (c.Create, c.Cancel, c.Quarantine, c.Signal, c.Note, c.Waive, c.Amend)
    },
    "Engine.retry_as_new": c.RetryAsNew,
    "Engine.acquire": c.Acquire,
    **{
        f"Lease.{kind.__name__.lower()}": kind for kind in (c.Heartbeat, c.Register, c.Step, c.Park, c.Release, c.Retry)
    },
    **{f"Lease.{kind.__name__.lower()}": kind for kind in (c.Complete, c.Fail)},
    "Lease.put_artifact": c.PutArtifact,
    "Lease.use": c.Use,
    "Lease.healthy": c.Healthy,
    "Lease.adopt_child": c.AdoptChild,
    "Lease.quarantine": c.QuarantineHeld,
    "Lease.compensation_done": c.CompensationDone,
    "Lease.compensation_failed": c.CompensationFailed,
}
# Refusals of their deciders that no caller meets. A holder's task exists, and once it has ended the lease is lost. The
# others have a place in every live state, and what has ended raises TerminalTask.
UNMET: dict[str, set[type[SagalogError]]] = {
    "Engine": set(),
    "Lease": {NotFound, TerminalTask},
    "Engine.cancel": {WrongState},
    "Engine.quarantine": {WrongState},
    "Engine.waive": {WrongState},
    "Engine.acquire": {WrongState},
    # Its verb draws what would be missing.
    "Lease.complete": {Rejected},
}


@dataclass(frozen=True)
class Called:
    """A public call with the class that shows it, None for a function."""

    title: str
    call: Callable[..., Any]
    doc: str
    shown_by: type | None


def public_calls(*, kit: bool = True) -> Iterator[Called]:
    """Every public call, each text once."""
    told = set()
    for one in surface.all_names():
        if one.module == KIT and not kit:
            continue
        if one.is_call:
            yield Called(one.title, one.found, one.found.__doc__ or "", None)
        elif one.is_class:
            for call in calls_of(one.found):
                if call.doc not in told or not call.doc:
                    told.add(call.doc)
                    yield Called(f"{one.title}.{call.name}", call.call, call.doc, one.found)


CALLS = list(public_calls(kit=False))
KINDS = [one for one in surface.all_names() if one.is_class and one.module != KIT]
# The making of what callers make, which the docstring of the class tells.
MADE = [
    Called(one.title, one.found.__init__, one.found.__doc__, one.found)
    for one in KINDS
    if parse(one.found.__doc__ or "").arguments
]
# What is told of a class and of its attributes elsewhere: `Retry` says what the fields of a policy mean.
TOLD_ELSEWHERE = frozenset({"Policy"})


def docs_of(ones: Iterable[Called | surface.Name]) -> Iterator[tuple[str, str]]:
    """The title and the docstring of each."""
    for one in ones:
        yield one.title, one.doc if isinstance(one, Called) else one.found.__doc__ or ""


def told_by_bases(kind: type | None) -> Iterator[Docstring]:
    """The docstrings of a class and of its bases in sagalog."""
    for base in kind.__mro__ if kind else ():
        if base.__module__.startswith("sagalog"):
            yield parse(vars(base).get("__doc__") or "")


def error_of(name: str) -> type[BaseException] | None:
    """The exception of a name, as a docstring gives it."""
    places = (errors, outcomes, builtins, asyncio)
    found = next((getattr(place, name) for place in places if hasattr(place, name)), None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def named_by(doc: str, shown_by: type | None) -> tuple[type[BaseException], ...]:
    """The errors that a call's docstring names, and those that its class names for all of its calls."""
    docs = [parse(doc), *told_by_bases(shown_by)]
    return tuple(error for each in docs for name in each.raises if (error := error_of(name)))


def walk_own(node: ast.AST) -> Iterator[ast.AST]:
    """What is in a function, without what is in the functions that it makes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from walk_own(child)


def raised_in(call: Callable[..., Any]) -> list[type[BaseException]]:
    """What a function raises by a statement of its own, and not by one of a function that it makes."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(call))).body
    raised = [each.exc for each in walk_own(node) if isinstance(each, ast.Raise)]
    names = [each.func.id for each in raised if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)]
    return [error for name in names if (error := error_of(name))]


def refusals_of(decide: Callable[..., Any], seen: set[Callable[..., Any]] | None = None) -> set[type[SagalogError]]:
    """The errors that a decider, and what it calls of the kernel's deciding, names in its source."""
    seen = set() if seen is None else seen
    seen.add(decide)
    found: set[type[SagalogError]] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(decide)))):
        named = decide.__globals__.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(named, type) and issubclass(named, SagalogError):
            found.add(named)
        elif inspect.isfunction(named) and named.__module__.startswith("sagalog.kernel.decide") and named not in seen:
            found |= refusals_of(named, seen)
    return found


def none(found: Iterable[str]) -> None:
    """Fail with all that was found, a line each."""
    lines = list(found)
    assert lines == [], "\n".join(lines)


def test_every_public_name_says_what_it_is() -> None:
    none(
        one.title
        for one in surface.all_names()
        if not (one.found.__doc__ if one.is_class or one.is_call else one.module == KIT or comment_of(one))
    )


def test_every_public_call_and_property_says_what_it_does() -> None:
    none(one.title for one in public_calls() if not one.doc)
    none(
        f"{one.title}.{each.name}"
        for one in surface.all_names()
        if one.is_class
        for each in properties_of(one.found)
        if not each.doc
    )


def test_every_public_docstring_has_the_one_form() -> None:
    for title, doc in docs_of([*public_calls(), *[one for one in surface.all_names() if one.is_class]]):
        try:
            parse(doc)
        except ValueError as error:
            raise AssertionError(f"{title}: {error}") from error


def test_a_public_docstring_is_short() -> None:
    lengths = {title: len(inspect.cleandoc(doc).splitlines()) for title, doc in docs_of([*CALLS, *KINDS])}

    none(f"{title}: {length} lines" for title, length in lengths.items() if length > LINES_MAX)


def test_the_docstring_of_a_call_opens_with_a_verb() -> None:
    """A word that is none of `VERBS` is added there once it is seen to be a verb."""
    none(f"{title}: {doc.split()[0]}" for title, doc in docs_of(CALLS) if doc.split()[0].strip(".,;:") not in VERBS)


def test_the_docstring_of_a_class_opens_with_a_noun() -> None:
    """Those of errors are sentences: they say what is so, and what to do."""
    kinds = [one for one in KINDS if not one.is_error]

    none(f"{title}: {doc.split()[0]}" for title, doc in docs_of(kinds) if doc.split()[0] not in NOUNS)


def test_every_argument_of_a_call_is_told_or_is_a_shared_one() -> None:
    none(
        f"{one.title}: {each.name}"
        for one in [*CALLS, *MADE]
        for each in parameters_of(one.call)
        if each.name not in {*re.findall(r"`(\w+)`", one.doc), *parse(one.doc).arguments, *SHARED}
    )


def test_the_arguments_that_a_docstring_tells_are_those_of_the_call() -> None:
    none(
        f"{one.title}: {name}"
        for one in [*CALLS, *MADE]
        for name in parse(one.doc).arguments
        if name not in [each.name for each in parameters_of(one.call)]
    )


def test_the_errors_that_a_docstring_names_are_errors() -> None:
    none(
        f"{title}: {name}"
        for title, doc in docs_of([*CALLS, *KINDS])
        for name in parse(doc).raises
        if error_of(name) is None
    )


def test_errors_are_named_in_their_section_and_in_no_sentence() -> None:
    """In a sentence, the reference could not find them."""
    none(
        f"{title}: {said}"
        for title, doc in docs_of([*CALLS, *KINDS])
        for said in re.findall(r"\b[Rr]aises `?[A-Z]\w+", " ".join(parse(doc).paragraphs))
    )


def test_a_call_names_the_errors_that_it_raises_itself() -> None:
    """Its class may name them for all of its calls, and a branch names what is below it."""
    none(
        f"{one.title}: {error.__name__}"
        for one in [*CALLS, *MADE]
        for error in raised_in(inspect.unwrap(one.call))
        if not issubclass(error, named_by(one.doc, one.shown_by))
    )


def test_a_command_names_the_errors_by_which_it_may_be_refused() -> None:
    """Those that its decider raises, as far as a caller can meet them."""
    unnamed = []
    for title, command in DECIDED.items():
        kind, _, name = title.partition(".")
        shown_by = {"Engine": Engine, "Lease": Lease}[kind]
        named = named_by(getattr(shown_by, name).__doc__, shown_by)
        refusals = refusals_of(VERB_OF[command].decide) - UNMET[kind] - UNMET.get(title, set())
        unnamed += [f"{title}: {error.__name__}" for error in refusals if not issubclass(error, named)]

    none(unnamed)


def test_a_number_among_the_arguments_says_its_unit() -> None:
    none(
        f"{one.title}: {each.name}"
        for one in [*CALLS, *MADE]
        for each in parameters_of(one.call)
        if re.match(r"(int|float)\b", spelled(each.annotation))
        and not f"_{each.name}".endswith(UNITS)
        and each.name not in COUNTS
    )


def test_every_public_attribute_has_a_type() -> None:
    none(f"{one.title}: {name}" for one in surface.all_names() if one.is_class for name in untyped_of(one.found))


def test_every_public_attribute_of_the_engine_says_what_it_is() -> None:
    """One that is an argument too is told as such."""
    kinds = [one for one in KINDS if one.module.split(".")[0] == "sagalog" and one.title not in TOLD_ELSEWHERE]

    none(
        f"{one.title}: {each.name}"
        for one in kinds
        for each in attributes_of(one.found, {})
        if not each.text and not any(each.name in doc.arguments for doc in told_by_bases(one.found))
    )


def test_a_docstring_is_taken_apart_into_its_parts() -> None:
    doc = parse(
        """Do it. [LIFE-1]

        More of it,
        in two lines.

        go(by)  a call
        one     the first
        other   the second,
                in two lines

        Args:
            given, and_this: both,
                in two lines.
            **more: others.

        Returns:
            What is done.

        Raises:
            NotFound: there is none.

        Example:
            do()

            done()
        """
    )

    assert doc.paragraphs == ["Do it. [LIFE-1]", "More of it, in two lines."]
    assert doc.rows == {"go(by)": "a call", "one": "the first", "other": "the second, in two lines"}
    assert doc.arguments == {"given": "both, in two lines.", "and_this": "both, in two lines.", "more": "others."}
    assert (doc.returns, doc.raises) == ("What is done.", {"NotFound": "there is none."})
    assert doc.example == "do()\n\ndone()"


@pytest.mark.parametrize("line", ["NotFound; TerminalTask: it has ended", "the first refusal", ": nothing"])
def test_a_section_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"^expected `name: text`, found"):
        parse(f"Do it.\n\nRaises:\n    {line}\n")


def test_a_docstring_without_sections_is_its_text() -> None:
    assert parse("Do it.") == Docstring(text=["Do it."])
