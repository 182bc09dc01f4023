"""Worker processes that are killed, stopped and told to end; what is in the log afterwards, and on the disk."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog.testing.history import check, explain
from tests.worker.worker_processes import Process, ended, story

Start = Callable[..., Process]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path}/store.db") as engine:
        yield engine
        violations = check(engine.events(limit=10_000))
        assert not violations, explain(violations)
        assert engine.verify().ok


@pytest.fixture
def start(engine: sagalog.Engine, tmp_path: Path) -> Iterator[Start]:
    begun: list[Process] = []

    def start(name: str = "w") -> Process:
        begun.append(Process(tmp_path / "store.db", tmp_path, name))
        return begun[-1]

    yield start
    for process in begun:
        process.end()


def test_a_worker_killed_before_its_deadline_leaves_it_to_the_next(engine: sagalog.Engine, start: Start) -> None:
    """[DEADLINE-2] [UPKEEP-1] Between the deadline and the maintenance no process lives that knew of it."""
    task = engine.create("steps", {"holds": "b"})
    first = start("first")
    first.reached("began-b-1")
    first.send(signal.SIGKILL)
    first.wait()
    engine.amend(task.id, deadline_ms=engine.now_ms())
    start("second")

    after = ended(engine, task.id)
    assert (after.state, after.outcome, after.code) == ("compensated", "cancelled", "deadline")
    types = story(engine, task.id)
    assert types.count("cancel_requested") <= 1
    assert types[types.index("lease_expired") + 1] == "cancelled"


def test_a_worker_killed_in_a_step_is_followed_by_one_that_goes_on(
    engine: sagalog.Engine, start: Start, tmp_path: Path
) -> None:
    """[STEP-1] [COMP-1] [FENCE-1]"""
    task = engine.create("steps", {"holds": "b"})
    first = start("first")
    first.reached("began-b-1")
    first.send(signal.SIGKILL)
    start("second")

    assert ended(engine, task.id).result == ["a", "b", "c"]
    # On a slow machine either of them renews its lease now and then.
    assert [one for one in story(engine, task.id) if one != "heartbeat"] == [
        "created",
        "leased",
        *("compensation_registered", "step_completed"),
        "compensation_registered",
        "lease_expired",
        "leased",
        "step_completed",
        *("compensation_registered", "step_completed"),
        "completed",
    ]
    # What was on record was not done again; what had begun and was not on record was.
    assert (tmp_path / "effect-a").read_text() == "1\n"
    assert (tmp_path / "effect-b").read_text() == "1\n2\n"


@pytest.mark.parametrize("at", ["c", "b", "a"])
def test_a_worker_killed_while_it_undoes_is_followed_by_one_that_ends_it(
    at: str, engine: sagalog.Engine, start: Start, tmp_path: Path
) -> None:
    """[COMP-5] [COMP-6] [UNDO-3]"""
    (tmp_path / f"hold-undo-{at}").touch()
    task = engine.create("steps", {"fails": True})
    first = start("first")
    first.reached(f"undoing-{at}-2")
    first.send(signal.SIGKILL)
    (tmp_path / f"hold-undo-{at}").unlink()
    start("second")

    assert ended(engine, task.id).state == "compensated"
    assert not list(tmp_path.glob("effect-*"))
    undone = [one.event for one in engine.history(task.id) if one.type == "compensation_done"]
    assert [one.id for one in undone] == ["c", "b", "a"]  # type: ignore[attr-defined]


def test_a_worker_paused_beyond_its_lease_writes_nothing_when_it_wakes(
    engine: sagalog.Engine, start: Start, tmp_path: Path
) -> None:
    """[FENCE-2]"""
    task = engine.create("steps", {"holds": "b"})
    first = start("first")
    first.reached("began-b-1")
    first.send(signal.SIGSTOP)
    second = start("second")
    second.reached("began-b-2")
    assert ended(engine, task.id).state == "completed"
    before = story(engine, task.id)
    (tmp_path / "go-on-b").touch()
    first.send(signal.SIGCONT)
    other = engine.create("steps", {})

    assert ended(engine, other.id).state == "completed"
    assert story(engine, task.id) == before
    assert (tmp_path / "effect-c").read_text().count("\n") == 2


def test_a_worker_told_to_end_finishes_its_handler_and_claims_no_more(
    engine: sagalog.Engine, start: Start, tmp_path: Path
) -> None:
    task = engine.create("patient", {})
    worker = start()
    worker.reached("patient")
    worker.send(signal.SIGTERM)
    # A signal takes its time: only a worker that has heard of it claims no more.
    worker.reached("told-patient")
    late = engine.create("patient", {})
    (tmp_path / "enough").touch()

    assert worker.wait() == 0
    assert (tmp_path / "down-w").exists()
    assert engine.get(task.id).result == "finished"  # type: ignore[union-attr]
    assert story(engine, late.id) == ["created"]


def test_a_second_signal_ends_it_at_once_and_what_it_held_is_given_back(
    engine: sagalog.Engine, start: Start, tmp_path: Path
) -> None:
    """[ATTEMPT-1]"""
    kind = engine.create("patient", {})
    stubborn = engine.create("stubborn", {})
    worker = start()
    worker.reached("patient")
    worker.reached("stubborn")
    worker.send(signal.SIGTERM)
    # Two signals at once may be heard as one.
    worker.reached("told-patient")
    worker.send(signal.SIGINT)

    assert worker.wait() == 0
    for id in (kind.id, stubborn.id):
        task = engine.get(id)
        assert task is not None
        assert (task.state, task.attempt, task.lease) == ("pending", 1, None)
        assert story(engine, id)[-1] == "released"


def test_a_cancel_reaches_a_worker_in_another_process(engine: sagalog.Engine, start: Start, tmp_path: Path) -> None:
    """[CANCEL-2]"""
    task = engine.create("patient", {})
    start().reached("patient")
    engine.cancel(task.id, "not needed")

    assert ended(engine, task.id).state == "cancelled"
    told = [type for type in story(engine, task.id) if type != "heartbeat"]
    assert told[-3:] == ["cancel_requested", "released", "cancelled"]
