"""What the tables hold at most, as far as this process knows, so that it runs no statement that would find nothing.

Rule: an estimate may say that something is there, or due, when it is not, and never the other way round. This process
notes here what it writes; when another connection has written, `FoldCache` forgets all of it. It must not know how the
store finds anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sagalog.store import OPEN, TIME_MS_MAX, Row

# If a gate of a queue has more kinds, or sets of owed kinds, the store asks for them each time.
VALUES_MAX: Final = 64
# Bounds for a process that claims from ever new queues; each queue has four gates.
QUEUES_KEPT_MAX: Final = 1_024
GATES_KEPT_MAX: Final = 4 * QUEUES_KEPT_MAX


class Estimates:
    """For each queue that a claim has named: what is at its gates, and when something is due at the earliest.

    is_awaited    whether a task may wait for another; None: not known
    has_settings  whether a limit or a queue has a stream, or a kind is paused; None: not known
    is_followed   whether a task may be cancelled with its parent; None: not known
    """

    def __init__(self) -> None:
        self.is_awaited: bool | None = None
        self.has_settings: bool | None = None
        # When the first account is due, or the first lease with units to look at; None: not known.
        self._limits_due_ms: int | None = None
        self._limits_since_ms = 0
        self.is_followed: bool | None = None
        # By gate, queue, and the build to which the tasks are pinned.
        self._values: dict[tuple[str, str, str | None], dict[str, None]] = {}
        self._due_ms: dict[str, int] = {}

    def forget(self) -> None:
        """Drop every estimate."""
        self.is_awaited = self.is_followed = self.has_settings = self._limits_due_ms = None
        self._values.clear()
        self._due_ms.clear()

    def values(self, gate: str, queue: str, build: str | None = None) -> Collection[str] | None:
        """Return all kinds that may be at a gate of work, or all sets that may be at one of undos; None: not known.

        Of work only those of tasks that are pinned to the build; None: to none.
        """
        return self._values.get((gate, queue, build))

    def keep_values(self, gate: str, queue: str, values: Iterable[str], build: str | None = None) -> None:
        """Keep what the store has found at a gate now."""
        kept = dict.fromkeys(values)
        if len(kept) <= VALUES_MAX:
            if len(self._values) >= GATES_KEPT_MAX:
                self._values.clear()
            self._values[gate, queue, build] = kept

    def drop_value(self, gate: str, queue: str, value: str, build: str | None = None) -> None:
        """Note that the store found nothing of this kind, or set, at a gate."""
        kept = self._values.get((gate, queue, build))
        if kept is not None:
            kept.pop(value, None)

    def is_due(self, queue: str, now_ms: int) -> bool:
        """Tell whether maintenance may have something to do in a queue."""
        return self._due_ms.get(queue, 0) <= now_ms

    def keep_due(self, queue: str, times_ms: Iterable[int | None]) -> None:
        """Keep the earliest of the times at which something there is due or over; None: nothing of that sort."""
        # In a damaged file a time may be of any type: then the store asks each time.
        found = [time if type(time) is int else 0 for time in times_ms if time is not None]
        if len(self._due_ms) >= QUEUES_KEPT_MAX:
            self._due_ms.clear()
        self._due_ms[queue] = min(found, default=TIME_MS_MAX + 1)

    def are_limits_due(self, now_ms: int) -> bool | None:
        """Tell whether an account, or a lease with units, may be due; None: not known."""
        if self._limits_due_ms is None:
            return None
        # [LIMIT-8] A clock that was set back cannot show when an account is due.
        return self._limits_due_ms <= now_ms or now_ms < self._limits_since_ms

    def keep_limits_due(self, times_ms: Iterable[int | None], since_ms: int | None) -> None:
        """Keep the earliest of these times, and when one of them was set last."""
        self._limits_due_ms = min((time for time in times_ms if type(time) is int), default=TIME_MS_MAX + 1)
        self._limits_since_ms = since_ms or 0

    def note_account(self, due_ms: int | None, since_ms: int | None = None) -> None:
        """Take account of a time at which an account, or a lease with units, is due, and of when it was set."""
        if due_ms is not None and self._limits_due_ms is not None:
            self._limits_due_ms = min(self._limits_due_ms, due_ms)
            self._limits_since_ms = max(self._limits_since_ms, since_ms or 0)

    def forget_due(self) -> None:
        """Drop the times: tasks of any queue that wait for an ended task have moved."""
        self._due_ms.clear()

    def note(self, row: Row) -> None:
        """Take account of a task's row that was saved."""
        gate = row.gate
        if row.holds is not None:
            self.note_account(row.check_ms)
        if gate in OPEN:
            # Claims for work look there by build and kind, those for undoing by the set of owed kinds.
            owed = row.owed
            key = (gate, row.queue, row.build if owed is None else None)
            values = self._values.get(key)
            if values is not None:
                value = row.kind if owed is None else owed
                values[value] = None
                if len(values) > VALUES_MAX:
                    del self._values[key]
            at_ms = row.cancel_ms
            if at_ms is None:
                return
        else:
            at_ms = 0 if gate == "waking" else row.check_ms if gate is None else row.run_at_ms
            if gate == "held":
                # Its time has come already, and the account that it lacks is due instead.
                at_ms = None
            if row.cancel_ms is not None and (at_ms is None or row.cancel_ms < at_ms):
                at_ms = row.cancel_ms
        due_ms = self._due_ms.get(row.queue)
        if due_ms is not None and at_ms is not None and at_ms < due_ms:
            self._due_ms[row.queue] = at_ms
