"""What the engine needs from outside beside a store: time and entropy."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time in ints of milliseconds. [TIME-1]"""

    def now_ms(self) -> int:
        """Wall clock since 1970-01-01 UTC; may step."""
        ...

    def monotonic_ms(self) -> int:
        """A clock that never steps back; only differences within one process mean anything."""
        ...


class Entropy(Protocol):
    """Where ids and jitter come from."""

    def token_bytes(self, count: int) -> bytes:
        """`count` random bytes that no other process draws."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1)."""
        ...
