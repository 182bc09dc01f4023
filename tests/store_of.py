"""The store behind an engine of this process, for tests that look at it or change it behind the engine's back."""

from __future__ import annotations

from sagalog import Engine
from sagalog.engine.local_executor import LocalExecutor
from sagalog.store import Store


def store_of(engine: Engine) -> Store:
    executor = engine._executor
    assert isinstance(executor, LocalExecutor)
    return executor.store
