"""The conversion of words on the command line, and of standard input, into arguments of the engine.

Rule: this module checks the form alone (is it JSON, a time, a pair?); the engine checks what a value may be. A fault in
a word is wrong usage; a fault in standard input is an `InvalidValue` that names the line. Each callback here belongs to
the options that name it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar, get_args

import click
import msgspec

from sagalog import Breaker, Compensation, InvalidValue, OverBound, Rate, Retry, SagalogError, Unknown
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX, BLOB_BYTES_MAX, BUDGET_MAX, TIME_MS_MAX
from sagalog.kernel.values import Spent
from sagalog.validation.values import check_name, shown
from sagalog_cli.json_faults import NoJson, no_json, no_unicode
from sagalog_cli.session import Session, advised, now_ms
from sagalog_cli.times import parse_duration, parse_instant

# More than all bounds of one creation together. Without this bound, input without a line break would fill the memory.
LINE_BYTES_MAX: Final = 64 * 1_048_576


# Nine digits are more than any limit has.
_COUNT: Final = re.compile(r"[0-9]{1,9}")
# How the engine's messages name one of several commands; the command line names the line instead.
_COUNTED: Final = re.compile(r"^(?:specs\[\d+\]|command \d+ of \d+): ")


T = TypeVar("T")


class Payload(NamedTuple):
    """A decoded JSON value: so `null` differs from no value, and the text `"-"` from the word `-`."""

    value: Any


# The value for the word `-`; compare it by identity.
STDIN: Final = Payload(None)


def payload(_: click.Context, param: click.Parameter, given: str | None) -> Payload | None:
    """Convert a JSON text; give `STDIN` for the word `-`, so that click reads nothing while it parses options."""
    if given is None:
        return None
    if given == "-":
        return STDIN
    try:
        return Payload(decode(given))
    except ValueError as error:
        raise click.BadParameter(f"{error}; text needs quotes of its own: '\"text\"'", param=param) from error


def instant(_: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """Convert a point in time to milliseconds since 1970."""
    if given is None:
        return None
    try:
        return parse_instant(given, now_ms())
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error


def since(_: click.Context, param: click.Parameter, given: str | None) -> int | None:
    """Convert a point in time, or how long ago it was, to milliseconds since 1970."""
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
    """Convert a length of time to milliseconds."""
    return None if given is None else _length(param, given, 0)


def visibility(_: click.Context, param: click.Parameter, given: str) -> int | None:
    """Convert a visibility: a length of time of at least a millisecond, or `none` for no end."""
    return None if given == "none" else _length(param, given, 1)


def _length(param: click.Parameter, given: str, minimum_ms: int) -> int:
    try:
        length_ms = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from error
    # The bound of the engine for the length of a lease: the sum with any time of today is still a time.
    if not minimum_ms <= length_ms <= TIME_MS_MAX // 2:
        raise click.BadParameter(f"{given!r} is too {'long' if length_ms else 'short'}", param=param)
    return length_ms


def rate(_: click.Context, param: click.Parameter, given: str | None) -> Rate | None:
    """Convert `units/period`, as in `10/60s`, or `units/period:burst`."""
    if given is None:
        return None
    units, slash, rest = given.partition("/")
    period, colon, burst = rest.partition(":")
    if not slash or not _COUNT.fullmatch(units) or (colon and not _COUNT.fullmatch(burst)):
        raise click.BadParameter(
            f"{given!r} is no rate; give units and a period like 10/60s, or with a burst, like 10/60s:20", param=param
        )
    try:
        period_ms = parse_duration(period)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no rate: {error}", param=param) from error
    return Rate(int(units), period_ms, int(burst) if colon else None)


def breaker(_: click.Context, param: click.Parameter, given: str | None) -> Breaker | None:
    """Convert `failures`, `failures/pause` or `failures/pause..longest`, as in `5/60s..1h`."""
    if given is None:
        return None
    failures, slash, rest = given.partition("/")
    pause, dots, longest = rest.partition("..")
    if not _COUNT.fullmatch(failures) or (slash and not pause) or (dots and not longest):
        raise click.BadParameter(
            f"{given!r} is no breaker; give a number of failures like 5, with a pause like 5/60s, or with its longest "
            "pause too, like 5/60s..1h",
            param=param,
        )
    try:
        pause_ms = parse_duration(pause) if slash else Breaker().pause_ms
        longest_ms = parse_duration(longest) if dots else max(Breaker().pause_max_ms, pause_ms)
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no breaker: {error}", param=param) from error
    if longest_ms < pause_ms:
        text = f"--breaker: the longest pause, {longest}, is shorter than the first one, {pause}; give at least {pause}"
        raise InvalidValue(text, path="breaker.pause_max_ms")
    return Breaker(int(failures), pause_ms, longest_ms)


breaker_option = click.option(
    "--breaker",
    metavar="FAILURES[/PAUSE[..LONGEST]]",
    callback=breaker,
    help="Let nothing start after so many failures in a row, as in 5/60s..1h.  [default: no breaker]",
)


def returns_max(_: click.Context, param: click.Parameter, given: str) -> int | None:
    """Convert a number of returns that the engine takes as a budget, or `none` for no end."""
    if given == "none":
        return None
    try:
        number: int = click.IntRange(1, BUDGET_MAX)(given, param)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message} Or give none: without end.", param=param) from error
    return number


def compensations(_: click.Context, param: click.Parameter, given: Sequence[str]) -> list[Compensation]:
    """Convert compensations: `kind`, `kind=params` with params as JSON, or a whole one as a JSON object."""
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
    """Convert `name=value` with values as JSON, each name once."""
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


def uses(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, int]:
    """Convert `limit=units`, or `limit` for one unit, each limit once."""
    found: dict[str, int] = {}
    for one in given:
        # The last sign counts, so that a limit whose name has one is named with its units: x=y=1.
        [limit, units] = one.rsplit("=", 1) if "=" in one else [one, "1"]
        if limit in found:
            raise click.BadParameter(f"{limit!r} is given twice", param=param)
        try:
            found[limit] = click.INT(units, param)
        except click.BadParameter as error:
            text = f"{error.message} To name a limit with = in its name, give its units too: {one}=1"
            raise click.BadParameter(text, param=param) from error
    return found


def tags(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """Convert `name=value`, each name once."""
    return dict(_pairs(given, param))


def inputs(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, bytes]:
    """Convert `name=file`, each name once, to the bytes of the files."""
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


def retry(context: click.Context, param: click.Parameter, given: Sequence[str]) -> Retry | None:
    """Convert `name=value` with the names of `Retry`; `none` is no end."""
    settings = retry_settings(context, param, given)
    return msgspec.convert(settings, Retry) if settings else None


def retry_settings(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    """Convert `name=value` as `retry` does, and give only what is named."""
    settings = {name: _setting(value) for name, value in _pairs(given, param)}
    for name, value in settings.items():
        if name not in Retry.__struct_fields__:
            known = ", ".join(Retry.__struct_fields__)
            raise click.BadParameter(f"there is no {name!r}; the names are {known}", param=param)
        try:
            msgspec.convert({name: value}, Retry)
        except msgspec.ValidationError as error:
            expected = " or ".join(get_args(Spent)) if name == "spent" else "a whole number, or for some none"
            raise click.BadParameter(f"{name}: expected {expected}, found {value!r}", param=param) from error
    return settings


def decode(text: str | bytes) -> Any:
    """Decode a JSON text.

    Raises:
        NoJson: it is none, with the reason and the place.
        ValueError: it is nested too deep, or gives a key twice in one object; the text names the key.
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
    """Refuse an object with one key twice: JSON readers differ in which value they take."""
    written = text if isinstance(text, str) else text.decode()
    # This looks at keys alone, so it converts no number a second time.
    json.loads(written, object_pairs_hook=_keys_once, parse_int=str, parse_float=str, strict=False)


def _keys_once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        [(key, times)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(key)} occurs {times} times in one object: give it once")


def read_json() -> Any:
    """Read the one JSON text on standard input.

    Raises:
        InvalidValue: it is no JSON, or too long.
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
    """Read the lines on standard input with their numbers from 1; leave out blank ones.

    Raises:
        InvalidValue: a line is too long.
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
    """Read each line by `read`, for one commit; return the numbers of the lines and the values.

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
        values.append(read_line(read, number, line))
    return numbers, values


def read_line(read: Callable[[bytes], T], number: int, line: bytes) -> T:
    """Read a line by `read`; raises InvalidValue with its number if that raises a ValueError."""
    place = f"line {number}"
    try:
        return read(line)
    except NoJson as error:
        raise InvalidValue(error.within(number), path=place, line=number, column=error.column) from error
    except (ValueError, msgspec.ValidationError) as error:
        raise InvalidValue(f"{place}: {error}", path=place, line=number) from error


def by_line(error: SagalogError, numbers: list[int]) -> SagalogError:
    """Make the same refusal, with the line in place of the index."""
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
    """Read standard input as one text, without the line break at its end.

    Raises:
        InvalidValue: it is too long, or no UTF-8.
    """
    text = _stdin().read(LINE_BYTES_MAX + 1)
    if len(text) > LINE_BYTES_MAX:
        raise InvalidValue(f"standard input: more than {LINE_BYTES_MAX:,} bytes", path="payload")
    try:
        return as_text(text)
    except ValueError as error:
        raise InvalidValue(f"standard input: {error}", path="payload") from error


def as_text(line: bytes) -> str:
    """Decode a line, without the line break at its end; raises ValueError where it is no UTF-8."""
    try:
        text = line.decode()
    except UnicodeError as error:
        raise ValueError("this is no UTF-8, which text has to be") from error
    return text.removesuffix("\n").removesuffix("\r")


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("standard input is closed, and this command reads from it")
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
