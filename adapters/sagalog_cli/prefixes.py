"""Ids of tasks on the command line: the whole one, or as many of its first characters as no other id has.

Rule: an id that is there names its own task, whatever else begins so; and what could mean several tasks means none.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from sagalog import Corrupt, Engine, InvalidValue, NotFound

# Fewer say too little: what is unique today is not tomorrow.
CHARACTERS_MIN: Final = 4
# How many of those that it may mean are told.
CANDIDATES_MAX: Final = 5


def whole_id(engine: Engine, given: str) -> str:
    """The id that is meant by one, or by its first characters; what begins no id is given back as it is.

    Raises:
        NotFound: it begins an id, and is too short to name it.
        InvalidValue: several ids begin so; its field `candidates` tells of the first few.
    """
    try:
        found = engine.ids_with_prefix(given, CANDIDATES_MAX + 1)
    except InvalidValue:
        return given  # No id at all: the call that it is for says so, in its own words.
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
    """What tells a task from others; no more than its id where it cannot be read."""
    task = None
    with suppress(Corrupt):
        task = engine.get(id)
    if task is None:
        return {"id": id, "kind": None, "state": None, "created_ms": None}
    return {"id": id, "kind": task.kind, "state": str(task.state), "created_ms": task.created_ms}
