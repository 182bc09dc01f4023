"""What an event refers to: bytes beside the log, and tasks whose bytes its own task may still read.

Rule: the event alone says it, so every store folds the same references from the log, and `verify` compares them.
[PRUNE-2] Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sagalog.kernel import events as e
from sagalog.kernel.values import Input, JsonBlob

# The beginnings of the names under which a task refers to another: it succeeds it, or waits for its end. Bytes go by
# their digest alone, in hex, which sorts before both.
SUCCEEDS: Final = "succeeds/"
AWAITS: Final = "awaits/"
# The first text behind all digests.
BEHIND_DIGESTS: Final = "g"


# The events with a value that may be too large for them, and the field that holds it. [BLOB-2]
VALUES: Final[Mapping[type[e.Recordable], str]] = {
    e.Created: "payload",
    e.Amended: "payload",
    e.StepCompleted: "result",
    e.Completed: "result",
    e.Signalled: "data",
}


class Reference(NamedTuple):
    """One name to which the events of a stream refer.

    name   a digest, or the id of a task behind `SUCCEEDS` or `AWAITS`
    task   the id of the task for which they do; None: that of the stream itself. Bytes that a stream which is no task's
           names for no task stay for ever
    """

    name: str
    task: str | None = None


def blobs_of(event: e.Recordable) -> tuple[tuple[str, int], ...]:
    """Return the bytes that an event names: the digest and the size of each. [BLOB-1]"""
    match event:
        case e.Created():
            named: Sequence[Input | JsonBlob | None] = (*event.inputs, event.payload_blob)
        case e.ArtifactPut() | e.JournalAppended():
            return ((event.digest, event.size_bytes),)
        case e.Noted():
            named = tuple(event.results_blobs.values()) if event.results_blobs else ()
        case _:
            value = VALUES.get(type(event))
            named = () if value is None else (getattr(event, f"{value}_blob"),)
    return tuple([(one.digest, one.size_bytes) for one in named if one is not None])


def references_of(event: e.Recordable) -> tuple[Reference, ...]:
    """Return all to which an event refers. [PRUNE-2]"""
    task: str | None = getattr(event, "task", None) if type(event) in _FOR_A_TASK else None
    found = [Reference(digest, task) for digest, _ in blobs_of(event)]
    if isinstance(event, e.Created) and event.predecessor is not None:
        found.append(Reference(SUCCEEDS + event.predecessor))
    found += [Reference(AWAITS + id) for id in e.awaited_tasks(event)]
    return tuple(found)


# Events of streams that are no task's, and whose field `task` names the one for which they name bytes.
_FOR_A_TASK: Final[frozenset[type[Any]]] = frozenset({e.JournalAppended})

# The types of all events that may refer to something.
REFERRING: Final[frozenset[type[e.Recordable]]] = frozenset(
    {*VALUES, e.ArtifactPut, e.JournalAppended, e.Noted, e.Parked}
)
