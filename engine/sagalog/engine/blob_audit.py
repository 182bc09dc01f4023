"""The audit of bytes beside the log, of the references to them, and of what was pruned.

Rule: bytes that an event names are there unless a later `pruned` names them, and then they are no fault [PRUNE-4]. It
only reads, and names a fault by stream and version. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final, Literal, NamedTuple

from sagalog.codec import Envelope, decode, envelope_of
from sagalog.errors import SagalogError
from sagalog.kernel.categories import STORE, Placed
from sagalog.kernel.events import NAMES
from sagalog.kernel.references import REFERRING, Reference, blobs_of, may_refer, references_of
from sagalog.store import AuditedStream, Snapshot, Store, fold_prunings

# How many pruned digests a snapshot looks at, and how many events of the store's stream.
_PAGE: Final = 500
_REFERRING: Final = frozenset(NAMES[kind] for kind in REFERRING)
# The place of the type in a stored event.
_TYPE: Final = 4


class Wrong(NamedTuple):
    """A thing that is wrong: the code, stream, version and text of a fault."""

    code: Literal["blob", "projection"]
    stream: str | None
    version: int | None
    text: str


class BlobAudit:
    """The blobs of a store, as far as an audit has read it.

    sizes    by digest, how many bytes there were of those that an event names and that are gone by a later `pruned`
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._version = 0
        self._positions: dict[str, int] = {}
        self._versions: dict[str, int] = {}

    def catch_up(self, snapshot: Snapshot) -> None:
        """Read what was pruned until this snapshot."""
        store = snapshot.store()
        stream = "" if store is None else STORE.stream(store.id)
        while page := snapshot.history(stream, self._version, _PAGE) if stream else ():
            self._version = page[-1].version
            self._note(page)

    def _note(self, page: Sequence[Envelope]) -> None:
        try:
            positions, versions = fold_prunings(page)
        except SagalogError:
            return  # The audit of that stream tells it.
        self._positions.update(positions)
        self._versions.update(versions)

    def verify(self, snapshot: Snapshot, one: AuditedStream, placed: Sequence[Placed] | None) -> Iterator[Wrong]:
        """Yield what is wrong with the references of a stream, and with the bytes that it names. [BLOB-1] [PRUNE-2]

        `placed` are its events, where they are read already.
        """
        expected: dict[str, Reference] = {}
        for index, stored in enumerate(one.events):
            if stored[_TYPE] not in _REFERRING:
                continue
            event = decode(envelope_of(one.stream, stored)) if placed is None else placed[index][0]
            if not may_refer(event):
                continue
            position, version = stored[0], stored[2]
            for reference in references_of(event):
                if position > self._positions.get(reference.name, 0):
                    expected.setdefault(reference.name, reference)
            for digest, size_bytes in blobs_of(event):
                wrong = self._compare(snapshot, position, digest, size_bytes)
                if wrong:
                    yield Wrong("blob", one.stream, version, f"the bytes that it names by {digest} are {wrong}")
        if (expected or one.references) and sorted(expected.values()) != sorted(one.references):
            yield Wrong("projection", one.stream, None, "its references are not what the log gives: rebuild it")

    def _compare(self, snapshot: Snapshot, position: int, digest: str, size_bytes: int) -> str | None:
        data = snapshot.blob(digest)
        if data is None and position <= self._positions.get(digest, 0):
            self.sizes[digest] = size_bytes
            return None
        if data is None:
            return "gone"
        return None if len(data) == size_bytes and sha256(data).hexdigest() == digest else "changed"

    def verify_names(self, store: Store) -> Iterator[Wrong]:
        """Yield what is wrong with the names that are kept as pruned. [PRUNE-4]"""
        left, kept, version = iter(list(self._versions)), 0, self._version
        while page := list(islice(left, _PAGE)):
            with store.read() as snapshot:
                self.catch_up(snapshot)
                for digest in page:
                    expected = None if snapshot.referring(digest, 1) else self._versions[digest]
                    kept += expected is not None
                    if snapshot.pruned(digest) != expected:
                        text = f"the name {digest} is not kept as pruned as the log gives it: rebuild it"
                        yield Wrong("projection", None, None, text)
                    elif expected is not None and snapshot.blob_size(digest) is not None:
                        yield Wrong("blob", None, None, f"the bytes {digest} are there, though they were pruned")
        with store.read() as snapshot:
            self.catch_up(snapshot)
            found = snapshot.pruned_count()
        # Where nothing was pruned meanwhile, there may be fewer, which tasks have named again, and not more.
        if found > kept and self._version == version:
            text = f"{found} names are kept as pruned, and the log gives {kept}: rebuild it"
            yield Wrong("projection", None, None, text)
