"""The row of a task: the columns by which a store finds it, computed here and by no store.

Rule: a row follows from the fold, except for its gate, which depends on the time and on the gate before: an open gate
stays open, and a check that is due stays due until maintenance does it. Knows no store.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal, NamedTuple

import msgspec

from sagalog.kernel.deadlines import cancel_ms
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import FORWARD, TERMINAL, State

# ready: a worker may claim it for work; undo: for undoing; ready_alone, undo_alone: the same, by a claim that leases
# nothing beside it [LEASE-5]; held: once a limit has units for it [LIMIT-5]; later: when its time has come; waiting:
# once its wait is over; waking: a task that it waits for has ended, so maintenance has to look; unreadable: not by this
# version. Without a gate: leased, or ended.
Gate = Literal["ready", "undo", "ready_alone", "undo_alone", "held", "later", "waiting", "waking", "unreadable"]

# The gates at which a worker may claim a task for work.
READY: Final = frozenset({"ready", "ready_alone"})
# The gates at which a worker may claim a task.
OPEN: Final = frozenset({"ready", "undo", "ready_alone", "undo_alone"})

_encode: Final = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """The searched columns of a task.

    Columns that hardly ever change come first, then those that change with the state, then those of heartbeats.

    parent        the task that created it as a child, and `correlation_id` the name of its group; None: there is none
    cancel_ms     from when on maintenance has to cancel it, or ask its holder to stop [DEADLINE-1]; None: never, as for
                  nearly every task
    build         while it is pending, the build to which it is pinned; None: to none, as for nearly every task
                  [BUILD-1]
    follows       the parent with which it is cancelled, while it lives and was not asked to stop; None: there is none
                  [CANCEL-4]
    affinity_ms   of a task with an affinity that a worker may lease for work: since when it waits, that is, its due
                  time, or its creation where that is later [ORDER-2]; else None
    owed          the compensation kinds that a compensating task owes, sorted, as a JSON list; else None
    run_at_ms     when maintenance has to look at a task that is not leased: its due time, or the end of its wait
    undo_ms       from when on an undo that no worker has leased is due; None: there is none
    overdue_ms    when such an undo will have waited for too long [UNDO-2]; None: never
    updated_ms    the time of the last event, for a task that was to wait from then on until `run_at_ms`; None where it
                  was not, is leased, or has ended. By it a store finds what a clock that was set back delays [TIME-3]
    check_ms      when maintenance has to check whether its lease is over: never later than the expiry, and earlier
                  where heartbeats have moved that since, so that a heartbeat changes no column of an index [UPKEEP-1]
    gate          where it waits to be claimed; None while it is leased and after its end
    wait          the name of the wait that it is parked for; None: it is not parked
    held          the account of the limit that it lacks; None: it is at another gate than `held` [LIMIT-5]
    holds         1 where its lease has units of a named limit, for which tasks of other queues may wait; else None
    expires_ms    when its lease is over; None: never, or it has none
    renewed_ms    when its lease was last renewed
    """

    queue: str
    kind: str
    priority: int
    affinity: str | None
    parent: str | None
    correlation_id: str | None
    cancel_ms: int | None
    build: str | None
    follows: str | None
    affinity_ms: int | None
    state: str
    owed: str | None
    run_at_ms: int | None
    undo_ms: int | None
    overdue_ms: int | None
    updated_ms: int | None
    check_ms: int | None
    gate: str | None
    wait: str | None
    held: str | None
    holds: int | None
    expires_ms: int | None
    renewed_ms: int | None


_row: Final = partial(tuple.__new__, Row)


def row_of(task: TaskFold, gate: str | None, check_ms: int | None = None, held: str | None = None) -> Row:
    """Return the row of a task at a gate; maintenance checks its lease by `check_ms` (None: at its expiry)."""
    lease, waiting = task.lease, task.waiting
    expires_ms = None if lease is None else lease.expires_ms
    undoing = task.state is State.COMPENSATING
    run_at_ms = task.run_at_ms if waiting is None else waiting.until_ms
    updated_ms, is_free = task.updated_ms, lease is None and task.state not in TERMINAL
    # Every write makes a row, and the constructor would only cost time.
    return _row(
        (
            task.queue,
            task.kind,
            task.priority,
            task.affinity,
            task.parent,
            task.correlation_id,
            None if task.deadline_ms is None and task.start_by_ms is None else cancel_ms(task),
            task.build if task.build is None or task.state is State.PENDING else None,
            task.parent if task.ends_with_parent and task.state in FORWARD else None,
            None if task.affinity is None or gate not in READY else max(task.run_at_ms, task.created_ms),
            str(task.state),
            owed_kinds(task) if undoing else None,
            run_at_ms,
            undo_ms(task) if undoing else None,
            overdue_ms(task) if undoing else None,
            updated_ms if run_at_ms is not None and run_at_ms > updated_ms and is_free else None,
            expires_ms if check_ms is None else check_ms,
            gate,
            None if waiting is None else waiting.name,
            held,
            1 if task.uses and lease is not None and lease.uses else None,
            expires_ms,
            None if lease is None else lease.renewed_ms,
        )
    )


def gate_of(task: TaskFold, now_ms: int, before: Row | None = None) -> Gate | None:
    """Return the gate at `now_ms` of a task that had the row `before` (None: no usable one).

    An open gate stays open where the clock has stepped back since; `waking` stays until maintenance looks.
    A task that was put aside, or has no row, may have missed ends that it waits for, so maintenance looks. [WAIT-3]
    """
    if task.lease is not None or task.state in TERMINAL:
        return None
    if task.waiting is not None:
        may_have_ended = before is None or before.gate in ("waking", "unreadable")
        return "waking" if may_have_ended and task.waiting.tasks else "waiting"
    if task.run_at_ms > now_ms and not (before is not None and _was_open(task, before)):
        return "later"
    if task.state is State.COMPENSATING:
        return "undo_alone" if task.is_suspect else "undo"
    return "ready_alone" if task.is_suspect else "ready"


def check_ms(task: TaskFold, before: Row | None) -> int | None:
    """Return by when maintenance checks the lease of a task that had the row `before`; None: at its expiry.

    Heartbeats keep the time, except for one that moves the expiry back. [LEASE-3]
    """
    if before is None or before.check_ms is None or task.lease is None or task.lease.expires_ms is None:
        return None
    return min(before.check_ms, task.lease.expires_ms)


def gates_at_any_time(task: TaskFold) -> tuple[Gate | None, ...]:
    """Return the gates at which such a task may be, at whatever time."""
    if task.waiting is not None:
        return ("waiting", "waking") if task.waiting.tasks else ("waiting",)
    return (gate_of(task, task.run_at_ms), gate_of(task, task.run_at_ms - 1))


def is_row_of(row: Row, task: TaskFold, now_ms: int) -> bool:
    """Check whether a saved row, at an open gate, is what the log gives for this task."""
    return row == row_of(task, gate_of(task, max(now_ms, task.run_at_ms)))


def owed_kinds(task: TaskFold) -> str | None:
    """Return the compensation kinds that a compensating task owes, sorted, as a JSON list; else None."""
    if task.state is not State.COMPENSATING:
        return None
    return _encode(sorted({task.compensations[id].kind for id in task.owed()})).decode()


def undo_ms(task: TaskFold) -> int | None:
    """Return from when on an undo that no worker has leased is due; None: there is none."""
    return task.run_at_ms if task.state is State.COMPENSATING and task.lease is None else None


def overdue_ms(task: TaskFold) -> int | None:
    """Return when such an undo will have waited for too long; None: never, or there is none. [UNDO-2]"""
    wait_ms = None if task.policy is None else task.policy.undo_wait_ms
    since_ms = undo_ms(task)
    return None if wait_ms is None or since_ms is None else since_ms + wait_ms


def _was_open(task: TaskFold, before: Row) -> bool:
    return (before.gate in OPEN or before.gate == "held") and before.run_at_ms == task.run_at_ms
