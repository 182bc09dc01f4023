"""Batches: commands that are carried out together, all or none.

Rule: a refusal of one leaves no trace of the others.
"""

from __future__ import annotations

from contextlib import suppress

from sagalog.errors import AlreadyExists, LeaseLost, NotFound
from sagalog.kernel.values import Compensation
from sagalog.task import Lease, Task
from sagalog.testing.contract.base import Contract


class BatchContract(Contract):
    """`batch` and `create_many`."""

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

    def test_a_late_holder_takes_nobody_along(self) -> None:
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

    def test_a_request_that_stands_twice_in_a_batch_is_carried_out_once(self) -> None:
        self.create("a", "b")
        with self.engine.batch() as batch:
            batch.note("a", "seen", request="r")
            batch.note("a", "seen", request="r")
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
