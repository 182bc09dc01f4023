"""Processes prune one store at the same moment, beside one that creates; and some are killed in the middle."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Engine
from sagalog.kernel.bounds import PRUNE_DIGESTS_MAX
from sagalog.testing.history import check, explain
from tests import warm_processes

POINTS = ["commit.before_begin", "commit.after_begin", "commit.after_events", "commit.after_fold"]
POINTS += ["commit.before_commit", "commit.after_commit"]
BLOBS = 2 * PRUNE_DIGESTS_MAX + 1


class Pruner:
    """A process of `pruner.py`."""

    def __init__(self, url: str, failpoint: str | None = None) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        self.process = warm_processes.start("tests.faults.pruner", url, **environment)
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

    def go(self) -> None:
        """Let it begin."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ends(self) -> list[dict[str, Any]]:
        """Everything that it says, once it has ended."""
        out, _ = self.process.communicate(timeout=90)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def pruners() -> Iterator[list[Pruner]]:
    """The processes of a test; whatever becomes of it, none is left."""
    started: list[Pruner] = []
    yield started
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """An engine on a store with the bytes of tasks that have ended."""
    with sagalog.open(sqlite_url, durability="normal") as engine:
        engine.create_many([{"kind": "k", "id": f"t{n}", "inputs": {"spec": b"%d" % n}} for n in range(BLOBS)])
        with engine.batch() as batch:
            for number in range(BLOBS):
                batch.cancel(f"t{number}")
        yield engine


def sound(engine: Engine) -> int:
    """Check the store and its history; return how many blobs are gone."""
    report = engine.verify()
    assert report.ok, report.faults
    violations = check(engine.events(limit=10_000))
    assert not violations, explain(violations)
    return report.pruned


def test_processes_that_prune_at_once_delete_each_blob_once(
    engine: Engine, sqlite_url: str, pruners: list[Pruner]
) -> None:
    """[PRUNE-1] Beside them, tasks are created with the same bytes: these are there, whichever process was first."""
    pruners += [Pruner(sqlite_url) for _ in range(3)]
    for one in pruners:
        one.go()
    for number in range(0, BLOBS, 40):
        engine.create("k", id=f"again{number}", inputs={"spec": b"%d" % number})
    blobs = sum(said["blobs"] for one in pruners for said in one.ends())
    assert all(engine.input(f"again{number}", "spec") == b"%d" % number for number in range(0, BLOBS, 40))
    assert blobs >= sound(engine)
    engine.prune(0)
    assert sound(engine) == BLOBS - len(range(0, BLOBS, 40))


@pytest.mark.parametrize("point", POINTS)
def test_a_pruner_that_is_killed_leaves_whole_slices(
    engine: Engine, sqlite_url: str, pruners: list[Pruner], point: str
) -> None:
    """[PRUNE-1] By kill -9 in its second slice: the first is gone with its event, and the next call goes on."""
    pruners.append(Pruner(sqlite_url, f"{point}:2"))
    pruners[0].go()
    pruners[0].ends()
    assert pruners[0].process.returncode == -signal.SIGKILL
    slices = 2 if point == "commit.after_commit" else 1
    assert sound(engine) == slices * PRUNE_DIGESTS_MAX
    assert [one.type for one in engine.events(limit=10_000)].count("pruned") == slices
    assert engine.prune(0).blobs == BLOBS - slices * PRUNE_DIGESTS_MAX
    assert sound(engine) == BLOBS
