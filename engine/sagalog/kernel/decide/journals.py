"""The commands on journals: append entries, and close one that is no task's.

Rule: a journal of a task is written only under the lease that its holder has now [JOURNAL-2], and no other caller
closes it. Knows no entry: the operation has its bytes.
"""

from __future__ import annotations

from sagalog.errors import Conflict, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide.rules import Events, existing, held, lost
from sagalog.kernel.state import JournalFold, TaskFold


def append_journal(journal: JournalFold, task: TaskFold | None, command: c.AppendJournal, epoch: int) -> Events:
    """Append entries behind those that are there. [JOURNAL-1] [JOURNAL-2]

    Args:
        journal: as it is.
        task: the one to which the journal belongs; None: the command names none, or there is no such task.
        command: the request.
        epoch: the store's. [FENCE-2]
    """
    if command.task is not None:
        holder = existing(task, command.task)
        assert command.fence is not None
        if held(holder, command.fence, epoch) is None:
            raise lost(holder, command.fence, "write a journal of")
    _require_owner(journal, command.task, "append to")
    if journal.is_closed:
        raise _closed(journal)
    if command.expected is not None and command.expected != journal.entries:
        raise Conflict(
            f"the journal {journal.id!r} has {journal.entries} entries, not {command.expected}: another writer was "
            "first; read what it has written, and decide again",
            journal=journal.id,
            expected=command.expected,
            actual=journal.entries,
        )
    first = journal.entries + 1
    return (e.JournalAppended(first, command.entries, command.digest, command.size_bytes, command.task, command.fence),)


def close_journal(journal: JournalFold) -> Events:
    """Close a journal that is no task's; one that is closed stays so. [JOURNAL-3]"""
    _require_owner(journal, None, "close")
    return () if journal.is_closed else (e.JournalClosed(),)


def _require_owner(journal: JournalFold, task: str | None, verb: str) -> None:
    if journal.version and journal.task != task:
        owner = "no task" if journal.task is None else f"task {journal.task!r}"
        raise WrongState(
            f"cannot {verb} the journal {journal.id!r}: it belongs to {owner}; only the handler of a task writes the "
            "journals of that task, by its context, and they close with it",
            journal=journal.id,
            task=journal.task,
        )


def _closed(journal: JournalFold) -> WrongState:
    return WrongState(
        f"cannot append to the journal {journal.id!r}: it was closed; begin another one", journal=journal.id, task=None
    )
