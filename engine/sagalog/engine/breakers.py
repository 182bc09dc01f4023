"""The breakers within a unit of work: which lease probes, and what the end of a lease does to them.

Rule: a change of a breaker is an event of the stream of its limit or queue, in the commit of what has caused it, and
names that as its cause; nothing else is written for it [BREAKER-2]. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sagalog.engine.accounts import Accounts
from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit, account_of_queue
from sagalog.kernel.breakers import Verdict, lost_probe, opened_by_failure, verdict_of
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import BreakerState, LeaseRecord, Units

Change = e.BreakerOpened | e.BreakerHalfOpened | e.BreakerClosed
# The stream of a limit or a queue, the change, and its cause.
Write = Callable[[str, Change, str], None]


class _Counted(NamedTuple):
    """A verdict that was counted at a closed breaker: of which task, and in which generation."""

    task: str
    generation: int
    verdict: Verdict


class Breakers:
    """The breakers that one unit of work reads and changes."""

    def __init__(self, accounts: Accounts, write: Write) -> None:
        self._accounts = accounts
        self._write = write
        self._counted: dict[str, list[_Counted]] = {}

    def take(self, before: TaskFold, after: TaskFold, events: Iterable[e.Recordable]) -> None:
        """Take account of a task whose lease ends or begins. [BREAKER-2] [BREAKER-3]"""
        old, new = before.lease, after.lease
        if old is not None and (new is None or new.fence != old.fence):
            verdict = verdict_of(events)
            for one in old.uses:
                if one.generation is not None:
                    self._judge(after, one.account, one.generation, verdict)
        if new is not None and (old is None or new.fence != old.fence):
            for one in new.uses:
                if self._probes(one):
                    self._write(one.account, e.BreakerHalfOpened(after.id, new.fence), _cause(after))

    def healthy(self, task: TaskFold, limit: str | None) -> None:
        """Close the breaker of a named limit, or of the queue, if the lease of the task is its probe. [BREAKER-3]"""
        account = account_of_queue(task.queue) if limit is None else account_of_limit(limit)
        if self._is_probe(task.lease, account):
            self._write(account, e.BreakerClosed("healthy"), _cause(task))

    def count_in_order(self, ids: Iterable[str]) -> None:
        """Count the verdicts of one commit again in the order in which the log will hold them. [LIMIT-7]

        The steps may have come in another order; only a breaker that has not changed by them has several to count.
        """
        place = {id: number for number, id in enumerate(ids)}
        for account, counted in self._counted.items():
            entry = self._accounts.entry(account)
            state = entry.breaker
            if len(counted) < 2 or state is None:
                continue
            present = [one for one in counted if one.generation == state.generation]
            count = entry.before.failures if self._accounts.is_unchanged(account) else 0
            for one in sorted(present, key=lambda one: place[one.task]):
                count = one.verdict.counted(account, count)
            self._accounts.fail(account, count)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _judge(self, task: TaskFold, account: str, generation: int, verdict: Verdict | None) -> None:
        """Take the end of a lease at a breaker, if the lease began in its present generation."""
        state = self._state(account)
        if state is None or state.generation != generation:
            return
        if verdict is not None and verdict.is_for(account):
            self._count(task, account, state, verdict)
        elif state.mode == "half_open":
            self._write(account, lost_probe(state, self._accounts.now_ms), _cause(task))

    def _count(self, task: TaskFold, account: str, state: BreakerState, verdict: Verdict) -> None:
        """Count a verdict; open or close the breaker where it follows from that."""
        failures = verdict.counted(account, self._accounts.entry(account).account.failures)
        self._accounts.fail(account, failures)
        self._counted.setdefault(account, []).append(_Counted(task.id, state.generation, verdict))
        change: Change | None = None
        if verdict.is_healthy:
            change = e.BreakerClosed("healthy") if state.mode == "half_open" else None
        else:
            settings = self._accounts.settings(account)
            breaker = None if settings is None else settings.breaker
            assert breaker is not None, "it has a state"
            change = opened_by_failure(breaker, state, failures, verdict.until_ms, self._accounts.now_ms)
        if change is not None:
            self._write(account, change, _cause(task))

    def _probes(self, used: Units) -> bool:
        """Check whether a lease that begins is the probe of a breaker: its generation is that which begins with it."""
        state = self._state(used.account)
        return used.generation is not None and state is not None and state.generation != used.generation

    def _is_probe(self, lease: LeaseRecord | None, account: str) -> bool:
        state = self._state(account)
        if lease is None or state is None or state.mode != "half_open":
            return False
        return any(one.account == account and one.generation == state.generation for one in lease.uses)

    def _state(self, account: str) -> BreakerState | None:
        return self._accounts.entry(account).breaker


def _cause(task: TaskFold) -> str:
    """Return the name of the event of a task that has caused a change: its newest one."""
    return f"task/{task.id}@{task.version}"
