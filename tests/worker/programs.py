"""Handlers that do what a task's payload says: programs drawn by a test, with effects on a small world.

Rule: an effect is made in a step, after its undo is on record, and taken back by its compensation; so at the end of a
task that was compensated none of its effects may be there. The world outlives every worker, as the real one does.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import sagalog
from sagalog import Compensation, Failed, Permanent, Quarantine, Transient
from sagalog.worker import UndoContext, WorkContext
from sagalog.worker.config import WorkerConfig

# How an attempt may end; the last one of a program is kept for all later attempts.
ENDS = ("return", "error", "failed", "transient", "quota", "permanent", "waived", "quarantine", "unstorable", "exit")
STEPS = ("step", "undoable", "unknown_undo", "artifact", "spawn", "sleep", "signal", "tasks", "timeout")


class World:
    """What handlers change outside the store, and what was seen of them."""

    def __init__(self, engine: sagalog.Engine) -> None:
        self.engine = engine
        self.effects: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.failing_undos: dict[str, int] = {}

    def config(self, ttl_ms: int = 100, concurrency: int = 3) -> WorkerConfig:
        """How a worker works that knows these handlers."""
        handlers = {"program": self.run, "child": self.child}
        return WorkerConfig(
            ("default",), handlers, {"undo": self.undo}, concurrency, 0, ttl_ms, quarantine_unknown=True
        )

    def child(self, context: WorkContext, payload: Any) -> Any:
        return payload

    def run(self, context: WorkContext, payload: Any) -> Any:
        """Carry out the program of a task."""
        for place, what in enumerate(payload["steps"]):
            self._carry_out(context, f"{what}{place}", what)
        ends = payload["ends"]
        end = ends[min(context.task.leases, len(ends)) - 1]
        self.seen[end] += 1
        return self._end(context, end)

    def _carry_out(self, context: WorkContext, name: str, what: str) -> None:
        self.seen[what] += 1
        match what:
            case "step":
                context.step(name, self._once, context, name)
            case "undoable" | "unknown_undo":
                kind = "undo" if what == "undoable" else "unknown"
                undo = Compensation(kind, {"effect": name}, id=name)
                context.step(name, self._effect, context, name, compensation=undo)
            case "artifact":
                context.artifact(name, name.encode())
            case "spawn":
                context.spawn(name, "child", name)
            case "sleep":
                context.sleep(name, 30)
            case "signal":
                assert context.wait_signal("go", name=name) == "data"
            case "tasks":
                assert all(task.is_terminal for task in context.wait_tasks(name=name))
            case "timeout":
                try:
                    context.wait_signal("never", name=name, timeout_ms=20)
                except TimeoutError:
                    self.seen["timed out"] += 1
            case _:
                raise AssertionError(what)

    def _once(self, context: WorkContext, name: str) -> str:
        """A step is run only while its result is not on record. [STEP-1]"""
        task = self.engine.get(context.task.id)
        assert task is not None
        assert name not in task.steps
        return name

    def _effect(self, context: WorkContext, name: str) -> str:
        """An effect, which its undo on record precedes. [COMP-1]"""
        task = self.engine.get(context.task.id)
        assert task is not None
        assert name in {one.id for one in task.compensations}
        self.effects[context.task.id, name] = 1
        return self._once(context, name)

    def _end(self, context: WorkContext, end: str) -> Any:
        match end:
            case "error":
                raise ValueError("broken")
            case "failed":
                raise Failed("it did not work", code="odd")
            case "transient":
                raise Transient("overloaded", retry_after_ms=15)
            case "quota":
                raise Transient("come back later", budget="quota", retry_after_ms=15)
            case "permanent":
                raise Permanent("it cannot be done")
            case "waived":
                raise Permanent("it cannot be done", waive_compensation="it has no effects")
            case "quarantine":
                raise Quarantine("odd")
            case "unstorable":
                return object()
            case "exit":
                raise SystemExit(1)
            case _:
                assert end == "return"
        return {"attempt": context.attempt}

    def undo(self, context: UndoContext, params: Any) -> None:
        """Take an effect back; fails as often as it was told to."""
        key = context.idempotency_key
        if self.failing_undos.get(context.task.id, 0) > 0:
            self.failing_undos[context.task.id] -= 1
            self.seen["undo failed"] += 1
            raise ConnectionError(key)
        self.seen["undo"] += 1
        self.effects[context.task.id, params["effect"]] = 0
