"""Accounts: what is used of a limit now, and the arithmetic of its units.

Rule: whole numbers only, and the same events give the same account in whatever process [LIMIT-7]. An account is the
state of one limit: of a named one, of a queue, or of a key within a queue; that of a schedule says when it is due.
Knows no event, no task and no store.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog.kernel.bounds import PASS_MS, REFUSED_MAX
from sagalog.kernel.values import Limit, Rate

_LIMIT: Final = "limit/"
_QUEUE: Final = "queue/"
_KEY: Final = "key/"


def account_of_limit(name: str) -> str:
    """Return the name of the account of a named limit."""
    return _LIMIT + name


def account_of_queue(queue: str) -> str:
    """Return the name of the account of a queue's own limit."""
    return _QUEUE + queue


def account_of_key(queue: str, key: str) -> str:
    """Return the name of the account of a key within a queue; the queue's slashes are escaped, so no two share one."""
    escaped = queue.replace("%", "%25").replace("/", "%2F")
    return f"{_KEY}{escaped}/{key}"


def stream_of_account(name: str) -> str:
    """Return the name of the stream that says what an account allows: of a limit, of a queue, or of a schedule."""
    if not name.startswith(_KEY):
        return name
    escaped = name.removeprefix(_KEY).partition("/")[0]
    return _QUEUE + escaped.replace("%2F", "/").replace("%25", "%")


def key_of_account(name: str) -> str | None:
    """Return the key of the account of a key; None for any other."""
    return name.removeprefix(_KEY).partition("/")[2] if name.startswith(_KEY) else None


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task that was refused because it asks for more units than were free, and when that was first so. [LIMIT-6]"""

    task: str
    since_ms: int


class Account(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is used of one limit now.

    slots_used   the units that living leases hold
    rate         the rate by which `credit` was computed; None: the limit had none
    credit       what a rate has left, in units times its period; below zero after a correction [LIMIT-3]
    at_ms        when that was so
    refused      larger tasks that smaller ones may pass for a while, the longest refused first
    due_ms       from when on maintenance may let a task in; None: not before a lease ends or a caller commits
    since_ms     when `due_ms` was set: a clock that is set back behind that cannot show when it has come
    keys_after   of a queue whose keys maintenance looks at, one after the other: the account of the last one; None: it
                 looks at none
    failures     how many leases of the breaker's present generation have failed in a row [BREAKER-2]
    """

    slots_used: int = 0
    rate: Rate | None = None
    credit: int = 0
    at_ms: int = 0
    refused: tuple[Refusal, ...] = ()
    due_ms: int | None = None
    since_ms: int | None = None
    keys_after: str | None = None
    failures: int = 0

    # --- what there is --------------------------------------------------------------------------------------------

    def at(self, rate: Rate | None, now_ms: int) -> Account:
        """Return the account at `now_ms`, under the rate that its limit has by now.

        The old rate counts up to now. A new limit begins with its whole burst, and so does an account that is ahead of
        now by more than its period, as after a clock that jumped; one that is ahead by less waits. [LIMIT-8]
        """
        if self.rate is None and rate is None:
            return self
        passed_ms = now_ms - self.at_ms
        if self.rate is None or rate is None or passed_ms < -self.rate.period_ms:
            full = 0 if rate is None else rate.most * rate.period_ms
            return msgspec.structs.replace(self, rate=rate, credit=full, at_ms=now_ms)
        at_ms = max(self.at_ms, now_ms)
        credit = self.credit + self.rate.units * max(passed_ms, 0)
        credit = min(credit, self.rate.most * self.rate.period_ms)
        if rate != self.rate:
            credit = credit * rate.period_ms // self.rate.period_ms
        credit = min(credit, rate.most * rate.period_ms)
        return msgspec.structs.replace(self, rate=rate, credit=credit, at_ms=at_ms)

    def free(self, limit: Limit) -> int | None:
        """Return how many units are free, of an account at the time of the question; None: any number.

        Below zero where more is used than the limit allows by now.
        """
        slots = None if limit.slots is None else limit.slots - self.slots_used
        rate = None if self.rate is None else self.credit // self.rate.period_ms
        return min((one for one in (slots, rate) if one is not None), default=None)

    def refilled_ms(self, limit: Limit, units: int) -> int | None:
        """Return when the rate has so many units; None: it has them, or its limit lacks slots, which time frees not."""
        rate = self.rate
        if rate is None or (limit.slots is not None and limit.slots - self.slots_used < units):
            return None
        lacking = units * rate.period_ms - self.credit
        return None if lacking <= 0 else self.at_ms + -(-lacking // rate.units)

    def is_due(self, now_ms: int) -> bool:
        """Check whether maintenance has to look at it: its time has come, or the clock was set back since. [LIMIT-8]"""
        return self.due_ms is not None and (self.due_ms <= now_ms or now_ms < (self.since_ms or 0))

    # --- what changes ---------------------------------------------------------------------------------------------

    def take(self, units: int) -> Account:
        """Take units, of an account at the time of the lease."""
        credit = self.credit if self.rate is None else self.credit - units * self.rate.period_ms
        return msgspec.structs.replace(self, slots_used=self.slots_used + units, credit=credit)

    def give_back(self, units: int) -> Account:
        """Free slots, at the end of a lease; the units of a rate never come back by that. [LIMIT-2]"""
        return msgspec.structs.replace(self, slots_used=self.slots_used - units)

    def correct(self, units: int, before: int) -> Account:
        """Charge what an attempt uses of a rate in place of what it was charged before. [LIMIT-3]"""
        period_ms = 0 if self.rate is None else self.rate.period_ms
        return msgspec.structs.replace(
            self,
            credit=self.credit - (units - before) * period_ms,
            slots_used=self.slots_used + units - before,
        )

    # --- who may pass whom ----------------------------------------------------------------------------------------

    def refuse(self, task: str, now_ms: int) -> Account:
        """Note that a larger task was refused, if that is new and there is room."""
        if len(self.refused) >= REFUSED_MAX or any(one.task == task for one in self.refused):
            return self
        return msgspec.structs.replace(self, refused=(*self.refused, Refusal(task, now_ms)))

    def forget(self, task: str) -> Account:
        """Forget a refusal: the task was leased, or no longer asks."""
        if all(one.task != task for one in self.refused):
            return self
        return msgspec.structs.replace(self, refused=tuple(one for one in self.refused if one.task != task))

    def first_in_line(self, now_ms: int) -> Refusal | None:
        """Return the refusal of the task that no other may pass any more; None: there is none. [LIMIT-6]

        One in the future of now, as after a clock that was set back, is as old as it can be.
        """
        for one in self.refused:
            if one.since_ms > now_ms or now_ms - one.since_ms >= PASS_MS:
                return one
        return None
