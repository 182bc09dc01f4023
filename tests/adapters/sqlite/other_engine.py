"""Another engine on the same file, in this process or in one of its own, which does what a test tells it.

Run as `python -m tests.adapters.sqlite.other_engine` it does what its lines say and answers each by one line. It must
not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import sagalog
from sagalog import Lease
from sagalog.testing import ManualClock, SeededEntropy
from tests.adapters.sqlite.stores import START_MS

ROOT = Path(__file__).parents[3]


class Other(Protocol):
    """What both do: `call` a verb of the engine, or one of the `holder` of the task that it has leased."""

    def call(self, verb: str, /, *words: Any, **named: Any) -> None: ...

    def holder(self, task: str, verb: str, /, *words: Any, **named: Any) -> None: ...

    def advance(self, ms: int) -> None: ...

    def set_back(self, ms: int) -> None: ...

    def close(self) -> None: ...


class Here:
    """In this process, with a store and a clock of its own."""

    def __init__(self, url: str) -> None:
        self._clock = ManualClock(START_MS)
        self._engine = sagalog.open(url, durability="normal", clock=self._clock, entropy=SeededEntropy(2))
        self._leases: dict[str, Lease] = {}

    def call(self, verb: str, /, *words: Any, **named: Any) -> None:
        self._keep(getattr(self._engine, verb)(*words, **named))

    def holder(self, task: str, verb: str, /, *words: Any, **named: Any) -> None:
        self._keep(getattr(self._leases[task], verb)(*words, **named))

    def _keep(self, answer: Any) -> None:
        if isinstance(answer, Lease):
            self._leases[answer.task.id] = answer

    def advance(self, ms: int) -> None:
        self._clock.advance(ms)

    def set_back(self, ms: int) -> None:
        self._clock.step(-ms)

    def close(self) -> None:
        self._engine.close()


class There:
    """In another process; one process serves many stores, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.sqlite.other_engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def open(self, url: str) -> None:
        self._tell("open", url)

    def call(self, verb: str, /, *words: Any, **named: Any) -> None:
        self._tell("call", verb, *words, **named)

    def holder(self, task: str, verb: str, /, *words: Any, **named: Any) -> None:
        self._tell("holder", task, verb, *words, **named)

    def advance(self, ms: int) -> None:
        self._tell("advance", ms)

    def set_back(self, ms: int) -> None:
        self._tell("set_back", ms)

    def close(self) -> None:
        self._tell("close")

    def end(self) -> None:
        self._process.communicate(timeout=30)

    def _tell(self, what: str, *words: Any, **named: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, words, named]) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said == "done", f"the other process has not done {what} {words}: {said!r}"


def main() -> None:
    """Do what each line says."""
    here: Here | None = None
    for line in sys.stdin:
        what, words, named = json.loads(line)
        try:
            if what == "open":
                here = Here(*words)
            else:
                getattr(here, what)(*words, **named)
        except Exception as error:  # noqa: BLE001  # the test tells what is wrong
            print(repr(error), flush=True)  # noqa: T201  # the answer
        else:
            print("done", flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
