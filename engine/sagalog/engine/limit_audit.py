"""The audit of limits and schedules: the places of tasks under limits, and the accounts against the log.

Rule: an account follows from the log in the order of positions, and from the leases that live [LIMIT-7]; a gate depends
on the time, and must fit some time. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sagalog.kernel.accounts import Account
from sagalog.kernel.bounds import INTEGER_MAX
from sagalog.kernel.state import TaskFold
from sagalog.store import AccountFold, LimitUse, Snapshot, Store
from sagalog.store.accounts import LOOK_AGAIN_MS, is_of_schedule
from sagalog.store.limit_uses import asked_of, limit_uses_of
from sagalog.store.row import Row, gates_at_any_time

_PAGE: Final = 500


def has_right_place(
    task: TaskFold, row: Row, limit_uses: Sequence[LimitUse], is_governed: Callable[[str], bool]
) -> bool:
    """Check whether the gate of a task, and its places under limits, are such as the log gives at some time. [LIMIT-5]

    A task whose queue has got settings since it was saved has no place under the account of its key yet.
    """
    governed = (task.uses is not None or task.key is not None or bool(limit_uses)) and is_governed(task.queue)
    gates = gates_at_any_time(task)
    if row.gate == "held":
        asked = {one.account for one in asked_of(task, governed)}
        if row.held not in asked or not {"ready", "ready_alone"} & set(gates):
            return False
    elif row.held is not None or row.gate not in gates:
        return False
    expected = set(limit_uses_of(task, row.gate, row.held, governed))
    before = set(limit_uses_of(task, row.gate, row.held, is_governed=False))
    return set(limit_uses) == expected or (task.lease is None and set(limit_uses) == before)


def wrong_accounts(store: Store) -> list[str]:
    """Compare every account with what the log gives, in one state of the store; return what is wrong, in words."""
    with store.read() as snapshot:
        saved = dict(_saved(snapshot))
        if not saved and not any(snapshot.ids(name, "", 1) for name in ("limit", "queue", "schedule")):
            return []
        fold, after = AccountFold(), 0
        while page := snapshot.counting(after, _PAGE):
            for envelope in page:
                fold.take(envelope)
            after = page[-1].position
        names = sorted({*saved, *fold.accounts})
        used = {name: sum(units for _, units in snapshot.holders(name, INTEGER_MAX)) for name in names}
    expected = fold.with_slots(used)
    return [
        f"the account {name!r} is not what the log gives: rebuild it"
        for name in names
        if not _is_same(name, saved.get(name, Account()), expected.get(name, Account()))
    ]


def _saved(snapshot: Snapshot) -> Iterator[tuple[str, Account | None]]:
    after, page = "", snapshot.accounts("", _PAGE)
    while page:
        yield from page
        # Where a damaged table is out of order, a page may lead back.
        after, before = page[-1][0], after
        page = snapshot.accounts(after, _PAGE) if after > before else []


def _is_same(name: str, found: Account | None, expected: Account) -> bool:
    """Compare what the log gives; refusals, and due times but those of schedules, depend on when a caller looked."""
    if found is not None and is_of_schedule(name) and not _is_due_alike(found, expected):
        return False
    return found is not None and (found.slots_used, found.rate, found.credit, found.at_ms, found.failures) == (
        expected.slots_used,
        expected.rate,
        expected.credit,
        expected.at_ms,
        expected.failures,
    )


def _is_due_alike(found: Account, expected: Account) -> bool:
    """Compare when a schedule is due; a process that cannot read it looks again soon. [SCHEDULE-6] [LOG-5]"""
    if found.due_ms is None or expected.due_ms is None or found.due_ms == expected.due_ms:
        return found.due_ms == expected.due_ms
    since_ms = found.since_ms
    return since_ms is not None and since_ms >= expected.due_ms and found.due_ms - since_ms <= LOOK_AGAIN_MS
