"""Event -> state, of journals: counts of what they hold, and whose they are.

Rule: as for settings, an event that does not follow from those before it is a damaged log [RECORD-1]; numbers of
entries have no gap [JOURNAL-1]. Knows no entry and no command.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.lifecycle import CLOSED, JOURNAL_LIFE, UNBORN, WRITTEN
from sagalog.kernel.settings import checked
from sagalog.kernel.state import JournalFold


def state_of_journal(fold: JournalFold) -> str:
    """Return the state of a journal, as its table names it."""
    if fold.version == 0:
        return UNBORN
    return CLOSED if fold.is_closed else WRITTEN


def evolve_journal(fold: JournalFold, event: e.Recordable, version: int, at_ms: int) -> JournalFold:
    """Return the fold of a journal after one more event; raises LogDamaged."""
    after = _after(fold, event)
    return checked("journal", state_of_journal(fold), JOURNAL_LIFE, fold, event, version, after)


def carried_journal(fold: JournalFold) -> e.JournalCarried:
    """Return the event that holds the whole fold of a journal."""
    return e.JournalCarried(fold.entries, fold.size_bytes, fold.first, fold.task, fold.fence or None)


def _after(fold: JournalFold, event: Any) -> JournalFold | None:
    """Return the fold after an event; None where it does not follow. [JOURNAL-1] [JOURNAL-2]"""
    match event:
        case e.JournalAppended() if _follows(fold, event):
            begins = fold.version == 0 or (event.fence or 0) > fold.fence
            return msgspec.structs.replace(
                fold,
                entries=fold.entries + event.entries,
                size_bytes=fold.size_bytes + event.size_bytes,
                task=event.task,
                fence=event.fence or 0,
                first=event.first if begins else fold.first,
            )
        case e.JournalClosed() if fold.task is None:
            return msgspec.structs.replace(fold, is_closed=True)
        case e.JournalCarried():
            fence = event.fence or 0
            return JournalFold(fold.id, 0, 0, event.entries, event.size_bytes, event.task, fence, event.first)
        case _:
            return None


def _follows(fold: JournalFold, event: e.JournalAppended) -> bool:
    is_numbered = event.entries > 0 and event.first == fold.entries + 1
    is_owned = (event.task is None) == (event.fence is None) and (fold.version == 0 or event.task == fold.task)
    return is_numbered and is_owned and (event.fence or 0) >= fold.fence
