"""Projections: what a store saves beside a stream, folded from it.

Rule: a store can discard everything here and compute it again from the log. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from sagalog.codec import SHAPES, Envelope, Shapes, read
from sagalog.errors import LogDamaged
from sagalog.kernel.categories import STORE, TASK, Category, Fold
from sagalog.kernel.events import awaited_tasks
from sagalog.kernel.state import KeptPolicy, StoreFold, TaskFold
from sagalog.kernel.values import Retry
from sagalog.store.limit_uses import LimitUse, asked_of, limit_uses_of
from sagalog.store.row import Row, check_ms, gate_of, row_of

# Every write reads a fold, so a checksum must not cost a SHA-256; decay of a page changes few bits.
_CHECKSUM: Final = 8
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(TaskFold).decode

# The ends of folds whose last fields have their defaults, from these fields on; the longest first. A tail opens no
# string and closes the fold itself, so that nothing else ends like it. A reader takes the defaults for what is missing.
_FROM: Final = ("progress_version", "error_version", "compensations", "steps", "failures", "sources")


def _tails() -> tuple[bytes, ...]:
    names = TaskFold.__struct_fields__
    values = msgspec.structs.astuple(TaskFold(""))
    return tuple(b"," + _encode(values[names.index(name) :])[1:] for name in _FROM)


_TAILS: Final = _tails()

# The policy of nearly every task; a saved fold leaves it out. Between these commas it cannot be part of a string.
_DEFAULT_POLICY: Final = KeptPolicy.of(Retry().resolve())
_POLICY_SPELLED: Final = b",%b," % _encode(_DEFAULT_POLICY)
_POLICY_LEFT_OUT: Final = b",null,"


class Projection(msgspec.Struct, frozen=True, gc=False):
    """What a store saves beside a stream.

    fold       the stream, folded; a store that keeps it must not change it
    content    the bytes of the fold, behind a checksum; a store saves `FOLD_FORMAT` beside them. Empty for the store's
               own stream: a store keeps that fold in a form of its own, since it names the format of the log
    row        of a task: the columns by which a store finds it
    awaited    of a task: the tasks whose ends it awaits, as edges to them that a store saves in place of those that it
               has; None: they stay as they are [WAIT-3]
    tags       of a task: names and values to find it by, which never change
    limit_uses of a task that uses limits: its place under each of them [LIMIT-5]
    """

    fold: Any
    content: bytes = b""
    row: Row | None = None
    awaited: tuple[str, ...] | None = ()
    tags: tuple[tuple[str, str], ...] = ()
    limit_uses: tuple[LimitUse, ...] = ()


def project(
    task: TaskFold,
    now_ms: int,
    before: Row | None,
    content: bytes | None = None,
    awaited: tuple[str, ...] | None = None,
) -> Projection:
    """Project a task that had the row `before` (None: none) at `now_ms`; `content`: its fold, if encoded already.

    `awaited` are the tasks that live of those that it waits for, where the wait begins now; None: they stay as saved.
    """
    look_ms = None if task.lease is None else check_ms(task, before)
    return projection_at(task, gate_of(task, now_ms, before), content, look_ms, awaited)


def project_afresh(
    id: str, envelopes: Iterable[Envelope], now_ms: int, is_governed: Callable[[str], bool] = lambda _: False
) -> Projection:
    """Project a task from its whole stream, as if every task that it waits for lived; raises as `refold`.

    A store that rebuilds then deletes the edges to those that have ended, and maintenance looks at the wait. [WAIT-3]
    A task that a limit may hold back is held under its first one, and maintenance lets it in. [LIMIT-5]

    Args:
        id, envelopes: of the task.
        now_ms: the time of the store's clock.
        is_governed: whether a queue has settings.
    """
    stream = list(envelopes)
    task = refold(id, stream)
    gate, awaited = gate_of(task, now_ms), awaited_by(task, stream)
    governed = is_governed(task.queue)
    if not governed and task.uses is None:
        return projection_at(task, gate, awaited=awaited)
    asked = asked_of(task, governed) if gate in ("ready", "ready_alone") else ()
    held = asked[0].account if asked else None
    return limited_projection(task, "held" if asked else gate, held, governed, awaited=awaited)


def projection_at(
    task: TaskFold,
    gate: str | None,
    content: bytes | None = None,
    look_ms: int | None = None,
    awaited: tuple[str, ...] | None = None,
) -> Projection:
    """Return the projection of a task at a gate; maintenance checks its lease by `look_ms` (None: at its expiry).

    `awaited` counts only for a task that waits for others; any other has no edges.
    """
    return Projection(
        task,
        encode_fold(task) if content is None else content,
        row_of(task, gate, look_ms),
        awaited if task.waiting is not None and task.waiting.tasks else (),
        tuple(task.tags.items()) if task.tags else (),
    )


def limited_projection(
    task: TaskFold,
    gate: str | None,
    held: str | None,
    is_governed: bool,
    content: bytes | None = None,
    look_ms: int | None = None,
    awaited: tuple[str, ...] | None = None,
) -> Projection:
    """Return the projection of a task under limits, at a gate; `held` is the account that it lacks. [LIMIT-5]"""
    return Projection(
        task,
        encode_fold(task) if content is None else content,
        row_of(task, gate, look_ms, held),
        awaited if task.waiting is not None and task.waiting.tasks else (),
        tuple(task.tags.items()) if task.tags else (),
        limit_uses_of(task, gate, held, is_governed),
    )


def project_fold(fold: object) -> Projection:
    """Project a stream that is no task's: its fold, and only its name to find it by."""
    return Projection(fold, b"" if isinstance(fold, StoreFold) else encode_fold(fold))


def refold_stream(category: Category[Fold], id: str, envelopes: Iterable[Envelope], shapes: Shapes = SHAPES) -> Fold:
    """Fold a whole stream of any category from its envelopes.

    Raises:
        UnknownEvent, LogDamaged: an event cannot be read, or does not fit where it is.
    """
    return category.fold(id, ((read(envelope, shapes), envelope.version, envelope.at_ms) for envelope in envelopes))


def refold(id: str, envelopes: Iterable[Envelope]) -> TaskFold:
    """Fold a task from its whole stream; raises as `refold_stream`, and LogDamaged where there is no event at all."""
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
    """Fold the store's own stream; None where it has no events. Raises as `refold_stream`."""
    stream = list(envelopes)
    return refold_stream(STORE, stream[0].stream.partition("/")[2], stream) if stream else None


def awaited_by(task: TaskFold, stream: Sequence[Envelope]) -> tuple[str, ...]:
    """Return the ids of the tasks that a task waits for, sorted, from its whole stream. [WAIT-3]"""
    waiting = task.waiting
    if waiting is None or not waiting.tasks:
        return ()
    return tuple(sorted(awaited_tasks(read(stream[waiting.version - 1]))))


def encode_fold(fold: object) -> bytes:
    """Return the bytes that a store saves of a fold, behind their checksum; it saves `FOLD_FORMAT` beside them."""
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
    """Return the fold of a task from saved bytes of this version's format.

    Raises:
        msgspec.DecodeError: they are no such bytes, or no longer those that were saved.
    """
    task = _decode(_content(saved))
    if task.policy is None:
        task.policy = _DEFAULT_POLICY
    return task


def decode_fold_of(category: Category[Fold], saved: bytes) -> Fold:
    """Return the fold of a stream of any category; raises as `decode_fold`."""
    return msgspec.json.decode(_content(saved), type=category.fold_type)


def _content(saved: bytes) -> memoryview:
    if type(saved) is not bytes:
        raise msgspec.DecodeError("a saved fold is bytes")
    content = memoryview(saved)[_CHECKSUM:]
    if saved[:_CHECKSUM] != b"%08x" % crc32(content):
        raise msgspec.DecodeError("a saved fold was changed: its checksum does not fit its content")
    return content
