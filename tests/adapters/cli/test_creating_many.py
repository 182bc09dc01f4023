"""`create --many`: a task a line, all in one commit, and a bad line named by its number."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from sagalog import Engine
from sagalog_cli.commands.creation import NewTask
from tests.adapters.cli.calls import call, ids, past, url_of


def test_a_line_takes_exactly_the_arguments_of_create() -> None:
    _, *arguments = inspect.signature(Engine.create).parameters

    assert sorted(arguments) == sorted(NewTask.__struct_fields__)


def test_many_tasks_are_created_from_lines_in_one_commit(db: str, path: Path) -> None:
    """Their ids are printed in the order of the lines."""
    lines = (
        b'{"kind": "a", "id": "1", "payload": {"n": 1}, "actor": "eve", "tags": {"x": "y"}, "priority": 7}\n'
        b"\n"
        b'{"kind": "b", "id": "2", "compensations": [{"kind": "u", "params": 5}], "retry": {"attempts_max": 2}}\r\n'
        b'{"kind": "c", "id": "3", "run_at_ms": 1800000000000, "queue": "q"}'
    )

    answer = call("create", "--many", "--db", db, "--actor", "bob", given=lines)

    assert (0, ["1", "2", "3"]) == (answer.status, answer.lines)
    with past(path) as engine:
        one, two, three = engine.find()
        events = engine.events()[1:]
    assert (one.payload, one.tags, one.priority) == ({"n": 1}, {"x": "y"}, 7)
    assert (two.compensations[0].params, two.policy.attempts_max) == (5, 2)
    assert (three.run_at_ms, three.queue) == (1_800_000_000_000, "q")
    assert ["user:eve", "user:bob", "user:bob"] == [event.actor for event in events]
    assert 1 == len({event.at_ms for event in events})


def test_many_tasks_as_json_are_a_line_each(db: str) -> None:
    answer = call("create", "--many", "--db", db, "--json", given=b'{"kind":"a"}\n{"kind":"b"}\n')

    assert [("a", "pending"), ("b", "pending")] == [(task["kind"], task["state"]) for task in answer.documents]


@pytest.mark.parametrize(
    ("line", "part", "code"),
    [
        (b"nonsense", "no JSON", "invalid_value"),
        (b"[]", "object", "invalid_value"),
        (b'{"kind": "\xff"}', "UTF-8", "invalid_value"),
        (b"{}", "kind", "invalid_value"),
        (b'{"kind": "k", "nope": 1}', "nope", "invalid_value"),
        (b'{"kind": "k", "priority": "1"}', "int", "invalid_value"),
        (b'{"kind": "k", "queue": null}', "null", "invalid_value"),
        (b'{"kind": "k", "retry": {"attempts": 1}}', "attempts", "invalid_value"),
        (b'{"kind": ""}', "kind", "invalid_value"),
        (b'{"kind": "other", "id": "there"}', "other content", "already_exists"),
        (b'{"kind": "other", "id": "t1"}', "other content", "already_exists"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_nothing_is_written(db: str, line: bytes, part: str, code: str) -> None:
    call("create", "build", "--id", "there", "--db", db)
    lines = b'{"kind": "fine", "id": "t1"}\n\n' + line + b'\n{"kind": "fine"}\n'

    human = call("create", "--many", "--db", db, given=lines)
    machine = call("create", "--many", "--db", db, "--json", given=lines)

    assert (3, "") == (human.status, human.out)
    assert human.err.startswith("error: line 3: ")
    assert part in human.err
    assert "command" not in human.err
    assert "specs[" not in human.err
    assert (code, 3) == (machine.error["code"], machine.error["line"])
    assert ids(db) == ["there"]


def test_no_line_creates_nothing_and_is_no_error(path: Path) -> None:
    answer = call("create", "--many", "--db", url_of(path), given=b"\n \n")

    assert (0, "") == (answer.status, answer.out)
    assert "note: " in answer.err
    assert not path.exists()
