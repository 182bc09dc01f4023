"""Short ways to say what tests of the engine say often: a refusal that wrote nothing, a repeat that wrote nothing.

Rule: compares whole logs, so that nothing that was written can be overlooked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from sagalog import Compensation, Engine, Lease, Recorded, Retry, SagalogError, Task

Error = TypeVar("Error", bound=SagalogError)

TTL_MS = 1_000
REMOVE = Compensation("remove", {"n": 1}, "left over", "remove")
CLOSE = Compensation("close", None, None, "close")


def log_of(engine: Engine) -> list[Recorded]:
    return engine.events(limit=10_000)


def refused(engine: Engine, kind: type[Error], call: Callable[..., object], /, *given: Any, **named: Any) -> Error:
    """The refusal of a call, of exactly this class; the log is as it was."""
    before = log_of(engine)
    with pytest.raises(kind) as caught:
        call(*given, **named)
    assert type(caught.value) is kind
    assert log_of(engine) == before
    return caught.value


def unchanged(engine: Engine, call: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """The answer of a call that wrote nothing."""
    before = log_of(engine)
    answer = call(*given, **named)
    assert log_of(engine) == before
    return answer


def types(engine: Engine, id: str) -> list[str]:
    """The names of a task's events."""
    return [event.type for event in engine.history(id)]


def leased(engine: Engine, id: str = "t", owner: str = "ann", **created: Any) -> Lease:
    """A lease for work on a new task."""
    engine.create("build", id=id, **created)
    return engine.acquire(id, owner=owner, ttl_ms=TTL_MS)


def undoing(engine: Engine, id: str = "t", **created: Any) -> Lease:
    """A lease for undoing on a new task that owes `remove`, then `close`, in the order in which they are undone."""
    created.setdefault("compensations", [CLOSE, REMOVE])
    leased(engine, id, **created).fail("no way on")
    return engine.acquire(id, owner="ann", ttl_ms=TTL_MS, purpose="undo")


def get(engine: Engine, id: str = "t") -> Task:
    task = engine.get(id)
    assert task is not None
    return task


SOON = Retry(delay_min_ms=0, delay_max_ms=0)
