"""The properties of breakers in a history: what opens and closes one, and which leases begin, from the events alone.

Rule: it trusts no other module. A change is in the log before the event of a task that has caused it, by the same
commit; and within one commit the log may hold the ends of leases in another order than the engine took them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.testing.inheritance import Found

_SPENT = ("transients_spent", "quota_wait_spent")


class _Breaker:
    """One breaker from the events so far.

    row       when each lease of its generation has failed, since one of them was healthy
    well_ms   when one of them was healthy last
    caused    the change whose cause has not come yet
    earlier   the generation before the last change, and its row then
    """

    def __init__(self, failures: int, version: int) -> None:
        self.failures = failures
        self.mode = "closed"
        self.since_ms = self.until_ms = 0
        self.probe: tuple[str, int] | None = None
        self.well_ms: int | None = None
        self.caused: Recorded | None = None
        self.earlier: tuple[int, list[int]] = (-1, [])
        self.row: list[int] = []
        self.generation = version

    def turn(self, event: Recorded) -> None:
        """Take a change of it."""
        self.earlier = (self.generation, self.row)
        self.generation, self.row, self.well_ms, self.caused = event.version, [], None, event
        change: Any = event.event
        if isinstance(change, e.BreakerOpened):
            self.mode, self.since_ms, self.until_ms = "open", event.at_ms, change.until_ms
        elif isinstance(change, e.BreakerHalfOpened):
            self.mode, self.probe = "half_open", (f"task/{change.task}", change.fence)
        else:
            self.mode = "closed"


class _Fleet:
    """The breakers, the living leases for work, and the queue of each task, from the events so far."""

    def __init__(self) -> None:
        self.breakers: dict[str, _Breaker] = {}
        self.leases: dict[str, e.Leased] = {}
        self.created: dict[str, e.Created] = {}

    def see(self, event: Recorded) -> None:
        """Take the next event of the log, once its verdict was counted."""
        now = event.event
        match now:
            case e.LimitSet() | e.QueueLimited():
                self._set(event, now.breaker)
            case e.LimitRemoved():
                self.breakers.pop(event.stream, None)
            case e.BreakerOpened() | e.BreakerHalfOpened() | e.BreakerClosed() if event.stream in self.breakers:
                self.breakers[event.stream].turn(event)
            case e.Created():
                self.created[event.stream] = now
            case e.Amended():
                self.created[event.stream] = _amended(self.created[event.stream], now)
            case e.Leased(purpose="work"):
                self.leases[event.stream] = now
            case _ if getattr(now, "verb", None) is not None:
                self.leases.pop(event.stream, None)

    def _set(self, event: Recorded, policy: Any) -> None:
        known = self.breakers.get(event.stream)
        if policy is None:
            self.breakers.pop(event.stream, None)
        elif known is None:
            self.breakers[event.stream] = _Breaker(policy.failures, event.version)
        else:
            known.failures = policy.failures

    def of(self, created: e.Created) -> Iterator[tuple[str, _Breaker]]:
        """Yield the breakers that count for a task, with their accounts."""
        for account in (f"queue/{created.queue}", *(f"limit/{name}" for name in created.uses or ())):
            if account in self.breakers:
                yield account, self.breakers[account]


def breakers(log: Sequence[Recorded]) -> Found:
    """Check that breakers change for a reason, and that nothing begins against them. [BREAKER-1] [BREAKER-3]"""
    fleet = _Fleet()
    for event in log:
        now = event.event
        known = fleet.breakers.get(event.stream)
        if isinstance(now, e.BreakerHalfOpened | e.BreakerOpened | e.BreakerClosed):
            if why := _wrong_change(known, event):
                yield event, why
        elif isinstance(now, e.Leased) and now.purpose == "work":
            yield from ((event, why) for why in _wrong_leases(fleet, event, now))
        elif event.stream in fleet.leases and (getattr(now, "verb", None) is not None or isinstance(now, e.Retried)):
            lease = fleet.leases[event.stream]
            yield from ((event, why) for why in _wrong_ends(fleet, event, lease))
        fleet.see(event)


def _wrong_change(breaker: _Breaker | None, event: Recorded) -> str | None:
    """Say why a change does not fit what was there."""
    now: Any = event.event
    if breaker is None:
        return "there is no breaker"
    if event.cause is None and getattr(now, "code", None) != "reset":
        return "it names no event of a task as its cause"
    if isinstance(now, e.BreakerHalfOpened):
        is_time = breaker.mode == "open" and not breaker.since_ms <= event.at_ms < breaker.until_ms
        return None if is_time else f"it was {breaker.mode} until {breaker.until_ms} ms"
    if isinstance(now, e.BreakerOpened):
        fits = breaker.mode == ("half_open" if now.code in ("probe_failed", "probe_lost") else "closed")
        return None if fits else f"it was {breaker.mode}"
    is_of_probe = breaker.mode == "half_open" and breaker.probe is not None
    is_of_probe = is_of_probe and (event.cause or "").startswith(f"{breaker.probe[0]}@" if breaker.probe else "?")
    fits = breaker.mode != "closed" if now.code == "reset" else is_of_probe
    return None if fits else f"it was {breaker.mode}, with the probe {breaker.probe}"


def _wrong_leases(fleet: _Fleet, event: Recorded, lease: e.Leased) -> Iterator[str]:
    """Yield the breakers that a lease begins against, or whose generation it does not have."""
    generations = {one.account: one.generation for one in lease.uses}
    for account, breaker in fleet.of(fleet.created[event.stream]):
        is_probe = breaker.mode == "half_open" and breaker.probe == (event.stream, lease.fence)
        # A lease that began before the change, in its commit, is behind it in the log.
        caused = breaker.caused
        is_before = caused is not None and caused.at_ms == event.at_ms
        is_before = is_before and generations.get(account) == breaker.earlier[0]
        if is_before:
            continue
        if breaker.mode != "closed" and not is_probe:
            yield f"the breaker of {account} was {breaker.mode}"
        elif generations.get(account) != breaker.generation:
            yield f"it has generation {generations.get(account)} of {account}, which is in {breaker.generation}"


def _wrong_ends(fleet: _Fleet, event: Recorded, lease: e.Leased) -> Iterator[str]:
    """Count the verdict of a lease; yield the breakers that should have changed by it, or changed for no reason."""
    verdict, limit = _verdict(event.event)
    for one in lease.uses:
        breaker = fleet.breakers.get(one.account)
        if breaker is None or one.generation is None:
            continue
        counts = verdict == "healthy" or one.account == (f"limit/{limit}" if limit else f"queue/{_queue(fleet, event)}")
        said = verdict if counts else None
        if one.generation == breaker.generation:
            yield from _wrong_count(breaker, one.account, said, event.at_ms)
        elif one.generation == breaker.earlier[0] and said not in (None, "healthy"):
            breaker.earlier[1].append(event.at_ms)
        if breaker.caused is not None and breaker.caused.cause == event.name:
            change: Any = breaker.caused.event
            if getattr(change, "code", None) == "failures" and len(breaker.earlier[1]) < breaker.failures:
                yield f"it has opened the breaker of {one.account} after {len(breaker.earlier[1])} failures"
            expected = {"failures": "transient", "quota": "quota", "probe_lost": None}.get(
                getattr(change, "code", ""), said
            )
            if expected != said:
                yield f"it says {said} of {one.account}, and has opened its breaker by {change.code}"


def _wrong_count(breaker: _Breaker, account: str, said: str | None, at_ms: int) -> Iterator[str]:
    """Take a verdict of the present generation, after which the breaker is as it was before."""
    if breaker.mode == "half_open":
        yield f"the probe of {account} has ended, and the breaker is half open"
    elif said == "healthy":
        breaker.row, breaker.well_ms = [], at_ms
    elif said is not None:
        breaker.row.append(at_ms)
        # A healthy end of the same commit may have come between them.
        is_clear = breaker.well_ms not in breaker.row
        if is_clear and (said == "quota" or len(breaker.row) >= breaker.failures):
            yield f"the breaker of {account} is closed after {len(breaker.row)} failures, the last a {said}"


def _verdict(event: Any) -> tuple[str | None, str | None]:
    """Return what the end of a lease says, and the limit that it names."""
    error = getattr(event, "error", None)
    limit = None if error is None else error.limit
    if isinstance(event, e.Completed) or getattr(event, "verb", None) == "fail":
        return "healthy", None
    if isinstance(event, e.Retried):
        return {"transient": "transient", "quota": "quota"}.get(event.budget), limit
    code = (getattr(event, "parameters", None) or {}).get("instead_of", getattr(event, "code", None))
    if code in _SPENT and getattr(event, "verb", None) == "retry":
        return "quota" if code == "quota_wait_spent" else "transient", limit
    return None, None


def _queue(fleet: _Fleet, event: Recorded) -> str:
    return fleet.created[event.stream].queue


def _amended(created: e.Created, amended: e.Amended) -> e.Created:
    uses = None if "uses" in amended.removes else amended.uses or created.uses
    return msgspec.structs.replace(created, queue=amended.queue or created.queue, uses=uses)
