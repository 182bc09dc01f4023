"""What claims and maintenance select: in which order, within which bounds, and at which check times."""

from __future__ import annotations

from typing import Any

from sagalog.store import Due
from sagalog.testing import ManualClock
from sagalog_sqlite.store import SqliteStore
from tests.adapters.sqlite.rows import claimed, maintained, row
from tests.adapters.sqlite.stores import (
    START_MS,
    created,
    engine_on,
    ids_of,
    leased,
    owing,
    seeing,
    undo,
    work,
    writing,
)


def test_a_claim_orders_by_affinity_then_priority_then_age(store: SqliteStore) -> None:
    """The claim names several queues and kinds."""
    tasks = [
        ("a", {"queue": "left", "kind": "x", "priority": 1}),
        ("b", {"queue": "right", "kind": "y", "priority": 0}),
        ("c", {"queue": "left", "kind": "z", "priority": 0}),
        ("d", {"queue": "right", "kind": "x", "priority": 5, "affinity": "red"}),
        ("e", {"queue": "left", "kind": "y", "priority": 7, "affinity": "blue"}),
        ("f", {"queue": "other", "kind": "x", "priority": -9}),
        ("g", {"queue": "left", "kind": "x", "priority": -1, "affinity": "red"}),
    ]
    store.commit([writing(id, created(**fields)) for id, fields in tasks])  # type: ignore[arg-type]

    def order(**how: Any) -> list[str]:
        claim = work("left", "right", "left", limit=how.pop("limit", 10), **how)
        [answer] = store.commit([seeing(lambda view: ids_of(view.select(claim)), claim=claim)])
        assert isinstance(answer, list)
        return answer

    assert order() == ["g", "b", "c", "a", "d", "e"]
    assert order(affinities=("blue", "red")) == ["e", "g", "d", "b", "c", "a"]
    assert order(affinities=("blue", "red"), limit=2) == ["e", "g"]
    assert order(kinds=frozenset({"x"})) == ["g", "a", "d"]
    assert order(kinds=frozenset({"x"}), affinities=("red", "none"), limit=2) == ["g", "d"]
    assert order(limit=1) == ["g"]


def test_an_undo_claim_takes_only_what_it_knows_all_of(store: SqliteStore) -> None:
    store.commit([writing("xy", *owing("x", "y")), writing("x", *owing("x")), writing("z", *owing("z"))])

    def order(kinds: frozenset[str] | None, limit: int = 10) -> Any:
        claim = undo("q", "q", limit=limit, kinds=kinds)
        return store.commit([seeing(lambda view: ids_of(view.select(claim)), claim=claim)])[0]

    assert order(None) == ["xy", "x", "z"]
    assert order(frozenset({"x"})) == ["x"]
    assert order(frozenset({"x", "y"})) == ["xy", "x"]
    assert order(frozenset({"y"})) == []
    assert order(None, 2) == ["xy", "x"]


def test_maintenance_is_bounded_and_oldest_first(store: SqliteStore, clock: ManualClock) -> None:
    store.commit([writing(f"late{n}", created(queue="ab"[n % 2], run_at_ms=START_MS + 10 - n)) for n in range(6)])
    store.commit([writing(f"lease{n}", created(queue="ab"[n % 2]), leased(ttl_ms=100 - n)) for n in range(6)])
    clock.advance(100)
    assert maintained(store, Due(("a",), 2)) == ["lease4", "lease2"]
    assert maintained(store, Due(None, 4)) == ["lease5", "lease3", "lease1", "lease0"]
    # Six in all are promoted: two of queue a, then four more.
    claim = work("a", "b", limit=20)
    assert len(store.commit([seeing(lambda view: view.select(claim), claim=claim)])[0]) == 6 + 6


def test_a_heartbeat_moves_no_check_time_and_maintenance_does(store: SqliteStore, clock: ManualClock) -> None:
    """[UPKEEP-1] Maintenance moves it to the expiry.

    However often a lease is renewed, no index is written but when it is looked at.
    """
    engine = engine_on(store)
    engine.create("build", id="t", queue="q")
    lease = engine.acquire("t", owner="ann", ttl_ms=100)
    for _ in range(3):
        clock.advance(60)
        lease = lease.heartbeat()
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 100, START_MS + 280)
    events = engine.newest_position()
    assert claimed(store) == []
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 280, START_MS + 280)
    assert engine.newest_position() == events
    clock.advance(99)
    assert claimed(store) == []
    clock.advance(1)
    assert claimed(store) == ["t"]


def test_a_heartbeat_that_moves_the_expiry_back_lowers_the_check_time_too(
    store: SqliteStore, clock: ManualClock
) -> None:
    """[LEASE-3] [UPKEEP-1] A clock that has stepped back renews for less; the lease is then over sooner."""
    engine = engine_on(store)
    engine.create("build", id="t", queue="q")
    lease = engine.acquire("t", owner="ann", ttl_ms=100)
    clock.step(-50)
    lease.heartbeat()
    assert (row(store, "t")["check_ms"], row(store, "t")["expires_ms"]) == (START_MS + 50, START_MS + 50)


def test_a_claim_looks_past_live_leases_and_finds_the_one_that_is_over(store: SqliteStore, clock: ManualClock) -> None:
    """[UPKEEP-1] Behind more live leases than it ends at a time."""
    engine = engine_on(store)
    engine.create_many({"kind": "build", "id": f"t{number}", "queue": "q"} for number in range(100))
    leases = engine.claim("q", owner="ann", ttl_ms=100, limit=100)
    clock.advance(99)
    engine.heartbeat(leases[:-1])
    clock.advance(1)
    assert claimed(store) == ["t99"]
    assert {row(store, f"t{number}")["check_ms"] for number in range(99)} == {START_MS + 199}
