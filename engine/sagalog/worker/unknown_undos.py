"""Undos of kinds that a worker does not know: they wait for another worker, and its log names each kind once.

Rule: this worker ends no task whose undo it does not know [UNDO-2]; a reader of its log learns of it. It must not know
the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

_log: Final = logging.getLogger("sagalog.worker")


class UnknownUndos:
    """The kinds of undos that a worker has met and does not know; `known` are those that it knows."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._warned: set[str] = set()

    def warn(self, queue: str, kinds: Iterable[str]) -> None:
        """Warn of each unknown kind, once in the life of the worker."""
        for kind in sorted(set(kinds) - self._known - self._warned):
            self._warned.add(kind)
            _log.warning(
                "an undo of kind %r is due in the queue %r and this worker has no handler for it; it waits for "
                "a worker that has one, at most for the undo_wait_ms of the task",
                kind,
                queue,
            )
