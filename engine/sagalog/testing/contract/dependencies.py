"""The contract of tasks that are created to wait for others, and of edges, by which a store knows who waits. [WAIT-5]

Rule: however many tasks wait for one, its end costs a bounded commit, and none of them misses it.
"""

from __future__ import annotations

from typing import Any

from sagalog.errors import AlreadyExists, Blocked, InvalidValue, NotFound, OverBound, Rejected
from sagalog.kernel.bounds import CIRCLE_EDGES_MAX, DEPENDANTS_LIMIT, ENDS_NAMED_MAX
from sagalog.kernel.ends import digest_of_ends
from sagalog.kernel.events import Cancelled, Created, Quarantined, Unblocked
from sagalog.kernel.values import State, TaskEnd
from sagalog.store import Due, Operation, Result, View
from sagalog.testing.contract.base import TTL_MS, ids
from sagalog.testing.contract.claim_waits import ClaimWaitContract


class DependencyContract(ClaimWaitContract):
    """The tests of `create(after=)`, of edges, and of what maintenance does with them."""

    def end(self, *tasks: str, failing: bool = False) -> None:
        """End tasks one after another, by completing them or not."""
        for task in tasks:
            lease = self.acquire(task, waive_compensation="it has no effects")
            if failing:
                lease.fail("no way on")
            else:
                lease.complete()

    def edges(self, *tasks: str) -> list[tuple[str, str]]:
        """Read the edges of tasks, as a view shows them."""

        def look(view: View) -> Result:
            return Result(sorted(view.edges(list(tasks), 100_000)))

        [answer] = self.store.commit([Operation(look, reads=tuple(f"task/{task}" for task in tasks))])
        assert isinstance(answer, list)
        return answer

    # --- tasks that are created after others --------------------------------------------------------------------

    def test_a_task_created_after_others_is_claimed_once_all_have_completed(self) -> None:
        """[WAIT-5]"""
        self.create("a", "b")
        created = self.engine.create("build", id="c", after=["a", self.get("b")])
        assert created.waiting is not None
        assert (created.state, created.waiting.after, created.waiting.number) == ("pending", ("a", "b"), 0)
        self.refused(Blocked, self.acquire, "c")
        self.end("a")
        assert ids(self.claim()) == ["b"]
        self.end_claimed("b")
        assert ids(self.claim()) == ["c"]
        assert self.types("c") == ["created", "unblocked", "leased"]
        self.sound()

    def end_claimed(self, task: str) -> None:
        """Complete a task that is leased already."""
        lease = self.get(task).lease
        assert lease is not None
        self.engine.reattach(task, lease.fence).complete()

    def test_what_has_ended_before_the_creation_counts_at_once(self) -> None:
        """[WAIT-5]"""
        self.create("a", "b")
        self.end("a")
        assert self.engine.create("build", id="c", after="a").waiting is None
        assert self.types("c") == ["created", "unblocked"]
        self.end("b", failing=True)
        assert self.engine.create("build", id="d", after=["a", "b"]).state == "cancelled"
        assert self.types("d") == ["created", "unblocked", "cancelled"]
        assert ids(self.claim()) == ["c"]
        self.sound()

    def test_one_that_does_not_complete_cancels_quarantines_or_lets_run(self) -> None:
        """[WAIT-5] The engine says why by a code, in the commit of `unblocked`."""
        self.create("good", "bad")
        for choice in ("cancel", "quarantine", "run"):
            self.engine.create("build", id=choice, after=["good", "bad"], on_failed=choice)
        self.end("good")
        self.end("bad", failing=True)
        self.engine.recover()
        assert [self.get(id).state for id in ("cancel", "quarantine", "run")] == ["cancelled", "quarantined", "pending"]
        for id, kind in (("cancel", Cancelled), ("quarantine", Quarantined)):
            event = self.engine.history(id)[-1].event
            assert isinstance(event, kind)
            assert (event.code, event.reason) == ("dependency_failed", None)
            assert event.parameters == {"task": "bad", "state": "failed", "failed": 1}
            assert "'bad' is failed" in (self.get(id).reason or "")
        unblocked = self.engine.history("run")[-1].event
        assert isinstance(unblocked, Unblocked)
        assert (unblocked.number, unblocked.counts) == (0, {"completed": 1, "failed": 1})
        assert ids(self.claim()) == ["run"]
        assert self.get("run").waits == {}, "no handler has asked for it"
        self.sound()

    def test_every_end_but_completed_counts_as_failed(self) -> None:
        """[WAIT-5]"""
        self.create("cancelled", "quarantined")
        self.engine.create("build", id="after cancelled", after="cancelled")
        self.engine.create("build", id="after quarantined", after="quarantined")
        self.engine.cancel("cancelled")
        self.engine.quarantine("quarantined", "odd")
        self.engine.recover()
        assert {self.get(f"after {id}").state for id in ("cancelled", "quarantined")} == {"cancelled"}

    def test_it_waits_for_its_time_too(self) -> None:
        """[WAIT-5] Both have to be over, whichever is first."""
        self.create("a", "b", queue="other")
        due_ms = self.clock.now_ms() + 300
        for id, after in (("early", "a"), ("late", "b")):
            self.engine.create("build", id=id, after=after, run_at_ms=due_ms)
        self.end("a")
        assert self.claim() == []
        assert self.get("early").run_at_ms == due_ms
        self.clock.advance(300)
        assert ids(self.claim(limit=2)) == ["early"]
        self.end("b")
        assert ids(self.claim(limit=2)) == ["late"]
        self.sound()

    def test_unknown_tasks_are_refused_and_those_of_the_same_batch_are_known(self) -> None:
        """[WAIT-5]"""
        refusal = self.refused(NotFound, self.engine.create, "build", id="c", after=["nobody"])
        assert refusal.fields["task"] == "nobody"
        self.refused(NotFound, self.engine.create, "build", id="c", after=["c"])
        self.refused(InvalidValue, self.engine.create, "build", on_failed="run")
        hope: Any = "hope"
        self.refused(InvalidValue, self.engine.create, "build", after=["c"], on_failed=hope)
        with self.engine.batch() as batch:
            first = batch.create("build")
            second = batch.create("build", after=[first])
        specs: list[dict[str, Any]] = [{"kind": "build", "id": "y", "after": ["z"]}, {"kind": "build", "id": "z"}]
        self.refused(NotFound, self.engine.create_many, specs)
        assert ids(self.claim(limit=5)) == [first]
        self.end_claimed(first)
        assert ids(self.claim(limit=5)) == [second]
        self.sound()

    def test_a_repeated_creation_compares_what_it_waits_for(self) -> None:
        """[WAIT-5] [REPEAT-6]"""
        self.create("a", "b", "x")
        given: dict[str, Any] = {"id": "c", "after": ["a", "b"], "idempotency_key": "r"}
        created = self.engine.create("build", **given)
        assert self.writes_nothing(self.engine.create, "build", **given) == created
        assert self.writes_nothing(self.engine.create, "build", id="c", after=["b", "a"]) == created
        self.refused(AlreadyExists, self.engine.create, "build", id="c", after=["a", "x"])
        self.refused(AlreadyExists, self.engine.create, "build", id="c", after=["a", "b"], on_failed="run")
        self.end("a", "b")
        self.engine.recover()
        assert self.writes_nothing(self.engine.create, "build", **given).waiting is None

    def test_a_successor_waits_for_the_newest_successors_of_those(self) -> None:
        """[WAIT-5] [TERM-2] As long as its predecessor was never let go on."""
        self.create("a", "b")
        self.engine.create("build", id="c", after=["a", "b"])
        self.end("a")
        self.end("b", failing=True)
        self.engine.recover()
        newer = self.engine.retry_as_new("b").id
        self.end(newer, failing=True)
        newest = self.engine.retry_as_new(newer).id
        heir = self.engine.retry_as_new("c")
        assert heir.waiting is not None
        assert heir.waiting.after == ("a", newest)
        self.end(newest)
        assert ids(self.claim()) == [heir.id]
        self.engine.cancel(heir.id, now=True)
        again = self.engine.retry_as_new(heir.id)
        assert again.waiting is None, "its predecessor was let go on"
        assert self.types(again.id) == ["created"]
        self.sound()

    def test_the_tasks_of_a_task_that_waits_do_not_close_a_circle(self) -> None:
        """[WAIT-4] A task may park for one that was created to wait for it: that would be a circle."""
        self.create("a")
        self.engine.create("build", id="b", after="a")
        self.refused(Rejected, self.acquire("a").park, "w", after="b")

    # --- edges --------------------------------------------------------------------------------------------------

    def test_there_is_an_edge_to_each_task_that_lives_until_it_ends(self) -> None:
        """[WAIT-3] However often the waiting task is written meanwhile."""
        self.create("a", "b", "c")
        self.engine.cancel("c")
        self.create("w")
        self.park("w", after=["a", "b", "c"], until_ms=self.clock.now_ms() + TTL_MS)
        assert self.edges("w") == [("w", "a"), ("w", "b")]
        self.engine.note("w", "seen")
        self.engine.cancel("a")
        self.engine.note("a", "it has ended before")
        assert self.edges("w") == [("w", "b")]
        self.engine.rebuild()
        assert self.edges("w") == [("w", "b")]
        self.sound()
        self.clock.advance(TTL_MS)
        self.engine.recover()
        assert self.edges("w") == []
        self.sound()

    def test_a_task_is_looked_at_once_its_last_edge_is_gone(self) -> None:
        """[WAIT-3] A claim has nothing to do for the ends before that."""
        self.create("a", "b", "w")
        self.park("w", after=["a", "b"])
        self.engine.cancel("a")
        self.claim("default", kinds=["none"])
        assert self.claimable_in_ms("elsewhere") is None
        assert self.get("w").waiting is not None
        self.engine.cancel("b")
        assert self.claimable_in_ms() == 0
        assert ids(self.claim()) == ["w"]

    def test_the_commit_of_an_end_handles_so_many_and_maintenance_the_rest(self) -> None:
        """[WAIT-3] In order of creation, of any queue; a claim of another queue does its share too."""
        count = 2 * DEPENDANTS_LIMIT + 2
        self.create("a", queue="other")
        names = [f"w{number:03}" for number in range(count)]
        self.engine.create_many([{"kind": "build", "id": id, "after": ["a"]} for id in names])
        self.end("a")
        assert self.edges(*names) == [(id, "a") for id in names[DEPENDANTS_LIMIT:]]
        assert self.claimable_in_ms("elsewhere") == 0
        self.sound()
        assert self.claim("elsewhere") == []
        assert self.edges(*names) == [(id, "a") for id in names[2 * DEPENDANTS_LIMIT :]]
        assert ids(self.claim(limit=count)) == names[:DEPENDANTS_LIMIT]
        assert ids(self.claim(limit=count)) == names[DEPENDANTS_LIMIT : 2 * DEPENDANTS_LIMIT]
        assert ids(self.claim(limit=count)) == names[2 * DEPENDANTS_LIMIT :]
        assert self.claimable_in_ms("elsewhere") is None
        self.sound()

    def test_recover_goes_on_until_no_dependant_is_left(self) -> None:
        """[WAIT-3] [UPKEEP-1]"""
        names = [f"w{number:03}" for number in range(2 * DEPENDANTS_LIMIT + 2)]
        self.create("a")
        self.engine.create_many([{"kind": "build", "id": id, "after": ["a"]} for id in names])
        self.end("a")
        assert sorted(one.task for one in self.engine.recover()) == names
        assert self.engine.recover() == []
        self.sound()

    def test_what_is_left_of_an_end_is_known_after_a_rebuild_and_an_opening(self) -> None:
        """[WAIT-3] No process has to remember it."""
        names = [f"w{number:03}" for number in range(2 * DEPENDANTS_LIMIT)]
        self.create("a")
        self.engine.create_many([{"kind": "build", "id": id, "after": ["a"]} for id in names])
        self.end("a")
        if self.persists:
            with self.another_store().read() as snapshot:
                assert snapshot.dependants_due() == {"a"}
        self.engine.rebuild()
        self.sound()
        assert self.edges(*names) == []
        assert sorted(one.task for one in self.engine.recover()) == names

    def test_a_task_that_begins_to_wait_for_what_is_half_handled_does_not_wait(self) -> None:
        """[WAIT-3] An end is an end, however many of its dependants are still to be handled."""
        names = [f"w{number:03}" for number in range(DEPENDANTS_LIMIT + 1)]
        self.create("a")
        self.engine.create_many([{"kind": "build", "id": id, "after": ["a"]} for id in names])
        self.end("a")
        assert self.engine.create("build", id="late", after="a").waiting is None
        assert self.edges("late") == []
        self.sound()

    def test_of_many_tasks_the_end_of_a_wait_has_a_count_and_a_digest(self) -> None:
        """[WAIT-3] No name of them; up to 256, each with its end."""
        few = [f"t{number:03}" for number in range(ENDS_NAMED_MAX)]
        many = [*few, "last"]
        self.engine.create_many([{"kind": "build", "id": id} for id in many])
        for id, after in (("of few", few), ("of many", many)):
            self.engine.create("build", id=id, after=after, on_failed="run")
        with self.engine.batch() as batch:
            for id in many:
                batch.cancel(id)
        self.engine.recover()
        for id, after in (("of few", few), ("of many", many)):
            event = self.engine.history(id)[-1].event
            assert isinstance(event, Unblocked)
            assert event.counts == {"cancelled": len(after)}
            assert event.digest == digest_of_ends([TaskEnd(one, 2, State.CANCELLED) for one in after])
            assert len(event.ended) == (len(few) if id == "of few" else 0)
        created = self.engine.history("of many")[0].event
        assert isinstance(created, Created)
        assert created.after == tuple(many)
        self.sound()

    def test_a_view_tells_the_ends_of_many_tasks_and_which_are_none(self) -> None:
        """[WAIT-3] For few tasks and for many, in one round."""
        ended = [f"t{number:03}" for number in range(ENDS_NAMED_MAX)]
        self.engine.create_many([{"kind": "build", "id": id} for id in (*ended, "live")])
        with self.engine.batch() as batch:
            for id in ended:
                batch.cancel(id)

        for some in (ended[:2], ended):
            asked = [*some, "live", "nobody", some[0]]

            def look(view: View, asked: list[str] = asked) -> Result:
                return Result(view.ends(asked))

            [found] = self.store.commit([Operation(look)])
            assert found.ended == {id: TaskEnd(id, 2, State.CANCELLED) for id in some}
            assert (found.live, found.unreadable) == ({"live"}, set())
            with self.store.read() as snapshot:
                assert snapshot.ends(asked) == found

    def test_a_search_for_a_circle_stops_at_so_many_edges(self) -> None:
        """[WAIT-4] [BOUND-1]"""
        each = 100
        leaves = [f"t{number:03}" for number in range(each)]
        self.engine.create_many([{"kind": "build", "id": id} for id in leaves])
        layer = [f"m{number:03}" for number in range(CIRCLE_EDGES_MAX // each)]
        self.engine.create_many([{"kind": "build", "id": id, "after": leaves} for id in layer])
        self.create("under", "over", "one more")
        parked = self.park("under", after=layer)
        assert parked.waiting is not None
        self.engine.create("build", id="m last", after="one more")
        refusal = self.refused(OverBound, self.acquire("over").park, "w", after=[*layer, "m last"])
        assert (refusal.fields["bound"], refusal.fields["maximum"]) == ("circle_edges", CIRCLE_EDGES_MAX)

    def test_looking_for_what_is_due_shows_an_end_with_edges_left(self) -> None:
        """[WAIT-3]"""
        names = [f"w{number:03}" for number in range(DEPENDANTS_LIMIT + 1)]
        self.create("a")
        self.engine.create_many([{"kind": "build", "id": id, "after": ["a"]} for id in names])

        def due() -> list[str]:
            operation = Operation(lambda view: Result(list(view.dependants_due)), due=Due(("elsewhere",), 9))
            [answer] = self.store.commit([operation])
            assert isinstance(answer, list)
            return answer

        assert due() == []
        self.end("a")
        assert due() == ["a"]
        self.store.commit([Operation(lambda _: Result(None, ended=("a",)))])
        self.store.commit([Operation(lambda view: Result(None, ended=tuple(view.dependants_due)), due=Due(None, 9))])
        assert (due(), self.edges(*names)) == ([], [])
