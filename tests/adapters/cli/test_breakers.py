"""The commands of the group `breaker`: what they show, what they close, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

import sagalog
from sagalog import Breaker, Failure
from tests.adapters.cli.calls import Answer, call


def of(path: Path, *words: str) -> Answer:
    return call("breaker", *words, "--db", str(path))


def opened(engine: sagalog.Engine) -> None:
    """Open the breaker of a limit, at the second failure."""
    engine.set_limit("provider", breaker=Breaker(2, 3_600_000))
    engine.limit_queue("chats", breaker=Breaker())
    for id in ("a", "b", "c"):
        engine.create("chat", id=id, uses={"provider": 1})
    for id in ("a", "b"):
        lease = engine.acquire(id, owner="ann", ttl_ms=None)
        lease.retry(Failure("down", "", limit="provider"), budget="transient")


def test_a_listing_shows_which_breakers_are_open_and_until_when(engine: sagalog.Engine, path: Path) -> None:
    opened(engine)
    head, limit, queue = of(path, "ls").out.splitlines()
    assert head.split() == ["BREAKER", "NOW", "FAILURES", "PAUSE", "OPENED", "WHY"]
    assert limit.startswith("limit/provider  open until ")
    assert "  -/2       1h..1h  " in limit
    assert limit.endswith("failures, by task/b@3")
    assert queue.split() == ["queue/chats", "closed", "0/5", "1m..1h", "-", "-"]
    documents = of(path, "ls", "--json").documents
    assert [(one["limit"], one["queue"], one["mode"]) for one in documents] == [
        ("provider", None, "open"),
        (None, "chats", "closed"),
    ]
    assert (documents[0]["code"], documents[0]["cause"], documents[1]["code"]) == ("failures", "task/b@3", None)
    assert documents[0]["breaker"] == {"failures": 2, "pause_ms": 3_600_000, "pause_max_ms": 3_600_000}


def test_a_listing_shows_which_task_probes(engine: sagalog.Engine, path: Path) -> None:
    engine.set_limit("provider", breaker=Breaker(1, 1))
    engine.create("chat", id="a", uses={"provider": 1})
    lease = engine.acquire("a", owner="ann", ttl_ms=None)
    lease.retry(Failure("down", "", limit="provider"), budget="transient", run_at_ms=0)
    assert engine.claim("default", owner="ann", ttl_ms=60_000, wait_ms=10_000)
    row = of(path, "ls").out.splitlines()[1]
    assert row.startswith("limit/provider  half open, with the probe a ")
    assert row.endswith("failures, by task/a@3")


def test_the_listings_of_limits_and_queues_show_that_a_breaker_is_open(engine: sagalog.Engine, path: Path) -> None:
    opened(engine)
    assert "  2/1h..1h open  -" in call("limit", "ls", "--db", str(path)).out
    assert "  5/1m..1h  -" in call("queue", "ls", "--db", str(path)).out
    [limit] = call("limit", "ls", "--db", str(path), "--json").documents
    [queue] = call("queue", "ls", "--db", str(path), "--json").documents
    assert (limit["breaker_mode"], queue["breaker_mode"]) == ("open", "closed")


def test_a_reset_closes_a_breaker(engine: sagalog.Engine, path: Path) -> None:
    """[BREAKER-4]"""
    opened(engine)
    assert of(path, "reset", "limit/provider").out == "limit/provider is closed\n"
    assert len(engine.claim("default", owner="ann", ttl_ms=None)) == 1
    assert of(path, "reset", "queue/chats", "--json").documents[0]["mode"] == "closed"


@pytest.mark.parametrize("name", ["provider", "key/chats/acme", "limit/", "task/a"])
def test_a_name_that_is_no_breakers_is_refused(engine: sagalog.Engine, path: Path, name: str) -> None:
    opened(engine)
    refusal = of(path, "reset", name)
    assert refusal.status == 3, refusal.err


def test_a_limit_without_a_breaker_is_not_found(engine: sagalog.Engine, path: Path) -> None:
    opened(engine)
    engine.set_limit("gpu", slots=1)
    for name in ("limit/gpu", "limit/none", "queue/none"):
        refusal = of(path, "reset", name)
        assert refusal.status == 4, refusal.err
        assert name.partition("/")[2] in refusal.err


def test_a_store_without_breakers_says_so(engine: sagalog.Engine, path: Path) -> None:
    assert of(path, "ls").err == "note: no limit and no queue has a breaker\n"
