"""The machine's own clock and entropy: an engine uses them unless its user gives others.

Rule: only this module of the engine reads either; all others take them from the ports. Knows nothing of tasks, leases
or stores.
"""

from __future__ import annotations

import os
import time


class SystemClock:
    """The clock of this machine, in whole milliseconds."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970 in UTC; may step back when the machine's clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return milliseconds that never step back; only differences mean something."""
        return time.monotonic_ns() // 1_000_000


class SystemEntropy:
    """The entropy of the operating system; the process keeps none, so a fork shares none."""

    def token_bytes(self, count: int) -> bytes:
        """Return `count` random bytes, good enough for secrets."""
        return os.urandom(count)

    def fraction(self) -> float:
        """Return a random float in [0, 1): one of the 2**53 at equal distances."""
        return (int.from_bytes(os.urandom(7), "big") >> 3) * 2.0**-53
