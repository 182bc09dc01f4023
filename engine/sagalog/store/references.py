"""References as a store saves them: which streams refer to which bytes, and to which other tasks.

Rule: they follow from the log in the order of positions. A digest that was pruned is referred to again only by events
behind its pruning. [PRUNE-2] Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from sagalog.codec import Envelope, read
from sagalog.kernel.events import NAMES, Pruned
from sagalog.kernel.references import BEHIND_DIGESTS, NAMING, REFERRING, Reference, references_of
from sagalog.kernel.state import TaskFold

_REFERRING: Final = frozenset(NAMES[kind] for kind in REFERRING)
_PRUNED: Final = NAMES[Pruned]
_NAMING: Final = frozenset(NAMES[kind] for kind in NAMING)
# The keys of a body by which an event of any other type refers to something. A value may hold them too.
_KEYS: Final = ('_blob":', '_blobs":', '"inputs":', '"after":', '"predecessor":')


class Pruning(msgspec.Struct, frozen=True, gc=False):
    """Bytes to delete with all references to them, and the version of the `pruned` that says so. [PRUNE-1]"""

    version: int
    digests: tuple[str, ...]


class ReferringStream(NamedTuple):
    """A stream that refers to a name, and the id of the task for which it does; None: for that of the stream."""

    stream: str
    task: str | None


class ReferenceReads(Protocol):
    """The reads by which an engine finds the bytes that nothing needs any more."""

    def task(self, id: str) -> TaskFold | None:
        """Return the fold of a task, or None; raises as `Reads.task` where it cannot be folded."""
        ...

    def digests(self, after: str, limit: int) -> Sequence[str]:
        """List the digests beyond `after` to which streams refer, in order; "" is before every one. [PRUNE-2]"""
        ...

    def referring(self, name: str, limit: int | None = None) -> Sequence[ReferringStream]:
        """List the streams that refer to a name, the newest first, at most `limit`. [PRUNE-2]"""
        ...

    def blob_size(self, digest: str) -> int | None:
        """Return how many bytes the store keeps under a digest; None: it keeps none."""
        ...


def fold_references(envelopes: Iterable[Envelope], prunings: Mapping[str, int]) -> tuple[Reference, ...]:
    """Return the references of a stream, sorted, from all its events.

    Args:
        envelopes: those of the stream.
        prunings: by digest, the position of the newest event that has pruned it.

    Raises:
        UnknownEvent, LogDamaged: an event that may refer to something cannot be read.
    """
    found: dict[str, Reference] = {}
    for envelope in envelopes:
        if envelope.type in _REFERRING and may_name(envelope):
            for one in references_of(read(envelope)):
                if envelope.position > prunings.get(one.name, 0):
                    found.setdefault(one.name, one)
    return tuple(sorted(found.values()))


def may_name(envelope: Envelope) -> bool:
    """Check, by its text alone, whether an event may refer to something: nearly none does."""
    return envelope.type in _NAMING or any(key in envelope.body for key in _KEYS)


def fold_prunings(envelopes: Iterable[Envelope]) -> tuple[dict[str, int], dict[str, int]]:
    """Return, by digest, the position and the version of the newest event of the store's stream that has pruned it."""
    positions: dict[str, int] = {}
    versions: dict[str, int] = {}
    for envelope in envelopes:
        if envelope.type == _PRUNED:
            event = read(envelope)
            assert isinstance(event, Pruned)
            for digest in event.digests:
                positions[digest], versions[digest] = envelope.position, envelope.version
    return positions, versions


def is_digest(name: str) -> bool:
    """Check whether a reference is to bytes, and not to a task."""
    return name < BEHIND_DIGESTS
