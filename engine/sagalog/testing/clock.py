"""A clock that stands still until a test moves it.

Rule: never reads the machine's clocks, so a test that uses it waits for nothing and repeats exactly. It knows no store
and no task.
"""

from __future__ import annotations

import threading


class ManualClock:
    """Both clocks of the `Clock` port, moved by hand: the wall clock may step, the monotonic one only goes forward.

    Safe to share between threads; several engines may run on one.

    Args:
        start_ms: what the wall clock shows at first, in milliseconds since 1970; the monotonic clock begins at 0.
    """

    def __init__(self, start_ms: int = 0) -> None:
        self._lock = threading.Lock()
        self._now_ms = start_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        """Read the wall clock, in milliseconds since 1970."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Read the monotonic clock: how far it was advanced since it was made; steps do not count."""
        return self._monotonic_ms

    def advance(self, ms: int) -> None:
        """Let time pass: both clocks go forward.

        Args:
            ms: by how much, in milliseconds.

        Raises:
            ValueError: `ms` is negative; `step` sets the wall clock back.
        """
        if ms < 0:
            raise ValueError(f"time passes forward only, not by {ms} ms; step() sets the wall clock back")
        with self._lock:
            self._now_ms += ms
            self._monotonic_ms += ms

    def step(self, ms: int) -> None:
        """Set the wall clock forward or back while no time passes, as an administrator or a time server does.

        Args:
            ms: by how much, in milliseconds; negative: back.
        """
        with self._lock:
            self._now_ms += ms

    def __repr__(self) -> str:
        return f"ManualClock(now_ms={self._now_ms}, monotonic_ms={self._monotonic_ms})"
