"""The newest entries of journals in this process's memory, for all who follow one: from its writer, or from the store.

Rule: a tail holds entries without a gap, from a handler of this process before they are written, else from one look at
the store for all readers [JOURNAL-5]. It holds few: a reader that is behind reads from the store. It decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakSet, WeakValueDictionary

from sagalog.engine.executor import Executor
from sagalog.engine.journal_values import JournalCursor, JournalEntry, JournalInfo, JournalPage
from sagalog.forks import reset_in_children
from sagalog.validation.identities import journal_id

# How many entries, and how many bytes of them, a tail keeps that are on record.
_ENTRIES_KEPT: Final = 4_096
_BYTES_KEPT: Final = 262_144
# How many entries one look reads at a time.
_LOOK: Final = 1_000

Listener = Callable[[], None]


class Behind(Exception):
    """The entries behind `cursor` are not in the tail any more: the reader takes them from the store."""

    def __init__(self, cursor: JournalCursor) -> None:
        super().__init__(str(cursor))
        self.cursor = cursor


class Tail:
    """The newest entries of one journal. Threads may share it.

    changed   notified when there is something new
    """

    def __init__(self, executor: Executor, name: str, task: str | None) -> None:
        self.name = name
        self.task = task
        self.changed = threading.Condition()
        self._executor = executor
        self._looking = threading.Lock()
        self._listeners: WeakSet[TailListener] = WeakSet()
        # The fence of the handler of this process that writes the journal; None: none does.
        self._feeder: int | None = None
        # What the store had when it was looked at last; None: it has to be looked at.
        self._seen: int | None = None
        self._is_known = False
        self._is_closed = False
        self._entries: list[JournalEntry] = []
        self._bytes = 0
        # Before the first entry of the newest lease; before the first one in memory; the newest; the newest on record.
        self._base = self._begin = self._end = self._recorded = JournalCursor()

    def begin_anew(self) -> None:
        """Begin anew in a forked child, which has neither the writer nor the readers."""
        self.__init__(self._executor, self.name, self.task)  # type: ignore[misc]

    @property
    def begins(self) -> JournalCursor:
        """The cursor before the first entry in memory."""
        return self._begin

    @property
    def is_fed(self) -> bool:
        """Whether a handler of this process writes the journal: its entries come before they are written."""
        return self._feeder is not None

    def listen(self, listener: TailListener) -> None:
        """Call the listener when there is something new, as long as it lives."""
        with self.changed:
            self._listeners.add(listener)

    # --- reading --------------------------------------------------------------------------------------------------

    def take(self, after: JournalCursor, limit: int) -> Sequence[JournalEntry] | None:
        """Return the entries behind a cursor, at most `limit`; none where none is there yet, None where none will be.

        Raises:
            Behind: they are not in memory.
        """
        with self.changed:
            if not self._is_known:
                return ()
            after = max(after, self._base)
            if after < self._begin:
                raise Behind(after)
            if after < self._end:
                at = after.number - self._begin.number
                return self._entries[at : at + limit]
            return None if self._is_closed and not self.is_fed else ()

    def look(self) -> None:
        """Read what is new in the store, unless another reader has done that since the newest commit."""
        while True:
            with self._looking:
                changes = self._executor.changes()
                if changes == self._seen:
                    return
                if self._read():
                    self._seen = changes
                    return

    def read(self, after: JournalCursor) -> Sequence[JournalEntry]:
        """Read from the store for one reader that is behind."""
        queries = self._executor.queries
        return queries.journal_page(self.name, self.task, after, _LOOK, True).entries

    # --- from the store -------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Take in what the store has; return whether that is all."""
        queries = self._executor.queries
        if not self._is_known:
            self.begin(queries.journal_status(self.name, self.task))
            return True
        page = queries.journal_page(self.name, self.task, self._recorded, _LOOK, True)
        with self.changed:
            self._take_in(page)
        self._tell()
        return page.is_last

    def begin(self, status: JournalInfo) -> None:
        """Begin with what is on record by now."""
        with self.changed:
            if not self._is_known:
                self._base = status.base
                self._begin = self._end = self._recorded = status.newest
                self._is_closed = status.closed
                self._is_known = True
        self._tell()

    def _take_in(self, page: JournalPage) -> None:
        status = page.status
        if status.base > self._base and status.fence > self._end.fence:
            # What this process has of a lease that was lost is no entry any more.
            self._restart(status.base)
            if self._feeder is not None and self._feeder < status.fence:
                self._feeder = None
        for entry in page.entries:
            if entry.cursor > self._end:
                self._add(entry)
        newest = page.entries[-1].cursor if page.entries else self._recorded
        self._recorded = max(self._recorded, newest)
        self._is_closed = status.closed and page.is_last
        self._trim()

    # --- from a handler of this process ---------------------------------------------------------------------------

    def start_feeding(self, fence: int) -> None:
        """Note that a handler writes from now on; entries of an earlier lease count no more."""
        with self.changed:
            self._feeder = fence
            if self._end.fence != fence and self._end > self._recorded:
                # What an earlier handler has given, and no commit has written, never was.
                on_record = max(self._recorded.number - self._begin.number, 0)
                self._bytes -= sum(len(one.data) for one in self._entries[on_record:])
                del self._entries[on_record:]
                self._end = self._recorded

    def feed(self, entry: JournalEntry) -> None:
        """Take in an entry before it is written; entries of one lease come in their order."""
        with self.changed:
            if entry.fence != self._feeder:
                return
            if entry.fence > self._end.fence:
                self._restart(JournalCursor(entry.fence, entry.number - 1))
            self._add(entry)
        self._tell()

    def note_recorded(self, newest: JournalCursor) -> None:
        """Note that the entries up to a cursor are on record, so that they need not stay in memory."""
        with self.changed:
            self._recorded = max(self._recorded, newest)
            self._trim()

    def stop_feeding(self, fence: int, is_lost: bool) -> None:
        """Note that a handler writes no more; forget what is not on record where its lease is lost. [JOURNAL-2]"""
        with self.changed:
            if fence != self._feeder:
                # Another handler of this process writes by now.
                return
            self._feeder = None
            self._seen = None
            if is_lost and self._recorded < self._end:
                kept = max(self._recorded.number - self._begin.number, 0)
                del self._entries[kept:]
                self._bytes = sum(len(one.data) for one in self._entries)
                self._end = max(self._recorded, self._begin)
        self._tell()

    # --- inside -------------------------------------------------------------------------------------------------

    def _restart(self, base: JournalCursor) -> None:
        self._entries.clear()
        self._bytes = 0
        self._base = self._begin = self._end = base

    def _add(self, entry: JournalEntry) -> None:
        self._entries.append(entry)
        self._bytes += len(entry.data)
        self._end = entry.cursor

    def _trim(self) -> None:
        """Drop the oldest entries beyond the bounds, as far as they are on record."""
        entries, dropped = self._entries, 0
        while dropped < len(entries) and entries[dropped].cursor <= self._recorded:
            if len(entries) - dropped <= _ENTRIES_KEPT and self._bytes <= _BYTES_KEPT:
                break
            self._bytes -= len(entries[dropped].data)
            dropped += 1
        if dropped:
            self._begin = entries[dropped - 1].cursor
            del entries[:dropped]

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener.wake()


class TailListener:
    """A listener of a tail, which any thread may wake."""

    def wake(self) -> None:
        """Hear that there is something new."""


class Tails:
    """The tails of one engine, each as long as a reader or a writer has it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._guard = threading.Lock()
        self._tails: WeakValueDictionary[str, Tail] = WeakValueDictionary()
        reset_in_children(self)

    def begin_anew(self) -> None:
        """Begin anew in a forked child. [FORK-2]"""
        self._guard = threading.Lock()
        for tail in list(self._tails.values()):
            tail.begin_anew()

    def of(self, name: str, task: str | None) -> Tail:
        """Return the tail of a journal."""
        id = journal_id(name, task)
        with self._guard:
            tail = self._tails.get(id)
            if tail is None:
                tail = self._tails[id] = Tail(self._executor, name, task)
            return tail
