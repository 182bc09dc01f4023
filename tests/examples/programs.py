"""Where the programs of `docs/examples` are, and how a test gets one to run.

Rule: a program runs unchanged, from a copy in the folder of the test, where it may write what it likes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.adapters.cli.calls import ROOT

EXAMPLES: Final = ROOT / "docs" / "examples"
PROGRAMS: Final = [
    EXAMPLES / name
    for name in ("worktrees/orchestrator.py", "approval/pipeline.py", "service/service.py", "ollama/ask.py")
]
PATIENCE_S: Final = 100.0


def copy(name: str, folder: Path) -> Path:
    """Copy the program of this file name into a folder; give its path there."""
    [program] = [path for path in PROGRAMS if path.name == name]
    return Path(shutil.copy(program, folder))


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.02)
