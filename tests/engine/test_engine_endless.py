"""What is given is counted before anything is done with it: what has no end is refused, not taken whole. [BOUND-1]"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Engine, OverBound
from sagalog.kernel import bounds
from sagalog.testing import ManualClock
from tests.engine.checking import leased, refused

QUEUES = [f"q{number}" for number in range(bounds.QUEUES_MAX)]


@pytest.fixture
def memory(clock: ManualClock) -> Iterator[Engine]:
    with sagalog.open("memory:", clock=clock) as engine:
        yield engine


class Endless:
    """Names without end, and how many were taken of them."""

    def __init__(self, make: Callable[[int], Any] = "n{}".format) -> None:
        self.taken = 0
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        for number in itertools.count():
            self.taken += 1
            yield self._make(number)


def undo(number: int) -> Compensation:
    return Compensation("undo", id=str(number))


# What is called with what has no end; the bound that is named.
CALLS: dict[str, tuple[Callable[[Engine, Any], object], Callable[[int], Any], str, int]] = {
    "claim queues": (lambda e, some: e.claim(some, owner="o", ttl_ms=1), "n{}".format, "queues", bounds.QUEUES_MAX),
    "claim kinds": (
        lambda e, some: e.claim("q", owner="o", ttl_ms=1, kinds=some), "n{}".format, "kinds", bounds.KINDS_MAX,
    ),
    "claim affinity": (
        lambda e, some: e.claim("q", owner="o", ttl_ms=1, affinity=some), "n{}".format, "affinity", bounds.QUEUES_MAX,
    ),
    "acquire": (
        lambda e, some: e.acquire("t", owner="o", ttl_ms=1, kinds=some), "n{}".format, "kinds", bounds.KINDS_MAX,
    ),
    "recover": (lambda e, some: e.recover(known_kinds=some), "n{}".format, "known_kinds", bounds.KINDS_MAX),
    "recover unknown": (lambda e, some: e.recover(None, some), "n{}".format, "unknown_kinds", bounds.KINDS_MAX),
    "recover queues": (lambda e, some: e.recover(queues=some), "n{}".format, "queues", bounds.QUEUES_MAX),
    "create": (
        lambda e, some: e.create("k", compensations=some), undo, "compensations", bounds.COMPENSATIONS_MAX,
    ),
    "create many": (
        lambda e, some: e.create_many(some), lambda _: {"kind": "k"}, "batch_commands", bounds.BATCH_COMMANDS_MAX,
    ),
    "heartbeat": (lambda e, some: e.heartbeat(some), "n{}".format, "leases", bounds.BATCH_COMMANDS_MAX),
    "note": (lambda e, some: e.note("t", "x", some), "n{}".format, "settles", bounds.COMPENSATIONS_MAX),
    "fail": (lambda e, some: leased(e, "f").fail("no", some), undo, "compensations", bounds.COMPENSATIONS_MAX),
    "park": (lambda e, some: leased(e, "p").park("w", after=some), "n{}".format, "after", bounds.AFTER_MAX),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_has_no_end_is_refused_by_the_name_of_its_bound(memory: Engine, name: str) -> None:
    call, make, bound, maximum = CALLS[name]
    endless = Endless(make)
    with pytest.raises(OverBound) as caught:
        call(memory, endless)
    assert (caught.value.bound, caught.value.maximum) == (bound, maximum)
    assert endless.taken == maximum + 1
    assert all(event.type in ("founded", "created", "leased") for event in memory.events())


def test_a_claim_has_a_bound_of_queues_times_kinds(engine: Engine) -> None:
    def claim(queues: int, kinds: int) -> object:
        names = [f"k{number}" for number in range(kinds)]
        return engine.claim(QUEUES[:queues], owner="ann", ttl_ms=1, kinds=names)

    refusal = refused(engine, OverBound, claim, 64, 65)
    assert (refusal.bound, refusal.maximum) == ("claim_looks", bounds.CLAIM_LOOKS_MAX)
    with pytest.raises(OverBound), engine.batch(together=False) as batch:
        batch.claim(QUEUES, owner="ann", ttl_ms=1, kinds=[f"k{number}" for number in range(65)])
    assert claim(64, 64) == claim(4, 1_000) == []


def test_a_batch_counts_the_commands_of_its_groups(memory: Engine) -> None:
    memory.create("k", id="t")

    def run() -> None:
        with memory.batch(together=False) as batch:
            for _ in range(2):
                with batch.group():
                    for _ in range(bounds.BATCH_COMMANDS_MAX // 2 + 1):
                        batch.note("t", "x")

    assert refused(memory, OverBound, run).bound == "batch_commands"
