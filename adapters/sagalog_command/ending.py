"""Ending of a command: its status, its frames, its last words.

Rule: an ending keeps only what rules can look at, so that memory is bounded whatever a command prints. This module
knows no process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

from sagalog_command.frames import FrameReader
from sagalog_command.matcher import find_in_frame, is_selected
from sagalog_command.output import Excerpt
from sagalog_command.rules import Classifier


@dataclass(frozen=True, slots=True)
class Ending:
    """The ending of a command, as far as rules look at it.

    status        the exit status, or the negative number of the signal that ended the command
    frames        the JSON objects that matter, in order of arrival; see `Classifier.selections`
    stdout_tail   the last words of standard output
    stderr_tail   the last words of standard error
    is_over_time  the runner ended the command because its time was over: then `status` says nothing
    is_lingering  the runner ended the command because it went on after its final frame: then `status` says nothing
    zone          the time zone of times of day that name none
    """

    status: int
    frames: Sequence[Mapping[str, Any]] = ()
    stdout_tail: str = ""
    stderr_tail: str = ""
    is_over_time: bool = False
    zone: tzinfo = UTC
    is_lingering: bool = False

    @classmethod
    def from_output(
        cls, classifier: Classifier, status: int, stdout: bytes = b"", stderr: bytes = b"", **more: Any
    ) -> Ending:
        """Read an output as the runner reads that of a running command.

        Args:
            classifier: the rules that will look at the ending.
            status: the exit status, or the negative number of the signal that ended the command.
            stdout: all that the command wrote to standard output.
            stderr: all that it wrote to standard error.
            **more: `is_over_time`, `is_lingering`, `zone`, as the fields of the class.
        """
        selected = FrameSelection(classifier)
        tails: dict[str, str] = {}
        for name, data in (("stdout", stdout), ("stderr", stderr)):
            excerpt = Excerpt(0)
            excerpt.feed(data)
            tails[name] = excerpt.tail()
            if name in classifier.streams:
                reader = FrameReader(selected.take)
                reader.feed(data)
                reader.end()
        return cls(status, selected.frames(), tails["stdout"], tails["stderr"], **more)


class FrameSelection:
    """The last JSON object that each selection of a classifier picks: all that a rule can look at."""

    def __init__(self, classifier: Classifier) -> None:
        self._selections = classifier.selections()
        self._final = classifier.final
        self._last: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self._seen = 0
        self._finals: dict[int, bool] = {}

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take the next object."""
        self._seen += 1
        for number, select in enumerate(self._selections):
            if is_selected(frame, select):
                self._last[number] = (self._seen, frame)
        for number, test in enumerate(self._final):
            if is_selected(frame, test.select):
                self._finals[number] = find_in_frame(test, frame) is not None

    def frames(self) -> list[Mapping[str, Any]]:
        """Give the objects that were kept, in order of arrival."""
        unique = dict(self._last.values())
        return [unique[number] for number in sorted(unique)]

    @property
    def is_final(self) -> bool:
        """Whether the final frame has come."""
        return any(self._finals.values())
