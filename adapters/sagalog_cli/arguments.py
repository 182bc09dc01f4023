"""What stands on the command line or comes on standard input -> arguments of the engine.

Rule: only the form is judged here (is it JSON, a time, a pair?); what a value may be, the engine says. A fault in a
word of the command line is wrong usage; one in standard input is an `InvalidValue` that names the line.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import click
import msgspec

from sagalog import Compensation, InvalidValue, Retry
from sagalog.door import shown
from sagalog_cli.session import now_ms
from sagalog_cli.times import parse_instant

# More than every bound of one creation together; without an end a line without a line break would fill the memory.
LINE_BYTES_MAX: Final = 64 * 1_048_576


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
    return Compensation(kind, decode(params) if sign else None)


def tags(_: click.Context, param: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """`name=value`, each name once."""
    return dict(_pairs(given, param))


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
        ValueError: it is none, or gives a key twice in one object, saying which.
    """
    try:
        value = msgspec.json.decode(text)
        _refuse_twice(text)
    except UnicodeError as error:
        raise ValueError("this is no UTF-8, which JSON has to be") from error
    except RecursionError as error:
        raise ValueError("this JSON is nested too deep") from error
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no JSON: {error}") from error
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


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("standard input is closed, and there is something to be read from it")
    if sys.stdin.isatty():
        click.echo("reading from the terminal; Ctrl-D ends the input", err=True)
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
