"""The ports of the engine beside the store: time and entropy.

Rule: the engine reads no other clock and draws no other entropy. Knows no machine.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The source of time, in ints of milliseconds. [TIME-1]"""

    def now_ms(self) -> int:
        """Return the wall clock since 1970-01-01 UTC; it may step."""
        ...

    def monotonic_ms(self) -> int:
        """Return a clock that never steps back; only differences within one process mean anything."""
        ...


class Entropy(Protocol):
    """The source of ids and jitter."""

    def token_bytes(self, count: int) -> bytes:
        """Draw `count` random bytes that no other process draws."""
        ...

    def fraction(self) -> float:
        """Draw a number in [0, 1)."""
        ...
