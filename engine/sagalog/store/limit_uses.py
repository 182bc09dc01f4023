"""The places of tasks under limits: which accounts a task uses, and where it is in the line of each.

Rule: it follows from the fold, the gate, the account that the task lacks, and whether its queue has settings. A task
without limits has none, and no store reads or writes anything for it. [LIMIT-5] Knows no store.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from sagalog.kernel.accounts import account_of_key, account_of_limit, account_of_queue
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import State, Units

# ready: a worker may lease it; held: it lacks this account; leased: its lease has units of it; idle: none of these, as
# while it waits for a time, or lacks another account.
Place = Literal["ready", "held", "leased", "idle"]

# No name holds it, so it separates the parts of a section.
_BETWEEN: Final = "\x1f"


class LimitUse(NamedTuple):
    """The place of one task under one account, as a store saves it.

    section    its queue, kind and pinned build: each section has a line of its own
    priority   smaller ones come first in it, and of equal ones the older
    units      those that the task takes of the account, or would take
    """

    account: str
    place: Place
    section: str
    priority: int
    units: int


class Candidate(NamedTuple):
    """A task under an account, as a store finds it.

    stream     its name
    section, priority   as of a `LimitUse`
    order      grows with creation
    """

    stream: str
    section: str
    priority: int
    order: int


def section_of(task: TaskFold) -> str:
    """Return the section of a task: its queue, its kind and the build to which it is pinned."""
    section = f"{task.queue}{_BETWEEN}{task.kind}"
    return section if task.build is None else f"{section}{_BETWEEN}{task.build}"


def asked_of(task: TaskFold, is_governed: bool) -> tuple[Units, ...]:
    """Return the units that a task asks of named limits and of its key, in the order in which it needs them.

    `is_governed`: its queue has settings.
    """
    asked = [] if task.uses is None else [Units(account_of_limit(name), task.uses[name]) for name in sorted(task.uses)]
    if is_governed and task.key is not None:
        asked.append(Units(account_of_key(task.queue, task.key), 1))
    return tuple(asked)


def leased_of(task: TaskFold, is_governed: bool) -> tuple[Units, ...]:
    """Return the units that the lease of a running task has: what it has taken, and one of its queue and its key."""
    lease = task.lease
    if lease is None or task.state is not State.RUNNING:
        return ()
    taken = {one.account: one for one in lease.uses}
    if is_governed:
        taken.setdefault(queue := account_of_queue(task.queue), Units(queue, 1))
        if task.key is not None:
            taken.setdefault(key := account_of_key(task.queue, task.key), Units(key, 1))
    return tuple(taken.values())


def limit_uses_of(task: TaskFold, gate: str | None, held: str | None, is_governed: bool) -> tuple[LimitUse, ...]:
    """Return the places of a task at a gate under all accounts that it uses; `held` is the one that it lacks."""
    if task.state is State.RUNNING:
        return _limit_uses(task, [(one, "leased") for one in leased_of(task, is_governed)])
    if task.state is not State.PENDING:
        return ()
    place: Place = "ready" if gate in ("ready", "ready_alone") else "idle"
    asked = asked_of(task, is_governed)
    return _limit_uses(task, [(one, "held" if one.account == held else place) for one in asked])


def _limit_uses(task: TaskFold, places: list[tuple[Units, Place]]) -> tuple[LimitUse, ...]:
    section = section_of(task)
    return tuple(LimitUse(one.account, place, section, task.priority, one.units) for one, place in places)
