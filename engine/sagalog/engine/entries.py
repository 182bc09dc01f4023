"""Entries: what an engine has carried out, as data: a command, a claim, or commands that stand or fall together.

Rule: an entry is checked before it is made, and needs nothing but itself to be carried out, so that it can be sent to
where its store is: `msgspec.json.decode(msgspec.json.encode(entry), type=Entry)` is carried out like `entry`. Knows no
store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import msgspec

from sagalog.engine.task import Task
from sagalog.errors import SagalogError
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERBS
from sagalog.store import Blob
from sagalog.validation.commands import ClaimRequest

if TYPE_CHECKING:
    AnyCommand = c.Command
else:
    # What a decoder chooses from. Every command is a verb, so a new one is no row here.
    AnyCommand = Union[tuple(verb.command for verb in VERBS)]  # noqa: UP007  made at run time


class CommandEntry(msgspec.Struct, frozen=True, gc=False, tag="command"):
    """One command with who asks (`actor`), because of which event (`cause`), under which `idempotency_key`.

    `known` is the task as the caller has read it earlier, if it has. `drawn`: the id of a creation is no choice of the
    caller's. `blobs` are the bytes that the command names.
    """

    command: AnyCommand
    actor: str | None = None
    cause: str | None = None
    idempotency_key: str | None = None
    known: Task | None = None
    drawn: bool = False
    blobs: tuple[Blob, ...] = ()


class EntryGroup(msgspec.Struct, frozen=True, tag="group"):
    """Commands that stand or fall together, among entries of which each stands by itself."""

    entries: tuple[CommandEntry, ...]


Entry = CommandEntry | ClaimRequest | EntryGroup

# What became of an entry: the task after its command, the tasks of a group or of a claim, or the refusal.
Answer = Task | list[Task] | SagalogError


def commands_of(entry: Entry) -> tuple[CommandEntry, ...]:
    """The commands of an entry; a claim is none."""
    if type(entry) is CommandEntry:
        return (entry,)
    return entry.entries if isinstance(entry, EntryGroup) else ()
