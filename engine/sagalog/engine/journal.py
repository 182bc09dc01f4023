"""Journals: what a program appends entry by entry, and others read while it grows.

Rule: an append is one event, and its entries are numbered without a gap [JOURNAL-1]. Readers go on by cursors. The
journals of tasks are written by their handlers, through their context, and read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sagalog.actors import optional_actor
from sagalog.engine.entries import JournalWrite
from sagalog.engine.executor import WAIT_SLICE_MS, Executor
from sagalog.engine.journal_tails import Behind, Tail, Tails
from sagalog.engine.journal_values import JournalCursor, JournalEntry, JournalInfo, cursor_of, framed
from sagalog.errors import SagalogError, WrongState
from sagalog.forks import generation, require_own
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.validation.arguments import optional_name
from sagalog.validation.identities import journal_id
from sagalog.validation.values import check_id, check_integer, check_milliseconds, check_name

# How long a reader of a journal that a handler of this process writes goes without a look at the store.
LOOK_MS: Final = 500
# How many entries an iteration takes at a time.
AHEAD: Final = 1_000


class Journal:
    """One journal: entries of bytes, appended in order, that any number of readers follow while it grows. [JOURNAL-1]

    `Engine.journal` gives it, and writes nothing. One that is no task's exists from its first entry on. Threads may
    share it.

    name   its name
    task   the id of the task to which it belongs; None: it is no task's

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            journal = engine.journal("build")
            journal.append([b"compiling", b"linking"])
            journal.close()
            for entry in journal.follow():
                print(entry.number, entry.data)
    """

    def __init__(self, executor: Executor, tails: Tails, name: str, task: str | None) -> None:
        self.name = name
        self.task = task
        self._executor = executor
        self._tails = tails
        self._id = journal_id(name, task)

    def __repr__(self) -> str:
        return f"<Journal {self.name}{'' if self.task is None else f' of task {self.task}'}>"

    def append(
        self,
        entries: Sequence[bytes],
        expected: int | None = None,
        idempotency_key: str | None = None,
        *,
        actor: str | None = None,
    ) -> JournalCursor:
        """Append entries, durably when this returns, in one event. [JOURNAL-1]

        Args:
            entries: 1 to 10,000, with 16 MiB together at most.
            expected: how many entries the caller believes to be there; None: any number.
            idempotency_key: an identity of this append: a repeat gives the first answer. [REPEAT-4]
            actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

        Returns:
            The cursor of the last one.

        Raises:
            InvalidValue: they are no entries. OverBound: they are too many, or too large.
            Conflict: there is another number of entries than `expected`, which the field `actual` gives; or the
                idempotency key is on record with other content. [REPEAT-6]
            WrongState: the journal was closed, or belongs to a task. [JOURNAL-2]
        """
        self._require_no_task("append to")
        blob = framed(entries)
        if expected is not None:
            check_integer(expected, "expected", 0, bounds.INTEGER_MAX)
        command = c.AppendJournal(
            id=self._id, entries=len(entries), digest=blob.digest, size_bytes=len(blob.data), expected=expected
        )
        key = optional_name(idempotency_key, "idempotency_key")
        return self._write(JournalWrite(command, self._actor(actor), key, (blob,)))

    def close(self, *, actor: str | None = None) -> None:
        """Close the journal: nothing can be appended, and readers end. One that is closed stays so. [JOURNAL-3]

        Args:
            actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

        Raises:
            WrongState: it belongs to a task, with which it closes.
        """
        self._require_no_task("close")
        self._write(JournalWrite(c.CloseJournal(id=self._id), self._actor(actor)))

    def status(self) -> JournalInfo:
        """Look at how it is now.

        Raises:
            NotFound: there is no such task.
        """
        return self._executor.queries.journal_status(self.name, self.task)

    def read(self, after: JournalCursor | str | None = None, limit: int = 1_000) -> list[JournalEntry]:
        """Read what is on record, without waiting: the entries of all attempts, in order. [JOURNAL-5]

        Args:
            after: the cursor behind which to begin, or its text; None: the first entry.
            limit: how many entries at most, 1 to 10,000; of large ones it reads fewer, and at least one.

        Raises:
            NotFound: there is no such task.
            Corrupt: an entry is not the one that was written.
        """
        check_integer(limit, "limit", 1, bounds.JOURNAL_ENTRIES_MAX)
        return list(self._executor.queries.journal_page(self.name, self.task, cursor_of(after), limit, False).entries)

    def follow(self, after: JournalCursor | str | None = None) -> JournalReader:
        """Follow it: give what comes, until it is closed. [JOURNAL-5]

        A reader begins with the newest lease that has written. Once another lease writes, it goes on with that one's
        first entry. Where a handler of this engine writes, it gets entries before they are on record.

        Args:
            after: the cursor behind which to go on, or its text; None: the first entry.
        """
        return JournalReader(self._executor, self._tails.of(self.name, self.task), cursor_of(after))

    # --- inside -------------------------------------------------------------------------------------------------

    def _require_no_task(self, verb: str) -> None:
        if self.task is not None:
            raise WrongState(
                f"cannot {verb} the journal {self.name!r} of task {self.task!r} here: only the handler of a task "
                "writes its journals, by its context, and they close with it",
                journal=self._id,
                task=self.task,
            )

    def _actor(self, actor: str | None) -> str | None:
        return optional_actor(actor, "actor") or self._executor.actor

    def _write(self, write: JournalWrite) -> JournalCursor:
        answer = self._executor.write_journals((write,))[0]
        if isinstance(answer, SagalogError):
            raise answer
        return answer


class JournalReader:
    """One reader that follows a journal; for one thread at a time. `Journal.follow` makes it.

    Iterating waits for what comes next, and ends when the journal is closed.

    position   the cursor of the last entry that it gave
    is_over    whether the journal is closed and all of it was given
    """

    def __init__(self, executor: Executor, tail: Tail, position: JournalCursor) -> None:
        self.position = position
        self.is_over: bool = False
        self._executor = executor
        self._tail = tail
        self._ahead: list[JournalEntry] = []
        self._looked_ms = 0
        self._made = generation()

    def __iter__(self) -> JournalReader:
        return self

    def __next__(self) -> JournalEntry:
        while not self._ahead:
            self._keep_ahead(self._take(None, AHEAD))
            if self.is_over:
                raise StopIteration
        return self._give_ahead()

    def __repr__(self) -> str:
        return f"<JournalReader {self._tail.name} position {self.position}{' over' if self.is_over else ''}>"

    def take(self, timeout_ms: int, limit: int = 1_000) -> list[JournalEntry]:
        """Take all that is there, and wait for at least one entry, until the time is over or the journal is closed.

        Args:
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.
            limit: how many entries at most, 1 to 10,000.

        Returns:
            The entries; none where the time is over, or the journal is closed, as `is_over` then says.
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        check_integer(limit, "limit", 1, bounds.JOURNAL_ENTRIES_MAX)
        return self._give(self._take(timeout_ms, limit))

    # --- what who reads on an event loop needs ----------------------------------------------------------------------

    def _require_own(self) -> None:
        require_own(self._made, "this reader of a journal")

    def _at_hand(self, limit: int) -> list[JournalEntry] | None:
        """Return what was read ahead, or is in memory; None: it is over. Raises Behind."""
        self._require_own()
        if self._ahead:
            return self._ahead[-1 : -limit - 1 : -1]
        found = self._tail.take(self.position, limit)
        return None if found is None else list(found)

    def _give(self, entries: list[JournalEntry] | None) -> list[JournalEntry]:
        """Count entries as given; None: it is over."""
        if entries is None:
            self.is_over = True
            return []
        del self._ahead[max(len(self._ahead) - len(entries), 0) :]
        if entries:
            self.position = entries[-1].cursor
        return entries

    def _keep_ahead(self, entries: list[JournalEntry] | None) -> None:
        """Keep entries to give them one by one; None: it is over."""
        if entries is None:
            self.is_over = True
        else:
            self._ahead = entries[::-1]

    def _give_ahead(self) -> JournalEntry:
        entry = self._ahead.pop()
        self.position = entry.cursor
        return entry

    # --- inside -------------------------------------------------------------------------------------------------

    def _take(self, timeout_ms: int | None, limit: int) -> list[JournalEntry] | None:
        """As `take`, without counting anything as given; None: it is over. `timeout_ms` None: for ever."""
        executor, tail = self._executor, self._tail
        started_ms = executor.clock.monotonic_ms()
        while True:
            changes = executor.changes()
            try:
                found = self._at_hand(limit)
                if found or found is None:
                    return found
                self._look()
                found = self._at_hand(limit)
            except Behind as behind:
                found = list(tail.read(behind.cursor))[:limit]
            if found or found is None:
                return found
            waited_ms = executor.clock.monotonic_ms() - started_ms
            if timeout_ms is not None and waited_ms >= timeout_ms:
                return []
            left_ms = WAIT_SLICE_MS if timeout_ms is None else min(timeout_ms - waited_ms, WAIT_SLICE_MS)
            if tail.is_fed:
                with tail.changed:
                    if not tail.take(max(self.position, tail.begins), 1):
                        tail.changed.wait(left_ms / 1_000)
            else:
                executor.wait_change(changes, left_ms)

    def _look(self) -> None:
        """Look at the store; a reader of what this process writes does so only now and then."""
        now_ms = self._executor.clock.monotonic_ms()
        if not self._tail.is_fed or now_ms - self._looked_ms >= LOOK_MS:
            self._tail.look()
            self._looked_ms = now_ms


def journal_of(executor: Executor, tails: Tails, name: str, task: str | None) -> Journal:
    """Return a journal by its name; raises InvalidValue where that is none."""
    check_name(name, "name")
    if task is not None:
        check_id(task, "task")
    else:
        check_name(journal_id(name, None), "name")
    return Journal(executor, tails, name, task)
