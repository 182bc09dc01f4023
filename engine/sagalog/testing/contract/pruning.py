"""The contract of pruning: which bytes go, which stay, and what callers and audits see of those that are gone.

Rule: bytes stay as long as a task may need them, and a deletion is on record. [PRUNE-1] [PRUNE-2]
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

from sagalog.engine import Engine
from sagalog.engine.pruning import PruneReport
from sagalog.errors import InvalidValue, NotFound, Pruned
from sagalog.kernel.bounds import PRUNE_DIGESTS_MAX
from sagalog.kernel.values import Compensation
from sagalog.store import Operation, Result, View
from sagalog.testing.contract.base import TTL_MS, Contract

TTL: int = 10 * TTL_MS


class PruneContract(Contract):
    """The tests of `prune`."""

    def ended(self, *ids: str, data: bytes = b"spec", **arguments: Any) -> None:
        """Create tasks with an input, and end them."""
        for id in ids:
            self.create(id, inputs={"spec": data}, **arguments)
            self.engine.cancel(id)

    def pruned(self, older_than_ms: int = TTL, **arguments: Any) -> int:
        """Prune, and return how many blobs went; check that store and history are sound."""
        report = self.engine.prune(older_than_ms, **arguments)
        self.sound()
        return report.blobs

    def prunings(self) -> list[str]:
        """The types of the events in the store's own stream."""
        return [one.type for one in self.log() if one.stream.startswith("store/") and one.type == "pruned"]

    # --- what goes --------------------------------------------------------------------------------------------

    def test_bytes_of_tasks_that_ended_long_ago_go_and_their_events_stay(self) -> None:
        """[PRUNE-1] [PRUNE-3]"""
        self.create("a", inputs={"spec": b"given"})
        self.acquire("a").put_artifact("log", b"made").complete("done")
        before = self.log()
        self.clock.advance(TTL - 1)
        assert self.pruned() == 0
        self.clock.advance(1)
        assert self.engine.prune(TTL) == PruneReport(tasks=1, blobs=2, size_bytes=9, dry_run=False)
        assert self.log()[:-1] == before
        error = self.refused(Pruned, self.engine.input, "a", "spec")
        assert (error.task, error.digest) == ("a", sha256(b"given").hexdigest())
        self.refused(Pruned, self.engine.artifact, "a", "log")
        self.refused(NotFound, self.engine.artifact, "a", "other")
        self.sound()

    def test_an_audit_counts_what_was_pruned_and_finds_no_fault(self) -> None:
        """[PRUNE-4]"""
        self.ended("a", "b")
        self.ended("c", data=b"other bytes")
        assert self.pruned(0) == 2
        report = self.engine.verify()
        assert (report.pruned, report.pruned_bytes, report.faults) == (2, 15, ())
        self.engine.rebuild()
        assert self.engine.verify() == report

    def test_a_dry_run_says_what_would_go_and_writes_nothing(self) -> None:
        """[PRUNE-1]"""
        self.ended("a", "b")
        before = self.log()
        assert self.engine.prune(0, dry_run=True) == PruneReport(tasks=2, blobs=1, size_bytes=4, dry_run=True)
        assert self.log() == before
        assert self.engine.input("a", "spec") == b"spec"

    def test_nothing_is_written_where_nothing_goes(self) -> None:
        self.create("a", inputs={"spec": b"spec"})
        before = self.log()
        assert self.engine.prune(0) == PruneReport(0, 0, 0, False)
        assert self.log() == before

    def test_it_goes_slice_by_slice_and_says_how_far_it_is(self) -> None:
        """[PRUNE-1]"""
        count = PRUNE_DIGESTS_MAX + 10
        self.engine.create_many([{"kind": "k", "id": f"t{n}", "inputs": {"spec": b"%d" % n}} for n in range(count)])
        for number in range(count):
            self.engine.cancel(f"t{number}")
        told: list[tuple[int, int]] = []
        report = self.engine.prune(0, progress=lambda done, total: told.append((done, total)))
        assert (report.blobs, report.tasks, len(self.prunings())) == (count, count, 2)
        assert told[0] == (0, count)
        assert told[-1] == (count, count)
        assert told == sorted(told)
        self.sound()

    def test_a_limit_ends_it_and_the_next_call_goes_on(self) -> None:
        for number in range(5):
            self.ended(f"t{number}", data=b"%d" % number)
        assert [self.pruned(0, limit=2) for _ in range(4)] == [2, 2, 1, 0]

    def test_of_a_queue_only_what_its_tasks_alone_name_goes(self) -> None:
        """[PRUNE-1]"""
        self.ended("mine", data=b"mine", queue="mail")
        self.ended("other", data=b"other")
        self.ended("also", data=b"both", queue="mail")
        self.ended("too", data=b"both")
        assert self.engine.prune(0, queue="mail", dry_run=True).blobs == 1
        assert self.pruned(0, queue="mail") == 1
        self.refused(Pruned, self.engine.input, "mine", "spec")
        assert [self.engine.input(id, "spec") for id in ("other", "also")] == [b"other", b"both"]
        assert self.pruned(0) == 2

    def test_what_a_caller_raises_ends_it_and_leaves_what_went(self) -> None:
        for number in range(PRUNE_DIGESTS_MAX + 1):
            self.ended(f"t{number}", data=b"%d" % number)

        def stop(done: int, _: int) -> None:
            if done:
                raise KeyboardInterrupt

        try:
            self.engine.prune(0, progress=stop)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("it went on")
        assert self.pruned(0) == 1

    def test_wrong_arguments_are_refused_by_name(self) -> None:
        """[BOUND-1]"""
        wrong: Any
        for wrong in (-1, "1h", None, True, 1.5):
            assert self.refused(InvalidValue, self.engine.prune, wrong).path == "older_than_ms"
        for wrong in (0, -1, "1", True):
            assert self.refused(InvalidValue, partial(self.engine.prune, 1, limit=wrong)).path == "limit"
        assert self.refused(InvalidValue, _with(self.engine, dry_run="yes")).path == "dry_run"
        assert self.refused(InvalidValue, _with(self.engine, progress=1)).path == "progress"

    # --- what stays -------------------------------------------------------------------------------------------

    def test_bytes_that_a_live_task_names_too_stay(self) -> None:
        """[PRUNE-1]"""
        self.ended("a")
        self.create("b", inputs={"other": b"spec"})
        assert self.pruned(0) == 0
        self.engine.cancel("b")
        assert self.pruned(0) == 1

    def test_a_live_successor_of_a_successor_keeps_what_the_first_had(self) -> None:
        """[PRUNE-1]"""
        self.create("a", waive_compensation="it has no effects")
        self.acquire("a").put_artifact("log", b"made").fail("no way on")
        second = self.engine.retry_as_new("a").id
        self.acquire(second).fail("no way on")
        third = self.engine.retry_as_new(second).id
        assert self.pruned(0) == 0
        self.engine.cancel(third)
        assert self.pruned(0) == 1

    def test_a_live_parent_keeps_what_its_children_made(self) -> None:
        """[PRUNE-1]"""
        self.create("p")
        self.create("c", parent="p")
        self.acquire("c").put_artifact("log", b"made").complete()
        assert self.pruned(0) == 0
        self.acquire("p").complete()
        assert self.pruned(0) == 1

    def test_the_successor_of_a_parent_keeps_what_its_children_made(self) -> None:
        """[PRUNE-1]"""
        self.create("p", waive_compensation="it has no effects")
        self.create("c", parent="p")
        self.acquire("c").put_artifact("log", b"made").complete()
        self.acquire("p").fail("no way on")
        successor = self.engine.retry_as_new("p").id
        assert self.pruned(0) == 0
        self.engine.cancel(successor)
        assert self.pruned(0) == 1

    def test_a_live_dependant_keeps_what_it_has_waited_for(self) -> None:
        """[PRUNE-1] Whether it began to wait before the other had ended, or after."""
        self.create("a")
        self.create("early", after=["a"])
        self.acquire("a").put_artifact("log", b"made").complete()
        self.create("late", after=["a"])
        self.create("parked")
        self.acquire("parked").park("w", after=["a"])
        for id in ("early", "late", "parked"):
            assert self.pruned(0) == 0
            self.engine.cancel(id)
        assert self.pruned(0) == 1

    def test_one_that_undoes_what_a_completed_task_left_keeps_its_bytes(self) -> None:
        """[PRUNE-1] [COMP-7]"""
        self.create("a", inputs={"spec": b"spec"})
        lease = self.acquire("a")
        lease.register(Compensation("remove", id="u"))
        lease.fail("no way on")
        self.engine.quarantine("a", "odd")
        second = self.engine.retry_as_new("a").id
        assert self.pruned(0) == 0
        assert self.engine.input(second, "spec") == b"spec"

    def test_an_end_counts_by_the_times_on_record_whichever_way_a_clock_steps(self) -> None:
        """[PRUNE-1] [TIME-2] An end before the creation shows a clock that was wrong: the later time counts."""
        self.create("a", inputs={"spec": b"spec"})
        self.clock.step(-100 * TTL)
        self.engine.cancel("a")
        assert self.pruned(TTL) == 0
        self.clock.step(100 * TTL)
        assert self.pruned(TTL) == 0
        self.clock.advance(TTL)
        assert self.pruned(TTL) == 1

    # --- what comes after -------------------------------------------------------------------------------------

    def test_bytes_that_are_named_again_are_there_again_for_all(self) -> None:
        """[PRUNE-2]"""
        self.ended("a")
        assert self.pruned(0) == 1
        self.create("b", inputs={"spec": b"spec"})
        assert [self.engine.input(id, "spec") for id in "ab"] == [b"spec", b"spec"]
        assert self.engine.verify().pruned == 0
        assert self.pruned(0) == 0
        self.engine.cancel("b")
        assert self.pruned(0) == 1
        assert self.engine.verify().pruned == 1
        self.engine.rebuild()
        self.sound()

    def test_a_repeated_creation_brings_no_bytes_back(self) -> None:
        """[REPEAT-1] [PRUNE-3]"""
        self.ended("a")
        assert self.pruned(0) == 1
        self.writes_nothing(partial(self.engine.create, "build", id="a", inputs={"spec": b"spec"}))
        self.refused(Pruned, self.engine.input, "a", "spec")
        self.sound()

    def test_a_task_whose_inputs_are_gone_has_no_successor(self) -> None:
        """[PRUNE-3]"""
        self.ended("a")
        self.pruned(0)
        error = self.refused(Pruned, self.engine.retry_as_new, "a")
        assert error.task == "a"
        assert "create one anew" in error.message

    def test_a_creation_that_comes_first_keeps_the_bytes(self) -> None:
        """[PRUNE-1] The commit that deletes looks again."""
        self.ended("a")
        engine = Engine(_Late(self.store, lambda: self.create("b", inputs={"spec": b"spec"})), clock=self.clock)
        assert engine.prune(0).blobs == 0
        assert self.engine.input("b", "spec") == b"spec"
        self.sound()

    def test_two_that_prune_at_once_delete_each_blob_once(self) -> None:
        """[PRUNE-1]"""
        self.ended("a")
        found: list[int] = []
        engine = Engine(_Late(self.store, lambda: found.append(self.engine.prune(0).blobs)), clock=self.clock)
        assert (engine.prune(0).blobs, found, len(self.prunings())) == (0, [1], 1)
        self.sound()

    def test_a_rebuild_gives_the_same_references_and_names(self) -> None:
        """[PRUNE-2] [PRUNE-4]"""
        self.ended("a")
        self.create("b", inputs={"spec": b"other"}, after=["a"])
        self.engine.cancel("b")
        self.pruned(0)
        self.create("c", inputs={"spec": b"other"})
        self.engine.retry_as_new("b")
        with self.store.read() as snapshot:
            before = [one.references for one in snapshot.audited(0, 100)], snapshot.pruned_count()
        self.engine.rebuild()
        with self.store.read() as snapshot:
            assert ([one.references for one in snapshot.audited(0, 100)], snapshot.pruned_count()) == before
        self.sound()

    def test_a_view_shows_references_only_to_what_prunes(self) -> None:
        """[PRUNE-1]"""
        self.ended("a")
        digest = sha256(b"spec").hexdigest()

        def look(view: View) -> Result:
            return Result((list(view.digests("", 9)), list(view.referring(digest)), view.blob_size(digest)))

        [(digests, [naming], size)] = self.store.commit([Operation(look, prunes=True)])
        assert (digests, naming.stream, naming.task, size) == ([digest], "task/a", None, 4)


def _with(engine: Engine, **wrong: Any) -> Any:
    return partial(engine.prune, 1, **wrong)


class _Late:
    """A store at which something else happens between the look of a pruning and its commit."""

    def __init__(self, store: Any, late: Any) -> None:
        self._store = store
        self._late = late

    def commit(self, operations: Any) -> list[Any]:
        """Let it happen, and commit."""
        if any(operation.prunes for operation in operations):
            self._late()
        found: list[Any] = self._store.commit(operations)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
