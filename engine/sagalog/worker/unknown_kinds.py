"""Ready tasks of kinds that a worker does not know; its log names each kind once.

Rule: the worker changes nothing about them, because another worker may know them. It names a kind whose tasks are ready
at two looks. At its end it names every kind with a ready task, or after a drain every kind with a live one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sagalog.engine import Engine
from sagalog.worker import handler_log

# How long other workers have to claim the tasks.
_LOOK_MS: Final = 10_000


class UnknownKinds:
    """The kinds that the worker has seen, and those that it has named."""

    def __init__(self, known: Iterable[str], queues: tuple[str, ...], build: str | None, now_ms: int) -> None:
        self._known = frozenset(known)
        self._queues = queues
        self._build = build
        self._looked_ms = now_ms - _LOOK_MS
        self._seen: set[str] = set()
        self._named: set[str] = set()

    def look(self, engine: Engine, now_ms: int, at_the_end: bool = False) -> None:
        """Look, if it is time, and name the kinds that were there at the last look too; `at_the_end` all of them."""
        if not self._known or (now_ms - self._looked_ms < _LOOK_MS and not at_the_end):
            return
        self._looked_ms = now_ms
        ready = set(engine.ready_kinds(self._queues, self._build)) - self._known - self._named
        found = ready if at_the_end else ready & self._seen
        self._seen = ready
        self._named |= found
        handler_log.unknown(sorted(found), self._queues)

    def name_live(self, engine: Engine) -> None:
        """Name each kind with a live task, ready or not, that was not named before."""
        if self._known:
            found = set(engine._executor.queries.live_kinds(self._queues)) - self._known - self._named
            self._named |= found
            handler_log.left(sorted(found), self._queues)
