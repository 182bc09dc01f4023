"""The shared part of the contract's topics: a store, an engine over it, time, and refusals that must write nothing.

Rule: it holds no promise of its own. It makes everything on first use, so that a subclass may set up its place in any
way that its test runner offers. Knows no topic.
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
    """Base of the topics. A subclass opens its store, and may implement how another program changes its files."""

    # Whether a second opening of the store finds what the first one wrote.
    persists: bool = False

    def open_store(self, clock: Clock) -> Store:
        """Open the store of this test; where it persists, a second call opens the same one again."""
        raise NotImplementedError("implement open_store: it opens the store under test")

    def change_event(self, event: Envelope, changed: Envelope | None) -> None:
        """Replace an event in the files of the open store as another program would; with None, remove it."""
        raise SkipTest("this store's contract gives no way to change its log as another program would")

    def change_projection(self, task: str, columns: Mapping[str, object] | None, fold: TaskFold | None = None) -> None:
        """Change searched columns, or the saved fold, of a task as another program would; columns None: remove all."""
        raise SkipTest("this store's contract gives no way to change its projections as another program would")

    @cached_property
    def clock(self) -> ManualClock:
        """The clock of everything in one test."""
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
        """Close all that the test has opened; a subclass calls it when a test is over."""
        for store in self._opened:
            store.close()

    # --- what the topics often need ---------------------------------------------------------------------------

    def log(self) -> list[Envelope]:
        """Read the whole log."""
        with self.store.read() as snapshot:
            return snapshot.events(0, 100_000)

    def types(self, task: str) -> list[str]:
        """Read the names of a task's events."""
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
        """Read what ended a wait, with the signal's data; None while the wait goes on."""
        end = self.engine.wait_end(task, name)
        return None if end is None else (end.by, end.data)

    def get(self, task: str) -> Task:
        """Read a task, which must exist."""
        found = self.engine.get(task)
        assert found is not None, f"there is no task {task!r}"
        return found

    def refused(self, kind: type[Error], call: Callable[P, object], /, *arguments: P.args, **named: P.kwargs) -> Error:
        """Return the refusal of a call, and check that it is of exactly this class and that the log is unchanged."""
        before = self.log()
        try:
            answer = call(*arguments, **named)
        except SagalogError as refusal:
            assert type(refusal) is kind, f"expected {kind.__name__}, found {refusal!r}"
            assert self.log() == before, f"{kind.__name__} has written something"
            return refusal
        raise AssertionError(f"expected {kind.__name__}, found the answer {answer!r}")

    def writes_nothing(self, call: Callable[P, Any], /, *arguments: P.args, **named: P.kwargs) -> Any:
        """Return the answer of a call, and check that the log is unchanged."""
        before = self.log()
        answer = call(*arguments, **named)
        assert self.log() == before, "a call that repeats another has written something"
        return answer

    def sound(self) -> None:
        """Check that the log and the projections have no fault."""
        report = self.engine.verify()
        assert report.ok, report.faults
        violations = check(self.engine.events(limit=10_000))
        assert not violations, explain(violations)


def ids(leases: Iterable[Lease]) -> list[str]:
    """List the ids of leased tasks, in order."""
    return [lease.task.id for lease in leases]
