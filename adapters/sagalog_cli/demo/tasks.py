"""The tasks of the demo, and the names and times that its modules share.

Rule: the payload of a task holds all that is to be done, so that any worker can do it. Starts no process, opens no
store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sagalog import Retry

QUEUE: Final = "demo"
# Short, so that the lease of a killed worker expires while the user watches. For real work, begin with half a minute.
TTL_MS: Final = 1_500
APPROVED: Final = "approved"
# A worker with this variable in its environment ends when its standard input is closed.
ENDS_WITH_INPUT: Final = "SAGALOG_DEMO_ENDS_WITH_INPUT"

# The six tasks, named after what becomes of them.
RESUMED: Final = "resumed"
LATE: Final = "late"
FAILED: Final = "failed"
QUARANTINED: Final = "quarantined"
REVIEWED: Final = "reviewed"
PARENT: Final = "parent"
PARTS: Final = ("lexer", "parser", "printer")

# The owner of the lease that expires and is used nevertheless.
LATE_HOLDER: Final = "late-holder"

# What the killed worker had recorded, and the step that it was in. `handlers` names the steps.
DONE_STEPS: Final = ("branch", "worktree", "commit")
INTERRUPTED_STEP: Final = "build"

UNKNOWN_UNDO: Final = "return-machine"
# The build of the task that is resumed waits at most so many times 50 ms. So it ends even if the demo has gone.
_ROUNDS_MAX: Final = 400


def hold(folder: Path) -> Path:
    """Name the file that holds a build up for as long as it exists."""
    return folder / "hold"


def resumed_task(folder: Path) -> dict[str, Any]:
    """Describe the task whose first worker is killed. Its build lasts until `hold` is removed."""
    part = (
        f'rounds=0\nwhile [ -e "{hold(folder)}" ] && [ "$rounds" -lt {_ROUNDS_MAX} ]; do\n'
        "    sleep 0.05; rounds=$((rounds + 1))\ndone\necho built at last\n"
    )
    return _spec(RESUMED, "change", _content(folder, RESUMED, part))


def late_task(folder: Path) -> dict[str, Any]:
    """Describe the task whose first holder lets its lease expire."""
    return _spec(LATE, "change", _content(folder, LATE, "echo another worker did it\n"))


def other_tasks(folder: Path) -> list[dict[str, Any]]:
    """Describe the four other tasks."""
    parts = {part: _content(folder, part, f"echo the {part}\n") for part in PARTS}
    return [
        _spec(FAILED, "change", _content(folder, FAILED, "echo this cannot work\nexit 3\n")),
        _spec(QUARANTINED, "change", _content(folder, QUARANTINED, "exit 3\n", rents_a_machine=True)),
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
    # A busy machine may lose a lease more often than the three times of the default. One attempt only, so that a second
    # one hides no failure that was not planned.
    retry = Retry(attempts_max=1, expiries_max=None)
    return {"kind": kind, "payload": payload, "id": id, "queue": QUEUE, "retry": retry}
