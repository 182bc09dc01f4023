"""Real readers of one subscription are killed between reading and saving, and in the middle of saving."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine, failpoints
from tests import warm_processes

COMMIT_POINTS = ["commit.before_begin", "commit.after_begin", "commit.before_commit", "commit.after_commit"]


class Reader:
    """A process of `reader.py`."""

    def __init__(self, url: str, limit: int, failpoint: str | None = None) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        self.process = warm_processes.start("tests.faults.reader", url, "r", str(limit), **environment)

    def read(self) -> list[int]:
        """Let it read; the positions that it was given. It has not saved them yet."""
        self.go()
        positions: list[int] = json.loads(self.process.stdout.readline())
        return positions

    def go(self) -> None:
        """Let it go on: save what it has read, or read what comes next."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ends(self) -> int:
        """Its status, once it has ended by itself."""
        self.process.communicate(timeout=60)
        return self.process.wait()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Twenty events: the founding, and those that create."""
    with sagalog.open(url, durability="normal") as engine:
        engine.create_many({"kind": "build"} for _ in range(19))
        yield engine


def test_what_a_killed_reader_had_not_saved_is_given_again(engine: Engine, url: str) -> None:
    """[SUBSCRIBE-1] [SUBSCRIBE-2] No event is left out."""
    given: list[list[int]] = []
    while engine.subscribe("r").position < 20:
        reader = Reader(url, limit=6)
        saved, lost = reader.read(), []
        if saved[-1] < 20:
            reader.go()
            lost = reader.read()
            reader.kill()
        else:
            reader.go()
            assert reader.ends() == 0
        given += [saved, lost]

    assert given == [
        [1, 2, 3, 4, 5, 6],
        [7, 8, 9, 10, 11, 12],
        [7, 8, 9, 10, 11, 12],
        [13, 14, 15, 16, 17, 18],
        [13, 14, 15, 16, 17, 18],
        [19, 20],
        [19, 20],
        [],
    ]


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_reader_killed_while_it_saves_has_saved_all_or_nothing(engine: Engine, url: str, point: str) -> None:
    """[SUBSCRIBE-2]"""
    assert point in failpoints.NAMES
    engine.subscribe("r")
    reader = Reader(url, limit=7, failpoint=point)
    assert reader.read() == [1, 2, 3, 4, 5, 6, 7]
    reader.go()
    assert reader.ends() == -signal.SIGKILL

    stands = engine.subscribe("r").position
    assert stands == (7 if point == "commit.after_commit" else 0)
    again = Reader(url, limit=100)
    assert again.read() == list(range(stands + 1, 21))
    again.go()
    assert again.ends() == 0
    assert engine.subscribe("r").position == 20
    assert engine.verify().ok
