"""The asynchronous surface is the plain one: the same names, parameters, defaults and texts; and types of both."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, assert_type

import pytest

import sagalog
import sagalog.aio
from sagalog import Batch, Engine, Journal, JournalReader, Lease, Renewal, Subscription, Task
from sagalog.aio import (
    AsyncBatch,
    AsyncEngine,
    AsyncJournal,
    AsyncJournalReader,
    AsyncLease,
    AsyncRenewal,
    AsyncSubscription,
)

# The object whose calls block.
_OWN = {"plain"}
# An asynchronous engine is made of a plain one.
_MADE_ONLY_PLAIN = {"over"}

_PAIRS: list[tuple[type, type, set[str]]] = [
    (Engine, AsyncEngine, _MADE_ONLY_PLAIN),
    (Lease, AsyncLease, set()),
    (Batch, AsyncBatch, set()),
    (Subscription, AsyncSubscription, set()),
    (Journal, AsyncJournal, set()),
    (JournalReader, AsyncJournalReader, set()),
]
_PLAIN_CALLS = {"batch", "follow", "journal", "now_ms", "rebind"}


def names_of(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def calls_of(kind: type) -> set[str]:
    return {name for name in names_of(kind) if inspect.isfunction(getattr(kind, name, None))}


def shape_of(function: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def set_by_its_making(kind: type) -> set[str]:
    """The public names that only an instance has."""
    with sagalog.open("memory:") as engine:
        subscription = engine.subscribe("reader")
        journal = engine.journal("build")
        made = {
            Engine: vars(engine),
            Batch: vars(engine.batch()),
            Subscription: vars(subscription),
            Journal: vars(journal),
            JournalReader: vars(journal.follow()),
        }.get(kind, {})
    return {name for name in made if not name.startswith("_")}


@pytest.mark.parametrize(("plain", "asynchronous", "left_out"), _PAIRS, ids=lambda one: getattr(one, "__name__", ""))
def test_every_public_name_is_there_and_no_other(plain: type, asynchronous: type, left_out: set[str]) -> None:
    expected = names_of(plain) | set_by_its_making(plain)

    assert names_of(asynchronous) - _OWN == expected - left_out


@pytest.mark.parametrize(
    ("plain", "asynchronous", "name"),
    [
        pytest.param(plain, asynchronous, name, id=f"{asynchronous.__name__}.{name}")
        for plain, asynchronous, left_out in _PAIRS
        for name in sorted(calls_of(plain) - left_out)
    ],
)
def test_a_call_has_the_parameters_defaults_and_text_of_the_plain_one(
    plain: type, asynchronous: type, name: str
) -> None:
    call, theirs = getattr(asynchronous, name), getattr(plain, name)

    assert shape_of(call) == shape_of(theirs)
    assert call.__doc__
    is_plain = asynchronous is AsyncBatch or name in _PLAIN_CALLS
    assert inspect.iscoroutinefunction(call) is not is_plain


def test_open_takes_the_arguments_of_the_plain_one() -> None:
    assert shape_of(sagalog.aio.open) == shape_of(sagalog.open)


def test_a_renewal_of_many_has_the_fields_of_the_plain_one() -> None:
    assert [*AsyncRenewal.__annotations__] == [*Renewal.__annotations__]


def test_a_worker_is_made_and_run_as_the_plain_one_is() -> None:
    """The same arguments make it, teach it and run it."""
    assert issubclass(sagalog.aio.Worker, sagalog.Worker)
    assert shape_of(sagalog.aio.Worker) == shape_of(sagalog.Worker)
    # Signals are the plain one's unless it is told to leave them, and the event loop's unless it is told to take them.
    *taken, (name, kind, taken_by_default) = shape_of(sagalog.aio.Worker.run)
    assert (name, taken_by_default) == ("handle_signals", False)
    assert [*taken, (name, kind, True)] == shape_of(sagalog.Worker.run)
    assert inspect.iscoroutinefunction(sagalog.aio.Worker.run)


def test_type_checkers_see_what_is_given_and_what_comes_back() -> None:
    """Half of this test is run by the type checker: each assertion and each ignore is one of its own."""

    async def main() -> None:
        async with sagalog.aio.open("memory:", actor="ann") as engine:
            assert_type(engine, AsyncEngine)
            assert_type(await engine.create("build", priority=1), Task)
            assert_type(await engine.get("one"), Task | None)
            claimed = await engine.claim("default", owner="ann", ttl_ms=None)
            assert_type(claimed, list[AsyncLease])
            assert_type(await claimed[0].step("one"), AsyncLease)
            assert_type(await engine.heartbeat(claimed), AsyncRenewal)
            assert_type(await claimed[0].complete(), Task)
            async with engine.batch() as batch:
                assert_type(batch.create("build"), str)
            with pytest.raises(TypeError):
                await engine.create("build", prority=1)  # type: ignore[call-arg]
            with pytest.raises(sagalog.InvalidValue):
                await engine.create("build", priority="high")  # type: ignore[arg-type]
            with pytest.raises(sagalog.InvalidValue):
                async with engine.batch() as batch:
                    batch.complete("a lease", 1)  # type: ignore[arg-type]

    asyncio.run(main())


def test_type_checkers_see_the_calls_that_are_made_of_verbs() -> None:
    """Half of this test is run by the type checker: each assertion and each ignore is one of its own."""
    with sagalog.open("memory:", actor="ann") as engine:
        assert_type(engine.create("build", priority=1), Task)
        assert_type(engine.get("one"), Task | None)
        assert_type(engine.counts(), dict[str, dict[str, int]])
        [lease] = assert_type(engine.claim("default", owner="ann", ttl_ms=None, wait_ms=0), list[Lease])
        assert_type(lease.step("one", {"n": 1}), Lease)
        assert_type(lease.heartbeat(), Lease)
        with engine.batch() as batch:
            assert_type(batch.create("build", id="two"), str)
            assert_type(batch.step(lease, "two"), None)
            assert_type(batch.note("two", "a remark"), None)
            batch.complete(lease, result=1)
            with pytest.raises(TypeError):
                batch.create("build", prority=1)  # type: ignore[call-arg]
            with pytest.raises(TypeError):
                batch.complete(lease, 1, 2)  # type: ignore[call-arg]
            with pytest.raises(sagalog.InvalidValue):
                batch.complete("a lease", 1)  # type: ignore[arg-type]
        other = engine.acquire("two", owner="ann", ttl_ms=None)
        with pytest.raises(sagalog.SagalogError):
            assert_type(other.compensation_done("undo"), Lease | Task)
        with pytest.raises(TypeError):
            lease.retry("again", prority=1)  # type: ignore[call-arg]
        with pytest.raises(sagalog.InvalidValue):
            lease.release(7)  # type: ignore[arg-type]
