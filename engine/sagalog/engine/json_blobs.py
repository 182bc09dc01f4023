"""Large values as blobs: what callers give as JSON -> bytes beside the log, and back.

Rule: only the draft of a task makes blobs of values, and what reads its events makes values of blobs; all code between
sees values, and the kernel asks only whether one is there [BLOB-2]. A value whose bytes were pruned stays a blob.
Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec

from sagalog.errors import Corrupt, OverBound, Pruned
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import BLOB_BYTES_MAX, INLINE_BYTES_MAX
from sagalog.kernel.references import BLOBS, VALUES
from sagalog.kernel.values import JsonBlob
from sagalog.store import Blob

# digest -> the bytes that the store keeps under it; None: it keeps none
ReadBlob = Callable[[str], bytes | None]

# UTF-8 takes up to four bytes a character: in a body of at most so many characters no value is large.
CHARACTERS_INLINE: Final = INLINE_BYTES_MAX // 4

_encode: Final = msgspec.json.Encoder().encode
_replace: Final = msgspec.structs.replace


def without_large(event: e.Recordable, blobs: dict[str, bytes]) -> e.Recordable:
    """Return an event with a blob in place of each large value, and add the bytes of these to `blobs`. [BLOB-2]"""
    name = VALUES.get(type(event))
    if name is not None:
        data = _large(getattr(event, name))
        return event if data is None else _replace(event, **{name: None, f"{name}_blob": _kept(data, blobs)})
    if isinstance(event, e.Noted) and event.results:
        large = {name: data for name, value in event.results.items() if (data := _large(value)) is not None}
        if large:
            named = {name: _kept(data, blobs) for name, data in large.items()}
            return _replace(event, results=event.results | dict.fromkeys(large), results_blobs=named)
    return event


def whole(event: e.Recordable, blob: ReadBlob) -> e.Recordable:
    """Return an event with its values in place of their blobs; one that was pruned stays a blob. [BLOB-2] [PRUNE-3]

    Raises:
        Corrupt: bytes are not those that were given.
    """
    field = BLOBS.get(type(event))
    if field is not None:
        named: JsonBlob | None = getattr(event, field)
        if named is None:
            return event
        data, name = _bytes(named, blob), VALUES[type(event)]
        return event if data is None else _replace(event, **{name: msgspec.json.decode(data), field: None})
    if isinstance(event, e.Noted) and event.results_blobs:
        found = {name: data for name, one in event.results_blobs.items() if (data := _bytes(one, blob)) is not None}
        left = {name: one for name, one in event.results_blobs.items() if name not in found}
        results = {**(event.results or {}), **{name: msgspec.json.decode(data) for name, data in found.items()}}
        return _replace(event, results=results, results_blobs=left or None)
    return event


def blob_left(event: e.Recordable, name: str | None = None) -> JsonBlob | None:
    """Return the blob that `whole` has left in place of a value, of a note that of the step `name`; None: none."""
    if isinstance(event, e.Noted):
        return (event.results_blobs or {}).get(name or "")
    field = BLOBS.get(type(event))
    left: JsonBlob | None = None if field is None else getattr(event, field)
    return left


def require_whole(event: e.Recordable, what: str, task: str, name: str | None = None) -> None:
    """Require that a value was not pruned; raises Pruned. [PRUNE-3]"""
    left = blob_left(event, name)
    if left is not None:
        raise Pruned(
            f"{what} of task {task!r} was pruned, since nothing had needed it for long: create a task anew with the "
            "same content",
            task=task,
            digest=left.digest,
        )


def as_given(event: e.Recordable, command: c.Command) -> e.Recordable:
    """Return the event on record with the value that a command gives, if it was pruned and has that digest. [REPEAT-6]

    So a repeat is known as one, though the value is gone.
    """
    left, field = blob_left(event), VALUES.get(type(event))
    if left is None or field is None:
        return event
    given = getattr(command, field, None)
    if given is None or sha256(_encode(given)).hexdigest() != left.digest:
        return event
    return _replace(event, **{field: given, f"{field}_blob": None})


def _large(value: Any) -> bytes | None:
    """Return the JSON of a value that is too large for its event; None: it is not."""
    # What callers give is encoded already; what a successor takes over was decoded.
    if value is None or type(value) in (bool, int, float):
        return None
    data = bytes(value) if type(value) is msgspec.Raw else _encode(value)
    return data if len(data) > INLINE_BYTES_MAX else None


def _kept(data: bytes, blobs: dict[str, bytes]) -> JsonBlob:
    if len(data) > BLOB_BYTES_MAX:
        raise OverBound(
            f"a value takes {len(data):,} bytes as JSON, and the bound is {BLOB_BYTES_MAX:,}; keep it beside the store",
            bound="blob_bytes",
            maximum=BLOB_BYTES_MAX,
        )
    digest = sha256(data).hexdigest()
    blobs[digest] = data
    return JsonBlob(digest, len(data))


def _bytes(named: JsonBlob, blob: ReadBlob) -> bytes | None:
    if named.data_key is not None:
        # [KEY-2]
        raise Corrupt(
            f"a value is encrypted under the key {named.data_key!r}, which this version does not know: upgrade sagalog",
            digest=named.digest,
            data_key=named.data_key,
        )
    data = blob(named.digest)
    if data is not None and sha256(data).hexdigest() != named.digest:
        raise Corrupt(
            f"the bytes of a value, {named.digest}, are changed: stop, keep the file, and compare it with a backup",
            digest=named.digest,
        )
    return data


def blobs_in(blobs: dict[str, bytes]) -> tuple[Blob, ...]:
    """Return bytes by digest as the blobs of a result."""
    return tuple([Blob(digest, data) for digest, data in blobs.items()])
