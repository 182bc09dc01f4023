"""The size of a measurement, which the parts of a suite share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The folder for files, the number of rounds, the rough seconds of a side a round; `tiny`: only try the suite."""

    folder: Path
    rounds: int
    seconds: float
    tiny: bool = False

    def count(self, a_second: int) -> int:
        """Return how often to do something that can be done roughly `a_second` times a second."""
        return max(10, round(a_second * self.seconds))
