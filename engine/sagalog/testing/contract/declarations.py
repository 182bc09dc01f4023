"""The contract of declarations: a view shows what an operation has declared; for more the transaction begins again.

Rule: it works below the engine's calls, since the engine declares what it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sagalog.errors import OverBound
from sagalog.kernel.bounds import ROUNDS_MAX, UNDECLARED_MAX
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, State, TaskEnd
from sagalog.store import LEASE_CHECKS_MAX, Claim, Due, Operation, Result, Undeclared, View
from sagalog.testing.contract.appends import appending, noting
from sagalog.testing.contract.base import TTL_MS, Contract

CLAIM: Final = Claim(("default",), "work", 10)
FIRST: Final = Claim(("default",), "work", 1)


class DeclarationContract(Contract):
    """The tests of streams, keys, selected tasks, and rounds."""

    def rounds(self, look: Callable[[View], Any], **declared: Any) -> tuple[Any, int]:
        """Commit an operation that only looks; return its answer, and how often the store called its function."""
        calls: list[int] = []

        def decide(view: View) -> Result:
            calls.append(view.now_ms)
            self.clock.advance(1)
            return Result(look(view))

        [answer] = self.store.commit([Operation(decide, **declared)])
        assert calls == list(range(calls[0], calls[0] + len(calls))), "each round reads the clock anew"
        return answer, len(calls)

    def test_what_is_declared_is_shown_in_one_round(self) -> None:
        self.create("a", idempotency_key="r")

        def look(view: View) -> list[bool]:
            return [view.saved("task/a") is not None, view.saved("task/b") is None, bool(view.keyed("r"))]

        assert self.rounds(look, reads=("task/a", "task/b"), keys=("r",)) == ([True, True, True], 1)
        assert self.rounds(look, writes=("task/a", "task/b"), keys=("r",)) == ([True, True, True], 1)

    def test_what_is_not_declared_begins_another_round_with_it(self) -> None:
        self.create("a", "b")
        self.create("c", idempotency_key="r")

        def look(view: View) -> list[object]:
            return [view.saved("task/a") is None, view.event("task/b", 1) is None, len(view.keyed("r"))]

        assert self.rounds(look) == ([False, False, 1], 4)

    def test_the_store_s_own_stream_is_always_shown(self) -> None:
        self.create("a")
        store_id = self.engine.store_id
        assert self.rounds(lambda view: view.store is not None and view.store.id) == (store_id, 1)

    def test_an_append_to_what_was_not_declared_begins_another_round_with_it(self) -> None:
        self.create("a", "b")
        both = (noting("a", "one"), noting("b", "two"))
        assert self.store.commit([appending(*both, writes=())]) == ["done"]
        assert self.types("a") == self.types("b") == ["created", "noted"]
        self.sound()

    def test_what_is_only_to_be_read_is_not_written_without_another_round(self) -> None:
        self.create("a")
        calls: list[int] = []

        def decide(view: View) -> Result:
            calls.append(1)
            return Result("done", (noting("a", "one")(view),))

        assert self.store.commit([Operation(decide, reads=("task/a",))]) == ["done"]
        assert len(calls) == 2
        assert self.types("a") == ["created", "noted"]

    def test_a_round_that_is_begun_anew_writes_nothing(self) -> None:
        """It takes all operations of the transaction along."""
        self.create("a", "b", "c")
        asked: list[str] = []

        def look(name: str) -> Operation:
            def decide(view: View) -> Result:
                asked.append(name)
                return Result(view.saved(f"task/{name}") is not None)

            return Operation(decide)

        answers = self.store.commit([appending(noting("a", "once")), look("b"), look("c")])
        assert answers == ["done", True, True]
        assert asked == ["b", "c", "b", "c"], "one more round is enough for all that is asked in one"
        assert self.types("a") == ["created", "noted"]
        self.sound()

    def test_an_operation_of_too_many_rounds_is_refused_and_others_are_kept(self) -> None:
        """[BOUND-5]"""
        self.create("a", *(f"t{number}" for number in range(ROUNDS_MAX)))

        def look(count: int) -> Operation:
            def decide(view: View) -> Result:
                return Result(sum(view.saved(f"task/t{number}") is not None for number in range(count)))

            return Operation(decide)

        answers = self.store.commit([appending(noting("a", "one")), look(ROUNDS_MAX - 1), look(ROUNDS_MAX)])
        assert answers[:2] == ["done", ROUNDS_MAX - 1]
        assert isinstance(answers[2], OverBound)
        assert (answers[2].bound, answers[2].maximum) == ("rounds", ROUNDS_MAX)
        assert self.types("a") == ["created", "noted"]

    def test_an_operation_that_needs_too_many_others_is_refused(self) -> None:
        """[BOUND-5]"""
        self.create("a")

        def look(count: int) -> Operation:
            streams = tuple(f"task/{number}" for number in range(count))

            def decide(view: View) -> Result:
                try:
                    return Result(sum(view.saved(stream) is None for stream in streams))
                except Undeclared as undeclared:
                    raise undeclared.and_also(Undeclared(streams)) from None

            return Operation(decide)

        few, many = self.store.commit([look(UNDECLARED_MAX), look(UNDECLARED_MAX + 1)])
        assert few == UNDECLARED_MAX
        assert isinstance(many, OverBound)
        assert (many.bound, many.maximum) == ("undeclared", UNDECLARED_MAX)

    def test_a_view_shows_the_row_beside_the_fold(self) -> None:
        self.create("a", priority=3, queue="red")
        self.acquire("a")

        def look(view: View) -> tuple[object, ...]:
            saved = view.saved("task/a")
            assert saved is not None
            assert saved.row is not None
            assert isinstance(saved.fold, TaskFold)
            row = saved.row
            return saved.stream, saved.fold.version, row.queue, row.priority, row.state, row.gate, row.expires_ms

        expires_ms = self.clock.now_ms() + TTL_MS
        assert self.rounds(look, reads=("task/a",)) == (("task/a", 2, "red", 3, "running", None, expires_ms), 1)

    def test_what_a_claim_selects_is_shown_with_it(self) -> None:
        self.create("a", "b")

        def look(view: View) -> list[object]:
            return [(saved.stream, view.saved(saved.stream) == saved) for saved in view.select(CLAIM)]

        assert self.rounds(look, claim=CLAIM) == ([("task/a", True), ("task/b", True)], 1)

    def test_what_is_selected_is_written_without_another_round(self) -> None:
        self.create("a")
        calls: list[int] = []

        def decide(view: View) -> Result:
            calls.append(1)
            [saved] = view.select(FIRST)
            return Result("done", (noting(saved.fold.id, "one")(view),))

        assert self.store.commit([Operation(decide, claim=FIRST)]) == ["done"]
        assert (len(calls), self.types("a")) == (1, ["created", "noted"])

    def test_of_the_leases_whose_time_has_come_so_many_are_shown_and_no_more(self) -> None:
        """[UPKEEP-1]"""
        many = [f"{number:03}" for number in range(LEASE_CHECKS_MAX + 4)]
        self.engine.create_many([{"kind": "build", "id": id} for id in many])
        with self.engine.batch() as batch:
            for id in many:
                batch.acquire(id, owner="ann", ttl_ms=TTL_MS)
        self.clock.advance(TTL_MS)
        shown, _ = self.rounds(lambda view: [saved.fold.id for saved in view.expired], due=Due(None, 3))
        assert shown == many[: LEASE_CHECKS_MAX + 3]

    def test_maintenance_shows_what_is_due_and_what_it_waits_for_has_ended(self) -> None:
        """[WAIT-3] Looking changes nothing."""
        self.create("a", "b", "c", "d", "e", run_at_ms=self.clock.now_ms())
        self.create("late", run_at_ms=self.clock.now_ms() + 5)
        self.acquire("a")
        self.park("b", after=["c", "d"])
        self.park("e", until_ms=self.clock.now_ms() + 5)
        self.engine.cancel("c")
        self.engine.cancel("d")
        self.clock.advance(TTL_MS)

        def look(view: View) -> list[list[str]]:
            found = [view.expired, view.waits_over, view.promotable]
            ends = view.ends(["c", "d", "e", "nobody"])
            assert (list(ends.ended), ends.live, ends.unreadable) == (["c", "d"], frozenset("e"), frozenset())
            assert ends.ended["c"] == TaskEnd("c", 2, State.CANCELLED)
            return [[saved.stream for saved in some] for some in found]

        found = [["task/a"], ["task/b", "task/e"], ["task/late"]]
        for _ in range(2):
            assert self.rounds(look, due=Due(("default",), 10)) == (found, 1)
        assert self.rounds(look, due=Due(None, 10)) == (found, 1)

    def test_the_streams_of_events_that_carry_a_key_are_declared_by_the_key(self) -> None:
        self.create("a", idempotency_key="r")
        assert self.rounds(lambda view: view.saved(view.keyed("r")[0].stream) is None, keys=("r",)) == (False, 1)

    def test_a_view_shows_the_predecessors_events_that_a_task_refers_to(self) -> None:
        self.create("a")
        self.acquire("a").register(Compensation("remove", id="remove"))
        self.engine.quarantine("a", "odd")
        heir = self.engine.retry_as_new("a").id

        def look(view: View) -> bool:
            return view.saved(f"task/{heir}") is not None and view.event("task/a", 1) is not None

        assert self.rounds(look, reads=(f"task/{heir}",)) == (True, 1)
        assert self.rounds(lambda view: view.saved("task/a") is not None, reads=(f"task/{heir}",)) == (True, 2)

    def test_a_search_along_waits_finds_its_whole_chain_in_one_round(self) -> None:
        """[BOUND-5] [WAIT-4] The tasks that it reaches do not count, however many there are."""
        groups, each = 3, UNDECLARED_MAX // 2
        awaited = {f"g{group}": [f"t{group}-{number}" for number in range(each)] for group in range(groups)}
        for group, tasks in awaited.items():
            self.engine.create_many([{"kind": "build", "id": id} for id in (*tasks, group)])
            self.park(group, after=tasks)
        self.create("top")
        self.park("top", after=list(awaited))
        streams = [f"task/{id}" for group, tasks in awaited.items() for id in (group, *tasks)]

        def look(view: View) -> int:
            return sum(view.saved(stream) is not None for stream in ("task/top", *streams))

        assert self.rounds(look, along=("top",)) == (1 + len(streams), 1)
        assert len(streams) > UNDECLARED_MAX

    def test_a_task_that_a_claim_does_not_select_is_not_shown_by_it(self) -> None:
        self.create("a", "b")

        def look(view: View) -> list[object]:
            return [view.select(FIRST)[0].stream, view.saved("task/b") is None]

        assert self.rounds(look, claim=FIRST) == (["task/a", False], 2)
