"""What there is to do in the demo: the tasks, the undos that its workers know, and the times they all agree on.

Rule: tasks carry in their payload what is to be done, so that any worker can do any of them and a seed gives the same
work again. Knows no process and opens no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from sagalog import Retry

QUEUE: Final = "demo"

# Short, so that a dead worker is found out while somebody watches; in earnest half a minute is a good beginning.
TTL_MS: Final = 1_500
BEAT_EVERY_MS: Final = TTL_MS // 3
CLAIM_LIMIT: Final = 4

# The two workers that come to grief. Tasks are meant for them by affinity, so that each run loses the same ones.
DOOMED: Final = "doomed"
SLEEPER: Final = "sleeper"
DOOMED_TASKS: Final = 5
TASKS_MIN: Final = 20

RESOURCES: Final = ("network", "disk", "machine")
# A resource whose undo no worker of the demo knows.
FORGOTTEN: Final = "tape"


def undo_kind(resource: str) -> str:
    """The kind of the compensation that takes a resource away again."""
    return f"remove-{resource}"


KNOWN_UNDOS: Final = frozenset(undo_kind(resource) for resource in RESOURCES)


def specs(tasks: int, seed: int) -> list[dict[str, Any]]:
    """Specs for `Engine.create_many`: `tasks` of them (at least `TASKS_MIN`), the same for the same seed.

    review     takes some milliseconds and is completed
    provision  makes resources, each with its undo registered first; then it is completed, or fails and is undone
    train      takes longer than a lease lasts, so only heartbeats keep it
    """
    chance = Random(seed)
    share = max(3, tasks // 15)
    found = [
        _spec("train", {"work_ms": TTL_MS + 700}),
        _provision(fails=True, affinity=SLEEPER),
        _provision(fails=True, resources=(RESOURCES[0], FORGOTTEN)),
        *(_provision(fails=True) for _ in range(share)),
        *(_provision(fails=False) for _ in range(share)),
        *(_review(chance, affinity=DOOMED) for _ in range(DOOMED_TASKS)),
    ]
    found += [_review(chance) for _ in range(tasks - len(found))]
    chance.shuffle(found)
    return found


def _review(chance: Random, affinity: str | None = None) -> dict[str, Any]:
    return _spec("review", {"work_ms": chance.randrange(4)}, affinity)


def _provision(*, fails: bool, resources: tuple[str, ...] = RESOURCES, affinity: str | None = None) -> dict[str, Any]:
    return _spec("provision", {"resources": list(resources), "fails": fails}, affinity)


def _spec(kind: str, payload: Mapping[str, Any], affinity: str | None = None) -> dict[str, Any]:
    # A machine that is busy with other things may lose a lease more often than the three times of the default.
    return {
        "kind": kind,
        "payload": dict(payload),
        "queue": QUEUE,
        "affinity": affinity,
        "retry": Retry(expiries_max=None),
    }
