"""What once went wrong on the command line, and must not again: JSON with a key twice, what `show` says of an id."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sagalog import Engine
from sagalog_cli import arguments
from tests.adapters.cli.calls import PAST_MS, call, environment, past, url_of


@pytest.fixture
def db(tmp_path: Path) -> str:
    """The URL of a store that exists and is empty."""
    path = tmp_path / "store.db"
    with past(path):
        return url_of(path)


def tasks(db: str) -> int:
    return len(call("list", "--db", db, "--all", "--json").documents)


# --- a key twice ----------------------------------------------------------------------------------------------------

TWICE = [
    ('{"a":1,"a":2}', "'a'"),
    ('[{"b":{"c":1,"d":0,"c":1}}]', "'c'"),
    ('{"\\u0061":1,"a":1}', "'a'"),
    ('{"":1,"":1}', "''"),
]


@pytest.mark.parametrize(("payload", "key"), TWICE)
def test_a_payload_with_a_key_twice_is_refused_by_the_key(db: str, payload: str, key: str) -> None:
    answer = call("create", "build", payload, "--db", db)
    assert (answer.status, answer.out) == (2, "")
    assert f"the key {key} occurs 2 times in one object" in answer.err
    answer = call("create", "build", "-", "--db", db, "--json", given=payload)
    assert (answer.status, answer.error["code"]) == (3, "invalid_value")
    assert f"standard input: the key {key} occurs 2 times" in answer.error["message"]
    assert tasks(db) == 0


@pytest.mark.parametrize(
    ("line", "key"),
    [('{"kind": "a", "kind": "b"}', "'kind'"), ('{"kind": "a", "payload": {"x": 1, "y": 2, "x": 3}}', "'x'")],
)
def test_a_line_with_a_key_twice_is_refused_by_its_number_and_the_key(db: str, line: str, key: str) -> None:
    answer = call("create", "--many", "--db", db, "--json", given=f'{{"kind": "first"}}\n{line}\n')
    assert (answer.status, answer.error["line"]) == (3, 2)
    assert f"line 2: the key {key} occurs 2 times" in answer.error["message"]
    assert tasks(db) == 0


@pytest.mark.parametrize("undo", ['{"kind":"a","kind":"b"}', 'remove={"n":1,"n":2}'])
def test_a_compensation_with_a_key_twice_is_refused(db: str, undo: str) -> None:
    answer = call("create", "build", "--compensation", undo, "--db", db)
    assert answer.status == 2
    assert "occurs 2 times" in answer.err
    assert tasks(db) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":{"a":[{"a":1},{"a":1}]}}', {"a": {"a": [{"a": 1}, {"a": 1}]}}),
        (b'{"\xc3\xa9":1,"e":"\\u0000"}', {"é": 1, "e": "\0"}),
        ("9223372036854775807", 2**63 - 1),
        ("-1.5e300", -1.5e300),
        ("null", None),
    ],
)
def test_every_other_json_is_read_as_it_was(text: str | bytes, value: object) -> None:
    assert arguments.decode(text) == value


@pytest.mark.parametrize("text", ["NaN", "[1,]", "[" * 100_000, b"\xff", "1" * 5_000, '"\\ud800"', "\ufeff1", ""])
def test_what_is_no_json_is_still_refused_as_none(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"this (is no|JSON is)"):
        arguments.decode(text)


# --- when an id was drawn -------------------------------------------------------------------------------------------


def created(engine: Engine) -> tuple[str, str]:
    engine.create("build", id="mine")
    return engine.create("build").id, "mine"


def test_show_says_when_an_id_was_drawn_and_its_json_stays_as_it_was(tmp_path: Path) -> None:
    with past(tmp_path / "store.db") as engine:
        drawn, own = created(engine)
    db = url_of(tmp_path / "store.db")
    lines = {words[0]: words[1] for words in (line.split(maxsplit=1) for line in call("show", drawn, "--db", db).lines)}
    assert lines["drawn"] == lines["created"] == "2023-11-14T22:13:20.000Z"
    assert PAST_MS == 1_700_000_000_000
    assert [line for line in call("show", own, "--db", db).lines if line.startswith("drawn")] == []
    shown = [call("show", id, "--db", db, "--json").documents[0] for id in (drawn, own)]
    assert "drawn" not in {*shown[0], *shown[1]}
    assert set(shown[0]) == set(shown[1])


def test_listing_does_not_pay_for_reading_ids(tmp_path: Path) -> None:
    with past(tmp_path / "store.db") as engine:
        created(engine)
    code = (
        "import sys; from sagalog_cli import main; main(standalone_mode=False); sys.exit(40 + ('ulid' in sys.modules))"
    )
    words = ["list", "--db", url_of(tmp_path / "store.db")]
    listed = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True, check=False)
    assert (listed.returncode, listed.stdout.count(b"build")) == (40, 2)


# --- refusals leave nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments_", "typed"),
    [
        (("build", "--queue", "q" * 300), ""),
        (("build", "[9223372036854775808]"), ""),
        (("--many",), '{"kind":"build"}\n{"kind":"build","priority":99999999999}\n'),
    ],
)
def test_a_creation_that_is_refused_leaves_no_store_behind(
    tmp_path: Path, arguments_: tuple[str, ...], typed: str
) -> None:
    answer = call("create", *arguments_, "--db", url_of(tmp_path / "new.db"), given=typed)
    assert answer.status == 3
    assert list(tmp_path.iterdir()) == []
