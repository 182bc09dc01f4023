"""The ids of tasks on the command line: a whole id, or as many first characters as no other id has.

Rule: a whole id names its own task, even if other ids begin with it; a prefix of several ids names none.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from sagalog import Corrupt, Engine, InvalidValue, NotFound

# A shorter prefix may be unique today and not tomorrow.
CHARACTERS_MIN: Final = 4
# How many of the ids that begin so the error lists.
CANDIDATES_MAX: Final = 5


def whole_id(engine: Engine, given: str) -> str:
    """Return the id for a whole one or its first characters; return a prefix of no id as it is.

    Raises:
        NotFound: it is the prefix of an id, and too short to name it.
        InvalidValue: several ids begin so; its field `candidates` describes the first few.
    """
    try:
        found = engine.ids_with_prefix(given, CANDIDATES_MAX + 1)
    except InvalidValue:
        return given  # It can be no id; the command's own call refuses it.
    if not found or found[0] == given:
        return given
    if len(given) < CHARACTERS_MIN:
        raise NotFound(
            f"there is no task {given!r}; the beginning of an id names a task from {CHARACTERS_MIN} characters on",
            task=given,
        )
    if len(found) == 1:
        return found[0]
    count = f"{len(found)}" if len(found) <= CANDIDATES_MAX else f"more than {CANDIDATES_MAX}"
    raise InvalidValue(
        f"{given!r} begins the ids of {count} tasks: give more of the one that is meant",
        path="id",
        candidates=[_candidate(engine, id) for id in found[:CANDIDATES_MAX]],
        hint="more characters, or the whole id, name one task alone",
    )


def _candidate(engine: Engine, id: str) -> dict[str, Any]:
    """Return what tells a task from others; only its id if it cannot be read."""
    task = None
    with suppress(Corrupt):
        task = engine.get(id)
    if task is None:
        return {"id": id, "kind": None, "state": None, "created_ms": None}
    return {"id": id, "kind": task.kind, "state": str(task.state), "created_ms": task.created_ms}
