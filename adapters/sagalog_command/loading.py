"""A classifier from a mapping, as JSON or TOML give it.

Rule: what means nothing is refused with its path, for a rule that is silently no rule lets an error pass as success.
Knows no process.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, cast

from sagalog import InvalidValue
from sagalog_command import checking, conditions, wordings
from sagalog_command.conditions import Conditions
from sagalog_command.resets import FORMS
from sagalog_command.rules import BY_STATUS, RESET_MS_MAX, STATUSES, Class, Classifier, Field, Reset, Rule, Source

_CONDITIONS: Final = ("exits", "signals", "over_time", "frames", "text", "error")
_PARTS: Final = (
    "name",
    "rules",
    "fields",
    "errors",
    "final",
    "streams",
    "wordings",
    "statuses",
    "quarantines",
    "reset_ms_max",
)


def load_classifier(given: Mapping[str, Any], path: str = "classifier") -> Classifier:
    """Make a classifier of a mapping, as JSON or TOML give it.

    Args:
        given: `name`, `rules` (a list), and maybe `errors`, `final`, `wordings`, `streams`, `fields`, `statuses`,
            `quarantines`, `reset_ms_max`; `docs/how-to/run-command-lines.md` says what they mean.
        path: what the mapping is called in errors.

    Raises:
        InvalidValue: it means nothing; the field `path` names what is wrong, as in `classifier.rules[2].text.stream`.
    """
    given = checking.mapping(given, path)
    checking.known(given, _PARTS, path)
    own = wordings.load_families(given.get("wordings", {}), f"{path}.wordings")
    reads = Conditions({**wordings.shipped(), **own})
    rules = checking.items(given.get("rules"), f"{path}.rules")
    sources = checking.items(given.get("errors", ()), f"{path}.errors")
    fields = checking.mapping(given.get("fields", {}), f"{path}.fields")
    statuses = checking.mapping(given.get("statuses", {}), f"{path}.statuses")
    quarantines = checking.texts(given.get("quarantines", ()), f"{path}.quarantines")
    classifier = Classifier(
        name=checking.text(given.get("name"), f"{path}.name"),
        rules=tuple(_rule(rule, reads, f"{path}.rules[{number}]") for number, rule in enumerate(rules)),
        fields={name: _field(value, reads, f"{path}.fields.{name}") for name, value in fields.items()},
        sources=tuple(_source(each, reads, f"{path}.errors[{number}]") for number, each in enumerate(sources)),
        final=reads.frames(given.get("final", ()), f"{path}.final"),
        streams=_streams(given.get("streams", ("stdout",)), f"{path}.streams"),
        statuses={**STATUSES, **dict(_status(*each, f"{path}.statuses.{each[0]}") for each in statuses.items())},
        quarantines=frozenset(_class(each, f"{path}.quarantines[{i}]") for i, each in enumerate(quarantines)),
        reset_ms_max=checking.whole(given.get("reset_ms_max", RESET_MS_MAX), f"{path}.reset_ms_max", 0, 2**53 - 1),
    )
    _check_whole(classifier, path)
    return classifier


def load_shipped(name: str) -> Classifier:
    """Give one of the classifiers that come with the package: `claude`, `codex`, `gemini`, `exit_status`."""
    data = resources.files("sagalog_command").joinpath("classifiers", f"{name}.toml").read_text(encoding="utf-8")
    return load_classifier(tomllib.loads(data), name)


def _check_whole(classifier: Classifier, path: str) -> None:
    """Refuse what has a meaning by itself, and none in this classifier."""
    for number, rule in enumerate(classifier.rules):
        if rule.error and not classifier.sources:
            place = f"{path}.rules[{number}].error"
            raise InvalidValue(f"{place} looks at a sentence, and `errors` of {path} gives none", path=place)
    for number, test in enumerate(classifier.final):
        if test.is_not:
            place = f"{path}.final[{number}].not"
            raise InvalidValue(f"{place}: a frame that is not there cannot be the last; leave `not` out", path=place)


def _rule(given: Any, reads: Conditions, path: str) -> Rule:
    given = checking.mapping(given, path)
    checking.known(given, ("name", "class", *_CONDITIONS, "status", "message", "reset"), path)
    if not any(given.get(condition) not in (None, [], ()) for condition in _CONDITIONS):
        raise InvalidValue(f"{path} has no condition; give one of {', '.join(_CONDITIONS)}", path=path)
    class_ = given.get("class")
    is_over_time = given.get("over_time")
    if is_over_time is not None and type(is_over_time) is not bool:
        checking.refuse(f"{path}.over_time", "true or false", is_over_time)
    rule = Rule(
        name=checking.text(given.get("name"), f"{path}.name"),
        class_=BY_STATUS if class_ == BY_STATUS else _class(class_, f"{path}.class"),
        exits=conditions.exits(given.get("exits", ()), f"{path}.exits"),
        signals=conditions.signals(given.get("signals", ()), f"{path}.signals"),
        is_over_time=is_over_time,
        frames=reads.frames(given.get("frames", ()), f"{path}.frames"),
        text=reads.text(given["text"], f"{path}.text") if "text" in given else None,
        error=_error(given["error"], reads, f"{path}.error") if "error" in given else (),
        status=_optional_text(given, "status", path),
        message=_optional_text(given, "message", path),
        reset=_reset(given["reset"], f"{path}.reset") if "reset" in given else None,
    )
    _check_sources(rule, path)
    return rule


def _error(given: Any, reads: Conditions, path: str) -> wordings.Patterns:
    given = checking.mapping(given, path)
    checking.known(given, ("matches", "says"), path)
    found = reads.patterns(given, path)
    if not found:
        raise InvalidValue(f"{path} looks for nothing; give `says` or `matches`", path=path)
    return found


def _source(given: Any, reads: Conditions, path: str) -> Source:
    given = checking.mapping(given, path)
    checking.known(given, ("exits", "signals", "frames", "path", "text"), path)
    if ("path" in given) == ("text" in given):
        raise InvalidValue(f"{path} names no place, or two; give `path` or `text`", path=path)
    source = Source(
        exits=conditions.exits(given.get("exits", ()), f"{path}.exits"),
        signals=conditions.signals(given.get("signals", ()), f"{path}.signals"),
        frames=reads.frames(given.get("frames", ()), f"{path}.frames"),
        path=_optional_text(given, "path", path),
        text=reads.text(given["text"], f"{path}.text") if "text" in given else None,
    )
    if source.path is not None and all(frame.is_not for frame in source.frames):
        raise InvalidValue(f"{path}.path is a path, and no frame is its subject", path=f"{path}.path")
    return source


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
    found = [pattern for test in tests for pattern in test.patterns]
    return [*found, *rule.error, *(rule.text.patterns if rule.text is not None else ())]


def _streams(given: Any, path: str) -> frozenset[str]:
    found = checking.texts(given, path)
    for number, name in enumerate(found):
        if name not in ("stdout", "stderr"):
            raise InvalidValue(f"{path}[{number}] is no stream; give `stdout` or `stderr`", path=f"{path}[{number}]")
    return frozenset(found)


def _reset(given: Any, path: str) -> Reset:
    given = checking.mapping(given, path)
    checking.known(given, ("form", "path"), path)
    form = given.get("form")
    if form not in FORMS:
        raise InvalidValue(f"{path}.form is none of {', '.join(FORMS)}", path=f"{path}.form")
    return Reset(cast(Any, form), _optional_text(given, "path", path))


def _field(given: Any, reads: Conditions, path: str) -> Field:
    given = checking.mapping(given, path)
    checking.known(given, ("select", "path"), path)
    return Field(reads.tests(given.get("select"), f"{path}.select"), checking.text(given.get("path"), f"{path}.path"))


def _status(status: str, class_: Any, path: str) -> tuple[int, Class]:
    if not (status.isascii() and status.isdecimal() and 100 <= int(status) <= 599):
        raise InvalidValue(f"{path} is no status of HTTP", path=path)
    return int(status), _class(class_, path)


def _class(given: Any, path: str) -> Class:
    try:
        return Class(checking.text(given, path))
    except ValueError:
        raise InvalidValue(f"{path} is none of {', '.join(Class)}", path=path) from None


def _optional_text(given: Mapping[str, Any], name: str, path: str) -> str | None:
    return checking.text(given[name], f"{path}.{name}") if name in given else None
