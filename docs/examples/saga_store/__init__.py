"""A store of task sagas, written on sagalog: what an orchestrator of coding agents needs to keep of its work."""

from saga_store.store import SagaStore, open_store
from saga_store.sweep import Handler, Swept, sweep
from saga_store.values import SagaCompensation, TaskSaga, TaskState

__all__ = ["Handler", "SagaCompensation", "SagaStore", "Swept", "TaskSaga", "TaskState", "open_store", "sweep"]
