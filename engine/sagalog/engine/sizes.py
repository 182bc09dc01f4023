"""The bounds of events and folds, in bytes, checked when they are made, before the store writes anything. [BOUND-4]

Rule: what leases a task, ends it or settles something always fits, since all other events leave a reserve. Knows no
store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sagalog.codec import Envelope
from sagalog.errors import OverBound
from sagalog.kernel import events as e
from sagalog.kernel.bounds import EVENT_BYTES_MAX, FOLD_BYTES_MAX, FOLD_BYTES_RESERVE, KEPT_BYTES_MAX
from sagalog.kernel.state import TaskFold
from sagalog.store import Kept

# The events that put a name on record, so that the fold grows for good.
GROWING: Final = frozenset(
    {
        e.Created,
        e.CompensationRegistered,
        e.StepCompleted,
        e.ArtifactPut,
        e.ChildAdopted,
        e.Parked,
        e.Signalled,
        e.Amended,
    }
)

# UTF-8 takes up to four bytes a character: a body of at most so many characters needs no measurement.
CHARACTERS_THAT_FIT: Final = EVENT_BYTES_MAX // 4


def hands_over(event: e.Recordable) -> bool:
    """Check whether it is the creation of a successor: made of what was accepted before, and of references. [COMP-7]

    It may be larger than an event: by as much as the names of a fold, and 1 KiB for each reference. [BOUND-4]
    """
    return isinstance(event, e.Created) and event.predecessor is not None


def require_event_fits(envelope: Envelope) -> None:
    """Refuse an event whose body takes more than `EVENT_BYTES_MAX`; raises OverBound."""
    size = len(envelope.body.encode())
    if size > EVENT_BYTES_MAX:
        raise OverBound(
            f"{envelope.type!r} of {envelope.stream} takes {size:,} bytes as JSON and the bound of an event is "
            f"{EVENT_BYTES_MAX:,}; keep what is large as artifacts or beside the store, and give its name",
            stream=envelope.stream,
            bound="event_bytes",
            maximum=EVENT_BYTES_MAX,
        )


def require_kept_fits(kept: Kept) -> None:
    """Refuse a value to keep beside the log that takes more than `KEPT_BYTES_MAX`; raises OverBound. [KEEP-3]"""
    size = 0 if kept.value is None else len(kept.value.encode())
    if size > KEPT_BYTES_MAX:
        raise OverBound(
            f"the value of {kept.name!r} in {kept.space!r} takes {size:,} bytes as JSON and the bound is "
            f"{KEPT_BYTES_MAX:,}; keep what is large as an artifact or beside the store, and give its name",
            space=kept.space,
            name=kept.name,
            bound="kept_bytes",
            maximum=KEPT_BYTES_MAX,
        )


def require_fold_fits(task: TaskFold, size: int, events: Sequence[e.Recordable]) -> None:
    """Refuse `events` whose fold, of `size` bytes, leaves less than the reserve free; raises OverBound.

    A signal that a wait takes at once, and a wait that a cancel ends at once, make nothing larger: they always fit. A
    failure may put undos into half of the reserve, since its worker can hardly end the task otherwise.
    """
    if size <= FOLD_BYTES_MAX - FOLD_BYTES_RESERVE or hands_over(events[0]):
        return
    if len(events) > 1 and (isinstance(events[0], e.Signalled) or isinstance(events[-1], e.Cancelled)):
        return
    reserve = FOLD_BYTES_RESERVE // 2 if any(isinstance(event, e.Failed) for event in events) else FOLD_BYTES_RESERVE
    maximum = FOLD_BYTES_MAX - reserve
    if size > maximum:
        raise OverBound(
            f"the names of what task {task.id!r} has on record (compensations, steps, artifacts, waits, signals, tags) "
            f"would take {size:,} bytes and the bound is {maximum:,}; use shorter names, or go on in a new task",
            task=task.id,
            bound="fold_bytes",
            maximum=maximum,
        )
