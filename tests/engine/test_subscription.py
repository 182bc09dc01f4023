"""Subscriptions: iterating, blocks that save, what `save` refuses, and saves whose outcome no caller knew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from sagalog import Conflict, Corrupt, Engine, InvalidValue, Recorded, Subscription, Unknown
from sagalog.store.memory import MemoryStore
from sagalog.system import SystemClock
from sagalog.testing import ManualClock
from tests.engine.checking import leased


class DoubtfulStore(MemoryStore):
    """A memory store whose next saves of a checkpoint end without an answer: kept, or lost."""

    def __init__(self) -> None:
        super().__init__(ManualClock(0))
        self.kept: list[bool] = []

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        if not self.kept:
            return super().keep(space, name, expected, value)
        if self.kept.pop(0):
            super().keep(space, name, expected, value)
        raise Unknown("the commit failed half-way")


@pytest.fixture
def doubtful() -> DoubtfulStore:
    return DoubtfulStore()


@pytest.fixture
def reader(engine: Engine) -> Subscription:
    """Five events to read: the founding and those of two tasks."""
    leased(engine, "a").complete()
    engine.create("build", id="b")
    return engine.subscribe("r")


def stored(engine: Engine, name: str = "r") -> int:
    """Where the name goes on."""
    return engine.subscribe(name).position


# --- iterating ------------------------------------------------------------------------------------------------------


def test_an_iteration_gives_every_event_once_in_order(engine: Engine, reader: Subscription) -> None:
    """[SUBSCRIBE-1]"""
    read = list(islice(reader, 5))

    assert engine.events() == read


def test_save_within_an_iteration_includes_the_event_in_hand(engine: Engine, reader: Subscription) -> None:
    """[SUBSCRIBE-3] It includes no event behind that one."""
    saved = []
    for event in reader:
        reader.save()
        saved.append((event.position, stored(engine)))
        if event.position == 4:
            break

    assert [(number, number) for number in (1, 2, 3, 4)] == saved


def test_iterating_and_reading_go_on_where_the_other_has_stopped(reader: Subscription) -> None:
    """[SUBSCRIBE-1]"""
    read = [next(reader), *reader.read(2), next(reader), *reader.read()]

    assert [1, 2, 3, 4, 5] == [event.position for event in read]


def test_an_iteration_reads_many_pages(engine: Engine) -> None:
    engine.create_many({"kind": "build"} for _ in range(250))
    reader = engine.subscribe("r")

    assert list(range(1, 252)) == [next(reader).position for _ in range(251)]


def test_an_iteration_waits_for_what_comes() -> None:
    engine = Engine(MemoryStore(SystemClock()))
    reader = engine.subscribe("r", after=engine.newest_position())
    read: list[Recorded] = []
    thread = threading.Thread(target=lambda: read.append(next(reader)), daemon=True)
    thread.start()

    engine.create("build", id="a")
    thread.join(30)

    assert ["task/a"] == [event.stream for event in read]


def test_waiting_ends_when_the_time_is_over_by_the_clock_of_the_engine(clock: ManualClock, engine: Engine) -> None:
    reader = engine.subscribe("r", after=engine.newest_position())
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(reader.wait(60_000)), daemon=True)
    thread.start()

    while thread.is_alive():
        clock.advance(30_000)
        thread.join(0.1)

    assert [False] == found


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_a_block_saves_what_was_given_when_it_ends(engine: Engine, reader: Subscription) -> None:
    with reader as entered:
        assert entered is reader
        reader.read(3)

    assert (3, 3) == (reader.checkpoint, stored(engine))


def test_a_block_that_fails_saves_nothing(engine: Engine, reader: Subscription) -> None:
    """[SUBSCRIBE-2]"""

    def handle() -> None:
        with reader:
            reader.read(3)
            raise KeyError("the handler failed")

    with pytest.raises(KeyError):
        handle()

    assert 0 == stored(engine)


# --- saving ---------------------------------------------------------------------------------------------------------


def test_save_takes_any_position_that_was_given_and_not_saved_yet(engine: Engine, reader: Subscription) -> None:
    reader.read(4)

    reader.save(2)
    reader.save(2)
    reader.save(4)

    assert (4, 4) == (reader.checkpoint, stored(engine))


@pytest.mark.parametrize("position", [0, 1, 4, 5, 2**62])
def test_save_refuses_what_was_saved_already_and_what_was_not_given(
    engine: Engine, reader: Subscription, position: int
) -> None:
    """[SUBSCRIBE-3]"""
    reader.read(3)
    reader.save(2)

    with pytest.raises(InvalidValue, match=f"2 to 3, found {position}") as refusal:
        reader.save(position)

    assert ("position", 2) == (refusal.value.path, stored(engine))


def test_save_does_not_count_what_was_read_ahead(reader: Subscription) -> None:
    """[SUBSCRIBE-3]"""
    next(reader)

    with pytest.raises(InvalidValue):
        reader.save(2)


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.subscribe(""),
        lambda engine: engine.subscribe(7),
        lambda engine: engine.subscribe("two\nlines"),
        lambda engine: engine.subscribe("r", after=-1),
        lambda engine: engine.subscribe("r", after="now"),
        lambda engine: engine.subscribe("r", after=True),
        lambda engine: engine.subscribe(None, after=7),
        lambda engine: engine.subscribe("r").read(0),
        lambda engine: engine.subscribe("r").read(10_001),
        lambda engine: engine.subscribe("r").wait(-1),
        lambda engine: engine.subscribe("r").wait(0.5),
        lambda engine: engine.subscribe("r").save("1"),
        lambda engine: engine.subscribe(None).save(),
    ],
)
def test_what_cannot_be_meant_is_refused(engine: Engine, call: Callable[[Any], object]) -> None:
    with pytest.raises(InvalidValue):
        call(engine)


def test_a_conflict_says_where_the_checkpoint_is_and_what_to_do(engine: Engine, reader: Subscription) -> None:
    """[SUBSCRIBE-3]"""
    other = engine.subscribe("r")
    reader.read(2)
    reader.save()
    other.read(1)

    with pytest.raises(Conflict, match=r"'r' was at 0 and is at 2, so 1 was not saved: .* use another name"):
        other.save()

    assert (0, 2) == (other.checkpoint, stored(engine))


# --- without a name -------------------------------------------------------------------------------------------------


def test_who_has_no_name_reads_on_and_leaves_nothing_behind(engine: Engine, reader: Subscription) -> None:
    with engine.subscribe(None, after=2) as nameless:
        assert [3, 4] == [event.position for event in nameless.read(2)]
        assert 5 == next(nameless).position

    assert (None, None) == (nameless.name, nameless.checkpoint)


# --- unknown outcomes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_a_save_of_unknown_outcome_can_be_repeated(doubtful: DoubtfulStore, kept: bool) -> None:
    """[SUBSCRIBE-3]"""
    engine = Engine(doubtful)
    engine.create_many([{"kind": "build"}] * 3)
    reader = engine.subscribe("r")
    reader.read(2)
    doubtful.kept = [kept]

    with pytest.raises(Unknown):
        reader.save()
    reader.save()

    assert (2, 2) == (reader.checkpoint, stored(engine))


@pytest.mark.parametrize("kept", [True, False])
def test_after_a_save_of_unknown_outcome_reading_and_saving_go_on(doubtful: DoubtfulStore, kept: bool) -> None:
    """[SUBSCRIBE-3]"""
    engine = Engine(doubtful)
    engine.create_many([{"kind": "build"}] * 3)
    reader = engine.subscribe("r")
    reader.read(2)
    doubtful.kept = [kept]

    with pytest.raises(Unknown):
        reader.save()
    reader.read()
    reader.save()

    assert (4, 4) == (reader.checkpoint, stored(engine))


def test_what_was_saved_after_all_is_not_moved_back(doubtful: DoubtfulStore) -> None:
    """[SUBSCRIBE-3]"""
    engine = Engine(doubtful)
    engine.create_many([{"kind": "build"}] * 3)
    reader = engine.subscribe("r")
    reader.read(3)
    doubtful.kept = [True]

    with pytest.raises(Unknown):
        reader.save()
    reader.save(1)

    assert (3, 3) == (reader.checkpoint, stored(engine))


def test_a_save_of_unknown_outcome_does_not_excuse_another_reader(doubtful: DoubtfulStore) -> None:
    """[SUBSCRIBE-3]"""
    engine = Engine(doubtful)
    engine.create_many([{"kind": "build"}] * 3)
    reader, other = engine.subscribe("r"), engine.subscribe("r")
    reader.read(2)
    other.read(1)
    doubtful.kept = [False]

    with pytest.raises(Unknown):
        reader.save()
    other.save()

    with pytest.raises(Conflict):
        reader.save()


def test_a_new_name_of_unknown_outcome_can_be_asked_for_again(doubtful: DoubtfulStore) -> None:
    engine = Engine(doubtful)
    doubtful.kept = [True]

    with pytest.raises(Unknown):
        engine.subscribe("r", after=1)

    assert 1 == engine.subscribe("r", after=0).position


def test_a_checkpoint_beyond_the_log_stops_its_reader(doubtful: DoubtfulStore) -> None:
    """[SUBSCRIBE-5]"""
    engine = Engine(doubtful)
    doubtful.keep("subscriptions", "r", None, "7")

    with pytest.raises(Corrupt, match="'r' is at 7 and the log ends before"):
        engine.subscribe("r")


# --- races ----------------------------------------------------------------------------------------------------------


def test_who_loses_the_race_for_a_new_name_begins_where_the_winner_did(
    doubtful: DoubtfulStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[SUBSCRIBE-2]"""
    engine = Engine(doubtful)
    engine.create("build")
    keep = doubtful.keep

    def be_late(space: str, name: str, expected: str | None, value: str | None) -> bool:
        monkeypatch.undo()
        keep(space, name, None, "1")
        return keep(space, name, expected, value)

    monkeypatch.setattr(doubtful, "keep", be_late)

    assert 1 == engine.subscribe("r", after=2).position
