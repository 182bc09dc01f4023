"""The contract of repeats: the same identity writes nothing again, and is refused with other content. [REPEAT-1]

Rule: a repeat answers with the task as it is now.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sagalog.engine import verbs
from sagalog.engine.lease import Lease
from sagalog.engine.local_executor import LocalExecutor
from sagalog.engine.task import Task
from sagalog.errors import AlreadyExists, Conflict, LeaseHeld, LeaseLost
from sagalog.kernel.values import Compensation
from sagalog.testing.contract.base import TTL_MS, Contract, ids
from sagalog.testing.entropy import SeededEntropy

REMOVE = Compensation("remove", {"n": 1}, "left over", "remove")


class IdempotencyContract(Contract):
    """The tests of natural identities and idempotency keys."""

    def executor(self) -> LocalExecutor:
        """Make an executor on the store, as an engine has one, to which a test sends entries itself."""
        return LocalExecutor(self.store, self.clock, SeededEntropy(2))

    def ready_lease(self, id: str) -> Lease:
        """Lease a new task that may fail."""
        self.create(id, compensations=[REMOVE])
        return self.acquire(id)

    def test_a_creation_is_repeated_by_its_id(self) -> None:
        task = self.engine.create("build", {"n": 1}, id="a")
        assert self.writes_nothing(self.engine.create, "build", {"n": 1}, id="a") == task
        refusal = self.refused(AlreadyExists, self.engine.create, "build", {"n": 2}, id="a")
        assert (refusal.task, refusal.differs) == ("a", ["payload"])
        self.refused(AlreadyExists, self.engine.create, "test", {"n": 1}, id="a")

    def test_a_creation_is_compared_in_what_was_given_only(self) -> None:
        self.engine.create("build", id="a", queue="agents", priority=3, tags={"x": "1"})
        self.writes_nothing(self.engine.create, "build", id="a")
        self.writes_nothing(self.engine.create, "build", id="a", priority=3)
        self.refused(AlreadyExists, self.engine.create, "build", id="a", priority=4)
        self.refused(AlreadyExists, self.engine.create, "build", id="a", tags={"x": "2"})

    def test_a_creation_is_repeated_whatever_has_become_of_the_task(self) -> None:
        self.create("a")
        self.acquire("a").complete({"done": True})
        again = self.writes_nothing(self.engine.create, "build", id="a")
        assert (again.state, again.result) == ("completed", {"done": True})

    def test_a_creation_without_an_id_is_repeated_by_its_idempotency_key(self) -> None:
        task = self.engine.create("build", {"n": 1}, idempotency_key="r")
        assert self.writes_nothing(self.engine.create, "build", {"n": 1}, idempotency_key="r") == task
        refusal = self.refused(Conflict, self.engine.create, "build", {"n": 2}, idempotency_key="r")
        assert (refusal.idempotency_key, refusal.task, refusal.differs) == ("r", task.id, ["payload"])

    def test_an_idempotency_key_with_other_content_is_a_conflict(self) -> None:
        """[REPEAT-6] The id that the caller gives does not matter. The key goes before the id."""
        self.engine.create("build", {"n": 1}, id="a", idempotency_key="r")
        self.create("b")
        for id in ("a", "b", "c"):
            refusal = self.refused(Conflict, self.engine.create, "build", {"n": 2}, id=id, idempotency_key="r")
            assert (refusal.idempotency_key, refusal.task) == ("r", "a")
        self.refused(AlreadyExists, self.engine.create, "build", {"n": 2}, id="a", idempotency_key="s")

    def test_an_entry_that_is_sent_twice_is_carried_out_once(self) -> None:
        """Its id was drawn by its sender, so only a look shows that the task exists by now."""
        executor = self.executor()
        for key in (None, "r"):
            entry = verbs.create(executor, "build", {"n": 1}, idempotency_key=key)
            created = executor.carry_out(entry)
            assert self.writes_nothing(executor.carry_out, entry) == created
            self.acquire(created.id).complete()
            ended = self.get(created.id)
            assert self.writes_nothing(executor.carry_out, entry) == ended
            assert self.writes_nothing(executor.carry_out_all, [entry, entry], together=True) == [ended, ended]
            assert self.writes_nothing(executor.carry_out_all, [entry, entry], together=False) == [ended, ended]
        self.sound()

    def test_entries_beside_one_that_is_sent_twice_are_carried_out(self) -> None:
        executor = self.executor()
        sent, new, last = (verbs.create(executor, "build", {"n": n}) for n in range(3))
        id = executor.carry_out(sent).id
        self.acquire(id).complete()
        answers = executor.carry_out_all([new, sent, last], together=False)
        assert [one.state for one in answers if isinstance(one, Task)] == ["pending", "completed", "pending"]
        self.sound()

    def test_an_entry_sent_twice_is_found_beside_one_that_is_refused(self) -> None:
        """Both name a drawn id that exists; the first is refused by its key, whatever its stream holds."""
        executor = self.executor()
        self.create("other", idempotency_key="taken")
        sent = verbs.create(executor, "build", {"n": 1})
        task = executor.carry_out(sent)
        refused = msgspec.structs.replace(sent, idempotency_key="taken")
        refusal, answer = self.writes_nothing(executor.carry_out_all, [refused, sent], together=False)
        assert isinstance(refusal, Conflict)
        assert answer == task
        self.acquire(task.id).complete()
        _, answer = self.writes_nothing(executor.carry_out_all, [refused, sent], together=False)
        assert answer == self.get(task.id)
        self.sound()

    def test_a_batch_whose_drawn_id_was_used_meanwhile_repeats_that_creation(self) -> None:
        with self.engine.batch() as batch:
            id = batch.create("build", {"n": 1})
            self.engine.create("build", {"n": 1}, id=id)
            self.acquire(id).complete()
        assert batch.results == [self.get(id)]
        self.sound()

    def test_each_way_to_end_a_lease_may_be_repeated_but_not_changed(self) -> None:
        at_ms = self.clock.now_ms() + 5
        leases = {name: self.ready_lease(name) for name in ("release", "retry", "complete", "fail")}
        endings: dict[str, tuple[Callable[..., object], tuple[object, ...], tuple[object, ...]]] = {
            "release": (leases["release"].release, ("why", at_ms), ("why else", at_ms)),
            "retry": (leases["retry"].retry, ("it broke", at_ms), ("it broke", at_ms + 1)),
            "complete": (leases["complete"].complete, ({"n": 1},), ({"n": 2},)),
            "fail": (leases["fail"].fail, ("no way on",), ("another way",)),
        }
        for name, (verb, given, other) in endings.items():
            answer = verb(*given)
            assert self.writes_nothing(verb, *given) == answer, name
            self.refused(Conflict, verb, *other)

    def test_another_verb_is_no_repeat(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        lease.release()
        self.refused(LeaseLost, lease.complete)
        self.refused(LeaseLost, lease.retry, "it broke")

    def test_an_ending_is_no_repeat_any_more_once_a_newer_lease_has_ended(self) -> None:
        self.create("a")
        first = self.acquire("a")
        first.release("why")
        self.writes_nothing(first.release, "why")
        second = self.acquire("a")
        assert self.writes_nothing(first.release, "why").lease == second.record
        second.release("why")
        self.refused(LeaseLost, first.release, "why")

    def test_a_registration_is_repeated_by_its_id_and_compared(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        lease.register(REMOVE)
        self.writes_nothing(lease.register, REMOVE)
        self.refused(Conflict, lease.register, Compensation("remove", {"n": 2}, id="remove"))
        self.refused(Conflict, lease.fail, "x", [Compensation("close", {"n": 1}, id="remove")])

    def test_an_undo_without_an_id_is_the_same_for_a_later_attempt(self) -> None:
        self.create("a")
        plain = Compensation("remove", {"n": 1})
        self.acquire("a").register(plain).release()
        lease = self.acquire("a")
        assert len(self.writes_nothing(lease.register, plain).task.compensations) == 1
        assert len(lease.register(Compensation("remove", {"n": 2})).task.compensations) == 2

    def test_an_undo_that_is_done_may_be_said_again_under_its_lease_only(self) -> None:
        self.create("a", compensations=[REMOVE, Compensation("close", id="close")])
        self.acquire("a").fail("no way on")
        undo = self.acquire("a", purpose="undo")
        undo.compensation_done("close")
        self.writes_nothing(undo.compensation_done, "close")
        undo.compensation_done("remove")
        assert self.writes_nothing(undo.compensation_done, "remove").state == "compensated"
        self.refused(LeaseLost, undo.compensation_failed, "remove", "it broke")

    def test_an_idempotency_key_identifies_what_people_ask(self) -> None:
        self.create("a", "b", compensations=[REMOVE])
        asked: list[tuple[Callable[..., object], tuple[object, ...], tuple[object, ...]]] = [
            (self.engine.note, ("a", "seen"), ("a", "seen twice")),
            (self.engine.waive, ("a", "remove", "gone"), ("a", "remove", "never was")),
            (self.engine.cancel, ("a", "called off"), ("a", "for another reason")),
            (self.engine.quarantine, ("b", "odd"), ("b", "odder")),
        ]
        for number, (call, given, other) in enumerate(asked):
            answer = call(*given, idempotency_key=f"r{number}")
            assert self.writes_nothing(call, *given, idempotency_key=f"r{number}") == answer
            self.refused(Conflict, call, *other, idempotency_key=f"r{number}")

    def test_an_idempotency_key_is_of_one_command_on_one_task(self) -> None:
        self.create("a", "b")
        self.engine.note("a", "seen", idempotency_key="r")
        self.refused(Conflict, self.engine.note, "b", "seen", idempotency_key="r")
        self.refused(Conflict, self.engine.cancel, "a", "seen", idempotency_key="r")
        self.refused(Conflict, self.engine.create, "build", idempotency_key="r")
        self.refused(Conflict, self.claim, idempotency_key="r")

    def test_a_refused_command_uses_no_idempotency_key_up(self) -> None:
        self.create("a")
        try:
            self.engine.waive("a", "nothing of the kind", "gone", idempotency_key="r")
        except Exception as refusal:  # noqa: BLE001  another test checks its class
            assert "compensation" in str(refusal)
        assert self.engine.note("a", "seen", idempotency_key="r").version == 2

    def test_a_repeated_acquisition_gives_its_lease_while_that_lives(self) -> None:
        """[REPEAT-4]"""
        self.create("a", "b", compensations=[REMOVE])
        lease = self.acquire("a", idempotency_key="r")
        assert self.writes_nothing(self.acquire, "a", idempotency_key="r") == lease
        renewed = lease.heartbeat(2 * TTL_MS, {"half": True})
        assert self.writes_nothing(self.acquire, "a", idempotency_key="r") == renewed
        for other in ({"owner": "bob"}, {"ttl_ms": TTL_MS + 1}, {"purpose": "undo"}, {"kinds": ["test"]}):
            self.refused(Conflict, self.acquire, "a", idempotency_key="r", **other)
        self.refused(Conflict, self.acquire, "b", idempotency_key="r")
        self.writes_nothing(self.acquire, "a", idempotency_key="r", kinds=["build", "test"])
        lease.fail("no way on")
        refusal = self.refused(LeaseLost, self.acquire, "a", idempotency_key="r")
        assert (refusal.task, refusal.fence, refusal.current) == ("a", lease.fence, lease.fence)
        undo = self.acquire("a", purpose="undo", idempotency_key="u")
        assert self.writes_nothing(self.acquire, "a", purpose="undo", idempotency_key="u", kinds=["remove"]) == undo
        self.refused(Conflict, self.acquire, "a", purpose="undo", idempotency_key="u", kinds=["close"])

    def test_an_idempotency_key_of_a_claim_of_several_is_no_acquisitions(self) -> None:
        """[REPEAT-4]"""
        self.create("a", "b")
        self.claim(limit=2, idempotency_key="r")
        self.refused(Conflict, self.acquire, "a", idempotency_key="r")

    def test_an_acquisition_that_was_refused_uses_no_idempotency_key_up(self) -> None:
        """[REPEAT-4] [UPKEEP-2]"""
        self.create("a")
        first = self.acquire("a")
        self.refused(LeaseHeld, self.acquire, "a", owner="bob", idempotency_key="r")
        self.clock.advance(TTL_MS)
        lease = self.acquire("a", owner="bob", idempotency_key="r")
        assert lease.fence > first.fence
        self.clock.advance(TTL_MS)
        self.engine.recover()
        self.refused(LeaseLost, self.acquire, "a", owner="bob", idempotency_key="r")

    def test_a_repeated_claim_gives_those_of_its_leases_that_still_live(self) -> None:
        self.create("a", "b", "c", "d")
        leases = self.claim(limit=3, idempotency_key="r")
        assert self.writes_nothing(self.claim, limit=3, idempotency_key="r") == leases
        leases[0].complete()
        leases[1].release()
        assert ids(self.claim(limit=3, idempotency_key="r")) == ["c"]
        self.clock.advance(TTL_MS)
        assert ids(self.claim(owner="bob", limit=3)) == ["b", "c", "d"]
        assert self.writes_nothing(self.claim, limit=3, idempotency_key="r") == []
