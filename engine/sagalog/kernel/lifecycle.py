"""The life of tasks, stores, limits, queues, schedules and journals: one table each, by state, and what reads them.

Rule: a missing row is an illegal move; a terminal state allows only `noted` [LIFE-1]. No other line of sagalog names a
next state: `decide` asks this table for the state after an event, and `evolve` moves by it. Where two states may
follow, the row names the condition (`when`), and the event names the state (`to`) [RECORD-1].
Knows nothing of leases, fences, budgets or time: `decide` holds the other conditions on data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypedDict

from sagalog.kernel.values import State

PENDING, RUNNING, COMPENSATING = State.PENDING, State.RUNNING, State.COMPENSATING
COMPLETED, FAILED, COMPENSATED = State.COMPLETED, State.FAILED, State.COMPENSATED
CANCELLED, QUARANTINED = State.CANCELLED, State.QUARANTINED

# The state of a stream without events.
UNBORN: Final = "unborn"
FOUNDED: Final = "founded"
# The states of a named limit, and of a queue that has settings.
LIMITING: Final = "limiting"
REMOVED: Final = "removed"
GOVERNED: Final = "governed"
# The state of a schedule that is set; one that is not is `removed`, as a limit.
SCHEDULED: Final = "scheduled"
# The states of a journal.
WRITTEN: Final = "written"
CLOSED: Final = "closed"

When = Literal["owes", "owes nothing", "only undoes", "has work"]

# Condition -> whether undoing comes next: the task owes something, or is a successor without work.
_UNDOES: Final[Mapping[When, bool]] = {"owes": True, "owes nothing": False, "only undoes": True, "has work": False}


class Row(NamedTuple):
    """One line of a table: `event` leads to the state `then`, always or only `when` a condition holds."""

    event: str
    then: str
    when: When | None = None


TASK_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (
        Row("created", PENDING, when="has work"),
        Row("created", COMPENSATING, when="only undoes"),
    ),
    PENDING: (
        Row("leased", RUNNING),
        Row("promoted", PENDING),
        Row("unblocked", PENDING),
        Row("signalled", PENDING),
        Row("compensation_waived", PENDING),
        Row("noted", PENDING),
        Row("failed", COMPENSATING, when="owes"),
        Row("failed", FAILED, when="owes nothing"),
        Row("cancelled", COMPENSATING, when="owes"),
        Row("cancelled", CANCELLED, when="owes nothing"),
        Row("quarantined", QUARANTINED),
        Row("amended", PENDING),
    ),
    RUNNING: (
        Row("heartbeat", RUNNING),
        Row("step_completed", RUNNING),
        Row("artifact_put", RUNNING),
        Row("child_adopted", RUNNING),
        Row("compensation_registered", RUNNING),
        Row("compensation_waived", RUNNING),
        Row("signalled", RUNNING),
        Row("used", RUNNING),
        Row("cancel_requested", RUNNING),
        Row("noted", RUNNING),
        Row("released", PENDING),
        Row("lease_expired", PENDING),
        Row("retried", PENDING),
        Row("parked", PENDING),
        Row("completed", COMPLETED),
        Row("failed", COMPENSATING, when="owes"),
        Row("failed", FAILED, when="owes nothing"),
        Row("cancelled", COMPENSATING, when="owes"),
        Row("cancelled", CANCELLED, when="owes nothing"),
        Row("quarantined", QUARANTINED),
        Row("amended", RUNNING),
    ),
    COMPENSATING: (
        Row("leased", COMPENSATING),
        Row("heartbeat", COMPENSATING),
        Row("promoted", COMPENSATING),
        Row("artifact_put", COMPENSATING),
        Row("compensation_done", COMPENSATING),
        Row("compensation_failed", COMPENSATING),
        Row("compensation_waived", COMPENSATING),
        Row("released", COMPENSATING),
        Row("lease_expired", COMPENSATING),
        Row("noted", COMPENSATING),
        Row("compensated", COMPENSATED, when="owes nothing"),
        Row("quarantined", QUARANTINED),
        Row("amended", COMPENSATING),
    ),
    COMPLETED: (Row("noted", COMPLETED),),
    FAILED: (Row("noted", FAILED),),
    COMPENSATED: (Row("noted", COMPENSATED),),
    CANCELLED: (Row("noted", CANCELLED),),
    QUARANTINED: (Row("noted", QUARANTINED),),
}

STORE_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (Row("founded", FOUNDED),),
    FOUNDED: (
        Row("upgraded", FOUNDED),
        Row("kind_paused", FOUNDED),
        Row("kind_resumed", FOUNDED),
        Row("pruned", FOUNDED),
    ),
}

LIMIT_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (Row("limit_set", LIMITING),),
    LIMITING: (
        Row("limit_set", LIMITING),
        Row("limit_paused", LIMITING),
        Row("limit_resumed", LIMITING),
        Row("limit_breaker_opened", LIMITING),
        Row("limit_breaker_half_opened", LIMITING),
        Row("limit_breaker_closed", LIMITING),
        Row("limit_carried", LIMITING),
        Row("limit_removed", REMOVED),
    ),
    REMOVED: (
        Row("limit_set", LIMITING),
        Row("limit_carried", REMOVED),
    ),
}

QUEUE_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (
        Row("queue_limited", GOVERNED),
        Row("queue_set", GOVERNED),
        Row("queue_paused", GOVERNED),
        Row("key_paused", GOVERNED),
    ),
    GOVERNED: (
        Row("queue_limited", GOVERNED),
        Row("queue_set", GOVERNED),
        Row("queue_paused", GOVERNED),
        Row("queue_resumed", GOVERNED),
        Row("queue_breaker_opened", GOVERNED),
        Row("queue_breaker_half_opened", GOVERNED),
        Row("queue_breaker_closed", GOVERNED),
        Row("key_paused", GOVERNED),
        Row("key_resumed", GOVERNED),
        Row("queue_carried", GOVERNED),
    ),
}

SCHEDULE_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (Row("schedule_set", SCHEDULED),),
    SCHEDULED: (
        Row("schedule_set", SCHEDULED),
        Row("schedule_paused", SCHEDULED),
        Row("schedule_resumed", SCHEDULED),
        Row("schedule_fired", SCHEDULED),
        Row("schedule_skipped", SCHEDULED),
        Row("schedule_stopped", SCHEDULED),
        Row("schedule_reset", SCHEDULED),
        Row("schedule_carried", SCHEDULED),
        Row("schedule_removed", REMOVED),
    ),
    REMOVED: (
        Row("schedule_set", SCHEDULED),
        Row("schedule_carried", REMOVED),
    ),
}


JOURNAL_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    UNBORN: (
        Row("journal_appended", WRITTEN),
        Row("journal_closed", CLOSED),
    ),
    WRITTEN: (
        Row("journal_appended", WRITTEN),
        Row("journal_carried", WRITTEN),
        Row("journal_closed", CLOSED),
    ),
    CLOSED: (),
}


class Move(TypedDict):
    """One row in the form of the `transitions` package: an event moves a stream from `source` to `dest`."""

    trigger: str
    source: str
    dest: str


class Fork(NamedTuple):
    """The state that an event leads to if undoing comes next, and otherwise; None: it has no place then."""

    undoing: str | None = None
    otherwise: str | None = None

    def of(self, undoes: bool) -> str | None:
        """Return the state that the event leads to."""
        return self.undoing if undoes else self.otherwise


class Lifecycle:
    """A table, compiled for look-ups.

    rows     the table as written above
    after    (state, event) -> the state that follows, or a `Fork`; a missing key is an illegal move
    moves    the rows as `transitions` takes them
    """

    def __init__(self, rows: Mapping[str, tuple[Row, ...]]) -> None:
        self.rows = rows
        self.after: Mapping[tuple[str, str], str | Fork] = _compiled(rows)
        self.moves: list[Move] = [
            {"trigger": row.event, "source": str(source), "dest": str(row.then)}
            for source, all in rows.items()
            for row in all
        ]

    def allows(self, state: str, event: str) -> bool:
        """Check whether a stream in `state` has a place for `event`."""
        return (state, event) in self.after

    def destination(self, state: str, event: str, undoes: bool) -> str | None:
        """Return the state after `event`; None: it has no place in `state`. [LIFE-1]

        `undoes`: whether undoing comes next, because the task then owes something; for `created`, because the task has
        no work and only undoes.
        """
        cell = self.after.get((state, event))
        return cell.of(undoes) if isinstance(cell, Fork) else cell

    def states_after(self, event: str, to: str | None = None) -> frozenset[str]:
        """Return the states in which `event` may leave a stream; where it names a state (`to`), only that."""
        found = frozenset(str(row.then) for all in self.rows.values() for row in all if row.event == event)
        return found if to is None else found & {to}


def _compiled(rows: Mapping[str, tuple[Row, ...]]) -> dict[tuple[str, str], str | Fork]:
    after: dict[tuple[str, str], str | Fork] = {}
    for source, all in rows.items():
        for event, then, when in all:
            if when is None:
                after[source, event] = then
                continue
            fork = after.get((source, event), Fork())
            assert isinstance(fork, Fork)
            after[source, event] = fork._replace(**{"undoing" if _UNDOES[when] else "otherwise": then})
    return after


TASK_LIFE: Final = Lifecycle(TASK_ROWS)
STORE_LIFE: Final = Lifecycle(STORE_ROWS)
LIMIT_LIFE: Final = Lifecycle(LIMIT_ROWS)
QUEUE_LIFE: Final = Lifecycle(QUEUE_ROWS)
SCHEDULE_LIFE: Final = Lifecycle(SCHEDULE_ROWS)
JOURNAL_LIFE: Final = Lifecycle(JOURNAL_ROWS)
