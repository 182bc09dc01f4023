"""The contract of undoing: which worker may lease a compensating task, the order of undos, and their end. [UNDO-1]

Rule: a worker that undoes must know every kind that is owed, since it has to undo all.
"""

from __future__ import annotations

from sagalog.engine.lease import Lease
from sagalog.errors import AlreadySettled, Blocked, CompensationOrder, CompensationRequired, NotFound, WrongState
from sagalog.kernel.values import Compensation, Retry
from sagalog.testing.contract.base import TTL_MS, Contract, ids

REMOVE = Compensation("remove", {"n": 1}, "left over", "remove")
CLOSE = Compensation("close", {"n": 2}, None, "close")
DROP = Compensation("drop", None, None, "drop")


class CompensationContract(Contract):
    """The tests of claims for undoing, and of settling."""

    def failed(self, id: str, *compensations: Compensation, **arguments: object) -> None:
        """Bring a task to compensating with these owed."""
        self.create(id, compensations=compensations, **arguments)
        self.acquire(id).fail("no way on")
        assert self.get(id).state == "compensating"

    def undo(self, kinds: list[str] | None = None, limit: int = 10, owner: str = "ann") -> list[Lease]:
        """Claim for undoing."""
        return self.claim(owner=owner, kinds=kinds, limit=limit, purpose="undo")

    def test_a_claim_for_undoing_takes_only_what_it_knows_every_kind_of(self) -> None:
        self.failed("one", REMOVE)
        self.failed("both", REMOVE, CLOSE)
        self.failed("other", CLOSE)
        assert self.undo(["drop"]) == []
        assert self.undo([]) == []
        assert ids(self.undo(["close", "drop"])) == ["other"]
        assert ids(self.undo(["close", "remove", "unheard of"])) == ["one", "both"]

    def test_a_claim_without_kinds_knows_them_all(self) -> None:
        self.failed("a", REMOVE, CLOSE, DROP)
        assert ids(self.undo()) == ["a"]

    def test_only_what_is_still_owed_must_be_known(self) -> None:
        self.failed("a", REMOVE, CLOSE)
        self.acquire("a", purpose="undo").compensation_done("close")
        self.clock.advance(TTL_MS)
        self.engine.recover()
        assert ids(self.undo(["remove"])) == ["a"]

    def test_undos_come_in_the_order_of_priority_then_age_across_what_they_owe(self) -> None:
        self.failed("late", REMOVE, priority=5)
        self.failed("first", CLOSE, priority=-1)
        self.failed("mid", REMOVE, CLOSE)
        self.failed("mid too", REMOVE)
        assert ids(self.undo(["remove", "close"])) == ["first", "mid", "mid too", "late"]

    def test_an_affinity_changes_no_order_of_undos(self) -> None:
        """An affinity names where work goes fast, and an undo is owed wherever it runs."""
        self.failed("plain", REMOVE)
        self.failed("red", REMOVE, affinity="red")
        assert ids(self.claim(limit=10, purpose="undo", affinity="red")) == ["plain", "red"]

    def test_work_and_undoing_are_claimed_apart(self) -> None:
        self.failed("undo", REMOVE)
        self.create("work")
        assert ids(self.claim(limit=10)) == ["work"]
        [lease] = self.undo()
        assert (lease.task.id, lease.purpose, lease.attempt) == ("undo", "undo", 1)

    def test_acquiring_for_undoing_asks_for_every_kind(self) -> None:
        self.failed("a", REMOVE, CLOSE)
        refusal = self.refused(Blocked, self.acquire, "a", purpose="undo", kinds=["remove"])
        assert refusal.kinds == ["close"]
        self.acquire("a", purpose="undo", kinds=["remove", "close"])

    def test_what_is_owed_is_undone_in_reverse_and_the_last_one_ends_the_task(self) -> None:
        self.create("a", compensations=[REMOVE])
        lease = self.acquire("a").register(CLOSE)
        lease.fail("no way on", compensations=[DROP])
        [undo] = self.undo()
        assert [one.id for one in undo.task.owed] == ["drop", "close", "remove"]
        for early in ("remove", "close"):
            refusal = self.refused(CompensationOrder, undo.compensation_done, early)
            assert (refusal.compensation, refusal.expected) == (early, "drop")
            self.refused(CompensationOrder, undo.compensation_failed, early, "it broke")
        assert isinstance(undo.compensation_done("drop"), Lease)
        assert isinstance(undo.compensation_done("close"), Lease)
        self.refused(NotFound, undo.compensation_done, "unheard of")
        ended = undo.compensation_done("remove")
        assert not isinstance(ended, Lease)
        assert (ended.state, ended.outcome, ended.owed, ended.lease) == ("compensated", "failed", (), None)
        assert self.types("a")[-4:] == ["compensation_done"] * 3 + ["compensated"]
        self.sound()

    def test_a_failed_undo_is_due_again_and_counts_as_an_attempt(self) -> None:
        self.failed("a", REMOVE, retry=Retry(delay_min_ms=50, delay_max_ms=50))
        [undo] = self.undo()
        task = undo.compensation_failed("remove", "it broke")
        assert (task.state, task.lease, task.attempt) == ("compensating", None, 2)
        assert self.undo() == []
        self.clock.advance(50)
        [again] = self.undo(owner="bob")
        assert (again.attempt, again.fence) == (2, undo.fence + 1)

    def test_waiving_settles_in_any_order_under_any_holder(self) -> None:
        self.failed("a", REMOVE, CLOSE)
        [undo] = self.undo()
        assert self.engine.waive("a", "remove", "gone already").owed[0].id == "close"
        self.refused(AlreadySettled, undo.compensation_done, "remove")
        assert undo.compensation_done("close").state == "compensated"  # type: ignore[union-attr]
        self.sound()

    def test_waiving_what_is_left_ends_the_task_and_its_lease(self) -> None:
        self.failed("a", REMOVE)
        self.undo()
        task = self.engine.waive("a", "remove", "gone already")
        assert (task.state, task.lease) == ("compensated", None)
        self.failed("b", REMOVE)
        assert self.engine.waive("b", "remove", "gone already").state == "compensated"
        self.sound()

    def test_a_waived_kind_need_not_be_known_any_more(self) -> None:
        self.failed("a", REMOVE, CLOSE)
        self.engine.waive("a", "close", "cannot be closed")
        assert ids(self.undo(["remove"])) == ["a"]

    def test_a_leased_task_does_not_fail_with_nothing_to_undo_it_by(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        self.refused(CompensationRequired, lease.fail, "no way on")
        assert lease.fail("no way on", waive_compensation="it has no effects").state == "failed"
        self.create("b")
        assert self.acquire("b").register(CLOSE).fail("no way on").state == "compensating"

    def test_only_notes_settle_what_a_quarantine_left(self) -> None:
        self.failed("a", REMOVE, CLOSE)
        self.refused(WrongState, self.engine.note, "a", "by hand", ["remove"])
        self.engine.quarantine("a", "odd")
        task = self.engine.note("a", "by hand", ["remove"])
        assert [one.status for one in task.compensations] == ["noted", "owed"]
        self.refused(NotFound, self.engine.note, "a", "again", ["remove"])
        self.engine.note("a", "the other too", ["close"])
        assert self.get("a").owed == ()
        self.sound()

    def test_a_lease_on_an_undo_runs_out_like_any_other(self) -> None:
        self.failed("a", REMOVE)
        self.undo()
        self.clock.advance(TTL_MS)
        [again] = self.undo(owner="bob")
        assert again.owner == "bob"
        assert self.types("a")[-2:] == ["lease_expired", "leased"]
