"""The actors: the parties on record for events, each a class and a name, as in `user:ann`. [ACTOR-1]

Rule: only the engine writes the classes that it vouches for: `worker:` for the holder of a lease, `system:` for its own
work. No decision depends on an actor; the engine compares holders by owner and fence. Knows no event.
"""

from __future__ import annotations

from typing import Final

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import ACTOR_CHARACTERS_MAX
from sagalog.validation.values import check_name, shown

# The actor of maintenance.
MAINTENANCE: Final = "system:maintenance"

_USER: Final = "user:"
_SCHEDULE: Final = "schedule:"
_GIVEN: Final = (_USER, "token:", _SCHEDULE)
_WORKER: Final = "worker:"
_RESERVED: Final = (_WORKER, "system:")


def worker_actor(owner: str) -> str:
    """Return the actor of what the holder of a lease writes; `owner` is a name."""
    return _WORKER + owner


def schedule_actor(name: str) -> str:
    """Return the actor of what a schedule creates; `name` is a name."""
    return _SCHEDULE + name


def check_actor(value: object, name: str) -> str:
    """Return the actor that a caller names: `user:`, `token:` or `schedule:` and a name, or a name alone, of a user.

    Raises:
        InvalidValue: no such text, or one of a class that only the engine writes (`worker:`, `system:`).
    """
    if type(value) is not str or len(value) > ACTOR_CHARACTERS_MAX:
        return _USER + check_name(value, name)
    if value.startswith(_RESERVED):
        raise InvalidValue(
            f"{name}: {shown(value)} is of a class that the engine alone writes, for holders of leases and for its own "
            "work; give user:, token: or schedule: and a name",
            path=name,
        )
    for given in _GIVEN:
        if value.startswith(given):
            check_name(value.removeprefix(given), name)
            return value
    return _USER + check_name(value, name)


def optional_actor(given: str | None, name: str) -> str | None:
    """Return the actor that a caller names, or None; raises as `check_actor`."""
    return None if given is None else check_actor(given, name)
