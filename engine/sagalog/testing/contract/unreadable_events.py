"""The contract of unreadable events: an event that this version cannot read stops its own task and no other. [LOG-5]

Rule: the engine never skips, guesses or overwrites what it cannot read; a version that can read it finds everything.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sagalog.codec import Envelope
from sagalog.engine import Engine
from sagalog.errors import NotFound, UnknownEvent
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.kernel.values import Compensation
from sagalog.store import Operation, Result
from sagalog.testing.contract.base import TTL_MS, Contract, ids
from sagalog.testing.contract.projections import rewritten

PLANTED: dict[str, Callable[[Envelope], Envelope]] = {
    "type": lambda one: rewritten(one, type="renewed_twice"),
    "field": lambda one: rewritten(one, body=one.body[:-1] + ',"colour":"red"}'),
    "schema": lambda one: rewritten(one, schema=one.schema + 1),
}


class UnreadableEventContract(Contract):
    """The tests of a task with an event of a newer version, among others."""

    def plant(self, task: str, change: Callable[[Envelope], Envelope]) -> tuple[Envelope, Envelope]:
        """Make a task's last event unreadable, as a newer version would leave it; return the old and the new one."""
        with self.store.read() as snapshot:
            old = snapshot.history(f"task/{task}")[-1]
        new = change(old)
        self.change_event(old, new)
        assert self.engine.rebuild().unreadable == (task,)
        return old, new

    def test_each_unknown_thing_is_refused_by_name(self) -> None:
        self.create("new", "old")
        for name, change in PLANTED.items():
            old, new = self.plant("new", change)
            refusal = self.refused(UnknownEvent, self.engine.get, "new")
            assert (refusal.stream, refusal.version, refusal.type) == ("task/new", 1, new.type), name
            report = self.engine.verify()
            assert [(fault.code, fault.stream, fault.version) for fault in report.faults] == [
                ("unreadable", "task/new", 1)
            ], name
            self.change_event(new, old)
            assert self.engine.rebuild().unreadable == ()

    def test_an_unreadable_task_is_neither_read_nor_written(self) -> None:
        self.create("new", "old")
        lease = self.acquire("new")
        self.plant("new", PLANTED["field"])
        engine = self.engine
        calls: list[Callable[[], object]] = [
            lambda: engine.get("new"),
            lambda: engine.history("new"),
            lambda: engine.create("build", id="new"),
            lambda: self.acquire("new"),
            lambda: engine.cancel("new"),
            lambda: engine.quarantine("new", "odd"),
            lambda: engine.note("new", "seen"),
            lambda: engine.waive("new", "x", "gone"),
            lambda: engine.wait("new", 0),
            lease.heartbeat,
            lease.complete,
            lambda: lease.fail("no way on"),
            lambda: lease.retry("it broke"),
            lease.release,
        ]
        for call in calls:
            self.refused(UnknownEvent, call)

    def test_every_other_task_goes_on(self) -> None:
        self.create("new", priority=-1)
        self.create("old")
        self.plant("new", PLANTED["type"])
        assert [task.id for task in self.engine.find()] == ["old"]
        [lease] = self.claim(limit=10)
        assert lease.task.id == "old"
        lease.complete()
        self.create("newest")
        assert ids(self.claim(limit=10)) == ["newest"]
        assert [fault.stream for fault in self.engine.verify().faults] == ["task/new"]

    def test_maintenance_passes_over_an_unreadable_task(self) -> None:
        self.create("new", "old", "undo", compensations=[Compensation("remove")])
        for id in ("new", "old"):
            self.acquire(id)
        self.acquire("undo").fail("no way on")
        self.plant("new", PLANTED["schema"])
        self.clock.advance(TTL_MS)
        assert [task.id for task in self.engine.stale()] == ["old"]
        assert [one.task for one in self.engine.recover(unknown_kinds=["remove"])] == ["old", "undo"]
        assert self.writes_nothing(self.engine.recover, unknown_kinds=["remove"]) == []
        assert ids(self.claim(limit=10)) == ["old"]
        assert self.types("new") == ["created", "leased"]

    def test_an_unreadable_undo_is_passed_by(self) -> None:
        self.create("new", "old", compensations=[Compensation("remove")])
        for id in ("new", "old"):
            self.acquire(id).fail("no way on")
        self.plant("new", PLANTED["schema"])
        assert [one.task for one in self.engine.recover(unknown_kinds=["remove"])] == ["old"]
        assert self.claim(limit=10, purpose="undo") == []

    def test_an_unreadable_lease_behind_a_clock_set_back_is_passed_over(self) -> None:
        """The lease lies behind a clock that was set back."""
        self.create("new")
        self.acquire("new")
        self.plant("new", PLANTED["schema"])
        self.clock.step(-3_600_000)
        for _ in range(3):
            assert self.writes_nothing(self.engine.recover) == []
            assert self.writes_nothing(self.claim) == []
            self.clock.advance(TTL_MS)

    def test_a_task_can_be_read_again_once_its_events_can(self) -> None:
        self.create("new", "old")
        task = self.get("new")
        old, new = self.plant("new", PLANTED["schema"])
        self.change_event(new, msgspec.structs.replace(old))
        assert self.engine.rebuild().unreadable == ()
        assert self.get("new") == task
        assert ids(self.claim(limit=10)) == ["new", "old"]
        self.sound()

    def test_a_task_that_was_put_aside_is_found_again_once_it_is_written(self) -> None:
        self.create("new", "old")
        with self.store.read() as snapshot:
            created = snapshot.history("task/new")[0]
        changed = PLANTED["field"](created)
        self.change_event(created, changed)
        # Its fold can be read, and a lease would show its creation.
        assert ids(self.claim(limit=10)) == ["old"]
        self.change_event(changed, created)
        assert self.claim(limit=10) == []
        self.engine.note("new", "mended")
        with self.store.read() as snapshot:
            assert snapshot.unreadable() == []
        assert ids(self.claim(limit=10)) == ["new"]
        self.sound()

    def put_aside(self, *tasks: str) -> list[tuple[Envelope, Envelope]]:
        """Let a claim put these ready tasks aside, as an older version would; return the old and new events."""
        with self.store.read() as snapshot:
            before = [snapshot.history(f"task/{task}")[0] for task in tasks]
        after = [PLANTED["field"](one) for one in before]
        for old, new in zip(before, after, strict=True):
            self.change_event(old, new)
        assert self.claim(limit=len(tasks)) == []
        assert self.aside() == list(tasks)
        return list(zip(after, before, strict=True))

    def aside(self) -> list[str]:
        """List the tasks that are put aside."""
        with self.store.read() as snapshot:
            return snapshot.unreadable()

    def test_a_task_put_aside_is_found_by_a_process_that_can_read_it(self) -> None:
        """[LOG-5] [LIFE-2] That another process has put it aside does not hide it."""
        self.create("new")
        [(new, old)] = self.put_aside("new")
        self.change_event(new, old)
        newer = Engine(self.store, clock=self.clock)
        assert ids(newer.claim("default", owner="ann", ttl_ms=TTL_MS)) == ["new"]
        assert (self.aside(), self.types("new")) == ([], ["created", "leased"])
        self.sound()

    def test_recover_finds_what_was_put_aside_again_and_does_what_is_due_on_it(self) -> None:
        """[LOG-5] [LIFE-2] A parked task, to which no other call writes."""
        self.create("asleep")
        self.acquire("asleep").park("pause", until_ms=self.clock.now_ms() + 10)
        old, new = self.plant("asleep", PLANTED["type"])
        self.clock.advance(10)
        assert self.writes_nothing(self.engine.recover) == []
        self.change_event(new, old)
        assert [one.task for one in Engine(self.store, clock=self.clock).recover()] == ["asleep"]
        assert ids(self.claim()) == ["asleep"]
        self.sound()

    def test_a_process_looks_at_what_was_put_aside_once_a_minute(self) -> None:
        """[LOG-5] An older version beside it may put a task aside at any time."""
        self.create("new")
        [(new, old)] = self.put_aside("new")
        self.change_event(new, old)
        assert self.claim() == []
        self.clock.advance(60_000)
        assert ids(self.claim()) == ["new"]

    def test_one_look_finds_all_that_can_be_read_again(self) -> None:
        """[LOG-5]"""
        tasks = [f"t{number}" for number in range(UPKEEP_LIMIT + 1)]
        self.create(*tasks)
        for new, old in self.put_aside(*tasks):
            self.change_event(new, old)
        self.clock.advance(60_000)
        assert ids(self.claim(limit=len(tasks))) == tasks

    def test_what_stays_unreadable_hides_nothing_behind_it_for_ever(self) -> None:
        """[LOG-5] A look stops at a share in which none can be read, and the next look goes on behind it."""
        tasks = [f"t{number}" for number in range(UPKEEP_LIMIT + 1)]
        self.create(*tasks)
        new, old = self.put_aside(*tasks)[-1]
        self.change_event(new, old)
        newer = Engine(self.store, clock=self.clock)
        assert newer.recover() == []
        assert self.aside() == tasks
        self.clock.advance(60_000)
        assert newer.recover() == []
        assert self.aside() == tasks[:-1]
        assert ids(self.claim()) == tasks[-1:]

    def test_a_waiter_is_told_of_the_end_of_a_task_that_is_readable_again(self) -> None:
        """[LOG-5] [WAIT-3]"""
        self.create("new", "a")
        self.acquire("a").park("w", after="new")
        self.engine.cancel("new")
        old, new = self.plant("new", PLANTED["field"])
        assert self.claim() == []
        self.change_event(new, old)
        newer = Engine(self.store, clock=self.clock)
        assert ids(newer.claim("default", owner="ann", ttl_ms=TTL_MS)) == ["a"]
        self.sound()

    def test_a_task_that_was_put_aside_misses_no_end_that_it_waits_for(self) -> None:
        """[WAIT-3]"""
        self.create("new", "other")
        self.acquire("new").park("w", after="other")
        old, new = self.plant("new", PLANTED["field"])
        self.engine.cancel("other")
        self.change_event(new, old)
        self.engine.note("new", "mended")
        assert ids(self.claim(limit=10)) == ["new"]
        self.sound()

    def test_an_end_moves_no_task_that_was_put_aside(self) -> None:
        """[WAIT-3] An end moves a task from the gate `waiting` to `waking`, and from no other gate."""
        self.create("a", "b")
        self.park("a", after="b")
        self.store.commit([Operation(lambda _: Result(None, aside=("task/a",)), writes=("task/a",))])
        self.engine.cancel("b")
        with self.store.read() as snapshot:
            assert snapshot.unreadable() == ["a"]
            assert snapshot.waits_over(self.clock.now_ms()) == []

    def test_what_was_put_aside_is_listed_in_order_and_counted_in_its_queue(self) -> None:
        """The list is in order of creation."""
        self.create("b", "c", "a", queue="left")
        before = self.engine.counts()
        aside = ("task/a", "task/c")
        self.store.commit([Operation(lambda _: Result(None, aside=aside), writes=aside)])
        with self.store.read() as snapshot:
            assert snapshot.unreadable() == ["c", "a"]
            assert snapshot.counts("left") == before

    def test_a_batch_with_an_unreadable_task_writes_nothing(self) -> None:
        self.create("new", "old")
        self.plant("new", PLANTED["field"])

        def run() -> None:
            with self.engine.batch() as batch:
                batch.note("old", "seen")
                batch.note("new", "seen")

        assert self.refused(UnknownEvent, run).command == 1

    def test_an_unreadable_task_holds_up_its_waiters_and_no_other_task(self) -> None:
        """[WAIT-3] A wait that has a time ends by it."""
        self.create("new", "other", "a", "b", "c")
        for task, until_ms in (("a", None), ("b", self.clock.now_ms() + 300)):
            self.acquire(task).park("w", after=["new", "other"], until_ms=until_ms)
        self.acquire("c").park("w", after="other")
        old, new = self.plant("new", PLANTED["field"])
        self.engine.cancel("other")
        assert ids(self.claim(limit=3)) == ["c"]
        self.clock.advance(300)
        assert [one.task for one in self.engine.recover()] == ["b"]
        self.change_event(new, old)
        self.engine.rebuild()
        self.engine.cancel("new")
        assert ids(self.claim(limit=3)) == ["a", "b"]
        self.sound()

    def test_a_task_parks_for_an_unreadable_task_and_for_no_missing_one(self) -> None:
        """[LOG-5] [WAIT-4] It is held up until the other one can be read and has ended."""
        self.create("new", "a")
        old, new = self.plant("new", PLANTED["type"])
        lease = self.acquire("a")
        self.refused(NotFound, lease.park, "w", after=["new", "nobody"])
        assert lease.park("w", after="new").waiting is not None
        assert (self.engine.recover(), ids(self.claim())) == ([], [])
        self.change_event(new, old)
        self.engine.rebuild()
        self.engine.cancel("new")
        assert ids(self.claim()) == ["a"]
        self.sound()
