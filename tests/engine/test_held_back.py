"""What holds back the tasks of a listing, as `Engine.held_back` says it at little cost. [EXPLAIN-1]"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sagalog import Breaker, Engine, Failure, InvalidValue, Retry, Task
from sagalog.engine.explanations.listed import held_back
from sagalog.testing import ManualClock
from tests.conftest import START_MS


def codes(engine: Engine) -> dict[str, list[str]]:
    return {id: [one.code for one in found] for id, found in engine.held_back(engine.find()).items()}


def test_nothing_holds_back_what_is_ready_leased_ended_or_not_due(engine: Engine) -> None:
    engine.limit_queue("default", slots=9)
    engine.create("build", id="ended")
    engine.cancel("ended")
    engine.create("build", id="leased")
    engine.claim("default", owner="ann", ttl_ms=None)
    engine.create("build", id="ready", build="new")
    assert codes(engine) == {}
    engine.create("build", id="later", run_at_ms=START_MS + 1)
    engine.create("build", id="parked", after=["ready"])
    engine.pause(queue="default")
    assert codes(engine) == {"ready": ["paused_queue"]}


def test_pauses_come_in_the_order_of_an_explanation(engine: Engine) -> None:
    """[PAUSE-1]"""
    engine.set_limit("gpu", slots=1)
    engine.create("build", id="t", key="web", uses={"gpu": 1})
    engine.create("test", id="u")
    for target in ({"limit": "gpu"}, {"key": "web"}, {"queue": "default"}, {"kind": "build"}):
        engine.pause(**target, reason="why", actor="user:ann")
    found = engine.held_back(engine.find())
    pauses = ["paused_kind", "paused_queue", "paused_key", "paused_limit"]
    assert [one.code for one in found["t"] if one.code != "held"] == pauses
    assert [one.code for one in found["u"]] == ["paused_queue"]
    assert found["t"][:4] == engine.explain("t").reasons
    for target in ({"limit": "gpu"}, {"key": "web"}, {"queue": "default"}, {"kind": "build"}):
        engine.resume(**target)
    engine.recover()
    assert codes(engine) == {}


def test_a_task_that_is_held_names_its_limit_or_its_key(engine: Engine) -> None:
    """[LIMIT-5]"""
    engine.set_limit("gpu", slots=1)
    engine.limit_queue("default", per_key_slots=1)
    for id in ("a", "b"):
        engine.create("build", id=id, uses={"gpu": 1})
        engine.create("build", id=f"{id}-key", key="web")
    found = engine.held_back(engine.find())
    assert {id: [(one.code, one.parameters) for one in reasons] for id, reasons in found.items()} == {
        "b": [("held", {"limit": "gpu"})],
        "b-key": [("held", {"queue": "default", "key": "web"})],
    }
    assert found["b"][0].sentence == "the limit 'gpu' holds it back"
    assert next(one.held for one in engine.limits()) == 1


def test_a_breaker_that_lets_nothing_start_is_named(engine: Engine, clock: ManualClock) -> None:
    """[BREAKER-1]"""
    engine.set_limit("api", breaker=Breaker(1, 60_000))
    for id in ("a", "t"):
        engine.create("build", id=id, uses={"api": 1}, retry=Retry(transient_max=None))
    lease = engine.acquire("a", owner="ann", ttl_ms=600_000)
    lease.retry(Failure("down", "", limit="api"), budget="transient", run_at_ms=START_MS + 10**9)
    assert codes(engine)["t"][0] == "breaker_open"
    clock.advance(60_000)
    assert "breaker_open" not in codes(engine).get("t", [])


def test_settings_are_read_once_for_all_tasks_of_a_listing(engine: Engine) -> None:
    engine.create_many([{"kind": "build", "id": f"t{number}"} for number in range(50)])
    engine.pause(queue="default")
    engine.pause(kind="build")
    asked: Counter[str] = Counter()

    class Counting:
        def __init__(self, snapshot: Any) -> None:
            self.snapshot = snapshot

        def __getattr__(self, name: str) -> Any:
            asked[name] += 1
            return getattr(self.snapshot, name)

    tasks = engine.find()
    queries: Any = engine._executor.queries
    with queries._store.read() as snapshot:
        found = held_back(Counting(snapshot), tasks, START_MS)
    assert len(found) == 50
    assert sum(asked.values()) < 10, asked


@pytest.mark.parametrize(("given", "path"), [(["t"], "tasks[0]"), ("t", "tasks"), (3, "tasks")])
def test_what_is_no_task_is_refused_by_its_place(engine: Engine, given: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        engine.held_back(given)
    assert caught.value.fields["path"] == path


def test_a_task_that_is_gone_from_the_store_holds_up_no_listing(engine: Engine) -> None:
    engine.create("build", id="t")
    [task] = engine.find()
    assert isinstance(task, Task)
    assert engine.held_back([task, task]) == {}
