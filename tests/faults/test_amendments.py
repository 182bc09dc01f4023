"""Callers that amend tasks while workers claim them and operators cancel them, on connections of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import sagalog
from sagalog import Engine, Lease
from sagalog.errors import LeaseHeld, TerminalTask, WrongState
from sagalog.kernel.events import Amended, Leased
from sagalog.testing.history import check, explain

TASKS = 60


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    with sagalog.open(sqlite_url, durability="normal") as engine:
        yield engine
        assert explain(check(engine.events(limit=10_000))) == ""
        assert engine.verify().ok


def at_once(url: str, *calls: Callable[[Engine], None]) -> None:
    """Carry out the calls in threads, each on an engine of its own, which all begin together."""
    barrier = threading.Barrier(len(calls))
    failures: list[BaseException] = []

    def run(call: Callable[[Engine], None]) -> None:
        with sagalog.open(url, durability="normal") as own:
            barrier.wait()
            try:
                call(own)
            except BaseException as failure:  # noqa: BLE001  raised again below
                failures.append(failure)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_of_an_amendment_and_a_claim_that_meet_one_comes_first(engine: Engine, sqlite_url: str) -> None:
    """[AMEND-2] [LEASE-1] The worker has the payload that was there, or the amendment is refused; never half of it."""
    ids = [task.id for task in engine.create_many({"kind": "build", "payload": 1, "queue": "q"} for _ in range(TASKS))]
    leases: list[Lease] = []
    refused: list[str] = []

    def amend(own: Engine) -> None:
        for id in reversed(ids):
            try:
                own.amend(id, payload=2, priority=1)
            except (LeaseHeld, WrongState):
                refused.append(id)

    def claim(own: Engine) -> None:
        while found := own.claim("q", owner="ann", ttl_ms=None):
            leases.extend(found)

    at_once(sqlite_url, amend, claim)

    assert sorted(lease.task.id for lease in leases) == sorted(ids)
    assert {lease.task.id for lease in leases if lease.task.payload == 1} == set(refused)
    for id in ids:
        types = [type(one.event) for one in engine.history(id)][1:]
        assert types == ([Leased] if id in refused else [Amended, Leased])


def test_amendments_of_several_callers_at_once_all_count(engine: Engine, sqlite_url: str) -> None:
    """[AMEND-2] [LOG-2]"""
    id = engine.create("build", 0, queue="q").id

    def amending(name: str, values: list[int]) -> Callable[[Engine], None]:
        def amend(own: Engine) -> None:
            for value in values:
                given: dict[str, Any] = {name: value}
                own.amend(id, **given)

        return amend

    now_ms = engine.now_ms()
    times = [now_ms + 3_600_000 + n for n in range(TASKS)]
    numbers = list(range(1, TASKS + 1))
    at_once(sqlite_url, amending("priority", numbers), amending("payload", numbers), amending("deadline_ms", times))

    task = engine.get(id)
    assert task is not None
    assert (task.priority, task.payload, task.deadline_ms) == (TASKS, TASKS, times[-1])
    assert task.version == 1 + 3 * TASKS


def test_of_an_amendment_and_a_deadline_that_meet_one_comes_first(engine: Engine, sqlite_url: str) -> None:
    """[DEADLINE-2] [AMEND-2] A task whose deadline was taken away in time goes on; any other is cancelled once."""
    ids = [f"t{number}" for number in range(TASKS)]
    engine.create_many({"kind": "build", "id": id, "queue": "q", "deadline_ms": engine.now_ms()} for id in ids)
    spared: list[str] = []

    def amend(own: Engine) -> None:
        for id in reversed(ids):
            with suppress(TerminalTask):
                own.amend(id, deadline_ms=None)
                spared.append(id)

    def recover(own: Engine) -> None:
        for _ in range(TASKS):
            own.recover(limit=1)

    at_once(sqlite_url, amend, recover)
    engine.recover()

    ended = {task.id for task in engine.find(state="cancelled")}
    assert ended.isdisjoint(spared)
    assert ended | set(spared) == set(ids)
