"""What two programs really printed is printed again by a stand-in, and `run` makes of it what it must."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sagalog import Failed, Interrupted, Permanent, Transient
from sagalog_command import CLAUDE, CODEX, EXIT_STATUS, Class, Command, run
from tests.adapters.command import stand_in
from tests.adapters.command.attempt import VARIABLES, Attempt

DATA = Path(__file__).parents[2] / "data" / "command"
CLASSIFIERS = {"claude": CLAUDE, "codex": CODEX}
CASES = [
    pytest.param(program, name, case, id=f"{program}-{name}")
    for program in CLASSIFIERS
    for name, case in json.loads((DATA / f"{program}.json").read_text(encoding="utf-8"))["cases"].items()
]


def replay(program: str, name: str, case: dict[str, Any]) -> tuple[str, Any, Attempt]:
    """Run the stand-in; give the class, the result or what was raised, and the attempt."""
    classifier = EXIT_STATUS if name == "version" else CLASSIFIERS[program]
    words = (sys.executable, "-I", "-S", stand_in.__file__, str(DATA / f"{program}.json"), name)
    limit_ms = 3_000 if case["exit_status"] is None else 60_000
    attempt = Attempt()
    try:
        result = run(attempt, Command(words, time_limit_ms=limit_ms), classifier, variables=VARIABLES)
    except Interrupted as error:
        return "interrupted", error, attempt
    except (Transient, Permanent, Failed) as error:
        return error.details["class"], error, attempt
    return result["class"], result, attempt


@pytest.mark.parametrize(("program", "name", "case"), CASES)
def test_each_recorded_run_ends_in_its_class(program: str, name: str, case: dict[str, Any]) -> None:
    class_, outcome, attempt = replay(program, name, case)

    assert case["class"] == class_
    expected = {
        "ok": dict,
        "interrupted": Interrupted,
        "unknown": Failed,
        "transient": Transient,
        "permanent": Permanent,
    }
    assert isinstance(outcome, expected[class_.partition(".")[0]])
    for stream in ("stdout", "stderr"):
        lines = [stand_in.text_of(line) for line in case.get(stream, ())]
        assert lines == attempt.artifacts.get(stream, b"").decode().splitlines()


def test_every_class_that_a_classifier_can_choose_was_seen_from_a_program() -> None:
    assert set(Class) == {Class(parameters.values[2]["class"]) for parameters in CASES}  # type: ignore[index]


def case_of(program: str, name: str) -> dict[str, Any]:
    found = json.loads((DATA / f"{program}.json").read_text(encoding="utf-8"))["cases"][name]
    assert isinstance(found, dict)
    return found


def test_a_good_run_gives_what_its_classifier_takes_from_the_output() -> None:
    _, claude, _ = replay("claude", "ok", case_of("claude", "ok"))
    _, codex, _ = replay("codex", "ok", case_of("codex", "ok"))

    assert "hello from stub" == claude["fields"]["result"]
    assert "00000000-0000-4000-8000-000000000001" == claude["fields"]["session_id"]
    assert [] == claude["fields"]["permission_denials"]
    assert "hello from stub" == codex["fields"]["result"]
    assert 2 == codex["fields"]["usage"]["output_tokens"]


def test_a_limit_with_a_time_of_day_waits_until_then() -> None:
    """The wait costs the budget of quota waits."""
    _, error, _ = replay("codex", "429_usage_limit", case_of("codex", "429_usage_limit"))

    assert isinstance(error, Transient)
    assert ("quota", "quota") == (error.code, error.budget)
    assert error.retry_after_ms is not None
    assert 0 <= error.retry_after_ms <= 86_400_000


def test_an_error_says_what_the_program_said_and_how_to_go_on() -> None:
    _, limited, _ = replay("claude", "429", case_of("claude", "429"))
    _, refused, _ = replay("codex", "refused", case_of("codex", "refused"))

    assert "API Error: Request rejected (429) · This request would exceed your rate limit" == str(limited)
    assert ("rate_limit", "transient", None) == (limited.code, limited.budget, limited.retry_after_ms)
    assert 1 == limited.details["exit_status"]
    assert "00000000-0000-4000-8000-000000000001" == limited.details["fields"]["session_id"]
    assert "waiting for network" in str(refused)
