"""JSON that a caller types: a key twice is refused by the key, and all other JSON is read as it is."""

from __future__ import annotations

import pytest

from sagalog_cli import arguments
from tests.adapters.cli.calls import call


def tasks(db: str) -> int:
    return len(call("list", "--db", db, "--all", "--json").documents)


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
