"""What one check of the demo has found, in a form that the table, the failure and `--json` share.

Rule: a finding has passed if its check saw the thing happen at least once and found no fault. Knows no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

# The words of a command that shows more, without the place of the store: `command_lines` adds it.
Words: TypeAlias = tuple[str, ...]

_PLURALS: Final = {"child": "children"}


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    name       of the check, for programs
    expected   what must be true, in one sentence
    count      how often the check saw it: `count` of `noun` (in the singular)
    rest       what follows the count and the noun, so that the three read as one phrase
    faults     what the check saw instead, one sentence each
    look       commands that show more
    """

    name: str
    expected: str
    count: int
    noun: str
    rest: str
    faults: tuple[str, ...]
    look: tuple[Words, ...]

    @property
    def passed(self) -> bool:
        """Whether it happened at all, and without a fault."""
        return self.count > 0 and not self.faults

    @property
    def seen(self) -> tuple[str, ...]:
        """What the check saw: each fault, or the phrase of a check that has passed."""
        if self.faults:
            return self.faults
        return (self.phrase,) if self.count else ("it never happened",)

    @property
    def phrase(self) -> str:
        """The count in words, as in `3 children awaited by their parent`."""
        noun = self.noun if self.count == 1 else _PLURALS.get(self.noun, f"{self.noun}s")
        return f"{self.count} {noun} {self.rest}"


def finding(
    name: str, expected: str, count: int, noun: str, rest: str, *, faults: Sequence[str], look: Sequence[Words]
) -> Finding:
    """Make the finding of a check."""
    return Finding(name, expected, count, noun, rest, tuple(faults), tuple(dict.fromkeys(look)))


def history(task: str) -> Words:
    """Name the command that shows every event of a task."""
    return ("sagalog", "history", task)
