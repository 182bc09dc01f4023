"""`sagalog retry` of a task that was quarantined over a step whose result could not be recorded. [STEP-1]"""

from __future__ import annotations

from pathlib import Path

import pytest

import sagalog
from tests.adapters.cli.calls import call, url_of


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A store with the task `t`, quarantined by its holder over its step `charge`."""
    url = url_of(tmp_path / "store.db")
    with sagalog.open(url) as engine:
        engine.create("order", id="t")
        engine.acquire("t", owner="ann", ttl_ms=None).step("pack", 1).quarantine("it cannot be stored", ["charge"])
    return url


def test_it_is_refused_until_an_operator_says_what_becomes_of_the_step(db: str) -> None:
    """[STEP-1]"""
    refused = call("retry", "t", "--db", db, "--json")
    assert refused.status == 3
    assert "'charge'" in refused.err
    assert "--result charge=JSON" in refused.err
    assert "--rerun charge" in refused.err


def test_the_result_that_is_given_is_the_steps(db: str) -> None:
    """[STEP-1] [REPEAT-7]"""
    first = call("retry", "t", "--db", db, "--json", "--result", 'charge={"paid": 7}').documents[0]
    assert first["steps"] == ["pack", "charge"]
    with sagalog.open(db) as engine:
        assert engine.step_result(first["id"], "charge") == {"paid": 7}
    assert call("retry", "t", "--db", db).out.strip() == first["id"]
    assert call("retry", "t", "--db", db, "--result", "charge=8").status == 5


def test_the_step_may_run_again(db: str) -> None:
    """[STEP-1]"""
    assert call("retry", "t", "--db", db, "--json", "--rerun", "charge").documents[0]["steps"] == ["pack"]


def test_every_step_that_had_begun_is_shown_and_needs_a_word(db: str) -> None:
    """[STEP-1]"""
    with sagalog.open(db) as engine:
        engine.create("order", id="u")
        lease = engine.acquire("u", owner="ann", ttl_ms=None).register(sagalog.Compensation("refund", id="r"))
        lease.quarantine("it cannot be stored", [sagalog.UnrecordedStep("charge", "r"), "ship"])
    shown = call("show", "u", "--db", db)
    assert "the result of the step charge (undo r), the result of the step ship" in shown.out
    assert call("show", "u", "--db", db, "--json").documents[0]["unrecorded_steps"] == [
        {"name": "charge", "compensation": "r"},
        {"name": "ship"},
    ]
    refused = call("retry", "u", "--db", db, "--result", "charge=1")
    assert (refused.status, "'ship'" in refused.err) == (3, True)
    assert call("retry", "u", "--db", db, "--json", "--result", "charge=1", "--rerun", "ship").documents[0][
        "steps"
    ] == ["charge"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (["--result", "charge"], 2),
        (["--result", "charge={"], 2),
        (["--result", "charge=1", "--result", "charge=2"], 2),
        (["--result", "charge=1", "--rerun", "charge"], 3),
        (["--result", "pack=1"], 4),
    ],
)
def test_what_is_no_result_of_that_step_is_refused(db: str, given: list[str], status: int) -> None:
    assert call("retry", "t", "--db", db, *given).status == status


def test_a_repeated_retry_says_that_the_successor_has_ended_too(db: str) -> None:
    """It gives the same successor, and that is the one to retry."""
    with sagalog.open(db) as engine:
        engine.create("k", id="q")
        engine.quarantine("q", "look")
    successor = call("retry", "q", "--db", db).out.strip()
    assert call("retry", "q", "--db", db).err == ""
    call("quarantine", successor, "--reason", "look", "--db", db)

    again = call("retry", "q", "--db", db)

    said = f"note: the task was retried before, and its successor {successor} has ended as quarantined: retry the"
    assert (0, f"{successor}\n") == (again.status, again.out)
    assert again.err.startswith(said)
    assert call("retry", successor, "--db", db).out.strip() != successor
