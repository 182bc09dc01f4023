"""Processes and threads create tasks with one dedupe key at the same moment, and some are killed in the middle."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Dedupe, Engine, Task
from sagalog.testing.history import check, explain
from tests import warm_processes

POINTS = ["commit.after_events", "commit.after_fold", "commit.before_commit", "commit.after_commit"]


class Deduper:
    """A process of `deduper.py`, and what it was promised."""

    def __init__(self, url: str, name: str, keys: int, rounds: int, failpoint: str | None = None) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        words = (url, name, str(keys), str(rounds))
        self.process = warm_processes.start("tests.faults.deduper", *words, **environment)
        assert json.loads(self.process.stdout.readline()) == {"ready": name}

    def go(self) -> None:
        """Let it begin."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ends(self) -> list[dict[str, Any]]:
        """Everything that it says, once it has ended."""
        out, _ = self.process.communicate(timeout=90)
        assert self.process.returncode in (0, -signal.SIGKILL)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def dedupers() -> Iterator[list[Deduper]]:
    """The processes of a test; whatever becomes of it, none is left."""
    started: list[Deduper] = []
    yield started
    for deduper in started:
        deduper.process.kill()
        deduper.process.communicate()


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    with sagalog.open(sqlite_url, durability="normal") as engine:
        yield engine


def sound(engine: Engine) -> None:
    report = engine.verify()
    assert report.ok, report.faults
    violations = check(engine.events(limit=10_000))
    assert not violations, explain(violations)


def test_eight_processes_create_one_task_of_a_key(engine: Engine, sqlite_url: str, dedupers: list[Deduper]) -> None:
    """[DEDUPE-1] [DEDUPE-2] All at once; one of them creates it, and each is given that one."""
    dedupers += [Deduper(sqlite_url, f"p{number}", keys=3, rounds=1) for number in range(8)]
    for one in dedupers:
        one.go()
    said = [line for one in dedupers for line in one.ends()]

    assert len(said) == 24
    assert len({line["task"] for line in said}) == 3
    assert [line["deduplicated"] for line in said].count(False) == 3
    assert len(engine.find()) == 3
    sound(engine)


def test_keys_stay_unique_while_processes_free_and_take_them(
    engine: Engine, sqlite_url: str, dedupers: list[Deduper]
) -> None:
    """[DEDUPE-1] Each task that ends frees its key, and one process takes it."""
    dedupers += [Deduper(sqlite_url, f"p{number}", keys=2, rounds=6) for number in range(4)]
    for one in dedupers:
        one.go()
    said = [line for one in dedupers for line in one.ends() if "task" in line]

    made = {line["task"] for line in said if not line["deduplicated"]}
    assert {line["task"] for line in said} == made == {task.id for task in engine.find()}
    sound(engine)


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_leaves_no_key_between(
    engine: Engine, sqlite_url: str, dedupers: list[Deduper], point: str
) -> None:
    """[DEDUPE-1] By kill -9 in a creation, and in the end of a task: the next one finds the key as the log gives it."""
    for at in range(1, 8):
        killed = Deduper(sqlite_url, "killed", keys=1, rounds=12, failpoint=f"{point}:{at}")
        dedupers.append(killed)
        killed.go()
        killed.ends()
        assert killed.process.returncode == -signal.SIGKILL
        sound(engine)
        living = [task.id for task in engine.find(state="pending")]
        found = engine.create("report", dedupe=Dedupe("k0"))
        assert living in ([], [found.id])
        assert found.deduplicated == bool(living)
        if at % 2:
            engine.cancel(found.id)
    sound(engine)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_two_threads_create_one_task_of_a_key(kind: str, tmp_path: Path) -> None:
    """[DEDUPE-1] Through one engine, whose store may carry both out in one commit."""
    url = "memory:" if kind == "memory" else f"sqlite:///{tmp_path}/threads.db"
    with sagalog.open(url, durability="normal") as engine:
        barrier = threading.Barrier(4)
        made: list[list[Task]] = [[] for _ in range(4)]

        def create(place: int) -> None:
            for round in range(20):
                barrier.wait()
                made[place].append(engine.create("report", dedupe=Dedupe(f"k{round}")))

        threads = [threading.Thread(target=create, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        for of_key in zip(*made, strict=True):
            assert len({task.id for task in of_key}) == 1
            assert [task.deduplicated for task in of_key].count(False) == 1
        assert len(engine.find()) == 20
        sound(engine)
