"""The journal that a handler writes: entries at once in memory, and on record a moment later.

Rule: entries carry the fence of the handler's lease, and are numbered when they are given; those of a lease that has
ended never come on record [JOURNAL-2]. All of them are there before the lease is settled [JOURNAL-4]. It knows one
lease.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sagalog.actors import worker_actor
from sagalog.engine import Engine
from sagalog.engine.entries import JournalWrite
from sagalog.engine.journal_values import JournalCursor, JournalEntry, framed
from sagalog.errors import InvalidValue, LeaseLost, OverBound, SagalogError
from sagalog.kernel import commands as c
from sagalog.kernel.bounds import (
    BLOB_BYTES_MAX,
    JOURNAL_ENTRIES_MAX,
    JOURNAL_FLUSH_BYTES,
    JOURNAL_UNFLUSHED_BYTES_MAX,
)
from sagalog.validation.identities import journal_id
from sagalog.validation.values import check_name, shown
from sagalog.worker.context import Context

# How much of a blob the frame of a single entry takes.
_FRAME_BYTES: Final = 16
# What an entry counts beside its bytes, so that many empty ones wait too.
_ENTRY_BYTES: Final = 16
# How long a thread that waits here sleeps at most before it asks whether its handler is to end.
_SLICE_S: Final = 0.05


class TaskJournal:
    """A journal of the task, which its handler writes; readers follow it by `Engine.journal(name, task=...)`.

    `WorkContext.journal` gives it. Threads of the handler may share it.

    name   its name
    """

    def __init__(self, context: Context, engine: Engine, name: str) -> None:
        self.name: str = check_name(name, "name")
        self._context = context
        self._flusher = engine._flusher
        self._task, self._fence, self._owner = context.task.id, context.fence, context.owner
        self._id = journal_id(name, self._task)
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        # The append that is under way, and how many entries it has.
        self._sent: JournalWrite | None = None
        self._error: SagalogError | None = None
        status = engine._executor.queries.journal_status(name, self._task)
        self._recorded = self._given = status.entries
        self._first = status.entries + 1
        self._tail = engine._tails.of(name, self._task)
        self._tail.begin(status)
        self._tail.start_feeding(self._fence)

    def __repr__(self) -> str:
        return f"<TaskJournal {self.name} of task {self._task} with {self._given} entries>"

    def append(self, data: bytes) -> JournalCursor:
        """Append one entry, and return at once: readers of this process have it then, all others in 20 ms or so.

        It waits only where 1 MiB of entries is not on record yet. [JOURNAL-4]

        Args:
            data: at most 16 MiB, less 16 bytes.

        Returns:
            The cursor of the entry.

        Raises:
            InvalidValue: it is no bytes. OverBound: they are too many.
            WrongState: the journal belongs to no task.
            Interrupted: the handler is to end, for instance because its lease is lost.
        """
        _check(data)
        while True:
            cursor = self._append_now(data)
            if cursor is not None:
                return cursor
            self._wait_for_room()

    def flush(self) -> None:
        """Wait until all entries so far are on record.

        Raises:
            WrongState: the journal belongs to no task.
            Interrupted: the lease is lost.
            Closed: the process that this one was forked from holds the lease. [FORK-2]
        """
        self._context._require_own()
        with self._changed:
            if self._waiting:
                self._flusher.note(self, at_once=True)
            while self._waiting and self._error is None:
                if self._context.lost:
                    self._context.go_on()
                self._changed.wait(_SLICE_S)
        self._require_sound()

    # --- what the context, and coroutines, need ---------------------------------------------------------------------

    def _append_now(self, data: bytes) -> JournalCursor | None:
        """Append where there is room, else return None. It never blocks."""
        self._context.go_on()
        with self._changed:
            self._require_sound()
            if self._waiting_bytes >= JOURNAL_UNFLUSHED_BYTES_MAX:
                return None
            self._given += 1
            entry = JournalEntry(self._given, self._fence, data)
            self._waiting.append(data)
            self._waiting_bytes += len(data) + _ENTRY_BYTES
            self._tail.feed(entry)
            at_once = self._given == self._first or self._waiting_bytes >= JOURNAL_FLUSH_BYTES
        self._flusher.note(self, at_once=at_once)
        return entry.cursor

    def _wait_for_room(self) -> None:
        with self._changed:
            while self._waiting_bytes >= JOURNAL_UNFLUSHED_BYTES_MAX and self._error is None:
                self._context.go_on()
                self._changed.wait(_SLICE_S)

    def _end(self) -> None:
        """Note that the handler has ended: what is not on record by now never is."""
        self._tail.stop_feeding(self._fence, is_lost=self._given > self._recorded)

    # --- what the flusher needs -------------------------------------------------------------------------------------

    def _next_write(self) -> JournalWrite | None:
        """Return the append of the first entries that wait, the same again until it is answered. [JOURNAL-4]"""
        with self._changed:
            if self._sent is None and self._waiting:
                entries: list[bytes] = []
                size = 0
                for data in self._waiting:
                    size += len(data)
                    if entries and (size > JOURNAL_FLUSH_BYTES or len(entries) == JOURNAL_ENTRIES_MAX):
                        break
                    entries.append(data)
                blob = framed(entries)
                command = c.AppendJournal(
                    id=self._id,
                    entries=len(entries),
                    digest=blob.digest,
                    size_bytes=len(blob.data),
                    expected=self._recorded,
                    task=self._task,
                    fence=self._fence,
                )
                self._sent = JournalWrite(command, worker_actor(self._owner), None, (blob,))
            return self._sent

    def _answered(self, answer: JournalCursor | SagalogError) -> bool:
        """Note what has become of the append; return whether more is to be written at once."""
        with self._changed:
            sent, self._sent = self._sent, None
            assert sent is not None
            assert isinstance(sent.command, c.AppendJournal)
            if isinstance(answer, SagalogError):
                self._fail(answer)
                return False
            for _ in range(sent.command.entries):
                self._waiting_bytes -= len(self._waiting.popleft()) + _ENTRY_BYTES
            self._recorded += sent.command.entries
            self._changed.notify_all()
            is_more, at_once = bool(self._waiting), self._waiting_bytes >= JOURNAL_FLUSH_BYTES
        self._tail.note_recorded(answer)
        if is_more and not at_once:
            self._flusher.note(self)
        return at_once

    # --- inside -------------------------------------------------------------------------------------------------

    def _fail(self, error: SagalogError) -> None:
        self._error = error
        self._waiting.clear()
        self._waiting_bytes = 0
        self._changed.notify_all()
        self._tail.stop_feeding(self._fence, is_lost=True)
        if isinstance(error, LeaseLost):
            self._context._note_lost()

    def _require_sound(self) -> None:
        """Raise the refusal of an earlier entry; that of a lost lease is an interruption."""
        if self._error is None:
            return
        if isinstance(self._error, LeaseLost):
            self._context.go_on()
        raise type(self._error)(self._error.message, **self._error.fields)


class AsyncTaskJournal:
    """A journal of the task, as `TaskJournal`, for a coroutine handler: it never blocks the event loop.

    name   its name
    """

    def __init__(self, plain: TaskJournal, off_loop: Callable[..., Awaitable[Any]]) -> None:
        self.name: str = plain.name
        self._plain = plain
        self._off_loop = off_loop

    def __repr__(self) -> str:
        return f"<Async{repr(self._plain).removeprefix('<')}"

    async def append(self, data: bytes) -> JournalCursor:
        """Append one entry, as `TaskJournal.append`, with its errors. [JOURNAL-4]

        Args:
            data: at most 16 MiB, less 16 bytes.

        Returns:
            The cursor of the entry.
        """
        _check(data)
        while (cursor := self._plain._append_now(data)) is None:
            await self._off_loop(self._plain._wait_for_room)
        return cursor

    async def flush(self) -> None:
        """Wait until all entries so far are on record, as `TaskJournal.flush`, with its errors."""
        await self._off_loop(self._plain.flush)


def _check(data: bytes) -> None:
    if not isinstance(data, bytes):
        raise InvalidValue(f"data: expected bytes, found {shown(data)}", path="data")
    maximum = BLOB_BYTES_MAX - _FRAME_BYTES
    if len(data) > maximum:
        raise OverBound(
            f"data: {len(data)} bytes, and the bound of an entry is {maximum}; append it in parts",
            bound="blob_bytes",
            maximum=maximum,
        )
