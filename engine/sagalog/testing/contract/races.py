"""The contract of races: no commit changes what another has declared, or found, before that one is over.

Rule: it works below the engine's calls. Another thread commits between an operation's look and the write that follows
from it. A store that locks what it should delays that commit, so a right store never fails here, however slow the
machine; the short wait of the first commit only gives a wrong store time to fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from sagalog.actors import worker_actor
from sagalog.engine import operations
from sagalog.engine.entries import CommandEntry
from sagalog.errors import Rejected, SagalogError
from sagalog.kernel import commands as c
from sagalog.store import Claim, Due, Operation, Result, Saved, View
from sagalog.testing.contract.appends import noting
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract

# How long the first commit waits for one that must not succeed, in seconds.
_MOMENT_S: Final = 0.05
_PATIENCE_S: Final = 30

Answer = TypeVar("Answer")


def _note_each(selected: Callable[[View], Sequence[Saved]], view: View) -> Result:
    """Note on each selected task; answer which ones, with the versions that the view showed."""
    appends = tuple(noting(saved.fold.id, "selected")(view) for saved in selected(view))
    return Result([(append.stream, append.expected) for append in appends], appends)


CLAIM: Final = Claim(("default",), "work", 1)
CLAIMING: Final = Operation(partial(_note_each, lambda view: view.select(CLAIM)), claim=CLAIM)


class RaceContract(Contract):
    """The tests of commits and readers of several threads that meet at the worst moment."""

    def meanwhile(self, call: Callable[[], Answer]) -> Callable[[], Answer]:
        """Begin a call in a thread of its own and give it a moment; return a function that waits for its answer."""
        future: Future[Answer] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as failure:  # noqa: BLE001  raised again where its answer is asked for
                future.set_exception(failure)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(_MOMENT_S)
        return partial(future.result, _PATIENCE_S)

    def around(self, first: Operation, second: Operation, then: Callable[[], object] = int) -> tuple[Any, Any]:
        """Run two commits and return their answers: the second begins once the first has decided, and before its write.

        `then` is called between the two.
        """
        store, other = self.store, self.another_store() if self.persists else self.store
        ends: list[Callable[[], list[Any]]] = []

        def decide(view: View) -> Result:
            try:
                return first.decide(view)
            finally:
                if not ends:
                    ends.append(self.meanwhile(partial(other.commit, [second])))
                    then()

        answers = store.commit([msgspec.structs.replace(first, decide=decide)])
        return (*answers, *ends[0]())

    # --- what is declared -----------------------------------------------------------------------------------------

    def test_two_that_write_one_stream_decide_one_after_the_other(self) -> None:
        self.create("a")
        note = Operation(lambda view: Result("done", (noting("a", "one")(view),)), writes=("task/a",))
        assert self.around(note, note) == ("done", "done")
        assert self.types("a") == ["created", "noted", "noted"]

    def test_the_clock_is_read_once_all_is_locked(self) -> None:
        """[TIME-1] A commit reads the clock after its wait for locks."""
        self.create("a")
        look = Operation(lambda view: Result(view.now_ms), writes=("task/a",))
        assert self.around(look, look, lambda: self.clock.advance(10)) == (START_MS, START_MS + 10)

    def test_what_is_only_read_is_locked_too(self) -> None:
        self.create("a", "b")

        def unless(mine: str, other: str) -> Operation:
            """Note on one task, unless the other has a note."""

            def decide(view: View) -> Result:
                saved = view.saved(f"task/{other}")
                assert saved is not None
                is_noted = saved.fold.version > 1
                return Result(not is_noted, () if is_noted else (noting(mine, "first")(view),))

            return Operation(decide, writes=(f"task/{mine}",), reads=(f"task/{other}",))

        assert self.around(unless("a", "b"), unless("b", "a")) == (True, False)

    def test_an_idempotency_key_is_put_on_record_once(self) -> None:
        """[REPEAT-4] Also where the two write unrelated streams."""
        self.create("a", "b")

        def once(task: str) -> Operation:
            return operations.writing((CommandEntry(c.Note(task=task, text="once"), idempotency_key="r"),))

        _, refused = self.around(once("a"), once("b"))
        assert isinstance(refused, SagalogError)
        assert [one.name for one in self.log() if one.idempotency_key == "r"] == ["task/a@2"]

    def test_operations_that_need_each_others_streams_do_not_deadlock(self) -> None:
        """What is declared in a later round is locked in the order of names, so nothing is kept meanwhile."""
        self.create("a", "b")

        def both(declared: str, other: str) -> Operation:
            def decide(view: View) -> Result:
                return Result("done", (noting(declared, "one")(view), noting(other, "two")(view)))

            return Operation(decide, writes=(f"task/{declared}",))

        assert self.around(both("b", "a"), both("a", "b")) == ("done", "done")
        assert self.types("a") == self.types("b") == ["created", "noted", "noted"]

    def test_of_two_waits_that_would_close_a_circle_one_is_refused(self) -> None:
        """[WAIT-4] Neither writes the task that the other one parks; each locks the tasks along its waits."""
        self.create("a", "b", "c", "d")
        self.park("b", after="c")
        self.park("d", after="a")

        def parking(task: str, after: str) -> Operation:
            command = c.Park(task=task, fence=self.acquire(task).fence, name="w", after=(after,))
            return operations.writing((CommandEntry(command, worker_actor("ann")),))

        parked, refused = self.around(parking("a", after="b"), parking("c", after="d"))
        assert not isinstance(parked, Rejected)
        assert isinstance(refused, Rejected)

    # --- what is found --------------------------------------------------------------------------------------------

    def test_a_task_is_selected_for_one_claim_at_a_time(self) -> None:
        self.create("a")
        self.are_selected_apart(CLAIMING)

    def test_a_task_is_selected_for_one_maintenance_at_a_time(self) -> None:
        self.create("a")
        self.acquire("a")
        self.clock.advance(TTL_MS)
        self.are_selected_apart(Operation(partial(_note_each, lambda view: view.expired), due=Due(None, 1)))

    def are_selected_apart(self, operation: Operation) -> None:
        """Check that no task is shown to both in the same version; the later one may also pass over the first one's."""
        first, second = self.around(operation, operation)
        assert len(first) == 1
        assert set(first).isdisjoint(second)
        self.sound()

    def test_a_selected_task_is_not_written_by_another_meanwhile(self) -> None:
        self.create("a")
        note = Operation(lambda view: Result("done", (noting("a", "by name")(view),)), writes=("task/a",))
        assert self.around(CLAIMING, note) == ([("task/a", 1)], "done")
        assert self.types("a") == ["created", "noted", "noted"]

    def test_a_task_that_is_written_while_what_it_awaits_ends_is_looked_at(self) -> None:
        """The store finds the waiting tasks and locks them: no earlier decision undoes the move to `waking`."""
        self.create("a", "b")
        self.park("a", after="b")
        writing = Operation(lambda view: Result("done", (noting("a", "seen")(view),)), writes=("task/a",))
        ending = operations.writing((CommandEntry(c.Cancel(task="b", reason="called off"), "user:ann"),))
        self.around(writing, ending)
        with self.store.read() as snapshot:
            saved = snapshot.saved("task/a")
        assert saved is not None
        assert saved.row.gate == "waking"

    # --- the store's own stream, and snapshots --------------------------------------------------------------------

    def test_a_store_is_founded_once(self) -> None:
        """Each founder draws an id of its own, so no lock of a stream orders them."""
        first, second = self.around(operations.founding("one", "1"), operations.founding("two", "1"))
        assert first == second
        assert [one.name for one in self.log()] == ["store/one@1"]

    def test_a_snapshot_shows_nothing_of_what_is_committed_within_its_block(self) -> None:
        self.create("a")
        engine, before = self.engine, self.log()
        with self.store.read() as snapshot:
            assert snapshot.events(0, 100) == before
            end = self.meanwhile(lambda: engine.create("build", id="b"))
            assert (snapshot.events(0, 100), snapshot.task("b"), snapshot.head()) == (before, None, (2, 2))
        end()
        assert self.get("b").version == 1
