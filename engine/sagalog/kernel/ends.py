"""A summary of several tasks and of their ends: how many ended in each state, and digests over all.

Rule: all follow from the ids or the ends alone, in whatever order they are given. [WAIT-3] Knows no fold and no event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from sagalog.kernel.values import State, TaskEnd


def counted(ends: Iterable[TaskEnd]) -> dict[State, int]:
    """Count the tasks that have ended in each state, in the order of the states' names."""
    return dict(sorted(Counter(one.state for one in ends).items()))


def digest_of_ends(ends: Sequence[TaskEnd]) -> str:
    """Return the SHA-256 in hex over the ids, versions and states, sorted by id, as `specs/digest.md` specifies."""
    fields = [str(field).encode() for one in sorted(ends, key=_id) for field in (one.task, one.version, one.state)]
    return sha256(b"14:sagalog-ends-1," + b"".join(b"%d:%b," % (len(field), field) for field in fields)).hexdigest()


def digest_of_ids(ids: Iterable[str]) -> str:
    """Return the SHA-256 in hex over the ids of the tasks of a wait, sorted; only a fold keeps it, and no event."""
    fields = [id.encode() for id in sorted(ids)]
    return sha256(b"13:sagalog-ids-1," + b"".join(b"%d:%b," % (len(field), field) for field in fields)).hexdigest()


def _id(end: TaskEnd) -> str:
    return end.task
