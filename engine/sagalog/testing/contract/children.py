"""The contract of children: they are cancelled with a parent that is cancelled or fails, unless it leaves them.

Rule: the end of a parent with many children costs a bounded commit, and maintenance goes on with the rest. [CANCEL-4]
"""

from __future__ import annotations

from sagalog.engine.entries import CommandEntry
from sagalog.engine.task import Task
from sagalog.kernel.bounds import DEPENDANTS_LIMIT
from sagalog.kernel.events import Cancelled, CancelRequested
from sagalog.kernel.values import Compensation, OnParentEnd, Retry
from sagalog.testing.contract.base import TTL_MS, ids
from sagalog.testing.contract.claim_waits import ClaimWaitContract
from sagalog.validation import commands as forms


class ChildContract(ClaimWaitContract):
    """The tests of `on_parent_end`."""

    def spawn(self, parent: str, *names: str, on_parent_end: OnParentEnd = "cancel", queue: str = "children") -> None:
        """Create children as the handler of their parent does, in one commit."""
        with self.engine.batch() as batch:
            for name in names:
                command = forms.create("build", id=name, parent=parent, queue=queue, on_parent_end=on_parent_end)
                batch._append(CommandEntry(command, "worker:ann"))

    def parent(self, id: str = "p") -> None:
        """Create and lease a parent."""
        self.create(id)
        self.acquire(id, waive_compensation="it has no effects")

    def states(self, *tasks: str) -> list[str]:
        """Read the states of tasks."""
        return [str(self.get(task).state) for task in tasks]

    def test_children_are_cancelled_in_the_commit_that_cancels_their_parent(self) -> None:
        """[CANCEL-4] Those that are left go on; one that runs is asked to stop."""
        self.parent()
        self.spawn("p", "pending", "running")
        self.spawn("p", "left", on_parent_end="leave")
        self.create("other", parent="p")
        held = self.acquire("running")
        self.engine.cancel("p", "called off", now=True)
        assert self.states("pending", "running", "left", "other") == ["cancelled", "running", "pending", "pending"]
        event, asked = self.engine.history("pending")[-1].event, self.engine.history("running")[-1].event
        assert isinstance(event, Cancelled)
        assert isinstance(asked, CancelRequested)
        for one in (event, asked):
            assert (one.code, one.parameters) == ("parent_ended", {"parent": "p", "outcome": "cancelled"})
        recorded = self.engine.history("pending")[-1]
        assert (recorded.actor, recorded.cause) == ("system:maintenance", "task/p@3")
        assert self.get("pending").reason == "its parent 'p' has ended its work as cancelled"
        assert self.engine.recover() == []
        held.release()
        assert self.states("running") == ["cancelled"]
        assert self.get("running").reason == "its parent 'p' has ended its work as cancelled"
        self.sound()

    def test_children_of_a_parent_that_fails_are_cancelled(self) -> None:
        """[CANCEL-4] By its holder, by a spent budget, and by an expired lease."""
        for how in ("fail", "retry", "expire"):
            self.create(how, retry=Retry(attempts_max=1, expiries_max=1))
            lease = self.acquire(how, waive_compensation="it has no effects")
            self.spawn(how, f"{how}/c")
            if how == "fail":
                lease.fail("no way on")
            elif how == "retry":
                lease.retry("odd")
            else:
                self.clock.advance(TTL_MS)
                self.engine.recover()
            assert self.states(how, f"{how}/c") == ["failed", "cancelled"], how
        self.sound()

    def test_children_of_a_parent_that_completes_or_is_quarantined_are_left(self) -> None:
        """[CANCEL-4] A successor may go on from what is quarantined."""
        for how in ("complete", "quarantine"):
            self.parent(how)
            self.spawn(how, f"{how}/c")
        self.engine.reattach("complete", 1).complete()
        self.engine.quarantine("quarantine", "odd")
        self.engine.rebuild()
        self.engine.recover()
        assert self.states("complete/c", "quarantine/c") == ["pending", "pending"]
        self.sound()

    def test_a_parent_that_undoes_has_ended_its_work(self) -> None:
        """[CANCEL-4] Its children are cancelled before its undos begin."""
        self.create("p")
        lease = self.acquire("p", waive_compensation="it has no effects")
        self.spawn("p", "c")
        lease.register(Compensation("remove", id="r"))
        lease.fail("no way on")
        assert self.states("p", "c") == ["compensating", "cancelled"]
        self.sound()

    def test_a_child_that_is_spawned_with_its_parent_s_end_is_cancelled_too(self) -> None:
        """[CANCEL-4] In one commit."""
        self.create("p")
        lease = self.acquire("p", waive_compensation="it has no effects")
        with self.engine.batch() as batch:
            command = forms.create("build", id="c", parent="p", on_parent_end="cancel")
            batch._append(CommandEntry(command, "worker:ann"))
            batch.fail(lease, "no way on")
        assert self.states("p", "c") == ["failed", "cancelled"]
        self.sound()

    def test_children_of_children_are_cancelled_too(self) -> None:
        """[CANCEL-4] If they have begun to work themselves."""
        self.parent()
        self.spawn("p", "c")
        self.acquire("c").park("w", signal="never")
        self.spawn("c", "d")
        self.engine.cancel("p", now=True)
        assert self.states("p", "c", "d") == ["cancelled", "cancelled", "cancelled"]
        self.sound()

    def test_the_commit_of_an_end_cancels_so_many_and_maintenance_the_rest(self) -> None:
        """[CANCEL-4] Whichever claim comes first does a share."""
        names = [f"c{number:03}" for number in range(2 * DEPENDANTS_LIMIT + 5)]
        self.parent()
        self.spawn("p", *names)
        self.engine.cancel("p", now=True)
        assert self.count("cancelled") == DEPENDANTS_LIMIT
        assert self.claimable_in_ms("elsewhere") == 0
        self.sound()
        assert self.claim("elsewhere") == []
        assert self.count("cancelled") == 2 * DEPENDANTS_LIMIT
        assert [one.task for one in self.engine.recover(limit=2)] == names[2 * DEPENDANTS_LIMIT :][:2]
        assert [one.task for one in self.engine.recover()] == names[2 * DEPENDANTS_LIMIT + 2 :]
        assert (self.claimable_in_ms("elsewhere"), self.engine.recover()) == (None, [])
        self.sound()

    def count(self, state: str) -> int:
        """Count the children in a state."""
        return self.engine.counts("children").get("children", {}).get(state, 0)

    def test_what_is_left_of_children_is_known_after_a_rebuild(self) -> None:
        """[CANCEL-4]"""
        names = [f"c{number:03}" for number in range(DEPENDANTS_LIMIT + 5)]
        self.parent()
        self.spawn("p", *names)
        self.engine.cancel("p", now=True)
        self.engine.rebuild()
        self.sound()
        assert [one.task for one in self.engine.recover()] == names[DEPENDANTS_LIMIT:]
        with self.store.read() as snapshot:
            assert snapshot.children_due() == frozenset()
        self.sound()

    def test_an_adopted_child_belongs_to_the_successor(self) -> None:
        """[CANCEL-4] [STEP-2]"""
        self.parent()
        self.spawn("p", "mine", "its own")
        self.engine.quarantine("p", "odd")
        heir = self.engine.retry_as_new("p").id
        lease = self.acquire(heir, waive_compensation="it has no effects")
        lease.adopt_child("one", "mine")
        lease.fail("no way on")
        assert self.states("mine", "its own") == ["cancelled", "pending"]
        self.sound()

    def test_a_child_retried_as_new_is_its_parents_while_that_works(self) -> None:
        """[CANCEL-4] [TERM-2] One that is retried after its parent's end was meant."""
        self.parent()
        self.spawn("p", "early", "late")
        for child in ("early", "late"):
            self.acquire(child, waive_compensation="it has no effects").fail("no way on")
        early = self.engine.retry_as_new("early").id
        self.engine.cancel("p", now=True)
        late = self.engine.retry_as_new("late").id
        self.engine.rebuild()
        self.engine.recover()
        assert self.states(early, late) == ["cancelled", "pending"]
        self.sound()

    def test_a_claim_in_the_commit_of_an_end_leases_no_child_of_it(self) -> None:
        """[CANCEL-4] [UPKEEP-2]"""
        self.create("p")
        lease = self.acquire("p", waive_compensation="it has no effects")
        self.spawn("p", "c", queue="default")
        self.create("free")
        with self.engine.batch() as batch:
            batch.fail(lease, "no way on")
            batch.claim("default", owner="bob", ttl_ms=TTL_MS, limit=3)
        claimed = batch.results[-1]
        assert isinstance(claimed, list)
        assert ids(claimed) == ["free"]
        assert isinstance(self.get("c"), Task)
        assert self.states("c") == ["cancelled"]
        self.sound()
