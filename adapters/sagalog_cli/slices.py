"""Slices of the lines on standard input, one commit each, and the report if the end comes before the last line.

Rule: it holds no more of the input than one slice and one line. A commit takes a slice as a whole or not at all.
Earlier slices stay; the error counts them and says how to continue. It must not know stores and tasks.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sagalog import SagalogError, Unavailable, Unknown
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX
from sagalog_cli.arguments import read_line, read_lines
from sagalog_cli.interrupts import Stopped
from sagalog_cli.session import OutputFailed, ReaderGone

# The bytes of the lines of one commit, so that neither memory nor WAL grow with the input; a longer line is a slice by
# itself. The bound of a batch is the bound of their number.
SLICE_BYTES_MAX: Final = 16 * 1_048_576

T = TypeVar("T")


@dataclass
class Slice(Generic[T]):
    """The values of the next lines, with the numbers of the lines and their bytes."""

    numbers: list[int] = field(default_factory=list)
    values: list[T] = field(default_factory=list)
    size_bytes: int = 0

    def is_full(self) -> bool:
        """Tell whether no line fits any more, however short."""
        return len(self.values) == BATCH_COMMANDS_MAX or self.size_bytes >= SLICE_BYTES_MAX

    def has_room(self, line: bytes) -> bool:
        """Tell whether one more line fits; the first one always does."""
        return not self.values or self.size_bytes + len(line) <= SLICE_BYTES_MAX

    def add(self, number: int, line: bytes, value: T) -> None:
        """Add one more line."""
        self.numbers.append(number)
        self.values.append(value)
        self.size_bytes += len(line)


def read_slices(read: Callable[[bytes], T]) -> Iterator[Slice[T]]:
    """Read the lines by `read`, slice by slice, and read the input only as far as the next slice needs.

    A caller that drops a slice before it asks for the next one holds one at a time.

    Raises:
        InvalidValue: `read` raised a ValueError; the line is named, and the rest of its slice is not given.
    """
    found: Slice[T] = Slice()
    for number, line in read_lines():
        if not found.has_room(line):
            yield found
            found = Slice()
        found.add(number, line, read_line(read, number, line))
        if found.is_full():
            yield found
            found = Slice()
    if found.values:
        yield found


def input_bytes() -> int | None:
    """Return how many bytes standard input still holds, if it is a file; None: not known."""
    try:
        source = sys.stdin.fileno()
        about = os.fstat(source)
        return about.st_size - os.lseek(source, 0, os.SEEK_CUR) if stat.S_ISREG(about.st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None


class _UnderWay(NamedTuple):
    """The slice that is being created: its first and its last line, and whether all of its lines can be repeated."""

    first: int
    last: int
    is_repeatable: bool


class Account:
    """The account of what was created so far, and of the first line without a task.

    created       how many tasks
    size_bytes    how much of the input that was
    next_line     the first line of which nothing was created
    """

    def __init__(self) -> None:
        self.created = 0
        self.size_bytes = 0
        self.next_line = 1
        # Whether each line so far has an identity, so that the same input creates nothing twice.
        self._is_repeatable = True
        self._under_way: _UnderWay | None = None

    @contextmanager
    def landing(self, of: Slice[dict[str, Any]]) -> Iterator[None]:
        """Count a slice, which the block creates, after the block."""
        is_repeatable = all(one.get("id") is not None or one.get("idempotency_key") is not None for one in of.values)
        self._under_way = _UnderWay(of.numbers[0], of.numbers[-1], is_repeatable)
        yield
        self.created += len(of.values)
        self.size_bytes += of.size_bytes
        self.next_line = of.numbers[-1] + 1
        self._is_repeatable = self._is_repeatable and is_repeatable
        self._under_way = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report, with the error that ends the block, what was created and how to continue."""
        try:
            yield
        except Stopped as stopped:
            doubt = self._under_way
            raise Stopped(stopped.number, self._said(doubt), **self._fields(doubt)) from stopped
        except BrokenPipeError as error:
            raise ReaderGone(f"the reader of the ids has gone; {self._said()}", **self._fields()) from error
        except OutputFailed as error:
            raise type(error)(f"{error}; {self._said()}", **self._fields()) from error
        except SagalogError as error:
            raise self._with_report(error) from error
        except OSError as error:
            raise self._with_report(Unavailable(f"the system refused: {error}")) from error

    def _with_report(self, error: SagalogError) -> SagalogError:
        doubt = self._under_way if isinstance(error, Unknown) else None
        return type(error)(f"{error.message}; {self._said(doubt)}", **{**error.fields, **self._fields(doubt)})

    def _said(self, doubt: _UnderWay | None = None) -> str:
        perhaps = "" if doubt is None else f", and perhaps those of lines {doubt.first} to {doubt.last}"
        if not self.created and not perhaps:
            return "nothing was created"
        return f"tasks created: {self.created:,}, of the lines before line {self.next_line}{perhaps}"

    def _fields(self, doubt: _UnderWay | None = None) -> dict[str, object]:
        fields: dict[str, object] = {"created": self.created, "next_line": self.next_line}
        if doubt is not None:
            fields["perhaps_until_line"] = doubt.last
        return {**fields, "hint": self._advice(doubt)} if self.created or doubt is not None else fields

    def _advice(self, doubt: _UnderWay | None) -> str:
        if self._is_repeatable and (doubt is None or doubt.is_repeatable):
            return "repeat the whole input: these lines have ids or idempotency keys, so nothing is created twice"
        if doubt is not None:
            return (
                f"look with `sagalog list` whether the tasks of lines {doubt.first} to {doubt.last} are there, and go "
                f"on with line {doubt.last + 1} or {doubt.first}, as by `tail -n +{doubt.first}`"
            )
        on = f"go on with line {self.next_line}, as by `tail -n +{self.next_line}`"
        return f"{on}; earlier lines without an id or an idempotency key would be created once more"
