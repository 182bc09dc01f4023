"""A classifier from a mapping, as JSON or TOML give it.

Rule: what means nothing is refused with its path, for a rule that is silently no rule lets an error pass as success.
Knows no process.
"""

from __future__ import annotations

import re
import signal
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, cast

from sagalog import InvalidValue
from sagalog_command import checking
from sagalog_command.resets import FORMS
from sagalog_command.rules import (
    BY_STATUS,
    RESET_MS_MAX,
    STATUSES,
    Class,
    Classifier,
    Field,
    FrameTest,
    Reset,
    Rule,
    Test,
    TextTest,
)

_CONDITIONS: Final = ("exits", "signals", "over_time", "frames", "text")


def load_classifier(given: Mapping[str, Any], path: str = "classifier") -> Classifier:
    """Make a classifier of a mapping.

    Args:
        given: `name`, `rules` (a list), and maybe `fields`, `statuses`, `quarantines`, `reset_ms_max`; see the guide.
        path: what the mapping is called in errors.

    Raises:
        InvalidValue: field `path`, as in `classifier.rules[2].text.stream`.
    """
    given = checking.mapping(given, path)
    checking.known(given, ("name", "rules", "fields", "statuses", "quarantines", "reset_ms_max"), path)
    rules = _list(given.get("rules"), f"{path}.rules")
    fields = checking.mapping(given.get("fields", {}), f"{path}.fields")
    statuses = checking.mapping(given.get("statuses", {}), f"{path}.statuses")
    quarantines = checking.texts(given.get("quarantines", ()), f"{path}.quarantines")
    return Classifier(
        name=checking.text(given.get("name"), f"{path}.name"),
        rules=tuple(_rule(rule, f"{path}.rules[{number}]") for number, rule in enumerate(rules)),
        fields={name: _field(value, f"{path}.fields.{name}") for name, value in fields.items()},
        statuses={**STATUSES, **dict(_status(*each, f"{path}.statuses.{each[0]}") for each in statuses.items())},
        quarantines=frozenset(_class(each, f"{path}.quarantines[{i}]") for i, each in enumerate(quarantines)),
        reset_ms_max=checking.whole(given.get("reset_ms_max", RESET_MS_MAX), f"{path}.reset_ms_max", 0, 2**53 - 1),
    )


def load_shipped(name: str) -> Classifier:
    """Give one of the classifiers that come with the package: `claude`, `codex`, `exit_status`."""
    data = resources.files("sagalog_command").joinpath("classifiers", f"{name}.toml").read_text(encoding="utf-8")
    return load_classifier(tomllib.loads(data), name)


def _rule(given: Any, path: str) -> Rule:
    given = checking.mapping(given, path)
    checking.known(given, ("name", "class", *_CONDITIONS, "status", "message", "reset"), path)
    if not any(given.get(condition) not in (None, [], ()) for condition in _CONDITIONS):
        raise InvalidValue(f"{path} has no condition; give one of {', '.join(_CONDITIONS)}", path=path)
    class_ = given.get("class")
    frames = _list(given.get("frames", ()), f"{path}.frames")
    is_over_time = given.get("over_time")
    if is_over_time is not None and type(is_over_time) is not bool:
        checking.refuse(f"{path}.over_time", "true or false", is_over_time)
    rule = Rule(
        name=checking.text(given.get("name"), f"{path}.name"),
        class_=BY_STATUS if class_ == BY_STATUS else _class(class_, f"{path}.class"),
        exits=tuple(
            checking.whole(status, f"{path}.exits[{number}]", 0, 255)
            for number, status in enumerate(_list(given.get("exits", ()), f"{path}.exits"))
        ),
        signals=tuple(
            _signal(name, f"{path}.signals[{number}]")
            for number, name in enumerate(checking.texts(given.get("signals", ()), f"{path}.signals"))
        ),
        is_over_time=is_over_time,
        frames=tuple(_frame(frame, f"{path}.frames[{number}]") for number, frame in enumerate(frames)),
        text=_text(given["text"], f"{path}.text") if "text" in given else None,
        status=_optional_text(given, "status", path),
        message=_optional_text(given, "message", path),
        reset=_reset(given["reset"], f"{path}.reset") if "reset" in given else None,
    )
    _check_sources(rule, path)
    return rule


def _check_sources(rule: Rule, path: str) -> None:
    """Refuse a path that begins nowhere, and a class by a status that nothing tells."""
    has_subject = any(not frame.is_not for frame in rule.frames)
    for name, begins in (("status", rule.status), ("message", rule.message)):
        if begins is not None and not has_subject:
            raise InvalidValue(f"{path}.{name} is a path, and no frame is its subject", path=f"{path}.{name}")
    if rule.reset is not None and rule.reset.path is not None and not has_subject:
        raise InvalidValue(f"{path}.reset.path is a path, and no frame is its subject", path=f"{path}.reset.path")
    if rule.class_ == BY_STATUS and rule.status is None and not any("status" in p.groupindex for p in patterns(rule)):
        raise InvalidValue(f"{path}.class is http, and neither status nor a group `status` tells it", path=path)


def patterns(rule: Rule) -> list[re.Pattern[str]]:
    """Give the patterns whose groups a rule may use."""
    tests = [test for frame in rule.frames if not frame.is_not for test in frame.where.values()]
    found = [test.matches for test in tests if test.matches is not None]
    return found if rule.text is None else [*found, rule.text.matches]


def _frame(given: Any, path: str) -> FrameTest:
    given = checking.mapping(given, path)
    checking.known(given, ("select", "where", "not"), path)
    is_not = given.get("not", False)
    if type(is_not) is not bool:
        checking.refuse(f"{path}.not", "true or false", is_not)
    return FrameTest(
        _tests(given.get("select"), f"{path}.select"), _tests(given.get("where", {}), f"{path}.where"), is_not
    )


def _tests(given: Any, path: str) -> dict[str, Test]:
    return {key: _test(value, f"{path}.{key}") for key, value in checking.mapping(given, path).items()}


def _test(given: Any, path: str) -> Test:
    if given is None:
        return Test(is_missing=True)
    if isinstance(given, bool | int | float | str):
        return Test(one_of=(given,))
    if isinstance(given, list | tuple):
        for number, value in enumerate(given):
            if not isinstance(value, bool | int | float | str):
                checking.refuse(f"{path}[{number}]", "a text, a number, true or false", value)
        return Test(one_of=tuple(given))
    given = checking.mapping(given, path)
    checking.known(given, ("matches", "missing"), path)
    if given.get("missing") is True and len(given) == 1:
        return Test(is_missing=True)
    if "matches" in given and len(given) == 1:
        return Test(matches=_pattern(given["matches"], f"{path}.matches"))
    raise InvalidValue(f"{path} tests nothing; give a value, a list, `matches`, or `missing = true`", path=path)


def _text(given: Any, path: str) -> TextTest:
    given = checking.mapping(given, path)
    checking.known(given, ("stream", "matches"), path)
    stream = given.get("stream")
    if stream not in ("stdout", "stderr"):
        checking.refuse(f"{path}.stream", "`stdout` or `stderr`", stream)
    return TextTest(stream, _pattern(given.get("matches"), f"{path}.matches"))


def _reset(given: Any, path: str) -> Reset:
    given = checking.mapping(given, path)
    checking.known(given, ("form", "path"), path)
    form = given.get("form")
    if form not in FORMS:
        raise InvalidValue(f"{path}.form is none of {', '.join(FORMS)}", path=f"{path}.form")
    return Reset(cast(Any, form), _optional_text(given, "path", path))


def _field(given: Any, path: str) -> Field:
    given = checking.mapping(given, path)
    checking.known(given, ("select", "path"), path)
    return Field(_tests(given.get("select"), f"{path}.select"), checking.text(given.get("path"), f"{path}.path"))


def _status(status: str, class_: Any, path: str) -> tuple[int, Class]:
    if not (status.isascii() and status.isdecimal() and 100 <= int(status) <= 599):
        raise InvalidValue(f"{path} is no status of HTTP", path=path)
    return int(status), _class(class_, path)


def _pattern(given: Any, path: str) -> re.Pattern[str]:
    try:
        return re.compile(checking.text(given, path), re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise InvalidValue(f"{path} is no regular expression: {error}", path=path) from error


def _class(given: Any, path: str) -> Class:
    try:
        return Class(checking.text(given, path))
    except ValueError:
        raise InvalidValue(f"{path} is none of {', '.join(Class)}", path=path) from None


def _signal(name: str, path: str) -> signal.Signals:
    try:
        return signal.Signals[name]
    except KeyError:
        raise InvalidValue(f"{path} is no signal; give a name like SIGTERM", path=path) from None


def _list(given: Any, path: str) -> list[Any]:
    if not isinstance(given, list | tuple):
        checking.refuse(path, "a list", given)
    return list(given)


def _optional_text(given: Mapping[str, Any], name: str, path: str) -> str | None:
    return checking.text(given[name], f"{path}.{name}") if name in given else None
