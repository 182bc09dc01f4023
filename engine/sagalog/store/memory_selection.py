"""The search for tasks in memory: what a claim takes and what is due, by a look at every task.

Rule: each function does in plain Python what the port promises; no index makes it faster. Knows no lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL, TaskEnd
from sagalog.store.candidates import Delayed
from sagalog.store.dependencies import Ends
from sagalog.store.limit_uses import Candidate, section_of
from sagalog.store.memory_tables import Tables
from sagalog.store.operation import Claim
from sagalog.store.projection import refold
from sagalog.store.references import ReferringStream, is_digest
from sagalog.store.row import Row


def readable(tables: Tables, queues: tuple[str, ...] | None = None) -> Iterator[tuple[TaskFold, Row]]:
    """Yield the tasks that can be read, in order of creation. [LOG-5]"""
    for id, row in tables.rows.items():
        if id not in tables.unreadable and (queues is None or row.queue in queues):
            yield tables.folds[id], row


def claimable(tables: Tables, claim: Claim) -> list[TaskFold]:
    """List the tasks that a claim takes, in its order; perhaps one suspect alone. [ORDER-1] [LEASE-5]"""
    gate = "undo" if claim.purpose == "undo" else "ready"
    chosen = _at_gate(tables, gate, claim)
    first = _at_gate(tables, f"{gate}_alone", claim)[:1]
    if claim.suspects == "only":
        return first
    is_first = first and (not chosen or _rank(tables, first[0], claim) < _rank(tables, chosen[0], claim))
    if claim.suspects == "alone" and is_first:
        return first
    return chosen[: claim.limit]


def checks(tables: Tables, queues: tuple[str, ...] | None, now_ms: int) -> list[TaskFold]:
    """List the leased tasks whose check time has come, oldest first; of any queue if they hold units. [LIMIT-5]"""
    found = [
        (row.check_ms, tables.order[task.id], task)
        for task, row in readable(tables)
        if row.check_ms is not None and now_ms >= row.check_ms
        if queues is None or row.queue in queues or row.holds is not None
    ]
    return [task for *_, task in sorted(found, key=lambda one: one[:2])]


def expired(tables: Tables, now_ms: int) -> list[TaskFold]:
    """List the tasks whose lease is over by the clock, oldest expiry first."""
    over = [
        (row.expires_ms, tables.order[task.id], task)
        for task, row in readable(tables)
        if row.expires_ms is not None and now_ms >= row.expires_ms
    ]
    return [task for *_, task in sorted(over, key=lambda one: one[:2])]


def waits_over(tables: Tables, queues: tuple[str, ...] | None, now_ms: int) -> list[TaskFold]:
    """List the tasks whose wait may be over: for an end first, then by time."""
    waking = [task for task, row in readable(tables, queues) if row.gate == "waking"]
    timed = [one for one in _by_time(tables, queues, "waiting") if one[0] <= now_ms]
    waking.sort(key=lambda task: tables.order[task.id])
    return [*waking, *(task for _, _, task in timed)]


def deadlines_over(tables: Tables, queues: tuple[str, ...] | None, now_ms: int) -> list[TaskFold]:
    """List the tasks that have to be cancelled, or asked to stop, by now, the earliest deadline first."""
    found = [
        (row.cancel_ms, tables.order[task.id], task)
        for task, row in readable(tables, queues)
        if row.cancel_ms is not None and row.cancel_ms <= now_ms
    ]
    return [task for *_, task in sorted(found, key=lambda one: one[:2])]


def promotable(tables: Tables, queues: tuple[str, ...] | None, now_ms: int) -> list[TaskFold]:
    """List the tasks that wait for their due time, which has come, oldest first."""
    return [task for at_ms, _, task in _by_time(tables, queues, "later") if at_ms <= now_ms]


def delayed(tables: Tables, now_ms: int) -> list[Delayed]:
    """List the tasks that wait for a time since an event that is in the future, the earliest such event first."""
    ahead = [
        (
            row.updated_ms,
            tables.order[task.id],
            Delayed(task.id, task.queue, task.version, row.run_at_ms - row.updated_ms),
        )
        for task, row in readable(tables)
        if row.gate in ("later", "waiting") and row.run_at_ms is not None and row.updated_ms is not None
        if row.updated_ms > now_ms
    ]
    return [one for *_, one in sorted(ahead, key=lambda one: one[:2])]


def next_ms(tables: Tables, queues: tuple[str, ...]) -> int | None:
    """Return the earliest time at which something in these queues is due or over; 0: a wait may be over now."""
    times: list[int | None] = [accounts_due_ms(tables)]
    times += [0 for _ in (*dependants_due(tables)[:1], *children_due(tables)[:1])]
    for _, row in readable(tables):
        if row.holds is not None:
            times.append(row.check_ms)
        if row.queue not in queues:
            continue
        if row.gate == "waking":
            times.append(0)
        times += [row.check_ms, row.cancel_ms, row.run_at_ms if row.gate in ("later", "waiting") else None]
    return min((time for time in times if time is not None), default=None)


def accounts_due_ms(tables: Tables) -> int | None:
    """Return when the first account is due."""
    return min((one.due_ms for one in tables.accounts.values() if one.due_ms is not None), default=None)


def accounts_since_ms(tables: Tables) -> int | None:
    """Return when the due time of an account was set last."""
    return max((one.since_ms for one in tables.accounts.values() if one.since_ms is not None), default=None)


def due_accounts(tables: Tables, now_ms: int) -> list[str]:
    """List the accounts that are due, the earliest first."""
    due = [(one.due_ms or 0, name) for name, one in tables.accounts.items() if one.is_due(now_ms)]
    return [name for _, name in sorted(due)]


def in_line(tables: Tables, account: str, place: str) -> list[Candidate]:
    """List the tasks at a place under an account, by section, priority and age."""
    found = [
        Candidate(f"task/{task.id}", section_of(task), task.priority, tables.order[task.id])
        for task, _ in readable(tables)
        if any(one.account == account and one.place == place for one in tables.limit_uses[task.id])
    ]
    return sorted(found, key=lambda one: one[1:])


def dependants_due(tables: Tables) -> list[str]:
    """List the tasks that have ended and have edges left, by id."""
    return sorted(id for id, is_due in tables.dependants_due.items() if is_due)


def children_due(tables: Tables) -> list[str]:
    """List the tasks of which children may have to be cancelled, by id."""
    return sorted(id for id, is_due in tables.children_due.items() if is_due)


def ends(tables: Tables, ids: Sequence[str]) -> Ends:
    """Look at each task: those that were put aside cannot be read, whatever their last known folds."""
    there = [id for id in dict.fromkeys(ids) if id in tables.order]
    unreadable = frozenset(id for id in there if id in tables.unreadable)
    folds = [tables.folds[id] for id in there if id not in unreadable]
    ended = {task.id: TaskEnd(task.id, task.version, task.state) for task in folds if task.state in TERMINAL}
    return Ends(ended, frozenset(task.id for task in folds if task.id not in ended), unreadable)


def edges(tables: Tables, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
    """List edges of these tasks, up to the limit."""
    found = ((id, awaited) for id in dict.fromkeys(ids) for awaited in tables.awaited.get(id, ()))
    return list(islice(found, limit))


def followers(tables: Tables, parent: str, adopted: Sequence[str], limit: int) -> list[TaskFold]:
    """List the tasks that are cancelled with a parent, in order of creation."""
    found = [
        task
        for task, row in readable(tables)
        if row.follows == parent or (row.follows is not None and task.id in adopted)
    ]
    return sorted(found, key=lambda task: tables.order[task.id])[:limit]


def owed_kinds(task: TaskFold) -> set[str]:
    """Return the compensation kinds that a task owes."""
    return {task.compensations[id].kind for id in task.owed()}


def _by_time(tables: Tables, queues: tuple[str, ...] | None, gate: str) -> list[tuple[int, int, TaskFold]]:
    found = [
        (row.run_at_ms, tables.order[task.id], task)
        for task, row in readable(tables, queues)
        if row.gate == gate and row.run_at_ms is not None
    ]
    return sorted(found, key=lambda one: one[:2])


def _at_gate(tables: Tables, gate: str, claim: Claim) -> list[TaskFold]:
    """List the tasks at a gate that fit a claim, in its order."""
    found = [task for task, row in readable(tables, claim.queues) if row.gate == gate and _fits(task, claim)]
    return sorted(found, key=lambda task: _rank(tables, task, claim))


def _rank(tables: Tables, task: TaskFold, claim: Claim) -> tuple[int, int, int]:
    since_ms, due_ms = tables.rows[task.id].affinity_ms, dict(claim.affinity_due).get(task.queue)
    if since_ms is not None and due_ms is not None and since_ms <= due_ms:
        return -1, since_ms, tables.order[task.id]
    is_asked_for = claim.purpose == "work" and task.affinity in claim.affinities
    affinity = claim.affinities.index(task.affinity or "") if is_asked_for else len(claim.affinities)
    return affinity, task.priority, tables.order[task.id]


def _fits(task: TaskFold, claim: Claim) -> bool:
    if claim.purpose == "work" and (task.kind in claim.excluded or task.build not in (None, claim.build)):
        return False
    if claim.kinds is None:
        return True
    # [UNDO-1] A claim for undoing names every kind that the task owes.
    return task.kind in claim.kinds if claim.purpose == "work" else owed_kinds(task) <= claim.kinds


def digests(tables: Tables, after: str, limit: int) -> list[str]:
    """Return the digests beyond `after` to which streams refer, in order. [PRUNE-2]"""
    names = {name for named in tables.references.values() for name in named if is_digest(name)}
    return sorted(name for name in names if name > after)[:limit]


def referring(tables: Tables, name: str) -> list[ReferringStream]:
    """Return the streams that refer to a name, the newest first. [PRUNE-2]"""
    order = {stream: number for number, stream in enumerate(tables.stream_of)}
    streams = sorted((one for one, named in tables.references.items() if name in named), key=order.__getitem__)
    return [ReferringStream(stream, tables.references[stream][name].task) for stream in reversed(streams)]


def task(tables: Tables, id: str) -> TaskFold | None:
    """Return the fold of a task; fold again one that was put aside, which mostly raises."""
    return refold(id, tables.stream_of[f"task/{id}"]) if id in tables.unreadable else tables.folds.get(id)
