"""Ids that follow from what they name: the same child and the same undo have the same id at every attempt.

Rule: two different things never get one id. Knows no task, no state, no store, no clock.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sagalog.door import cut_text
from sagalog.json_values import canonical
from sagalog.kernel.bounds import ID_CHARACTERS_MAX, NAME_CHARACTERS_MAX

# 64 bits: a task holds some hundred compensations, so two different ones never meet by chance.
_DIGEST_CHARACTERS: Final = 16


def child_id(parent: str, name: str) -> str:
    """The id of the child that a task creates under a name, the same at every attempt. [STEP-2]"""
    id = f"{parent}/{name}"
    if len(id) <= ID_CHARACTERS_MAX:
        return id
    return f"{id[:100]}…{hashlib.sha256(id.encode()).hexdigest()}"


def compensation_id(kind: str, params: object) -> str:
    """Return the id of a compensation that was given none: the same undo has the same, for ever. [REPEAT-3]

    It is the kind, a colon, and 16 hexadecimal digits of SHA-256 over the canonical JSON of `[kind, params]`,
    as in `remove-worktree:1ef6ac403fcbb699`. Of a very long kind only the beginning shows: an id is a name.
    """
    digest = hashlib.sha256(canonical([kind, params])).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{cut_text(kind, NAME_CHARACTERS_MAX - _DIGEST_CHARACTERS - 1)}:{digest}"
