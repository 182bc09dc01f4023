"""The contract of schedules: each nominal time has one task at most, whatever the clock does.

Rule: when a schedule is due follows from the log, so a rebuild gives the same. [SCHEDULE-6]
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sagalog.engine import Engine
from sagalog.engine.queries import ScheduleStatus
from sagalog.errors import InvalidValue, NotFound, OverBound
from sagalog.kernel.bounds import CARRY_EVENTS, LATE_MS, MISSED_MAX, SCHEDULE_BYTES_MAX, SCHEDULES_LIMIT
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract, ids

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
YEAR_MS: Final = 365 * DAY_MS


class ScheduleContract(Contract):
    """The tests of schedules."""

    def every(self, name: str = "tick", every_ms: int = MINUTE_MS, **arguments: Any) -> None:
        """Set a schedule of an interval."""
        self.engine.set_schedule(name, arguments.pop("kind", "build"), every_ms=every_ms, **arguments)

    def status(self, name: str = "tick") -> ScheduleStatus:
        """Return a schedule as it is now."""
        return next(one for one in self.engine.schedules() if one.name == name)

    def of(self, name: str = "tick") -> list[str]:
        """List the types of a schedule's events, a skipped one with its code."""
        with self.store.read() as snapshot:
            found = snapshot.history(f"schedule/{name}")
        return [one.type if one.type != "schedule_skipped" else f"skipped: {self.code(one.body)}" for one in found]

    @staticmethod
    def code(body: str) -> str:
        """Return the code of a skipped time, from the body of its event."""
        return body.partition('"code":"')[2].partition('"')[0]

    def look(self) -> list[str]:
        """Have a claim of another queue look for maintenance; return the ids of all tasks so far."""
        self.claim("nothing there")
        return [task.id for task in self.engine.find()]

    def finish(self, *queues: str) -> None:
        """Claim all that is ready and complete it."""
        for lease in self.claim(queues or "default", limit=1_000):
            lease.complete()

    def even(self) -> None:
        """Check that the store is sound, and that a rebuild gives the same due times."""
        self.sound()
        before = [self.due_ms(one.name) for one in self.engine.schedules()]
        self.engine.rebuild()
        self.sound()
        assert [self.due_ms(one.name) for one in self.engine.schedules()] == before

    def due_ms(self, name: str = "tick") -> int | None:
        """Return when the store has a schedule due."""
        with self.store.read() as snapshot:
            account = snapshot.account(f"schedule/{name}")
        return None if account is None else account.due_ms

    # --- setting --------------------------------------------------------------------------------------------------

    def test_a_schedule_that_is_set_anew_writes_only_what_is_new(self) -> None:
        """[SCHEDULE-1]"""
        self.every(payload={"depth": 1})
        self.writes_nothing(self.every, payload={"depth": 1})
        self.every(payload={"depth": True})
        assert self.of() == ["schedule_set", "schedule_set"]
        assert self.status().next_ms == START_MS + MINUTE_MS
        self.engine.remove_schedule("tick")
        assert self.engine.schedules() == []
        self.refused(NotFound, self.engine.remove_schedule, "tick")
        self.every()
        assert self.of()[-2:] == ["schedule_removed", "schedule_set"]
        self.even()

    def test_a_schedule_that_cannot_be_is_refused_when_it_is_set(self) -> None:
        """[SCHEDULE-1]"""
        wrong: list[dict[str, Any]] = [
            {}, {"cron": "@daily", "every_ms": 1_000}, {"every_ms": 999}, {"every_ms": True}, {"cron": "0 0 * * * *"},
            {"cron": "0 0 31 2 *"}, {"cron": "@reboot"}, {"cron": "61 * * * *"}, {"cron": ""}, {"cron": 5},
            {"cron": "@daily", "zone": "Nowhere/Town"}, {"cron": "@daily", "zone": "../etc/passwd"},
            {"every_ms": 1_000, "zone": "Europe/Berlin"}, {"every_ms": 1_000, "missed": "some"},
            {"every_ms": 1_000, "overlap": None}, {"every_ms": 1_000, "priority": "high"},
        ]  # fmt: skip
        for given in wrong:
            self.refused(InvalidValue, self.engine.set_schedule, "tick", "build", **given)
        self.refused(InvalidValue, self.engine.set_schedule, "t" * 171, "build", every_ms=1_000)
        large = "x" * SCHEDULE_BYTES_MAX
        self.refused(OverBound, self.engine.set_schedule, "tick", "build", large, every_ms=1_000)
        self.refused(NotFound, self.engine.set_schedule, "tick", "build", every_ms=1_000, uses={"gpu": 1})
        self.refused(NotFound, self.engine.next_times, "tick")

    def test_a_task_has_all_that_its_schedule_says_and_names_its_cause(self) -> None:
        """[SCHEDULE-1] [SCHEDULE-2]"""
        self.engine.set_limit("gpu", slots=2)
        given: dict[str, Any] = {
            "queue": "agents", "priority": -3, "affinity": "red", "key": "acme", "tags": {"a": "b"},
            "correlation_id": "c", "uses": {"gpu": 1}, "waive_compensation": "it only reads",
        }  # fmt: skip
        self.engine.set_schedule("nightly", "build", {"a": [1]}, cron="0 2 * * *", zone="Europe/Berlin", **given)
        self.clock.advance(3 * HOUR_MS)
        [id] = self.look()
        assert id == "nightly@2023-11-15T01:00:00Z"
        task = self.get(id)
        assert (task.kind, task.payload) == ("build", {"a": [1]})
        for name in set(given) - {"waive_compensation"}:
            assert getattr(task, name) == given[name], name
        created, fired = self.log()[-1], self.log()[-2]
        assert (created.type, created.actor, created.cause) == ("created", "schedule:nightly", fired.name)
        assert fired.name == "schedule/nightly@2"
        self.even()

    # --- firing ---------------------------------------------------------------------------------------------------

    def test_each_nominal_time_has_one_task_whoever_looks(self) -> None:
        """[SCHEDULE-2] [SCHEDULE-6]"""
        self.every(overlap="allow")
        assert self.look() == []
        self.clock.advance(MINUTE_MS)
        assert ids(self.claim()) == ["tick@2023-11-14T22:14:20Z"]
        self.writes_nothing(self.look)
        self.engine.recover()
        assert len(self.engine.find()) == 1
        self.clock.advance(MINUTE_MS - 1)
        self.writes_nothing(self.look)
        self.clock.advance(1)
        self.engine.recover()
        assert self.look()[-1] == "tick@2023-11-14T22:15:20Z"
        assert self.of() == ["schedule_set", "schedule_fired", "schedule_fired"]
        self.even()

    def test_a_waiting_claim_knows_when_the_next_schedule_is_due(self) -> None:
        """[SCHEDULE-6]"""
        self.every()
        self.create("other", run_at_ms=START_MS + HOUR_MS)
        assert self.engine._executor.queries.claimable_ms(()) is None
        self.clock.advance(MINUTE_MS)
        assert ids(self.claim(wait_ms=5_000)) == ["tick@2023-11-14T22:14:20Z"]

    def test_a_task_that_has_the_id_already_is_not_created_again(self) -> None:
        """[SCHEDULE-2]"""
        self.every()
        self.create("tick@2023-11-14T22:14:20Z", kind="other")
        self.clock.advance(MINUTE_MS)
        assert self.look() == ["tick@2023-11-14T22:14:20Z"]
        assert self.of()[-1] == "skipped: exists"
        assert self.status().task is None
        self.even()

    def test_schedules_beyond_a_look_fire_at_the_next_one(self) -> None:
        """[SCHEDULE-6]"""
        for number in range(SCHEDULES_LIMIT + 3):
            self.every(f"s{number:02}")
        self.clock.advance(MINUTE_MS)
        assert len(self.claim(limit=100)) == SCHEDULES_LIMIT
        assert len(self.claim(limit=100)) == 3
        self.even()

    def test_a_look_begins_no_schedule_behind_a_hundred_tasks(self) -> None:
        """[SCHEDULE-6]"""
        for name in ("a", "b", "c"):
            self.every(name, 1_000, missed="all", overlap="allow")
        self.clock.advance(75 * 1_000)
        assert len(self.claim(limit=1_000)) == 150
        assert len(self.claim(limit=1_000)) == 75
        self.even()

    # --- missed times and overlap ---------------------------------------------------------------------------------

    def test_of_missed_times_the_newest_fires(self) -> None:
        """[SCHEDULE-4]"""
        self.every()
        self.clock.advance(YEAR_MS + 1)
        assert self.look() == ["tick@2024-11-13T22:13:20Z"]
        assert self.of() == ["schedule_set", "schedule_fired"]
        self.finish()
        self.clock.advance(MINUTE_MS)
        assert self.look()[-1] == "tick@2024-11-13T22:14:20Z"
        self.even()

    def test_missed_times_are_skipped_where_the_schedule_says_so(self) -> None:
        """[SCHEDULE-4]"""
        self.every(every_ms=HOUR_MS, missed="skip")
        self.clock.advance(HOUR_MS + LATE_MS)
        assert len(self.look()) == 1
        self.finish()
        self.clock.advance(3 * HOUR_MS + 1)
        assert len(self.look()) == 1
        assert self.of() == ["schedule_set", "schedule_fired", "skipped: missed"]
        self.clock.advance(HOUR_MS - LATE_MS - 1)
        assert self.look()[-1] == "tick@2023-11-15T03:13:20Z"
        self.even()

    def test_all_missed_times_fire_up_to_a_hundred(self) -> None:
        """[SCHEDULE-4]"""
        self.every(missed="all", overlap="allow")
        self.engine.set_schedule("cron", "build", cron="* * * * *", missed="all", overlap="allow")
        self.clock.advance(3 * MINUTE_MS)
        assert len(self.look()) == 6
        self.clock.advance(YEAR_MS)
        self.look()
        assert len(self.look()) == 6 + 2 * MISSED_MAX
        assert self.of("cron").count("schedule_fired") == 3 + MISSED_MAX
        self.even()

    def test_no_time_fires_while_the_task_before_lives(self) -> None:
        """[SCHEDULE-5]"""
        self.every()
        self.clock.advance(MINUTE_MS)
        [lease] = self.claim(ttl_ms=None)
        for _ in range(2):
            self.clock.advance(MINUTE_MS)
            assert len(self.look()) == 1
        assert self.of() == ["schedule_set", "schedule_fired", *["skipped: overlap"] * 2]
        lease.complete()
        self.writes_nothing(self.look)
        self.clock.advance(MINUTE_MS)
        assert len(self.look()) == 2
        self.even()

    def test_of_all_missed_times_only_the_first_fires_without_overlap(self) -> None:
        """[SCHEDULE-5]"""
        self.every(missed="all")
        self.clock.advance(3 * MINUTE_MS)
        assert self.look() == ["tick@2023-11-14T22:14:20Z"]
        assert self.of() == ["schedule_set", "schedule_fired", *["skipped: overlap"] * 2]

    def test_what_schedules_create_is_told_by_the_call_that_fires_them(self) -> None:
        """[SCHEDULE-6] [UPKEEP-1]"""
        self.every(every_ms=HOUR_MS, missed="all", overlap="allow")
        self.engine.set_schedule("never", "build", every_ms=DAY_MS)
        self.clock.advance(2 * HOUR_MS)
        created = [(one.task, one.events, one.state) for one in self.engine.recover(1)]
        assert created == [(task.id, ("created",), "pending") for task in self.engine.find()]
        assert len(created) == 2
        self.writes_nothing(self.engine.recover)
        assert self.engine.recover() == []
        self.even()

    # --- clocks ---------------------------------------------------------------------------------------------------

    def test_a_clock_that_steps_back_fires_nothing_twice(self) -> None:
        """[SCHEDULE-3]"""
        self.every(every_ms=HOUR_MS)
        self.clock.advance(HOUR_MS)
        self.look()
        self.finish()
        self.clock.step(-HOUR_MS // 2)
        self.writes_nothing(self.look)
        self.every(every_ms=2 * HOUR_MS)
        assert self.status().next_ms == START_MS + HOUR_MS // 2 + 2 * HOUR_MS
        self.clock.advance(HOUR_MS)
        assert len(self.look()) == 1
        self.even()

    def test_a_clock_that_jumps_a_year_and_comes_back_begins_anew(self) -> None:
        """[SCHEDULE-3]"""
        self.every(every_ms=HOUR_MS)
        self.engine.set_schedule("nightly", "build", cron="0 2 * * *")
        self.clock.advance(YEAR_MS)
        assert len(self.look()) == 2
        self.finish()
        self.clock.step(-YEAR_MS)
        self.look()
        assert self.of() == self.of("nightly") == ["schedule_set", "schedule_fired", "schedule_reset"]
        assert self.status().next_ms == START_MS + HOUR_MS
        self.clock.advance(HOUR_MS)
        assert self.look()[-1] == "tick@2023-11-14T23:13:20Z"
        self.finish()
        # A year later the times that fired already have their tasks.
        self.clock.step(YEAR_MS - HOUR_MS)
        assert len(self.look()) == 3
        assert self.of()[-1] == self.of("nightly")[-1] == "skipped: exists"
        self.even()

    # --- pauses and stops -----------------------------------------------------------------------------------------

    def test_no_time_during_a_pause_fires(self) -> None:
        """[PAUSE-1]"""
        self.every()
        self.engine.pause(schedule="tick", reason="the disk is full")
        self.writes_nothing(self.engine.pause, schedule="tick")
        assert (self.status().paused, self.status().next_ms) == (True, None)
        assert self.engine.next_times("tick", 1) == [START_MS + MINUTE_MS]
        self.clock.advance(90_000)
        self.writes_nothing(self.look)
        self.engine.resume(schedule="tick")
        self.writes_nothing(self.engine.resume, schedule="tick")
        self.writes_nothing(self.look)
        self.clock.advance(30_000)
        assert self.look() == ["tick@2023-11-14T22:15:20Z"]
        self.refused(NotFound, self.engine.pause, schedule="other")
        self.refused(NotFound, self.engine.resume, schedule="other")
        self.even()

    def test_a_zone_that_vanished_stops_its_schedule_and_no_other(self) -> None:
        """[SCHEDULE-7]"""
        self.every(every_ms=DAY_MS)
        with a_zone("Nowhere/Town"):
            self.engine.set_schedule("nightly", "build", cron="0 2 * * *", zone="Nowhere/Town")
        self.clock.advance(DAY_MS)
        assert self.look() == ["tick@2023-11-15T22:13:20Z"]
        assert (self.status("nightly").code, self.status("nightly").next_ms) == ("zone_unknown", None)
        assert self.of("nightly") == ["schedule_set", "schedule_stopped"]
        self.writes_nothing(self.look)
        self.refused(InvalidValue, self.engine.resume, schedule="nightly")
        self.refused(InvalidValue, self.engine.next_times, "nightly")
        with a_zone("Nowhere/Town"):
            self.engine.resume(schedule="nightly")
            assert self.status("nightly").code is None
            self.clock.advance(DAY_MS)
            assert "nightly@2023-11-16T02:00:00Z" in self.look()
        self.even()

    def test_a_task_that_is_refused_stops_its_schedule_and_no_other(self) -> None:
        """[SCHEDULE-7]"""
        self.engine.set_limit("gpu", slots=1)
        self.every(uses={"gpu": 1}, missed="all", overlap="allow")
        self.every("other")
        self.engine.remove_limit("gpu")
        self.clock.advance(3 * MINUTE_MS)
        assert self.look() == ["other@2023-11-14T22:16:20Z"]
        assert self.status().code == "task_refused"
        assert self.of() == ["schedule_set", "schedule_stopped"]
        self.even()
        self.engine.set_limit("gpu", slots=1)
        self.every(uses={"gpu": 1}, missed="all", overlap="allow")
        assert (self.status().code, self.status().next_ms) == (None, START_MS + 4 * MINUTE_MS)

    def test_tasks_of_a_schedule_keep_to_limits(self) -> None:
        """[SCHEDULE-2] [LIMIT-5]"""
        self.engine.limit_queue("default", per_key_slots=1)
        self.every(key="acme", missed="all", overlap="allow")
        self.clock.advance(3 * MINUTE_MS)
        assert len(self.claim(limit=10)) == 1
        assert len(self.engine.find()) == 3
        self.even()

    # --- the store ------------------------------------------------------------------------------------------------

    def test_a_schedule_carries_its_fold_now_and_then(self) -> None:
        """[CARRY-1]"""
        self.every(every_ms=1_000, missed="all", overlap="allow")
        for _ in range(CARRY_EVENTS // MISSED_MAX):
            self.clock.advance(MISSED_MAX * 1_000)
            self.look()
        assert self.of()[-1] == "schedule_carried"
        before = self.status()
        self.even()
        assert self.status() == before
        self.clock.advance(1_000)
        self.look()
        assert self.of()[-1] == "schedule_fired"

    def test_another_engine_fires_what_this_one_has_set(self) -> None:
        """[SCHEDULE-6]"""
        self.every(overlap="allow")
        if not self.persists:
            return
        other = Engine(self.another_store(), clock=self.clock)
        assert other.claim("nothing there", owner="bob", ttl_ms=TTL_MS) == []
        self.clock.advance(MINUTE_MS)
        assert len(other.claim("default", owner="bob", ttl_ms=TTL_MS)) == 1
        assert self.claim() == []
        self.even()


@contextmanager
def a_zone(name: str) -> Iterator[None]:
    """Have this process know one more time zone, which vanishes afterwards."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True)
        path.write_bytes(files("tzdata.zoneinfo").joinpath("UTC").read_bytes())
        zoneinfo.reset_tzpath([folder])
        try:
            yield
        finally:
            zoneinfo.reset_tzpath()
            zoneinfo.ZoneInfo.clear_cache(only_keys=[name])
