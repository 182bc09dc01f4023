"""How the end of a command is understood, as data: ordered rules, of which the first that holds says what it was.

Rule: these are values that say nothing by themselves; `classifying` reads them, `loading` makes them. A rule looks at
the fields of the mappings of JSON that a process printed, at how it ended, or at its last words, in that order of
trust.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from sagalog_command.wordings import Patterns


class Class(StrEnum):
    """The meaning of a command's end, as a class; `unknown` counts as an attempt."""

    OK = "ok"
    RATE_LIMIT = "transient.rate_limit"
    OVERLOADED = "transient.overloaded"
    NETWORK = "transient.network"
    QUOTA = "transient.quota"
    AUTH = "permanent.auth"
    INVALID = "permanent.invalid"
    CONFIG = "permanent.config"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


# A rule of this class leaves the choice to the status of HTTP that it finds.
BY_STATUS: Final = "http"

STATUSES: Final[Mapping[int, Class]] = {
    400: Class.INVALID,
    401: Class.AUTH,
    403: Class.AUTH,
    404: Class.CONFIG,
    408: Class.NETWORK,
    413: Class.INVALID,
    422: Class.INVALID,
    425: Class.NETWORK,
    429: Class.RATE_LIMIT,
    **dict.fromkeys(range(500, 600), Class.OVERLOADED),
}

# No limit that is known lasts longer than a week.
RESET_MS_MAX: Final = 8 * 86_400_000


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on one value: one of some scalars, a text in which a pattern is found, or not there at all.

    It holds if any of these holds. What is null counts as not there.
    """

    __test__ = False  # no class of tests, whatever its name says

    one_of: tuple[Any, ...] = ()
    patterns: Patterns = ()
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class FrameTest:
    """A condition on the last mapping of JSON that `select` picks.

    It holds if there is such a one and all of `where` hold for it; with `is_not`, if not. A path is keys and numbers
    with dots between them; of several with `|` between them, the first counts at which anything stands.
    """

    select: Mapping[str, Test]
    where: Mapping[str, Test] = field(default_factory=dict)
    is_not: bool = False


@dataclass(frozen=True, slots=True)
class TextTest:
    """A condition on the last words of one stream: one of the patterns is found in them.

    line    which lines are looked at: `any`, the `last` that is not blank, or the `only` one, if there is only one
    begins  a pattern is found only at the beginning of a line, and if no further word follows in the same clause
    """

    stream: Literal["stdout", "stderr"]
    patterns: Patterns
    line: Literal["any", "last", "only"] = "any"
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where a program itself says what went wrong, if its conditions hold.

    exits, signals, frames   as of a rule
    path                     in the mapping that the first of `frames` picks
    text                     else in the last words of a stream: from the last line on in which a pattern is found, or
                             in the group `error` of that pattern
    """

    exits: tuple[int, ...] = ()
    signals: tuple[signal.Signals, ...] = ()
    frames: tuple[FrameTest, ...] = ()
    path: str | None = None
    text: TextTest | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Where a rule finds from when on trying again makes sense.

    form   `sentence` (whatever of the others a sentence tells), `epoch` (s or ms since 1970), `clock` (a time of day,
           with or without date and zone), `date` (as ISO 8601 has it), `duration` (a length of time, as in `8h44m7s`),
           `seconds` or `milliseconds` from now, or `retry_after` (seconds or a date, as HTTP has it)
    path   in the mapping of JSON that the rule's first condition on one picks; without it, in the group `reset` of the
           pattern that was found, in the whole sentence if the rule looks at that, or in all that was found
    """

    form: Literal["sentence", "epoch", "clock", "date", "duration", "seconds", "milliseconds", "retry_after"]
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: if all its conditions hold, the end is of its class.

    exits, signals   the process ended with one of these statuses, or by one of these signals (a shell's 128 + n, too);
                     neither holds for one that was ended by us
    is_over_time     whether it was ended because its time was over
    frames, text     see there; the first of `frames` that is no `is_not` is the subject, which paths begin at
    error            one of these patterns is found in the sentence that the classifier's sources give
    status           path to the status of HTTP, for the class `http`; without it, the group `status` of a pattern
    message          path to the sentence for people; without it, that of the classifier's sources
    """

    name: str
    class_: Class | Literal["http"]
    exits: tuple[int, ...] = ()
    signals: tuple[signal.Signals, ...] = ()
    is_over_time: bool | None = None
    frames: tuple[FrameTest, ...] = ()
    text: TextTest | None = None
    error: Patterns = ()
    status: str | None = None
    message: str | None = None
    reset: Reset | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A value for the result: `path` in the last mapping of JSON that `select` picks."""

    select: Mapping[str, Test]
    path: str


@dataclass(frozen=True, slots=True)
class Classifier:
    """The rules for one kind of command, in order, and the fields that its result has.

    sources       where the program says what went wrong; the first that gives a sentence counts
    final         the frames after which nothing more comes: if one of these holds, what the end means is known, and a
                  process that does not end is ended
    streams       those in which mappings of JSON are looked for
    statuses      what a status of HTTP means; one that is not named decides nothing
    quarantines   classes at whose end a human must look, instead of failing the task
    reset_ms_max  the longest wait that is believed
    """

    name: str
    rules: tuple[Rule, ...]
    fields: Mapping[str, Field] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    final: tuple[FrameTest, ...] = ()
    streams: frozenset[str] = frozenset({"stdout"})
    statuses: Mapping[int, Class] = field(default_factory=lambda: STATUSES, repr=False)
    quarantines: frozenset[Class] = frozenset()
    reset_ms_max: int = RESET_MS_MAX

    def selections(self) -> tuple[Mapping[str, Test], ...]:
        """Give what picks the mappings of JSON that matter, each once."""
        found: list[Mapping[str, Test]] = []
        for select in (
            *(test.select for rule in self.rules for test in rule.frames),
            *(test.select for source in self.sources for test in source.frames),
            *(test.select for test in self.final),
            *(each.select for each in self.fields.values()),
        ):
            if select not in found:
                found.append(select)
        return tuple(found)
