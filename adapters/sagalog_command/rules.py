"""Rules by which a classifier understands the end of a command: the first that holds says what it was.

Rule: a classifier is data and says nothing by itself; `loader` makes it from JSON and TOML, `classification` asks its
rules. A rule looks at fields of the JSON objects that a command printed, at how the command ended, or at its last
words, in that order of trust.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, field

from sagalog_command.conditions import Conditions, Data, FrameTest, SentenceTest, Stream, Tests, TextTest
from sagalog_command.conversion import Named, Refused, Text
from sagalog_command.resets import Form
from sagalog_command.wordings import Patterns


class Class(StrEnum):
    """The meaning of the end of a command; `unknown` counts as an attempt."""

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

STATUSES: Final = {
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

Status = Annotated[int, Meta(ge=100, le=599)]


class Source(Conditions, frozen=True):
    """A place where a program itself says what went wrong, if the conditions hold.

    path  in the subject
    text  else in the last words of a stream: from the last line on in which a pattern is found, or in the group `error`
          of that pattern
    """

    path: str | None = None
    text: TextTest | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.text is None):
            raise ValueError("names no place, or two; give `path` or `text`")
        if self.path is not None and not self.has_subject:
            raise Refused(".path", _NO_SUBJECT)


class Reset(Data, frozen=True):
    """A place where a rule finds from when on trying again makes sense.

    form  `sentence` (whatever of the others a sentence tells), `epoch` (s or ms since 1970), `clock` (a time of day,
          with or without date and zone), `date` (as ISO 8601 has it), `duration` (a length of time, as in `8h44m7s`),
          `seconds` or `milliseconds` from now, or `retry_after` (seconds or a date, as HTTP has it)
    path  in the subject; without it, in the group `reset` of the pattern that was found, in the whole sentence if the
          rule looks at that, or in all that was found
    """

    form: Form
    path: str | None = None


class Rule(Conditions, frozen=True, kw_only=True):
    """A rule: if all its conditions hold, the end is of its class.

    is_over_time  whether the command was ended because its time was over
    error         a condition on the sentence that the classifier's sources give
    status        path to the status of HTTP, for the class `http`; without it, the group `status` of a pattern
    message       path to the sentence for people; without it, that of the classifier's sources
    """

    name: Text
    class_: str = field(name="class")
    is_over_time: bool | None = field(default=None, name="over_time")
    text: TextTest | None = None
    error: SentenceTest | None = None
    status: str | None = None
    message: str | None = None
    reset: Reset | None = None

    def __post_init__(self) -> None:
        if self.class_ not in (*Class, BY_STATUS):
            raise Refused(".class", f"expected one of {', '.join((*Class, BY_STATUS))}")
        given = (self.exits, self.signals, self.frames, self.text, self.error)
        if not any(given) and self.is_over_time is None:
            raise ValueError("has no condition; give one of exits, signals, over_time, frames, text, error")
        paths = (("status", self.status), ("message", self.message), ("reset.path", self.reset and self.reset.path))
        for place, path in paths:
            if path is not None and not self.has_subject:
                raise Refused(f".{place}", _NO_SUBJECT)
        tells_status = self.status is not None or any("status" in each.groupindex for each in self._patterns())
        if self.class_ == BY_STATUS and not tells_status:
            raise ValueError("its class is http, and neither `status` nor a group `status` tells it")

    def _patterns(self) -> Iterator[re.Pattern[str]]:
        """Give the patterns whose groups the rule may use."""
        tests = (test for frame in self.frames if not frame.is_not for test in frame.where.values())
        for wording in (*tests, self.text, self.error):
            yield from wording.patterns if wording is not None else ()


class Field(Data, frozen=True):
    """A value for the result: `path` in the last JSON object that `select` picks."""

    select: Tests
    path: str


class Classifier(Data, frozen=True):
    """The rules for one kind of command, in order, and the fields that its result has.

    sources       where the program says what went wrong; the first that gives a sentence counts
    final         the frames after which nothing more comes: if one of these holds, the meaning of the end is known, and
                  the runner ends a process that goes on
    streams       those in which JSON objects are looked for
    wordings      families of regular expressions of its own, which go before the built-in ones
    statuses      what a status of HTTP means, where `STATUSES` says something else; a status in neither decides nothing
    quarantines   classes at whose end a human must look, instead of failing the task
    reset_ms_max  the longest wait that is believed
    """

    name: Text
    rules: tuple[Rule, ...]
    fields: Named[Text, Field] = Named()
    sources: tuple[Source, ...] = field(default=(), name="errors")
    final: tuple[FrameTest, ...] = ()
    streams: tuple[Stream, ...] = ("stdout",)
    wordings: Named[str, Patterns] = Named()
    statuses: Named[Status, Class] = Named()
    quarantines: tuple[Class, ...] = ()
    reset_ms_max: Annotated[int, Meta(ge=0, le=2**53 - 1)] = RESET_MS_MAX

    def __post_init__(self) -> None:
        for number, rule in enumerate(self.rules):
            if rule.error is not None and not self.sources:
                raise Refused(f".rules[{number}].error", "looks at a sentence, and the classifier's `errors` give none")
        for number, test in enumerate(self.final):
            if test.is_not:
                raise Refused(f".final[{number}].not", "a frame that is not there cannot be the last; leave `not` out")

    def class_of(self, status: int) -> Class | None:
        """Give what a status of HTTP means, or None if it decides nothing.

        Args:
            status: as in 404.
        """
        return self.statuses.get(status, STATUSES.get(status))

    def selections(self) -> tuple[Tests, ...]:
        """Give what picks the JSON objects that matter, each once."""
        found: list[Tests] = []
        for select in (
            *(test.select for conditions in (*self.rules, *self.sources) for test in conditions.frames),
            *(test.select for test in self.final),
            *(each.select for each in self.fields.values()),
        ):
            if select not in found:
                found.append(select)
        return tuple(found)


_NO_SUBJECT: Final = "is a path, and no frame is its subject"
