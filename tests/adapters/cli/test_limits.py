"""What operators set of limits, queues and kinds: `limit`, `kind`, and `queue ls`, `limit`, `pause` and `resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Rate
from sagalog_cli.times import exact_duration, parse_duration
from tests.adapters.cli.calls import Answer, call
from tests.contract.tampering import tamper


def of(path: Path, *words: str) -> Answer:
    return call(*words, "--db", str(path), "--actor", "ann") if "ls" not in words else call(*words, "--db", str(path))


def test_a_limit_is_set_shown_and_removed(engine: sagalog.Engine, path: Path) -> None:
    """[LIMIT-1]"""
    assert of(path, "limit", "set", "gpu", "--slots", "2").out == "gpu allows 2 slots, 2 free\n"
    assert of(path, "limit", "set", "api", "--rate", "10/60s:20").out == "api allows 10/1m:20, 20 free\n"
    engine.create("build", id="large", uses={"gpu": 2})
    engine.create("build", id="small", uses={"gpu": 1})
    assert [len(engine.claim("default", owner="ann", ttl_ms=60_000)) for _ in range(2)] == [1, 0]
    head, *rows = of(path, "limit", "ls").out.splitlines()
    assert head.split() == ["NAME", "ALLOWED", "USED", "FREE", "HELD", "BREAKER", "PAUSED"]
    assert [row.split() for row in rows] == [
        ["api", "10/1m:20", "0", "20", "0", "-", "-"],
        ["gpu", "2", "slots", "2", "0", "1", "-", "-"],
    ]
    holders = call("limit", "holders", "gpu", "--db", str(path))
    assert [line.split() for line in holders.out.splitlines()] == [["ID", "UNITS"], ["large", "2"]]
    assert call("limit", "holders", "gpu", "--db", str(path), "--json").documents == [{"task": "large", "units": 2}]
    assert of(path, "limit", "rm", "gpu").status == 3
    assert of(path, "limit", "rm", "api").out == "api is removed\n"
    assert of(path, "limit", "rm", "api").status == 4


def test_a_breaker_is_set_with_a_limit_or_alone_and_with_a_queue(engine: sagalog.Engine, path: Path) -> None:
    """[BREAKER-1] What is left out of it has its default, and a limit that is set without one has none."""
    assert of(path, "limit", "set", "api", "--breaker", "3").out == "api allows any number, breaker 3/1m..1h\n"
    told = of(path, "limit", "set", "gpu", "--slots", "1", "--breaker", "2/2h").out
    assert told == "gpu allows 1 slot, 1 free, breaker 2/2h..2h\n"
    told = of(path, "queue", "limit", "chats", "--breaker", "5/30s..10m").out
    assert told == "queue chats: breaker 5/30s..10m\n"
    assert [one.breaker for one in engine.breakers()] == [
        sagalog.Breaker(3),
        sagalog.Breaker(2, 7_200_000, 7_200_000),
        sagalog.Breaker(5, 30_000, 600_000),
    ]
    rows = [row.split() for row in of(path, "limit", "ls").out.splitlines()[1:]]
    assert rows == [
        ["api", "any", "number", "0", "-", "0", "3/1m..1h", "-"],
        ["gpu", "1", "slot", "0", "1", "0", "2/2h..2h", "-"],
    ]
    told = of(path, "limit", "set", "gpu", "--slots", "1").out
    assert told == "gpu allows 1 slot, 1 free; its breaker is taken away\n"
    assert [one.limit for one in engine.breakers()] == ["api", None]
    told = of(path, "queue", "limit", "chats", "--slots", "2").out
    assert told == "queue chats: 2 slots; taken away: breaker 5/30s..10m\n"


def test_the_documents_of_a_limit_hold_every_field(engine: sagalog.Engine, path: Path) -> None:
    [document] = of(path, "limit", "set", "api", "--rate", "10/60s", "--json").documents
    assert set(document) == set(sagalog.LimitStatus.__struct_fields__)
    assert document["rate"] == {"units": 10, "period_ms": 60_000, "burst": 10}
    assert of(path, "limit", "ls", "--json").documents == [document]
    assert engine.limits()[0].rate == Rate(10, 60_000, 10)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("limit", "pause", "gpu"), "gpu"),
        (("queue", "pause", "agents"), "agents"),
        (("kind", "pause", "build"), "build"),
    ],
)
def test_a_pause_says_who_when_and_why(engine: sagalog.Engine, path: Path, words: tuple[str, ...], name: str) -> None:
    """[PAUSE-1]"""
    group, _, what = words
    engine.set_limit("gpu", slots=1)
    engine.create("build", id="t", queue="agents")
    first = of(path, *words, "the disk is full")
    assert ("paused" in first.out, first.err) == (True, "")
    assert of(path, *words).status == 0
    row = of(path, group, "ls").out.splitlines()[1]
    assert row.startswith(name)
    assert row.endswith("by user:ann: the disk is full")
    [document] = [one for one in of(path, group, "ls", "--json").documents if one["pause"]]
    assert (document["pause"]["actor"], document["pause"]["reason"]) == ("user:ann", "the disk is full")
    assert "paused" not in of(path, group, "resume", what).out.replace("is not paused", "")
    assert [one for one in of(path, group, "ls", "--json").documents if one["pause"]] == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("limit pause gpu", "the limit 'gpu'"),
        ("queue pause agents", "the queue 'agents'"),
        ("queue pause agents --key web", "the key 'web' of the queue 'agents'"),
        ("kind pause build", "the kind 'build'"),
        ("schedule pause nightly", "the schedule 'nightly'"),
    ],
)
def test_a_second_pause_says_that_the_first_one_holds(
    engine: sagalog.Engine, path: Path, words: str, what: str
) -> None:
    """[PAUSE-1]"""
    engine.set_limit("gpu", slots=1)
    engine.set_schedule("nightly", "build", cron="@daily")
    engine.create("build", id="t", queue="agents")
    group, verb, name, *more = words.split()
    assert of(path, group, verb, name, "the disk is full", *more).err == ""
    again = of(path, group, verb, name, "another reason", *more)
    assert again.status == 0
    assert again.err.startswith(f"note: {what} was paused already, since 20")
    assert again.err.endswith(" by user:ann: the disk is full; resume it first to give another reason\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("queue pause typo", "queue 'typo'"),
        ("queue limit typo --slots 1", "queue 'typo'"),
        ("queue set typo --affinity-wait 1s", "queue 'typo'"),
        ("kind pause typo", "kind 'typo'"),
    ],
)
def test_what_is_set_where_there_is_no_task_leaves_a_note(
    engine: sagalog.Engine, path: Path, words: str, what: str
) -> None:
    """It holds all the same: operators may set it before the first task."""
    unused = of(path, *words.split())
    assert (unused.status, unused.err) == (0, f"note: no task of {what} is here yet, and no worker works on it\n")
    assert unused.out
    engine.create("typo", id="t", queue="typo")
    again = of(path, *words.split()).err
    assert "no task of" not in again


def test_a_key_is_paused_within_its_queue(engine: sagalog.Engine, path: Path) -> None:
    """[PAUSE-1]"""
    engine.create("build", id="t", queue="agents", key="web")
    said = of(path, "queue", "pause", "agents", "the release is built", "--key", "web").out
    assert said == "queue agents: no limit, paused keys: web\n"
    assert engine.claim("agents", owner="ann", ttl_ms=1_000) == []
    _, row, below = of(path, "queue", "ls").out.splitlines()
    assert row.split() == ["agents", "-", "-", "-", "-", "0", "-", "-", "-", "-"]
    assert below.startswith("    key web is paused: 20")
    assert below.endswith(" by user:ann: the release is built")
    of(path, "queue", "resume", "agents", "--key", "web")
    assert len(engine.claim("agents", owner="ann", ttl_ms=1_000)) == 1


def test_the_order_of_a_queue_is_set_beside_its_limits(engine: sagalog.Engine, path: Path) -> None:
    """[ORDER-2]"""
    engine.limit_queue("prompts", slots=1)
    told = of(path, "queue", "set", "prompts", "--affinity-wait", "60s").out
    assert told == "queue prompts: 1 slot, affinities wait 1m\n"
    assert engine.queues()[0].affinity_wait_ms == 60_000
    assert of(path, "queue", "ls").out.splitlines()[1].split()[-2:] == ["1m", "-"]
    assert of(path, "queue", "set", "prompts").status == 2
    assert of(path, "queue", "set", "prompts", "--affinity-wait", "1s", "--no-affinity-wait").status == 2
    assert engine.queues()[0].affinity_wait_ms == 60_000
    told = of(path, "queue", "set", "prompts", "--no-affinity-wait").out
    assert told == "queue prompts: 1 slot; taken away: affinities wait 1m\n"
    assert engine.queues()[0].affinity_wait_ms is None


def test_the_limits_of_a_queue_are_set_as_a_whole(engine: sagalog.Engine, path: Path) -> None:
    """[LIMIT-1]"""
    words = ("--slots", "3", "--rate", "5/90s", "--per-key-slots", "1", "--per-key-rate", "1/1m30s:2")
    said = of(path, "queue", "limit", "agents", *words).out
    assert said == "queue agents: 3 slots, rate 5/90s, per key 1 slot, per key rate 1/90s:2\n"
    _, row = of(path, "queue", "ls").out.splitlines()
    assert row.split() == ["agents", "3", "5/90s", "1", "1/90s:2", "0", "3", "-", "-", "-"]
    [document] = of(path, "queue", "limit", "agents", "--slots", "1", "--json").documents
    assert set(document) == set(sagalog.QueueStatus.__struct_fields__)
    assert (document["slots"], document["rate"], document["per_key_slots"]) == (1, None, None)
    assert of(path, "queue", "limit", "agents").status == 2
    assert of(path, "queue", "limit", "agents", "--slots", "1", "--unlimited").status == 2
    assert engine.queues()[0].slots == 1
    assert of(path, "queue", "limit", "agents", "--unlimited").out == "queue agents: no limit; taken away: 1 slot\n"
    assert engine.queues()[0].slots is None


@pytest.mark.parametrize("rate", ["10", "/60s", "10/", "10/60", "x/60s", "10/60s:", "10/60s:x", "-1/60s", "1.5/s"])
def test_what_is_no_rate_is_refused_by_the_name_of_the_option(path: Path, rate: str) -> None:
    for words in (("limit", "set", "gpu", "--rate"), ("queue", "limit", "agents", "--per-key-rate")):
        answer = of(path, *words, rate)
        assert answer.status == 2
        assert f"'{words[-1]}'" in answer.err
        assert f"{rate!r} is no rate" in answer.err
    assert not path.exists()


@pytest.mark.parametrize("span_ms", [1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, 604_800_000])
def test_a_period_is_shown_as_it_can_be_given(span_ms: int) -> None:
    assert parse_duration(exact_duration(span_ms)) == span_ms


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("limit", "there is no limit"),
        ("kind", "no kind is paused"),
        ("queue", "no queue has a limit or a pause; `sagalog stats` lists every queue"),
    ],
)
def test_an_empty_listing_says_so(engine: sagalog.Engine, path: Path, group: str, said: str) -> None:
    answer = of(path, group, "ls")
    assert (answer.status, answer.out, answer.err) == (0, "", f"note: {said}\n")


def test_a_limit_that_no_task_holds_differs_from_one_that_there_is_not(engine: sagalog.Engine, path: Path) -> None:
    engine.set_limit("gpu", slots=1)
    held = call("limit", "holders", "gpu", "--db", str(path))
    assert (held.status, held.err) == (0, "note: no task has a unit of 'gpu'\n")
    missing = call("limit", "holders", "gpo", "--db", str(path))
    assert (missing.status, missing.out) == (4, "")
    assert "there is no limit 'gpo'" in missing.err


def test_a_listing_names_what_cannot_be_read(engine: sagalog.Engine, path: Path) -> None:
    """[LOG-5]"""
    engine.set_limit("cpu", slots=1)
    engine.limit_queue("agents", slots=1)
    engine.set_schedule("nightly", "build", cron="@daily")
    for category, id in (("schedule", "nightly"), ("limit", "cpu"), ("queue", "agents")):
        stream = f"(SELECT number FROM streams WHERE category = '{category}' AND id = '{id}')"  # noqa: S608
        tamper(
            path,
            (f"DELETE FROM folds WHERE stream = {stream}", []),  # noqa: S608
            (f"UPDATE events SET type = 'moved' WHERE stream = {stream}", []),  # noqa: S608
        )
        answer = of(path, category, "ls")
        row = answer.out.splitlines()[1]
        assert (answer.status, row.split()[0]) == (0, id)
        assert f"unreadable: {category}/{id}@1 was changed" in row
        assert [one["code"] for one in of(path, category, "ls", "--json").documents] == ["unreadable"]


def test_the_holders_of_a_queue_and_of_a_key_are_listed(engine: sagalog.Engine, path: Path) -> None:
    """[LIMIT-2]"""
    engine.limit_queue("default", slots=9, per_key_slots=1)
    for id, key in (("a", "web"), ("b", "api"), ("c", "web")):
        engine.create("build", id=id, key=key)
    engine.claim("default", owner="ann", ttl_ms=None, limit=9)

    def holders(*words: str) -> list[str]:
        out = call("queue", "holders", "default", "--db", str(path), *words).out
        return [line.split()[0] for line in out.splitlines()[1:]]

    assert holders() == ["a", "b"]
    assert holders("--key", "web") == ["a"]
    answer = call("queue", "holders", "default", "--key", "web", "--db", str(path), "--json")
    assert answer.documents == [{"task": "a", "units": 1}]
    answer = call("queue", "holders", "default", "--key", "none", "--db", str(path))
    assert (answer.out, answer.err) == ("", "note: no task has a unit of the key 'none' of queue 'default'\n")
    assert call("queue", "holders", "free", "--db", str(path)).err == "note: no task has a unit of queue 'free'\n"


def test_show_has_the_limits_that_a_task_uses(engine: sagalog.Engine, path: Path) -> None:
    engine.set_limit("gpu", slots=2)
    engine.create("build", id="t", uses={"gpu": 2}, build="new")
    shown = [line.split() for line in call("show", "t", "--db", str(path)).out.splitlines()]
    assert ["uses", "gpu=2"] in shown
    assert ["build", "new"] in shown


def test_a_listing_says_which_limit_pause_or_breaker_holds_a_task_back(engine: sagalog.Engine, path: Path) -> None:
    """[LIMIT-5] [PAUSE-1] [BREAKER-1]"""
    engine.set_limit("gpu", slots=1)
    engine.set_limit("api", breaker=sagalog.Breaker(1, 3_600_000))
    engine.limit_queue("default", per_key_slots=1)
    created: dict[str, dict[str, Any]] = {
        "ready": {"uses": {"gpu": 1}},
        "held": {"uses": {"gpu": 1}},
        "key": {"key": "web"},
        "held-key": {"key": "web"},
        "broken": {"uses": {"api": 1}},
        "pinned": {"build": "new"},
        "kind": {"kind": "test"},
        "queue": {"queue": "agents"},
        "paused-key": {"key": "paused"},
    }
    for id, given in created.items():
        engine.create(given.pop("kind", "build"), id=id, **given)
    lease = engine.acquire("broken", owner="ann", ttl_ms=None)
    failure = sagalog.Failure("down", "", limit="api")
    lease.retry(failure, budget="transient", run_at_ms=engine.now_ms())
    for target in ({"kind": "test"}, {"queue": "agents"}, {"key": "paused"}):
        engine.pause(**target)

    out = call("list", "--db", str(path)).out.splitlines()
    at = out[0].index("WAITS_FOR")
    shown = {line.split()[0]: line[at:] for line in out[1:]}
    assert shown.pop("broken").startswith("the breaker of api, 20")
    assert shown == {
        "ready": "a worker",
        "held": "a limit: gpu",
        "key": "a worker",
        "held-key": "a limit: key web",
        "pinned": "a worker of build new",
        "kind": "resume of the kind test",
        "queue": "resume of the queue agents",
        "paused-key": "resume of the key paused",
    }
    documents = {one["id"]: one["waits_for"] for one in call("list", "--db", str(path), "--json").documents}
    assert [id for id, one in documents.items() if one["gate"] == "held" and "gpu" in str(one)] == ["held"]
    assert sum(one.held for one in engine.limits() if one.name == "gpu") == 1
    assert documents["held"]["held_back"] == [{"code": "held", "parameters": {"limit": "gpu"}}]
    assert (documents["queue"]["gate"], documents["pinned"]["build"]) == ("ready", "new")
    assert [one["code"] for one in documents["queue"]["held_back"]] == ["paused_queue"]
