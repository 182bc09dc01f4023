"""What a notebook shows of an engine and of what it gives: one short line, without a look at the store, no secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import sagalog
from sagalog import Engine
from sagalog.aio import AsyncEngine
from sagalog.engine.opening import place_of
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock
from sagalog.testing.oracle_pair import whole
from sagalog_queue import Item, Queue

HIDDEN = "hunter2"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'a.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with sagalog.open(url, clock=ManualClock()) as opened:
        opened.create("build-image", {"password": HIDDEN}, id="t")
        yield opened


def test_an_engine_is_shown_by_its_url_and_whether_it_is_open(engine: Engine, url: str) -> None:
    assert repr(engine) == f"<Engine {url} open>"
    engine.close()
    assert repr(engine) == f"<Engine {url} closed>"


def test_an_engine_that_was_not_opened_by_a_url_is_shown_by_its_store() -> None:
    with Engine(MemoryStore(ManualClock())) as engine:
        assert repr(engine) == "<Engine MemoryStore open>"
        assert repr(Engine.over(engine._executor)) == "<Engine LocalExecutor open>"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory:", "memory:"),
        ("sqlite:////home/ann@work/a:b@c.db", "sqlite:////home/ann@work/a:b@c.db"),
        ("postgres://ann:hunter2@host:5432/db", "postgres://***@host:5432/db"),
        ("postgres://ann:hun/t@er2?x@host/db", "postgres://***@host/db"),
        ("postgres://hunter2@host/db", "postgres://***@host/db"),
        (
            "postgres://host/db?sslmode=on&password=hunter2&user=ann",
            "postgres://host/db?sslmode=on&password=***&user=ann",
        ),
        ("postgres://host/db?api_key=hunter2", "postgres://host/db?api_key=***"),
        ("sqlite:///a\nb.db", "sqlite:///a b.db"),
    ],
)
def test_what_opens_a_store_is_masked_in_its_url(url: str, shown: str) -> None:
    assert place_of(url) == shown


def test_a_task_is_shown_in_one_line_without_its_payload(engine: Engine) -> None:
    task = engine.get("t")
    assert repr(task) == "<Task t build-image pending attempt 1>"
    assert "t build-image" in f"{[task]}"


def test_a_console_of_rich_shows_no_more_of_a_task(engine: Engine) -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(engine.get("t"))
    assert captured.get() == "Task(id='t', kind='build-image', state='pending', attempt=1)\n"


def test_a_lease_a_batch_and_a_subscription_are_shown_in_one_line(engine: Engine) -> None:
    batch = engine.batch()
    assert repr(batch) == "<Batch new commands 0>"
    with batch:
        batch.note("t", HIDDEN)
        assert repr(batch) == "<Batch open commands 1>"
    assert repr(batch) == "<Batch over commands 1>"
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    subscription = engine.subscribe("mailer")
    subscription.read(1)
    engine.close()
    assert repr(lease) == "<Lease t build-image work fence 1 owner ann>"
    assert repr(subscription) == "<Subscription mailer position 1 checkpoint 0>"


def test_a_subscription_without_a_name_says_so(engine: Engine) -> None:
    assert repr(engine.subscribe(None)) == "<Subscription without a name position 0>"


def test_what_is_awaited_is_shown_as_what_blocks(engine: Engine, url: str) -> None:
    async def shown() -> list[str]:
        async with AsyncEngine(engine) as as_coroutine:
            lease = await as_coroutine.acquire("t", owner="ann", ttl_ms=None)
            subscription = await as_coroutine.subscribe("mailer")
            found = [repr(one) for one in (as_coroutine, lease, as_coroutine.batch(), subscription)]
        return [*found, repr(as_coroutine)]

    assert asyncio.run(shown()) == [
        f"<AsyncEngine {url} open>",
        "<AsyncLease t build-image work fence 1 owner ann>",
        "<AsyncBatch new commands 0>",
        "<AsyncSubscription mailer position 0 checkpoint 0>",
        f"<AsyncEngine {url} closed>",
    ]


def test_a_queue_and_its_item_are_shown_in_one_line(engine: Engine, url: str) -> None:
    queue = Queue(engine, name="images")
    id = queue.push({"password": HIDDEN})
    item = queue.pop("ann")
    assert isinstance(item, Item)
    assert repr(item) == f"<Item {id} attempts 1>"
    engine.close()
    assert repr(queue) == f"<Queue images of <Engine {url} closed>>"


def test_a_failed_comparison_with_the_oracle_shows_all_that_was_compared(engine: Engine) -> None:
    """In the test kit, where the payload may be what differs."""
    task, lease = engine.get("t"), engine.acquire("t", owner="ann", ttl_ms=None)
    assert all(HIDDEN in whole(one) for one in (task, [task], lease, (lease,), engine.heartbeat([lease])))
