"""Conditions of rules: what has to be so in a JSON object, in last words, or in how a command ended.

Rule: a condition that means nothing is refused where it is made, since one that silently never counts lets an error
pass as success. Conditions are data; `matcher` says whether they hold. This module knows no class.
"""

from __future__ import annotations

import re
import signal
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from sagalog_command import wordings
from sagalog_command.conversion import Converter, Named
from sagalog_command.wordings import FamilyPatterns, Patterns

_EXIT_MAX: Final = 255
_EXITS: Final = re.compile(r"(\d{1,3})-(\d{1,3})", re.ASCII)

Scalars = Annotated[tuple[bool | int | float | str, ...], Meta(min_length=1)]
Stream = Literal["stdout", "stderr"]


class SignalNumber(int):
    """The number of a signal: given as its name."""


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a classifier; a field that it does not know is refused."""


class Wording(Data, frozen=True):
    """What is looked for in a text: any of the regular expressions `matches`, and of the families that `says` names."""

    matches: Patterns = Patterns()
    says: FamilyPatterns = FamilyPatterns()

    @property
    def patterns(self) -> Patterns:
        """The regular expressions of both."""
        return Patterns((*self.matches, *self.says))


class Test(Wording, frozen=True):
    """A condition on one value: it is one of some scalars, or a text in which a pattern is found, or missing.

    The condition holds if any of these holds. Null counts as missing.
    """

    __test__ = False  # no class of tests, whatever its name says

    one_of: Scalars = field(default=(), name="in")
    is_missing: bool = field(default=False, name="missing")

    def __post_init__(self) -> None:
        if not (self.one_of or self.matches or self.says or self.is_missing):
            raise ValueError("tests nothing; give a value, a list, `in`, `matches`, `says`, or `missing = true`")


class Tests(dict[str, Test]):
    """Conditions on values, by their paths.

    A path is keys and numbers with dots between them; of several paths with `|` between them, the first counts that
    leads to a value.
    """


class FrameTest(Data, frozen=True):
    """A condition on the last JSON object that `select` picks.

    The condition holds if there is such a object and all of `where` hold for it; with `is_not`, if not.
    """

    select: Tests
    where: Tests = Tests()
    is_not: bool = field(default=False, name="not")


class TextTest(Wording, frozen=True, kw_only=True):
    """A condition on the last words of one stream: one of the patterns is found in them.

    line  which lines are looked at: `any`, the `last` that is not blank, or the `only` one, if there is only one

    What `says` names is found only at the beginning of a line, and if no further word follows in the same clause.
    """

    stream: Stream
    line: Literal["any", "last", "only"] = "any"

    def __post_init__(self) -> None:
        if bool(self.matches) == bool(self.says):
            raise ValueError("looks for nothing, or for two things; give `matches` or `says`")


class SentenceTest(Wording, frozen=True):
    """A condition on the sentence in which a program says what went wrong: one of the patterns is found in it."""

    def __post_init__(self) -> None:
        if not self.patterns:
            raise ValueError("looks for nothing; give `says` or `matches`")


class Conditions(Data, frozen=True, kw_only=True):
    """Conditions that all have to hold.

    exits, signals  the process ended with one of these statuses, or by one of these signals (a shell's 128 + n, too);
                    neither holds for a process that the runner has ended
    frames          conditions on JSON objects; the first without `is_not` picks the subject, at which paths begin
    """

    exits: tuple[range, ...] = ()
    signals: tuple[SignalNumber, ...] = ()
    frames: tuple[FrameTest, ...] = ()

    @property
    def has_subject(self) -> bool:
        """Whether there is a JSON object at which paths begin."""
        return not all(test.is_not for test in self.frames)


def _read_exits(_: Converter, given: Any) -> range:
    span = _EXITS.fullmatch(given) if isinstance(given, str) else None
    first, last = (int(span[1]), int(span[2])) if span else (given, given)
    if type(first) is not int or not 0 <= first <= last <= _EXIT_MAX:
        raise ValueError(f"expected an exit status from 0 to {_EXIT_MAX}, or a range of them like `1-{_EXIT_MAX}`")
    return range(first, last + 1)


def _read_signal(_: Converter, given: Any) -> SignalNumber:
    if not isinstance(given, str) or given not in signal.Signals.__members__:
        raise ValueError("expected the name of a signal, like SIGTERM")
    return SignalNumber(signal.Signals[given])


# The forms in which a condition on a value is given: the value, a list of values, or a mapping.
_FORMS: Final = Named[str, None | bool | int | float | str | Scalars | Test]


def _read_tests(converter: Converter, given: Any) -> Tests:
    tests = Tests()
    for path, each in converter.part(given, _FORMS).items():
        values = each if isinstance(each, tuple) else (each,)
        tests[path] = each if isinstance(each, Test) else Test(is_missing=True) if each is None else Test(one_of=values)
    return tests


READERS: Final = {**wordings.READERS, range: _read_exits, SignalNumber: _read_signal, Tests: _read_tests}
