"""`sagalog command classify`: what a worker would make of an output, tried without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adapters.cli.calls import Answer, call

HOUR_MS = 3_600_000
NOW = "2026-01-15T12:00:00Z"
LIMIT = "You've hit your limit · resets 1pm (Europe/Lisbon)"
RESULT = {"type": "result", "subtype": "success", "is_error": True, "result": LIMIT, "session_id": "s-1"}


def classify(*words: str, given: str = "", name: str = "claude") -> Answer:
    return call("command", "classify", "--with", name, "--now", NOW, *words, given=given)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "out").write_text(f"{json.dumps(RESULT)}\n", encoding="utf-8")
    return tmp_path / "out"


def test_it_prints_the_class_the_rule_the_wait_and_why(file: Path) -> None:
    answer = classify(str(file), "--exit", "1")

    assert (answer.status, answer.err) == (0, "")
    assert [line.split(maxsplit=1) for line in answer.lines[:4]] == [
        ["class", "transient.quota"],
        ["rule", "limit"],
        ["wait", "1h00m, until 2026-01-15T13:00:00.000Z"],
        ["why", LIMIT],
    ]
    assert any(line.split() == ["field", "session_id", "s-1"] for line in answer.lines)


def test_json_has_the_same_in_one_document(file: Path) -> None:
    answer = classify(str(file), "--exit", "1", "--json")

    [said] = answer.documents
    assert said.pop("fields")["session_id"] == "s-1"
    assert said == {"class": "transient.quota", "rule": "limit", "message": LIMIT, "retry_after_ms": HOUR_MS}


def test_a_hyphen_is_standard_input_and_a_success_names_no_wait() -> None:
    answer = classify("-", given="All done: the tests pass.\n")

    assert [line.split(maxsplit=1)[1] for line in answer.lines] == [
        "ok",
        "answer as text",
        "none is named",
        "All done: the tests pass.",
    ]


def test_options_tell_standard_error_zone_time_limit_and_signals(file: Path, tmp_path: Path) -> None:
    (tmp_path / "err").write_text("ERROR: You've hit your usage limit. Try again at 11:00 PM.\n", encoding="utf-8")
    of_codex = classify(
        "-", "--exit", "1", "--stderr", str(tmp_path / "err"), "--zone", "Asia/Tokyo", "--json", name="codex"
    )
    assert of_codex.documents[0]["retry_after_ms"] == 2 * HOUR_MS
    waiting = json.dumps({"type": "error", "message": "Reconnecting... waiting for network"})
    assert (
        classify("-", "--over-time", "--json", name="codex", given=waiting).documents[0]["class"] == "transient.network"
    )
    assert classify("-", "--exit", "-15", "--json", name="exit_status").documents[0]["class"] == "interrupted"
    assert classify("-", "--exit", "53", "--json", name="gemini").documents[0]["rule"] == "exit: bound of the run"


@pytest.mark.parametrize("form", ["toml", "json"])
def test_a_classifier_of_ones_own_is_read_from_a_file(tmp_path: Path, form: str) -> None:
    rules = tmp_path / f"own.{form}"
    as_toml = 'name = "own"\n[[rules]]\nname = "done"\nclass = "ok"\nexits = [7]\n'
    as_json = json.dumps({"name": "own", "rules": [{"name": "done", "class": "ok", "exits": [7]}]})
    rules.write_text(as_toml if form == "toml" else as_json, encoding="utf-8")

    assert classify("-", "--exit", "7", "--json", name=str(rules)).documents[0]["rule"] == "done"


def test_a_classifier_without_meaning_is_refused_with_its_path(tmp_path: Path) -> None:
    """The path names where the fault is."""
    (tmp_path / "own.json").write_text('{"name": "own", "rules": [{"name": "done", "class": "good", "exits": [7]}]}')

    answer = classify("-", "--json", name=str(tmp_path / "own.json"))

    assert (answer.status, answer.error["path"]) == (3, "own.json.rules[0].class")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-", "--with", "llama"), "'llama' is none of claude, codex, gemini, exit_status"),
        (("-", "--with", "absent.toml"), "absent.toml: No such file"),
        (("absent", "--with", "claude"), "absent"),
        (("-", "--with", "claude", "--exit", "256"), "256"),
        (("-", "--with", "claude", "--zone", "Mars/Olympus"), "'Mars/Olympus' is no zone"),
        (("-", "--with", "claude", "--now", "soon"), "'soon' is no time"),
        (("-",), "--with"),
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(words: tuple[str, ...], said: str) -> None:
    answer = call("command", "classify", *words)

    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err


@pytest.mark.parametrize(("form", "text"), [("toml", "name = "), ("json", '{"name": '), ("json", "[" * 100_000)])
def test_a_file_that_is_none_of_its_form_is_wrong_usage(tmp_path: Path, form: str, text: str) -> None:
    (tmp_path / f"own.{form}").write_text(text)

    answer = classify("-", name=str(tmp_path / f"own.{form}"))

    assert answer.status == 2
    assert f"cannot be read as {form.upper()}" in answer.err


def test_no_store_is_opened_or_made(tmp_path: Path) -> None:
    answer = call("command", "classify", "-", "--with", "exit_status", "--db", str(tmp_path / "absent.db"))

    assert answer.status == 0
    assert list(tmp_path.iterdir()) == []
