"""What a handler says of its surroundings strikes a breaker or closes it, and waiting workers wake for a probe."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import sagalog
from sagalog import Breaker, Permanent, Retry, Transient
from sagalog.worker import AsyncWorkContext, WorkContext

SOON = Retry(delay_min_ms=1, delay_max_ms=1)


@pytest.fixture
def store() -> Any:
    with sagalog.open("memory:") as engine:
        yield engine


def working(engine: sagalog.Engine, handler: Any, **arguments: Any) -> sagalog.Task:
    """Create a task and run its handler until it has ended."""
    worker = sagalog.Worker("chat")
    worker.task("ask", waive_compensation="a question has no effects")(handler)
    task = engine.create("ask", queue="chat", **{"retry": SOON, **arguments})
    worker.run(engine, until="drained")
    ended = engine.get(task.id)
    assert ended is not None
    return ended


def changes(engine: sagalog.Engine, stream: str) -> list[str]:
    """The changes of a breaker, each with its code."""
    found = [one for one in engine.events(limit=10_000) if one.stream == stream and "breaker" in one.type]
    return [f"{one.type.rpartition('breaker_')[2]} {getattr(one.event, 'code', '')}".strip() for one in found]


@pytest.mark.parametrize("limit", ["provider", None])
def test_a_transient_strikes_the_breaker_that_it_names_or_the_queues(store: sagalog.Engine, limit: str | None) -> None:
    """[BREAKER-2] And the worker wakes when the pause is over."""
    store.set_limit("provider", breaker=Breaker(1, 20))
    store.limit_queue("chat", breaker=Breaker(1, 20))
    said: list[Any] = [Transient("down", limit=limit), None]

    def ask(context: WorkContext, payload: Any) -> None:
        if (error := said.pop(0)) is not None:
            raise error

    assert working(store, ask, uses={"provider": 1}).state == "completed"
    struck, other = ("limit/provider", "queue/chat") if limit else ("queue/chat", "limit/provider")
    assert changes(store, struck) == ["opened failures", "half_opened", "closed healthy"]
    assert changes(store, other) == []


def test_a_limit_that_the_task_does_not_use_is_struck_by_nothing(store: sagalog.Engine) -> None:
    """[BREAKER-2] Nor is the queue: the failure is about something else."""
    store.set_limit("provider", breaker=Breaker(1))
    store.limit_queue("chat", breaker=Breaker(1))
    said: list[Any] = [Transient("down", limit="provider"), None]

    def ask(context: WorkContext, payload: Any) -> None:
        if (error := said.pop(0)) is not None:
            raise error

    assert working(store, ask).state == "completed"
    assert [changes(store, one) for one in ("limit/provider", "queue/chat")] == [[], []]


def test_a_failure_about_a_limit_that_its_task_does_not_use_is_warned_of(
    store: sagalog.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """[BREAKER-2] Once for each attempt; one that strikes the breaker, or that of the queue, is not."""
    store.set_limit("provider", breaker=Breaker(100))
    caplog.set_level(logging.WARNING, "sagalog.worker")
    said: list[Any] = [Transient("down", limit=limit) for limit in ("nope", "nope", "provider", None)]

    def ask(context: WorkContext, payload: Any) -> None:
        if said:
            raise said.pop(0)

    task = working(store, ask, uses={"provider": 1})

    warned = [text for one in caplog.records if "strikes no breaker" in (text := one.getMessage())]
    assert [text.partition(": ")[2] for text in warned] == [
        "the task does not use the limit 'nope'; it uses 'provider'"
    ] * 2
    assert f"task {task.id} (ask, attempt 1)" in warned[0]


def test_a_limit_that_is_no_name_is_left_out_of_the_failure(store: sagalog.Engine) -> None:
    """[WORKER-1] The task is retried, whatever a handler says."""
    said: list[Any] = [Transient("down", limit=["provider"]), None]  # type: ignore[arg-type]

    def ask(context: WorkContext, payload: Any) -> None:
        if (error := said.pop(0)) is not None:
            raise error

    task = working(store, ask)
    assert (task.state, task.attempt) == ("completed", 1)
    [retried] = [one.event for one in store.history(task.id) if one.type == "retried"]
    assert retried.error.limit is None  # type: ignore[attr-defined]
    assert "limit" in retried.error.details["left_out"][0]  # type: ignore[attr-defined]


def test_a_probe_that_fails_for_good_has_found_the_provider_healthy(store: sagalog.Engine) -> None:
    """[BREAKER-2]"""
    store.set_limit("provider", breaker=Breaker(1, 20))
    said = [Transient("down", limit="provider"), Permanent("no such model")]

    def ask(context: WorkContext, payload: Any) -> None:
        raise said.pop(0)

    assert working(store, ask, uses={"provider": 1}).state == "failed"
    assert changes(store, "limit/provider")[-1] == "closed healthy"


def test_a_context_may_report_healthy_before_its_handler_has_ended(store: sagalog.Engine) -> None:
    """[BREAKER-3] In a thread, and on an event loop."""
    store.set_limit("provider", breaker=Breaker(1, 20))
    seen: list[str] = []

    def plain(context: WorkContext, payload: Any) -> None:
        if context.attempt == 1 and not seen:
            seen.append("struck")
            raise Transient("down", limit="provider")
        context.healthy("provider")
        seen.append(store.breakers()[0].mode)

    async def coroutine(context: AsyncWorkContext, payload: Any) -> None:
        if not seen:
            seen.append("struck")
            raise Transient("down", limit="provider")
        await context.healthy("provider")
        seen.append(store.breakers()[0].mode)

    for handler in (plain, coroutine):
        seen.clear()
        assert working(store, handler, uses={"provider": 1}).state == "completed"
        assert seen == ["struck", "closed"]
