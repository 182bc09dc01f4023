"""The failpoints: named points at which a test may crash, stop or fail the engine.

Rule: a point that is not armed does nothing. Code that runs in every commit asks `armed` first: that costs less than a
call. A test arms a point in its own process, and the environment does so for another one: `SAGALOG_FAILPOINT=name`
kills it with SIGKILL at that point, `name:3` at the third time. Knows no store.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

# All points, in the order in which a commit passes them; a test compares them with the code.
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
    """Run what a test has armed at this point, if it has."""
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
