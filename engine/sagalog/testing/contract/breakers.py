"""The contract of breakers: what opens one, which lease probes it, and what settles it.

Rule: only its changes are events, and what is counted between them follows from the log. [BREAKER-1] [BREAKER-2]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagalog.codec import read
from sagalog.engine.lease import Lease
from sagalog.errors import Blocked, InvalidValue, LeaseLost, NotFound
from sagalog.kernel.bounds import BREAKER_OPEN_MS_MAX, CARRY_EVENTS
from sagalog.kernel.values import Breaker, Compensation, Failure, Rate, Retry
from sagalog.store import Claim
from sagalog.testing.contract.base import BROKEN, TTL_MS, ids
from sagalog.testing.contract.limited import LimitedContract
from sagalog.validation.commands import ClaimRequest

PAUSE_MS = 60_000
DOWN = Failure("down", "the provider is down", limit="gpu")
BREAKER = Breaker(failures=3, pause_ms=PAUSE_MS, pause_max_ms=200_000)
PATIENT = Retry(transient_max=None)


class BreakerContract(LimitedContract):
    """The tests of breakers."""

    # --- what opens one -------------------------------------------------------------------------------------------

    def test_so_many_failures_in_a_row_open_a_breaker(self) -> None:
        """[BREAKER-1] [BREAKER-2]"""
        self.watched("a", "b", "c", "d")
        self.strike(3)
        assert self.changes() == ["limit_breaker_opened failures"]
        [status] = self.engine.breakers()
        assert (status.limit, status.mode, status.trips) == ("gpu", "open", 1)
        assert status.until_ms == self.clock.now_ms() + PAUSE_MS
        assert self.claim(limit=10) == []
        assert self.gates("d") == ["held limit/gpu"]
        self.fair()

    def test_a_storm_of_failures_adds_no_event_to_the_breaker(self) -> None:
        """[BREAKER-1] Leases that were there before say nothing of what came after."""
        names = [f"t{number}" for number in range(40)]
        self.watched(*names)
        leases = self.claim(limit=40)
        for lease in leases:
            self.fail(lease)
        assert self.changes() == ["limit_breaker_opened failures"]
        assert self.account("limit/gpu").failures == 0
        self.fair()

    def test_a_healthy_end_begins_the_row_anew(self) -> None:
        """[BREAKER-2] Also one by a failure for good: what the breaker watches has answered."""
        ends: list[Callable[[Lease], object]] = [
            lambda lease: lease.complete(),
            lambda lease: lease.fail(BROKEN, waive_compensation="nothing was made"),
            lambda lease: lease.fail(BROKEN, or_quarantine=True),
        ]
        for number, end in enumerate(ends):
            self.watched(f"a{number}", f"b{number}", f"c{number}")
            self.strike(2)
            assert self.account("limit/gpu").failures == 2
            [lease] = self.claim()
            end(lease)
            assert self.account("limit/gpu").failures == 0
            self.fair()
            self.drop()
        assert self.changes() == []

    def test_an_end_that_says_nothing_of_the_surroundings_counts_for_nothing(self) -> None:
        """[BREAKER-2]"""
        self.watched("a", "b", "c", "d", "e", "f")
        self.strike(1)
        ends: list[Callable[[Lease], object]] = [
            lambda lease: lease.retry(BROKEN, run_at_ms=self.later()),
            lambda lease: lease.release(run_at_ms=self.later()),
            lambda lease: lease.park("w", signal="go"),
            lambda lease: lease.quarantine(BROKEN),
            lambda lease: self.clock.advance(TTL_MS),
        ]
        for end in ends:
            [lease] = self.claim()
            end(lease)
            self.engine.recover()
            assert self.account("limit/gpu").failures == 1
        self.fair()

    def test_a_failure_strikes_the_breaker_that_it_names_or_that_of_its_queue(self) -> None:
        """[BREAKER-2]"""
        self.engine.set_limit("cpu", slots=9, breaker=BREAKER)
        self.engine.limit_queue("default", breaker=BREAKER)
        self.watched("a", "b", "c", uses={"gpu": 1, "cpu": 1})
        for limit, struck in (("gpu", "limit/gpu"), ("cpu", "limit/cpu"), (None, "queue/default"), ("ram", None)):
            [lease] = self.claim()
            lease.retry(Failure("down", "", limit=limit), budget="transient", run_at_ms=self.clock.now_ms())
            found = {one for one in ("limit/gpu", "limit/cpu", "queue/default") if self.account(one).failures}
            assert found == ({struck} if struck else set())
            [lease] = self.claim()
            lease.complete()
            self.watched(f"{limit}", uses={"gpu": 1, "cpu": 1})
        self.fair()

    def test_one_quota_opens_a_breaker_until_it_is_back(self) -> None:
        """[BREAKER-1] A week at most."""
        back_ms = self.clock.now_ms() + 5 * PAUSE_MS
        for until_ms, expected_ms in (
            (back_ms, back_ms),
            (self.clock.now_ms() + 2 * BREAKER_OPEN_MS_MAX, self.clock.now_ms() + BREAKER_OPEN_MS_MAX),
            (self.clock.now_ms(), self.clock.now_ms() + PAUSE_MS),
        ):
            self.watched(f"t{until_ms}")
            [lease] = self.claim()
            lease.retry(DOWN, budget="quota", run_at_ms=until_ms)
            [status] = self.engine.breakers()
            assert (status.mode, status.until_ms, status.code) == ("open", expected_ms, "quota")
            assert self.engine.limits()[0].breaker_mode == "open"
            self.engine.reset_breaker(limit="gpu")
            self.engine.cancel(f"t{until_ms}")
        self.fair()

    def test_a_quota_that_names_no_reset_opens_a_breaker_for_its_pause(self) -> None:
        """[BREAKER-1] And for twice as long after each probe that meets it again: a backoff says nothing of it."""
        self.opened_by_quota()
        for pause_ms in (PAUSE_MS, 2 * PAUSE_MS, 200_000):
            assert self.engine.breakers()[0].until_ms == self.clock.now_ms() + pause_ms
            self.clock.advance(pause_ms)
            [probe] = self.claim()
            probe.retry(DOWN, budget="quota")
        self.fair()

    def test_a_reset_that_a_worker_names_counts_without_its_jitter(self) -> None:
        """[BREAKER-1] [ATTEMPT-4]"""
        self.watched("t")
        [lease] = self.claim()
        lease.retry(DOWN, budget="quota", retry_after_ms=10 * PAUSE_MS)
        assert self.engine.breakers()[0].until_ms == self.clock.now_ms() + 10 * PAUSE_MS
        self.fair()

    def test_a_breaker_of_a_rate_leaves_it_as_the_log_gives_it(self) -> None:
        """[LIMIT-7] Where it changes while some of the rate is used."""
        self.engine.set_limit("gpu", rate=Rate(10, 7_000), breaker=Breaker(1, 1_000, 1_000))
        self.users("a", "b", "c", retry=PATIENT)
        for passed_ms in (333, 1_001, 777):
            leases = self.claim()
            self.clock.advance(passed_ms)
            for lease in leases:
                self.fail(lease)
            self.fair()
        self.engine.reset_breaker(limit="gpu")
        self.fair()

    def test_a_failure_that_spends_the_budget_of_its_task_counts_too(self) -> None:
        """[BREAKER-2] Whether the task fails by it, or is quarantined."""
        for number, policy in enumerate((Retry(transient_max=1), Retry(transient_max=1, spent="quarantine"))):
            self.watched(f"a{number}", retry=policy, compensations=[Compensation("undo")])
            self.watched(f"b{number}", retry=policy)
            for failures in (1, 2):
                [lease] = self.claim()
                lease.retry(DOWN, budget="transient")
                assert self.account("limit/gpu").failures == failures
            self.fair()
            self.engine.remove_limit("gpu")

    # --- who probes -----------------------------------------------------------------------------------------------

    def test_exactly_one_task_probes_after_the_pause(self) -> None:
        """[BREAKER-3] Of all queues and kinds."""
        self.opened()
        self.clock.advance(PAUSE_MS - 1)
        assert self.claim(["default", "other"], limit=10) == []
        self.clock.advance(1)
        [probe] = self.claim(["default", "other"], limit=10)
        assert self.claim(["default", "other"], limit=10) == []
        [status] = self.engine.breakers()
        assert (status.mode, status.task, status.until_ms) == ("half_open", probe.task.id, None)
        assert status.code == "failures"
        assert probe.task.lease is not None
        [used] = probe.task.lease.uses
        assert used.generation == self.version("limit/gpu")
        self.refused(Blocked, self.acquire, "other-0")
        self.fair()

    def test_a_healthy_probe_closes_and_lets_all_in(self) -> None:
        """[BREAKER-3]"""
        self.opened()
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim()
        probe.complete()
        assert self.changes()[-2:] == ["limit_breaker_half_opened", "limit_breaker_closed healthy"]
        [status] = self.engine.breakers()
        assert (status.mode, status.code, status.cause) == ("closed", None, None)
        assert len(self.claim(["default", "other"], limit=20)) > 3
        self.fair()

    def test_the_pause_doubles_up_to_its_longest_while_probes_fail(self) -> None:
        """[BREAKER-1] And begins anew once a probe was healthy."""
        self.opened()
        for pause_ms in (60_000, 120_000, 200_000, 200_000):
            [status] = self.engine.breakers()
            assert status.until_ms == self.clock.now_ms() + pause_ms
            self.clock.advance(pause_ms)
            [probe] = self.claim()
            self.fail(probe)
            [status] = self.engine.breakers()
            newest = self.engine.history(probe.task.id)[-1]
            assert (status.code, status.cause) == ("probe_failed", newest.name)
        self.clock.advance(200_000)
        self.claim()[0].complete()
        self.strike(3)
        assert self.engine.breakers()[0].until_ms == self.clock.now_ms() + PAUSE_MS
        self.fair()

    def test_a_probe_without_a_verdict_opens_again_for_no_pause(self) -> None:
        """[BREAKER-3] By the same commit, so the next task probes at once."""
        self.opened()
        self.clock.advance(PAUSE_MS)
        ends: list[Callable[[Lease], object]] = [
            lambda lease: lease.release(run_at_ms=self.later()),
            lambda lease: lease.retry(BROKEN, run_at_ms=self.later()),
            lambda lease: lease.park("w", signal="go"),
            lambda lease: lease.quarantine(BROKEN),
            lambda lease: lease.retry(Failure("down", "elsewhere"), budget="transient", run_at_ms=self.later()),
            lambda lease: (self.engine.cancel(lease.task.id), lease.release()),
        ]
        for end in ends:
            [probe] = self.claim(["default", "other"], limit=10)
            end(probe)
            assert self.changes()[-1] == "limit_breaker_opened probe_lost"
            [status] = self.engine.breakers()
            assert (status.until_ms, status.trips) == (self.clock.now_ms(), 1)
        self.fair()

    def test_a_probe_whose_holder_died_holds_up_no_other_queue(self) -> None:
        """[BREAKER-3] [UPKEEP-2]"""
        self.opened()
        self.clock.advance(PAUSE_MS)
        [dead] = self.claim("default")
        assert self.claim("other") == []
        self.clock.advance(TTL_MS)
        [probe] = self.claim("other", owner="bob")
        assert self.types(dead.task.id)[-1] == "lease_expired"
        assert self.changes()[-2:] == ["limit_breaker_opened probe_lost", "limit_breaker_half_opened"]
        self.refused(LeaseLost, dead.complete)
        probe.complete()
        assert self.engine.breakers()[0].mode == "closed"
        self.fair()

    def test_a_task_probes_all_its_breakers_or_none(self) -> None:
        """[BREAKER-3]"""
        self.engine.set_limit("cpu", slots=9, breaker=Breaker(failures=3, pause_ms=2 * PAUSE_MS))
        self.watched("a", "b", "c", uses={"gpu": 1, "cpu": 1})
        leases = self.claim(limit=3)
        self.create(*"defg", uses={"gpu": 1, "cpu": 1}, retry=PATIENT)
        for lease in leases:
            self.fail(lease)
        for lease in self.claimed_past_gpu():
            lease.retry(Failure("down", "", limit="cpu"), budget="quota", run_at_ms=self.clock.now_ms())
        assert {one.limit: one.mode for one in self.engine.breakers()} == {"gpu": "open", "cpu": "open"}
        self.clock.advance(PAUSE_MS)
        assert self.claim(limit=10) == []
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim(limit=10)
        assert {one.limit: one.task for one in self.engine.breakers()} == {"gpu": probe.task.id, "cpu": probe.task.id}
        probe.complete()
        assert {one.mode for one in self.engine.breakers()} == {"closed"}
        self.fair()

    def test_a_probe_takes_its_units_like_any_lease(self) -> None:
        """[BREAKER-3] [LIMIT-2] So leases from before that have all slots hold it up, until one of them ends."""
        self.engine.set_limit("gpu", slots=4, breaker=BREAKER)
        self.create(*"abcdef", uses={"gpu": 1}, retry=PATIENT)
        held = self.claim(limit=4)
        for lease in held[:3]:
            self.fail(lease)
        self.create("large", uses={"gpu": 4}, priority=-1, retry=PATIENT)
        self.engine.heartbeat(held[3:], 10 * PAUSE_MS)
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim(limit=10)
        assert probe.task.id != "large"
        probe.release()
        held[3].release()
        self.clock.advance(PAUSE_MS)
        assert ids(self.claim(limit=10)) == ["large"]
        self.fair()

    def test_a_holder_may_report_healthy_before_its_end(self) -> None:
        """[BREAKER-3] Nothing that it does afterwards counts."""
        self.opened()
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim()
        probe.healthy("gpu")
        assert self.changes()[-1] == "limit_breaker_closed healthy"
        self.writes_nothing(probe.healthy, "gpu")
        self.fail(probe)
        assert self.engine.breakers()[0].mode == "closed"
        assert self.account("limit/gpu").failures == 0
        self.refused(LeaseLost, probe.healthy, "gpu")
        self.fair()

    def test_a_lease_from_before_reports_nothing_healthy_in_place_of_the_probe(self) -> None:
        """[BREAKER-3]"""
        self.watched("early", "a", "b", "c", "d", "e")
        early = self.acquire("early", ttl_ms=None)
        self.strike(3)
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim(ttl_ms=None)
        self.writes_nothing(early.healthy, "gpu")
        early.complete()
        assert self.engine.breakers()[0].task == probe.task.id
        self.fair()

    def test_one_task_of_each_section_is_ready_to_probe(self) -> None:
        """[LIMIT-5] A breaker that lets a probe through counts as one free unit."""
        self.opened()
        tasks = [*(f"t{number}" for number in range(8)), *(f"other-{number}" for number in range(4))]
        assert self.claim(["default", "other"], limit=20) == []
        assert set(self.gates(*tasks)) == {"held limit/gpu"}
        self.clock.advance(PAUSE_MS)
        self.engine.recover()
        # The first of the queue `other` is of a kind of its own.
        for section in (tasks[:8], tasks[8:9], tasks[9:]):
            assert self.gates(*section).count("ready") == 1
        self.fair()

    def test_reporting_healthy_changes_nothing_unless_it_is_the_probe(self) -> None:
        """[BREAKER-3]"""
        self.watched("a", "b")
        self.strike(1)
        [lease] = self.claim()
        self.writes_nothing(lease.healthy, "gpu")
        self.writes_nothing(lease.healthy)
        self.refused(NotFound, lease.healthy, "ram")
        assert self.account("limit/gpu").failures == 1
        self.fair()

    # --- queues ---------------------------------------------------------------------------------------------------

    def test_the_breaker_of_a_queue_closes_the_queue_and_moves_no_task(self) -> None:
        """[BREAKER-1] [LIMIT-2]"""
        self.engine.limit_queue("default", breaker=BREAKER)
        self.create("a", "b", "c", "d", retry=PATIENT)
        for _ in range(3):
            [lease] = self.claim()
            lease.retry(BROKEN, budget="transient", run_at_ms=self.clock.now_ms())
        assert self.claim(limit=10) == []
        assert self.gates("a", "b", "c", "d") == ["ready"] * 4
        assert self.opens_in_ms() == PAUSE_MS
        refusal = self.refused(Blocked, self.acquire, "d")
        assert "breaker" in str(refusal)
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim(limit=10)
        assert self.claim(limit=10) == []
        assert self.opens_in_ms() == TTL_MS
        probe.complete()
        assert len(self.claim(limit=10)) == 3
        self.fair()

    def test_two_queues_share_the_breaker_of_a_limit(self) -> None:
        """[BREAKER-1] One that is alone, without slots and rate."""
        self.engine.set_limit("provider", breaker=BREAKER)
        self.create("a", "b", queue="left", uses={"provider": 1}, retry=PATIENT)
        self.create("c", "d", queue="right", uses={"provider": 1}, retry=PATIENT)
        down = Failure("down", "", limit="provider")
        for lease in self.claim(["left", "right"], limit=3):
            lease.retry(down, budget="transient")
        assert self.claim(["left", "right"], limit=10) == []
        [status] = self.engine.limits()
        assert (status.slots, status.rate, status.free) == (None, None, None)
        self.fair()

    # --- undoing, clocks, operators -------------------------------------------------------------------------------

    def test_no_breaker_holds_undoing_back(self) -> None:
        """[BREAKER-1]"""
        self.watched("owes", compensations=[Compensation("undo")])
        self.acquire("owes").fail(BROKEN)
        self.watched("a", "b", "c")
        self.strike(3)
        [undo] = self.claim(purpose="undo")
        undo.compensation_done(undo.task.owed[0].id)
        self.fair()

    def test_a_clock_that_is_set_back_behind_the_opening_lets_a_probe_through(self) -> None:
        """[BREAKER-1] An end that is ahead of now by more than the pause says nothing."""
        self.clock.advance(365 * 86_400_000)
        self.opened()
        self.clock.step(-365 * 86_400_000)
        assert len(self.claim(limit=10)) == 1
        assert self.claim(limit=10) == []
        self.fair()

    def test_an_operator_may_reset_a_breaker(self) -> None:
        """[BREAKER-4] What ran before counts no more, the probe included."""
        self.opened()
        self.engine.reset_breaker(limit="gpu")
        assert self.changes()[-1] == "limit_breaker_closed reset"
        self.writes_nothing(self.engine.reset_breaker, limit="gpu")
        self.strike(3)
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim()
        self.engine.reset_breaker(limit="gpu")
        self.fail(probe)
        assert self.engine.breakers()[0].mode == "closed"
        assert len(self.claim(limit=10)) > 1
        self.refused(NotFound, self.engine.reset_breaker, limit="ram")
        self.refused(NotFound, self.engine.reset_breaker, queue="default")
        self.refused(InvalidValue, self.engine.reset_breaker)
        self.fair()

    def test_a_breaker_that_is_set_anew_goes_on_and_a_removed_one_is_gone(self) -> None:
        """[BREAKER-4]"""
        self.opened()
        self.engine.set_limit("gpu", slots=8, breaker=Breaker(failures=1))
        assert self.engine.breakers()[0].mode == "open"
        assert self.claim(limit=10) == []
        self.engine.set_limit("gpu", slots=8)
        assert self.engine.breakers() == []
        leases = self.claim(limit=2)
        assert len(leases) == 2
        self.engine.set_limit("gpu", slots=8, breaker=Breaker(failures=1))
        self.fail(leases[0])
        assert self.engine.breakers()[0].mode == "closed"
        self.fair()

    def test_numbers_that_fit_no_breaker_are_refused(self) -> None:
        """[BREAKER-1]"""
        for wrong, path in (
            (Breaker(failures=0), "breaker.failures"),
            (Breaker(pause_ms=0), "breaker.pause_ms"),
            (Breaker(pause_ms=2, pause_max_ms=1), "breaker.pause_max_ms"),
            (Breaker(pause_max_ms=BREAKER_OPEN_MS_MAX + 1), "breaker.pause_max_ms"),
            ("often", "breaker"),
        ):
            broken: Any = wrong
            assert self.refused(InvalidValue, self.engine.set_limit, "gpu", breaker=broken).path == path
            assert self.refused(InvalidValue, self.engine.limit_queue, "default", breaker=broken).path == path

    def test_a_breaker_is_carried_with_its_limit(self) -> None:
        """[CARRY-1]"""
        self.opened()
        for number in range(CARRY_EVENTS):
            self.engine.set_limit("gpu", slots=8 + number % 2, breaker=BREAKER)
        with self.store.read() as snapshot:
            assert "limit_carried" in [one.type for one in snapshot.history("limit/gpu")]
        [status] = self.engine.breakers()
        assert (status.mode, status.trips) == ("open", 1)
        self.fair()

    def test_verdicts_of_one_commit_count_in_the_order_of_the_log(self) -> None:
        """[BREAKER-2] [LIMIT-7] However the steps of a batch come."""
        self.watched("a", "b", "c")
        first, second, third = self.claim(limit=3)
        with self.engine.batch() as batch:
            batch.step(third, "begun")
            batch.retry(first, DOWN, budget="transient")
            batch.complete(third)
            batch.retry(second, DOWN, budget="transient")
        assert self.account("limit/gpu").failures == 2
        self.fair()

    def test_each_change_names_the_event_that_caused_it(self) -> None:
        """[BREAKER-1]"""
        self.opened()
        self.clock.advance(PAUSE_MS)
        [probe] = self.claim()
        probe.complete()
        with self.store.read() as snapshot:
            history = snapshot.history("limit/gpu")
            caused = [(one.type, one.cause) for one in history if one.type.startswith("limit_breaker")]
        events = {f"{one.stream}@{one.version}": one.type for one in self.log()}
        assert [(kind.removeprefix("limit_breaker_"), events[cause or ""]) for kind, cause in caused] == [
            ("opened", "retried"),
            ("half_opened", "leased"),
            ("closed", "completed"),
        ]

    # --- inside ---------------------------------------------------------------------------------------------------

    def watched(self, *tasks: str, **arguments: Any) -> None:
        """Create tasks that use a limit with a breaker."""
        self.engine.set_limit("gpu", slots=50, breaker=BREAKER)
        self.users(*tasks, **{"retry": PATIENT, **arguments})

    def opened_by_quota(self) -> None:
        """Open the breaker by a quota of which nothing says when it is back."""
        self.watched(*(f"t{number}" for number in range(8)), retry=Retry(transient_max=None, quota_wait_max_ms=None))
        [lease] = self.claim()
        lease.retry(DOWN, budget="quota")

    def strike(self, times: int) -> None:
        """Have leases fail one after the other because of the surroundings."""
        for _ in range(times):
            [lease] = self.claim()
            self.fail(lease)

    def fail(self, lease: Lease) -> None:
        """Retry a task by a failure that strikes the limit; it is due again at once."""
        lease.retry(DOWN, budget="transient", run_at_ms=self.clock.now_ms())

    def opened(self) -> None:
        """Open the breaker of the limit, which tasks of two queues use."""
        self.watched(*(f"t{number}" for number in range(8)))
        self.users(*(f"other-{number}" for number in range(4)), queue="other", kind="other", retry=PATIENT)
        self.strike(3)
        assert self.engine.breakers()[0].mode == "open"

    def claimed_past_gpu(self) -> list[Lease]:
        """Lease a task that uses the limit `cpu` alone."""
        self.create("past", uses={"cpu": 1}, retry=PATIENT)
        return self.claim()

    def drop(self) -> None:
        """Cancel all tasks that live."""
        for task in self.engine.find(state="pending"):
            self.engine.cancel(task.id)

    def later(self) -> int:
        """Return a time in an hour."""
        return self.clock.now_ms() + 3_600_000

    def opens_in_ms(self) -> int | None:
        """Return how long it is until a claim of the queue may find something. [LIMIT-2]"""
        request = ClaimRequest(Claim(("default",), "work", 1), "ann", TTL_MS, None)
        at_ms = self.engine._executor.queries.claimable_ms([request])
        return None if at_ms is None else at_ms - self.clock.now_ms()

    def version(self, stream: str) -> int:
        """Return the version of a stream."""
        with self.store.read() as snapshot:
            return len(snapshot.history(stream))

    def changes(self) -> list[str]:
        """Return the changes of the limit's breaker, each with its code."""
        with self.store.read() as snapshot:
            history = snapshot.history("limit/gpu")
        return [_worded(one) for one in history if one.type.startswith("limit_breaker")]


def _worded(envelope: Any) -> str:
    code = getattr(read(envelope), "code", None)
    return envelope.type if code is None else f"{envelope.type} {code}"
