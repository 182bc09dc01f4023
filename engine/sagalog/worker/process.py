"""What the system says of this process: when it began, which tells it apart from an earlier one of the same pid.

Rule: it reads what the system says, and guesses nothing. It must not know workers.
"""

from __future__ import annotations

import os
from contextlib import suppress


def process_started_ms() -> int | None:
    """Return when this process began, in milliseconds since 1970; None where the system does not say (no Linux)."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", "rb") as file:
            # The name of the program comes second, in parentheses, and may hold anything.
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/stat", "rb") as file:
            booted_s = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
        return booted_s * 1_000 + ticks * 1_000 // os.sysconf("SC_CLK_TCK")
    return None
