"""`sagalog` as a process that stops at named places, tells so, and goes on once it is let.

Rule: nothing here checks. Places are separated by commas: `commit` is within a transaction, just before its end; any
other is `module:name`, or `module:Class.method`, just before that is called; `slice=N` makes slices of N lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from importlib import import_module
from typing import Any

from sagalog import failpoints
from sagalog_cli import main
from tests.adapters.cli.calls import environment
from tests.adapters.cli.forked import Process, start

_ENDS = "SAGALOG_TEST_HELD"


class Held:
    """Our end of such a process."""

    def __init__(self, process: Process, told: int, go: int) -> None:
        self.process = process
        self._told = told
        self._go = go

    def reached(self) -> None:
        """Return once it stops at one of its places; fails where it ends before."""
        if not os.read(self._told, 1):
            out, err = self.process.communicate()
            raise AssertionError(f"it ended with {self.process.returncode}: {out!r} {err!r}")

    def let_go(self) -> None:
        """Let it go on, if it lives."""
        with suppress(BrokenPipeError):
            os.write(self._go, b".")

    def end(self) -> tuple[int, str, str]:
        """Its status and what it wrote, once it has ended."""
        out, err = self.process.communicate(timeout=60)
        return self.process.wait(), out.decode(), err.decode()


@contextmanager
def held(places: str, *words: str, **settings: Any) -> Iterator[Held]:
    """Start one; nothing of it is left behind the block."""
    told, tells = os.pipe()
    waits, go = os.pipe()
    ours = environment(**{_ENDS: f"{tells} {waits}"})
    process = start(*words, places=places, **{"env": ours, "pass_fds": (tells, waits), **settings})
    os.close(tells)
    os.close(waits)
    try:
        yield Held(process, told, go)
    finally:
        process.kill()
        process.communicate()
        os.close(told)
        os.close(go)


def _stop() -> None:
    tells, waits = map(int, os.environ[_ENDS].split())
    os.write(tells, b".")
    os.read(waits, 1)


def _stopping(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        _stop()
        return function(*arguments, **named)

    return call


def _prepare(place: str) -> None:
    if place == "commit":
        failpoints.armed["commit.before_commit"] = _stop
    elif place.startswith("slice="):
        import_module("sagalog_cli.slices").BATCH_COMMANDS_MAX = int(place.removeprefix("slice="))  # type: ignore[attr-defined]
    elif place:
        module, _, name = place.partition(":")
        *path, last = name.split(".")
        owner: Any = import_module(module)
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, _stopping(getattr(owner, last)))


if __name__ == "__main__":
    _, places, *words = sys.argv
    for place in places.split(","):
        _prepare(place)
    main(words, prog_name="sagalog")
