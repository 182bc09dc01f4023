"""A process is killed while it handles the dependants or the children of a task: the next one goes on. [WAIT-3]"""

from __future__ import annotations

import signal
from collections import Counter

import pytest

import sagalog
from sagalog.engine.entries import CommandEntry
from sagalog.kernel.bounds import DEPENDANTS_LIMIT
from sagalog.testing.history import check, explain
from sagalog.validation import commands as forms
from tests import warm_processes
from tests.store_of import store_of

COUNT = 4 * DEPENDANTS_LIMIT + 7
POINTS = ["commit.after_events", "commit.after_fold", "commit.before_commit", "commit.after_commit"]


def run(url: str, how: str, failpoint: str | None) -> int:
    """Run an ender, perhaps up to its failpoint; its status."""
    environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
    process = warm_processes.start("tests.faults.ender", url, "p", how, **environment)
    process.stdin.close()
    with process.stdout:
        process.stdout.read()
    return process.wait(60)


def go_on(url: str, how: str, point: str, kills: int) -> None:
    """End the task, and have several processes die at one commit after the other before one lives to the end."""
    status = run(url, how, f"{point}:3")
    for number in range(kills):
        assert status == -signal.SIGKILL
        with sagalog.open(url, durability="normal") as engine:
            report = engine.verify()
            assert report.ok, report.faults
        status = run(url, "look", f"{point}:{1 + number % 2}")
    assert run(url, "look", None) == 0


def sound(engine: sagalog.Engine) -> None:
    report = engine.verify()
    assert report.ok, report.faults
    violations = check(engine.events(limit=10_000))
    assert not violations, explain(violations)


@pytest.mark.parametrize("point", POINTS)
def test_every_dependant_goes_on_once_after_kills(sqlite_url: str, point: str) -> None:
    """[WAIT-3] [WAIT-5] Between two shares of maintenance, and in the middle of one."""
    with sagalog.open(sqlite_url, durability="normal") as engine:
        engine.create("build", id="p")
        engine.create_many([{"kind": "build", "after": ["p"], "queue": "waiters"} for _ in range(COUNT)])

    go_on(sqlite_url, "complete", point, kills=3)

    with sagalog.open(sqlite_url, durability="normal") as engine:
        types = Counter(event.type for event in engine.events(limit=10_000))
        assert types["unblocked"] == COUNT
        assert len(engine.claim("waiters", owner="ann", ttl_ms=None, limit=1_000)) == COUNT
        sound(engine)


@pytest.mark.parametrize("point", POINTS)
def test_every_child_is_cancelled_once_after_kills(sqlite_url: str, point: str) -> None:
    """[CANCEL-4]"""
    with sagalog.open(sqlite_url, durability="normal") as engine:
        engine.create("build", id="p")
        with engine.batch() as batch:
            for number in range(COUNT):
                child = forms.create("build", id=f"c{number}", queue="children", parent="p", on_parent_end="cancel")
                batch._append(CommandEntry(child, "worker:ann"))

    go_on(sqlite_url, "fail", point, kills=3)

    with sagalog.open(sqlite_url, durability="normal") as engine:
        types = Counter(event.type for event in engine.events(limit=10_000))
        assert types["cancelled"] == COUNT
        assert engine.counts("children") == {"children": {"cancelled": COUNT}}
        engine.recover()
        with store_of(engine).read() as snapshot:
            assert snapshot.children_due() == frozenset()
        sound(engine)
