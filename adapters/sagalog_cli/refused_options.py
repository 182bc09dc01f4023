"""The refusals of the engine in the words of the command line: options for arguments, lengths of time for milliseconds.

Rule: it follows from the parameters of the command alone, so no command and no argument has a case of its own. What the
user typed by its name in the library (`--retry`, JSON, lines of standard input) keeps that name. The fields of an error
stay those of the library, because programs read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import click
from click.core import ParameterSource

from sagalog import InvalidValue, OverBound, SagalogError
from sagalog_cli.times import exact_duration, instant

# `rate.period_ms`, `uses['gpu']`, `slots, rate`: the names before the first colon of a refusal.
_HEAD: Final = re.compile(r"([a-z_]+)([^:,\s]*)((?:, [a-z_]+)*)(: | )")
# A name in the middle of a sentence: marked as one, or no plain word.
_NAMED: Final = re.compile(r"(?<!['\"])(?:\b([a-z_]+)=|`([a-z_]+)`|\b([a-z]+(?:_[a-z]+)+)\b)")
# Words of Python about a text.
_STR: Final = re.compile(r"\ba str of|\(str of (?=[0-9])")
# Milliseconds since 1970 have more digits than any other number in a refusal of a time.
_TIME: Final = re.compile(r"\b[0-9]{11,}\b")
# What an option takes in parts, in the words of its help.
_PARTS: Final[Mapping[str, str]] = {
    ".units": " (units)",
    ".period_ms": " (period)",
    ".burst": " (burst)",
    ".failures": " (failures)",
    ".pause_ms": " (pause)",
    ".pause_max_ms": " (longest pause)",
}
_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
_LENGTHS: Final = ("DURATION", "/")
# A longest time that is no bound in practice is not worth telling.
_PRACTICAL_MS: Final = 10 * 366 * 86_400_000


def in_options(error: InvalidValue | OverBound, context: click.Context) -> SagalogError:
    """Return a refusal of the engine with the names and units of the command of a context.

    One of a line of standard input, of nothing that the command takes, or of a number that was not given to it, as by
    the module of a worker, stays as it is.
    """
    head = _HEAD.match(error.message)
    if head is None or "line" in error.fields:
        return error
    known = {str(param.name): param for param in context.command.params}
    root, inner, others, mark = (str(one) for one in head.groups())
    spelled = f"{root}{inner}".replace(".", "_")
    if spelled in known:
        # One argument of the library that several options make, as `dedupe.period_ms` is.
        root, inner = spelled, ""
    param = known.get(root)
    if param is None or ("found" in error.fields and context.get_parameter_source(root) not in _GIVEN):
        return error
    if mark == " " and "_" not in root and not inner:
        # A sentence that begins with a plain word.
        return error
    more: list[str] = others.split(", ")[1:]
    names = [_word(known[name]) if name in known else name for name in more]
    begin = ", ".join([_word(param) + _PARTS.get(inner, _place(inner)), *names])
    text = _range(error, param) or _sentence(error.message[head.end() :], param, known)
    return type(error)(f"{begin}{mark}{text}", **error.fields)


def _word(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _place(inner: str) -> str:
    """Return a place within a value: a single name by itself, a path as the library writes it."""
    name = re.fullmatch(r"\[(['\"].*['\"])\]|\.([a-z_]+)", inner)
    return f" {name[1] or name[2]}" if name else inner


def _range(error: InvalidValue | OverBound, param: click.Parameter) -> str | None:
    """Return what is expected in place of a number out of its range; None: the refusal is of something else."""
    found, minimum, maximum = (error.fields.get(name) for name in ("found", "minimum", "maximum"))
    if not isinstance(found, int) or not isinstance(minimum, int) or not isinstance(maximum, int):
        return None
    metavar = param.metavar or ""
    if metavar == "TIME":
        return f"expected a time from 1970 to the year 9999, found {instant(found)}"
    is_length = str(error.fields["path"]).endswith("_ms") and any(one in metavar for one in _LENGTHS)
    shown = exact_duration if is_length else "{:,}".format
    if not is_length or maximum <= _PRACTICAL_MS:
        return f"expected {shown(minimum)} to {shown(maximum)}, found {shown(found)}"
    bound = f"least {shown(minimum)}" if found < minimum else f"most {shown(maximum)}"
    return f"expected at {bound}, found {shown(found)}"


def _sentence(text: str, param: click.Parameter, known: Mapping[str, click.Parameter]) -> str:
    def named(match: re.Match[str]) -> str:
        one = known.get(match[1] or match[2] or match[3])
        return match[0] if one is None else _word(one)

    text = _NAMED.sub(named, text)
    text = _STR.sub(lambda match: "text of" if match[0][0] == "a" else "(", text)
    return _TIME.sub(lambda match: instant(int(match[0])), text) if param.metavar == "TIME" else text
