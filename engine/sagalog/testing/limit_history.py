"""The properties of limits in a history: slots, rates and pauses, computed anew from the events alone.

Rule: it trusts no other module and has an arithmetic of its own. A lease that began before a limit was set, or lowered,
counts and is no violation; so does a correction of what an attempt has used. Knows no account.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import Rate
from sagalog.testing.inheritance import Found


class _Tasks:
    """The queue, kind and key of each task, and the living leases for work with their units, from the events so far."""

    def __init__(self) -> None:
        self.created: dict[str, e.Created] = {}
        self.leases: dict[str, e.Leased] = {}
        # Of the newest lease of each task, by account.
        self.used: dict[str, dict[str, int]] = {}

    def see(self, event: Recorded) -> None:
        """Take the next event of the log."""
        match event.event:
            case e.Created() as created:
                self.created[event.stream] = created
            case e.Amended() as amended:
                self.created[event.stream] = _amended(self.created[event.stream], amended)
            case e.Leased(purpose="work") as lease:
                self.leases[event.stream] = lease
                self.used[event.stream] = {one.account: one.units for one in lease.uses}
            case e.Used() as used:
                self.used.setdefault(event.stream, {})[f"limit/{used.limit}"] = used.units
            case _ if getattr(event.event, "verb", None) is not None:
                self.leases.pop(event.stream, None)

    def running(self, account: str) -> int:
        """Count the units of an account that living leases hold."""
        return sum(self._units(stream, account) for stream in self.leases)

    def _units(self, stream: str, account: str) -> int:
        created = self.created[stream]
        if account == f"queue/{created.queue}" or account == _key_account(created):
            return 1
        return self.used.get(stream, {}).get(account, 0) if account.startswith("limit/") else 0


def slots(log: Sequence[Recorded]) -> Found:
    """Check that no lease begins without a free slot of each limit that it uses. [LIMIT-2]"""
    tasks, allowed = _Tasks(), _Settings()
    for event in log:
        now = event.event
        if isinstance(now, e.Leased) and now.purpose == "work":
            created = tasks.created[event.stream]
            for account, units in _asked(created, now):
                maximum = allowed.slots(account)
                if maximum is not None and tasks.running(account) + units > maximum:
                    yield event, f"{tasks.running(account)} of {maximum} slots of {account} were taken"
        allowed.see(event)
        tasks.see(event)


def units(log: Sequence[Recorded]) -> Found:
    """Check that a lease takes of named limits what its task uses by then, and undo nothing. [LIMIT-2] [AMEND-1]"""
    tasks, allowed = _Tasks(), _Settings()
    for event in log:
        now = event.event
        if isinstance(now, e.Leased):
            asked = {f"limit/{name}": units for name, units in (tasks.created[event.stream].uses or {}).items()}
            # [LIMIT-4] A task that asks for more than a lowered limit allows takes the whole of it.
            needed = {account: min(units, allowed.most(account) or units) for account, units in asked.items()}
            expected = needed if now.purpose == "work" else {}
            taken = {one.account: one.units for one in now.uses if one.account.startswith("limit/")}
            if taken != expected:
                yield event, f"it takes {taken} of named limits, and its task uses {expected}"
        allowed.see(event)
        tasks.see(event)


def rates(log: Sequence[Recorded]) -> Found:
    """Check that no lease begins before the units that it takes of a rate are there. [LIMIT-2] [LIMIT-8]"""
    allowed = _Settings()
    left: dict[str, tuple[Rate, Fraction, int]] = {}
    charged: dict[tuple[str, str], int] = {}
    for event in log:
        now = event.event
        if isinstance(now, e.Leased):
            for one in now.uses:
                rate = allowed.rate(one.account)
                charged[event.stream, one.account] = one.units
                if rate is None:
                    left.pop(one.account, None)
                    continue
                units = _refilled(left.get(one.account), rate, event.at_ms)
                if units < one.units:
                    yield event, f"it takes {one.units} units of {one.account}, which has {float(units):.3f}"
                left[one.account] = _after(left.get(one.account), rate, units - one.units, event.at_ms)
        elif isinstance(now, e.Used):
            account = f"limit/{now.limit}"
            rate = allowed.rate(account)
            before = charged.get((event.stream, account), 0)
            charged[event.stream, account] = now.units
            if rate is not None:
                units = _refilled(left.get(account), rate, event.at_ms) - (now.units - before)
                left[account] = _after(left.get(account), rate, units, event.at_ms)
        allowed.see(event)
        if event.stream in left and (rate := allowed.rate(event.stream)) != left[event.stream][0]:
            known = left.pop(event.stream)
            if rate is not None:
                units = min(_refilled(known, known[0], event.at_ms), Fraction(rate.most))
                if event.at_ms < known[2] - known[0].period_ms:
                    # [LIMIT-8] The clock was set back far, so it begins anew.
                    units = Fraction(rate.most)
                left[event.stream] = _after(known, rate, units, event.at_ms)


def pauses(log: Sequence[Recorded]) -> Found:
    """Check that no lease for work begins in what is paused. [PAUSE-1]"""
    tasks, allowed = _Tasks(), _Settings()
    for event in log:
        now = event.event
        if isinstance(now, e.Leased) and now.purpose == "work":
            created = tasks.created[event.stream]
            named = [f"limit/{name}" for name in created.uses or ()]
            of_task = [f"queue/{created.queue}", f"kind/{created.kind}", *named]
            for what in (*of_task, *filter(None, [_key_account(created)])):
                if what in allowed.paused:
                    yield event, f"{what} was paused"
        allowed.see(event)
        tasks.see(event)


class _Settings:
    """What limits allow and what is paused, from the events so far."""

    def __init__(self) -> None:
        self._limits: dict[str, tuple[int | None, Rate | None]] = {}
        self._per_key: dict[str, tuple[int | None, Rate | None]] = {}
        self.paused: set[str] = set()

    def see(self, event: Recorded) -> None:
        """Take the next event of the log."""
        now: Any = event.event
        queue = event.stream.partition("/")[2]
        match now:
            case e.LimitSet():
                self._limits[event.stream] = (now.slots, now.rate)
            case e.LimitRemoved():
                self._limits.pop(event.stream, None)
                self.paused.discard(event.stream)
            case e.QueueLimited():
                self._limits[event.stream] = (now.slots, now.rate)
                self._per_key[queue] = (now.per_key_slots, now.per_key_rate)
            case e.LimitPaused() | e.QueuePaused():
                self.paused.add(event.stream)
            case e.LimitResumed() | e.QueueResumed():
                self.paused.discard(event.stream)
            case e.KeyPaused():
                self.paused.add(_account(queue, now.key))
            case e.KeyResumed():
                self.paused.discard(_account(queue, now.key))
            case e.KindPaused():
                self.paused.add(f"kind/{now.kind}")
            case e.KindResumed():
                self.paused.discard(f"kind/{now.kind}")
            case _:
                pass

    def slots(self, account: str) -> int | None:
        """Return how many slots an account has; None: it limits none."""
        return self._of(account)[0]

    def rate(self, account: str) -> Rate | None:
        """Return the rate of an account."""
        return self._of(account)[1]

    def most(self, account: str) -> int | None:
        """Return how many units a lease may take of an account at most; None: any number."""
        slots, rate = self._of(account)
        return min((one for one in (slots, None if rate is None else rate.most) if one is not None), default=None)

    def _of(self, account: str) -> tuple[int | None, Rate | None]:
        if account.startswith("key/"):
            escaped = account.split("/")[1]
            return self._per_key.get(escaped.replace("%2F", "/").replace("%25", "%"), (None, None))
        return self._limits.get(account, (None, None))


def _amended(created: e.Created, amended: e.Amended) -> e.Created:
    """Return what a task was created as, with the queue, the key and the limits that it has by now."""
    key = None if "key" in amended.removes else created.key if amended.key is None else amended.key
    uses = None if "uses" in amended.removes else created.uses if amended.uses is None else amended.uses
    return msgspec.structs.replace(created, queue=amended.queue or created.queue, key=key, uses=uses)


def _asked(created: e.Created, lease: e.Leased) -> list[tuple[str, int]]:
    """Return the accounts that a lease has to find free, and how many units of each."""
    key = _key_account(created)
    others = [f"queue/{created.queue}", *([key] if key is not None else [])]
    return [(one.account, one.units) for one in lease.uses if one.account.startswith("limit/")] + [
        (account, 1) for account in others
    ]


def _key_account(created: e.Created) -> str | None:
    return None if created.key is None else _account(created.queue, created.key)


def _account(queue: str, key: str) -> str:
    escaped = queue.replace("%", "%25").replace("/", "%2F")
    return f"key/{escaped}/{key}"


def _refilled(known: tuple[Rate, Fraction, int] | None, rate: Rate, at_ms: int) -> Fraction:
    """Return how many units a rate has at a time; a clock that was set back far says nothing, so it begins anew."""
    if known is None:
        return Fraction(rate.most)
    before, units, since_ms = known
    if at_ms < since_ms - before.period_ms:
        return Fraction(rate.most)
    units += Fraction(before.units * max(at_ms - since_ms, 0), before.period_ms)
    return min(units, Fraction(rate.most))


def _after(
    known: tuple[Rate, Fraction, int] | None, rate: Rate, units: Fraction, at_ms: int
) -> tuple[Rate, Fraction, int]:
    is_ahead = known is not None and known[2] - known[0].period_ms <= at_ms < known[2]
    return rate, units, known[2] if is_ahead and known is not None else at_ms
