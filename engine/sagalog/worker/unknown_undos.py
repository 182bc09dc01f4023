"""Undos of kinds that a worker does not know: they wait for another worker, and the log of this one names each once.

Rule: a kind that one worker does not know is ended by none [UNDO-2]; a reader of the worker's log learns of it. Knows
no store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

_log: Final = logging.getLogger("sagalog.worker")


class UnknownUndos:
    """The kinds of undos that a worker has met and does not know; `known` are those that it does."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._told: set[str] = set()

    def meet(self, queue: str, kinds: Iterable[str]) -> None:
        """Warn of each kind that is not known, once for the life of the worker."""
        for kind in sorted(set(kinds) - self._known - self._told):
            self._told.add(kind)
            _log.warning(
                "an undo of kind %r is due in the queue %r and this worker has no handler for it; it waits for "
                "a worker that has one, at most for the undo_wait_ms of the task",
                kind,
                queue,
            )
