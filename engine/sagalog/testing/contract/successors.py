"""The contract of successors: a caller retries an ended task as a new one, which owes what was left. [TERM-2] [COMP-7]

Rule: one commit writes both tasks, and exactly one task owes each undo at any time.
"""

from __future__ import annotations

from sagalog.engine.lease import Lease
from sagalog.errors import Conflict, InvalidValue, LeaseLost, NotFound, Rejected, ResultRequired, WrongState
from sagalog.kernel.bounds import ROUNDS_MAX
from sagalog.kernel.events import Created, Noted
from sagalog.kernel.values import Compensation, Retry, UnrecordedStep
from sagalog.testing.contract.base import TTL_MS, Contract, ids

REMOVE = Compensation("remove", {"path": "wt"}, "left over", "remove")
CLOSE = Compensation("close", {"n": 2}, None, "close")
CHARGE = UnrecordedStep("charge", "remove")


class SuccessorContract(Contract):
    """The tests of `retry_as_new`, and of what a successor takes over."""

    def left(self, id: str) -> None:
        """Quarantine a task in the middle of its work, while it owes a planned and a registered undo."""
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
        heir = self.engine.retry_as_new("a", actor="ann", idempotency_key="r")
        noted, created = self.engine.events(before)
        assert isinstance(noted.event, Noted)
        assert isinstance(created.event, Created)
        assert (noted.event.successor, created.event.predecessor) == (heir.id, "a")
        assert (created.cause, created.actor, created.idempotency_key) == (noted.name, "user:ann", "r")

    def test_any_number_of_successors_are_leased_and_kept_up_in_one_commit(self) -> None:
        """More than there are rounds: the view shows, with each of them, what it took over. [BOUND-5]"""
        predecessors = [f"t{number:02}" for number in range(ROUNDS_MAX + 2)]
        for id in predecessors:
            self.left(id)
            self.engine.retry_as_new(id)
        leases = self.claim(limit=len(predecessors))
        assert [lease.task.predecessor for lease in leases] == predecessors
        assert {one.params["path"] for lease in leases for one in lease.task.owed if one.id == "remove"} == {"wt"}
        self.clock.advance(TTL_MS)
        assert ids(self.claim(limit=len(predecessors))) == ids(leases)
        self.sound()

    def test_a_second_retry_gives_the_same_successor_as_it_is_now(self) -> None:
        self.left("a")
        heir = self.engine.retry_as_new("a", idempotency_key="r")
        for idempotency_key in (None, "r", "other"):
            assert self.writes_nothing(self.engine.retry_as_new, "a", idempotency_key=idempotency_key) == heir
        self.acquire(heir.id).complete("done")
        assert self.writes_nothing(self.engine.retry_as_new, "a", idempotency_key="r").result == "done"

    def test_an_idempotency_key_of_another_command_is_refused(self) -> None:
        self.left("a")
        self.left("b")
        self.engine.note("a", "seen", idempotency_key="r")
        self.engine.retry_as_new("b", idempotency_key="s")
        self.refused(Conflict, self.engine.retry_as_new, "a", idempotency_key="r")
        self.refused(Conflict, self.engine.retry_as_new, "a", idempotency_key="s")
        self.refused(Conflict, self.engine.note, "b", "seen", idempotency_key="s")

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
        # The same undo again is the inherited one, and from then on its own.
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

    def test_a_planned_undo_of_a_successor_that_never_began_is_not_undone(self) -> None:
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

    # --- what is kept -----------------------------------------------------------------------------------------

    def worked(self, id: str) -> None:
        """Quarantine a task in the middle of its work, after a step with an undo."""
        self.create(id)
        self.acquire(id).register(REMOVE).step("checkout", {"path": "wt"}, REMOVE).step("build", 7)
        self.engine.quarantine(id, "odd")

    def test_a_successor_keeps_the_steps_of_a_task_quarantined_in_its_work(self) -> None:
        """[STEP-1]"""
        self.worked("a")
        heir = self.engine.retry_as_new("a")
        assert heir.steps == ("checkout", "build")
        assert self.engine.step_result(heir.id, "checkout") == {"path": "wt"}
        lease = self.acquire(heir.id)
        self.writes_nothing(lease.step, "build", 7)
        self.writes_nothing(lease.step, "checkout", {"path": "wt"}, "remove")
        self.refused(Conflict, lease.step, "build", 8)
        self.refused(Conflict, lease.step, "checkout", {"path": "wt"}, "close")
        assert lease.step("ship").task.steps == ("checkout", "build", "ship")
        self.sound()

    def test_steps_are_kept_over_several_successors_by_their_places(self) -> None:
        """[STEP-1] [COMP-7]"""
        self.worked("a")
        second = self.engine.retry_as_new("a").id
        self.acquire(second).register(CLOSE).step("open", "door", "close")
        self.engine.quarantine(second, "odd again")
        third = self.engine.retry_as_new(second)
        created = self.engine.history(third.id)[0].event
        assert isinstance(created, Created)
        assert [(one.name, one.task, one.version, one.compensation) for one in created.steps] == [
            ("checkout", "a", 4, "remove"),
            ("build", "a", 5, None),
            ("open", second, 4, "close"),
        ]
        assert [(one.id, one.task, one.version) for one in created.inherited] == [
            ("remove", "a", 3),
            ("close", second, 3),
        ]
        assert self.engine.step_result(third.id, "checkout") == {"path": "wt"}
        assert [(one.id, one.params) for one in third.owed] == [("close", {"n": 2}), ("remove", {"path": "wt"})]
        self.sound()

    def test_a_successor_that_fails_undoes_the_steps_that_it_kept(self) -> None:
        """[STEP-1] [COMP-7]"""
        self.worked("a")
        heir = self.engine.retry_as_new("a")
        self.acquire(heir.id).fail("no way on")
        (undo,) = self.claim(purpose="undo", kinds=["remove"])
        assert [(one.id, one.params, one.reason) for one in undo.task.owed] == [("remove", {"path": "wt"}, "left over")]
        undo.compensation_done("remove")
        again = self.engine.retry_as_new(heir.id)
        assert (again.state, again.steps, again.compensations) == ("pending", (), ())
        self.sound()

    def test_an_undo_that_a_step_names_is_on_record_before_it(self) -> None:
        """[WORKER-4]"""
        self.create("a")
        self.refused(NotFound, self.acquire("a").step, "checkout", None, REMOVE)

    def test_what_a_completed_task_owed_is_void(self) -> None:
        """[COMP-6]"""
        self.worked("a")
        heir = self.engine.retry_as_new("a")
        done = self.acquire(heir.id).register(CLOSE).complete("done")
        assert [(one.id, one.status) for one in done.compensations] == [("remove", "void"), ("close", "void")]
        assert (done.owed, done.successor) == ((), None)
        self.refused(NotFound, self.engine.note, heir.id, "by hand", ["remove"])
        self.sound()

    # --- steps that could not be recorded ---------------------------------------------------------------------

    def unrecorded(self, id: str) -> None:
        """Quarantine a task as its holder, over a step that it has run and whose undo is on record."""
        self.create(id)
        lease = self.acquire(id).step("checkout", 1).register(REMOVE)
        lease.quarantine("it cannot be stored", [CHARGE])

    def test_an_unrecorded_step_is_kept_with_the_result_that_the_caller_gives(self) -> None:
        """[STEP-1] [COMP-7]"""
        self.unrecorded("a")
        refusal = self.refused(ResultRequired, self.engine.retry_as_new, "a")
        assert (refusal.task, refusal.steps) == ("a", ["charge"])
        heir = self.engine.retry_as_new("a", results={"charge": {"id": 7}})
        assert (heir.steps, heir.unrecorded_steps) == (("checkout", "charge"), ())
        assert self.engine.step_result(heir.id, "charge") == {"id": 7}
        lease = self.acquire(heir.id)
        self.writes_nothing(lease.step, "charge", {"id": 7}, "remove")
        self.refused(Conflict, lease.step, "charge", {"id": 8})
        assert [(one.id, one.status) for one in lease.complete().compensations] == [("remove", "void")]
        self.sound()

    def test_what_was_given_is_kept_over_several_successors(self) -> None:
        """[STEP-1]"""
        self.unrecorded("a")
        second = self.engine.retry_as_new("a", results={"charge": None}).id
        self.engine.quarantine(second, "odd")
        third = self.engine.retry_as_new(second).id
        assert self.engine.step_result(third, "charge") is None
        self.engine.rebuild()
        assert self.engine.step_result(third, "charge") is None
        self.sound()

    def test_an_unrecorded_step_runs_again_where_the_caller_says_so(self) -> None:
        """[STEP-1] [COMP-7] Its undo is inherited, and void only if the step registers it again."""
        self.unrecorded("a")
        heir = self.engine.retry_as_new("a", rerun=["charge"])
        assert (heir.steps, [one.id for one in heir.owed]) == (("checkout",), ["remove"])
        done = self.acquire(heir.id).register(REMOVE).step("charge", 2, REMOVE).complete()
        assert ([one.status for one in done.compensations], done.successor) == (["void"], None)
        self.sound()

    def test_only_a_step_that_could_not_be_recorded_is_given_a_result(self) -> None:
        """[STEP-1]"""
        self.unrecorded("a")
        self.worked("b")
        both = {"results": {"charge": 1}, "rerun": ["charge"]}
        self.refused(InvalidValue, lambda: self.engine.retry_as_new("a", **both))  # type: ignore[arg-type]
        self.refused(InvalidValue, lambda: self.engine.retry_as_new("a", results={"charge": {1}}))
        self.refused(NotFound, lambda: self.engine.retry_as_new("a", results={"charge": 1, "checkout": 2}))
        self.refused(NotFound, lambda: self.engine.retry_as_new("b", rerun=["build"]))
        self.sound()

    def test_a_retry_that_is_repeated_with_another_result_is_a_conflict(self) -> None:
        """[REPEAT-6] [REPEAT-7]"""
        self.unrecorded("a")
        heir = self.engine.retry_as_new("a", results={"charge": 1}, idempotency_key="r")
        assert self.writes_nothing(lambda: self.engine.retry_as_new("a")) == heir
        assert (
            self.writes_nothing(lambda: self.engine.retry_as_new("a", results={"charge": 1}, idempotency_key="r"))
            == heir
        )
        self.refused(Conflict, lambda: self.engine.retry_as_new("a", results={"charge": 2}))
        self.refused(Conflict, lambda: self.engine.retry_as_new("a", rerun=["charge"]))
        self.refused(Conflict, lambda: self.engine.retry_as_new("a", results={"charge": 2}, idempotency_key="r"))

    def test_the_undo_of_a_step_that_is_given_up_over_is_on_record(self) -> None:
        """[WORKER-1]"""
        self.create("a")
        lease = self.acquire("a")
        self.refused(Rejected, lease.quarantine, "it cannot be stored", [CHARGE])
        held = lease.register(REMOVE)
        held.quarantine("it cannot be stored", [CHARGE])
        self.writes_nothing(held.quarantine, "it cannot be stored", [CHARGE])
        self.refused(Conflict, held.quarantine, "it cannot be stored", ["charge"])

    def test_every_step_that_had_begun_needs_its_result_or_a_rerun(self) -> None:
        """[STEP-1] The caller says which of the two."""
        self.create("a")
        lease = self.acquire("a").step("checkout", 1).register(REMOVE)
        assert lease.quarantine("it cannot be stored", ["ship", CHARGE]).unrecorded_steps == (
            UnrecordedStep("ship"),
            CHARGE,
        )
        refusal = self.refused(ResultRequired, lambda: self.engine.retry_as_new("a", results={"charge": 1}))
        assert refusal.steps == ["ship"]
        assert self.refused(ResultRequired, self.engine.retry_as_new, "a").steps == ["ship", "charge"]
        heir = self.engine.retry_as_new("a", results={"charge": 1}, rerun=["ship"])
        assert (heir.steps, [one.id for one in heir.owed]) == (("checkout", "charge"), ["remove"])
        self.sound()

    def undone_by_hand(self, id: str) -> None:
        """Quarantine a task in its forward work, and settle the undo of its step `charge` by a note."""
        self.create(id)
        lease = self.acquire(id).register(REMOVE).step("charge", 1, REMOVE).step("ship", 2)
        lease.quarantine("a bad deploy")
        self.engine.note(id, "refunded by hand", ["remove"])

    def test_a_step_that_was_undone_by_hand_is_not_taken_for_done(self) -> None:
        """[STEP-1] [COMP-7]"""
        self.undone_by_hand("a")
        assert self.refused(ResultRequired, self.engine.retry_as_new, "a").steps == ["charge"]
        self.refused(NotFound, lambda: self.engine.retry_as_new("a", rerun=["charge", "ship"]))
        heir = self.engine.retry_as_new("a", rerun=["charge"])
        assert (heir.steps, heir.owed) == (("ship",), ())
        done = self.acquire(heir.id).register(REMOVE).step("charge", 3, REMOVE).complete()
        assert (done.steps, [one.status for one in done.compensations]) == (("ship", "charge"), ["void"])
        self.engine.rebuild()
        self.sound()

    def test_a_step_undone_by_hand_is_kept_with_the_result_that_is_given(self) -> None:
        """[STEP-1] [COMP-7] In its place, and over several successors."""
        self.undone_by_hand("a")
        heir = self.engine.retry_as_new("a", results={"charge": "again, by hand"})
        assert heir.steps == ("charge", "ship")
        assert self.engine.step_result(heir.id, "charge") == "again, by hand"
        self.engine.quarantine(heir.id, "odd")
        third = self.engine.retry_as_new(heir.id)
        assert (third.steps, self.engine.step_result(third.id, "charge")) == (("charge", "ship"), "again, by hand")
        self.engine.rebuild()
        self.sound()

    # --- children ---------------------------------------------------------------------------------------------

    def test_a_child_of_the_predecessor_is_adopted_once_and_for_all_attempts(self) -> None:
        """[STEP-2] [REPEAT-3]"""
        self.worked("a")
        self.create("part", parent="a")
        self.create("other", parent="a")
        heir = self.engine.retry_as_new("a").id
        lease = self.acquire(heir).adopt_child("part", "part")
        assert lease.task.children == {"part": "part"}
        self.writes_nothing(lease.adopt_child, "part", "part")
        self.refused(Conflict, lease.adopt_child, "part", "other")
        lease.release()
        again = self.acquire(heir)
        self.writes_nothing(again.adopt_child, "part", "part")
        self.refused(LeaseLost, lease.adopt_child, "other", "other")
        with self.engine.batch() as batch:
            batch.adopt_child(again, "other", "other")
            batch.complete(again)
        self.engine.rebuild()
        assert self.get(heir).children == {"part": "part", "other": "other"}
        self.sound()

    def test_a_child_is_adopted_from_a_predecessor_that_the_task_goes_on_from(self) -> None:
        """[STEP-2]"""
        self.worked("a")
        self.create("part", parent="a")
        self.create("orphan")
        self.create("stranger", parent="b")
        second = self.engine.retry_as_new("a").id
        self.engine.quarantine(second, "odd again")
        third = self.engine.retry_as_new(second).id
        lease = self.acquire(third)
        self.refused(NotFound, lease.adopt_child, "part", "nobody")
        for other in ("orphan", "stranger", "a", third):
            self.refused(Rejected, lease.adopt_child, "part", other)
        lease.adopt_child("part", "part").fail("no way on")
        self.acquire(third, purpose="undo").compensation_done("remove")
        over = self.engine.retry_as_new(third).id
        self.refused(Rejected, self.acquire(over).adopt_child, "part", "part")
        self.sound()

    # --- what is left over ------------------------------------------------------------------------------------

    def left_over(self) -> tuple[Lease, str]:
        """Lease a successor that inherits the undo `close` and replaces it by nothing; return the lease and its id."""
        self.left("a")
        heir = self.engine.retry_as_new("a").id
        return self.acquire(heir), heir

    def test_a_task_that_only_undoes_gets_the_undos_without_a_replacement(self) -> None:
        """[COMP-7]"""
        lease, heir = self.left_over()
        before = len(self.log())
        done = lease.complete("done")
        completed, noted, created = self.engine.events(before)
        assert (completed.type, noted.type, created.type) == ("completed", "noted", "created")
        assert isinstance(noted.event, Noted)
        assert (noted.event.settles, noted.event.successor) == (("close",), done.successor)
        assert (created.cause, created.actor) == (noted.name, noted.actor)
        assert [(one.id, one.status) for one in done.compensations] == [("remove", "void"), ("close", "noted")]
        (undo,) = self.claim(purpose="undo", kinds=["close"])
        assert (undo.task.id, undo.task.predecessor, undo.task.outcome) == (done.successor, heir, "completed")
        assert [(one.id, one.params) for one in undo.task.owed] == [("close", {"n": 2})]
        undo.compensation_done("close")
        undone = self.get(undo.task.id)
        assert (undone.state, undone.outcome, self.get(heir).result) == ("compensated", "completed", "done")
        self.sound()

    def test_a_completion_that_is_repeated_hands_nothing_over_again(self) -> None:
        """[REPEAT-5] [COMP-7]"""
        lease, heir = self.left_over()
        done = lease.complete("done")
        assert self.writes_nothing(lease.complete, "done") == done
        self.refused(Conflict, lease.complete, "other")
        assert len([task for task in self.engine.find() if task.predecessor == heir]) == 1

    def test_what_was_left_over_is_never_work_again(self) -> None:
        """[TERM-2]"""
        lease, heir = self.left_over()
        undoer = lease.complete("done").successor or ""
        self.refused(WrongState, self.engine.retry_as_new, heir)
        self.engine.quarantine(undoer, "it is stuck")
        again = self.engine.retry_as_new(undoer)
        assert (again.state, again.outcome, [one.id for one in again.owed]) == ("compensating", "completed", ["close"])
        self.acquire(again.id, purpose="undo").compensation_done("close")
        self.refused(WrongState, self.engine.retry_as_new, again.id)
        self.sound()

    def test_an_inherited_undo_that_is_registered_again_is_the_successors_own(self) -> None:
        """[COMP-7] [REPEAT-3]"""
        lease, heir = self.left_over()
        self.refused(Conflict, lease.register, Compensation("close", {"n": 3}, None, "close"))
        mine = lease.register(CLOSE)
        self.writes_nothing(lease.register, CLOSE)
        assert [(one.id, one.params) for one in mine.task.owed] == [("close", {"n": 2}), ("remove", {"path": "wt"})]
        assert mine.complete().successor is None
        assert [one.status for one in self.get(heir).compensations] == ["void", "void"]
        self.sound()

    def test_a_batch_completes_and_hands_over_in_one_commit(self) -> None:
        """[COMP-7]"""
        lease, heir = self.left_over()
        with self.engine.batch() as batch:
            batch.step(lease, "last")
            batch.complete(lease, "done")
        done = self.get(heir)
        undoer = self.get(done.successor or "")
        assert (done.state, undoer.state, undoer.payload) == ("completed", "compensating", {"n": 1})
        self.engine.rebuild()
        assert [self.get(heir), self.get(undoer.id)] == [done, undoer]
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
