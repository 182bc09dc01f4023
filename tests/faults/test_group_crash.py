"""A process whose threads commit in groups is killed: what was acknowledged to any of them is there."""

from __future__ import annotations

import signal
from collections import defaultdict

import pytest

import sagalog
from tests import warm_processes

THREADS = 8


def acknowledged_by(url: str, failpoint: str | None, lines_min: int) -> list[str]:
    """What a committer says before it is killed: by its failpoint, or by us after so many lines."""
    environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
    process = warm_processes.start("tests.faults.committer", url, str(THREADS), **environment)
    # One reader from the first line to the end: a second one would miss what the first holds in its buffer.
    lines: list[str] = []
    with process.stdout:
        for line in process.stdout:
            lines.append(line)
            if failpoint is None and len(lines) == lines_min:
                process.kill()
    process.stdin.close()
    assert process.wait(60) == -signal.SIGKILL
    return [line.rstrip("\n") for line in lines]


@pytest.mark.parametrize(
    "failpoint",
    [None, "commit.after_begin:60", "commit.after_events:300", "commit.before_commit:60", "commit.after_commit:60"],
)
def test_a_process_killed_amid_commits_of_threads_keeps_their_answers(sqlite_url: str, failpoint: str | None) -> None:
    """The store holds all that was acknowledged to the threads."""
    acknowledged = acknowledged_by(sqlite_url, failpoint, lines_min=200 if failpoint is None else 1)

    with sagalog.open(sqlite_url) as engine:
        found = {task.id for task in engine.find()}
        assert engine.verify().ok
        after = engine.create("build", id="after")
    assert after.state == "pending"
    assert len(acknowledged) >= 50
    assert [id for id in acknowledged if id not in found] == []
    # Beyond that each thread has at most the one that it was not told of.
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for id in found:
        name, number = id.split("-")
        numbers[name].append(int(number))
    told = defaultdict(int, {name: sum(id.startswith(f"{name}-") for id in acknowledged) for name in numbers})
    for name, its in numbers.items():
        assert sorted(its) == list(range(len(its)))
        assert len(its) - told[name] in (0, 1)
