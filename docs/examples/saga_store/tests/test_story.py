"""The story of `python -m saga_store` is told to its end, on memory and on a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import saga_store

STORY = """\
three agents at work: task-1, task-2, task-3
agents 2 and 3 are silent; stale: task-2, task-3
task-1 is completed
  undo delete-branch fix/2
  undo remove-worktree wt/2
saga-2 is compensated: all undone
saga-3 is quarantined: the sweep does not know the compensation kinds ['revoke-token']
agent 2 wakes up too late, and is refused
a second sweep finds 0 sagas to do something about
task-3 is retried, and its debt with it: saga-3 is compensating
  undo revoke-token token/3
saga-3 is compensated: all undone
2 compensated
1 completed
1 quarantined
"""


@pytest.mark.parametrize("url", ["memory:", "sqlite:///story.db"])
def test_the_story_is_told_to_its_end(url: str, tmp_path: Path) -> None:
    path = ":".join([str(Path(saga_store.__file__).parents[1]), *sys.path])

    told = subprocess.run(
        [sys.executable, "-m", "saga_store", url],
        cwd=tmp_path,
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (told.stdout, told.stderr) == (STORY, "")
