"""The contract of what a holder records: steps with their results, and bytes beside the log. [STEP-1] [BLOB-1]

Rule: all later leases find what one has recorded; a late holder records nothing new, and repeats its own.
"""

from __future__ import annotations

from hashlib import sha256

from sagalog.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    LeaseLost,
    NotFound,
    OverBound,
    TerminalTask,
    WrongState,
)
from sagalog.kernel.bounds import BLOB_BYTES_MAX, INPUTS_MAX
from sagalog.kernel.values import Compensation, UnrecordedStep
from sagalog.testing.contract.base import TTL_MS, Contract


class RecordingContract(Contract):
    """The tests of steps, artifacts and inputs."""

    # --- steps ------------------------------------------------------------------------------------------------

    def test_a_step_is_recorded_with_its_result_for_all_later_attempts(self) -> None:
        self.create("a")
        lease = self.acquire("a").step("checkout", {"path": "wt"}).step("build")
        assert lease.task.steps == ("checkout", "build")
        lease.retry("it broke")
        self.clock.advance(TTL_MS)
        assert self.acquire("a").task.steps == ("checkout", "build")
        assert self.engine.step_result("a", "checkout") == {"path": "wt"}
        assert self.engine.step_result("a", "build") is None
        self.sound()

    def test_a_step_on_record_is_not_recorded_again_by_whichever_lease(self) -> None:
        """[STEP-1] [REPEAT-3]"""
        self.create("a")
        first = self.acquire("a")
        first.step("checkout", [1])
        self.writes_nothing(first.step, "checkout", [1])
        self.refused(Conflict, first.step, "checkout", [2])
        first.release()
        second = self.acquire("a")
        assert self.writes_nothing(second.step, "checkout", [1]).fence == second.fence
        self.refused(Conflict, second.step, "checkout", [2])

    def test_a_late_holder_is_told_of_its_own_step_and_records_no_other(self) -> None:
        """[FENCE-2] [REPEAT-5]"""
        self.create("a")
        late = self.acquire("a")
        late.step("mine", 1)
        self.clock.advance(TTL_MS)
        self.acquire("a", owner="bob").step("theirs", 1)
        assert self.writes_nothing(late.step, "mine", 1).fence == late.fence
        self.refused(Conflict, late.step, "mine", 2)
        self.refused(LeaseLost, late.step, "theirs", 1)
        self.refused(LeaseLost, late.step, "another")

    def test_a_step_is_part_of_work_and_not_of_undoing(self) -> None:
        self.create("a", compensations=[Compensation("remove", id="remove")])
        self.acquire("a").fail("no way on")
        undo = self.acquire("a", purpose="undo")
        self.refused(WrongState, undo.step, "checkout")
        assert undo.put_artifact("log", b"what was undone").task.artifacts == ("log",)
        undo.compensation_done("remove")
        self.sound()

    def test_a_successor_that_starts_over_has_no_steps_and_the_same_inputs(self) -> None:
        """[STEP-1] [BLOB-1]"""
        self.create("a", waive_compensation="it has no effects", inputs={"spec": b"bytes"})
        lease = self.acquire("a").step("checkout").put_artifact("log", b"said")
        lease.fail("no way on")
        successor = self.engine.retry_as_new("a")
        assert (successor.steps, successor.artifacts) == ((), ())
        assert self.engine.input(successor.id, "spec") == b"bytes"
        self.refused(NotFound, self.engine.artifact, successor.id, "log")
        self.refused(NotFound, self.engine.step_result, successor.id, "checkout")
        self.sound()

    # --- bytes ------------------------------------------------------------------------------------------------

    def test_bytes_come_back_as_they_were_given(self) -> None:
        self.create("a", inputs={"spec": bytes(range(256)), "empty": b""})
        self.acquire("a").put_artifact("log", b"\x00\xff", "text/plain")
        assert self.engine.input("a", "spec") == bytes(range(256))
        assert self.engine.input("a", "empty") == b""
        artifact = self.engine.artifact("a", "log")
        assert (artifact.data, artifact.media_type, artifact.fence) == (b"\x00\xff", "text/plain", 1)
        assert [(one.name, one.size_bytes) for one in self.get("a").inputs] == [("spec", 256), ("empty", 0)]
        self.sound()

    def test_bytes_are_kept_once_however_many_tasks_name_them(self) -> None:
        """[BLOB-1]"""
        self.create("a", inputs={"one": b"same", "two": b"same"})
        self.create("b")
        lease = self.acquire("b")
        lease.put_artifact("x", b"same")
        lease.put_artifact("y", b"same")
        digests = {one.digest for one in self.get("a").inputs} | {self.engine.artifact("b", "x").digest}
        assert len(digests) == 1
        assert self.engine.artifact("b", "y").data == b"same"
        self.sound()

    def test_the_newest_artifact_of_a_name_is_read_and_each_lease_has_one(self) -> None:
        """[REPEAT-3]"""
        self.create("a")
        first = self.acquire("a")
        first.put_artifact("log", b"first", "text/plain")
        self.writes_nothing(first.put_artifact, "log", b"first", "text/plain")
        self.refused(Conflict, first.put_artifact, "log", b"other", "text/plain")
        self.refused(Conflict, first.put_artifact, "log", b"first", "text/html")
        self.clock.advance(TTL_MS)
        second = self.acquire("a", owner="bob")
        assert self.writes_nothing(first.put_artifact, "log", b"first", "text/plain").fence == first.fence
        self.refused(LeaseLost, first.put_artifact, "another", b"late")
        second.put_artifact("log", b"second")
        self.refused(LeaseLost, first.put_artifact, "log", b"first", "text/plain")
        assert self.engine.artifact("a", "log").data == b"second"
        assert self.get("a").artifacts == ("log",)
        self.sound()

    def test_what_was_refused_leaves_no_bytes(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        lease.complete()
        self.refused(LeaseLost, lease.put_artifact, "log", b"late")
        self.create("b")
        held = self.acquire("b")

        def together() -> None:
            with self.engine.batch() as batch:
                batch.put_artifact(held, "log", b"taken back")
                batch.cancel("nobody")

        self.refused(NotFound, together)
        with self.store.read() as snapshot:
            digests = [_digest(data) for data in (b"late", b"taken back")]
            assert [snapshot.blob(digest) for digest in digests] == [None, None]

    def test_a_batch_records_steps_and_artifacts_with_what_ends_the_lease(self) -> None:
        self.create("a")
        lease = self.acquire("a")
        with self.engine.batch() as batch:
            batch.step(lease, "checkout", 1)
            batch.put_artifact(lease, "log", b"said")
            batch.create("build", id="b", inputs={"spec": b"said"})
            batch.complete(lease)
        assert self.types("a") == ["created", "leased", "step_completed", "artifact_put", "completed"]
        assert self.engine.artifact("a", "log").data == self.engine.input("b", "spec") == b"said"
        self.sound()

    def test_a_creation_is_repeated_with_the_same_bytes_only(self) -> None:
        """[REPEAT-2] [REPEAT-6]"""
        self.engine.create("build", id="a", inputs={"spec": b"one"})
        self.writes_nothing(self.engine.create, "build", id="a", inputs={"spec": b"one"})
        self.refused(AlreadyExists, self.engine.create, "build", id="a", inputs={"spec": b"two"})

    def test_what_is_no_bytes_or_too_much_is_refused(self) -> None:
        """[BOUND-1]"""
        self.create("a")
        lease = self.acquire("a")
        self.refused(InvalidValue, lease.put_artifact, "log", "text")  # type: ignore[arg-type]
        self.refused(OverBound, lease.put_artifact, "log", bytes(BLOB_BYTES_MAX + 1))
        many = {f"n{number}": b"" for number in range(INPUTS_MAX + 1)}
        self.refused(OverBound, self.engine.create, "build", id="b", inputs=many)

    def test_what_is_recorded_is_there_after_a_rebuild(self) -> None:
        self.create("a", inputs={"spec": b"bytes"})
        before = self.acquire("a").step("checkout", 1).put_artifact("log", b"said").task
        self.engine.rebuild()
        assert self.get("a") == before
        assert self.engine.artifact("a", "log").data == b"said"
        self.sound()

    # --- quarantine by the holder -----------------------------------------------------------------------------

    def test_a_holder_that_gives_up_leaves_a_human_what_the_task_owes(self) -> None:
        """[COMP-6] [REPEAT-5]"""
        self.create("a", compensations=[Compensation("remove", id="remove")])
        lease = self.acquire("a")
        ended = lease.quarantine("odd things happen")
        assert (ended.state, ended.reason) == ("quarantined", "odd things happen")
        assert [one.id for one in ended.owed] == ["remove"]
        assert self.writes_nothing(lease.quarantine, "odd things happen") == ended
        self.refused(Conflict, lease.quarantine, "something else")
        assert self.refused(TerminalTask, self.acquire, "a").fields["state"] == "quarantined"
        self.sound()

    def test_giving_up_over_a_step_names_the_step_that_has_no_record(self) -> None:
        """[STEP-1] [WORKER-1] [REPEAT-5] Its effect may be there all the same."""
        self.create("a")
        lease = self.acquire("a").step("charge", 1)
        self.refused(InvalidValue, lease.quarantine, "it is named twice", ["ship", "ship"])
        ended = lease.quarantine("it cannot be stored", ["charge", "ship", UnrecordedStep("weigh")])
        named = (UnrecordedStep("ship"), UnrecordedStep("weigh"))
        assert (ended.unrecorded_steps, ended.steps) == (named, ("charge",))
        assert self.writes_nothing(lease.quarantine, "it cannot be stored", named) == ended
        assert self.writes_nothing(lease.quarantine, "it cannot be stored", ["charge", "ship", "weigh"]) == ended
        self.refused(Conflict, lease.quarantine, "it cannot be stored", ["ship"])
        self.refused(Conflict, lease.quarantine, "it cannot be stored", ["pack"])
        self.engine.rebuild()
        assert self.get("a") == ended
        self.sound()

    def test_an_undo_may_be_given_up_too(self) -> None:
        self.create("a", compensations=[Compensation("remove", id="remove")])
        self.acquire("a").fail("no way on")
        ended = self.acquire("a", purpose="undo").quarantine("it cannot be undone")
        assert (ended.state, ended.outcome, len(ended.owed)) == ("quarantined", "failed", 1)
        self.sound()

    def test_a_retry_waits_for_its_backoff_or_the_servers_delay(self) -> None:
        """[ATTEMPT-4] The longer of the two counts."""
        self.create("a")
        asked = self.acquire("a").retry("busy", retry_after_ms=3_600_000)
        assert 3_600_000 <= asked.run_at_ms - self.clock.now_ms() <= 3_600_000 * 21 // 20
        self.create("b")
        short = self.acquire("b").retry("busy", retry_after_ms=0)
        assert short.run_at_ms > self.clock.now_ms()


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
