"""The contract of what queues, keys and kinds are set to: their limits, and pauses.

Rule: a queue's own limit and pause close it for claims and move no task; those of a key hold its tasks back. [PAUSE-1]
"""

from __future__ import annotations

from typing import Any

from sagalog.engine.queries import Pause
from sagalog.errors import Blocked, InvalidValue, NotFound, OverBound
from sagalog.kernel.bounds import CARRY_EVENTS, MOVES_MAX, PAUSES_MAX
from sagalog.kernel.values import Compensation, Rate
from sagalog.testing.contract.base import BROKEN, TTL_MS, ids
from sagalog.testing.contract.limited import LimitedContract


class QueueSettingContract(LimitedContract):
    """The tests of queues, keys and kinds."""

    # --- queues ---------------------------------------------------------------------------------------------------

    def test_a_queue_runs_no_more_tasks_than_it_has_slots(self) -> None:
        """[LIMIT-1] [LIMIT-2]"""
        self.engine.limit_queue("default", slots=2)
        self.create("a", "b", "c")
        assert self.gates("a", "b", "c") == ["ready"] * 3
        leases = self.claim(limit=9)
        assert ids(leases) == ["a", "b"]
        assert self.claim(limit=9) == []
        assert self.refused(Blocked, self.acquire, "c").fields["limit"] == "queue/default"
        leases[0].complete()
        assert ids(self.claim(limit=9)) == ["c"]
        self.sound()

    def test_a_claim_of_several_queues_takes_from_those_that_are_open(self) -> None:
        """[LIMIT-2]"""
        self.engine.limit_queue("shut", slots=1)
        self.create("s1", "s2", "s3", queue="shut", priority=-1)
        self.create("o1", "o2", queue="open")
        assert ids(self.claim(["shut", "open"], limit=9)) == ["s1", "o1", "o2"]
        self.create("o3", queue="open")
        assert ids(self.claim(["shut", "open"], limit=9)) == ["o3"]
        self.sound()

    def test_a_queue_starts_no_more_tasks_than_its_rate_has_units(self) -> None:
        """[LIMIT-8]"""
        self.engine.limit_queue("default", rate=Rate(1, period_ms=100))
        self.create("a", "b")
        [lease] = self.claim(limit=9, ttl_ms=None)
        lease.complete()
        with self.store.read() as snapshot:
            assert snapshot.account("queue/default") is not None
        assert self.claim() == []
        self.clock.advance(100)
        assert ids(self.claim(wait_ms=1_000)) == ["b"]
        self.sound()

    def test_leases_that_live_count_from_the_setting_on(self) -> None:
        """[LIMIT-1]"""
        self.create("a", "b", key="k")
        self.create("c", "d", key="other")
        leases = self.claim(limit=3, ttl_ms=None)
        self.engine.limit_queue("default", slots=4, per_key_slots=1)
        [queue] = self.engine.queues()
        assert (queue.used, queue.free) == (3, 1)
        assert self.engine.holders(key="k") == [("a", 1), ("b", 1)]
        assert self.claim() == []
        leases[2].complete()
        assert ids(self.claim()) == ["d"]
        leases[0].complete()
        self.create("e", key="k")
        assert self.claim() == []
        leases[1].complete()
        assert ids(self.claim()) == ["e"]
        self.sound()
        self.engine.rebuild()
        self.sound()
        assert self.engine.queues()[0].used == 2

    # --- keys -----------------------------------------------------------------------------------------------------

    def test_each_key_within_a_queue_has_slots_of_its_own(self) -> None:
        """[LIMIT-1] [LIMIT-5]"""
        self.engine.limit_queue("q", per_key_slots=1)
        self.create("a1", "a2", queue="q", key="a")
        self.create("b1", "b2", queue="q", key="b")
        self.create("none", queue="q")
        self.create("elsewhere", queue="other", key="a")
        assert self.gates("a2", "b2") == ["held key/q/a", "held key/q/b"]
        leases = self.claim(["q", "other"], limit=9)
        assert sorted(ids(leases)) == ["a1", "b1", "elsewhere", "none"]
        next(lease for lease in leases if lease.task.id == "b1").complete()
        assert ids(self.claim("q", limit=9)) == ["b2"]
        self.sound()

    def test_names_with_slashes_do_not_share_an_account(self) -> None:
        """[LIMIT-1]"""
        self.engine.limit_queue("a/b", per_key_slots=1)
        self.engine.limit_queue("a", per_key_slots=1)
        self.create("one", queue="a/b", key="c")
        self.create("two", queue="a", key="b/c")
        assert len(self.claim(["a", "a/b"], limit=9)) == 2
        self.sound()

    def test_tasks_that_were_there_before_a_limit_of_keys_keep_to_it(self) -> None:
        """[LIMIT-5] They were ready without a place under it: the claim that meets one without units moves it."""
        self.create("a", "b", "c", key="k")
        self.engine.limit_queue("default", per_key_slots=1)
        assert ids(self.claim(limit=9)) == ["a"]
        assert self.claim(limit=9) == []
        assert self.gates("b", "c") == ["held key/default/k"] * 2
        self.sound()

    def test_raised_limits_of_keys_let_in_every_key(self) -> None:
        """[LIMIT-1] [LIMIT-5] What one commit does not look at, maintenance does."""
        self.engine.limit_queue("default", per_key_slots=1)
        keys = [f"k{number:03}" for number in range(MOVES_MAX + 6)]
        specs = [{"kind": "build", "id": f"{key}-{n}", "key": key} for key in keys for n in (1, 2)]
        self.engine.create_many(specs)
        assert len(self.claim(limit=500, ttl_ms=None)) == len(keys)
        self.engine.limit_queue("default", per_key_slots=2)
        assert sorted(ids(self.claim(limit=500, ttl_ms=None) + self.claim(limit=500, ttl_ms=None))) == [
            f"{key}-2" for key in keys
        ]
        self.sound()

    def test_a_limit_of_keys_that_is_taken_back_lets_all_in(self) -> None:
        """[LIMIT-1]"""
        self.engine.limit_queue("default", per_key_slots=1)
        self.create(*"abcdef", key="k")
        self.engine.limit_queue("default")
        assert len(self.claim(limit=9)) == 6
        self.sound()

    # --- pauses ---------------------------------------------------------------------------------------------------

    def test_a_pause_lets_nothing_start_and_leaves_what_runs(self) -> None:
        """[PAUSE-1]"""
        self.engine.set_limit("gpu", slots=9)
        self.engine.limit_queue("default", per_key_slots=9)
        targets: list[dict[str, str]] = [{"queue": "default"}, {"key": "k"}, {"limit": "gpu"}, {"kind": "build"}]
        for number, target in enumerate(targets):
            self.create(f"run-{number}", f"wait-{number}", key="k", uses={"gpu": 1})
            [lease] = self.claim()
            self.engine.pause(**target, reason="look first")
            self.writes_nothing(self.engine.pause, **target)
            assert self.claim(limit=9) == []
            assert self.refused(Blocked, self.acquire, f"wait-{number}").fields["why"] == "paused"
            self.create(f"late-{number}", key="k", uses={"gpu": 1})
            assert self.claim(limit=9) == []
            lease.heartbeat()
            lease.complete()
            self.sound()
            self.engine.resume(**target)
            self.writes_nothing(self.engine.resume, **target)
            leases = self.claim(limit=9)
            assert ids(leases) == [f"wait-{number}", f"late-{number}"], target
            for one in leases:
                one.complete()
        self.sound()

    def test_a_pause_of_one_key_or_kind_leaves_the_others(self) -> None:
        """[PAUSE-1]"""
        self.create("a", key="k")
        self.create("b", key="other")
        self.create("c", kind="test")
        self.engine.pause(key="k")
        assert ids(self.claim()) == ["b"]
        self.engine.pause(kind="test")
        assert [*self.engine.paused_kinds()] == ["test"]
        assert self.claim() == []
        self.create("d", kind="other")
        assert ids(self.claim(limit=9)) == ["d"]
        self.engine.resume(key="k")
        assert ids(self.claim(limit=9)) == ["a"]
        self.sound()

    def test_no_pause_and_no_limit_holds_back_undo(self) -> None:
        """[PAUSE-1] [LIMIT-2]"""
        self.create("a", compensations=[Compensation("remove", id="u")], key="k")
        [lease] = self.claim()
        for target in ({"queue": "default"}, {"key": "k"}, {"kind": "build"}):
            self.engine.pause(**target)
        self.engine.limit_queue("default", slots=1)
        lease.fail(BROKEN)
        [undoing] = self.claim(purpose="undo")
        undoing.compensation_done("u")
        assert self.get("a").state == "compensated"
        self.sound()

    def test_a_paused_queue_still_ends_leases_that_are_over(self) -> None:
        """[UPKEEP-2]"""
        self.create("a")
        [_] = self.claim()
        self.engine.pause(queue="default")
        self.clock.advance(TTL_MS)
        assert self.claim() == []
        assert self.types("a") == ["created", "leased", "lease_expired"]
        self.sound()

    def test_a_claim_that_waits_at_a_paused_queue_is_told_of_no_time(self) -> None:
        """[PAUSE-1]"""
        self.create("a")
        self.engine.pause(queue="default")
        assert self.claim(wait_ms=0) == []
        with self.store.read() as snapshot:
            assert snapshot.fold("queue/default").paused == 1

    def test_one_thing_is_paused_at_a_time_and_it_exists(self) -> None:
        """[PAUSE-1]"""
        bad: list[dict[str, Any]] = [{}, {"queue": "q", "limit": "gpu"}, {"kind": "k", "key": "x"}, {"queue": ""}]
        for target in bad:
            self.refused(InvalidValue, self.engine.pause, **target)
            self.refused(InvalidValue, self.engine.resume, **target)
        self.refused(NotFound, self.engine.pause, limit="none")
        self.refused(NotFound, self.engine.resume, limit="none")

    def test_listings_say_who_has_paused_what_since_when_and_why(self) -> None:
        """[PAUSE-1]"""
        self.engine.set_limit("gpu", slots=1)
        self.engine.set_schedule("nightly", "build", cron="@daily")
        self.clock.advance(5)
        pause = Pause("user:ann", self.clock.now_ms(), "the disk is full")
        for target in ({"queue": "q"}, {"queue": "q", "key": "k"}, {"limit": "gpu"}, {"kind": "test"}):
            self.engine.pause(**target, reason=pause.reason, actor=pause.actor)
        self.engine.pause(schedule="nightly")
        [limit], [queue], [schedule] = self.engine.limits(), self.engine.queues(), self.engine.schedules()
        assert (limit.paused, limit.pause) == (queue.paused, queue.pause) == (True, pause)
        assert queue.paused_keys == {"k": pause}
        assert self.engine.paused_kinds() == {"test": pause}
        assert schedule.pause == Pause(None, pause.at_ms, None)
        for target in ({"queue": "q"}, {"queue": "q", "key": "k"}, {"limit": "gpu"}, {"kind": "test"}):
            self.engine.resume(**target)
        [limit], [queue] = self.engine.limits(), self.engine.queues()
        assert (limit.paused, limit.pause) == (queue.paused, queue.pause) == (False, None)
        assert (queue.paused_keys, self.engine.paused_kinds()) == ({}, {})

    def test_no_more_than_a_thousand_keys_are_paused(self) -> None:
        """[PAUSE-1] [BOUND-1]"""
        for number in range(PAUSES_MAX):
            self.engine.pause(key=f"k{number}")
        assert self.refused(OverBound, self.engine.pause, key="more").fields["maximum"] == PAUSES_MAX
        self.engine.resume(key="k0")
        self.engine.pause(key="more")

    # --- streams --------------------------------------------------------------------------------------------------

    def test_after_many_events_a_stream_carries_its_whole_fold(self) -> None:
        """[CARRY-1]"""
        self.engine.pause(key="k", reason="stays")
        self.engine.set_queue("default", affinity_wait_ms=60_000)
        for number in range(CARRY_EVENTS - 1):
            self.engine.limit_queue("default", slots=1 + number % 2)
        types = [one.type for one in self.log() if one.stream == "queue/default"]
        assert types.count("queue_carried") == 1
        with self.store.read() as snapshot:
            fold = snapshot.fold("queue/default")
        assert (fold.version, fold.length) == (CARRY_EVENTS + 2, 1)
        assert (fold.paused_keys, fold.affinity_wait_ms) == ({"k": 1}, 60_000)
        self.sound()
        self.engine.rebuild()
        with self.store.read() as snapshot:
            assert snapshot.fold("queue/default") == fold
        self.sound()

    def test_the_actor_and_the_reason_are_on_record(self) -> None:
        """[ACTOR-1]"""
        self.engine.pause(queue="q", reason="the disk is full", actor="user:ann")
        [paused] = [one for one in self.engine.events(limit=100) if one.stream == "queue/q"]
        assert (paused.actor, paused.type) == ("user:ann", "queue_paused")
        assert paused.body == '{"reason":"the disk is full"}'
