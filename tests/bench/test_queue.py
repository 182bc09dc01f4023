"""The suite `queue`: every side is as durable as ours, does all it is timed for, and takes turns in small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from huey import SqliteHuey
from litequeue import LiteQueue

from bench import queue, queue_ours, queue_peers


class Heard:
    """A side that writes down what is asked of it."""

    def __init__(self) -> None:
        self.steps = ""

    def push(self) -> None:
        self.steps += "+"

    def take(self) -> None:
        self.steps += "-"

    def settle(self) -> None:
        self.steps += "."

    def done(self) -> int:
        return self.steps.count("-")


@pytest.mark.parametrize(("shape", "steps"), [("steady", "+-+-+-."), ("backlog", "+++---.")])
def test_a_shape_says_in_which_order_items_come_and_go(shape: str, steps: str) -> None:
    heard = Heard()

    for step in queue.SHAPES[shape](heard, 3):
        step()

    assert heard.steps == steps


@pytest.mark.parametrize("items", [1, 24, 25, 30])
def test_a_round_has_as_many_turns_as_its_steps_need(items: int, tmp_path: Path) -> None:
    heard = Heard()

    @contextmanager
    def opened(path: Path) -> Iterator[Heard]:
        yield heard

    with queue.working(opened, tmp_path / "none.db", queue.SHAPES["steady"], items) as turn:
        for _ in range(queue._turns(items)):
            before = len(heard.steps)
            turn()
            assert 0 < len(heard.steps) - before <= 50

    assert heard.steps == "+-" * items + "."


@pytest.mark.parametrize("name", queue.SIDES)
def test_a_side_that_was_not_asked_for_all_its_items_is_found_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "side.db"
    with (
        pytest.raises(AssertionError, match=r"of 27 items|items have their whole history"),
        queue.working(queue.SIDES[name], path, queue.SHAPES["backlog"], 27) as turn,
    ):
        turn()


@pytest.mark.parametrize("name", queue.SIDES)
def test_a_side_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    with queue.working(queue.SIDES[name], tmp_path / "side.db", queue.SHAPES["backlog"], 27) as turn:
        turn()
        turn()

    assert list(tmp_path.iterdir()) == []


def test_an_item_of_ours_that_is_not_acknowledged_is_found_out(tmp_path: Path) -> None:
    with queue_ours.consuming(tmp_path / "ours.db") as side:
        for _ in range(3):
            side.push()
            side.take()
        with pytest.raises(AssertionError, match=r"2 items have their whole history.*'leased'\): 1"):
            side.done()
        side.settle()
        assert side.done() == 3


@pytest.mark.parametrize(
    "lax",
    [
        lambda path: closing(LiteQueue(path)),
        lambda path: closing(SqliteHuey(filename=str(path), fsync=False).storage),
        lambda path: closing(SqliteHuey(filename=str(path), fsync=True, journal_mode="delete").storage),
    ],
)
def test_a_peer_that_may_lose_a_commit_is_refused(lax: Callable[[Path], closing[Any]], tmp_path: Path) -> None:
    with lax(tmp_path / "peer.db") as peer, pytest.raises(AssertionError, match="beside durable writes"):
        queue_peers.require_durable(peer.conn)
