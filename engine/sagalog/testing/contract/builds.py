"""The contract of builds: which claims lease a task that is pinned to the build of a worker. [BUILD-1]

Rule: the build is part of what a store looks for, so tasks of other builds cost a claim nothing. Knows no store.
"""

from __future__ import annotations

from typing import Any

from sagalog.engine import verbs
from sagalog.engine.workers import WorkerInfo, row_of
from sagalog.errors import Blocked, Conflict
from sagalog.kernel.values import Compensation
from sagalog.store import Operation, PinnedTasks, Result
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract, ids

REMOVE = Compensation("remove", id="remove")


class BuildContract(Contract):
    """The tests of `build`."""

    def test_a_claim_leases_what_is_pinned_to_its_build_or_to_none(self) -> None:
        """[BUILD-1] By priority and age among both."""
        self.create("other", build="two", priority=-9)
        self.create("mine", build="one", priority=1)
        self.create("free", priority=2)
        self.create("first", priority=0)
        assert ids(self.claim(build="one", limit=9)) == ["first", "mine", "free"]
        assert [lease.task.build for lease in self.claim(build="two")] == ["two"]
        self.sound()

    def test_a_claim_without_a_build_leases_no_pinned_task(self) -> None:
        """[BUILD-1] Whether it names kinds or not, and neither does one of another build."""
        self.create("a", build="one")
        self.create("b", build="one", affinity="red")
        for kinds in (None, ["build"], ["build", "test"]):
            for affinity in (None, "red"):
                assert self.claim(kinds=kinds, affinity=affinity, limit=9) == []
                assert self.claim(kinds=kinds, affinity=affinity, limit=9, build="two") == []
        assert ids(self.claim(kinds=["build"], affinity="red", limit=9, build="one")) == ["b", "a"]
        self.sound()

    def test_a_claim_finds_pinned_tasks_that_came_after_it_looked(self) -> None:
        """[BUILD-1] What a store remembers of a queue without pinned tasks is no longer so."""
        for kind in ("build", "test"):
            for _ in range(2):
                assert self.claim(kinds=[kind], build="one") == []
                assert self.claim(build="one") == []
            self.create(f"{kind} free", kind=kind, priority=1)
            self.create(f"{kind} pinned", kind=kind, build="one")
            assert ids(self.claim(kinds=[kind], build="one")) == [f"{kind} pinned"]
            assert ids(self.claim(kinds=[kind], build="one")) == [f"{kind} free"]

    def test_affinity_counts_among_the_tasks_of_a_build_too(self) -> None:
        """[ORDER-1] [BUILD-1]"""
        self.create("a", "b", build="one")
        self.create("c", build="one", affinity="red", priority=5)
        self.create("d", affinity="red", priority=4)
        self.create("e", build="two", affinity="red")
        assert ids(self.claim(build="one", affinity="red", limit=9)) == ["d", "c", "a", "b"]

    def test_a_pinned_task_is_acquired_under_its_build_alone(self) -> None:
        """[BUILD-1] The refusal says what to do."""
        self.create("a", build="one")
        for given in ({}, {"build": "two"}):
            refusal = self.refused(Blocked, self.acquire, "a", **given)
            assert refusal.fields["build"] == "one"
            assert "amend its build" in str(refusal)
        assert self.acquire("a", build="one").task.build == "one"
        self.create("free")
        assert self.acquire("free", build="two").task.build is None

    def test_a_lease_under_an_identity_names_its_build(self) -> None:
        """[REPEAT-6] Another build could not have made it."""
        self.create("a", "b", build="one")
        lease = self.acquire("a", build="one", idempotency_key="k")
        assert self.acquire("a", build="one", idempotency_key="k").fence == lease.fence
        self.refused(Conflict, self.acquire, "a", build="two", idempotency_key="k")
        [claimed] = self.claim(build="one", idempotency_key="c")
        assert ids(self.claim(build="one", idempotency_key="c")) == [claimed.task.id]
        self.refused(Conflict, self.claim, idempotency_key="c")

    def test_undoing_waits_for_no_build(self) -> None:
        """[BUILD-1] A worker of any build may undo what it knows the kinds of."""
        self.create("a", "b", build="one", compensations=[REMOVE])
        for id in "ab":
            self.acquire(id, build="one").fail("no")
        assert self.engine.absent_builds() == []
        assert ids(self.claim(purpose="undo", build="two")) == ["a"]
        self.acquire("b", purpose="undo")
        self.sound()

    def test_a_suspect_keeps_its_pin(self) -> None:
        """[LEASE-5] [BUILD-1]"""
        self.create("a", build="one")
        for _ in range(2):
            self.acquire("a", build="one")
            self.clock.advance(TTL_MS)
            self.engine.recover()
        assert self.get("a").is_suspect
        for suspects in ("alone", "only"):
            assert self.claim(suspects=suspects) == []
            assert self.claim(suspects=suspects, build="two") == []
        assert self.claim(suspects="never", build="one") == []
        assert ids(self.claim(build="one", kinds=["build"])) == ["a"]

    def test_amending_moves_a_task_to_another_build_or_to_none(self) -> None:
        """[BUILD-3] [AMEND-1]"""
        self.create("a", build="one")
        self.create("b")
        self.engine.amend("a", build="two")
        self.engine.amend("b", build="two")
        self.writes_nothing(self.engine.amend, "b", build="two")
        assert self.claim(build="one", limit=9) == []
        assert self.engine.amend("b", build=None).build is None
        assert ids(self.claim(limit=9)) == ["b"]
        assert ids(self.claim(limit=9, build="two")) == ["a"]
        self.sound()

    def test_a_successor_is_pinned_as_its_predecessor_was_last(self) -> None:
        """[BUILD-2] A child is not."""
        self.create("a", build="one")
        self.engine.amend("a", build="two")
        self.engine.quarantine("a", "look at it")
        assert self.engine.retry_as_new("a").build == "two"
        assert self.engine.create("build", id="child", parent="a").build is None

    def test_the_engine_lists_builds_that_no_live_worker_of_a_queue_names(self) -> None:
        """[BUILD-4]"""
        self.create("a", "b", build="one")
        self.create("later", build="one", run_at_ms=START_MS + 900)
        self.create("c", build="one", queue="right")
        self.create("d", build="two")
        self.create("e", build="three")
        self.acquire("e", build="three")
        self.create("free")
        absent = [PinnedTasks("one", "default", 3), PinnedTasks("one", "right", 1), PinnedTasks("two", "default", 1)]
        assert self.engine.absent_builds() == absent
        assert self.engine.health().builds == tuple(absent)
        self._work("one", ("default",))
        assert self.engine.absent_builds() == absent[1:]
        self._work("two", (), left_out=1)
        assert self.engine.absent_builds() == absent[1:2]
        self.clock.advance(30_000)
        assert self.engine.absent_builds() == absent
        self.engine.cancel("d")
        self.engine.amend("c", build=None)
        assert self.engine.absent_builds() == absent[:1]

    def test_each_build_has_a_line_of_its_own_under_a_limit(self) -> None:
        """[LIMIT-5] Tasks of a build that no worker has keep none of the others from being ready."""
        self.engine.set_limit("gpu", slots=1)
        self.create("a", "b", build="gone", uses={"gpu": 1})
        self.create("c", "d", build="one", uses={"gpu": 1})
        self.create("e", "f", uses={"gpu": 1})
        [lease] = self.claim(build="one", limit=9)
        assert lease.task.id == "c"
        lease.complete()
        assert ids(self.claim(limit=9)) == ["e"]
        self.sound()

    def test_amending_the_build_moves_a_task_to_the_line_of_that_build(self) -> None:
        """[LIMIT-5] [BUILD-3]"""
        self.engine.set_limit("gpu", slots=1)
        self.create("a", "b", uses={"gpu": 1})
        self.create("c", build="one", uses={"gpu": 1})
        self.engine.amend("b", build="two")
        assert ids(self.claim(limit=9, build="two", kinds=["build"])) == ["a"]
        self.engine.amend("c", build="two")
        self.sound()
        self.engine.cancel("a", now=True)
        assert ids(self.claim(limit=9, build="two")) == ["b"]
        self.sound()

    def test_ready_kinds_are_those_of_a_build(self) -> None:
        """[BUILD-1]"""
        self.create("a", kind="one", build="b1")
        self.create("b", kind="two")
        self.create("c", kind="three", build="b2")
        assert self.engine.ready_kinds("default") == ["two"]
        assert self.engine.ready_kinds("default", "b1") == ["one", "two"]
        assert self.engine.ready_kinds("default", build="b2") == ["three", "two"]

    def test_nothing_is_left_to_claim_where_all_is_pinned_to_other_builds(self) -> None:
        """[BUILD-1] A worker that drains a queue does not wait for them."""
        queries = self.engine._executor.queries
        self.create("a", build="one")
        assert not queries.has_live([self._request()])
        assert not queries.has_live([self._request(build="two", kinds=["build"])])
        assert queries.has_live([self._request(build="one", kinds=["build"])])
        assert queries.claimable_ms([self._request()]) is None
        assert queries.claimable_ms([self._request(build="one")]) == 0
        self.create("b")
        assert queries.has_live([self._request(build="two")])

    def _request(self, **given: Any) -> Any:
        return verbs.claim(self.engine._executor, "default", owner="ann", ttl_ms=TTL_MS, **given)

    def _work(self, build: str, queues: tuple[str, ...], left_out: int = 0) -> None:
        """Keep the row of a worker that is live by now."""
        now_ms = self.clock.now_ms()
        worker = WorkerInfo(
            f"{build}:1", "box", 1, None, queues, ("build",), (), 1, 0, "working", now_ms, now_ms, (), left_out, build
        )
        self.store.commit([Operation(lambda _: Result(None, kept=(row_of(worker),)))])
