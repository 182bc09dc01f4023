"""Our end of a member that begins as a fork of a warm process: for tests of what it does, not of how it begins or ends.

Rule: the same words as in `processes.py`, at a tenth of the time.
"""

from __future__ import annotations

from pathlib import Path

from tests.warm_processes import WarmProcess


def start(path: Path, *words: object, failpoint: str | None = None) -> WarmProcess:
    """Another process with a store on `path`, killed at `failpoint` if that is given."""
    environment = {} if failpoint is None else {"SAGALOG_FAILPOINT": failpoint}
    return WarmProcess("tests.adapters.sqlite.store_member", str(path), *map(str, words), environment=environment)


def hear(process: WarmProcess) -> str:
    """The member's next line."""
    return process.stdout.readline().strip()


def run(path: Path, *words: object, failpoint: str | None = None) -> tuple[int, list[str]]:
    """Run a member to its end: its exit status and its lines."""
    process = start(path, *words, failpoint=failpoint)
    output, _ = process.communicate("\n", timeout=60)
    return process.wait(), output.splitlines()
