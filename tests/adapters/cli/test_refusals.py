"""What a refusal says: options by the names and units in which they were typed, and where to look next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sagalog
from tests.adapters.cli.calls import call


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A store with one limit."""
    path = tmp_path / "store.db"
    with sagalog.open(f"sqlite:///{path}") as engine:
        engine.set_limit("provider", slots=1)
    return str(path)


def refusal(db: str, status: int, *words: str) -> tuple[str, str]:
    """The two lines of a refusal: what is wrong, and what to do next."""
    answer = call(*words, "--db", db)
    assert (answer.status, answer.out) == (status, ""), answer
    error, hint = answer.err.splitlines()
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


# (words, what the refusal says)
IN_OPTIONS = [
    ("queue limit q --rate 10/0s", "--rate (period): expected 1ms to 366d, found 0s"),
    ("queue limit q --rate 10/999999999d", "--rate (period): expected 1ms to 366d, found 999999999d"),
    ("queue limit q --per-key-rate 0/1s", "--per-key-rate (units): expected 1 or more, found 0; to let nothing start"),
    ("queue set q --affinity-wait 0", "--affinity-wait: expected at least 1ms, found 0s"),
    ("limit set l --breaker 3/1h..1m", "--breaker: the longest pause, 1m, is shorter than the first one, 1h"),
    ("limit set l --breaker 0", "--breaker (failures): expected 1 to 1,000,000, found 0"),
    ("limit set l", "--slots, --rate, --breaker: found none of them"),
    ("schedule set s k --cron @daily --every 1h", "--cron, --every: expected one of the two, found both"),
    ("schedule set s k --every 1h --zone Europe/Berlin", "--zone: an interval has none; leave it out, or give --cron"),
    ("schedule set s k --every 800d", "--every: expected 1s to 366d, found 800d"),
    ("create k --dedupe k --dedupe-scope period", "--dedupe-period: the scope 'period' needs a period"),
    ("create k --dedupe k --dedupe-period 1h", "--dedupe-period: the scope 'live' takes no period"),
    ("create k --use provider=0", "--use 'provider': expected 1 to 1,000,000, found 0"),
    ("create k --retry attempts_max=0", "--retry attempts_max: expected 1 to 1,000,000, found 0"),
    ("create k --on-failed run", "--on-failed: 'run' says nothing without --after; name tasks there"),
    ("worker run --handlers tests.adapters.cli.bad_calls:worker --ttl 0s", "--ttl: expected at least 3ms, found 0s"),
]


@pytest.mark.parametrize(("words", "said"), IN_OPTIONS)
def test_a_refusal_names_options_and_lengths_of_time(db: str, words: str, said: str) -> None:
    error, _ = refusal(db, 3, *words.split())
    assert error.startswith(said)
    # No name and no unit of the library is left.
    assert "_ms" not in error


def test_a_refusal_shows_times_as_times(db: str) -> None:
    late, early = "2100-01-02T00:00:00Z", "2100-01-01T00:00:00Z"
    error, _ = refusal(db, 3, "create", "k", "--run-at", late, "--deadline", early)
    assert error.startswith(
        "--deadline: 2100-01-01T00:00:00.000Z is not after --run-at, 2100-01-02T00:00:00.000Z: the task could never"
    )
    error, _ = refusal(db, 3, "create", "k", "--run-at", "0001-01-01T00:00:00Z")
    assert error == "--run-at: expected a time from 1970 to the year 9999, found 0001-01-01T00:00:00.000Z"


def test_the_fields_of_a_refusal_are_those_of_the_library(db: str) -> None:
    answer = call("queue", "limit", "q", "--rate", "10/0s", "--json", "--db", db)
    error = json.loads(answer.err)["error"]
    assert (error["path"], error["minimum"], error["maximum"], error["found"]) == ("rate.period_ms", 1, 31622400000, 0)


def test_a_number_that_was_not_given_to_the_command_keeps_its_name(
    db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module of a worker has set it."""
    module = [
        "import sagalog",
        "worker = sagalog.Worker(queues='q')",
        "worker.task('k')(lambda context, payload: None)",
    ]
    (tmp_path / "hasty.py").write_text("\n".join([*module, "worker.ttl_ms = 0"]))
    monkeypatch.syspath_prepend(tmp_path)
    answer = call("worker", "run", "--handlers", "hasty:worker", "--until", "idle", "--db", db)
    assert answer.status == 3
    assert "error: ttl_ms: expected an int from 1 to " in answer.err


def test_lines_of_standard_input_keep_the_names_of_the_library(db: str) -> None:
    answer = call("create", "--many", "--db", db, given='{"kind": "k", "uses": {"provider": 0}}')
    assert answer.err.startswith("error: line 1: uses['provider']: expected an int from 1")


# (status, words, what the refusal says)
IN_FEW_WORDS = [
    (
        2,
        "worker run --handlers json:x --concurrency x",
        "Invalid value for '--concurrency': 'x' is not a valid integer.",
    ),
    (2, "schedule next n abc", "Invalid value for '[COUNT]': 'abc' is not a valid integer."),
    (3, "create k --queue=", "--queue: expected text of 1 to 200 characters, found '' (0 characters)"),
    (2, "create k --retry spent=foo", "Invalid value for '--retry': spent: expected fail or quarantine, found 'foo'"),
    (2, "create k --retry attempts_max=x", "Invalid value for '--retry': attempts_max: expected a whole number, or"),
    (2, "create k --retry a=1", "Invalid value for '--retry': there is no 'a'; the names are attempts_max, "),
    (2, "create k --use x=y", "Invalid value for '--use': 'y' is not a valid integer. To name a limit with = in"),
    (2, "create k --use x --use x=2", "Invalid value for '--use': 'x' is given twice"),
    (
        3,
        f"create k --priority {'9' * 300}",
        "--priority: expected an int from -2147483648 to 2147483647, found an int of",
    ),
    (2, "list --newest --oldest", "--newest and --oldest contradict one another"),
    (2, "list --limit 3 --all", "--all lists all, however many there are: leave out --limit"),
]


@pytest.mark.parametrize(("status", "words", "said"), IN_FEW_WORDS)
def test_a_refusal_says_what_is_expected_in_few_words(db: str, status: int, words: str, said: str) -> None:
    error, _ = refusal(db, status, *words.split())
    assert error.startswith(said)


def test_an_option_without_its_value_names_the_help_of_its_command(db: str) -> None:
    answer = call("limit", "set", "gpu", "--slots")
    assert answer.status == 2
    assert answer.err.endswith("hint: sagalog limit set --help says how\n")


def test_a_limit_whose_name_has_a_sign_of_equality_is_used_with_its_units(db: str) -> None:
    assert call("limit", "set", "x=y", "--slots", "3", "--db", db).status == 0
    [task] = call("create", "k", "--use", "x=y=2", "--json", "--db", db).documents
    assert task["uses"] == {"x=y": 2}


def test_a_refused_creation_names_no_id_that_was_drawn_for_it(db: str) -> None:
    """One that the caller has chosen it names."""
    for words in (["--use", "gpu"], ["--after", "none"], ["--use", "provider=2"]):
        error, _ = refusal(db, 3 if "provider=2" in words else 4, "create", "k", *words)
        assert "01" not in error
        error, _ = refusal(db, 3 if "provider=2" in words else 4, "create", "k", *words, "--id", "mine")
        assert "task 'mine' " in error


@pytest.mark.parametrize(
    ("words", "listing"),
    [
        ("limit pause nope", "limit ls"),
        ("limit holders nope", "limit ls"),
        ("create k --use nope", "limit ls"),
        ("schedule next nope", "schedule ls"),
        ("breaker reset limit/nope", "breaker ls"),
        ("breaker reset limit/provider", "breaker ls"),
        ("breaker reset queue/nope", "breaker ls"),
        ("worker drain nope", "worker ls"),
        ("cancel nope", "list"),
    ],
)
def test_what_is_not_found_names_the_listing_to_look_at(db: str, words: str, listing: str) -> None:
    _, hint = refusal(db, 4, *words.split())
    assert hint.startswith(f"`sagalog {listing}` shows the ")
