"""A file system that fails where a test says: every call of SQLite for a file passes through here.

Rule: what is not armed is handed on unchanged to the real one. Shared memory and locks are the real ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

Strike = Callable[[str, str], None]


class FaultyFiles(apsw.VFS):
    """The default file system while it lives. `strike(operation, path)` may raise instead of the real call."""

    def __init__(self) -> None:
        self.strike: Strike | None = None
        self.reached: list[tuple[str, str]] = []
        self.real = apsw.vfs_names()[0]
        super().__init__("faulty", self.real, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> FaultyFile:  # noqa: N802
        return FaultyFile(self, name, flags)

    def reach(self, operation: str, path: str) -> None:
        self.reached.append((operation, path))
        if self.strike is not None:
            self.strike(operation, path)


class FaultyFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, files: FaultyFiles, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._files = files
        self._path = str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        super().__init__(files.real, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._files.reach("write", self._path)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._files.reach("sync", self._path)
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._files.reach("read", self._path)
        return super().xRead(amount, offset)


@contextmanager
def faulty_files() -> Iterator[FaultyFiles]:
    """Put it in place of the default file system for the block."""
    files = FaultyFiles()
    try:
        yield files
    finally:
        files.unregister()


def failing(operation: str, ending: str, error: type[apsw.Error], after: int = 0) -> Strike:
    """Fail this operation on files whose name ends so, once `after` of them went well."""
    left = after

    def strike(reached: str, path: str) -> None:
        nonlocal left
        if reached == operation and path.endswith(ending):
            left -= 1
            if left < 0:
                raise error(f"planted failure of {operation}")

    return strike
