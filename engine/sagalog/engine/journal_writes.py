"""The operations on journals: a command -> what the store appends, and the cursor of the newest entry.

Rule: an append to a journal of a task reads the task within the same locks, so that no entry follows the end of its
writer's lease [JOURNAL-2]. A repeat is compared by the digest of its entries [REPEAT-6]. Knows no store.
"""

from __future__ import annotations

from sagalog.codec import read
from sagalog.engine.entries import JournalWrite
from sagalog.engine.idempotency import key_taken
from sagalog.engine.journal_values import JournalCursor
from sagalog.engine.stream_appends import append_to
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.categories import JOURNAL, TASK
from sagalog.kernel.decide.journals import append_journal, close_journal
from sagalog.kernel.state import JournalFold
from sagalog.store import Operation, Result, View


def writing_journal(write: JournalWrite) -> Operation:
    """Make an operation that carries out a command on a journal; it answers the cursor of the newest entry."""
    command, key = write.command, write.idempotency_key
    stream = JOURNAL.stream(command.id)
    task = command.task if isinstance(command, c.AppendJournal) else None

    def decide(view: View) -> Result:
        saved = view.saved(stream)
        journal: JournalFold = JOURNAL.begin(command.id) if saved is None else saved.fold
        if isinstance(command, c.CloseJournal):
            return _written(view, write, journal, close_journal(journal))
        known = _known(view, write, command, journal)
        if known is not None:
            return Result(known)
        owner = None if task is None else view.saved(TASK.stream(task))
        holder = None if owner is None else owner.fold
        return _written(view, write, journal, append_journal(journal, holder, command, view.epoch))

    reads = () if task is None else (TASK.stream(task),)
    return Operation(decide, writes=(stream,), reads=reads, keys=() if key is None else (key,))


def _written(view: View, write: JournalWrite, journal: JournalFold, events: tuple[e.Recordable, ...]) -> Result:
    if not events:
        return Result(JournalCursor(journal.fence, journal.entries))
    after, append = append_to(JOURNAL, journal, events, view.now_ms, write.actor, idempotency_key=write.idempotency_key)
    return Result(JournalCursor(after.fence, after.entries), (append,), blobs=write.blobs)


def _known(view: View, write: JournalWrite, command: c.AppendJournal, journal: JournalFold) -> JournalCursor | None:
    """Return the answer to an append that is on record; None: it is not.

    Raises:
        Conflict: the idempotency key is on record with other content. [REPEAT-6]
    """
    key = write.idempotency_key
    earlier = view.keyed(key) if key is not None else ()
    if earlier and key is not None:
        first = earlier[0]
        event = read(first)
        if not isinstance(event, e.JournalAppended) or first.stream != JOURNAL.stream(command.id):
            raise key_taken(key, first, {"command": "the command is another one"})
        if event.digest != command.digest:
            raise key_taken(key, first, {"entries": "the entries are other ones"})
        return JournalCursor(event.fence or 0, event.first + event.entries - 1)
    if command.fence is None or command.fence != journal.fence or command.expected is None:
        return None
    if journal.entries != command.expected + command.entries:
        return None
    # One writer has the fence, and it numbers its entries: what it repeats after an unknown outcome is the newest.
    newest = view.event(JOURNAL.stream(command.id), journal.version)
    if isinstance(newest, e.JournalCarried):
        newest = view.event(JOURNAL.stream(command.id), journal.version - 1)
    is_same = isinstance(newest, e.JournalAppended) and newest.digest == command.digest
    return JournalCursor(journal.fence, journal.entries) if is_same else None
