"""What a task owes, as its events say: the books of a history checker.

Rule: believes no other module; reads events only, and neither folds nor the reducer of the kernel.
"""

from __future__ import annotations

from sagalog.kernel import events as e
from sagalog.kernel.values import State


class Obligations:
    """What of one task is planned, owed and settled, in order of registration."""

    def __init__(self) -> None:
        self.standing: dict[str, str] = {}
        # Those for which nothing but a predecessor stands yet, and those that a step names.
        self.inherited: set[str] = set()
        self._named: set[str | None] = set()

    def owe(self, event: e.Recordable) -> None:
        """Enter what an event brings. Planned ones are owed once work begins, inherited ones at once."""
        if isinstance(event, e.Created):
            # What a successor plans that only undoes is for its own successors.
            planned = () if event.to is State.COMPENSATING else event.compensations
            self.standing = {one.id or "": "planned" for one in planned}
            self.inherited = {one.id for one in event.inherited} - set(self.standing)
            self.standing.update((one.id, "owed") for one in event.inherited)
            self._named = {one.compensation for one in event.steps}
        elif isinstance(event, e.Leased) and event.purpose == "work":
            self.standing = {id: "owed" if stands == "planned" else stands for id, stands in self.standing.items()}
        elif isinstance(event, e.CompensationRegistered):
            self.standing.setdefault(event.id, "owed")
            self.inherited.discard(event.id)
        elif isinstance(event, e.StepCompleted):
            self._named.add(event.compensation)

    def settle(self, id: str) -> bool:
        """Enter that one is settled; whether it was open."""
        was_open = self.standing.get(id) in ("planned", "owed")
        if was_open:
            self.standing[id] = "settled"
        return was_open

    def owed(self) -> list[str]:
        """What is owed."""
        return [id for id, stands in self.standing.items() if stands == "owed"]

    def left(self) -> list[str]:
        """What of that nothing of this task stands for."""
        return [id for id in self.owed() if id in self.inherited and id not in self._named]


def settles(event: e.Recordable) -> tuple[str, ...]:
    """The undos that an event settles."""
    if isinstance(event, e.CompensationDone | e.CompensationWaived):
        return (event.id,)
    return event.settles if isinstance(event, e.Noted) else ()
