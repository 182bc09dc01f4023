"""The contract of listings: every filter by itself and with others, in both orders; ids by their first characters.

Rule: the memory store, which looks at each task in plain Python, gives the expected answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any, Final

from sagalog.engine import Engine
from sagalog.engine.lease import Lease
from sagalog.kernel.values import Compensation
from sagalog.store import Query
from sagalog.store.memory import MemoryStore
from sagalog.testing.contract.base import START_MS, TTL_MS, Contract
from sagalog.testing.entropy import SeededEntropy

_FILTERS: Final[tuple[dict[str, Any], ...]] = (
    {"queue": "left"},
    {"queue": ["right", "left"]},
    {"kind": "build"},
    {"state": "pending"},
    {"state": ["running", "completed", "compensating"]},
    {"tags": {"team": "red"}},
    {"tags": {"team": "red", "size": "s"}},
    {"waiting": True},
    {"waiting": "approval"},
    {"parent": "plan"},
    {"correlation_id": "order 7"},
    {"since_ms": START_MS + 20},
)


# The calls by which a leased task gets into a state; `word` is the name of a wait.
_BROUGHT_TO: Final[dict[str, Callable[[Lease, str], object]]] = {
    "running": lambda lease, _: lease,
    "completed": lambda lease, _: lease.complete(),
    "compensating": lambda lease, _: lease.fail("no way on"),
    "parked": lambda lease, name: lease.park(name, signal="go"),
}
_STATES: Final = ("pending", *_BROUGHT_TO)


def _all_together(most: int) -> Iterator[dict[str, Any]]:
    """Yield every choice of at most so many different filters."""
    for count in range(most + 1):
        for chosen in combinations(_FILTERS, count):
            names = [name for one in chosen for name in one]
            if len(set(names)) == len(names):
                yield {name: value for one in chosen for name, value in one.items()}


class FindingContract(Contract):
    """The tests of each filter."""

    def test_a_listing_holds_what_fits_all_filters_in_either_order(self) -> None:
        """The memory store is the oracle; nearly every filter of three at a time leaves something out."""
        oracle = Engine(MemoryStore(self.clock), clock=self.clock, entropy=SeededEntropy(1))
        self._fill(self.engine, oracle)
        sizes = set()
        for filters in _all_together(3):
            for newest_first, limit in ((False, None), (True, None), (False, 2), (True, 2)):
                given = {**filters, "newest_first": newest_first, "limit": limit}
                expected = [task.id for task in oracle.find(**given)]
                assert [task.id for task in self.engine.find(**given)] == expected, given
                sizes.add(len(expected))
        assert len(sizes) > 5

    def test_a_rebuild_gives_back_what_tasks_are_found_by(self) -> None:
        self._fill(self.engine)
        asked = list(_all_together(1))
        before = [self.engine.find(**filters) for filters in asked]
        self.engine.rebuild()
        self.sound()
        assert [self.engine.find(**filters) for filters in asked] == before

    def test_a_task_is_found_by_its_wait_as_long_as_it_is_parked(self) -> None:
        self.create("a", "b", "c")
        self.park("a", "approval", signal="yes")
        self.park("b", "approval", until_ms=START_MS + 50)
        self.park("c", "parts", after=["b"])
        assert self._found(waiting=True) == ["a", "b", "c"]
        assert self._found(waiting="approval") == ["a", "b"]
        assert self._found(waiting="approval", state="running") == []
        assert self._found(waiting="Approval") == []
        self.engine.signal("a", "yes")
        assert self._found(waiting="approval") == ["b"]
        self.engine.cancel("b")
        # What it waits for has ended: the task is parked until the next maintenance looks.
        assert self._found(waiting=True) == ["c"]
        self.engine.recover()
        assert self._found(waiting=True) == []

    def test_a_child_is_found_by_the_task_that_created_it(self) -> None:
        self.create("plan")
        self.create("one", "two", parent="plan")
        self.create("other", parent="else")
        self.engine.cancel("one")
        assert self._found(parent="plan") == ["one", "two"]
        assert self._found(parent="plan", state="pending") == ["two"]
        assert self._found(parent="pla") == []
        again = self.engine.retry_as_new("one").id
        assert self._found(parent="plan") == ["one", "two", again]

    def test_tasks_that_belong_together_are_found_by_their_correlation_id(self) -> None:
        self.create("a", "b", correlation_id="order 7")
        self.create("c", correlation_id="order 8")
        self.create("d")
        assert self._found(correlation_id="order 7") == ["a", "b"]
        assert self._found(correlation_id="order 9") == []

    def test_a_task_is_found_by_the_time_of_its_newest_event(self) -> None:
        """Also where the clock was set back before it. [TIME-2]"""
        self.create("old", "noted", "set back")
        self.clock.advance(10)
        self.create("new")
        self.engine.note("noted", "seen")
        assert self._found(since_ms=START_MS) == ["old", "noted", "set back", "new"]
        assert self._found(since_ms=START_MS + 1) == ["noted", "new"]
        assert self._found(since_ms=START_MS + 10) == ["noted", "new"]
        assert self._found(since_ms=START_MS + 11) == []
        self.clock.step(-20)
        self.engine.note("set back", "seen")
        assert self._found(since_ms=START_MS) == ["old", "noted", "new"]

    def test_the_newest_come_first_where_they_are_asked_for_so(self) -> None:
        self.create("c", "a", "b", queue="left")
        assert self._found(newest_first=True) == ["b", "a", "c"]
        assert self._found(newest_first=True, limit=2, queue="left") == ["b", "a"]
        with self.store.read() as snapshot:
            first = snapshot.find(Query(limit=2, newest_first=True))
            rest = snapshot.find(Query(after=first[-1].order, newest_first=True))
        assert [row.fold.id for row in [*first, *rest]] == ["b", "a", "c"]

    def test_ids_are_found_by_their_first_characters(self) -> None:
        self.create("ab", "abd", "abc", "b", "a", "ac", "ab\U0010ffef", "ÄB", "a%", "a_")
        find = self.engine.ids_with_prefix
        assert find("ab") == ["ab", "abc", "abd", "ab\U0010ffef"]
        assert find("ab", 2) == ["ab", "abc"]
        assert find("abc") == ["abc"]
        assert find("a_") == ["a_"]
        assert find("Ä") == ["ÄB"]
        assert find("AB") == find("c") == find("abcd") == []
        # The store's own stream is no task.
        assert find(self.engine.store_id[:4]) == []

    def _found(self, **filters: Any) -> list[str]:
        return [task.id for task in self.engine.find(**filters)]

    def _fill(self, *engines: Engine) -> None:
        """Create the same tasks for each: of several queues, kinds and states, tagged, parked, and with a parent."""
        for number, (queue, kind, state) in enumerate(product(("left", "right", "else"), ("build", "test"), _STATES)):
            if number == 15:
                self.clock.advance(20)
            fields: dict[str, Any] = {
                "queue": queue,
                "tags": {"team": "red" if number % 2 else "blue", **({"size": "s"} if number % 3 else {})},
                "parent": "plan" if number % 4 < 2 else None,
                "correlation_id": "order 7" if number % 5 < 3 else None,
                "compensations": [Compensation("remove")] if state == "compensating" else (),
            }
            for engine in engines:
                engine.create(kind, id=f"t{number:02}", **fields)
                if state != "pending":
                    lease = engine.acquire(f"t{number:02}", owner="ann", ttl_ms=TTL_MS)
                    _BROUGHT_TO[state](lease, "approval" if number % 3 else "parts")
