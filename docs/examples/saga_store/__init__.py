"""A task saga store for an orchestrator of coding agents, written on sagalog. This file holds the public names."""

from saga_store.store import POLICY, SagaStore, open_store
from saga_store.sweep import Handler, Swept, sweep
from saga_store.values import Clock, Compensation, Status, TaskSaga, TaskState
from saga_store.writing_back import put

__all__ = [
    "POLICY",
    "Clock",
    "Compensation",
    "Handler",
    "SagaStore",
    "Status",
    "Swept",
    "TaskSaga",
    "TaskState",
    "open_store",
    "put",
    "sweep",
]
