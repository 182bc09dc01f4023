"""What programs keep beside the log: texts under names of their own spaces.

Rule: a program reads every space and changes its own only; those of the engine are listed here. [KEEP-4] No decision
reads what is kept. Knows no store.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog.engine.audit import CHECKPOINTS
from sagalog.engine.executor import Executor
from sagalog.engine.workers import REQUESTS, WORKERS
from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX
from sagalog.validation.values import check_integer, check_name, shown

# The spaces that only the engine writes.
OWN_SPACES: Final = frozenset({CHECKPOINTS, REQUESTS, WORKERS})


def kept(executor: Executor, space: str, name: str) -> str | None:
    """Carry out `Engine.kept`."""
    return executor.queries.kept(check_name(space, "space"), check_name(name, "name"))


def kept_in(executor: Executor, space: str, after: str, limit: int) -> list[tuple[str, str]]:
    """Carry out `Engine.kept_in`."""
    check_integer(limit, "limit", 1, BATCH_COMMANDS_MAX)
    behind = after if after == "" else check_name(after, "after")
    return executor.queries.kept_in(check_name(space, "space"), behind, limit)


def keep(executor: Executor, space: str, name: str, expected: str | None, value: str | None) -> bool:
    """Carry out `Engine.keep`."""
    if check_name(space, "space") in OWN_SPACES:
        text = f"space: {space!r} is the engine's own; keep this under a space that names your program"
        raise InvalidValue(text, path="space")
    check_name(name, "name")
    if expected is not None and not isinstance(expected, str):
        raise InvalidValue(f"expected: expected a str or None, found {shown(expected)}", path="expected")
    if value is not None:
        _check_json(value)
    return executor.keep(space, name, expected, value)


def _check_json(value: object) -> None:
    """Refuse what is no text of JSON. [KEEP-3]"""
    if not isinstance(value, str):
        raise InvalidValue(f"value: expected JSON as a str, or None, found {shown(value)}", path="value")
    try:
        msgspec.json.decode(value.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidValue(f"value: expected JSON as a str: {error}", path="value") from error
