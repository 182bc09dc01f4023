"""The contract of projections, which a store can discard, and of the audit, which finds changes by other programs.

Rule: the audit names the stream of a planted change, and its version where it is one event. [LOG-4] [RECORD-3]
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import msgspec

from sagalog.codec import Envelope, digest_of, enclose
from sagalog.engine.audit import Fault
from sagalog.errors import LogDamaged
from sagalog.kernel import events as e
from sagalog.kernel.values import Compensation
from sagalog.store import Operation, Result
from sagalog.testing.contract.base import TTL_MS, Contract, ids

REMOVE = Compensation("remove", id="remove")


def rewritten(envelope: Envelope, **changed: object) -> Envelope:
    """Return the event with other fields and a digest that fits them, as a forger without a checkpoint can make it."""
    event = msgspec.structs.replace(envelope, **changed)
    return msgspec.structs.replace(event, digest=digest_of(event))


# One change of every field of an envelope that the digest covers.
CHANGES: dict[str, Callable[[Envelope], dict[str, object]]] = {
    "at_ms": lambda one: {"at_ms": one.at_ms + 1},
    "type": lambda one: {"type": "noted"},
    "schema": lambda one: {"schema": one.schema + 1},
    "actor": lambda one: {"actor": "somebody else"},
    "cause": lambda one: {"cause": "task/x@1"},
    "idempotency_key": lambda one: {"idempotency_key": "another"},
    "data_key": lambda one: {"data_key": "a key"},
    "body": lambda one: {"body": one.body.replace("half", "done")},
    "digest": lambda one: {"digest": sha256(one.digest).digest()},
}


class ProjectionContract(Contract):
    """The tests of `rebuild` and `verify`."""

    def live(self) -> None:
        """Fill the store with tasks in every state."""
        self.create("pending", tags={"team": "red"}, affinity="red", priority=-3)
        self.create("later", run_at_ms=self.clock.now_ms() + 10 * TTL_MS)
        self.create("done", "running", "undoing", "undone", "cancelled", "odd", compensations=[REMOVE])
        self.acquire("done").complete({"n": 1})
        self.acquire("running").heartbeat(progress="half")
        for id in ("undoing", "undone"):
            self.acquire(id).fail("no way on")
        self.acquire("undone", purpose="undo").compensation_done("remove")
        self.engine.cancel("cancelled", "called off")
        self.acquire("odd")
        self.engine.quarantine("odd", "odd")

    def faults(self) -> list[tuple[str, str | None, int | None]]:
        """List what an audit finds."""
        return [(fault.code, fault.stream, fault.version) for fault in self.engine.verify().faults]

    def event(self, task: str, version: int) -> Envelope:
        """Read one event of a task."""
        with self.store.read() as snapshot:
            return snapshot.history(f"task/{task}")[version - 1]

    def test_what_a_task_waits_for_is_rebuilt(self) -> None:
        """[WAIT-3]"""
        self.create("a")
        self.create("b", queue="other")
        self.park("a", after="b")
        self.change_projection("a", None)
        self.engine.rebuild()
        self.sound()
        assert self.claim() == []
        self.engine.cancel("b")
        assert ids(self.claim()) == ["a"]

    def test_an_event_that_was_changed_is_shown_to_no_operation(self) -> None:
        """[LOG-4] The store compares its digest, unless this handle has written the event itself."""
        self.create("a")
        created = self.log()[-1]
        self.change_event(created, msgspec.structs.replace(created, body=created.body.replace("build", "guild")))
        store = self.another_store() if self.persists else self.store
        [answer] = store.commit([Operation(lambda view: Result(view.event("task/a", 1)), reads=("task/a",))])
        assert isinstance(answer, LogDamaged)

    def test_a_sound_store_has_no_faults_and_says_what_it_counted(self) -> None:
        self.live()
        report = self.engine.verify()
        assert (report.ok, report.faults) == (True, ())
        assert (report.tasks, report.events) == (8, len(self.log()))

    def test_rebuilding_changes_nothing_that_callers_see(self) -> None:
        self.live()
        before, tasks, counts = self.log(), self.engine.find(), self.engine.counts()
        report = self.engine.rebuild()
        assert (report.tasks, report.unreadable) == (8, ())
        assert (self.log(), self.engine.find(), self.engine.counts()) == (before, tasks, counts)
        assert self.engine.find(tags={"team": "red"}) == [self.get("pending")]
        self.sound()

    def test_claims_go_on_after_rebuilding(self) -> None:
        self.live()
        self.create("second")
        self.engine.rebuild()
        assert ids(self.claim(limit=10, affinity="red")) == ["pending", "second"]
        assert ids(self.claim(limit=10, purpose="undo", kinds=["remove"])) == ["undoing"]
        self.clock.advance(10 * TTL_MS)
        assert "later" in ids(self.claim(limit=10))

    def test_an_audit_says_how_far_it_is(self) -> None:
        self.live()
        told: list[tuple[int, int]] = []
        assert self.engine.verify(lambda done, total: told.append((done, total))).ok
        events = len(self.log())
        assert (told[0], told[-1]) == ((0, events), (events, events))
        assert told == sorted(told)
        assert {total for _, total in told} == {events}

    def test_a_rebuild_says_how_far_it_is(self) -> None:
        self.live()
        told: list[tuple[int, int]] = []
        self.engine.rebuild(lambda done, total: told.append((done, total)))
        total = told[-1][0]
        assert total >= len({event.stream for event in self.log()})
        assert told[0] == (0, total)
        assert told == sorted(told)
        assert {of for _, of in told} == {total}

    def test_what_is_told_how_far_it_is_may_use_the_engine(self) -> None:
        """It is called outside every transaction; what it writes is read, and counted beside the total."""
        self.live()
        events = len(self.log())
        told: list[int] = []

        def write(done: int, total: int) -> None:
            self.engine.note("done", "still there")
            told.append(total)
            assert done <= total

        report = self.engine.verify(write)
        assert (report.ok, set(told)) == (True, {events})
        assert report.events > events
        self.engine.rebuild(write)
        self.sound()

    def test_what_it_raises_ends_an_audit_and_a_rebuild_which_can_be_repeated(self) -> None:
        self.live()
        self.change_projection("pending", None)
        for call in (self.engine.verify, self.engine.rebuild):
            try:
                call(lambda done, _: 1 // done)
            except ZeroDivisionError:
                continue
            raise AssertionError("the call went on")
        assert self.faults() == [("projection", "task/pending", None)]
        self.engine.rebuild()
        assert self.faults() == []

    def test_each_changed_field_of_an_event_is_found(self) -> None:
        self.live()
        old = self.event("running", 3)
        for name, change in CHANGES.items():
            planted = msgspec.structs.replace(old, **change(old))
            assert planted != old, name
            self.change_event(old, planted)
            assert ("digest", "task/running", 3) in self.faults(), name
            self.change_event(planted, old)
        assert self.faults() == []

    def test_an_event_that_was_swapped_with_another_stream_is_found(self) -> None:
        self.live()
        mine, other = self.event("done", 1), self.event("running", 1)
        self.change_event(mine, msgspec.structs.replace(mine, body=other.body, digest=other.digest))
        assert ("digest", "task/done", 1) in self.faults()

    def test_an_event_that_was_taken_out_is_found(self) -> None:
        self.live()
        self.change_event(self.event("running", 2), None)
        found = self.faults()
        assert ("gap", "task/running", 3) in found
        assert "positions" in {code for code, _, _ in found}

    def test_a_last_event_that_was_taken_out_is_found(self) -> None:
        self.live()
        self.change_event(self.event("running", 3), None)
        assert ("projection", "task/running", None) in self.faults()

    def test_a_forged_event_that_the_table_forbids_is_found(self) -> None:
        self.live()
        old = self.event("running", 3)
        forged = enclose(old.stream, 3, old.at_ms, e.Compensated("failed"), old.actor)
        self.change_event(old, msgspec.structs.replace(forged, position=old.position))
        assert ("damaged", "task/running", 3) in self.faults()

    def test_a_forged_event_that_fits_is_found_by_the_projection(self) -> None:
        self.live()
        old = self.event("running", 3)
        self.change_event(old, rewritten(old, at_ms=old.at_ms + 1))
        assert self.faults() == [("projection", "task/running", None)]

    def test_a_changed_column_is_found_and_mended_by_rebuilding(self) -> None:
        self.live()
        changes = {"queue": "other", "state": "completed", "priority": 7, "affinity": "blue"}
        for name, value in {**changes, "parent": "plan", "correlation_id": "order 7", "wait": "approval"}.items():
            self.change_projection("pending", {name: value})
            assert self.faults() == [("projection", "task/pending", None)], name
            self.engine.rebuild()
            assert self.faults() == [], name
        self.sound()

    def test_a_changed_fold_is_found_and_mended_by_rebuilding(self) -> None:
        self.live()
        with self.store.read() as snapshot:
            fold = snapshot.task("pending")
        assert fold is not None
        self.change_projection("pending", {}, msgspec.structs.replace(fold, failures=2))
        assert self.faults() == [("projection", "task/pending", None)]
        self.engine.rebuild()
        assert self.faults() == []

    def test_rebuilding_mends_a_projection_that_was_thrown_away(self) -> None:
        """An audit finds it first."""
        self.live()
        self.change_projection("pending", None)
        assert self.faults() == [("projection", "task/pending", None)]
        self.engine.rebuild()
        assert self.faults() == []
        assert ids(self.claim()) == ["pending"]

    def test_a_fault_does_not_stop_the_audit_of_the_rest(self) -> None:
        self.live()
        for task, version in (("pending", 1), ("odd", 3)):
            old = self.event(task, version)
            self.change_event(old, msgspec.structs.replace(old, at_ms=old.at_ms + 1))
        report = self.engine.verify()
        assert [(fault.code, fault.stream) for fault in report.faults] == [
            ("digest", "task/pending"),
            ("digest", "task/odd"),
        ]
        assert all(isinstance(fault, Fault) and fault.text for fault in report.faults)
        assert report.events == len(self.log())
