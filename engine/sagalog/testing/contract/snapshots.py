"""The contract of snapshots: consistent reads, listings in order of creation, counts, pages of the log.

Rule: a snapshot shows one moment, whatever other callers write meanwhile; it never shows half a commit.
"""

from __future__ import annotations

from sagalog.codec import Envelope, envelope_of
from sagalog.kernel.values import Compensation
from sagalog.store import Delayed, Query
from sagalog.store.projection import encode_fold
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract


class SnapshotContract(Contract):
    """The tests of what a snapshot gives."""

    def test_a_listing_is_in_order_of_creation_and_fits_everything_asked(self) -> None:
        self.create("d", queue="left", tags={"team": "red", "size": "s"})
        self.create("a", queue="right", kind="test", tags={"team": "red"})
        self.create("c", queue="left", tags={"team": "blue"})
        self.create("b", queue="left", tags={"team": "red", "size": "m"})
        self.acquire("d").complete()
        find = self.engine.find
        assert [task.id for task in find()] == ["d", "a", "c", "b"]
        assert [task.id for task in find(queue="left")] == ["d", "c", "b"]
        assert [task.id for task in find(kind="test")] == ["a"]
        assert [task.id for task in find(state="pending", queue="left")] == ["c", "b"]
        assert [task.id for task in find(tags={"team": "red"})] == ["d", "a", "b"]
        assert [task.id for task in find(tags={"team": "red", "size": "m"})] == ["b"]
        assert [task.id for task in find(tags={"team": "red"}, state="completed")] == ["d"]
        assert [task.id for task in find(limit=2)] == ["d", "a"]
        assert find(queue="nowhere") == []
        assert find(tags={"team": "Red"}) == []

    def test_the_kinds_of_ready_tasks_are_told_by_queue(self) -> None:
        self.create("a", kind="one", queue="left")
        self.create("b", kind="two", queue="left")
        self.create("c", kind="two", queue="left")
        self.create("d", kind="three", queue="right")
        self.create("e", kind="held", queue="left")
        self.acquire("e")
        self.create("f", kind="later", queue="left", run_at_ms=self.clock.now_ms() + TTL_MS)
        assert self.engine.ready_kinds("left") == ["one", "two"]
        assert self.engine.ready_kinds(["right", "left"]) == ["one", "three", "two"]
        assert self.engine.ready_kinds("nowhere") == []
        with self.store.read() as snapshot:
            assert snapshot.ready_kinds(("left", "right"), None, 1) == ["one", "three"]

    def test_a_listing_can_be_read_in_pages(self) -> None:
        self.create("c", "a", "b")
        with self.store.read() as snapshot:
            first = snapshot.find(Query(limit=2))
            rest = snapshot.find(Query(after=first[-1].order))
        assert [row.fold.id for row in [*first, *rest]] == ["c", "a", "b"]

    def test_counts_are_by_queue_and_state(self) -> None:
        assert self.engine.counts() == {}
        self.create("a", "b", queue="left")
        self.create("c", queue="right", compensations=[Compensation("remove")])
        self.acquire("a")
        self.acquire("c").fail("no way on")
        assert self.engine.counts() == {"left": {"pending": 1, "running": 1}, "right": {"compensating": 1}}
        assert self.engine.counts("left") == {"left": {"pending": 1, "running": 1}}
        assert self.engine.counts("nowhere") == {}

    def test_the_log_is_read_in_pages(self) -> None:
        self.create("a", "b", "c", "d")
        with self.store.read() as snapshot:
            pages = [snapshot.events(after, 2) for after in (0, 2, 4, 5)]
            assert [[one.position for one in page] for page in pages] == [[1, 2], [3, 4], [5], []]
            assert snapshot.head() == (5, 5)

    def test_a_history_is_read_from_a_version_on(self) -> None:
        self.create("a")
        for number in range(4):
            self.engine.note("a", str(number))
        with self.store.read() as snapshot:
            assert [one.version for one in snapshot.history("task/a", 2)] == [3, 4, 5]
            assert [one.version for one in snapshot.history("task/a", 1, 2)] == [2, 3]
            assert snapshot.recorded("a", 4).version == 4
            assert snapshot.history("task/nobody") == []

    def test_streams_are_listed_with_their_newest_version(self) -> None:
        self.create("a", "b")
        self.engine.note("a", "seen")
        with self.store.read() as snapshot:
            heads = snapshot.streams(0, 10)
            page = snapshot.streams(heads[0].number, 1)
        assert [(head.stream, head.version) for head in heads] == [
            (f"store/{self.engine.store_id}", 1), ("task/a", 2), ("task/b", 1),
        ]  # fmt: skip
        assert page == heads[1:2]

    def test_tags_are_counted_each_once_for_each_task_that_carries_it(self) -> None:
        self.create("a", "b", tags={"team": "red", "size": "s"})
        self.create("c")
        with self.store.read() as snapshot:
            assert snapshot.tag_count() == 4

    def test_an_audit_gets_all_of_each_stream_and_which_are_found_by_a_tag(self) -> None:
        self.create("a", "b", "c", tags={"team": "red"})
        self.engine.note("a", "seen")
        with self.store.read() as snapshot:
            _, a, b = streams = snapshot.audited(0, 3)
            assert snapshot.tagged("team", "red", streams[0].number, b.number) == {a.number, b.number}
            assert snapshot.tagged("team", "Red", a.number, b.number) == frozenset()
            assert [one.stream for one in snapshot.audited(b.number, 3)] == ["task/c"]
            assert [envelope_of(a.stream, row) for row in a.events] == snapshot.history("task/a")
            saved = snapshot.saved("task/a")
            assert a.saved is not None
            assert saved is not None
            assert (a.saved.row, a.saved.awaited, a.saved.content) == (saved.row, (), encode_fold(saved.fold))

    def test_leases_that_are_over_and_leases_from_the_future_are_found(self) -> None:
        self.create("a", "b", "c", queue="left")
        self.acquire("a")
        self.acquire("b", ttl_ms=None)
        with self.store.read() as snapshot:
            assert snapshot.over(START_MS + TTL_MS - 1) == []
            assert [task.id for task in snapshot.over(START_MS + TTL_MS)] == ["a"]
            assert snapshot.behind(START_MS) == []
            assert [task.id for task in snapshot.behind(START_MS - 1)] == ["a"]

    def test_what_is_over_is_told_up_to_a_limit_and_longest_first(self) -> None:
        self.create("a", "b", "c", "d", "e", "f")
        for id, ttl_ms in (("a", 30), ("b", 10), ("c", 20)):
            self.acquire(id, ttl_ms=ttl_ms)
        for id, until_ms in (("d", 30), ("e", 10), ("f", 20)):
            self.park(id, until_ms=START_MS + until_ms)
        with self.store.read() as snapshot:
            assert [task.id for task in snapshot.over(START_MS + 30, 2)] == ["b", "c"]
            assert [task.id for task in snapshot.over(START_MS + 30)] == ["b", "c", "a"]
            assert [task.id for task in snapshot.waits_over(START_MS + 30, 2)] == ["e", "f"]
            assert [task.id for task in snapshot.waits_over(START_MS + 30)] == ["e", "f", "d"]

    def test_a_task_that_the_clock_delays_is_found_among_any_number(self) -> None:
        """[TIME-3] It waits for a time since an event that lies ahead of the clock."""
        self.create("noted", "later", queue="left", run_at_ms=START_MS + 50)
        self.create("parked", "forever", "leased", "ready")
        self.acquire("parked").park("pause", until_ms=START_MS + 70)
        self.acquire("forever").park("pause", signal="go")
        self.acquire("leased")
        self.create("gone", run_at_ms=START_MS + 50)
        self.engine.cancel("gone", "not needed")
        self.clock.advance(10)
        self.engine.note("noted", "seen")
        self.clock.advance(10)
        # Created after all of these, and due before them.
        self.engine.create_many({"kind": "other", "run_at_ms": START_MS + 40} for _ in range(1_000))
        with self.store.read() as snapshot:
            found = snapshot.delayed(START_MS - 1)
            assert found[:3] == [
                Delayed("later", "left", 1, 50),
                Delayed("parked", "default", 3, 70),
                Delayed("noted", "left", 2, 40),
            ]
            assert {one.wait_ms for one in found[3:]} == {20}
            assert len(found) == 1_003
            assert [one.task for one in snapshot.delayed(START_MS)[:1]] == ["noted"]
            assert len(snapshot.delayed(START_MS + 10)) == 1_000
            assert snapshot.delayed(START_MS + 20) == []

    def test_compensating_tasks_without_a_holder_are_found(self) -> None:
        self.create("c", "b", "a", compensations=[Compensation("remove")])
        for id in ("a", "b", "c"):
            self.acquire(id).fail("no way on")
        self.acquire("b", purpose="undo")
        with self.store.read() as snapshot:
            assert snapshot.undoing(self.clock.now_ms(), known=frozenset()) == ["c", "a"]

    def test_what_is_not_there_is_none(self) -> None:
        self.create("a")
        assert self.engine.get("nobody") is None
        with self.store.read() as snapshot:
            assert snapshot.task("nobody") is None
            assert snapshot.saved("task/nobody") is None
            assert snapshot.unreadable() == []
            assert snapshot.check() == []

    def test_a_new_store_holds_its_founding_and_nothing_else(self) -> None:
        founded: list[Envelope] = []
        assert self.engine.store_id
        founded = self.log()
        assert [(one.type, one.stream) for one in founded] == [("founded", f"store/{self.engine.store_id}")]
        with self.store.read() as snapshot:
            fold = snapshot.store()
        assert fold is not None
        assert (fold.id, fold.version, fold.epoch) == (self.engine.store_id, 1, 0)
        self.sound()
