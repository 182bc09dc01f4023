"""The obligations of a task, from its events: the books of a history checker.

Rule: it trusts no other module and reads events only. Knows no fold and no reducer of the kernel.
"""

from __future__ import annotations

from sagalog.kernel import events as e
from sagalog.kernel.values import State


class Obligations:
    """The planned, owed and settled undos of one task, in order of registration."""

    def __init__(self) -> None:
        self.standing: dict[str, str] = {}
        # The undos that only a predecessor has registered so far, and those that a step names.
        self.inherited: set[str] = set()
        self._named: set[str | None] = set()

    def owe(self, event: e.Recordable) -> None:
        """Enter the undos of an event. Planned ones are owed once work begins, inherited ones at once."""
        if isinstance(event, e.Created):
            # A successor that only undoes keeps its plan for its own successors.
            planned = () if event.to is State.COMPENSATING else event.compensations
            self.standing = {one.id or "": "planned" for one in planned}
            self.inherited = {one.id for one in event.inherited} - set(self.standing)
            self.standing.update((one.id, "owed") for one in event.inherited)
            self._named = {one.compensation for one in event.steps}
        elif isinstance(event, e.Leased) and event.purpose == "work":
            self.standing = {id: "owed" if status == "planned" else status for id, status in self.standing.items()}
        elif isinstance(event, e.CompensationRegistered):
            self.standing.setdefault(event.id, "owed")
            self.inherited.discard(event.id)
        elif isinstance(event, e.StepCompleted):
            self._named.add(event.compensation)

    def settle(self, id: str) -> bool:
        """Enter that one is settled; return whether it was open."""
        was_open = self.standing.get(id) in ("planned", "owed")
        if was_open:
            self.standing[id] = "settled"
        return was_open

    def owed(self) -> list[str]:
        """List what is owed."""
        return [id for id, status in self.standing.items() if status == "owed"]

    def left(self) -> list[str]:
        """List what is owed and that no work of this task replaces."""
        return [id for id in self.owed() if id in self.inherited and id not in self._named]


def settles(event: e.Recordable) -> tuple[str, ...]:
    """Return the undos that an event settles."""
    if isinstance(event, e.CompensationDone | e.CompensationWaived):
        return (event.id,)
    return event.settles if isinstance(event, e.Noted) else ()
