"""One item of a queue and the command that works on it, until the command has ended.

Rule: if the item is lost, or may soon be, the command gets SIGTERM, whatever the store does meanwhile. No command
begins beside processes that an earlier holder has left. A command that has ended by itself was neither stopped nor
lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sagalog import Unavailable
from sagalog_cli.queue.lease_renewal import Renewal
from sagalog_cli.queue.process import Command, Signals
from sagalog_command.orphans import Orphans
from sagalog_queue import Item

_ORPHANS_S: Final = 0.02


def variables(item: Item) -> dict[str, str]:
    """Return what a command finds in its environment about its item."""
    return {
        "SAGALOG_STORE_ID": item.store_id,
        "SAGALOG_ITEM_ID": item.id,
        "SAGALOG_ITEM_ATTEMPTS": str(item.attempts),
        "SAGALOG_ITEM_FENCE": str(item.lease.fence),
    }


class Turn:
    """The work on one item, and its outcome: `is_lost`, `is_stopped` (by a signal), or the command's exit status."""

    def __init__(self, renewal: Renewal, signals: Signals, grace_s: float) -> None:
        self.is_lost = False
        self.is_stopped = False
        self.orphans: list[int] = []
        self._renewal = renewal
        self._signals = signals
        self._grace_s = grace_s

    def serve(self, start: Callable[[Mapping[str, str]], Command]) -> int | None:
        """Start the command and hold the item until it has ended; return its exit status, or None if it did not start.

        Raises:
            OSError: the system cannot start it. Unavailable: processes of an earlier holder do not end.
        """
        if not self._end_orphans():
            return None
        command = start(variables(self._renewal.item))
        try:
            while (status := command.look()) is None:
                self._apply_signals(command)
                self._check_lease(command)
                left_s = 60.0 if self.is_lost else max(0.0, self._renewal.left_s())
                self._signals.wait(min(left_s, command.pause_s()))
        except BaseException:
            # No thread watches the command from here on.
            command.kill()
            raise
        return status

    def _end_orphans(self) -> bool:
        """End the processes that an earlier holder has left; tell whether a command may begin."""
        item = self._renewal.item
        marks = {name: variables(item)[name] for name in ("SAGALOG_STORE_ID", "SAGALOG_ITEM_ID")}
        with Orphans(marks, "SAGALOG_ITEM_FENCE", item.lease.fence, self._grace_s) as orphans:
            while not orphans.look():
                self.is_lost = self._renewal.is_lost()
                self.is_stopped = bool(self._signals.stops)
                if self.is_lost or self.is_stopped:
                    return False
                if orphans.is_stuck:
                    left = ", ".join(map(str, orphans.left))
                    raise Unavailable(
                        f"an earlier holder of item {item.id} has left a process that does not end: {left}; "
                        "end it, then start again"
                    )
                self._signals.wait(_ORPHANS_S)
            self.orphans = orphans.ended
        return True

    def _apply_signals(self, command: Command) -> None:
        stops = len(self._signals.stops)
        if stops >= 2 and not command.ends:
            self.is_stopped = command.end(self._grace_s)
        elif stops >= 3 and self.is_stopped:
            command.kill()

    def _check_lease(self, command: Command) -> None:
        if not self.is_lost and self._renewal.is_lost():
            self.is_lost = command.ends or command.end(self._grace_s)
