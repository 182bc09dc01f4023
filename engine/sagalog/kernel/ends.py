"""A summary of several tasks and of their ends: how many ended in each state, and digests over all.

Rule: all follow from the ids or the ends alone, in whatever order they are given. [WAIT-3] Knows no fold and no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final

from sagalog.kernel.values import State, TaskEnd

# One end lets many tasks go on in a commit, most of which waited for it alone: so many digests are kept.
_KEPT: Final = 64
_FEW: Final = 4


def counted(ends: Iterable[TaskEnd]) -> dict[State, int]:
    """Count the tasks that have ended in each state, in the order of the states' names."""
    found: dict[State, int] = {}
    for one in ends:
        found[one.state] = found.get(one.state, 0) + 1
    return dict(sorted(found.items()))


def digest_of_ends(ends: Sequence[TaskEnd]) -> str:
    """Return the SHA-256 in hex over the ids, versions and states, sorted by id, as `specs/digest.md` specifies."""
    return _few_ends(tuple(ends)) if len(ends) <= _FEW else _of_ends(ends)


def digest_of_ids(ids: Sequence[str]) -> str:
    """Return the SHA-256 in hex over the ids of the tasks of a wait, sorted; only a fold keeps it, and no event."""
    return _few_ids(tuple(ids)) if len(ids) <= _FEW else _of_ids(ids)


def _of_ends(ends: Sequence[TaskEnd]) -> str:
    fields = [str(field).encode() for one in sorted(ends, key=_id) for field in (one.task, one.version, one.state)]
    return _digest(b"14:sagalog-ends-1,", fields)


def _of_ids(ids: Sequence[str]) -> str:
    return _digest(b"13:sagalog-ids-1,", [id.encode() for id in sorted(ids)])


_few_ends: Final = lru_cache(_KEPT)(_of_ends)
_few_ids: Final = lru_cache(_KEPT)(_of_ids)


def _digest(tag: bytes, fields: Iterable[bytes]) -> str:
    return sha256(tag + b"".join(b"%d:%b," % (len(field), field) for field in fields)).hexdigest()


def _id(end: TaskEnd) -> str:
    return end.task
