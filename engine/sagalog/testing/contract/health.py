"""The contract of health: what an engine reports of its store without a look at every task.

Rule: it reports an undo that is due and that no worker has leased by queue and kind only.
"""

from __future__ import annotations

from sagalog.kernel.values import Compensation, Retry
from sagalog.store import UnclaimedUndo
from sagalog.testing.contract.base import TTL_MS, Contract

REMOVE = Compensation("remove", id="remove")
CLOSE = Compensation("close", id="close")


class HealthContract(Contract):
    """The tests of `health`."""

    def undos(self) -> list[tuple[str, str, int, int]]:
        """List the undos that are due: queue, kind, tasks, and for how long the first has been due."""
        health = self.engine.health()
        assert health.now_ms == self.clock.now_ms()
        return [(one.queue, one.kind, one.tasks, health.now_ms - one.since_ms) for one in health.undos]

    def test_a_sound_store_has_no_errors_and_no_undos(self) -> None:
        self.create("a", compensations=[REMOVE])
        self.acquire("a")
        health = self.engine.health()
        assert (health.ok, health.errors, health.undos) == (True, (), ())
        assert health.store_id == self.engine.store_id
        assert health.file is None or (health.file.links == 1 and health.file.free_bytes > 0)

    def test_unleased_undos_are_told_by_queue_and_kind(self) -> None:
        self.create("a", "b", compensations=[REMOVE])
        self.create("c", compensations=[CLOSE, REMOVE])
        self.create("d", queue="other", compensations=[CLOSE])
        for id in "abcd":
            self.acquire(id).fail("no way on")
            self.clock.advance(1)
        assert self.undos() == [("default", "close", 1, 2), ("default", "remove", 3, 4), ("other", "close", 1, 1)]
        assert self.engine.health().undos[0] == UnclaimedUndo("default", "close", 1, self.clock.now_ms() - 2)

    def test_an_undo_that_is_leased_later_or_done_is_not_told(self) -> None:
        self.create("a", "b", "c", compensations=[REMOVE], retry=Retry(delay_min_ms=TTL_MS, delay_max_ms=TTL_MS))
        for id in "abc":
            self.acquire(id).fail("no way on")
        lease = self.acquire("a", purpose="undo", ttl_ms=10 * TTL_MS)
        assert self.undos() == [("default", "remove", 2, 0)]
        self.acquire("b", purpose="undo").compensation_failed("remove", "not yet")
        assert self.undos() == [("default", "remove", 1, 0)]
        self.acquire("c", purpose="undo").compensation_done("remove")
        assert self.undos() == []
        # It is due, whether or not a claim has promoted it.
        self.clock.advance(TTL_MS)
        assert self.undos() == [("default", "remove", 1, 0)]
        lease.release()
        assert self.undos() == [("default", "remove", 2, 0)]

    def test_what_cannot_be_read_waits_for_no_worker(self) -> None:
        self.create("a", "b", compensations=[REMOVE])
        for id in "ab":
            self.acquire(id).fail("no way on")
        with self.store.read() as snapshot:
            [created, *_] = snapshot.history("task/a")
        self.change_event(created, None)
        self.engine.rebuild()
        assert self.undos() == [("default", "remove", 1, 0)]

    def test_recover_gives_up_what_has_waited_too_long_and_leaves_the_others(self) -> None:
        """[UNDO-2]"""
        self.create("a", compensations=[REMOVE], retry=Retry(undo_wait_ms=TTL_MS))
        self.create("b", queue="other", compensations=[REMOVE], retry=Retry(undo_wait_ms=TTL_MS))
        self.create("c", compensations=[REMOVE], retry=Retry(undo_wait_ms=10 * TTL_MS))
        self.create("d", compensations=[REMOVE], retry=Retry(undo_wait_ms=None))
        for id in "abcd":
            self.acquire(id).fail("no way on")
        assert self.engine.recover() == []
        self.clock.advance(TTL_MS - 1)
        assert self.engine.recover() == []
        self.clock.advance(1)
        assert [(one.task, one.state) for one in self.engine.recover(queues="other")] == [("b", "quarantined")]
        assert [(one.task, one.state) for one in self.engine.recover()] == [("a", "quarantined")]
        assert self.get("a").code == "undo_wait"
        assert self.undos() == [("default", "remove", 2, TTL_MS)]
