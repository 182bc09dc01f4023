"""Command lines for the user to paste after the demo: each names the demo's own store, repository or file.

Rule: what is printed here works in the shell and in the folder from which the demo was started.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sagalog_cli.demo.repository import REPOSITORY

# Short, so that the commands below a demo from `.venv-demo/bin/sagalog` fit 80 columns.
STORE: Final = "log.db"


class CommandLines:
    """The command lines of one demo, which has left its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sagalog = _called_as()

    def of(self, words: Sequence[str]) -> str:
        """Complete the words of a command by the place of what it looks at.

        `sagalog …` gets the store, `git …` the repository; the last word of any other command is a file of the demo.
        """
        program, *rest = words
        if program == "sagalog":
            return shlex.join([*self._sagalog, *rest, "--db", str(self._folder / STORE)])
        if program == "git":
            return shlex.join(["git", "-C", str(self._folder / REPOSITORY), *rest])
        return shlex.join([program, *rest[:-1], str(self._folder / rest[-1])])

    def removal(self) -> str:
        """Give the command that removes all that the demo has left."""
        # Git writes its objects read-only, and without -f `rm` would ask about each.
        return shlex.join(["rm", "-rf", str(self._folder)])


def _called_as() -> list[str]:
    """Give the words that call this very command again: its name, its path, or the module."""
    called = sys.argv[0]
    if os.path.basename(called) != "sagalog":
        return [sys.executable, "-m", "sagalog_cli"]
    found = shutil.which("sagalog")
    if found is not None and os.path.exists(called) and os.path.samefile(found, called):
        return ["sagalog"]
    return [called]
