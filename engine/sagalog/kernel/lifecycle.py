"""The life of a task and of a store: one table each, one reader.

[LIFE-1] A missing cell is an illegal move; a terminal state keeps only `noted`. No other line of sagalog names a next
state: `evolve` moves by this table and `decide` is refused by it.
Knows nothing of leases, fences, budgets or time: conditions on data live in `decide`, in the function of the command.
The rows have the form that the `transitions` package takes, so that the same table is drawn and compared with; a
dictionary compiled from them is what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypedDict

from sagalog.kernel.values import LIVE, TERMINAL, State

PENDING, RUNNING, COMPENSATING = State.PENDING, State.RUNNING, State.COMPENSATING
UNBORN: Final = "unborn"


class Move(TypedDict):
    """One row, in the form of `transitions`: an event moves a task from `source` to `dest`."""

    trigger: str
    source: str
    dest: str


def _moves(event: str, sources: Iterable[str], dest: str | None = None) -> list[Move]:
    """One row a source; without `dest` the state stays as it is."""
    return [{"trigger": event, "source": str(source), "dest": str(dest or source)} for source in sources]


# Where one event has two destinations from one source, the event's field `to` says which. [RECORD-1]
TASK_MOVES: Final[list[Move]] = [
    *_moves("created", [UNBORN], PENDING),
    *_moves("created", [UNBORN], COMPENSATING),
    *_moves("leased", [PENDING], RUNNING),
    *_moves("leased", [COMPENSATING]),
    *_moves("heartbeat", [RUNNING, COMPENSATING]),
    *_moves("released", [RUNNING], PENDING),
    *_moves("released", [COMPENSATING]),
    *_moves("lease_expired", [RUNNING], PENDING),
    *_moves("lease_expired", [COMPENSATING]),
    *_moves("promoted", [PENDING, COMPENSATING]),
    *_moves("step_completed", [RUNNING]),
    *_moves("compensation_registered", [RUNNING]),
    *_moves("compensation_waived", [PENDING, RUNNING, COMPENSATING]),
    *_moves("artifact_put", [RUNNING, COMPENSATING]),
    *_moves("child_adopted", [RUNNING]),
    *_moves("retried", [RUNNING], PENDING),
    *_moves("parked", [RUNNING], PENDING),
    *_moves("signalled", [PENDING, RUNNING]),
    *_moves("unblocked", [PENDING]),
    *_moves("failed", [PENDING, RUNNING], COMPENSATING),
    *_moves("failed", [PENDING, RUNNING], State.FAILED),
    *_moves("cancel_requested", [RUNNING]),
    *_moves("cancelled", [PENDING, RUNNING], COMPENSATING),
    *_moves("cancelled", [PENDING, RUNNING], State.CANCELLED),
    *_moves("compensation_done", [COMPENSATING]),
    *_moves("compensation_failed", [COMPENSATING]),
    *_moves("compensated", [COMPENSATING], State.COMPENSATED),
    *_moves("completed", [RUNNING], State.COMPLETED),
    *_moves("quarantined", [PENDING, RUNNING, COMPENSATING], State.QUARANTINED),
    *_moves("noted", [*sorted(LIVE), *sorted(TERMINAL)]),
]

FOUNDED: Final = "founded"
STORE_MOVES: Final[list[Move]] = [*_moves("founded", [UNBORN], FOUNDED), *_moves("upgraded", [FOUNDED])]


def _compile(moves: list[Move]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    after: dict[tuple[str, str], tuple[str, ...]] = {}
    for move in moves:
        cell = (move["source"], move["trigger"])
        dest = State(move["dest"]) if move["dest"] in set(State) else move["dest"]
        after[cell] = (*after.get(cell, ()), dest)
    return after


# (state, event name) -> the states that may follow; a missing key is an illegal move.
TASK_AFTER: Final = _compile(TASK_MOVES)
STORE_AFTER: Final = _compile(STORE_MOVES)


def allows(state: str, event: str) -> bool:
    """Whether a task in `state` has a place for `event`."""
    return (state, event) in TASK_AFTER


def states_after(event: str, to: str | None) -> frozenset[str]:
    """The states in which an event may leave a task, where that may say `to`."""
    found = frozenset(state for (_, name), dests in TASK_AFTER.items() if name == event for state in dests)
    return found if to is None else found & {to}
