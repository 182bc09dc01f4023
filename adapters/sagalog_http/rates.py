"""Rates of requests by token or address: a bucket for each, in memory.

Rule: a table of a bounded number of buckets, of which the one that was used longest ago makes room. [HTTP-6] It reads
no clock but the one it is given.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sagalog import Rate
from sagalog_http.errors import TooManyRequests

_BUCKETS_MAX: Final = 10_000


class Buckets:
    """A bucket a name, each with what a rate gives.

    Args:
        rate: what a bucket gets; None: no name is ever refused.
        now_s: a clock in seconds that never steps back.
    """

    def __init__(self, rate: Rate | None, now_s: Callable[[], float]) -> None:
        self._rate = rate
        self._now_s = now_s
        # The name -> what was left, and when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Take a unit; raises TooManyRequests where none is left."""
        if self._rate is not None:
            left = self.require(name)
            self._left[name] = (left - 1.0, self._now_s())
            if len(self._left) > _BUCKETS_MAX:
                self._left.popitem(last=False)

    def require(self, name: str) -> float:
        """Return what is left; raises TooManyRequests where that is less than a unit."""
        rate = self._rate
        if rate is None:
            return 1.0
        most = float(rate.units if rate.burst is None else rate.burst)
        left, since_s = self._left.get(name, (most, self._now_s()))
        per_s = rate.units * 1_000 / rate.period_ms
        left = min(most, left + (self._now_s() - since_s) * per_s)
        if name in self._left:
            self._left.move_to_end(name)
        if left < 1.0:
            wait_ms = int((1.0 - left) / per_s * 1_000) + 1
            text = f"{rate.units} requests in {rate.period_ms} ms are allowed; wait {wait_ms} ms and repeat it"
            raise TooManyRequests(text, retry_after_ms=wait_ms)
        return left
