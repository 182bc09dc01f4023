"""Tables that another program has changed: an audit names what the log does not give, and a rebuild mends it.

Rule: a real file; what changes it behind the store's back does so from a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Corrupt, Dedupe, Engine, Lease
from sagalog.codec import enclose
from sagalog.kernel.events import Founded
from sagalog.testing import ManualClock
from tests.adapters.sqlite.stores import START_MS, url_of
from tests.contract.tampering import Statement, tamper


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    """Tasks at every gate: `free` and `tagged` may be claimed, `undo` undone, `held` is leased and `over` has ended."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal") as engine:
        engine.create("build", id="free")
        engine.create("build", id="tagged", tags={"colour": "red", "size": "big"})
        engine.create("build", id="once", queue="q", dedupe=Dedupe("k"))
        engine.create("build", id="for a time", queue="q", dedupe=Dedupe("p", "period", 5_000))
        engine.create("build", id="later", run_at_ms=START_MS + 1_000)
        leased(engine, "held")
        leased(engine, "over").complete()
        leased(engine, "undo", compensations=[Compensation("remove")]).fail("no way on")
        assert engine.verify().ok
        yield engine


def leased(engine: Engine, id: str, **given: Any) -> Lease:
    engine.create("build", id=id, **given)
    return engine.acquire(id, owner="ann", ttl_ms=1_000)


def on(task: str, text: str) -> Statement:
    """A statement on the task's own rows."""
    return text.replace("STREAM", "(SELECT number FROM streams WHERE category = 'task' AND id = ?)"), [task]


# What another program does to the tables: a statement, and words of the fault that an audit finds.
HARMS: dict[str, tuple[Statement, str]] = {
    "a deleted tag": (on("tagged", "DELETE FROM tags WHERE name = 'size' AND stream = STREAM"), "tag"),
    "a deleted dedupe key": (on("once", "DELETE FROM dedupes WHERE stream = STREAM"), "dedupe"),
    "another dedupe key": (on("once", "UPDATE dedupes SET key = 'other' WHERE stream = STREAM"), "dedupe"),
    "a dedupe key with an end": (on("once", "UPDATE dedupes SET until_ms = 5 WHERE stream = STREAM"), "dedupe"),
    "a dedupe key without its end": (
        on("for a time", "UPDATE dedupes SET until_ms = NULL WHERE stream = STREAM"),
        "dedupe",
    ),
    "a dedupe key with a later end": (
        on("for a time", "UPDATE dedupes SET until_ms = until_ms + 1 WHERE stream = STREAM"),
        "dedupe",
    ),
    "a dedupe key of a task without": (on("free", "INSERT INTO dedupes VALUES ('build', 'x', STREAM, NULL)"), "dedupe"),
    "a dedupe key of another kind": (on("once", "UPDATE dedupes SET kind = 'test' WHERE stream = STREAM"), "dedupe"),
    "a dedupe key of an ended task": (on("over", "INSERT INTO dedupes VALUES ('build', 'x', STREAM, NULL)"), "dedupe"),
    "a dedupe key of no stream": (("INSERT INTO dedupes VALUES ('build', 'x', 99, NULL)", []), "has no stream"),
    "an invented tag": (on("tagged", "INSERT INTO tags VALUES ('taste', 'sour', STREAM)"), "tag"),
    "a second value": (on("tagged", "INSERT INTO tags VALUES ('colour', 'zinc', STREAM)"), "tag"),
    "a second value that sorts first": (on("tagged", "INSERT INTO tags VALUES ('colour', 'blue', STREAM)"), "tag"),
    "a tag on a task without": (on("free", "INSERT INTO tags VALUES ('taste', 'sour', STREAM)"), "tag"),
    "a tag of no stream": (("INSERT INTO tags VALUES ('taste', 'sour', 99)", []), "has no stream"),
    "a tag of the store's stream": (
        ("INSERT INTO tags SELECT 'taste', 'sour', number FROM streams WHERE category = 'store'", []),
        "has no stream",
    ),
    "a row beyond all streams": (("INSERT INTO tasks(stream, gate) VALUES (99, 'ready')", []), "has no stream"),
    "a row before all streams": (("INSERT INTO tasks(stream, gate) VALUES (0, 'ready')", []), "has no stream"),
    "a row of the store's stream": (
        ("INSERT INTO tasks(stream, state) SELECT number, 'pending' FROM streams WHERE category = 'store'", []),
        "has no stream",
    ),
    "no row": (on("free", "DELETE FROM tasks WHERE stream = STREAM"), "no projection"),
    "no gate on what is ready": (on("free", "UPDATE tasks SET gate = NULL WHERE stream = STREAM"), "gate"),
    "no gate on what is undone": (on("undo", "UPDATE tasks SET gate = NULL WHERE stream = STREAM"), "gate"),
    "a gate on what is leased": (on("held", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "a gate on what has ended": (on("over", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "the wrong gate": (on("undo", "UPDATE tasks SET gate = 'ready' WHERE stream = STREAM"), "gate"),
    "a sound one put aside": (on("free", "UPDATE tasks SET gate = 'unreadable' WHERE stream = STREAM"), "gate"),
    "another queue": (on("free", "UPDATE tasks SET queue = 'elsewhere' WHERE stream = STREAM"), "queue"),
    "another expiry": (on("held", "UPDATE tasks SET expires_ms = NULL WHERE stream = STREAM"), "expires_ms"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_an_audit_finds_what_the_log_does_not_give_and_rebuilding_mends_it(
    engine: Engine, path: Path, harm: str
) -> None:
    """[RECORD-3]"""
    before = (engine.find(), engine.counts(), engine.find(tags={"colour": "red"}))
    statement, words = HARMS[harm]
    tamper(path, statement)
    report = engine.verify()
    assert [fault.code for fault in report.faults] == ["projection"]
    assert words in report.faults[0].text
    assert engine.rebuild().unreadable == ()
    assert engine.verify().faults == ()
    assert (engine.find(), engine.counts(), engine.find(tags={"colour": "red"})) == before


def test_a_stream_without_events_is_a_fault_and_no_task(engine: Engine, path: Path) -> None:
    before = engine.counts()
    tamper(path, ("INSERT INTO streams(category, id) VALUES ('task', 'phantom')", []))
    for _ in range(2):
        [fault] = engine.verify().faults
        assert (fault.code, fault.stream, fault.text) == ("damaged", "task/phantom", "the stream has no events")
        assert engine.counts() == before
        assert "phantom" not in [task.id for task in engine.find()]
        assert engine.rebuild().unreadable == ("phantom",)
    claimed = engine.claim("default", owner="ann", ttl_ms=1_000, limit=9)
    assert [lease.task.id for lease in claimed] == ["free", "tagged"]
    for refused in (engine.get, engine.cancel):
        with pytest.raises(Corrupt, match="no events"):
            refused("phantom")


def test_a_stream_of_an_unknown_category_is_a_fault(engine: Engine, path: Path) -> None:
    event = enclose("rumour/r", 1, START_MS, Founded("r", 0, "1"))
    tamper(
        path,
        ("INSERT INTO streams(category, id) VALUES ('rumour', 'r')", []),
        (
            "INSERT INTO events(stream, version, at_ms, type, schema, body, digest) "
            "SELECT max(number), 1, ?, ?, ?, ?, ? FROM streams",
            [event.at_ms, event.type, event.schema, event.body, {"hex": event.digest.hex()}],
        ),
    )
    for _ in range(2):
        [fault] = engine.verify().faults
        assert (fault.code, fault.stream) == ("damaged", "rumour/r")
        assert "no such category" in fault.text
        assert engine.rebuild().unreadable == ()


@pytest.mark.parametrize(("column", "value"), [("kind", "other"), ("queue", "other"), ("priority", -5)])
def test_a_wrong_column_is_put_right_by_the_claim_that_meets_it(
    engine: Engine, path: Path, column: str, value: object
) -> None:
    """[RECORD-3] The log says what a task is, not the row that it is searched by."""
    tamper(path, (f"UPDATE tasks SET {column} = ? WHERE stream = 3", [value]))  # noqa: S608  # `tagged`
    assert not engine.verify().ok
    assert engine.claim("other", owner="bob", ttl_ms=1_000) == []
    assert engine.claim("default", owner="bob", ttl_ms=1_000, kinds=["other"]) == []
    taken = [engine.claim("default", owner="bob", ttl_ms=1_000)[0].task.id for _ in range(2)]
    assert taken == ["free", "tagged"]
    assert engine.verify().ok


def run_elsewhere(path: Path, script: str) -> None:
    """Run SQL in a process of its own, as it is: what it drops stays dropped."""
    program = "import apsw, sys; apsw.Connection(sys.argv[1]).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)


def test_an_event_that_lost_its_stream_is_a_fault(engine: Engine, path: Path) -> None:
    """[LOG-1]"""
    run_elsewhere(path, "DROP TRIGGER streams_are_not_deleted; DELETE FROM streams WHERE id = 'free'")
    run_elsewhere(path, "DELETE FROM tasks WHERE stream = 2")
    texts = [fault.text for fault in engine.verify().faults]
    assert any("is of no stream" in text for text in texts)
    assert any("streams_are_not_deleted is gone" in text for text in texts)


def test_a_trigger_or_an_index_that_is_gone_is_a_fault(engine: Engine, path: Path) -> None:
    """[LOG-3]"""
    run_elsewhere(path, "DROP TRIGGER events_are_not_changed; DROP INDEX ready")
    texts = [fault.text for fault in engine.verify().faults]
    assert [text.partition(" is gone")[0] for text in texts] == ["events_are_not_changed", "ready"]
