"""Succeeding: an ended task is retried as a new one, which owes what was left. [TERM-2] [COMP-7]

Rule: both tasks are written in one commit, and no debt is ever in two places or in none.
"""

from __future__ import annotations

from sagalog.errors import Conflict, NotFound, WrongState
from sagalog.kernel.events import Created, Noted
from sagalog.kernel.values import Compensation, Retry
from sagalog.testing.contract.base import TTL_MS, Contract, ids

REMOVE = Compensation("remove", {"path": "wt"}, "left over", "remove")
CLOSE = Compensation("close", {"n": 2}, None, "close")


class SuccessorContract(Contract):
    """retry_as_new."""

    def left(self, id: str) -> None:
        """A task that was quarantined in the middle of its work, owing a planned and a registered undo."""
        self.create(id, compensations=[REMOVE], payload={"n": 1}, tags={"team": "red"}, priority=-2)
        self.acquire(id).register(CLOSE)
        self.engine.quarantine(id, "odd")

    def test_a_successor_takes_over_work_and_debts(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a", actor="ann")
        assert (heir.state, heir.predecessor, heir.payload, heir.tags) == ("pending", "a", {"n": 1}, {"team": "red"})
        assert (heir.priority, heir.leases, heir.attempt) == (-2, 0, 1)
        assert [(one.id, one.params, one.reason) for one in heir.owed] == [
            ("close", {"n": 2}, None),
            ("remove", {"path": "wt"}, "left over"),
        ]
        ended = self.get("a")
        assert (ended.state, ended.successor, ended.owed) == ("quarantined", heir.id, ())
        self.sound()

    def test_both_are_written_in_one_commit_and_name_each_other(self) -> None:
        self.left("a")
        before = len(self.log())
        heir = self.engine.retry_as_new("a", actor="ann", request="r")
        noted, created = self.engine.events(before)
        assert isinstance(noted.event, Noted)
        assert isinstance(created.event, Created)
        assert (noted.event.successor, created.event.predecessor) == (heir.id, "a")
        assert (created.cause, created.actor, created.request) == (noted.name, "ann", "r")

    def test_a_second_retry_gives_the_same_successor_as_it_is_now(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a", request="r")
        for given in ({}, {"request": "r"}, {"request": "other"}):
            assert self.writes_nothing(self.engine.retry_as_new, "a", **given) == heir
        self.acquire(heir.id).complete("done")
        assert self.writes_nothing(self.engine.retry_as_new, "a", request="r").result == "done"

    def test_a_request_that_is_on_record_for_something_else_is_refused(self) -> None:
        self.left("a")
        self.left("b")
        self.engine.note("a", "seen", request="r")
        self.engine.retry_as_new("b", request="s")
        self.refused(Conflict, self.engine.retry_as_new, "a", request="r")
        self.refused(Conflict, self.engine.retry_as_new, "a", request="s")
        self.refused(Conflict, self.engine.note, "b", "seen", request="s")

    def test_what_lives_or_has_completed_is_refused(self) -> None:
        self.refused(NotFound, self.engine.retry_as_new, "nobody")
        self.create("a")
        self.refused(WrongState, self.engine.retry_as_new, "a")
        lease = self.acquire("a")
        self.refused(WrongState, self.engine.retry_as_new, "a")
        lease.complete()
        self.refused(WrongState, self.engine.retry_as_new, "a")

    def test_a_successor_is_claimed_and_fails_like_any_other(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a")
        (lease,) = self.claim()
        assert lease.task.id == heir.id
        # The same undo again is the inherited one.
        assert len(lease.register(CLOSE).task.compensations) == 2
        lease.fail("no way on")
        (undo,) = self.claim(purpose="undo")
        undo.compensation_done("close")
        undo.compensation_done("remove")
        assert self.get(heir.id).state == "compensated"
        self.sound()

    def test_a_successor_that_never_began_is_undone_when_it_is_cancelled(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a")
        assert self.engine.cancel(heir.id).state == "compensating"
        assert ids(self.claim(purpose="undo")) == [heir.id]

    def test_what_a_successor_only_planned_is_never_undone_if_its_work_never_began(self) -> None:
        self.left("a")
        self.engine.note("a", "removed by hand", settles=["remove"])
        heir = self.engine.retry_as_new("a")
        assert [(one.id, one.status) for one in heir.compensations] == [("remove", "planned"), ("close", "owed")]
        self.engine.cancel(heir.id)
        (undo,) = self.claim(purpose="undo", kinds=["close"])
        assert [one.id for one in undo.task.owed] == ["close"]
        undo.compensation_done("close")
        assert self.get(heir.id).state == "compensated"
        self.sound()

    def test_where_only_the_undo_was_left_it_is_all_the_successor_does(self) -> None:
        self.create("a", compensations=[REMOVE], retry=Retry(undo_attempts_max=1))
        self.acquire("a").fail("no way on")
        self.acquire("a", purpose="undo").compensation_failed("remove", "it broke")
        heir = self.engine.retry_as_new("a")
        assert (heir.state, heir.outcome) == ("compensating", "failed")
        assert self.claim() == []
        (undo,) = self.claim(purpose="undo", kinds=["remove"])
        undo.compensation_done("remove")
        again = self.engine.retry_as_new(heir.id)
        assert (again.state, [one.status for one in again.compensations]) == ("pending", ["planned"])
        self.sound()

    def test_debts_of_many_generations_are_in_one_place(self) -> None:
        self.left("a")
        id = "a"
        for _ in range(3):
            id = self.engine.retry_as_new(id).id
            self.acquire(id)
            self.engine.quarantine(id, "odd again")
        owing = [task.id for task in self.engine.find() if task.owed]
        assert owing == [id]
        self.sound()

    def test_a_batch_may_retry_and_answers_with_the_successor(self) -> None:
        self.left("a")
        with self.engine.batch() as batch:
            batch.retry_as_new("a")
            batch.note("a", "see its successor")
        heir, ended = batch.results
        assert heir == self.get(self.get("a").successor or "")
        assert ended == self.get("a")

    def test_a_rebuilt_store_knows_heirs_and_debts_as_before(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a")
        before = [self.get("a"), self.get(heir.id)]
        self.engine.rebuild()
        assert [self.get("a"), self.get(heir.id)] == before
        self.clock.advance(TTL_MS)
        assert self.engine.recover() == []
