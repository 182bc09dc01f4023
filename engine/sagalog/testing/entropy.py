"""Entropy that repeats: the same seed gives the same ids and the same jitter.

Rule: for tests only. A test that knows the seed knows every id, and a fork of the process draws the same as its parent.
"""

from __future__ import annotations

import random


class SeededEntropy:
    """A source of entropy that repeats: the `Entropy` port over a generator with a seed; threads may share it.

    Args:
        seed: the same seed gives the same ids and the same jitter.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = random.Random(seed)

    def token_bytes(self, count: int) -> bytes:
        """Draw `count` bytes, the same for the same seed and place in the row of draws."""
        return self._random.randbytes(count)

    def fraction(self) -> float:
        """Draw a number in [0, 1)."""
        return self._random.random()

    def __repr__(self) -> str:
        return f"SeededEntropy({self.seed})"
