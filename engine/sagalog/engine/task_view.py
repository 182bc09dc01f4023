"""The tasks that a unit of work reads: as the view shows them, and as the steps so far leave them.

Rule: a task that a step has written is read from its draft, and its events always from their bytes. Writes nothing but
the names of the streams that it puts aside. Knows no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Envelope
from sagalog.engine.drafts import Draft
from sagalog.engine.json_blobs import whole
from sagalog.engine.task import Task, to_task
from sagalog.errors import Corrupt
from sagalog.kernel import events as e
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL, TaskEnd
from sagalog.store import Ends, Saved, View


class TaskView:
    """The tasks as they are after each step."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._now_ms = view.now_ms
        self._epoch = view.epoch
        # What the view has shown; a store would give the same again, at a cost.
        self._saved: dict[str, Saved | None] = {}
        self._drafts: dict[str, Draft] = {}
        self._aside: list[str] = []
        # The event that was read last: one `created`, which may be large, can hold many undos of a task.
        self._read_last: tuple[str, int, e.Recordable] | None = None

    @property
    def view(self) -> View:
        """The view, which the store gives."""
        return self._view

    def is_written(self, stream: str) -> bool:
        """Check whether the unit of work has written the task already."""
        return stream.partition("/")[2] in self._drafts

    def task(self, id: str) -> TaskFold | None:
        """Return a task as it is after the steps so far; raises as `View.saved`."""
        return self._current(id, None)

    def task_if_readable(self, id: str) -> TaskFold | None:
        """Return a task as `task` does; put aside one that cannot be read, and return None. [LOG-5]

        So a process that can read it finds it, and looks at the tasks that wait for it. [WAIT-3]
        """
        try:
            return self.task(id)
        except Corrupt:
            self._aside.append(f"task/{id}")
            return None

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of tasks after the steps so far; put aside those that cannot be read. [WAIT-3] [LOG-5]"""
        mine = {id: self._drafts[id].fold for id in ids if id in self._drafts}
        found = self._view.ends([id for id in ids if id not in mine] if mine else ids)
        if found.unreadable:
            self._aside += [f"task/{id}" for id in sorted(found.unreadable)]
        if not mine:
            return found
        ended = {id: TaskEnd(id, task.version, task.state) for id, task in mine.items() if task.state in TERMINAL}
        live = found.live.union(mine.keys() - ended.keys())
        return Ends({**found.ended, **ended}, live, found.unreadable)

    def edges(self, ids: Sequence[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return edges of some tasks after the steps so far. [WAIT-4]"""
        mine = [id for id in ids if id in self._drafts]
        found = [(id, one) for id in mine for one in self._drafts[id].awaited or ()][:limit]
        others = [id for id in ids if id not in self._drafts] if mine else ids
        kept = [id for id in mine if self._drafts[id].awaited is None and self._drafts[id].fold.waiting is not None]
        return [*found, *self._view.edges([*others, *kept], limit - len(found))]

    def noted(self, id: str, version: int) -> e.Noted:
        """Return a note of a task."""
        noted = self._read(id, version)
        assert isinstance(noted, e.Noted)
        return noted

    def created(self, id: str) -> e.Created:
        """Return the first event of a task."""
        created = self._read(id, 1)
        assert isinstance(created, e.Created)
        return created

    def keyed(self, key: str) -> list[Envelope]:
        """Return the events that carry a key, those included that this unit of work is about to append."""
        mine = [one for draft in self._drafts.values() for one in draft.envelopes if one.idempotency_key == key]
        return [*self._view.keyed(key), *mine]

    def show(self, task: TaskFold, known: Task | None = None) -> Task:
        """Make the Task of a fold, and read from the log the contents to which the fold points."""
        return to_task(task, lambda version, source=None: self._read(source or task.id, version), known)

    def _current(self, id: str, saved: Saved | None) -> TaskFold | None:
        """Return a task as it is after the steps so far: the selected one (`saved`), or else the one of this id."""
        draft = self._drafts.get(id)
        if draft is not None:
            return draft.fold
        if saved is None:
            saved = self._load(id)
        else:
            self._saved[id] = saved
        return None if saved is None else saved.fold

    def _load(self, id: str) -> Saved | None:
        if id not in self._saved:
            self._saved[id] = self._view.saved(f"task/{id}")
        return self._saved[id]

    def _blob(self, digest: str) -> bytes | None:
        """Return bytes that the store keeps, or that an earlier step has given. [BLOB-2]"""
        mine = (draft.blobs[digest] for draft in self._drafts.values() if digest in draft.blobs)
        return next(mine, None) or self._view.blob(digest)

    def _read(self, id: str, version: int) -> e.Recordable:
        """Return an event on record, or one that is about to be appended, always from its bytes."""
        last = self._read_last
        if last is not None and last[0] == id and last[1] == version:
            return last[2]
        draft = self._drafts.get(id)
        if draft is not None and version > draft.expected:
            event = draft.event(version)
        else:
            event = whole(self._view.event(f"task/{id}", version), self._blob)
        self._read_last = (id, version, event)
        return event
