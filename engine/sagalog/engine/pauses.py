"""What a snapshot says of pauses: who has paused something, since when and why.

Rule: a fold holds the version of the event that paused it, and the event says the rest. It reads only, and an event
that cannot be read hides no pause. Knows no store by name.
"""

from __future__ import annotations

from sagalog.codec import read
from sagalog.engine.queries import Pause
from sagalog.errors import Corrupt
from sagalog.store import Snapshot


def pause_at(snapshot: Snapshot, stream: str, version: int) -> Pause | None:
    """Return the pause that an event of a stream began; None: nothing is paused (version 0). [PAUSE-1]"""
    if not version:
        return None
    for envelope in snapshot.history(stream, version - 1, 1):
        try:
            reason: str | None = getattr(read(envelope), "reason", None)
        except Corrupt:
            break
        return Pause(envelope.actor, envelope.at_ms, reason)
    return Pause(None, None, None)


def pause_of_kind(snapshot: Snapshot, kind: str) -> Pause | None:
    """Return the pause of a kind; None: it is not paused."""
    store = snapshot.store()
    return None if store is None else pause_at(snapshot, f"store/{store.id}", store.paused_kinds.get(kind, 0))


def paused_kinds_of(snapshot: Snapshot) -> dict[str, Pause]:
    """Return the kinds that are paused, sorted, and the pause of each."""
    store = snapshot.store()
    if store is None:
        return {}
    return _pauses(snapshot, f"store/{store.id}", store.paused_kinds)


def paused_keys_of(snapshot: Snapshot, queue: str, paused: dict[str, int]) -> dict[str, Pause]:
    """Return the keys of a queue that are paused, sorted, and the pause of each."""
    return _pauses(snapshot, f"queue/{queue}", paused)


def _pauses(snapshot: Snapshot, stream: str, paused: dict[str, int]) -> dict[str, Pause]:
    found = {name: pause_at(snapshot, stream, paused[name]) for name in sorted(paused)}
    return {name: pause for name, pause in found.items() if pause is not None}
