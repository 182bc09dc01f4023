"""Processes share limits, and are killed while they hold units of them: no limit is passed, and none is lost."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

import sagalog
from sagalog import Engine
from sagalog.testing.history import check, explain
from tests import warm_processes

POINTS = ["commit.after_begin", "commit.after_events", "commit.after_fold", "commit.before_commit"]
POINTS += ["commit.after_commit"]
LONG_MS = 60_000


class LimitUser:
    """A process of `limit_user.py`."""

    def __init__(
        self, url: str, owner: str, queues: str, how: str = "end", ttl_ms: int = LONG_MS, failpoint: str | None = None
    ) -> None:
        environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
        self.process = warm_processes.start(
            "tests.faults.limit_user", url, owner, queues, how, str(ttl_ms), **environment
        )
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        """Let it begin."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def got(self) -> str:
        """The next task that it gets; empty if it has ended."""
        return str(self.process.stdout.readline().strip())

    def ends(self) -> tuple[list[str], int]:
        """What else it gets, and its status."""
        out, _ = self.process.communicate(timeout=90)
        return out.split(), self.process.wait(60)

    def die(self) -> None:
        """Kill it as the kernel would."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def users() -> Iterator[list[LimitUser]]:
    """The processes of a test; whatever becomes of it, none is left."""
    started: list[LimitUser] = []
    yield started
    for user in started:
        user.die()


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """A store, which the last look at it finds sound."""
    with sagalog.open(sqlite_url, durability="normal") as engine:
        yield engine
        report = engine.verify()
        assert report.ok, report.faults
        violations = check(engine.events(limit=10_000))
        assert not violations, explain(violations)


def work_off(users: list[LimitUser]) -> Counter[str]:
    """Let all begin at once, and count how often each task was got."""
    for user in users:
        user.go()
    found: Counter[str] = Counter()
    for user in users:
        got, status = user.ends()
        assert status == 0
        found.update(got)
    return found


def test_two_limits_in_opposite_order_hold_up_no_process(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[LIMIT-2] [LIMIT-6] The history says that neither limit was passed."""
    engine.set_limit("left", slots=2)
    engine.set_limit("right", slots=3)
    orders = ({"left": 1, "right": 1}, {"right": 2, "left": 1}, {"right": 1})
    ids = [engine.create("build", queue=f"q{n % 2}", uses=orders[n % 3]).id for n in range(60)]
    users += [LimitUser(sqlite_url, f"p{number}", ("q0,q1", "q1,q0")[number % 2]) for number in range(8)]

    assert work_off(users) == Counter(ids)
    assert [(one.name, one.used) for one in engine.limits()] == [("left", 0), ("right", 0)]


def test_one_task_of_a_key_runs_at_a_time_over_four_processes(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[LIMIT-2] Tasks that change one repository, beside those that change others."""
    engine.limit_queue("agents", per_key_slots=1)
    ids = [engine.create("build", queue="agents", key=f"repository-{n % 3}").id for n in range(40)]
    users += [LimitUser(sqlite_url, f"p{number}", "agents") for number in range(4)]

    assert work_off(users) == Counter(ids)


def test_the_last_slot_of_a_killed_holder_is_free_for_another_queue(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[LIMIT-5] [UPKEEP-2] No worker looks at the queue of the dead one."""
    engine.set_limit("gpu", slots=1)
    held = engine.create("build", queue="a", uses={"gpu": 1}).id
    other = engine.create("build", queue="b", uses={"gpu": 1}).id
    users += [LimitUser(sqlite_url, "dead", "a", "hold", ttl_ms=300), LimitUser(sqlite_url, "alive", "b")]
    users[0].go()
    assert users[0].got() == held
    users[0].die()
    users[1].go()

    assert users[1].ends() == ([other], 0)
    types = [event.type for event in engine.history(held)]
    assert types == ["created", "leased", "lease_expired"]


def test_a_lowered_limit_lets_no_process_start_before_the_others_end(
    engine: Engine, sqlite_url: str, users: list[LimitUser]
) -> None:
    """[LIMIT-1] The log says so: behind the setting a lease begins only when no other lives."""
    engine.set_limit("gpu", slots=3)
    held = [engine.create("build", queue="a", uses={"gpu": 1}).id for _ in range(3)]
    users += [LimitUser(sqlite_url, f"holder{number}", "a", "hold", ttl_ms=1_000) for number in range(3)]
    for user in users:
        user.go()
    assert sorted(user.got() for user in users) == sorted(held)
    ids = [engine.create("build", queue="b", uses={"gpu": 1}).id for _ in range(6)]
    engine.set_limit("gpu", slots=1)
    lowered = engine.newest_position()
    for user in users[:3]:
        user.die()
    users += [LimitUser(sqlite_url, f"p{number}", "b") for number in range(4)]

    assert work_off(users[3:]) == Counter(ids)
    running = 3
    for event in engine.events(after=lowered, limit=10_000):
        if event.type == "leased":
            assert running == 0, f"{event.name} begins while {running} leases live"
        running += {"leased": 1, "completed": -1, "lease_expired": -1}.get(event.type, 0)
    assert running == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_while_it_takes_units_loses_none(
    engine: Engine, sqlite_url: str, users: list[LimitUser], point: str
) -> None:
    """[LIMIT-2] [LIMIT-7] In the commit of a claim, of an end, and in a claim that ends the lease of a dead one."""
    engine.set_limit("gpu", slots=1)
    engine.set_limit("calls", rate=sagalog.Rate(100, period_ms=LONG_MS))
    ids = [engine.create("build", queue="a", uses={"gpu": 1, "calls": 1}).id for _ in range(4)]
    for number in range(1, 5):
        user = LimitUser(sqlite_url, f"p{number}", "a", ttl_ms=200, failpoint=f"{point}:{number}")
        users.append(user)
        user.go()
        _, status = user.ends()
        assert status in (0, -signal.SIGKILL)
        assert engine.verify().ok
    users.append(LimitUser(sqlite_url, "last", "a"))
    users[-1].go()
    assert users[-1].ends()[1] == 0
    assert {task.id for task in engine.find(state="completed")} == set(ids)
    leased = sum(event.type == "leased" for event in engine.events(limit=10_000))
    assert [(one.name, one.used) for one in engine.limits()] == [("calls", 0), ("gpu", 0)]
    assert 100 - leased <= (engine.limits()[0].free or 0) <= 100
