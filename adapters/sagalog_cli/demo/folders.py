"""The folder of one demo: made for it, and removed again unless the demo keeps it.

Rule: a folder stays only after its name was printed, so the demo leaves nothing that the user does not know of.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

_ATTEMPTS: Final = 3


class DemoFolder:
    """A context manager around a folder that did not exist before.

    Args:
        wanted: where to make it; None for a new folder among the temporary files.
    """

    def __init__(self, wanted: Path | None) -> None:
        self._wanted = wanted
        self._kept = False

    def __enter__(self) -> DemoFolder:
        if self._wanted is None:
            self.path = Path(tempfile.mkdtemp(prefix="sagalog-demo-"))
        else:
            self.path = self._wanted.absolute()
            self.path.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            _remove(self.path)

    def keep(self) -> None:
        """Leave the folder to the user, who has been told its name."""
        self._kept = True


def _remove(folder: Path) -> None:
    """Remove a folder, again where a process that was just killed has still written into it."""
    for attempt in range(1, _ATTEMPTS + 1):
        shutil.rmtree(folder, ignore_errors=attempt < _ATTEMPTS)
        if not folder.exists():
            return
