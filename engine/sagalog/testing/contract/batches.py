"""The contract of batches: the engine carries out their commands in one commit, all or none or each by itself.

Rule: the refusal of a command that belongs together with others leaves no trace; of any other it is one answer of many.
"""

from __future__ import annotations

from contextlib import suppress

from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.errors import AlreadyExists, LeaseHeld, LeaseLost, NotFound, Rejected
from sagalog.kernel.values import Compensation
from sagalog.testing.contract.base import TTL_MS, Contract, ids


class BatchContract(Contract):
    """The tests of `batch` and `create_many`."""

    def test_a_batch_is_carried_out_when_its_block_ends(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        with self.engine.batch() as batch:
            batch.complete(lease, {"n": 1})
            batch.create("build", id="b")
            batch.note("b", "made by a batch")
            before = self.log()
            assert len(batch) == 3
        assert [one.name for one in self.log()[len(before) :]] == ["task/a@3", "task/b@1", "task/b@2"]
        assert [result.version for result in batch.results if isinstance(result, Task)] == [3, 1, 2]
        self.sound()

    def test_commands_of_a_batch_build_on_one_another(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        with self.engine.batch() as batch:
            batch.register(lease, Compensation("remove", id="one"))
            batch.register(lease, Compensation("remove", id="two"))
            batch.heartbeat(lease, progress="half")
            batch.fail(lease, "no way on")
            batch.waive("a", "one", "gone")
        kept, failed = batch.results[1], batch.results[3]
        assert isinstance(kept, Lease)
        assert [one.id for one in kept.task.compensations] == ["one", "two"]
        assert isinstance(failed, Task)
        assert failed.state == "compensating"
        assert [one.status for one in self.get("a").compensations] == ["waived", "owed"]
        self.sound()

    def test_the_first_refusal_undoes_the_batch_and_names_its_command(self) -> None:
        self.create("a")
        lease = self.acquire("a")

        def run() -> None:
            with self.engine.batch() as batch:
                batch.create("build", id="b")
                batch.complete(lease)
                batch.cancel("nobody")
                batch.create("build", id="c")

        refusal = self.refused(NotFound, run)
        assert (refusal.command, refusal.task) == (2, "nobody")
        assert self.get("a").state == "running"
        assert self.engine.get("b") is None
        self.sound()

    def test_a_batch_of_one_command_names_it_too(self) -> None:
        def run() -> None:
            with self.engine.batch() as batch:
                batch.cancel("nobody")

        self.create("a")
        assert self.refused(NotFound, run).command == 0

    def test_a_late_holder_fails_no_other_command(self) -> None:
        self.create("a", "b")
        late, other = self.acquire("a"), self.acquire("b")
        self.engine.cancel("a", "called off", now=True)

        def run() -> None:
            with self.engine.batch() as batch:
                batch.complete(other)
                batch.complete(late)

        assert self.refused(LeaseLost, run).command == 1
        assert self.get("b").state == "running"

    def test_a_block_that_raises_writes_nothing(self) -> None:
        self.create("a")
        before, batch = self.log(), self.engine.batch()
        with suppress(KeyError), batch:
            batch.cancel("a")
            raise KeyError("the caller's own")
        assert self.log() == before
        assert batch.results == []

    def test_many_are_created_at_once_or_none(self) -> None:
        tasks = self.engine.create_many([{"kind": "build", "id": "a"}, {"kind": "test", "payload": 1, "id": "b"}])
        assert [(task.id, task.kind) for task in tasks] == [("a", "build"), ("b", "test")]
        specs = [{"kind": "build", "id": "c"}, {"kind": "build", "id": "a", "payload": "other"}]
        refusal = self.refused(AlreadyExists, self.engine.create_many, specs)
        assert (refusal.command, refusal.task) == (1, "a")
        assert self.engine.get("c") is None

    def test_a_repeated_batch_writes_nothing(self) -> None:
        specs = [{"kind": "build", "id": id, "payload": id} for id in ("a", "b")]
        tasks = self.engine.create_many(specs)
        assert self.writes_nothing(self.engine.create_many, specs) == tasks

    def test_an_idempotency_key_given_twice_in_a_batch_is_carried_out_once(self) -> None:
        self.create("a", "b")
        with self.engine.batch() as batch:
            batch.note("a", "seen", idempotency_key="r")
            batch.note("a", "seen", idempotency_key="r")
        assert self.types("a") == ["created", "noted"]

    def test_an_empty_batch_is_none(self) -> None:
        self.create("a")
        before = self.log()
        with self.engine.batch() as batch:
            pass
        assert (self.log(), batch.results) == (before, [])
        assert self.writes_nothing(self.engine.create_many, []) == []

    def test_thousands_go_in_one_batch(self) -> None:
        tasks = self.engine.create_many({"kind": "build", "queue": "many"} for _ in range(2_000))
        assert len({task.id for task in tasks}) == 2_000
        assert self.engine.counts("many") == {"many": {"pending": 2_000}}

    def test_each_command_of_a_batch_not_together_succeeds_or_fails_alone(self) -> None:
        self.create("a", "b")
        lost = self.acquire("a")
        self.engine.quarantine("a", "odd")
        held = self.acquire("b")
        with self.engine.batch(together=False) as batch:
            batch.complete(lost)
            batch.complete(held, "done")
            batch.waive("b", "nothing of the kind", "gone")
            batch.create("build", id="c")
        refused, done, not_found, created = batch.results
        assert type(refused) is LeaseLost
        assert isinstance(done, Task)
        assert (done.state, done.result) == ("completed", "done")
        assert type(not_found) is NotFound
        assert created == self.get("c")
        self.sound()

    def test_a_batch_that_is_not_together_may_settle_and_claim_in_one_commit(self) -> None:
        self.create("a", "b", "c")
        [lease] = self.claim()
        changes = self.store.changes()
        with self.engine.batch(together=False) as batch:
            batch.complete(lease)
            batch.create("build", id="d", priority=-1)
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=2)
            batch.claim("default", owner="bob", ttl_ms=TTL_MS)
            batch.claim("empty", owner="bob", ttl_ms=TTL_MS)
        done, _, first, second, none = batch.results
        assert isinstance(done, Task)
        assert done.state == "completed"
        assert isinstance(first, list)
        assert isinstance(second, list)
        # A later command of the batch finds what an earlier one has made ready.
        assert (ids(first), ids(second), none) == (["d", "b"], ["c"], [])
        assert first[0].heartbeat().owner == "ann"
        assert self.store.changes() != changes

    def test_a_claim_of_a_batch_is_repeated_by_its_idempotency_key(self) -> None:
        self.create("a", "b")

        def ask() -> object:
            with self.engine.batch(together=False) as batch:
                batch.claim("default", owner="ann", ttl_ms=TTL_MS, idempotency_key="r")
            return batch.results

        answer = ask()
        assert self.writes_nothing(ask) == answer

    def test_a_batch_may_acquire_and_is_repeated_by_its_idempotency_keys(self) -> None:
        """[UPKEEP-2] [REPEAT-4]"""
        self.create("a", "b", "c")
        self.acquire("a")
        self.clock.advance(TTL_MS)
        for together in (True, False):
            free = "a" if together else "b"
            with self.engine.batch(together=together) as batch:
                batch.note("c", "seen", idempotency_key=f"n-{free}")
                batch.acquire(free, owner="bob", ttl_ms=TTL_MS, idempotency_key=f"r-{free}")
            lease = batch.results[1]
            assert isinstance(lease, Lease)
            assert (lease.task.id, lease.owner) == (free, "bob")
            before = len(self.log())
            with self.engine.batch(together=together) as again:
                again.note("c", "seen", idempotency_key=f"n-{free}")
                again.acquire(free, owner="bob", ttl_ms=TTL_MS, idempotency_key=f"r-{free}")
            assert again.results[1] == lease
            assert len(self.log()) == before
        assert [one.type for one in self.engine.history("a")][2:] == ["lease_expired", "leased"]
        self.sound()

    def test_an_acquisition_in_a_batch_is_refused_like_any_command(self) -> None:
        """[UPKEEP-2]"""
        self.create("a", "b")
        self.acquire("a")
        with self.engine.batch(together=False) as batch:
            batch.acquire("a", owner="bob", ttl_ms=TTL_MS)
            with batch.group():
                batch.note("b", "seen")
                batch.acquire("b", owner="bob", ttl_ms=TTL_MS)
            batch.note("a", "seen")
        refusal, grouped, noted = batch.results
        assert isinstance(refusal, LeaseHeld)
        assert isinstance(grouped, tuple)
        assert isinstance(grouped[1], Lease)
        assert isinstance(noted, Task)
        self.sound()

    def test_a_batch_that_is_carried_out_together_may_end_with_a_claim(self) -> None:
        self.create("a", "b", "c")
        [lease] = self.claim()
        with self.engine.batch() as batch:
            batch.complete(lease)
            batch.cancel("b")
            batch.claim("default", owner="ann", ttl_ms=TTL_MS, limit=2)
        done, cancelled, leases = batch.results
        assert isinstance(done, Task)
        assert isinstance(cancelled, Task)
        assert isinstance(leases, list)
        # It claims what was ready before, and no task that the batch itself has written.
        assert (done.state, cancelled.state, ids(leases)) == ("completed", "cancelled", ["c"])
        assert leases[0].heartbeat().owner == "ann"
        self.sound()

    def test_where_a_command_is_refused_the_claim_behind_it_leases_nothing(self) -> None:
        self.create("a", "b")
        [lease] = self.claim()
        self.engine.quarantine("a", "odd")
        batch = self.engine.batch()

        def settle_and_claim() -> None:
            with batch:
                batch.complete(lease)
                batch.claim("default", owner="ann", ttl_ms=TTL_MS)

        assert self.refused(LeaseLost, settle_and_claim).fields["command"] == 0
        assert self.types("b") == ["created"]

    def test_nothing_follows_the_claim_of_a_batch_that_is_carried_out_together(self) -> None:
        self.create("a")
        batch = self.engine.batch()

        def claim_and_cancel() -> None:
            with batch:
                batch.claim("default", owner="ann", ttl_ms=TTL_MS)
                batch.cancel("a")

        assert "comes last" in self.refused(Rejected, claim_and_cancel).message
