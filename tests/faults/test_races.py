"""Real processes race on one SQLite file; some are killed in the middle of a commit, one sleeps through its lease."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Engine, Recorded, Retry, failpoints
from sagalog.testing.history import check, explain
from tests import warm_processes

PATIENT = Retry(expiries_max=None)
COMMIT_POINTS = [name for name in failpoints.NAMES if name.startswith("commit.")]


class Racer:
    """A process of `racer.py`, and what it was promised."""

    def __init__(self, url: str, owner: str, ttl_ms: int, how: str = "race", failpoint: str | None = None) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        self.owner = owner
        self.process = warm_processes.start("tests.faults.racer", url, owner, str(ttl_ms), how, **environment)

    def line(self) -> dict[str, Any]:
        """The next thing it says."""
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def go(self) -> None:
        """Let it begin, or go on."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ends(self, timeout_s: float = 90) -> list[dict[str, Any]]:
        """Everything else it says, once it has ended."""
        out, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode in (0, -signal.SIGKILL)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def racers() -> Iterator[list[Racer]]:
    """The processes of a test; whatever becomes of it, none is left."""
    started: list[Racer] = []
    yield started
    for racer in started:
        racer.process.kill()
        racer.process.communicate()


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    with sagalog.open(sqlite_url, durability="normal") as engine:
        yield engine


def whole_log(engine: Engine) -> list[Recorded]:
    log: list[Recorded] = []
    while page := engine.events(after=len(log), limit=10_000):
        log += page
    return log


def kept(log: list[Recorded], said: dict[str, Any]) -> bool:
    """Whether what a process was promised is in the log."""
    return any(
        one.stream == f"task/{said['task']}" and one.type == said["did"] and one.event.fence == said["fence"]  # type: ignore[attr-defined]
        for one in log
        if one.type == said["did"]
    )


def test_eight_processes_share_the_work_and_no_task_is_done_twice(
    engine: Engine, sqlite_url: str, racers: list[Racer]
) -> None:
    count = 400
    engine.create_many({"kind": "build", "id": f"{number:03}", "queue": "race"} for number in range(count))
    racers += [Racer(sqlite_url, f"racer {number}", ttl_ms=120_000) for number in range(8)]
    for racer in racers:
        assert racer.line() == {"ready": racer.owner}
    for racer in racers:
        racer.go()
    said = {racer.owner: racer.ends() for racer in racers}

    assert [line for lines in said.values() for line in lines if "error" in line or "lost" in line] == []
    log = whole_log(engine)
    assert explain(check(log)) == ""
    assert engine.verify().ok
    assert engine.counts() == {"race": {"completed": count}, "later": {"pending": count}}
    leased = Counter(one.stream for one in log if one.type == "leased")
    assert set(leased.values()) == {1}
    by_owner = {owner: sum(line.get("did") == "completed" for line in lines) for owner, lines in said.items()}
    assert sum(by_owner.values()) == count
    # Turns are fair: a process that comes back gets one before any other gets two.
    assert min(by_owner.values()) >= count / 8 / 4, by_owner


def test_processes_killed_amid_a_commit_cost_nothing_that_was_promised(
    engine: Engine, sqlite_url: str, racers: list[Racer]
) -> None:
    count = 150
    specs = ({"kind": "build", "id": f"{number:03}", "queue": "race", "retry": PATIENT} for number in range(count))
    engine.create_many(specs)
    victims = [
        Racer(sqlite_url, f"dies at {point}", ttl_ms=400, failpoint=f"{point}:{9 + place}")
        for place, point in enumerate(COMMIT_POINTS)
    ]
    survivors = [Racer(sqlite_url, f"survivor {number}", ttl_ms=400) for number in range(2)]
    racers += victims + survivors
    for racer in racers:
        assert racer.line() == {"ready": racer.owner}
    for racer in racers:
        racer.go()
    said = {racer.owner: racer.ends() for racer in racers}

    assert {racer.owner: racer.process.returncode for racer in victims} == dict.fromkeys(
        (racer.owner for racer in victims), -signal.SIGKILL
    )
    assert [racer.process.returncode for racer in survivors] == [0, 0]
    assert [line for lines in said.values() for line in lines if "error" in line] == []
    log = whole_log(engine)
    assert explain(check(log)) == ""
    assert engine.verify().ok
    promised = [line for lines in said.values() for line in lines if "did" in line]
    assert len(promised) > count
    assert [line for line in promised if not kept(log, line)] == []
    # What no process was promised is there wholly or not at all: no end without its follow-up, none without its end.
    assert engine.counts() == {"race": {"completed": count}, "later": {"pending": count}}
    assert {task.id for task in engine.find(queue="later")} == {f"after {number:03}" for number in range(count)}


def test_a_worker_that_slept_through_its_lease_is_refused_with_every_verb(
    engine: Engine, sqlite_url: str, racers: list[Racer]
) -> None:
    engine.create("build", id="t", queue="race", retry=PATIENT)
    sleeper = Racer(sqlite_url, "sleeper", ttl_ms=100, how="oversleep")
    racers.append(sleeper)
    assert sleeper.line() == {"ready": "sleeper"}
    sleeper.go()
    assert sleeper.line() == {"did": "leased", "task": "t", "fence": 1}
    sleeper.process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + 30
    while not (leases := engine.claim("race", owner="waking", ttl_ms=120_000)):
        assert time.monotonic() < until
        time.sleep(0.01)
    before = whole_log(engine)
    sleeper.go()
    sleeper.process.send_signal(signal.SIGCONT)

    answers = {line["verb"]: line["code"] for line in sleeper.ends()}
    assert answers == dict.fromkeys(answers, "lease_lost")
    assert len(answers) == 11
    assert whole_log(engine) == before
    assert leases[0].complete("by the one who was awake").state == "completed"
    assert explain(check(whole_log(engine))) == ""
