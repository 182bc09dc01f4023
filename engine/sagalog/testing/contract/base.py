"""What the topics of the contract share: a store, an engine over it, time, and refusals that must write nothing.

Rule: holds no promise of its own. Everything is made on first use, so that a subclass may set its place up in any way
that its test runner offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, ParamSpec, TypeVar
from unittest import SkipTest

from sagalog.codec import Envelope
from sagalog.engine import Engine
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.errors import SagalogError
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Failure
from sagalog.ports import Clock
from sagalog.store import Store
from sagalog.testing.clock import ManualClock
from sagalog.testing.entropy import SeededEntropy
from sagalog.testing.history import check, explain

P = ParamSpec("P")
Error = TypeVar("Error", bound=SagalogError)

START_MS: Final = 1_700_000_000_000
TTL_MS: Final = 1_000
BROKEN: Final = Failure("broken", "it broke")


class Contract:
    """Base of the topics. A subclass says how its store is opened, and may say how its files are tampered with."""

    # Whether a store that is opened a second time finds what the first one wrote.
    persists: bool = False

    def open_store(self, clock: Clock) -> Store:
        """Open the store of this test; where it persists, a second call opens the same one again."""
        raise NotImplementedError("a store's contract says how its store is opened")

    def change_event(self, event: Envelope, changed: Envelope | None) -> None:
        """Replace an event in the store's files behind its back, or with None remove it; the open store stays open."""
        raise SkipTest("this store gives no way to change its log behind its back")

    def change_projection(self, task: str, columns: Mapping[str, object] | None, fold: TaskFold | None = None) -> None:
        """Change searched columns, or the saved fold, of a task behind the store's back; columns None: remove all."""
        raise SkipTest("this store gives no way to change its projections behind its back")

    @cached_property
    def clock(self) -> ManualClock:
        """Time for everything in one test."""
        return ManualClock(START_MS)

    @cached_property
    def store(self) -> Store:
        """The store under test."""
        return self.another_store()

    @cached_property
    def engine(self) -> Engine:
        """An engine over `store`."""
        return Engine(self.store, clock=self.clock, entropy=SeededEntropy(1))

    @cached_property
    def _opened(self) -> list[Store]:
        return []

    def another_store(self) -> Store:
        """Open the store once more; `close_all` closes it."""
        store = self.open_store(self.clock)
        self._opened.append(store)
        return store

    def close_all(self) -> None:
        """Close whatever the test has opened; a subclass calls it when a test is over."""
        for store in self._opened:
            store.close()

    # --- what the topics say often ----------------------------------------------------------------------------

    def log(self) -> list[Envelope]:
        """The whole log."""
        with self.store.read() as snapshot:
            return snapshot.events(0, 100_000)

    def types(self, task: str) -> list[str]:
        """The names of a task's events."""
        with self.store.read() as snapshot:
            return [envelope.type for envelope in snapshot.history(f"task/{task}")]

    def create(self, *ids: str, **arguments: Any) -> None:
        """Create tasks under these ids, one after another."""
        for id in ids:
            self.engine.create(arguments.pop("kind", "build"), id=id, **arguments)

    def claim(self, queues: str | Iterable[str] = "default", owner: str = "ann", **arguments: Any) -> list[Lease]:
        """Claim with a plain owner and ttl, unless they are given."""
        names = queues if isinstance(queues, str) else list(queues)
        return self.engine.claim(names, owner=owner, ttl_ms=arguments.pop("ttl_ms", TTL_MS), **arguments)

    def acquire(self, task: str, owner: str = "ann", **arguments: Any) -> Lease:
        """Acquire with a plain owner and ttl, unless they are given."""
        return self.engine.acquire(task, owner=owner, ttl_ms=arguments.pop("ttl_ms", TTL_MS), **arguments)

    def park(self, task: str, name: str = "w", **wait: Any) -> Task:
        """Lease the task and park it."""
        return self.acquire(task).park(name, **wait)

    def came_to(self, task: str, name: str = "w") -> tuple[str, object] | None:
        """By what a wait was ended, with the signal's data; None while it was not."""
        end = self.engine.wait_end(task, name)
        return None if end is None else (end.by, end.data)

    def get(self, task: str) -> Task:
        """A task that is there."""
        found = self.engine.get(task)
        assert found is not None, f"there is no task {task!r}"
        return found

    def refused(self, kind: type[Error], call: Callable[P, object], /, *arguments: P.args, **named: P.kwargs) -> Error:
        """The refusal of a call: of exactly this class, and the log is afterwards what it was before."""
        before = self.log()
        try:
            answer = call(*arguments, **named)
        except SagalogError as refusal:
            assert type(refusal) is kind, f"expected {kind.__name__}, found {refusal!r}"
            assert self.log() == before, f"{kind.__name__} has written something"
            return refusal
        raise AssertionError(f"expected {kind.__name__}, found the answer {answer!r}")

    def writes_nothing(self, call: Callable[P, Any], /, *arguments: P.args, **named: P.kwargs) -> Any:
        """The answer of a call that must leave the log as it is."""
        before = self.log()
        answer = call(*arguments, **named)
        assert self.log() == before, "a call that repeats another has written something"
        return answer

    def sound(self) -> None:
        """The log and the projections are as they must be."""
        report = self.engine.verify()
        assert report.ok, report.faults
        violations = check(self.engine.events(limit=10_000))
        assert not violations, explain(violations)


def ids(leases: Iterable[Lease]) -> list[str]:
    """The ids of leased tasks, in order."""
    return [lease.task.id for lease in leases]
