"""Categories of streams: what is asked of the shipped ones, and what another one would cost.

The made-up category `counter` lives in this file alone: two events, a fold and a table are all that it needs to be
written, read, checked and folded by the functions that tasks go through.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from sagalog.codec import SHAPES, Envelope, Shapes, digest_of, enclose, read
from sagalog.errors import LogDamaged, UnknownEvent
from sagalog.kernel import events as e
from sagalog.kernel.categories import CATEGORIES, STORE, TASK, Category, category_of
from sagalog.kernel.lifecycle import UNBORN, Lifecycle, Row
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.schemas import schema_files
from sagalog.store.projection import refold_stream


class Counted(e.Recordable, frozen=True):
    """Something was counted."""

    by: int


class Closed(e.Recordable, frozen=True):
    """Nothing is counted any more."""


class CounterFold(msgspec.Struct, frozen=True):
    id: str
    version: int = 0
    state: str = UNBORN
    total: int = 0


LIFE: Final = Lifecycle(
    {
        UNBORN: (Row("counted", "open"),),
        "open": (Row("counted", "open"), Row("closed", "shut")),
        "shut": (),
    }
)


def counted(fold: CounterFold, event: e.Recordable, version: int, at_ms: int) -> CounterFold:
    state = LIFE.destination(fold.state, COUNTER.events[type(event)], undoes=False)
    if state is None or version != fold.version + 1:
        raise LogDamaged("it cannot stand there", stream=COUNTER.stream(fold.id), version=version, type=None)
    by = event.by if isinstance(event, Counted) else 0
    return CounterFold(fold.id, version, state, fold.total + by)


NAMES: Final[dict[type[e.Recordable], str]] = {Counted: "counted", Closed: "closed"}
COUNTER: Final = Category("counter", NAMES, CounterFold, CounterFold, counted, LIFE)
WITH_COUNTERS: Final = Shapes([*CATEGORIES.values(), COUNTER])


def written(category: Category[Any], id: str, *events: e.Recordable) -> list[Envelope]:
    return [
        enclose(category.stream(id), version, 1_000 + version, event, shapes=WITH_COUNTERS)
        for version, event in enumerate(events, start=1)
    ]


COUNTS = written(COUNTER, "sheep", Counted(2), Counted(3), Closed())


def test_a_made_up_category_is_written_read_and_folded_as_tasks_are() -> None:
    """[LOG-4] [LIFE-1]"""
    assert [one.name for one in COUNTS] == ["counter/sheep@1", "counter/sheep@2", "counter/sheep@3"]
    assert [read(one, WITH_COUNTERS) for one in COUNTS] == [Counted(2), Counted(3), Closed()]
    assert [one.digest for one in COUNTS] == [digest_of(one) for one in COUNTS]
    folded = refold_stream(COUNTER, "sheep", COUNTS, WITH_COUNTERS)
    assert folded == CounterFold("sheep", 3, "shut", 5)
    assert {"counted.1.json", "closed.1.json"} == schema_files(WITH_COUNTERS).keys() - schema_files().keys()


def test_its_damage_is_found_as_that_of_a_task() -> None:
    """[LOG-4] [RECORD-1]"""
    changed = msgspec.structs.replace(COUNTS[1], body='{"by":30}')
    with pytest.raises(LogDamaged, match="counter/sheep@2 was changed"):
        refold_stream(COUNTER, "sheep", [COUNTS[0], changed], WITH_COUNTERS)
    again = written(COUNTER, "sheep", Counted(1), Closed(), Counted(1))
    with pytest.raises(LogDamaged):
        refold_stream(COUNTER, "sheep", again, WITH_COUNTERS)


def test_tasks_are_read_beside_a_made_up_category() -> None:
    """[LOG-5] The store's own stream is read, too; the shipped shapes know nothing of that category."""
    noted, founded = written(TASK, "t", e.Noted("seen"))[0], written(STORE, "s", e.Founded("s", 0, "1"))[0]
    assert (read(noted, WITH_COUNTERS), read(founded)) == (e.Noted("seen"), e.Founded("s", 0, "1"))
    assert refold_stream(STORE, "s", [founded]) == StoreFold("s", 1, 0, 0, "1")
    with pytest.raises(UnknownEvent, match="type is unknown"):
        read(COUNTS[0])
    assert "counted" not in SHAPES.types


def test_two_events_of_one_name_are_refused() -> None:
    class AlsoClosed(e.Recordable, frozen=True):
        pass

    other = Category("door", {AlsoClosed: "closed"}, CounterFold, CounterFold, counted, LIFE)
    with pytest.raises(ValueError, match="one name"):
        Shapes([COUNTER, other])


@pytest.mark.parametrize("category", [*CATEGORIES.values(), COUNTER], ids=lambda one: one.name)
def test_a_category_has_a_table_of_exactly_its_events(category: Category[Any]) -> None:
    """[LIFE-1] It begins without any."""
    assert {row.event for rows in category.life.rows.values() for row in rows} == set(category.events.values())
    assert category.begin("x").version == 0
    assert category.fold("x", ()) == category.begin("x")


def test_a_stream_is_of_the_category_that_its_name_begins_with() -> None:
    assert (category_of("task/a/b"), category_of("store/s"), category_of("counter/sheep")) == (TASK, STORE, None)
    assert (TASK.stream("a/b"), TASK.begin("a")) == ("task/a/b", TaskFold("a"))
    assert all(name == category.name and "/" not in name for name, category in CATEGORIES.items())
