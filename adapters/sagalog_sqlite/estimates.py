"""What the tables hold at most, as far as this process knows: so that no statement is made whose answer is empty.

Its one rule: an estimate may say that something is there, or due, when it is not, and never the other way round. What
this process writes is noted here; what another connection has written makes `FoldCache` forget all of it. It must not
know how anything is found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sagalog.store import OPEN, TIME_MS_MAX, Row

# A queue with more kinds, or sets of owed kinds, at one gate is asked for them each time.
VALUES_MAX: Final = 64
# Of a process that claims from ever new queues; each has four gates.
QUEUES_KEPT_MAX: Final = 1_024
GATES_KEPT_MAX: Final = 4 * QUEUES_KEPT_MAX


class Estimates:
    """Of each queue that was asked for: what stands at its gates, and when something is due at the earliest.

    is_awaited    whether a task may wait for another; None: not known
    """

    def __init__(self) -> None:
        self.is_awaited: bool | None = None
        self._values: dict[tuple[str, str], dict[str, None]] = {}
        self._due_ms: dict[str, int] = {}

    def forget(self) -> None:
        """Know nothing."""
        self.is_awaited = None
        self._values.clear()
        self._due_ms.clear()

    def values(self, gate: str, queue: str) -> Collection[str] | None:
        """All kinds that may stand at a gate of work, all sets that may at one of undos; None: not known."""
        return self._values.get((gate, queue))

    def keep_values(self, gate: str, queue: str, values: Iterable[str]) -> None:
        """Keep what was found to stand there now."""
        kept = dict.fromkeys(values)
        if len(kept) <= VALUES_MAX:
            if len(self._values) >= GATES_KEPT_MAX:
                self._values.clear()
            self._values[gate, queue] = kept

    def drop_value(self, gate: str, queue: str, value: str) -> None:
        """Nothing of this kind, or set, was found there."""
        kept = self._values.get((gate, queue))
        if kept is not None:
            kept.pop(value, None)

    def is_due(self, queue: str, now_ms: int) -> bool:
        """Whether upkeep may have something to do there."""
        return self._due_ms.get(queue, 0) <= now_ms

    def keep_due(self, queue: str, times_ms: Iterable[int | None]) -> None:
        """Keep the earliest of the times at which something there is due or over; None: nothing of that sort."""
        # In a damaged file a time may be of any type: then it is asked for each time.
        found = [time if type(time) is int else 0 for time in times_ms if time is not None]
        if len(self._due_ms) >= QUEUES_KEPT_MAX:
            self._due_ms.clear()
        self._due_ms[queue] = min(found, default=TIME_MS_MAX + 1)

    def forget_due(self) -> None:
        """Ends were told to waiting tasks, of whatever queue."""
        self._due_ms.clear()

    def note(self, row: Row) -> None:
        """A task's row was saved."""
        gate = row.gate
        if gate in OPEN:
            values = self._values.get((gate, row.queue))
            if values is not None:
                # Claims for work look there by kind, those for undoing by the set of owed kinds.
                value = row.owed if row.owed is not None else row.kind
                values[value] = None
                if len(values) > VALUES_MAX:
                    del self._values[gate, row.queue]
            return
        due_ms = self._due_ms.get(row.queue)
        if due_ms is not None:
            at_ms = 0 if gate == "waking" else row.check_ms if gate is None else row.run_at_ms
            if at_ms is not None and at_ms < due_ms:
                self._due_ms[row.queue] = at_ms
