"""Many consumers on one file: threads, processes, and processes that are killed while they hold an item."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sagalog import Closed, Engine, Recorded
from sagalog.testing.history import check, explain
from sagalog_queue import Queue, open_queue
from tests import warm_processes

COUNTS = (1_000, pytest.param(5_000, marks=pytest.mark.slow))
CONSUMERS = 8
KILLED = 3
VISIBILITY_MS = 2_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    with open_queue(url, durability="normal") as queue:
        yield queue


def log_of(engine: Engine) -> Iterator[Recorded]:
    after = 0
    while events := engine.events(after, 10_000):
        yield from events
        after = events[-1].position


def judge(queue: Queue, ids: list[str]) -> Counter[str]:
    """Every item was acknowledged, once, and held by one at a time; how often each type of event is in the log."""
    log = list(log_of(queue.engine))
    violations = check(log)
    assert not violations, explain(violations[:5])
    done = [event.stream for event in log if event.type == "completed"]
    assert sorted(done) == sorted(f"task/{id}" for id in ids)
    assert (queue.depth(), queue.in_flight()) == (0, 0)
    return Counter(event.type for event in log)


@pytest.mark.parametrize("count", COUNTS)
def test_of_eight_threads_no_two_hold_one_item(queue: Queue, count: int) -> None:
    ids = queue.push_many(range(count))
    given: list[list[str]] = [[] for _ in range(CONSUMERS)]

    def consume(number: int) -> None:
        given[number] += [item.id for item in queue.consume(f"thread-{number}", timeout_ms=0)]

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(CONSUMERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert sorted(id for some in given for id in some) == sorted(ids)
    types = judge(queue, ids)
    assert types["leased"] == count


class Consumer:
    """A process of `queue_consumer.py`."""

    def __init__(self, url: str, owner: str, visibility_ms: int, how: str) -> None:
        self.process = warm_processes.start("tests.adapters.queue.consumer", url, owner, str(visibility_ms), how)

    def line(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ends(self) -> list[dict[str, Any]]:
        out, _ = self.process.communicate(timeout=90)
        assert self.process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def start(url: str) -> Iterator[Any]:
    """Start consumers; whatever lives at the end of the test is killed."""
    consumers: list[Consumer] = []

    def start(owner: str, how: str) -> Consumer:
        consumers.append(Consumer(url, owner, VISIBILITY_MS, how))
        assert consumers[-1].line() == {"ready": owner}
        return consumers[-1]

    yield start
    for consumer in consumers:
        consumer.process.kill()
        consumer.process.communicate()


@pytest.mark.parametrize("count", COUNTS)
def test_of_eight_processes_no_two_hold_one_item(queue: Queue, start: Any, count: int) -> None:
    """What killed processes held comes back."""
    ids = queue.push_many(range(count))
    holders = [start(f"holder-{number}", "hold") for number in range(KILLED)]
    drainers = [start(f"drainer-{number}", "drain") for number in range(CONSUMERS - KILLED)]
    for consumer in (*holders, *drainers):
        consumer.go()

    held = [holder.line()["item"] for holder in holders]
    for holder in holders:
        holder.process.send_signal(signal.SIGKILL)
    acknowledged = [said["item"] for drainer in drainers for said in drainer.ends()]

    assert len(set(held)) == KILLED
    # Also those that were held by the dead: each was given to a living one afterwards.
    assert sorted(acknowledged) == sorted(ids)
    types = judge(queue, ids)
    assert (types["leased"], types["lease_expired"]) == (count + KILLED, KILLED)


def test_one_consumer_gets_items_in_order_while_another_process_pushes(queue: Queue, start: Any) -> None:
    """No item is left out."""
    pusher = start("pusher", "push")
    pusher.go()
    seen = [item.payload for item in itertools.islice(queue.consume("only", timeout_ms=20_000), 300)]
    assert pusher.ends() == []
    assert seen == list(range(300))
    # The last one was given back when the loop was left.
    assert (queue.depth(), queue.in_flight()) == (1, 0)


def test_a_push_wakes_a_pop_that_waits_in_another_process(queue: Queue, start: Any) -> None:
    consumer = start("idle", "wait")
    consumer.go()
    id = queue.push("x")
    assert consumer.line()["item"] == id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_forked_in_a_loop_over_items_leaves_the_item_in_hand(queue: Queue) -> None:
    """[FORK-2] Its copy of the loop is left as the child ends, and could give back what the parent works on."""
    queue.push_many([1, 2])
    items = queue.consume("parent", timeout_ms=0)
    held = next(items)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            items.close()  # type: ignore[attr-defined]
            for call in (queue.ack, queue.nack, queue.heartbeat, lambda item: queue.pop("child", 0, ack=item)):
                with pytest.raises(Closed):
                    call(held)
            other = queue.pop("child", 0)
            assert other is not None
            os._exit(0 if other.payload == 2 and queue.ack(other) else 1)
        os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert next(items, None) is None
    assert [event.type for event in queue.engine.history(held.id)] == ["created", "leased", "completed"]
