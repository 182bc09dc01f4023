"""The contract of leases and fences: one holder, rising fences, and refused late writers, whatever the clocks did.

Rule: every refusal here follows from a rule, and leaves the log as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from sagalog.engine.lease import Lease
from sagalog.errors import Blocked, InvalidValue, LeaseHeld, LeaseLost, NotFound, TerminalTask
from sagalog.kernel.values import Compensation, LeaseRecord
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract

UNDO = Compensation("remove", {"path": "x"}, "left over", "undo")


def work_verbs(lease: Lease) -> dict[str, Callable[[], object]]:
    """Return every verb of a lease for forward work."""
    return {
        "heartbeat": lease.heartbeat,
        "heartbeat with progress": lambda: lease.heartbeat(progress={"done": 1}),
        "register": lambda: lease.register(UNDO),
        "release": lease.release,
        "retry": lambda: lease.retry("it broke"),
        "complete": lambda: lease.complete({"late": True}),
        "fail": lambda: lease.fail("it broke", compensations=[UNDO]),
    }


def undo_verbs(lease: Lease, compensation: str) -> dict[str, Callable[[], object]]:
    """Return every verb of a lease for undoing."""
    return {
        "heartbeat": lease.heartbeat,
        "release": lease.release,
        "compensation_done": lambda: lease.compensation_done(compensation),
        "compensation_failed": lambda: lease.compensation_failed(compensation, "it broke"),
    }


class LeaseContract(Contract):
    """The tests of [LEASE-1] to [LEASE-4], [FENCE-1], [FENCE-2]."""

    def test_a_lease_says_who_holds_what_until_when(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        assert lease.record == LeaseRecord("ann", 1, 1, "work", TTL_MS, START_MS + TTL_MS, START_MS)
        assert self.get("a") == lease.task
        assert lease.task.state == "running"
        assert lease.task.lease == lease.record

    def test_a_held_task_is_refused_to_every_owner_also_to_its_own(self) -> None:
        self.create("a")
        held = self.acquire("a")
        for owner in ("bob", "ann"):
            refusal = self.refused(LeaseHeld, self.acquire, "a", owner)
            assert (refusal.owner, refusal.fence, refusal.expires_ms) == ("ann", held.fence, held.expires_ms)
            assert self.writes_nothing(self.claim, owner=owner) == []

    def test_a_lease_lives_until_the_very_millisecond_of_its_expiry(self) -> None:
        self.create("a")
        self.acquire("a")
        self.clock.advance(TTL_MS - 1)
        self.refused(LeaseHeld, self.acquire, "a", "bob")
        self.clock.advance(1)
        assert self.acquire("a", "bob").fence == 2
        assert self.types("a") == ["created", "leased", "lease_expired", "leased"]

    def test_a_lease_without_end_is_never_over(self) -> None:
        self.create("a")
        lease = self.acquire("a", ttl_ms=None)
        self.clock.advance(10**12)
        assert lease.expires_ms is None
        self.refused(LeaseHeld, self.acquire, "a", "bob")
        assert self.engine.recover() == []
        lease.complete()

    def test_fences_rise_with_every_lease_however_it_ended(self) -> None:
        self.create("a")
        fences = []
        for end in ("release", "expire", "retry"):
            lease = self.acquire("a")
            fences.append(lease.fence)
            if end == "release":
                lease.release()
            elif end == "retry":
                lease.retry("it broke")
            else:
                self.clock.advance(TTL_MS)
        assert fences == [1, 2, 3]
        assert self.acquire("a").fence == 4
        self.sound()

    def test_every_verb_of_a_late_holder_is_refused_after_a_take_over(self) -> None:
        self.create("a")
        late = self.acquire("a")
        self.clock.advance(TTL_MS)
        holder = self.acquire("a", "bob")
        for verb in work_verbs(late).values():
            refusal = self.refused(LeaseLost, verb)
            assert (refusal.task, refusal.fence, refusal.current) == ("a", late.fence, holder.fence)
        assert holder.complete({"by": "bob"}).result == {"by": "bob"}
        for verb in work_verbs(late).values():
            self.refused(LeaseLost, verb)
        self.sound()

    def test_a_late_holder_is_refused_while_an_undo_is_under_way(self) -> None:
        self.create("a", compensations=[UNDO])
        late = self.acquire("a")
        self.engine.cancel("a", "called off", now=True)
        for verb in work_verbs(late).values():
            self.refused(LeaseLost, verb)
        undo = self.acquire("a", "bob", purpose="undo")
        self.clock.advance(TTL_MS)
        self.acquire("a", "eve", purpose="undo")
        for verb in undo_verbs(undo, "undo").values():
            self.refused(LeaseLost, verb)
        self.sound()

    def test_finished_work_counts_while_no_worker_has_taken_over(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.clock.advance(10 * TTL_MS)
        self.refused(LeaseLost, lease.heartbeat)
        assert lease.complete("late but first").state == "completed"

    def test_an_older_copy_of_a_lease_works_as_well(self) -> None:
        self.create("a")
        oldest = self.acquire("a")
        self.clock.advance(100)
        newest = oldest.heartbeat()
        assert newest.expires_ms == START_MS + 100 + TTL_MS
        assert oldest.register(UNDO).fence == newest.fence
        assert oldest.complete().state == "completed"

    def test_a_heartbeat_moves_the_expiry_and_keeps_the_ttl_unless_told(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.clock.advance(10)
        longer = lease.heartbeat(5_000)
        assert (longer.ttl_ms, longer.expires_ms) == (5_000, START_MS + 5_010)
        self.clock.advance(10)
        again = longer.heartbeat(progress={"done": 0.5})
        assert (again.ttl_ms, again.expires_ms, again.task.progress) == (5_000, START_MS + 5_020, {"done": 0.5})

    def test_a_heartbeat_that_moves_nothing_forward_writes_nothing(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        assert self.writes_nothing(lease.heartbeat) == lease
        assert self.writes_nothing(lease.heartbeat, 10) == lease

    def test_progress_without_a_later_expiry_keeps_the_expiry(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        told = lease.heartbeat(10, progress="half")
        assert (told.ttl_ms, told.expires_ms, told.task.progress) == (TTL_MS, START_MS + TTL_MS, "half")

    def test_many_heartbeats_go_together_and_only_lost_ones_fail(self) -> None:
        self.create("a", "b", "c")
        leases = [self.acquire(id) for id in ("a", "b", "c")]
        self.engine.cancel("b", "called off", now=True)
        self.clock.advance(10)
        renewal = self.engine.heartbeat(leases, 2_000)
        assert [lease.task.id for lease in renewal.renewed] == ["a", "c"]
        assert {lease.expires_ms for lease in renewal.renewed} == {START_MS + 2_010}
        assert [(lost.task, lost.fence) for lost in renewal.lost] == [("b", 1)]

    def test_an_ended_task_is_leased_to_no_worker(self) -> None:
        self.create("a")
        self.acquire("a").complete()
        assert self.refused(TerminalTask, self.acquire, "a").state == "completed"
        assert self.claim() == []
        self.refused(NotFound, self.acquire, "nobody")

    def test_a_task_is_leased_only_for_what_it_is_at(self) -> None:
        self.create("a", "b", compensations=[UNDO])
        self.refused(Blocked, self.acquire, "a", purpose="undo")
        self.acquire("a").fail("no way on")
        self.refused(Blocked, self.acquire, "a")
        assert self.acquire("a", purpose="undo").purpose == "undo"

    def test_a_clock_that_was_set_back_makes_no_lease_immortal(self) -> None:
        self.create("a")
        self.acquire("a")
        self.clock.step(-3_600_000)
        assert self.claim(owner="bob") == []
        self.clock.advance(TTL_MS - 1)
        assert self.claim(owner="bob") == []
        self.clock.advance(1)
        [lease] = self.claim(owner="bob")
        assert (lease.task.id, lease.fence) == ("a", 2)
        expired = self.engine.history("a")[2]
        assert (expired.type, expired.event.why) == ("lease_expired", "unseen")  # type: ignore[attr-defined]
        self.sound()

    def test_a_clock_that_jumps_ahead_costs_a_lease_and_lets_no_late_writer_in(self) -> None:
        self.create("a")
        late = self.acquire("a")
        self.clock.step(3_600_000)
        [holder] = self.claim(owner="bob")
        for verb in work_verbs(late).values():
            self.refused(LeaseLost, verb)
        holder.complete()
        self.sound()

    def test_a_lease_is_resumed_by_its_fence_as_it_was_when_it_was_acquired(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.clock.advance(10)
        lease.heartbeat(progress={"n": 1})
        assert self.writes_nothing(self.engine.reattach, "a", lease.fence) == lease
        done = self.engine.reattach("a", lease.fence).complete("done")
        # After its end too: a repeat gets its answer.
        assert self.writes_nothing(self.engine.reattach("a", lease.fence).complete, "done") == done

    def test_a_resumed_lease_is_as_late_as_it_is(self) -> None:
        self.create("a")
        late = self.acquire("a")
        self.clock.advance(TTL_MS)
        self.claim(owner="bob")
        self.refused(LeaseLost, self.engine.reattach("a", late.fence).complete)

    def test_a_lease_that_never_was_cannot_be_resumed(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.refused(NotFound, self.engine.reattach, "a", lease.fence + 1)
        self.refused(NotFound, self.engine.reattach, "nobody", 1)
        self.refused(InvalidValue, self.engine.reattach, "a", 0)
