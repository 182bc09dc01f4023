"""Projections: what is saved beside a stream, folded from it.

Rule: everything here can be thrown away and computed again from the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

import msgspec

from sagalog.codec import SHAPES, Envelope, Shapes, read
from sagalog.errors import LogDamaged
from sagalog.kernel.categories import STORE, TASK, Category, Fold
from sagalog.kernel.state import KeptPolicy, StoreFold, TaskFold
from sagalog.kernel.values import Retry
from sagalog.store.row import Row, check_ms, gate_of, row_of

# A fold is read at every write, so it must not cost a SHA-256; a page that rots changes few bits.
_CHECKSUM: Final = 8
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(TaskFold).decode

# What a fold ends in where its last fields have their defaults, from some fields on; the longest first. A tail opens no
# string and closes the fold itself, so that nothing else ends like it. What is missing is read as the defaults.
_FROM: Final = ("progress_version", "error_version", "compensations", "steps", "failures", "sources")


def _tails() -> tuple[bytes, ...]:
    names = TaskFold.__struct_fields__
    values = msgspec.structs.astuple(TaskFold(""))
    return tuple(b"," + _encode(values[names.index(name) :])[1:] for name in _FROM)


_TAILS: Final = _tails()

# The policy of nearly every task, which is not spelled out in its fold. Between these quotes it stands in no string.
_DEFAULT_POLICY: Final = KeptPolicy.of(Retry().resolve())
_POLICY_SPELLED: Final = b",%b," % _encode(_DEFAULT_POLICY)
_POLICY_LEFT_OUT: Final = b",null,"


class Projection(msgspec.Struct, frozen=True, gc=False):
    """What a store saves beside a stream.

    fold       the stream, folded; a store that keeps it must not change it
    content    the bytes of the fold, behind a checksum; `FOLD_FORMAT` is saved beside them. Of the store's own stream
               there are none: a store keeps that in a form of its own, since it says which format may be written
    row        of a task: the columns by which it is found
    awaited    of a task: the sorted ids of the tasks whose end it awaits [WAIT-3]
    tags       of a task: names and values to find it by, which never change
    """

    fold: Any
    content: bytes = b""
    row: Row | None = None
    awaited: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


def project(task: TaskFold, now_ms: int, before: Row | None, content: bytes | None = None) -> Projection:
    """The projection of a task at `now_ms`, which had the row `before` (None: none); `content` if it was encoded."""
    look_ms = None if task.lease is None else check_ms(task, before)
    return projection_at(task, gate_of(task, now_ms, before), content, look_ms)


def project_afresh(id: str, envelopes: Iterable[Envelope], now_ms: int) -> Projection:
    """A task's projection from its whole stream; raises as `refold`."""
    task = refold(id, envelopes)
    return projection_at(task, gate_of(task, now_ms))


def projection_at(
    task: TaskFold, gate: str | None, content: bytes | None = None, look_ms: int | None = None
) -> Projection:
    """The projection of a task that stands at a gate; its lease is looked at by `look_ms` (None: at its expiry)."""
    return Projection(
        task,
        encode_fold(task) if content is None else content,
        row_of(task, gate, look_ms),
        awaited(task) if task.waiting is not None else (),
        tuple(task.tags.items()) if task.tags else (),
    )


def project_fold(fold: object) -> Projection:
    """The projection of a stream that is no task's: its fold, and nothing to find it by but its name."""
    return Projection(fold, b"" if isinstance(fold, StoreFold) else encode_fold(fold))


def refold_stream(category: Category[Fold], id: str, envelopes: Iterable[Envelope], shapes: Shapes = SHAPES) -> Fold:
    """The fold of a whole stream of any category, as its envelopes give it.

    Raises:
        UnknownEvent, LogDamaged: an event cannot be read, or cannot stand where it stands.
    """
    return category.fold(id, ((read(envelope, shapes), envelope.version, envelope.at_ms) for envelope in envelopes))


def refold(id: str, envelopes: Iterable[Envelope]) -> TaskFold:
    """A task's fold from its whole stream; raises as `refold_stream`, and LogDamaged where there is no event at all."""
    task = refold_stream(TASK, id, envelopes)
    if task.version == 0:
        raise LogDamaged(
            f"the stream task/{id} has no events: another program has changed the file; restore a backup",
            stream=f"task/{id}",
            version=0,
            type=None,
        )
    return task


def refold_store(envelopes: Iterable[Envelope]) -> StoreFold | None:
    """The store's fold from its own stream; None where it has no events. Raises as `refold_stream`."""
    stream = list(envelopes)
    return refold_stream(STORE, stream[0].stream.partition("/")[2], stream) if stream else None


def awaited(task: TaskFold) -> tuple[str, ...]:
    """Ids of the tasks whose end has this one looked at, sorted. [WAIT-3]"""
    return () if task.waiting is None else tuple(sorted(set(task.waiting.after)))


def encode_fold(fold: object) -> bytes:
    """The bytes that are saved of a fold, behind a checksum of them; `FOLD_FORMAT` is saved beside them."""
    content = _encode(fold)
    if type(fold) is TaskFold:
        for tail in _TAILS:
            if content.endswith(tail):
                content = content[: -len(tail)] + b"]"
                break
        at = content.find(_POLICY_SPELLED)
        if at >= 0:
            content = content[:at] + _POLICY_LEFT_OUT + content[at + len(_POLICY_SPELLED) :]
    return b"%08x%b" % (crc32(content), content)


def decode_fold(saved: bytes) -> TaskFold:
    """The fold of a task from saved bytes of this version's format.

    Raises:
        msgspec.DecodeError: they are no such bytes, or no longer those that were saved.
    """
    task = _decode(_content(saved))
    if task.policy is None:
        task.policy = _DEFAULT_POLICY
    return task


def decode_fold_of(category: Category[Fold], saved: bytes) -> Fold:
    """The fold of a stream of any category; raises as `decode_fold`."""
    return msgspec.json.decode(_content(saved), type=category.fold_type)


def _content(saved: bytes) -> memoryview:
    if type(saved) is not bytes:
        raise msgspec.DecodeError("a saved fold is bytes")
    content = memoryview(saved)[_CHECKSUM:]
    if saved[:_CHECKSUM] != b"%08x" % crc32(content):
        raise msgspec.DecodeError("a saved fold was changed: its checksum does not fit its content")
    return content
