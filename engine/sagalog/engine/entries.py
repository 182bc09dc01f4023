"""Entries: what an engine gives to its executor, as data: a command, a claim, or a group of commands.

Rule: an entry is checked before it is made, and an executor needs nothing else to carry it out, so that an engine can
send it to the place of its store: `msgspec.json.decode(msgspec.json.encode(entry), type=Entry)` has the same effect as
`entry`. Knows no store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import msgspec

from sagalog.engine.task import Task
from sagalog.errors import SagalogError
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERBS
from sagalog.kernel.decide.settings import SETTING_VERBS
from sagalog.store import Blob
from sagalog.validation.commands import ClaimRequest

if TYPE_CHECKING:
    AnyCommand = c.Command
    AnySetting = c.Setting
else:
    # The types among which a decoder chooses. Every command is a verb, so a new one needs no row here.
    AnyCommand = Union[tuple(verb.command for verb in VERBS)]  # noqa: UP007  made at run time
    AnySetting = Union[tuple(verb.command for verb in SETTING_VERBS)]  # noqa: UP007


class CommandEntry(msgspec.Struct, frozen=True, gc=False, tag="command"):
    """One command with its `actor`, the event because of which it is given (`cause`), and its `idempotency_key`.

    `known` is the task as the caller has read it earlier, if it has. `drawn`: the engine drew the id of a creation, the
    caller did not choose it. `blobs` are the bytes that the command names.
    """

    command: AnyCommand
    actor: str | None = None
    cause: str | None = None
    idempotency_key: str | None = None
    known: Task | None = None
    drawn: bool = False
    blobs: tuple[Blob, ...] = ()


class SettingEntry(msgspec.Struct, frozen=True, gc=False, tag="setting"):
    """One command on a stream that is no task's, with its `actor`. What is so already writes nothing."""

    command: AnySetting
    actor: str | None = None


class JournalWrite(msgspec.Struct, frozen=True, gc=False, tag="journal"):
    """One command on a journal, with its `actor`, its `idempotency_key` and the bytes that it names."""

    command: c.AppendJournal | c.CloseJournal
    actor: str | None = None
    idempotency_key: str | None = None
    blobs: tuple[Blob, ...] = ()


class EntryGroup(msgspec.Struct, frozen=True, tag="group"):
    """A group of commands that succeed or fail together, among entries that are independent of one another."""

    entries: tuple[CommandEntry, ...]


Entry = CommandEntry | ClaimRequest | EntryGroup

# The result of an entry: the task after its command, the tasks of a group or of a claim, or the refusal.
Answer = Task | list[Task] | SagalogError


def commands_of(entry: Entry) -> tuple[CommandEntry, ...]:
    """Return the commands of an entry; a claim has none."""
    if type(entry) is CommandEntry:
        return (entry,)
    return entry.entries if isinstance(entry, EntryGroup) else ()
