"""Tasks and leases as values: what they show after an end, and that they can be kept in sets."""

from __future__ import annotations

from sagalog import Engine
from tests.engine.checking import REMOVE, SOON, TTL_MS, get, leased


def test_a_completed_task_shows_nothing_of_what_went_wrong_on_the_way(engine: Engine) -> None:
    lease = leased(engine, retry=SOON)
    assert lease.retry("it broke").error is not None
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    assert engine.cancel("t", "not needed").reason == "not needed"
    assert (lease.complete(42).error, get(engine).error, get(engine).reason) == (None, None, None)


def test_a_failed_task_does_not_show_the_reason_of_an_unmet_cancel(engine: Engine) -> None:
    lease = leased(engine)
    engine.cancel("t", "not needed")
    task = lease.fail("no way on", waive_compensation="nothing was done")
    assert (task.state, task.reason) == ("failed", None)
    assert task.error is not None
    assert get(engine) == task


def test_tasks_and_leases_can_be_kept_in_sets(engine: Engine) -> None:
    lease = leased(engine, payload={"a": [1]}, tags={"team": "x"}, compensations=[REMOVE])
    same = engine.heartbeat([lease]).renewed[0]
    assert (lease, lease.task) == (same, get(engine))
    assert (hash(lease), hash(lease.task)) == (hash(same), hash(get(engine)))
    later = engine.note("t", "seen")
    assert len({lease, same, leased(engine, "u")}) == 2
    assert len({lease.task, get(engine), later}) == 2
