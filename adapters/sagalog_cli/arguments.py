"""What stands on the command line or comes on standard input -> arguments of the engine.

Rule: only the form is judged here (is it JSON, a time, a pair?); what a value may be, the engine says. A fault in a
word of the command line is wrong usage; one in standard input is an `InvalidValue` that names the line.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

import click
import msgspec

from sagalog import Compensation, InvalidValue, OverBound, Retry, SagalogError, Unknown
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX, BLOB_BYTES_MAX, BUDGET_MAX, TIME_MS_MAX
from sagalog.validation.values import check_name, shown
from sagalog_cli.json_faults import NoJson, no_json, no_unicode
from sagalog_cli.session import Session, advised, now_ms
from sagalog_cli.times import parse_duration, parse_instant

# More than every bound of one creation together; without an end a line without a line break would fill the memory.
LINE_BYTES_MAX: Final = 64 * 1_048_576


# Which of several the engine says in its own words; people count lines.
_COUNTED: Final = re.compile(r"^(?:specs\[\d+\]|command \d+ of \d+): ")


T = TypeVar("T")


class Payload(NamedTuple):
    """A decoded JSON value, so that `null` is told apart from none, and the text `"-"` from the word `-`."""

    value: Any


# Stands for the word `-`; known by being this very object.
STDIN: Final = Payload(None)


def payload(_: click.Context, param: click.Parameter, given: str | None) -> Payload | None:
    """A JSON text, or `STDIN` for the word `-`: nothing is read while options are still being looked at."""
    if given is None:
        return None
    if given == "-":
        return STDIN
    try:
        return Payload(decode(given))
    except ValueError as error:
        raise click.BadParameter(f"{error}; text needs quotes of its own: '\"text\"'", param=param) from error


def instant(_: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """A point in time as milliseconds since 1970."""
    if given is None:
        return None
    try:
        return parse_instant(given, now_ms())
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error


def since(_: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """A point in time as milliseconds since 1970, or how long ago it was."""
    if given is None:
        return None
    with suppress(ValueError):
        return max(0, now_ms() - parse_duration(given))
    try:
        return parse_instant(given, now_ms())
    except ValueError as error:
        raise click.BadParameter(f"{error}; or how long ago it was, like 2h", param=param) from error


def name(_: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """A name, judged before anything is done with it."""
    return None if given is None else check_name(given, param.opts[0])


def duration(_: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """A length of time as milliseconds."""
    return None if given is None else _length(param, given, 0)


def visibility(_: click.Context, param: click.Parameter, given: str) -> int | None:
    """How long an item is its holder's: a length of time of at least a millisecond, or `none` for without end."""
    return None if given == "none" else _length(param, given, 1)


def _length(param: click.Parameter, given: str, minimum_ms: int) -> int:
    try:
        length_ms = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error
    # What the engine takes for the length of a lease; added to any time of today it is still a time.
    if not minimum_ms <= length_ms <= TIME_MS_MAX // 2:
        raise click.BadParameter(f"{given!r} is too {'long' if length_ms else 'short'}", param=param)
    return length_ms


def returns_max(_: click.Context, param: click.Parameter, given: str) -> int | None:
    """A number of returns that the engine takes as a budget, or `none` for without end."""
    if given == "none":
        return None
    try:
        number: int = click.IntRange(1, BUDGET_MAX)(given, param)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message} Or give none: without end.", param=param) from error
    return number


def compensations(_: click.Context, param: click.Parameter, given: Sequence[str]) -> list[Compensation]:
    """Each is `kind`, `kind=params` with params as JSON, or a whole one as a JSON object."""
    try:
        return [_compensation(one) for one in given]
    except (ValueError, msgspec.ValidationError) as error:
        raise click.BadParameter(str(error), param=param) from error


def _compensation(text: str) -> Compensation:
    if text.startswith("{"):
        return msgspec.convert(decode(text), Compensation)
    kind, sign, params = text.partition("=")
    return Compensation(kind, _decoded(kind, params) if sign else None)


def results(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """`name=value` with values as JSON, each name once."""
    try:
        return {name: _decoded(name, value) for name, value in _pairs(given, param)}
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error


def _decoded(name: str, text: str) -> Any:
    """The JSON behind `name=`; raises ValueError, saying behind which name."""
    try:
        return decode(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def tags(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """`name=value`, each name once."""
    return dict(_pairs(given, param))


def inputs(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, bytes]:
    """`name=file`, each name once: the bytes of the file."""
    found = {}
    for name, place in _pairs(given, param):
        try:
            with open(place, "rb") as file:
                # No further than one byte too many: a device may have no end.
                found[name] = file.read(BLOB_BYTES_MAX + 1)
        except OSError as error:
            raise click.BadParameter(f"cannot read {place!r}: {error.strerror}", param=param) from error
        if len(found[name]) > BLOB_BYTES_MAX:
            raise OverBound(
                f"inputs.{name}: {place!r} has more than {BLOB_BYTES_MAX:,} bytes; keep it beside the store and name "
                "its place",
                bound="blob_bytes",
                maximum=BLOB_BYTES_MAX,
            )
    return found


def retry(_: click.Context, param: click.Parameter, given: Sequence[str]) -> Retry | None:
    """`name=value` with the names of `Retry`; `none` is without end."""
    if not given:
        return None
    settings = {name: _setting(value) for name, value in _pairs(given, param)}
    try:
        return msgspec.convert(settings, Retry)
    except msgspec.ValidationError as error:
        known = ", ".join(Retry.__struct_fields__)
        raise click.BadParameter(f"{error}; the names are {known}", param=param) from error


def decode(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        NoJson: it is none, saying why and where.
        ValueError: it is nested too deep, or gives a key twice in one object, saying which.
    """
    try:
        value = msgspec.json.decode(text)
        _refuse_twice(text)
    except UnicodeError as error:
        raise no_unicode(text) or error from error
    except RecursionError as error:
        raise ValueError("this JSON is nested too deep") from error
    except msgspec.MsgspecError as error:
        raise no_unicode(text) or no_json(text, error) from error
    return value


def _refuse_twice(text: str | bytes) -> None:
    """Refuse an object with one key twice: readers of JSON differ in which of the values they take."""
    written = text if isinstance(text, str) else text.decode()
    # Only keys are looked at, so no number is read a second time.
    json.loads(written, object_pairs_hook=_keys_once, parse_int=str, parse_float=str, strict=False)


def _keys_once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(key)} stands {times} times in one object: give it once")


def read_json() -> Any:
    """The one JSON text on standard input.

    Raises:
        InvalidValue: it is none.
    """
    text = _stdin().read(LINE_BYTES_MAX + 1)
    if len(text) > LINE_BYTES_MAX:
        raise InvalidValue(f"standard input: more than {LINE_BYTES_MAX:,} bytes", path="payload")
    try:
        return decode(text)
    except NoJson as error:
        raise InvalidValue(f"standard input: {error}", path="payload", line=error.line, column=error.column) from error
    except ValueError as error:
        raise InvalidValue(f"standard input: {error}", path="payload") from error


def read_lines() -> Iterator[tuple[int, bytes]]:
    """The lines on standard input with their numbers from 1, blank ones left out.

    Raises:
        InvalidValue: one has no end.
    """
    source = _stdin()
    number = 0
    while line := source.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise InvalidValue(f"line {number}: more than {LINE_BYTES_MAX:,} bytes", path=f"line {number}", line=number)
        if line.strip():
            yield number, line


def read_batch(read: Callable[[bytes], T]) -> tuple[list[int], list[T]]:
    """What `read` makes of each line, for one commit, with the numbers of the lines.

    Raises:
        InvalidValue: `read` raised a ValueError; the line is named. OverBound: more lines than one commit holds.
    """
    numbers: list[int] = []
    values: list[T] = []
    for number, line in read_lines():
        if len(values) == BATCH_COMMANDS_MAX:
            raise OverBound(
                f"line {number}: one commit holds at most {BATCH_COMMANDS_MAX:,} tasks; split the lines "
                f"(as with `split -l {BATCH_COMMANDS_MAX}`) and create each part by itself",
                bound="batch_commands",
                maximum=BATCH_COMMANDS_MAX,
                line=number,
            )
        numbers.append(number)
        try:
            values.append(read(line))
        except NoJson as error:
            said, column = error.within(number), error.column
            raise InvalidValue(said, path=f"line {number}", line=number, column=column) from error
        except (ValueError, msgspec.ValidationError) as error:
            place = f"line {number}"
            raise InvalidValue(f"{place}: {error}", path=place, line=number) from error
    return numbers, values


def by_line(error: SagalogError, numbers: list[int]) -> SagalogError:
    """The same refusal, naming the line instead of the index."""
    if isinstance(error, Unknown):
        return advised(
            error, "repeating is safe for lines with an id or an idempotency key; look with `sagalog list` first"
        )
    index = error.fields.get("command")
    if not isinstance(index, int):
        return error
    fields = {name: value for name, value in error.fields.items() if name != "command"}
    reason = _COUNTED.sub("", error.message)
    return type(error)(f"line {numbers[index]}: {reason}", **fields, line=numbers[index])


def read_text() -> str:
    """Standard input as one text, without the line break at its end.

    Raises:
        InvalidValue: it has no end, or is no UTF-8.
    """
    text = _stdin().read(LINE_BYTES_MAX + 1)
    if len(text) > LINE_BYTES_MAX:
        raise InvalidValue(f"standard input: more than {LINE_BYTES_MAX:,} bytes", path="payload")
    try:
        return as_text(text)
    except ValueError as error:
        raise InvalidValue(f"standard input: {error}", path="payload") from error


def as_text(line: bytes) -> str:
    """The text of a line, without the line break at its end; raises ValueError where it is no UTF-8."""
    try:
        text = line.decode()
    except UnicodeError as error:
        raise ValueError("this is no UTF-8, which text has to be") from error
    return text.removesuffix("\n").removesuffix("\r")


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("standard input is closed, and there is something to be read from it")
    if sys.stdin.isatty():
        session = click.get_current_context().ensure_object(Session)
        session.note("reading", "reading from the terminal; Ctrl-D ends the input")
    return sys.stdin.buffer


def _pairs(given: Sequence[str], param: click.Parameter) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for one in given:
        name, sign, value = one.partition("=")
        if not sign:
            raise click.BadParameter(f"expected name=value, found {one!r}", param=param)
        if name in seen:
            raise click.BadParameter(f"{name!r} is given twice", param=param)
        seen.add(name)
        yield name, value


def _setting(value: str) -> int | str | None:
    if value == "none":
        return None
    try:
        return int(value)
    except ValueError:
        return value
