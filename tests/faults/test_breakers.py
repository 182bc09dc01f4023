"""Processes share a breaker, strike it, probe it, and are killed meanwhile: one probe at a time, and none is lost."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

import sagalog
from sagalog import Breaker, Engine, Retry
from tests.faults.limit_user import DOWN
from tests.faults.test_limits import POINTS, LimitUser, engine, users, work_off

__all__ = ["engine", "users"]  # the fixtures
PATIENT = Retry(transient_max=None)


def changes(engine: Engine) -> list[str]:
    """The changes of the breaker, each with its code."""
    found = [one for one in engine.events(limit=10_000) if one.stream == "limit/provider" and one.version > 1]
    return [" ".join(filter(None, [one.type.removeprefix("limit_breaker_"), code_of(one)])) for one in found]


def code_of(event: sagalog.Recorded) -> str | None:
    return getattr(event.event, "code", None)


def asked(engine: Engine, count: int, queue: str = "a") -> list[str]:
    """Create tasks that ask the provider."""
    return [engine.create("ask", queue=queue, uses={"provider": 1}, retry=PATIENT).id for _ in range(count)]


def struck(engine: Engine) -> None:
    """Open the breaker by one failure."""
    [lease] = engine.claim("a", owner="ann", ttl_ms=None)
    lease.retry(DOWN, budget="transient")


def test_a_storm_of_failures_from_eight_processes_opens_a_breaker_once(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[BREAKER-1] [BREAKER-2] The history says that nothing began after it."""
    engine.set_limit("provider", breaker=Breaker(20, 3_600_000))
    asked(engine, 100)
    users += [LimitUser(sqlite_url, f"p{number}", "a", "strike") for number in range(8)]

    assert sum(work_off(users).values()) in range(20, 28)
    assert changes(engine) == ["opened failures"]


def test_eight_processes_have_one_probe_at_a_time(engine: Engine, sqlite_url: str, users: list[LimitUser]) -> None:
    """[BREAKER-3] The history says so."""
    engine.set_limit("provider", breaker=Breaker(1, 300))
    ids = asked(engine, 40)
    struck(engine)
    users += [LimitUser(sqlite_url, f"p{number}", "a") for number in range(8)]

    assert work_off(users) == Counter(ids)
    assert changes(engine) == ["opened failures", "half_opened", "closed healthy"]


def test_a_killed_probe_lets_the_task_of_another_queue_probe(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[BREAKER-3] [UPKEEP-2] No worker looks at the queue of the dead one."""
    engine.set_limit("provider", breaker=Breaker(1, 1))
    [held, _], [other] = asked(engine, 2), asked(engine, 1, "b")
    struck(engine)
    users += [LimitUser(sqlite_url, "dead", "a", "hold", ttl_ms=300), LimitUser(sqlite_url, "alive", "b")]
    users[0].go()
    assert users[0].got()
    users[0].die()
    users[1].go()

    assert users[1].ends() == ([other], 0)
    assert changes(engine) == [
        "opened failures",
        "half_opened",
        "opened probe_lost",
        "half_opened",
        "closed healthy",
    ]
    assert "leased" in [event.type for event in engine.history(held)]


@pytest.mark.parametrize("how", ["strike", "end"])
@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_as_a_breaker_changes_leaves_it_whole(
    engine: Engine, sqlite_url: str, users: list[LimitUser], point: str, how: str
) -> None:
    """[BREAKER-1] In the commits of failures, of a probe and its end."""
    engine.set_limit("provider", breaker=Breaker(2, 1, 1))
    ids = asked(engine, 6)
    struck(engine)
    struck(engine)
    for number in range(1, 5):
        user = LimitUser(sqlite_url, f"p{number}", "a", how, ttl_ms=100, failpoint=f"{point}:{number}")
        users.append(user)
        user.go()
        assert user.ends()[1] in (0, -signal.SIGKILL)
        assert engine.verify().ok
    users.append(LimitUser(sqlite_url, "last", "a"))
    users[-1].go()
    assert users[-1].ends()[1] == 0
    assert {task.id for task in engine.find(state="completed")} == set(ids)
    assert [one.mode for one in engine.breakers()] == ["closed"]
