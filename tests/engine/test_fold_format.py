"""The number that tells one shape of saved folds from another is raised whenever a shape changes. [LOG-5]

Rule: the fingerprint is over names and types of all that a fold is made of and from; it is pinned beside the number, so
that neither changes alone. An older version must not take a fold for its own that was made from what it cannot read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from inspect import get_annotations

import msgspec

from sagalog.codec import SCHEMAS
from sagalog.kernel import events as e
from sagalog.kernel import state
from sagalog.kernel.accounts import Account, Refusal
from sagalog.kernel.values import (
    BreakerPolicy,
    BreakerState,
    Compensation,
    Failure,
    Inherited,
    Input,
    KeptStep,
    KeptWaits,
    LeaseRecord,
    Limit,
    Rate,
    Retry,
    Seen,
    SignalEnd,
    TaskEnd,
    Unchanged,
    Units,
    UnrecordedStep,
)

# What is inside events.
VALUES: tuple[type[msgspec.Struct], ...] = (
    BreakerPolicy,
    BreakerState,
    Compensation,
    Failure,
    Inherited,
    Input,
    KeptStep,
    KeptWaits,
    Limit,
    Rate,
    Seen,
    SignalEnd,
    TaskEnd,
    Unchanged,
    Units,
    UnrecordedStep,
)
SAVED: tuple[type[msgspec.Struct], ...] = (
    state.TaskFold,
    state.CompensationRecord,
    state.EndedLease,
    state.Recording,
    state.StepRecord,
    state.AdoptedChild,
    state.KeptSignal,
    state.EndedWaits,
    state.TakenSignal,
    state.Waiting,
    LeaseRecord,
    state.KeptPolicy,
    state.StoreFold,
    state.LimitFold,
    state.QueueFold,
    state.JournalFold,
    Account,
    Refusal,
)
PINNED = (14, "91866e0bc24a8112d272bb2cef4e4a419ab8b91552e128443b519263b5abcc86")


def shape(kind: type[msgspec.Struct], types: bool = True) -> list[str]:
    """The fields of a struct in their order, as the sources write them."""
    declared = {name: text for base in reversed(kind.__mro__) for name, text in get_annotations(base).items()}
    return [f"{name}: {declared[name]}" if types else name for name in kind.__struct_fields__]


def fingerprint(
    schemas: dict[str, int],
    events: Iterable[type[e.Recordable]] = tuple(e.NAMES),
    saved: Iterable[type[msgspec.Struct]] = SAVED,
) -> str:
    """SHA-256 over the schemas, the events' fields with their types, and the fields of what is saved."""
    written = {
        "schemas": schemas,
        "events": {e.NAMES.get(kind, "started"): shape(kind) for kind in events},
        "values": {kind.__name__: shape(kind) for kind in VALUES},
        "saved": {kind.__name__: shape(kind, types=False) for kind in saved},
        # Neither is spelled out in a fold that has it.
        "defaults": repr(state.TaskFold("")),
        "policy": repr(Retry().resolve()),
    }
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


def test_a_change_of_events_or_folds_raises_the_format_of_folds() -> None:
    found = (state.FOLD_FORMAT, fingerprint(dict(SCHEMAS)))

    assert found == PINNED, (
        "events or folds have another shape than was pinned: raise FOLD_FORMAT in kernel/state.py by one, so that no "
        f"older version takes such a fold for its own, and pin anew here: PINNED = {found}"
    )


def test_the_fingerprint_differs_for_a_new_schema_event_field_or_type() -> None:
    class Started(e.Recordable, frozen=True):
        kind: str

    class Longer(e.Recordable, frozen=True):
        kind: str
        why: str | None = None

    class Other(e.Recordable, frozen=True):
        kind: int

    schemas = dict(SCHEMAS)
    found = {
        fingerprint(schemas),
        fingerprint({**schemas, "created": 2}),
        fingerprint({**schemas, "started": 1}),
        fingerprint(schemas, saved=SAVED[:-1]),
        *(fingerprint(schemas, events=[kind]) for kind in (Started, Longer, Other)),
    }

    assert len(found) == 7
