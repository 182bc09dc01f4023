"""What there is to do in the demo: the tasks, and the names and times that its parts agree on.

Rule: tasks carry in their payload all that is to be done, so that any worker can do any of them. Knows no process and
opens no store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sagalog import Retry

QUEUE: Final = "demo"
# Short, so that a dead worker is found out while the user watches; in earnest half a minute is a good beginning.
TTL_MS: Final = 1_500
APPROVED: Final = "approved"
# A worker in whose environment this stands ends when its standard input is closed.
ENDS_WITH_INPUT: Final = "SAGALOG_DEMO_ENDS_WITH_INPUT"

# The six tasks by what becomes of them.
RESUMED: Final = "resumed"
SLEPT: Final = "slept"
FAILED: Final = "failed"
ODD: Final = "odd"
REVIEWED: Final = "reviewed"
PARENT: Final = "parent"
PARTS: Final = ("lexer", "parser", "printer")

# Who leases a task and sleeps beyond the lease.
SLEEPER: Final = "sleeper"

# What the worker that is killed had done, and what it was at; the names of steps in `demo_handlers`.
DONE_STEPS: Final = ("branch", "worktree", "commit")
STEP_IN_HAND: Final = "build"

UNKNOWN_UNDO: Final = "return-machine"
# How long a build that waits does so at most: should all other processes of the demo be gone, it ends by itself.
_ROUNDS_MAX: Final = 400


def hold(folder: Path) -> Path:
    """The file for whose absence a build waits."""
    return folder / "hold"


def first_tasks(folder: Path) -> list[dict[str, Any]]:
    """The specs of the two whose holders come to grief; one builds for as long as the demo wants it to."""
    part = (
        f'rounds=0\nwhile [ -e "{hold(folder)}" ] && [ "$rounds" -lt {_ROUNDS_MAX} ]; do\n'
        "    sleep 0.05; rounds=$((rounds + 1))\ndone\necho built at last\n"
    )
    return [
        _spec(RESUMED, "change", _content(folder, RESUMED, part)),
        _spec(SLEPT, "change", _content(folder, SLEPT, "echo another worker did it\n")),
    ]


def other_tasks(folder: Path) -> list[dict[str, Any]]:
    """The specs of the others."""
    parts = {part: _content(folder, part, f"echo the {part}\n") for part in PARTS}
    return [
        _spec(FAILED, "change", _content(folder, FAILED, "echo this cannot work\nexit 3\n")),
        _spec(ODD, "change", _content(folder, ODD, "exit 3\n", rents_a_machine=True)),
        _spec(REVIEWED, "change", _content(folder, REVIEWED, "echo please look\n", needs_approval=True)),
        _spec(PARENT, "release", {"folder": str(folder), "name": PARENT, "parts": parts}),
    ]


def _content(
    folder: Path, name: str, part: str, *, rents_a_machine: bool = False, needs_approval: bool = False
) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "name": name,
        "part": part,
        "rents_a_machine": rents_a_machine,
        "needs_approval": needs_approval,
    }


def _spec(id: str, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    # A machine that is busy with other things may lose a lease more often than the three times of the default; whatever
    # else goes wrong was not meant to, and is not to be hidden by a second attempt.
    retry = Retry(attempts_max=1, expiries_max=None)
    return {"kind": kind, "payload": payload, "id": id, "queue": QUEUE, "retry": retry}
