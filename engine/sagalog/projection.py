"""Fold -> what a store saves and searches by.

Rule: everything here can be thrown away and computed again from the log. A gate depends on the time and is checked for
fitting the task at some time, not for being the one of now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple
from zlib import crc32

import msgspec

from sagalog.codec import SHAPES, Envelope, Shapes, read
from sagalog.errors import LogDamaged
from sagalog.kernel.categories import STORE, TASK, Category, Fold
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import State

# ready: may be claimed for work; undo: for undoing; ready_alone, undo_alone: the same, by a claim that leases nothing
# beside it [LEASE-5]; later: when its time has come; waiting: once its wait is over; waking: a task that it waits for
# has ended, so upkeep has to look; unreadable: not by this version.
Gate = Literal["ready", "undo", "ready_alone", "undo_alone", "later", "waiting", "waking", "unreadable"]

# The gates at which a task may be claimed.
OPEN: Final = frozenset({"ready", "undo", "ready_alone", "undo_alone"})

# A fold is read at every write, so it must not cost a SHA-256; a page that rots changes few bits.
_CHECKSUM: Final = 8
_encode_fold: Final = msgspec.json.Encoder().encode
_decode_fold: Final = msgspec.json.Decoder(TaskFold).decode


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
            f"the stream task/{id} has no events: somebody has changed the file; restore a backup",
            stream=f"task/{id}",
            version=0,
            type=None,
        )
    return task


def refold_store(envelopes: Iterable[Envelope]) -> StoreFold | None:
    """The store's fold from its own stream; None where it has no events. Raises as `refold_stream`."""
    stream = list(envelopes)
    return refold_stream(STORE, stream[0].stream.partition("/")[2], stream) if stream else None


def bytes_of(task: TaskFold) -> int:
    """How many bytes a saved fold takes."""
    return _CHECKSUM + len(_encode_fold(task))


def encode_fold(task: TaskFold) -> str:
    """The text that is saved, behind a checksum of it; `FOLD_FORMAT` is saved beside it."""
    content = _encode_fold(task)
    return f"{crc32(content):08x}{content.decode()}"


def decode_fold(text: str) -> TaskFold:
    """The fold of a saved text of this version's format.

    Raises:
        msgspec.DecodeError: it is no such text, or no longer the one that was saved.
    """
    if type(text) is not str:
        raise msgspec.DecodeError("a saved fold is text")
    content = text[_CHECKSUM:].encode()
    if text[:_CHECKSUM] != f"{crc32(content):08x}":
        raise msgspec.DecodeError("a saved fold was changed: its checksum does not fit its content")
    return _decode_fold(content)


def gate(task: TaskFold, now_ms: int, opened_ms: int | None = None) -> Gate | None:
    """Where the task waits to be claimed; None while it is leased and after its end.

    `opened_ms` is the due time for which its gate is open already: a clock that steps back does not close it.
    """
    if task.lease is not None or task.is_terminal:
        return None
    if task.waiting is not None:
        return "waiting"
    if task.run_at_ms > now_ms and task.run_at_ms != opened_ms:
        return "later"
    if task.state is State.COMPENSATING:
        return "undo_alone" if task.is_suspect else "undo"
    return "ready_alone" if task.is_suspect else "ready"


def gate_next(task: TaskFold, now_ms: int, stood: str | None, due_before_ms: int) -> Gate | None:
    """The gate after a write to a task that stood at `stood`: what was opened stays so, as does a look that is due."""
    if stood == "waking" and task.waiting is not None and task.waiting.after:
        return "waking"
    return gate(task, now_ms, due_before_ms if stood in OPEN else None)


def gate_afresh(task: TaskFold, now_ms: int) -> Gate | None:
    """As `gate`, where nobody knows which ends were seen before: a wait for tasks has to be looked at. [WAIT-3]"""
    if task.waiting is not None and task.waiting.after:
        return "waking"
    return gate(task, now_ms)


def gates_at_any_time(task: TaskFold) -> tuple[Gate | None, ...]:
    """The gates at which such a task may stand, whatever the time is."""
    if task.waiting is not None:
        return ("waiting", "waking") if task.waiting.after else ("waiting",)
    return (gate(task, task.run_at_ms), gate(task, task.run_at_ms - 1))


def due_ms(task: TaskFold) -> int | None:
    """When upkeep has to look at a task that nobody holds: at its due time, or at the end of its wait; None: never."""
    return task.run_at_ms if task.waiting is None else task.waiting.until_ms


def owed_kinds(task: TaskFold) -> str | None:
    """The compensation kinds a compensating task owes, sorted, as a JSON list: what an undo claim must know all of."""
    if task.state is not State.COMPENSATING:
        return None
    return _encode_fold(sorted({task.compensations[id].kind for id in task.owed()})).decode()


def awaited(task: TaskFold) -> tuple[str, ...]:
    """Ids of the tasks whose end has this one looked at, sorted. [WAIT-3]"""
    return () if task.waiting is None else tuple(sorted(set(task.waiting.after)))


def undo_ms(task: TaskFold) -> int | None:
    """From when on an undo that no worker has leased is due; None: there is none."""
    return task.run_at_ms if task.state is State.COMPENSATING and task.lease is None else None


def overdue_ms(task: TaskFold) -> int | None:
    """When such an undo will have waited for too long; None: never, or there is none. [UNDO-2]"""
    wait_ms = None if task.policy is None else task.policy.undo_wait_ms
    since_ms = undo_ms(task)
    return None if wait_ms is None or since_ms is None else since_ms + wait_ms


class Columns(NamedTuple):
    """The searched columns of a task, without its gate and its tags.

    What hardly ever changes stands first, then what moves, then what a renewal changes.
    """

    queue: str
    kind: str
    priority: int
    affinity: str | None
    state: str
    owed: str | None
    run_at_ms: int | None
    undo_ms: int | None
    overdue_ms: int | None
    expires_ms: int | None
    renewed_ms: int | None


def columns(task: TaskFold) -> Columns:
    """What a store searches a task by."""
    lease = task.lease
    undoing = task.state is State.COMPENSATING
    return Columns(
        task.queue,
        task.kind,
        task.priority,
        task.affinity,
        str(task.state),
        owed_kinds(task) if undoing else None,
        due_ms(task),
        undo_ms(task) if undoing else None,
        overdue_ms(task) if undoing else None,
        None if lease is None else lease.expires_ms,
        None if lease is None else lease.renewed_ms,
    )
