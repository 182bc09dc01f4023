"""The reads of journals from a snapshot: how one is, and its entries behind a cursor.

Rule: the place of a cursor is found by a search from the newest event back, in steps that double, and never by reading
the stream from its beginning. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sagalog.codec import read
from sagalog.engine.journal_values import JournalCursor, JournalEntry, JournalInfo, JournalPage, unframed
from sagalog.errors import NotFound
from sagalog.kernel import events as e
from sagalog.kernel.categories import JOURNAL
from sagalog.kernel.state import JournalFold
from sagalog.store import Snapshot
from sagalog.validation.identities import journal_id, journal_name

# How many events a page reads at a time, and how many bytes of entries end it.
_EVENTS: Final = 64
_PAGE_BYTES: Final = 1_048_576

BytesOf = Callable[[Snapshot, e.JournalAppended, str], bytes]


def status_of(snapshot: Snapshot, name: str, task: str | None) -> JournalInfo:
    """Return how a journal is now; one that has no entries yet counts as empty.

    Raises:
        NotFound: there is no such task.
    """
    return _status(snapshot, name, task, _fold(snapshot, journal_id(name, task)))


def page_of(
    snapshot: Snapshot,
    name: str,
    task: str | None,
    after: JournalCursor,
    limit: int,
    from_newest: bool,
    bytes_of: BytesOf,
) -> JournalPage:
    """Read entries behind a cursor, at most `limit` and some bytes of them. [JOURNAL-5]

    Args:
        snapshot, name, task: the journal.
        after: the cursor.
        limit: how many entries at most.
        from_newest: whether to pass over the entries of all leases but the newest that has written.
        bytes_of: reads the bytes that an event names.

    Raises:
        NotFound: there is no such task. Corrupt: an event, or its bytes, are not those that were written.
    """
    id = journal_id(name, task)
    fold = _fold(snapshot, id)
    status = _status(snapshot, name, task, fold)
    after = max(after, status.base) if from_newest else after
    found: list[JournalEntry] = []
    if after >= status.newest:
        return JournalPage(status, (), True)
    size, version = 0, _place(snapshot, fold, after) - 1
    while version < fold.version and len(found) < limit and size < _PAGE_BYTES:
        for envelope in snapshot.history(JOURNAL.stream(id), version, _EVENTS):
            version = envelope.version
            event = read(envelope)
            if not isinstance(event, e.JournalAppended):
                continue
            entries = unframed(bytes_of(snapshot, event, envelope.name), event.entries, envelope.name)
            fence = event.fence or 0
            for number, data in enumerate(entries, start=event.first):
                if JournalCursor(fence, number) > after and len(found) < limit:
                    found.append(JournalEntry(number, fence, data))
                    size += len(data)
            if len(found) >= limit or size >= _PAGE_BYTES:
                break
        else:
            continue
        break
    return JournalPage(status, tuple(found), not found or found[-1].number == fold.entries)


def _place(snapshot: Snapshot, fold: JournalFold, after: JournalCursor) -> int:
    """Return the version of the first event with entries behind the cursor; there are some."""
    stream, high, step = JOURNAL.stream(fold.id), fold.version, 1

    def is_behind(version: int) -> bool:
        (envelope,) = snapshot.history(stream, version - 1, 1)
        match read(envelope):
            case e.JournalAppended(first=first, entries=entries, fence=fence):
                return JournalCursor(fence or 0, first + entries - 1) > after
            case e.JournalCarried(entries=entries, fence=fence):
                return JournalCursor(fence or 0, entries) > after
            case _:
                return True

    while high - step >= 1 and is_behind(high - step):
        high -= step
        step *= 2
    low = max(high - step + 1, 1)
    while low < high:
        middle = (low + high) // 2
        if is_behind(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _fold(snapshot: Snapshot, id: str) -> JournalFold:
    fold = snapshot.fold(JOURNAL.stream(id))
    return fold if isinstance(fold, JournalFold) else JournalFold(id)


def _status(snapshot: Snapshot, name: str, task: str | None, fold: JournalFold) -> JournalInfo:
    is_closed = fold.is_closed
    if task is not None:
        owner = snapshot.task(task)
        if owner is None:
            raise NotFound(f"there is no task {task!r}; check the id and the store", task=task)
        # [JOURNAL-3] A task that has ended accepts no fence any more.
        is_closed = owner.is_terminal
    return JournalInfo(name, task, fold.entries, fold.size_bytes, fold.fence, fold.first, is_closed, fold.id)


def statuses_of(snapshot: Snapshot, after: str, limit: int) -> list[JournalInfo]:
    """List journals that have events, by their ids beyond `after`, as they are now."""
    found = []
    for id in snapshot.ids(JOURNAL.name, after, limit):
        fold = _fold(snapshot, id)
        found.append(_status(snapshot, journal_name(id, fold.task), fold.task, fold))
    return found
