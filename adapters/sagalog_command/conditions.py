"""Conditions of rules from a mapping, as JSON or TOML give them.

Rule: what means nothing is refused with its path, for a condition that is silently none lets an error pass as success.
Families of wordings are picked here by their names. Knows no class.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any, Final

from sagalog import InvalidValue
from sagalog_command import checking, wordings
from sagalog_command.rules import FrameTest, Test, TextTest

_RANGE: Final = re.compile(r"(\d{1,3})-(\d{1,3})", re.ASCII)
_EXIT_MAX: Final = 255


class Conditions:
    """Reads conditions; `families` are the wordings that they may pick by name."""

    def __init__(self, families: Mapping[str, wordings.Patterns]) -> None:
        self._families = families

    def frames(self, given: Any, path: str) -> tuple[FrameTest, ...]:
        """Read a list of conditions on mappings of JSON."""
        return tuple(self.frame(each, f"{path}[{number}]") for number, each in enumerate(checking.items(given, path)))

    def frame(self, given: Any, path: str) -> FrameTest:
        """Read one condition on a mapping of JSON."""
        given = checking.mapping(given, path)
        checking.known(given, ("select", "where", "not"), path)
        is_not = given.get("not", False)
        if type(is_not) is not bool:
            checking.refuse(f"{path}.not", "true or false", is_not)
        return FrameTest(
            self.tests(given.get("select"), f"{path}.select"),
            self.tests(given.get("where", {}), f"{path}.where"),
            is_not,
        )

    def tests(self, given: Any, path: str) -> dict[str, Test]:
        """Read a mapping of paths to conditions on what stands there."""
        return {key: self._test(value, f"{path}.{key}") for key, value in checking.mapping(given, path).items()}

    def text(self, given: Any, path: str) -> TextTest:
        """Read a condition on the last words of a stream."""
        given = checking.mapping(given, path)
        checking.known(given, ("stream", "line", "matches", "says"), path)
        stream, line = given.get("stream"), given.get("line", "any")
        if stream not in ("stdout", "stderr"):
            checking.refuse(f"{path}.stream", "`stdout` or `stderr`", stream)
        if line not in ("any", "last", "only"):
            checking.refuse(f"{path}.line", "`any`, `last` or `only`", line)
        if ("matches" in given) == ("says" in given):
            raise InvalidValue(f"{path} looks for nothing, or for two things; give `matches` or `says`", path=path)
        return TextTest(stream, self.patterns(given, path), line, begins="says" in given)

    def patterns(self, given: Mapping[str, Any], path: str) -> wordings.Patterns:
        """Read the regular expressions of `matches`, and those of the families that `says` names."""
        found: wordings.Patterns = ()
        if "matches" in given:
            found += wordings.patterns(given["matches"], f"{path}.matches")
        if "says" in given:
            found += wordings.pick(given["says"], self._families, f"{path}.says")
        return found

    def _test(self, given: Any, path: str) -> Test:
        if given is None:
            return Test(is_missing=True)
        if isinstance(given, bool | int | float | str):
            return Test(one_of=(given,))
        if isinstance(given, list | tuple):
            return Test(one_of=_scalars(given, path))
        given = checking.mapping(given, path)
        checking.known(given, ("in", "matches", "says", "missing"), path)
        test = Test(
            _scalars(given["in"], f"{path}.in") if "in" in given else (),
            self.patterns(given, path),
            given.get("missing") is True,
        )
        if given.get("missing", True) is not True or test == Test():
            raise InvalidValue(
                f"{path} tests nothing; give a value, a list, `in`, `matches`, `says`, or `missing = true`", path=path
            )
        return test


def exits(given: Any, path: str) -> tuple[int, ...]:
    """Read a list of exit statuses; a text like `1-255` is all from the one to the other."""
    found: list[int] = []
    for number, each in enumerate(checking.items(given, path)):
        place = f"{path}[{number}]"
        span = _RANGE.fullmatch(each) if isinstance(each, str) else None
        if isinstance(each, str) and (span is None or not int(span[1]) <= int(span[2]) <= _EXIT_MAX):
            raise InvalidValue(f"{place} is no range of exit statuses; give one like 1-255", path=place)
        if span is not None:
            found += range(int(span[1]), int(span[2]) + 1)
        else:
            found.append(checking.whole(each, place, 0, _EXIT_MAX))
    return tuple(found)


def signals(given: Any, path: str) -> tuple[signal.Signals, ...]:
    """Read a list of names of signals."""
    return tuple(_signal(name, f"{path}[{number}]") for number, name in enumerate(checking.texts(given, path)))


def _signal(name: str, path: str) -> signal.Signals:
    try:
        return signal.Signals[name]
    except KeyError:
        raise InvalidValue(f"{path} is no signal; give a name like SIGTERM", path=path) from None


def _scalars(given: Any, path: str) -> tuple[Any, ...]:
    for number, value in enumerate(checking.items(given, path)):
        if not isinstance(value, bool | int | float | str):
            checking.refuse(f"{path}[{number}]", "a text, a number, true or false", value)
    return tuple(given)
