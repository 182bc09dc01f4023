"""How much is measured: shared by the parts of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Where files are made, how many rounds, about how many seconds a side of a round takes; `tiny`: does it run?"""

    folder: Path
    rounds: int
    seconds: float
    tiny: bool = False

    def count(self, a_second: int) -> int:
        """How often to do what can be done about `a_second` times a second."""
        return max(10, round(a_second * self.seconds))
