"""Named points at which a test may crash, stop or fail the engine.

Rule: a point that is not armed does nothing. What runs in every commit asks `armed` first: that costs less than a call.
Points are armed by a test in the process, or for a real process by the environment: `SAGALOG_FAILPOINT=name` kills it
with SIGKILL at that point, `name:3` at the third time it gets there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

# Every point there is, in the order in which a commit passes them; a test compares them with the code.
NAMES: Final = (
    "commit.before_begin",
    "commit.after_begin",
    "commit.after_events",
    "commit.after_fold",
    "commit.before_commit",
    "commit.after_commit",
    "checkpoint.before",
    "checkpoint.after",
    "create.after_file",
    "create.after_schema",
    "create.before_rename",
    "create.after_rename",
    "migrate.after_statement",
)

armed: dict[str, Callable[[], None]] = {}


def reach(name: str) -> None:
    """Run what is armed at this point, if anything."""
    if armed and name in armed:
        armed[name]()


def arm_from_environment(setting: str | None) -> None:
    """Arm `name` or `name:n` to kill this process at the n-th time.

    Raises:
        ValueError: the setting names no point.
    """
    if not setting:
        return
    name, _, count = setting.partition(":")
    if name not in NAMES:
        raise ValueError(f"SAGALOG_FAILPOINT names no point: {name!r}; there are {', '.join(NAMES)}")
    left = int(count or 1)

    def kill() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    armed[name] = kill


arm_from_environment(os.environ.get("SAGALOG_FAILPOINT"))
