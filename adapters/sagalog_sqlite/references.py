"""References as rows: which streams refer to which bytes and tasks; and bytes that were pruned.

Rule: each look is a seek by name or by stream, whatever the size of the file; an operation decides what is deleted.
[PRUNE-1] It must not know what operations do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from sagalog.store import BEHIND_DIGESTS, Envelope, Pruning, Reference, ReferringStream, fold_prunings, fold_references
from sagalog_sqlite import rows
from sagalog_sqlite.rows import Execute

KEEP: Final = "INSERT OR IGNORE INTO naming(name, stream, task) SELECT value ->> 0, ?2, value ->> 1 FROM json_each(?1)"
KEEP_ONE: Final = "INSERT OR IGNORE INTO naming(name, stream, task) VALUES (?, ?, ?)"
FORGET_STREAM: Final = "DELETE FROM naming WHERE stream = ?"
FORGET_NAMES: Final = "DELETE FROM naming WHERE name IN (SELECT value FROM json_each(?))"
FORGET_STRAYS: Final = "DELETE FROM naming WHERE stream NOT IN (SELECT number FROM streams)"
DIGESTS: Final = f"SELECT DISTINCT name FROM naming WHERE name > ? AND name < '{BEHIND_DIGESTS}' ORDER BY name LIMIT ?"  # noqa: S608
DIGEST_COUNT: Final = f"SELECT count(DISTINCT name) FROM naming WHERE name < '{BEHIND_DIGESTS}'"  # noqa: S608
REFERRING: Final = (
    "SELECT s.category || '/' || s.id, n.task FROM naming n JOIN streams s ON s.number = n.stream "
    "WHERE n.name = ? ORDER BY n.stream DESC LIMIT ?"
)
SIZE: Final = "SELECT length(data) FROM blobs WHERE digest = ?"
BETWEEN: Final = "SELECT stream, name, task FROM naming WHERE stream BETWEEN ? AND ? ORDER BY stream, name"
STRAYS: Final = "SELECT name, stream FROM naming WHERE stream NOT IN (SELECT number FROM streams)"

PRUNED: Final = "SELECT version FROM pruned WHERE digest = ?"
PRUNED_COUNT: Final = "SELECT count(*) FROM pruned"
# In this order: a trigger refuses to delete bytes that are not among the pruned.
NOTE_PRUNED: Final = "INSERT OR REPLACE INTO pruned(digest, version) SELECT value, ?2 FROM json_each(?1)"
DELETE_BLOBS: Final = "DELETE FROM blobs WHERE digest IN (SELECT value FROM json_each(?))"
_STORES: Final = "SELECT number FROM streams WHERE category = 'store'"
FORGET_ALL_PRUNED: Final = "DELETE FROM pruned"
NOTE_GONE: Final = (
    "INSERT OR REPLACE INTO pruned(digest, version) SELECT key, value FROM json_each(?) "
    "WHERE NOT EXISTS (SELECT 1 FROM naming WHERE name = key)"
)


def save(execute: Execute, number: int, references: Sequence[Reference]) -> None:
    """Keep the references that a stream does not have yet."""
    if len(references) == 1:
        name, task = references[0]
        execute(KEEP_ONE, (name, number, task))
    else:
        execute(KEEP, (msgspec.json.encode(references).decode(), number))


def prune(execute: Execute, pruning: Pruning) -> None:
    """Delete bytes with all references to them, and keep their names as pruned. [PRUNE-1]"""
    digests = msgspec.json.encode(pruning.digests).decode()
    execute(NOTE_PRUNED, (digests, pruning.version))
    execute(DELETE_BLOBS, (digests,))
    execute(FORGET_NAMES, (digests,))


def digests(execute: Execute, after: str, limit: int) -> list[str]:
    """Return the digests above `after` to which streams refer, in order."""
    return [name for (name,) in execute(DIGESTS, (after, limit))]


def referring(execute: Execute, name: str, limit: int | None) -> list[ReferringStream]:
    """Return the streams that refer to a name, the newest first, up to the limit."""
    return [ReferringStream(*row) for row in execute(REFERRING, (name, -1 if limit is None else limit))]


def blob_size(execute: Execute, digest: str) -> int | None:
    """Return how many bytes there are under a digest, without a read of them; None: none."""
    for (size,) in execute(SIZE, (digest,)):
        return int(size)
    return None


def blob(execute: Execute, digest: str) -> bytes | None:
    """Return the bytes under a digest; None also if the row holds something else."""
    for (data,) in execute(rows.BLOB, (digest,)):
        return data if isinstance(data, bytes) else None
    return None


def pruned(execute: Execute, digest: str) -> int | None:
    """Return the version of the event by which bytes are gone; None: by none."""
    for (version,) in execute(PRUNED, (digest,)):
        return int(version)
    return None


def rebuild_stream(execute: Execute, number: int, envelopes: Iterable[Envelope], prunings: Mapping[str, int]) -> None:
    """Fold the references of a stream again; one that cannot be read keeps those that it has. [LOG-5]"""
    try:
        references = fold_references(envelopes, prunings)
    except rows.UNFOLDABLE:
        return
    execute(FORGET_STREAM, (number,))
    if references:
        save(execute, number, references)


class Prunings:
    """The digests that events have pruned, as a rebuild has read them by now.

    positions   by digest, the position of the newest event that has pruned it
    """

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self._versions: dict[int, int] = {}

    def catch_up(self, execute: Execute) -> None:
        """Read on, up to what the transaction shows; events that cannot be read prune nothing."""
        for (number,) in list(execute(_STORES)):
            envelopes = rows.history(execute, number, self._versions.get(number, 0))
            if envelopes:
                self._versions[number] = envelopes[-1].version
                with suppress(*rows.UNFOLDABLE):
                    self.positions.update(fold_prunings(envelopes)[0])


def put_pruned_back(execute: Execute) -> None:
    """Keep exactly those names as pruned to which no stream has referred since. [PRUNE-4]"""
    try:
        versions = {
            digest: version
            for (number,) in list(execute(_STORES))
            for digest, version in fold_prunings(rows.history(execute, number))[1].items()
        }
    except rows.UNFOLDABLE:
        return  # An audit names the event.
    execute(FORGET_ALL_PRUNED)
    if versions:
        execute(NOTE_GONE, (msgspec.json.encode(versions).decode(),))
