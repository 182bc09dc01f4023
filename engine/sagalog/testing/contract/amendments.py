"""The contract of amendments: a task is found where it was amended to, in that very commit. [AMEND-1]

Rule: what a store searches follows from the fold, so an amendment moves a task as its creation would have placed it.
Knows no store.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from sagalog.engine import operations
from sagalog.engine.entries import CommandEntry
from sagalog.errors import Blocked, Conflict, LeaseHeld, TerminalTask, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel.values import Compensation, Retry
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract, ids

REMOVE: Final = Compensation("remove", id="remove")


class AmendContract(Contract):
    """The tests of `amend`."""

    def test_a_task_is_claimed_where_it_was_amended_to(self) -> None:
        """[AMEND-1] By queue, priority and affinity, at once."""
        self.create("a", "b", "c", affinity="red")
        self.engine.amend("b", queue="left")
        self.engine.amend("c", priority=-1)
        assert ids(self.claim("left", limit=9)) == ["b"]
        assert ids(self.claim(limit=1)) == ["c"]
        self.create("d")
        self.engine.amend("d", affinity="blue")
        self.engine.amend("a", affinity=None)
        assert ids(self.claim(limit=1, affinity="red")) == ["a"]
        assert ids(self.claim(limit=1, affinity="blue")) == ["d"]
        assert self.engine.counts() == {"default": {"running": 3}, "left": {"running": 1}}
        self.sound()

    def test_a_task_becomes_due_or_waits_again_by_its_new_time(self) -> None:
        """[AMEND-1] The gate is judged anew in the same commit, and a claim that waits counts the new time."""
        self.create("later", run_at_ms=START_MS + 500)
        self.create("ready")
        self.engine.amend("later", run_at_ms=None)
        self.engine.amend("ready", run_at_ms=START_MS + 40)
        assert ids(self.claim(limit=9)) == ["later"]
        self.clock.advance(40)
        assert ids(self.claim(limit=9)) == ["ready"]
        self.create("again", run_at_ms=START_MS + 900)
        assert self.claim() == []
        self.engine.amend("again", run_at_ms=START_MS + 60)
        self.clock.advance(20)
        assert ids(self.claim()) == ["again"]
        self.sound()

    def test_what_is_so_already_writes_nothing_and_gives_the_task(self) -> None:
        """[AMEND-1] A payload is compared as JSON."""
        self.create("a", payload={"n": 1, "all": [1, 2.0]}, deadline_ms=START_MS + 500)
        same: dict[str, Any] = {"payload": {"all": [1, 2.0], "n": 1}, "priority": 0, "deadline_ms": START_MS + 500}
        assert self.writes_nothing(self.engine.amend, "a", **same) == self.get("a")
        held = self.acquire("a")
        assert self.writes_nothing(self.engine.amend, "a", queue="default", **same) == self.get("a")
        assert held.complete("done").payload == {"n": 1, "all": [1, 2.0]}

    def test_an_amendment_is_on_record_as_what_it_changes(self) -> None:
        """[AMEND-1] [RECORD-4]"""
        self.create("a", payload=[1], key="k", start_by_ms=START_MS + 10)
        amended = self.engine.amend("a", priority=5, key=None, payload=None, start_by_ms=None, actor="ann")
        assert (amended.priority, amended.key, amended.payload, amended.start_by_ms) == (5, None, None, None)
        event = self.log()[-1]
        assert (event.type, event.actor) == ("amended", "user:ann")
        assert event.body == '{"priority":5,"removes":["key","payload","start_by_ms"]}'

    def test_readers_workers_and_successors_get_the_newest_payload(self) -> None:
        """[AMEND-3] [REPEAT-2] A repeat of the creation is compared with what that gave."""
        self.create("a", payload={"n": 1})
        self.engine.amend("a", payload={"n": 2}, retry=Retry(attempts_max=1))
        amended = self.engine.amend("a", payload={"n": 3})
        assert amended.payload == self.get("a").payload == {"n": 3}
        assert self.writes_nothing(self.engine.create, "build", {"n": 1}, id="a") == amended
        self.engine.rebuild()
        assert self.get("a") == amended
        [lease] = self.claim()
        assert (lease.task.payload, lease.task.policy.attempts_max) == ({"n": 3}, 1)
        assert lease.retry("it broke").state == "quarantined"
        heir = self.engine.retry_as_new("a")
        assert (heir.payload, heir.policy.attempts_max) == ({"n": 3}, 1)
        self.sound()

    def test_a_policy_that_is_amended_under_a_lease_counts_from_then_on(self) -> None:
        """[AMEND-3] [AMEND-2]"""
        self.create("a", retry=Retry(attempts_max=1), waive_compensation="it has no effects")
        lease = self.acquire("a")
        self.engine.amend("a", retry=Retry(attempts_max=2, delay_min_ms=0, delay_max_ms=0))
        assert lease.retry("it broke").policy.attempts_max == 2
        self.engine.rebuild()
        [again] = self.claim()
        assert again.retry("it broke").code == "attempts_spent"
        self.sound()

    def test_what_cannot_change_is_refused_and_changes_nothing(self) -> None:
        """[AMEND-2] [LEASE-1]"""
        self.create("held", "parked", "undoing", "ended", compensations=[REMOVE])
        lease = self.acquire("held")
        self.park("parked", signal="go")
        self.acquire("undoing").fail("no way on")
        self.engine.cancel("ended")
        refused = self.refused(LeaseHeld, self.engine.amend, "held", priority=1, deadline_ms=START_MS + 9)
        assert (refused.fields["owner"], refused.fields["fence"]) == ("ann", lease.fence)
        self.refused(LeaseHeld, self.engine.amend, "held", payload=1)
        self.refused(Blocked, self.engine.amend, "parked", run_at_ms=None, priority=1)
        self.refused(WrongState, self.engine.amend, "parked", payload=1)
        self.refused(WrongState, self.engine.amend, "undoing", run_at_ms=START_MS + 9)
        self.refused(TerminalTask, self.engine.amend, "ended", priority=1)

    def test_a_parked_task_and_an_undo_move_to_another_queue(self) -> None:
        """[AMEND-2] Only a worker's lease holds a task where it is."""
        self.create("parked", "undoing", compensations=[REMOVE])
        self.park("parked", signal="go")
        self.acquire("undoing").fail("no way on")
        for id in ("parked", "undoing"):
            self.engine.amend(id, queue="left", priority=-1)
        self.engine.signal("parked", "go")
        assert ids(self.claim("left")) == ["parked"]
        assert self.claim(purpose="undo") == []
        assert ids(self.claim("left", purpose="undo")) == ["undoing"]
        self.sound()

    def test_a_repeat_under_a_key_is_the_same_amendment(self) -> None:
        """[AMEND-3] [REPEAT-4] [REPEAT-6]"""
        self.create("a", payload=[1], affinity="red")
        given: dict[str, Any] = {"priority": 5, "queue": "default", "payload": [1], "affinity": None}
        amended = self.engine.amend("a", idempotency_key="k", **given)
        assert self.writes_nothing(self.engine.amend, "a", idempotency_key="k", **given) == amended
        for other in ({"priority": 6}, {"queue": "left"}, {"payload": [2]}, {"affinity": "red"}, {"key": "k"}):
            self.refused(Conflict, self.engine.amend, "a", idempotency_key="k", **{**given, **other})
        fewer = {name: value for name, value in given.items() if name != "affinity"}
        self.refused(Conflict, self.engine.amend, "a", idempotency_key="k", **fewer)
        self.refused(Conflict, self.engine.note, "a", "seen", idempotency_key="k")
        self.engine.amend("a", priority=7)
        again = self.writes_nothing(self.engine.amend, "a", idempotency_key="k", **given)
        assert again.priority == 7
        changed = self.engine.amend("a", payload=[2], run_at_ms=None, idempotency_key="l")
        assert self.writes_nothing(self.engine.amend, "a", payload=[2], run_at_ms=None, idempotency_key="l") == changed

    def test_a_batch_amends_all_or_each_by_itself(self) -> None:
        self.create("a", "b")
        self.acquire("b")
        with self.engine.batch(together=False) as batch:
            batch.amend("a", priority=5, payload=[1])
            batch.amend("b", priority=5)
        assert batch.results[0] == self.get("a")
        assert isinstance(batch.results[1], LeaseHeld)
        try:
            with self.engine.batch() as batch:
                batch.amend("a", priority=6)
                batch.amend("b", priority=6)
        except LeaseHeld as refused:
            assert refused.fields["command"] == 1
        assert (self.get("a").priority, self.get("a").payload) == (5, [1])

    def test_two_amendments_at_once_both_count(self) -> None:
        """[AMEND-2] [LOG-2] The second sees what the first has left; a version that has moved on is decided again."""
        self.create("a")
        amends = [c.Amend(task="a", priority=1), c.Amend(task="a", priority=1, queue="left")]
        made = [operations.writing((CommandEntry(one, "user:ann"),)) for one in amends]
        assert all(isinstance(answer, list) for answer in self.store.commit(made))
        assert (self.get("a").priority, self.get("a").queue, self.get("a").version) == (1, "left", 3)
        assert self.log()[-1].body == '{"queue":"left"}'

    def test_of_an_amendment_and_a_claim_the_later_one_sees_the_first(self) -> None:
        """[AMEND-2] [LEASE-1] The worker has what the lease says, or the amendment is refused."""
        for place in ("claim first", "amend first"):
            self.create(place, payload=[1], queue=place)
            claim = partial(self.claim, place)
            amend = partial(self.engine.amend, place, payload=[2])
            if place == "claim first":
                [lease] = claim()
                self.refused(LeaseHeld, amend)
                assert lease.task.payload == [1]
            else:
                amend()
                [lease] = claim()
                assert lease.task.payload == [2]
            assert lease.complete().payload == lease.task.payload
        self.sound()

    def test_an_amended_deadline_is_found_at_its_new_time(self) -> None:
        """[DEADLINE-2] Of a running task too."""
        self.create("a", "b", deadline_ms=START_MS + 10)
        self.create("c")
        self.acquire("c", ttl_ms=None)
        self.engine.amend("a", deadline_ms=None)
        self.engine.amend("b", deadline_ms=START_MS + 30)
        self.engine.amend("c", deadline_ms=START_MS + 20)
        self.clock.advance(10)
        assert self.writes_nothing(self.engine.recover) == []
        self.clock.advance(10)
        assert [(one.task, one.events) for one in self.engine.recover()] == [("c", ("cancel_requested",))]
        self.clock.advance(TTL_MS)
        assert ids(self.claim(limit=9)) == ["a"]
        assert self.get("b").code == "deadline"
        self.sound()
