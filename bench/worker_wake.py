"""The time until an idle worker in another process begins a new task; `python -m bench.worker_wake URL` is that worker.

Rule: times are of the machine's one monotonic clock: before the request for the creation, after its acknowledgement,
and at the handler's first line. Before each creation the worker has had time to fall asleep.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sagalog
from bench.report import Figure, Goal, single
from bench.rounds import Spread
from sagalog.worker import WorkContext

_ROOT: Final = Path(__file__).parents[1]
_PATIENCE_MS: Final = 60_000
_REST_S: Final = (0.05, 0.1)
# More than a tick of the clock by which the system counts a process's time.
_SETTLE_S: Final = 0.5


def measure(path: Path, tasks: int, idle_s: float) -> Iterator[Figure]:
    """Yield what an idle worker costs, and how soon it begins so many tasks."""
    url = f"sqlite:///{path}"
    with sagalog.open(url) as engine:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
        command = [sys.executable, "-m", "bench.worker_wake", url]
        worker = subprocess.Popen(command, cwd=_ROOT, env=environment)
        try:
            # The first task shows that the worker has started.
            engine.wait(engine.create("tell").id, _PATIENCE_MS)
            yield single("an idle worker takes of a core", _idle_percent(worker.pid, idle_s), "%", Goal("<=", 1))
            asked, acknowledged = zip(*(_wake(engine) for _ in range(tasks)), strict=True)
        finally:
            worker.terminate()
            worker.wait()
    for name, waits in (("asked for", sorted(asked)), ("acknowledged", sorted(acknowledged))):
        begun = f"a task is begun after its creation was {name}"
        goals = (Goal("<=", 5), Goal("<=", 25)) if name == "asked for" else (None, None)
        yield Figure(begun, Spread(waits[len(waits) // 2], waits[0], waits[-1]), "ms", goals[0])
        yield single("99 of 100 are begun after", waits[len(waits) * 99 // 100], "ms", goals[1])


def _wake(engine: sagalog.Engine) -> tuple[float, float]:
    """Return the milliseconds from a creation's request, and from its acknowledgement, to the handler's first line."""
    threading.Event().wait(random.uniform(*_REST_S))
    asked_ns = time.monotonic_ns()
    task = engine.create("tell")
    acknowledged_ns = time.monotonic_ns()
    begun_ns = int(engine.wait(task.id, _PATIENCE_MS).result)
    return (begun_ns - asked_ns) / 1e6, (begun_ns - acknowledged_ns) / 1e6


def _idle_percent(process_id: int, seconds: float) -> float:
    threading.Event().wait(min(_SETTLE_S, seconds))
    before_s, began_s = _processor_s(process_id), time.monotonic()
    threading.Event().wait(seconds)
    return (_processor_s(process_id) - before_s) / (time.monotonic() - began_s) * 100


def _processor_s(process_id: int) -> float:
    """Return the processor time of a process so far, as Linux counts it."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(url: str) -> None:
    """Run that worker until a signal stops it."""
    worker = sagalog.Worker()

    @worker.task("tell")
    def tell(_context: WorkContext, _payload: Any) -> int:
        return time.monotonic_ns()

    with sagalog.open(url) as engine:
        worker.run(engine)


if __name__ == "__main__":
    main(*sys.argv[1:])
