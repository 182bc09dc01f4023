"""The rediscovery of tasks that were put aside and that this version can read. [LOG-5]

Rule: it writes no event. A process puts aside a task that it cannot read, often as an older version beside a newer one;
so the engine looks at such tasks again and again, and leaves those that it cannot read yet. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.engine import operations
from sagalog.errors import Corrupt, SagalogError
from sagalog.kernel.bounds import UPKEEP_LIMIT
from sagalog.store import Store


class Rediscovery:
    """The looks of one process at the tasks of a store that were put aside."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # At how many unreadable tasks it has looked; the next look begins behind them.
        self._passed = 0

    def look(self, aside: Sequence[str]) -> bool:
        """Look at the next `UPKEEP_LIMIT` of these tasks, and go on while one can be read; return whether one could."""
        found = False
        start = self._passed % len(aside) if aside else 0
        for ids in _shares([*aside[start:], *aside[:start]]):
            if not self._find(ids):
                self._passed = start + len(ids)
                break
            found = True
        return found

    def look_at_all(self) -> None:
        """Look at every task that was put aside, a share a commit."""
        with self._store.read() as snapshot:
            aside = snapshot.unreadable()
        for ids in _shares(aside):
            self._find(ids)

    def _find(self, ids: Sequence[str]) -> bool:
        """Restore the rows of those tasks that can be read; return whether there was any."""
        # Folded before the commit, so that an unreadable task delays no writer.
        readable = [id for id in ids if self._is_readable(id)]
        if not readable:
            return False
        answer = self._store.commit((operations.finding_again(readable),))[0]
        if isinstance(answer, SagalogError):
            raise answer
        return bool(answer)

    def _is_readable(self, id: str) -> bool:
        with self._store.read() as snapshot:
            try:
                return snapshot.task(id) is not None
            except Corrupt:
                return False


def _shares(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + UPKEEP_LIMIT] for start in range(0, len(ids), UPKEEP_LIMIT)]
