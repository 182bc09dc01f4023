"""Calls of the command `sagalog`, within this process or as a real one, and stores for it to look after.

Rule: nothing here checks. Stores are real SQLite files, made by the engine in a past of its own, so that leases can be
over without a wait.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

import sagalog
from sagalog import Compensation, Engine, Lease
from sagalog.testing import ManualClock
from sagalog_cli import main

ROOT = Path(__file__).parents[3]
PAST_MS = 1_700_000_000_000
TTL_MS = 30_000


class Answer(NamedTuple):
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Standard output, a line each."""
        return self.out.splitlines()

    @property
    def documents(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The last line of standard error as the JSON of an error."""
        error: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return error


def call(*words: str, given: str | bytes = b"", env: dict[str, str] | None = None) -> Answer:
    """Run the command within this process, which goes on afterwards: the handlers of its signals are as before."""
    done = CliRunner().invoke(
        main,
        list(words),
        input=given,
        env={"SAGALOG_DB": None, "SAGALOG_ACTOR": "ann", **(env or {})},
        catch_exceptions=False,
        standalone_mode=False,
    )
    return Answer(done.return_value, done.stdout_bytes.decode(), done.stderr_bytes.decode())


def environment(**changes: str) -> dict[str, str]:
    """What a real process of the command needs to find us; its output is buffered, as it is for users."""
    path = os.pathsep.join([str(ROOT / "engine"), str(ROOT / "adapters")])
    ours = {"PYTHONPATH": path, "SAGALOG_ACTOR": "ann", "PYTHONUNBUFFERED": ""}
    return {**os.environ, **ours, **changes}


def start(*words: str | bytes, **settings: Any) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own; its three streams are pipes unless said otherwise."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command: Sequence[str | bytes] = [sys.executable, "-m", "sagalog_cli", *words]
    return subprocess.Popen(command, **{**streams, "env": environment(), **settings})


def run(*words: str | bytes, given: bytes = b"", **settings: Any) -> Answer:
    """Run the command as a process of its own, to its end."""
    process = start(*words, **settings)
    out, err = process.communicate(given, timeout=60)
    return Answer(process.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"))


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@contextmanager
def past(path: Path, clock: ManualClock | None = None) -> Iterator[Engine]:
    """An engine on the store at `path`, made if it is absent, whose clock is in the past."""
    clock = clock or ManualClock(PAST_MS)
    with sagalog.open(url_of(path), clock=clock, durability="normal") as engine:
        yield engine


def leased(engine: Engine, id: str, kind: str = "build", undos: Sequence[str] = (), **fields: Any) -> Lease:
    """A task that a worker has leased; by the clock of today the lease is over."""
    engine.create(kind, id=id, compensations=[Compensation(undo, id=undo) for undo in undos], **fields)
    return engine.acquire(id, owner="worker-1", ttl_ms=TTL_MS)


def ids(db: str) -> list[str]:
    """The ids of all tasks in a store, in order of creation."""
    return [task["id"] for task in call("list", "--db", db, "--all", "--json").documents]
