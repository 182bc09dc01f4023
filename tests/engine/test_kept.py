"""What programs keep beside the log: read, changed by compare-and-set, and the engine's own left alone."""

from __future__ import annotations

import asyncio

import pytest

from sagalog import Engine, InvalidValue, OverBound
from sagalog.aio import AsyncEngine


def test_a_text_is_changed_only_from_the_one_that_is_expected(engine: Engine) -> None:
    """[KEEP-1]"""
    assert engine.kept("mine", "a") is None
    assert engine.keep("mine", "a", None, "1")
    assert not engine.keep("mine", "a", None, "2")
    assert engine.keep("mine", "a", "1", "2")
    assert engine.kept("mine", "a") == "2"
    assert engine.keep("mine", "a", "2", None)
    assert engine.kept("mine", "a") is None


def test_the_names_of_a_space_are_listed_page_by_page(engine: Engine) -> None:
    for name in ("b", "a", "c"):
        engine.keep("mine", name, None, "1")
    engine.keep("other", "d", None, "1")

    assert engine.kept_in("mine", limit=2) == [("a", "1"), ("b", "1")]
    assert engine.kept_in("mine", "b") == [("c", "1")]


@pytest.mark.parametrize("space", ["subscriptions", "workers", "worker_requests"])
def test_the_spaces_of_the_engine_are_read_and_not_written(engine: Engine, space: str) -> None:
    """[KEEP-4]"""
    with pytest.raises(InvalidValue, match="the engine's own"):
        engine.keep(space, "a", None, "1")
    assert engine.kept(space, "a") is None


@pytest.mark.parametrize("value", ["", "{", "nope", "NaN", 7, b"1", '"\udcff"', "[" * 100_000])
def test_what_is_no_json_is_not_kept(engine: Engine, value: str) -> None:
    """[KEEP-3]"""
    with pytest.raises((InvalidValue, OverBound)):
        engine.keep("mine", "a", None, value)
    assert engine.kept("mine", "a") is None


def test_a_text_beyond_the_bound_is_not_kept(engine: Engine) -> None:
    """[KEEP-3]"""
    with pytest.raises(OverBound):
        engine.keep("mine", "a", None, f'"{"x" * 65_535}"')


def test_engines_that_share_a_store_close_apart(engine: Engine) -> None:
    async def use() -> None:
        async with AsyncEngine(engine, 1, shares=True) as one, AsyncEngine(engine, 1, shares=True) as other:
            assert await one.keep("mine", "a", None, "1")
            assert await other.kept("mine", "a") == "1"

    asyncio.run(use())

    assert engine.kept("mine", "a") == "1"
