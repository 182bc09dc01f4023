"""The ids that follow from what they name: the same child and the same undo have the same id at every attempt.

Rule: two different things never get one id. Knows no task, no state, no store, no clock.
"""

from __future__ import annotations

import hashlib
from typing import Final

from sagalog.kernel.bounds import ID_CHARACTERS_MAX, NAME_CHARACTERS_MAX
from sagalog.validation.json_values import canonical
from sagalog.validation.values import cut_text

# 128 bits: no caller finds two undos with one digest, even one that searches for them.
_DIGEST_CHARACTERS: Final = 32
_SHOWN_CHARACTERS: Final = 100


def child_id(parent: str, name: str) -> str:
    """Return the id of the child that a task creates under a name, the same at every attempt. [STEP-2] [NAME-2]"""
    return _joined(parent, name)


def journal_id(name: str, task: str | None) -> str:
    """Return the id of a journal: of the one that a task has under a name, or of one that is no task's. [NAME-2]

    The latter has no slash in it, so it never is one of a task.
    """
    return _escaped(name) if task is None else _joined(task, name)


def journal_name(id: str, task: str | None) -> str:
    """Return the name of a journal by its id, as far as the id holds it. [NAME-2]"""
    escaped = id if task is None else id.removeprefix(f"{task}/")
    return escaped.replace("%2F", "/").replace("%25", "%")


def undo_key(task: str, compensation: str) -> str:
    """Return the idempotency key for carrying out a compensation: the same at every attempt, and unique. [NAME-2]

    It has at most 200 characters.
    """
    return _joined(task, compensation)


def _joined(task: str, name: str) -> str:
    """Join the two by a slash; the name's own slashes are escaped, so the last slash always separates them."""
    id = f"{task}/{_escaped(name)}"
    if len(id) <= ID_CHARACTERS_MAX:
        return id
    return f"{id[:_SHOWN_CHARACTERS]}~{hashlib.sha256(id.encode()).hexdigest()}"


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def again_id(id: str, number: int) -> str:
    """Return the id of the n-th compensation for one id, of which the earlier ones were settled before. [COMP-1]"""
    end = f"~{number}"
    if len(id) + len(end) <= NAME_CHARACTERS_MAX:
        return id + end
    digest = hashlib.sha256(id.encode()).hexdigest()
    return f"{id[:_SHOWN_CHARACTERS]}~{digest}{end}"


def compensation_id(kind: str, params: object) -> str:
    """Return the id of a compensation without one: the same undo always has the same. [REPEAT-3]

    It is the kind, a colon, and 32 hexadecimal digits of SHA-256 over the canonical JSON of `[kind, params]`,
    as in `remove-worktree:1ef6ac403fcbb699`. A very long kind is cut, since an id is a name.
    """
    digest = hashlib.sha256(canonical([kind, params])).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{cut_text(kind, NAME_CHARACTERS_MAX - _DIGEST_CHARACTERS - 1)}:{digest}"
