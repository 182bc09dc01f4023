"""The dedupe keys of one unit of work: which task has a key, which one takes it, and which one frees it.

Rule: of one kind, one task at most has a key [DEDUPE-1]; the operation declares each key that it looks at, so that two
creations at the same moment cannot each miss the other. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sagalog.errors import Conflict
from sagalog.kernel import commands as c
from sagalog.kernel.bounds import DEDUPES_OVER_LIMIT
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL
from sagalog.store import Result, View
from sagalog.store.dedupe_keys import DedupeRow, dedupe_row_of


class Dedupes:
    """The rows of keys as the steps so far leave them; `task` gives a task as they leave it."""

    def __init__(self, view: View, task: Callable[[str], TaskFold | None]) -> None:
        self._view = view
        self._now_ms = view.now_ms
        self._task = task
        self._taken: dict[tuple[str, str], DedupeRow] = {}
        self._freed: list[DedupeRow] = []
        self._has_swept = False

    def holder(self, kind: str, key: str) -> TaskFold | None:
        """Return the task that has a key of a kind by now; None: a new one may take it.

        Where the clock is further before the end of a period than the period is long, that ends earlier. [DEDUPE-4]
        """
        row = self._row(kind, key)
        if row is None or (row.until_ms is not None and row.until_ms <= self._now_ms):
            return None
        fold = self._task(row.task)
        expected = None if fold is None else dedupe_row_of(fold)
        if fold is None or expected is None or expected[:3] != row[:3]:
            # Another program has changed the row: an audit tells it.
            return None
        assert fold.dedupe is not None
        period_ms = fold.dedupe.period_ms
        if period_ms is not None and row.until_ms is not None and row.until_ms > self._now_ms + period_ms:
            self._taken[kind, key] = row._replace(until_ms=self._now_ms + period_ms)
        return fold

    def inherited(self, task: TaskFold, create: c.Create) -> c.Create:
        """Return the creation of a successor, with the key of its predecessor unless its period is over. [DEDUPE-3]

        Raises:
            Conflict: another task has the key by now.
        """
        dedupe = create.dedupe
        if dedupe is None:
            return create
        holder = self.holder(task.kind, dedupe.key)
        row = self._row(task.kind, dedupe.key)
        until_ms = dedupe.until_ms
        if until_ms is not None and row is not None and row.task == task.id and row.until_ms is not None:
            until_ms = min(until_ms, row.until_ms)
        if until_ms is not None and until_ms <= self._now_ms:
            self._free(task)
            return msgspec.structs.replace(create, dedupe=None)
        if holder is not None and holder.id != task.id:
            raise Conflict(
                f"cannot retry task {task.id!r} as new: its dedupe key {dedupe.key!r} is now that of task "
                f"{holder.id!r}, of the same kind; wait for the end of that one, or look at it instead",
                task=task.id,
                dedupe=dedupe.key,
                holder=holder.id,
            )
        return msgspec.structs.replace(create, dedupe=msgspec.structs.replace(dedupe, until_ms=until_ms))

    def note(self, before: TaskFold, after: TaskFold) -> None:
        """Take note of what events have made of a task with a key: it takes the key, or frees it by its end."""
        row = dedupe_row_of(after)
        if before.version == 0 and row is not None:
            self._taken[row.kind, row.key] = row
            self._sweep()
        elif row is None and before.state not in TERMINAL and after.state in TERMINAL:
            self._free(after)

    def add_to(self, result: Result) -> Result:
        """Return a result with what it writes of keys."""
        return msgspec.structs.replace(
            result, dedupes_freed=tuple(self._freed), dedupes_taken=tuple(self._taken.values())
        )

    def _row(self, kind: str, key: str) -> DedupeRow | None:
        """Return the row of a key as the steps so far leave it."""
        taken = self._taken.get((kind, key))
        if taken is not None:
            return taken
        row = self._view.dedupe(kind, key)
        is_freed = row is not None and any(one[:3] == row[:3] for one in self._freed)
        return None if is_freed else row

    def _free(self, task: TaskFold) -> None:
        assert task.dedupe is not None
        row = DedupeRow(task.kind, task.dedupe.key, task.id, task.dedupe.until_ms)
        self._freed.append(row)
        taken = self._taken.get((row.kind, row.key))
        if taken is not None and taken.task == task.id:
            del self._taken[row.kind, row.key]

    def _sweep(self) -> None:
        """Free a few keys whose period is over, so that their rows do not grow in number for ever. [DEDUPE-4]"""
        if not self._has_swept:
            self._has_swept = True
            self._freed += self._view.dedupes_over(DEDUPES_OVER_LIMIT)
