"""What an event refers to: bytes beside the log, and tasks whose bytes its own task may still read.

Rule: the event alone says it, so every store folds the same references from the log, and `verify` compares them.
[PRUNE-2] Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sagalog.kernel import events as e
from sagalog.kernel.values import Input, JsonBlob

# The beginnings of the names under which a task refers to another: it succeeds it, or waits for its end. Bytes go by
# their digest alone, in hex, which sorts before both.
SUCCEEDS: Final = "succeeds/"
AWAITS: Final = "awaits/"
# The first text behind all digests.
BEHIND_DIGESTS: Final = "g"


# The events that name bytes by their fields `digest` and `size_bytes`. In a stream that is no task's, a field `task`
# names the one for which they do.
NAMING: Final[frozenset[type[e.Recordable]]] = frozenset({e.ArtifactPut, e.JournalAppended})

# The events with a value that may be too large for them, and the field that holds it. [BLOB-2]
VALUES: Final[Mapping[type[e.Recordable], str]] = {
    e.Created: "payload",
    e.Amended: "payload",
    e.StepCompleted: "result",
    e.Completed: "result",
    e.Signalled: "data",
}


# And the field that names the blob in its place.
BLOBS: Final[Mapping[type[e.Recordable], str]] = {kind: f"{name}_blob" for kind, name in VALUES.items()}


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
    if type(event) in NAMING:
        return ((event.digest, event.size_bytes),)  # type: ignore[attr-defined]
    match event:
        case e.Created():
            named: Sequence[Input | JsonBlob | None] = (*event.inputs, event.payload_blob)
        case e.Noted():
            named = tuple(event.results_blobs.values()) if event.results_blobs else ()
        case _:
            field = BLOBS.get(type(event))
            named = () if field is None else (getattr(event, field),)
    return tuple([(one.digest, one.size_bytes) for one in named if one is not None])


def may_refer(event: e.Recordable) -> bool:
    """Check whether an event may refer to something; nearly none does, and this costs little."""
    kind = type(event)
    if kind is e.Created:
        assert isinstance(event, e.Created)
        return bool(event.inputs or event.after or event.predecessor or event.payload_blob)
    field = BLOBS.get(kind)
    return getattr(event, field) is not None if field is not None else kind in REFERRING


def references_of(event: e.Recordable) -> tuple[Reference, ...]:
    """Return all to which an event refers. [PRUNE-2]"""
    task: str | None = getattr(event, "task", None) if type(event) in NAMING else None
    found = [Reference(digest, task) for digest, _ in blobs_of(event)]
    if isinstance(event, e.Created) and event.predecessor is not None:
        found.append(Reference(SUCCEEDS + event.predecessor))
    found += [Reference(AWAITS + id) for id in e.awaited_tasks(event)]
    return tuple(found)


# The types of all events that may refer to something.
REFERRING: Final[frozenset[type[e.Recordable]]] = frozenset({*VALUES, *NAMING, e.Noted, e.Parked})
