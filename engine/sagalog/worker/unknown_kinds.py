"""Tasks that stand ready for a worker and of whose kinds it knows none: each kind is named once.

Rule: nothing is done to them, since another worker may know them; a kind that stands there at two looks is named, and
at the end of a worker that has nothing left to do each that stands there, or, where its queues are drained, each that
lives there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sagalog.engine import Engine
from sagalog.worker import handler_log

# How long others have to take what stands there.
_LOOK_MS: Final = 10_000


class UnknownKinds:
    """Which kinds have been seen, and which were named."""

    def __init__(self, known: Iterable[str], queues: tuple[str, ...], now_ms: int) -> None:
        self._known = frozenset(known)
        self._queues = queues
        self._looked_ms = now_ms - _LOOK_MS
        self._seen: set[str] = set()
        self._named: set[str] = set()

    def look(self, engine: Engine, now_ms: int, at_the_end: bool = False) -> None:
        """Look, if the time has come, and name what stood there at the last look too; `at_the_end` all at once."""
        if not self._known or (now_ms - self._looked_ms < _LOOK_MS and not at_the_end):
            return
        self._looked_ms = now_ms
        standing = set(engine.ready_kinds(self._queues)) - self._known - self._named
        found = standing if at_the_end else standing & self._seen
        self._seen = standing
        self._named |= found
        handler_log.unknown(sorted(found), self._queues)

    def name_live(self, engine: Engine) -> None:
        """Name each kind of which a task has not ended, ready or not, and that was not named before."""
        if self._known:
            found = set(engine._executor.queries.live_kinds(self._queues)) - self._known - self._named
            self._named |= found
            handler_log.left(sorted(found), self._queues)
