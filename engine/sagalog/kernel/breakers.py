"""Breakers: what the end of a lease says of the surroundings, and which event of a breaker follows.

Rule: an outcome counts only at a breaker in whose present generation its lease began, so only the probe settles a half
open one [BREAKER-2] [BREAKER-3]. Knows no stream and no account.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit
from sagalog.kernel.bounds import BREAKER_OPEN_MS_MAX
from sagalog.kernel.values import BreakerOpening, BreakerPolicy, BreakerState, Budget

# The codes by which the engine ends a task whose budget for failures of the surroundings is spent.
_SPENT: Final[dict[str, Budget]] = {"transients_spent": "transient", "quota_wait_spent": "quota"}


class Verdict(NamedTuple):
    """What the end of a lease says of its surroundings.

    is_healthy   they answered: the work is done, or cannot be done for a reason of its own
    limit        of a failure: the named limit whose breaker it strikes; None: that of the queue
    until_ms     of a failure by a quota: when the quota is back; 0: nothing has said so; None: it is no quota
    """

    is_healthy: bool
    limit: str | None = None
    until_ms: int | None = None

    def is_for(self, account: str) -> bool:
        """Check whether it counts at the breaker of an account that the lease has used."""
        if self.is_healthy:
            return True
        return account.startswith("queue/") if self.limit is None else account == account_of_limit(self.limit)

    def counted(self, account: str, failures: int) -> int:
        """Return how many failures in a row an account has after it, if its lease is of the present generation."""
        if not self.is_for(account):
            return failures
        return 0 if self.is_healthy else failures + 1


HEALTHY: Final = Verdict(True)


def verdict_of(events: Iterable[e.Recordable]) -> Verdict | None:
    """Return what the events that end a lease say of the surroundings; None: they say nothing. [BREAKER-2]"""
    for event in events:
        match event:
            case e.Completed():
                return HEALTHY
            case e.Retried() if event.budget != "attempt":
                back_ms = event.quota_back_ms or 0
                return Verdict(False, event.error.limit, back_ms if event.budget == "quota" else None)
            case e.Failed() | e.Quarantined() if event.verb == "fail":
                return HEALTHY
            case e.Failed() | e.Quarantined() if event.verb == "retry" and (budget := _spent_budget(event)):
                limit = None if event.error is None else event.error.limit
                return Verdict(False, limit, 0 if budget == "quota" else None)
            case _:
                pass
    return None


def _spent_budget(event: e.Failed | e.Quarantined) -> Budget | None:
    """Return the budget for failures of the surroundings that was spent; None: none was."""
    code = (event.parameters or {}).get("instead_of", event.code)
    return _SPENT.get(code) if isinstance(code, str) else None


def opened_by_failure(
    breaker: BreakerPolicy, state: BreakerState, failures: int, until_ms: int | None, now_ms: int
) -> e.BreakerOpened | None:
    """Return how a failure opens a breaker, if it does: of a probe, by a quota, or as the last one of a row."""
    if state.mode == "half_open":
        return _opening("probe_failed", breaker, state.trips + 1, until_ms, now_ms)
    if until_ms is not None:
        return _opening("quota", breaker, 1, until_ms, now_ms)
    return _opening("failures", breaker, 1, None, now_ms) if failures >= breaker.failures else None


def lost_probe(state: BreakerState, now_ms: int) -> e.BreakerOpened:
    """Return how the end of a probe without a verdict opens its breaker: another may probe at once. [BREAKER-3]"""
    return e.BreakerOpened("probe_lost", state.trips, now_ms)


def _opening(
    code: BreakerOpening, breaker: BreakerPolicy, trips: int, until_ms: int | None, now_ms: int
) -> e.BreakerOpened:
    """Return an opening for a pause, or up to the time at which a quota is back."""
    end_ms = now_ms + breaker.pause_after(trips)
    if until_ms is not None and until_ms > now_ms:
        end_ms = min(until_ms, now_ms + BREAKER_OPEN_MS_MAX)
    return e.BreakerOpened(code, trips, end_ms)


# The types of these events in the streams of limits, and in those of queues.
_TYPES: Final[dict[str, dict[type[e.Recordable], type[Any]]]] = {
    "limit": {
        e.BreakerOpened: e.LimitBreakerOpened,
        e.BreakerHalfOpened: e.LimitBreakerHalfOpened,
        e.BreakerClosed: e.LimitBreakerClosed,
    },
    "queue": {
        e.BreakerOpened: e.QueueBreakerOpened,
        e.BreakerHalfOpened: e.QueueBreakerHalfOpened,
        e.BreakerClosed: e.QueueBreakerClosed,
    },
}


def recordable_in(category: str, event: e.BreakerOpened | e.BreakerHalfOpened | e.BreakerClosed) -> e.Recordable:
    """Return an event of a breaker as the streams of a category hold it."""
    recordable: e.Recordable = _TYPES[category][type(event)](*msgspec.structs.astuple(event))
    return recordable
