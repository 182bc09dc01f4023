"""The context of a compensation's handler, with a key that outside systems can compare.

Rule: a worker undoes in reverse order, and each undo is on record before the next begins [COMP-5]. It knows one lease.
"""

from __future__ import annotations

from sagalog.engine import Engine
from sagalog.engine.lease import Lease
from sagalog.engine.task import TaskCompensation
from sagalog.errors import AlreadySettled, LeaseLost
from sagalog.validation.identities import undo_key
from sagalog.worker.context import Context
from sagalog.worker.stop_token import StopToken


class UndoContext(Context):
    """The calls that the handler of a compensation may make.

    Undos are carried out in reverse order, and each is on record before the next begins. [COMP-5]

    compensation   the id of the compensation in hand
    """

    def __init__(self, engine: Engine, lease: Lease, stopping: StopToken) -> None:
        super().__init__(engine, lease, stopping)
        self.compensation: str = ""

    @property
    def idempotency_key(self) -> str:
        """A key for outside systems: the same at every attempt to carry out this undo, and of no other. [NAME-2]"""
        return undo_key(self.task.id, self.compensation)

    def _done(self, id: str) -> tuple[TaskCompensation, ...]:
        """Record that the handler has undone one compensation; return what the task owes then. [COMP-5]"""
        try:
            after = self._persist(lambda: self._lease.compensation_done(id))
        except AlreadySettled:
            # An operator has settled it meanwhile; it is done in any case. [COMP-4]
            return self._owed()
        except LeaseLost:
            self._lose()
        return after.task.owed if isinstance(after, Lease) else ()

    def _owed(self) -> tuple[TaskCompensation, ...]:
        """Return what the task owes now, in the order of undoing, without what an operator has settled. [COMP-4]"""
        self.go_on()
        task = self._persist(lambda: self._engine.get(self.task.id))
        if task is None or task.lease is None or task.lease.fence != self.fence:
            self._lose()
        return task.owed
