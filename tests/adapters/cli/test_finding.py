"""`list`: by what a task is related to and waits for, and why it waits; and ids by their first characters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sagalog import Retry
from sagalog.testing import ManualClock
from tests.adapters.cli.calls import PAST_MS, Answer, call, leased, past, url_of
from tests.adapters.cli.test_showing import on_terminal
from tests.contract.tampering import tamper

FAR_MS = 4_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a task at each gate, two of them created by another."""
    path, clock = tmp_path / "store.db", ManualClock(PAST_MS)
    with past(path, clock) as engine:
        engine.create("build", id="suspect", retry=Retry(expiries_max=2))
        engine.acquire("suspect", owner="ann", ttl_ms=1)
        clock.advance(1)
        engine.recover()
        engine.create("build", id="later", run_at_ms=FAR_MS, parent="plan", correlation_id="order 7")
        leased(engine, "signal", undos=["undo"], correlation_id="order 7").park("approval", signal="yes")
        leased(engine, "soon").park("approval", signal="yes", until_ms=FAR_MS)
        leased(engine, "tasks").park("parts", after=["later", "signal"])
        leased(engine, "sleep").park("pause", until_ms=FAR_MS)
        leased(engine, "undo", undos=["first", "second"]).fail("no way on")
        engine.create("build", id="ready", parent="plan")
        leased(engine, "held")
    return path


def make_unreadable(path: Path, id: str) -> None:
    tamper(
        path,
        (
            "UPDATE events SET schema = 99 WHERE version = 1 AND stream = (SELECT number FROM streams WHERE id = ?)",
            [id],
        ),
        ("UPDATE tasks SET fold = NULL WHERE stream = (SELECT number FROM streams WHERE id = ?)", [id]),
    )


def listed(path: Path, *words: str) -> list[str]:
    order = () if "--newest" in words else ("--oldest",)
    return [task["id"] for task in call("list", *order, *words, "--db", url_of(path), "--json").documents]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--waiting",), ["signal", "soon", "tasks", "sleep"]),
        (("--waiting", "approval"), ["signal", "soon"]),
        (("--waiting", "--state", "running"), []),
        (("--parent", "plan"), ["later", "ready"]),
        (("--parent", "plan", "--state", "pending", "--newest", "--limit", "1"), ["ready"]),
        (("--correlation-id", "order 7"), ["later", "signal"]),
        (("--correlation-id", "order 7", "--waiting", "approval"), ["signal"]),
        (("--since", str(PAST_MS + 1), "--limit", "2"), ["suspect", "later"]),
    ],
)
def test_tasks_are_listed_by_what_they_are_related_to(path: Path, words: tuple[str, ...], expected: list[str]) -> None:
    assert listed(path, *words) == expected


def test_a_parent_in_the_store_is_named_by_its_first_characters(path: Path) -> None:
    with past(path) as engine:
        engine.create("build", id="child", parent="suspect")
        engine.create("build", id="plan-b")
    assert listed(path, "--parent", "susp") == ["child"]
    # There is a task whose id begins with "plan", and others name "plan" itself.
    assert listed(path, "--parent", "plan") == ["later", "ready"]


def test_a_listing_says_in_a_column_of_its_own_what_a_task_waits_for(path: Path) -> None:
    rows = call("list", "--oldest", "--db", url_of(path)).lines
    at = rows[0].index("WAITS_FOR")
    far = "2096-10-02T07:06:40.000Z"
    assert {row.split()[0]: row[at:] for row in rows[1:]} == {
        "suspect": "a lease alone: a suspect",
        "later": f"time, {far}",
        "signal": "signal yes",
        "soon": f"signal yes, {far}",
        "tasks": "2 tasks",
        "sleep": f"time, {far}",
        "undo": "undo second, first, 2023-11-14T22:13:20.001Z",
        "ready": "a worker",
        "held": "-",
    }


def test_the_json_of_a_task_has_fields_for_what_it_waits_for(path: Path) -> None:
    tasks = {task["id"]: task["waits_for"] for task in call("list", "--db", url_of(path), "--json").documents}
    nothing: dict[str, object] = {
        "until_ms": None,
        "signal": None,
        "tasks": 0,
        "undos": [],
        "held_back": [],
        "build": None,
    }
    assert tasks == {
        "suspect": {"gate": "ready_alone", **nothing},
        "later": {"gate": "later", **nothing, "until_ms": FAR_MS},
        "signal": {"gate": "waiting", **nothing, "signal": "yes"},
        "soon": {"gate": "waiting", **nothing, "signal": "yes", "until_ms": FAR_MS},
        "tasks": {"gate": "waiting", **nothing, "tasks": 2},
        "sleep": {"gate": "waiting", **nothing, "until_ms": FAR_MS},
        "undo": {"gate": "undo", **nothing, "undos": ["second", "first"]},
        "ready": {"gate": "ready", **nothing},
        "held": None,
    }


def test_on_a_terminal_what_a_task_waits_for_fits_forty_columns(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with past(path) as engine:
        leased(engine, "t").park("w", signal="s" * 200, until_ms=FAR_MS)
        leased(engine, "u", undos=["k" * 200]).fail("no way on")
    lines = on_terminal("--db", str(path), "list", columns=40, NO_COLOR="1").splitlines()
    told = [line for line in lines if line.startswith("    ") and "WAITS" not in line]
    assert len(told) == 2
    assert all(len(line) <= 40 for line in told)
    assert told[0].startswith("    undo kkk")
    assert told[0].endswith(" ago")
    assert told[1].startswith("    signal sss")
    assert "…, in " in told[1]


def test_a_listing_tells_beside_the_answer_of_tasks_that_cannot_be_read(path: Path) -> None:
    """[LOG-5]"""
    make_unreadable(path, "ready")
    call("rebuild", "--db", url_of(path))
    answer = call("list", "--db", url_of(path))
    assert "ready" not in [row.split()[0] for row in answer.lines]
    assert "note: not listed, and claimed by no worker, because they cannot be read: ready;" in answer.err


# --- ids ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Two tasks whose ids begin alike, and one whose id is the beginning of another's."""
    path = tmp_path / "named.db"
    with past(path) as engine:
        for id in ("task-one", "task-other", "job1", "job12"):
            leased(engine, id, undos=["sweep"]).put_artifact("log", b"it went well")
    return path


COMMANDS = {
    "show": ("show", "{}"),
    "history": ("history", "{}"),
    "artifact": ("artifact", "{}", "log"),
    "input": ("input", "{}", "none"),
    "cancel": ("cancel", "{}"),
    "quarantine": ("quarantine", "{}", "--reason", "odd"),
    "waive": ("waive", "{}", "sweep", "--reason", "gone"),
    "note": ("note", "{}", "seen"),
    "signal": ("signal", "{}", "go"),
    "retry": ("retry", "{}"),
    "tail": ("tail", "--no-follow", "--task", "{}"),
    "queue ack": ("queue", "ack", "{}", "1"),
    "queue nack": ("queue", "nack", "{}", "1"),
}


def run(path: Path, command: str, id: str) -> Answer:
    return call(*(word.format(id) for word in COMMANDS[command]), "--db", url_of(path))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_beginning_of_an_id_that_no_other_has_names_its_task(named: Path, tmp_path: Path, command: str) -> None:
    """The answer is that of the whole id on a copy of the store, refusals too."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(named.read_bytes())
    found, expected = run(named, command, "task-on"), run(copy, command, "task-one")
    assert found._replace(out=masked(found.out)) == expected._replace(out=masked(expected.out))


def masked(out: str) -> str:
    """Without what tells how long ago something was, or when."""
    return "\n".join(" ".join(line.split()[:2]) for line in out.splitlines() if "T" not in line)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_several_ids_begin_with_names_none_and_lists_them(named: Path, command: str) -> None:
    answer = run(named, command, "task")
    assert answer.status == 3
    assert answer.out == ""
    assert answer.err.startswith("error: 'task' begins the ids of 2 tasks: give more of the one that is meant\n")
    [head, *rows, hint] = answer.err.splitlines()[1:]
    assert head.split() == ["ID", "KIND", "STATE", "CREATED"]
    assert hint == "hint: more characters, or the whole id, name one task alone"
    assert [row.split()[:3] for row in rows] == [["task-one", "build", "running"], ["task-other", "build", "running"]]
    assert all(row.endswith(" ago") for row in rows)


def test_the_json_of_the_error_lists_the_candidates(named: Path) -> None:
    error = call("show", "task", "--json", "--db", url_of(named)).error
    assert (error["code"], error["path"]) == ("invalid_value", "id")
    assert error["candidates"][0] == {"id": "task-one", "kind": "build", "state": "running", "created_ms": PAST_MS}
    assert [one["id"] for one in error["candidates"]] == ["task-one", "task-other"]


def test_no_more_than_five_candidates_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    with past(path) as engine:
        engine.create_many({"kind": "k", "id": f"many{number}"} for number in range(9))
    answer = call("show", "many", "--db", url_of(path))
    assert "begins the ids of more than 5 tasks" in answer.err
    assert [line.split()[0] for line in answer.err.splitlines()[2:-1]] == [f"many{number}" for number in range(5)]


def test_a_whole_id_wins_over_those_that_begin_so(named: Path) -> None:
    assert call("show", "job1", "--db", url_of(named), "--json").documents[0]["id"] == "job1"


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"tail", "queue ack", "queue nack"}))
@pytest.mark.parametrize("given", ["zzzz", "task-onE", "task-one-more"])
def test_what_begins_no_id_is_unknown(named: Path, command: str, given: str) -> None:
    answer = run(named, command, given)
    assert answer.status == 4
    assert answer.err.startswith(f"error: there is no task {given!r}; ")


def test_three_characters_are_too_few_to_name_a_task(named: Path) -> None:
    answer = call("show", "job", "--db", url_of(named))
    assert (answer.status, "from 4 characters on" in answer.err) == (4, True)


def test_a_task_that_cannot_be_read_is_a_candidate_too(named: Path) -> None:
    make_unreadable(named, "task-other")
    rows = [line.split() for line in call("show", "task", "--db", url_of(named)).err.splitlines()[2:]]
    assert ["task-other", "-", "unreadable", "-"] in rows


def test_ids_in_json_lines_are_taken_as_they_are(named: Path) -> None:
    line = json.dumps({"kind": "k", "id": "task", "parent": "task-on"})
    [task] = call("create", "--many", "--json", "--db", url_of(named), given=line).documents
    assert (task["id"], task["parent"]) == ("task", "task-on")
