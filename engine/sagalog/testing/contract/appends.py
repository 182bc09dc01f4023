"""The contract of appends: no gaps, compare-and-set on versions, independent operations. [LOG-1] [LOG-2]

Rule: it works below the engine's calls where it must, with the operations that a store carries out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256

import msgspec

from sagalog.codec import digest_of, enclose
from sagalog.engine import operations
from sagalog.engine.entries import CommandEntry
from sagalog.engine.task import Task
from sagalog.errors import NotFound, Rejected, SagalogError, VersionConflict
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold
from sagalog.store import Append, Blob, Operation, Result, View
from sagalog.store.projection import project
from sagalog.testing.contract.base import START_MS, Contract, ids


def noting(task: str, text: str, expected: int | None = None) -> Callable[[View], Append]:
    """Make a function from a view to an append of one note, decided on the version it shows or on a given one."""
    stream = f"task/{task}"

    def append(view: View) -> Append:
        saved = view.saved(stream)
        assert saved is not None
        assert isinstance(saved.fold, TaskFold)
        version = saved.fold.version if expected is None else expected
        fold = msgspec.structs.replace(saved.fold, version=version)
        event = e.Noted(text=text)
        envelope = enclose(stream, version + 1, view.now_ms, event)
        after = evolve(fold, event, version + 1, view.now_ms)
        return Append(stream, version, (envelope,), project(after, view.now_ms, saved.row))

    return append


def appending(*appends: Callable[[View], Append], writes: tuple[str, ...] = ("task/a", "task/b")) -> Operation:
    """Make an operation that appends what these return."""
    return Operation(lambda view: Result("done", tuple(append(view) for append in appends)), writes)


def _answering(blob: Blob, _: View) -> Result:
    return Result(None, blobs=(blob,))


class AppendContract(Contract):
    """The tests of positions, versions, times and answers."""

    def test_positions_and_versions_have_no_gaps(self) -> None:
        self.create("a", "b")
        self.engine.note("a", "first")
        self.engine.note("b", "second")
        self.engine.note("a", "third")
        log = self.log()
        assert [one.position for one in log] == list(range(1, 7))
        assert [one.name for one in log[1:]] == ["task/a@1", "task/b@1", "task/a@2", "task/b@2", "task/a@3"]

    def test_an_event_is_given_back_as_it_was_enclosed(self) -> None:
        text = 'ünï \U0001f600 \\u0000 "quoted"'
        payload = {"t": text + "\u2028\n", "n": -(2**63), "f": 0.1}
        self.engine.create("build", payload, id=text, actor="me", cause="x/y@1", idempotency_key="r")
        stored = self.log()[-1]
        assert (stored.stream, stored.version, stored.at_ms) == (f"task/{text}", 1, START_MS)
        assert (stored.actor, stored.cause, stored.idempotency_key, stored.data_key) == ("user:me", "x/y@1", "r", None)
        assert digest_of(stored) == stored.digest
        assert self.get(text).payload == payload

    def test_all_events_of_a_commit_have_the_time_that_the_clock_showed(self) -> None:
        self.engine.create_many([{"kind": "build", "id": "a"}, {"kind": "build", "id": "b"}])
        self.clock.step(-5_000)
        self.engine.note("a", "the clock was set back")
        assert [one.at_ms for one in self.log()[1:]] == [START_MS, START_MS, START_MS - 5_000]

    def test_an_append_to_a_version_that_has_passed_is_refused(self) -> None:
        self.create("a", "b")
        self.engine.note("a", "somebody was first")
        before = self.log()
        [answer] = self.store.commit([appending(noting("a", "late", expected=1))])
        assert isinstance(answer, VersionConflict)
        assert (answer.stream, answer.expected, answer.actual) == ("task/a", 1, 2)
        assert self.log() == before

    def test_an_append_that_would_leave_a_gap_is_refused(self) -> None:
        self.create("a", "b")
        before = self.log()
        [answer] = self.store.commit([appending(noting("a", "early", expected=5))])
        assert isinstance(answer, VersionConflict)
        assert self.log() == before

    def test_a_stream_cannot_be_begun_twice(self) -> None:
        self.create("a", "b")
        created = self.log()[-1]
        fold = TaskFold("a", version=0)
        envelope = msgspec.structs.replace(created, stream="task/a", position=0)
        begin = Append("task/a", 0, (envelope,), project(fold, START_MS, None))
        before = self.log()
        [answer] = self.store.commit([Operation(lambda view: Result(None, (begin,)), ("task/a",))])
        assert isinstance(answer, VersionConflict)
        assert self.log() == before

    def test_a_stream_that_is_written_again_is_as_old_as_its_first_append(self) -> None:
        self.create("seed")
        created = self.engine.history("seed")[0].event
        folds: dict[str, TaskFold] = {}

        def one_more(id: str, event: e.Recordable) -> Append:
            before = folds.get(id, TaskFold(id))
            folds[id] = after = evolve(before, event, before.version + 1, START_MS)
            envelope = enclose(f"task/{id}", after.version, START_MS, event)
            return Append(f"task/{id}", before.version, (envelope,), project(after, START_MS, None))

        appends = (one_more("b", created), one_more("a", created), one_more("b", e.Noted(text="seen")))
        assert self.store.commit([Operation(lambda view: Result("done", appends), ("task/a", "task/b"))]) == ["done"]
        assert [one.name for one in self.log()[-3:]] == ["task/b@1", "task/a@1", "task/b@2"]
        assert [task.id for task in self.engine.find()] == ["seed", "b", "a"]
        assert ids(self.claim(limit=3)) == ["seed", "b", "a"]
        self.sound()

    def test_an_operation_with_one_late_append_appends_nothing(self) -> None:
        self.create("a", "b")
        before = self.log()
        [answer] = self.store.commit([appending(noting("b", "in time"), noting("a", "late", expected=0))])
        assert isinstance(answer, VersionConflict)
        assert self.log() == before
        assert self.get("b").version == 1
        self.sound()

    def test_each_operation_succeeds_or_fails_alone(self) -> None:
        self.create("a", "b")
        refusal = Rejected("not this one")

        def refuse(view: View) -> Result:
            raise refusal

        answers = self.store.commit([appending(noting("a", "one")), Operation(refuse), appending(noting("b", "three"))])
        assert answers == ["done", refusal, "done"]
        assert self.types("a") == ["created", "noted"]
        assert self.types("b") == ["created", "noted"]
        self.sound()

    def test_an_operation_sees_what_the_operations_before_it_did(self) -> None:
        self.create("a", "b")
        answers = self.store.commit([appending(noting("a", str(number))) for number in range(3)])
        assert answers == ["done"] * 3
        assert [one.version for one in self.log() if one.stream == "task/a"] == [1, 2, 3, 4]

    def test_an_operation_sees_the_store_and_one_time_for_the_whole_commit(self) -> None:
        self.create("a")
        clock = self.clock
        seen: list[tuple[int, int, str]] = []

        def look(view: View) -> Result:
            assert view.store is not None
            seen.append((view.now_ms, view.epoch, view.store.id))
            clock.advance(10)
            return Result(None)

        self.store.commit([Operation(look), Operation(look)])
        assert seen == [(START_MS, 0, self.engine.store_id)] * 2

    def test_an_operation_reads_events_by_version_and_by_idempotency_key(self) -> None:
        self.engine.create("build", id="a", idempotency_key="r")
        self.engine.note("a", "later", idempotency_key="other")
        found: list[list[str]] = []

        def look(view: View) -> Result:
            found.append([one.name for one in view.keyed("r")])
            found.append([one.name for one in view.keyed("nobody's")])
            found.append([e.NAMES[type(view.event("task/a", 2))]])
            assert view.saved("task/there is none") is None
            return Result(None)

        self.store.commit([Operation(look, reads=("task/a", "task/there is none"), keys=("r", "nobody's"))])
        assert found == [["task/a@1"], [], ["noted"]]

    def test_an_event_is_decoded_anew_for_each_operation_that_reads_it(self) -> None:
        """No caller sees what another one changes in its copy of a payload."""
        self.engine.create("build", {"n": 1}, id="a")
        read: list[e.Created] = []

        def look(view: View) -> Result:
            assert view.saved("task/a") is not None
            event = view.event("task/a", 1)
            assert isinstance(event, e.Created)
            read.append(event)
            return Result(None)

        self.store.commit([Operation(look, reads=("task/a",)), Operation(look, reads=("task/a",))])
        read[0].payload["n"] = 2
        assert read[1].payload == {"n": 1}

    def test_an_operation_may_keep_bytes_without_appending_an_event(self) -> None:
        """[BLOB-1]"""
        blob = Blob(sha256(b"some text").hexdigest(), b"some text")
        self.store.commit([Operation(lambda _: Result(None, blobs=(blob,)))])
        with self.store.read() as snapshot:
            assert snapshot.blob(blob.digest) == blob.data

    def test_bytes_of_a_refused_operation_are_not_kept(self) -> None:
        """[BLOB-1] Bytes that the store held before stay there."""
        self.create("a")
        kept, other, late = Blob("1" * 64, b"kept"), Blob("1" * 64, b"other"), Blob("2" * 64, b"late")

        def too_late(view: View) -> Result:
            return Result("done", (noting("a", "late", expected=5)(view),), blobs=(late,))

        _, _, refused = self.store.commit(
            [*(Operation(partial(_answering, blob)) for blob in (kept, other)), Operation(too_late, ("task/a",))]
        )
        assert isinstance(refused, VersionConflict)
        with self.store.read() as snapshot:
            assert (snapshot.blob(kept.digest), snapshot.blob(late.digest)) == (b"kept", None)

    def test_a_repeat_within_one_commit_finds_the_first(self) -> None:
        self.create("a")
        step = CommandEntry(c.Note(task="a", text="once"), idempotency_key="r")
        first, second = self.store.commit([operations.writing((step,)), operations.writing((step,))])
        assert first == second
        assert self.types("a") == ["created", "noted"]

    def test_an_empty_commit_gives_nothing_and_writes_nothing(self) -> None:
        self.create("a")
        assert self.writes_nothing(self.store.commit, []) == []

    def test_an_exception_that_is_no_refusal_takes_the_whole_commit_back(self) -> None:
        self.create("a", "b")
        before = self.log()

        def divide(view: View) -> Result:
            raise ZeroDivisionError

        try:
            answers = self.store.commit([appending(noting("a", "1")), Operation(divide), appending(noting("b", "3"))])
        except (ZeroDivisionError, SagalogError):
            pass
        else:
            raise AssertionError(f"expected the exception, found the answers {answers!r}")
        assert self.log() == before
        assert self.get("a").version == 1
        self.engine.note("a", "the store goes on")
        assert self.log()[-1].name == "task/a@2"
        self.sound()

    def test_a_refused_command_writes_nothing(self) -> None:
        self.create("a")
        refusal = self.refused(NotFound, self.engine.cancel, "nobody")
        assert refusal.task == "nobody"

    def test_what_a_caller_gets_and_gives_is_not_shared_with_the_store(self) -> None:
        payload = {"list": [1]}
        task = self.engine.create("build", payload, id="a")
        payload["list"].append(2)
        task.payload["list"].append(3)
        assert isinstance(task, Task)
        assert self.get("a").payload == {"list": [1]}
        self.sound()
