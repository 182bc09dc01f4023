"""The contract of dedupe keys: of one kind, one task at most has a key, and a creation that repeats it gives that task.

Rule: the repeats have other payloads here, since nothing of them is compared. [DEDUPE-2]
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.engine.task import Task
from sagalog.errors import AlreadyExists, Conflict, InvalidValue
from sagalog.kernel.bounds import DEDUPE_CHARACTERS_MAX, DEDUPES_OVER_LIMIT, PERIOD_MS_MAX
from sagalog.kernel.values import Compensation, Dedupe, State
from sagalog.store import DedupeRow, Operation, Result, View
from sagalog.testing.contract.base import BROKEN, Contract

PERIOD_MS: Final = 10_000
LIVE: Final = Dedupe("k")
PERIOD: Final = Dedupe("k", "period", PERIOD_MS)
EVER: Final = Dedupe("k", "ever")


class DedupeContract(Contract):
    """The tests of dedupe keys."""

    def make_once(self, id: str | None = None, dedupe: Dedupe = LIVE, kind: str = "build", **arguments: Any) -> Task:
        """Create a task with a key."""
        return self.engine.create(kind, id=id, dedupe=dedupe, **arguments)

    def dedupe_row(self, key: str = "k", kind: str = "build") -> DedupeRow | None:
        """Return the row of a key as an operation sees it."""
        declared = ((kind, key),)
        [row] = self.store.commit([Operation(lambda view: Result(view.dedupe(kind, key)), dedupes=declared)])
        assert row is None or isinstance(row, DedupeRow), row
        return row

    def rows_over(self) -> list[DedupeRow]:
        """Return the rows whose period is over, as an operation sees them."""

        def look(view: View) -> Result:
            return Result(list(view.dedupes_over(1_000)))

        [rows] = self.store.commit([Operation(look, dedupes=(("build", "k"),))])
        assert isinstance(rows, list), rows
        return rows

    def stays_unique(self, *keys: str) -> None:
        """Check that the store is sound, and that a rebuild gives the same rows of these keys."""
        self.sound()
        before = [self.dedupe_row(key) for key in keys]
        self.engine.rebuild()
        assert [self.dedupe_row(key) for key in keys] == before
        self.sound()

    # --- repeats --------------------------------------------------------------------------------------------------

    def test_a_repeat_of_a_key_gives_the_task_that_exists_and_says_so(self) -> None:
        """[DEDUPE-1] [DEDUPE-2]"""
        first = self.make_once(payload={"n": 1})
        assert (first.dedupe, first.deduplicated) == (LIVE, False)
        again = self.writes_nothing(self.make_once, payload={"n": 2}, queue="other", priority=3)
        assert (again.id, again.payload, again.deduplicated) == (first.id, {"n": 1}, True)
        named = self.writes_nothing(self.make_once, "another-id", EVER)
        assert (named.id, named.deduplicated) == (first.id, True)
        assert self.engine.get("another-id") is None
        assert not self.get(first.id).deduplicated
        self.stays_unique("k")

    def test_a_repeat_gives_the_task_as_it_is_now(self) -> None:
        """[DEDUPE-2]"""
        self.make_once("a")
        self.acquire("a")
        assert self.make_once().state is State.RUNNING

    def test_each_kind_has_keys_of_its_own_and_other_keys_are_others(self) -> None:
        """[DEDUPE-1]"""
        made = [
            self.make_once(),
            self.make_once(kind="test"),
            self.make_once(dedupe=Dedupe("K")),
            self.make_once(dedupe=Dedupe("k ")),
        ]
        assert len({task.id for task in made}) == 4
        assert not any(task.deduplicated for task in made)
        self.stays_unique("k", "K", "k ")

    def test_a_task_without_a_key_is_never_a_repeat(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("a")
        self.create("b", "c")
        assert [self.get(id).dedupe for id in "bc"] == [None, None]

    def test_the_same_id_goes_before_the_key(self) -> None:
        """[DEDUPE-2] [REPEAT-2] [REPEAT-6]"""
        self.make_once("a", EVER)
        assert not self.writes_nothing(self.make_once, "a", EVER).deduplicated
        self.create("b")
        assert self.refused(AlreadyExists, self.make_once, "b").differs == ["dedupe"]
        assert self.refused(AlreadyExists, self.make_once, "a", Dedupe("other", "ever")).differs == ["dedupe"]
        assert self.dedupe_row("other") is None

    def test_an_idempotency_key_on_record_goes_before_the_key(self) -> None:
        """[DEDUPE-2] [REPEAT-4]"""
        first = self.make_once(idempotency_key="r")
        self.engine.cancel(first.id)
        again = self.writes_nothing(self.make_once, idempotency_key="r")
        assert (again.id, again.deduplicated) == (first.id, False)
        assert self.dedupe_row() is None

    def test_one_batch_creates_one_task_of_a_key(self) -> None:
        """[DEDUPE-2]"""
        specs = [{"kind": "build", "id": id, "dedupe": LIVE} for id in "abc"] + [{"kind": "test", "dedupe": LIVE}]
        made = self.engine.create_many(specs)
        assert [task.id for task in made[:3]] == ["a", "a", "a"]
        assert [task.deduplicated for task in made] == [False, True, True, False]
        with self.engine.batch(together=False) as batch:
            batch.create("build", id="d", dedupe=Dedupe("j"))
            batch.create("build", id="e", dedupe=Dedupe("j"))
            batch.create("build", dedupe=LIVE)
        found = [one for one in batch.results if isinstance(one, Task)]
        assert [(task.id, task.deduplicated) for task in found] == [("d", False), ("d", True), ("a", True)]
        self.stays_unique("k", "j")

    def test_a_batch_frees_a_key_and_takes_it_anew(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("a")
        with self.engine.batch() as batch:
            batch.cancel("a")
            batch.create("build", id="b", dedupe=LIVE)
            batch.cancel("b")
            batch.create("build", id="c", dedupe=LIVE)
            batch.create("build", id="d", dedupe=LIVE)
        assert self.dedupe_row() == DedupeRow("build", "k", "c", None)
        with self.engine.batch() as batch:
            batch.create("build", id="e", dedupe=Dedupe("j"))
            batch.cancel("e")
        assert self.dedupe_row("j") is None
        self.stays_unique("k", "j")

    def test_a_repeat_asks_nothing_of_what_it_would_have_needed(self) -> None:
        """[DEDUPE-2]"""
        first = self.make_once()
        assert self.make_once(uses={"no-such-limit": 1}, after=["no-such-task"]).id == first.id

    # --- until when -----------------------------------------------------------------------------------------------

    def test_every_end_of_a_live_task_frees_its_key(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("completed")
        self.acquire("completed").complete()
        self.make_once("failed")
        self.acquire("failed").fail(BROKEN, waive_compensation="none")
        self.make_once("cancelled")
        self.engine.cancel("cancelled")
        self.make_once("quarantined")
        self.engine.quarantine("quarantined", "odd")
        self.make_once("undone")
        lease = self.acquire("undone")
        lease.register(Compensation("undo", id="u"))
        lease.fail(BROKEN)
        assert self.make_once().id == "undone", "it lives until it is undone"
        self.acquire("undone", purpose="undo").compensation_done("u")
        self.make_once("late", deadline_ms=self.clock.now_ms() + 1)
        self.clock.advance(1)
        self.engine.recover()
        assert self.dedupe_row() is None
        assert self.make_once().deduplicated is False
        states = [self.get(id).state for id in ("completed", "failed", "cancelled", "quarantined", "undone", "late")]
        assert states == ["completed", "failed", "cancelled", "quarantined", "compensated", "cancelled"]
        self.stays_unique("k")

    def test_a_period_counts_from_the_creation_whatever_becomes_of_the_task(self) -> None:
        """[DEDUPE-1] [DEDUPE-4]"""
        self.make_once("a", PERIOD)
        self.engine.cancel("a")
        self.clock.advance(PERIOD_MS - 1)
        assert self.make_once(dedupe=LIVE).id == "a"
        self.stays_unique("k")
        self.clock.advance(1)
        assert self.make_once("b", PERIOD).id == "b"
        assert self.make_once().id == "b"
        self.stays_unique("k")

    def test_a_period_may_be_over_while_its_task_lives(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("a", PERIOD)
        self.clock.advance(PERIOD_MS)
        assert self.make_once("b").id == "b"
        self.engine.cancel("a")
        assert self.make_once().id == "b", "the end of a task whose period is over frees no key of another"
        self.stays_unique("k")

    def test_for_ever_is_for_ever(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("a", EVER)
        self.acquire("a").complete()
        self.clock.advance(10 * PERIOD_MS_MAX)
        assert self.make_once().id == "a"
        self.stays_unique("k")

    def test_the_scope_of_the_task_that_has_the_key_decides(self) -> None:
        """[DEDUPE-1]"""
        self.make_once("a", LIVE)
        assert self.make_once(dedupe=EVER).id == "a"
        self.engine.cancel("a")
        assert self.make_once("b", EVER).id == "b"

    def test_a_clock_that_was_set_back_lets_a_period_begin_anew(self) -> None:
        """[DEDUPE-4]"""
        self.make_once("a", PERIOD)
        self.clock.step(-1_000 * PERIOD_MS)
        assert self.make_once().id == "a"
        self.clock.advance(PERIOD_MS - 1)
        assert self.make_once().id == "a"
        self.sound()
        self.clock.advance(1)
        assert self.make_once("b").id == "b"
        self.stays_unique("k")

    def test_rows_of_periods_that_are_over_go_by_and_by(self) -> None:
        """[DEDUPE-4]"""
        for number in range(DEDUPES_OVER_LIMIT + 2):
            self.make_once(f"t{number}", Dedupe(f"k{number}", "period", PERIOD_MS + number))
        assert self.rows_over() == []
        self.clock.advance(2 * PERIOD_MS)
        assert [row.task for row in self.rows_over()] == [f"t{number}" for number in range(DEDUPES_OVER_LIMIT + 2)]
        self.make_once("next", Dedupe("next"))
        assert [row.task for row in self.rows_over()] == ["t8", "t9"]
        self.make_once("t8-again", Dedupe("k8", "period", PERIOD_MS))
        assert self.rows_over() == []
        self.stays_unique("k0", "k8", "next")

    # --- successors -----------------------------------------------------------------------------------------------

    def test_a_successor_takes_the_key_over(self) -> None:
        """[DEDUPE-3]"""
        for dedupe in (Dedupe("a"), Dedupe("b", "period", PERIOD_MS), Dedupe("c", "ever")):
            first = self.make_once(dedupe=dedupe)
            before = self.dedupe_row(dedupe.key)
            self.engine.quarantine(first.id, "odd")
            self.clock.advance(10)
            successor = self.engine.retry_as_new(first.id)
            assert before is not None
            assert self.dedupe_row(dedupe.key) == before._replace(task=successor.id), "until the same time"
            assert successor.dedupe == dedupe
            assert self.make_once(dedupe=Dedupe(dedupe.key)).id == successor.id
            assert self.engine.retry_as_new(first.id).id == successor.id
        self.stays_unique("a", "b", "c")

    def test_no_successor_takes_a_key_that_another_task_has(self) -> None:
        """[DEDUPE-3]"""
        self.make_once("a")
        self.engine.cancel("a")
        self.make_once("b", EVER)
        refusal = self.refused(Conflict, self.engine.retry_as_new, "a")
        assert (refusal.task, refusal.holder, refusal.dedupe) == ("a", "b", "k")
        assert "'b'" in str(refusal)
        self.stays_unique("k")

    def test_a_successor_after_the_period_has_no_key(self) -> None:
        """[DEDUPE-3]"""
        self.make_once("a", PERIOD)
        self.engine.cancel("a")
        self.clock.advance(PERIOD_MS)
        self.make_once("b")
        assert self.engine.retry_as_new("a").dedupe is None
        assert self.make_once().id == "b"
        self.stays_unique("k")

    def test_a_task_that_undoes_what_was_left_has_no_key(self) -> None:
        """[DEDUPE-3] [COMP-7]"""
        self.make_once("a", EVER)
        lease = self.acquire("a")
        lease.register(Compensation("undo", id="u"))
        lease.quarantine(BROKEN)
        successor = self.engine.retry_as_new("a")
        done = self.acquire(successor.id).complete()
        assert done.successor is not None
        undoer = self.get(done.successor)
        assert (undoer.state, undoer.dedupe) == ("compensating", None)
        assert self.make_once().id == successor.id
        self.stays_unique("k")

    # --- what is refused ------------------------------------------------------------------------------------------

    def test_a_key_of_another_form_is_refused(self) -> None:
        """[DEDUPE-1] [BOUND-1]"""
        self.create("a")
        bad: list[Any] = [
            "k", Dedupe(""), Dedupe("x" * (DEDUPE_CHARACTERS_MAX + 1)), Dedupe("a\nb"), Dedupe("k", "always"),  # type: ignore[arg-type]
            Dedupe("k", "period"), Dedupe("k", "live", 5), Dedupe("k", "ever", 5), Dedupe("k", "period", 0),
            Dedupe("k", "period", PERIOD_MS_MAX + 1), Dedupe("k", "period", True), Dedupe(7),  # type: ignore[arg-type]
        ]  # fmt: skip
        for one in bad:
            assert self.refused(InvalidValue, self.make_once, None, one).path.startswith("dedupe")
        for scope in ("live", "period"):
            refusal = self.refused(
                InvalidValue, self.make_once, None, Dedupe("k", scope, 5 if scope == "live" else None)
            )
            assert "period_ms" in refusal.message
            assert "scope" in refusal.message
        self.make_once(dedupe=Dedupe("x" * DEDUPE_CHARACTERS_MAX, "period", PERIOD_MS_MAX))

    def test_a_key_that_is_not_declared_begins_another_round(self) -> None:
        """[DEDUPE-1] As a stream does."""
        self.make_once("a")
        calls: list[int] = []

        def decide(view: View) -> Result:
            calls.append(1)
            row = view.dedupe("build", "k")
            return Result(None if row is None else view.saved(f"task/{row.task}") is not None)

        assert self.store.commit([Operation(decide)]) == [True]
        assert len(calls) == 2, "the key declares the task that has it"
