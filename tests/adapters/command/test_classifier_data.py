"""Classifiers as data: what is refused, and where the error says that the fault is."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from typing import Any

import pytest

from sagalog import InvalidValue
from sagalog_command import CLAUDE, load_classifier

RULE = {"name": "it", "class": "ok", "exits": [0]}


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("no", "c.rules[0]"),
        ({**RULE, "class": "good"}, "c.rules[0].class"),
        ({**RULE, "class": "http"}, "c.rules[0]"),
        ({**RULE, "exit": [0]}, "c.rules[0].exit"),
        ({"name": "it", "class": "ok"}, "c.rules[0]"),
        ({"name": "it", "class": "ok", "exits": []}, "c.rules[0]"),
        ({**RULE, "exits": [0, 256]}, "c.rules[0].exits[1]"),
        ({**RULE, "exits": 0}, "c.rules[0].exits"),
        ({**RULE, "signals": ["TERM"]}, "c.rules[0].signals[0]"),
        ({**RULE, "over_time": "yes"}, "c.rules[0].over_time"),
        ({**RULE, "frames": [{"where": {}}]}, "c.rules[0].frames[0].select"),
        ({**RULE, "frames": [{"select": {"a": {"match": "x"}}}]}, "c.rules[0].frames[0].select.a.match"),
        ({**RULE, "frames": [{"select": {"a": {"matches": "("}}}]}, "c.rules[0].frames[0].select.a.matches"),
        ({**RULE, "frames": [{"select": {"a": {"missing": False}}}]}, "c.rules[0].frames[0].select.a"),
        ({**RULE, "frames": [{"select": {"a": {"in": [1], "missing": 0}}}]}, "c.rules[0].frames[0].select.a.missing"),
        ({**RULE, "frames": [{"select": {"a": {"in": []}}}]}, "c.rules[0].frames[0].select.a.in"),
        ({**RULE, "frames": [{"select": {"a": []}}]}, "c.rules[0].frames[0].select.a"),
        ({**RULE, "frames": [{"select": {"a": {"in": [None]}}}]}, "c.rules[0].frames[0].select.a.in[0]"),
        ({**RULE, "frames": [{"select": {"a": {"matches": []}}}]}, "c.rules[0].frames[0].select.a.matches"),
        ({**RULE, "frames": [{"select": {"a": {"says": "quote"}}}]}, "c.rules[0].frames[0].select.a.says"),
        ({**RULE, "exits": ["1-256"]}, "c.rules[0].exits[0]"),
        ({**RULE, "exits": ["5-1"]}, "c.rules[0].exits[0]"),
        ({**RULE, "exits": ["all"]}, "c.rules[0].exits[0]"),
        ({**RULE, "text": {"stream": "stdout"}}, "c.rules[0].text"),
        ({**RULE, "text": {"stream": "stdout", "matches": "x", "says": "quota"}}, "c.rules[0].text"),
        ({**RULE, "text": {"stream": "stdout", "matches": "x", "line": "first"}}, "c.rules[0].text.line"),
        ({**RULE, "error": {"says": ["quota", "quote"]}}, "c.rules[0].error.says[1]"),
        ({**RULE, "error": {"says": []}}, "c.rules[0].error.says"),
        ({**RULE, "error": {}}, "c.rules[0].error"),
        ({**RULE, "error": {"says": "quota"}}, "c.rules[0].error"),
        ({**RULE, "frames": [{"select": {"a": [None]}}]}, "c.rules[0].frames[0].select.a[0]"),
        ({**RULE, "frames": [{"select": {"a": 1}, "not": 1}]}, "c.rules[0].frames[0].not"),
        ({**RULE, "text": {"stream": "both", "matches": "x"}}, "c.rules[0].text.stream"),
        ({**RULE, "message": "a.b"}, "c.rules[0].message"),
        ({**RULE, "frames": [{"select": {"a": 1}, "not": True}], "status": "a"}, "c.rules[0].status"),
        ({**RULE, "reset": {"form": "days"}}, "c.rules[0].reset.form"),
        ({**RULE, "reset": {"form": "epoch", "path": "a"}}, "c.rules[0].reset.path"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_its_path(rule: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        load_classifier({"name": "own", "rules": [rule]}, "c")

    assert path == refused.value.path
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"rules": [{**RULE, "exit": [0]}]},
            "c.rules[0].exit: unknown; known are exits, signals, frames, name,",
        ),
        ({"rules": [{**RULE, "frames": [{"select": {"a": {"is": 1}}}]}]}, ".select.a.is: unknown; known are matches,"),
        ({"rules": [{"name": "it", "exits": [0]}]}, "c.rules[0].class: missing, and required"),
        ({"rules": [{**RULE, "exits": [0, "5-1"]}]}, "c.rules[0].exits[1]: expected an exit status from 0 to 255, or"),
        ({"rules": [{**RULE, "class": "good"}]}, "c.rules[0].class: expected one of ok, transient.rate_limit,"),
        ({"rules": [{**RULE, "signals": ["TERM"]}]}, "c.rules[0].signals[0]: expected the name of a signal"),
        ({"rules": [{**RULE, "frames": "all"}]}, "c.rules[0].frames: expected `array`, got `str`"),
        ({"statuses": {"404": "gone"}}, "c.statuses.404: expected one of ok,"),
        ({"statuses": {"42": "ok"}}, "c.statuses.42: expected `int` >= 100"),
        ({"wordings": {"busy": ["x", "("]}}, "c.wordings.busy[1]: is no regular expression: missing )"),
    ],
)
def test_a_refusal_says_what_was_expected(part: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        load_classifier({"name": "own", "rules": [], **part}, "c")

    assert message in refused.value.message


@pytest.mark.parametrize(
    ("classifier", "path"),
    [
        ({"rules": []}, "c.name"),
        ({"name": "own"}, "c.rules"),
        ({"name": "own", "rules": [], "statuses": {"42": "ok"}}, "c.statuses.42"),
        ({"name": "own", "rules": [], "statuses": {"404": "gone"}}, "c.statuses.404"),
        ({"name": "own", "rules": [], "quarantines": ["auth"]}, "c.quarantines[0]"),
        ({"name": "own", "rules": [], "fields": {"a": {"select": {}}}}, "c.fields.a.path"),
        ({"name": "own", "rules": [], "reset_ms_max": -1}, "c.reset_ms_max"),
        ({"name": "own", "rules": [], "streams": ["stdin"]}, "c.streams[0]"),
        ({"name": "own", "rules": [], "streams": ["\ud800"]}, "c"),
        ({"name": "own", "rules": [], "statuses": {"\ud800": "ok"}}, "c.statuses.\ud800"),
        ({"name": "own", "rules": [], "wordings": {"a": []}}, "c.wordings.a"),
        ({"name": "own", "rules": [], "wordings": {"a": ["x", "("]}}, "c.wordings.a[1]"),
        ({"name": "own", "rules": [], "final": [{"select": {"a": 1}, "not": True}]}, "c.final[0].not"),
        ({"name": "own", "rules": [], "errors": [{"path": "a"}]}, "c.errors[0].path"),
        ({"name": "own", "rules": [], "errors": [{"exits": [1]}]}, "c.errors[0]"),
        ({"name": "own", "rules": [], "errors": [{"frames": [{"select": {"a": 1}}], "path": 1}]}, "c.errors[0].path"),
    ],
)
def test_a_classifier_that_means_nothing_is_refused_with_its_path(classifier: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        load_classifier(classifier, "c")

    assert path == refused.value.path


@pytest.mark.parametrize("name", ["claude", "codex", "gemini", "exit_status"])
def test_a_builtin_classifier_is_the_same_as_json(name: str) -> None:
    given = tomllib.loads((resources.files("sagalog_command") / "classifiers" / f"{name}.toml").read_text("utf-8"))

    assert load_classifier(given) == load_classifier(json.loads(json.dumps(given)))
    assert len({rule["name"] for rule in given["rules"]}) == len(given["rules"])


def test_a_classifier_is_shown_by_its_name() -> None:
    """Its rules fill pages, and the help of a function that takes one shows the default."""
    assert repr(CLAUDE) == "<Classifier claude>"
