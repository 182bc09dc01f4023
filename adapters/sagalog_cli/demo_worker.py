"""A worker of the demo, as a process of its own: `python -m sagalog_cli.demo_worker URL NAME EFFECTS ROLE`.

This is how sagalog is embedded: claim a few tasks, renew their leases in the background, let a handler bring each to
its outcome, stop on `LeaseLost`, and undo what failed tasks owe.

Rule: a worker knows the store and its own handlers, never the other workers; all that it must know about a task stands
in the task. It says `ready`, waits for a line, and ends when its input is closed: the end of whoever started it is its
own end. What it has to say is one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

import sagalog
from sagalog import Compensation, Engine, Failure, Lease, LeaseLost, SagalogError, Unavailable, Unknown
from sagalog_cli.demo_plan import (
    BEAT_EVERY_MS,
    CLAIM_LIMIT,
    DOOMED_TASKS,
    KNOWN_UNDOS,
    QUEUE,
    TTL_MS,
    undo_kind,
)

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_IDLE_MS: Final = 20
_PAUSES_MS: Final = (10, 100, 1_000)


def insist(call: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
    """Repeat a call that wrote nothing or whose outcome is unknown; a lease's verb answers a repeat as the first time.

    Giving up is safe: the worker dies of the error, its leases run out, and others take the tasks over.
    """
    for pause_ms in _PAUSES_MS:
        try:
            return call(*args, **kwargs)
        except (Unavailable, Unknown):
            time.sleep(pause_ms / 1_000)
    return call(*args, **kwargs)


class Renewals:
    """A thread that renews the leases this process holds, so that no handler has to think of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewals", daemon=True)

    def __enter__(self) -> Renewals:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def add(self, leases: Iterable[Lease]) -> None:
        """Renew these from now on."""
        with self._lock:
            self._held.update((lease.task.id, lease) for lease in leases)

    def drop(self, lease: Lease) -> None:
        """Renew this no longer: its task is settled, or lost."""
        with self._lock:
            self._held.pop(lease.task.id, None)

    def _run(self) -> None:
        while not self._ended.wait(BEAT_EVERY_MS / 1_000):
            with self._lock:
                held = list(self._held.values())
            try:
                # What is lost needs no answer here: the holder is told by its next verb, and stops.
                self._engine.heartbeat(held)
            except (Unavailable, Unknown):
                continue  # The next beat comes long before the leases are over.


class Worker:
    """The loop: work while there is any, else undo, else look again a little later."""

    def __init__(self, engine: Engine, name: str, effects: Path) -> None:
        self._engine = engine
        self._name = name
        self._effects = effects
        self._renewals = Renewals(engine)
        self._handlers: Mapping[str, Callable[[Lease], object]] = {
            "review": self._take_time,
            "train": self._take_time,
            "provision": self._provision,
        }

    def run(self) -> None:
        """Work until the input is closed."""
        pause_ms = 0
        with self._renewals:
            while not _input_closed(pause_ms):
                busy = self._serve(self._claim_work(CLAIM_LIMIT), self._work)
                busy = busy or self._serve(self._claim_undo(), self._undo)
                pause_ms = 0 if busy else _IDLE_MS

    def _claim_work(self, limit: int) -> list[Lease]:
        """Lease tasks to work on, those meant for this worker first. What a lost answer had leased simply runs out."""
        return insist(self._engine.claim, QUEUE, owner=self._name, ttl_ms=TTL_MS, limit=limit, affinity=self._name)

    def _claim_undo(self) -> list[Lease]:
        """Lease failed tasks that owe nothing but undos this worker knows. [UNDO-1]"""
        return insist(
            self._engine.claim,
            QUEUE,
            owner=self._name,
            ttl_ms=TTL_MS,
            limit=CLAIM_LIMIT,
            purpose="undo",
            kinds=KNOWN_UNDOS,
        )

    def _serve(self, leases: Sequence[Lease], handle: Callable[[Lease], object]) -> bool:
        """Bring each task to its outcome, with all leases renewed meanwhile; whether there were any."""
        self._renewals.add(leases)
        for lease in leases:
            try:
                handle(lease)
            except LeaseLost:
                pass  # Somebody else has the task by now, and what is left of it is theirs. [FENCE-2]
            finally:
                self._renewals.drop(lease)
        return bool(leases)

    def _work(self, lease: Lease) -> None:
        self._handlers[lease.task.kind](lease)

    def _undo(self, lease: Lease) -> None:
        """Undo all that is owed, the newest first: `owed` stands in that order. [COMP-5]"""
        for owed in lease.task.owed:
            try:
                self._unmake(owed.params)
            except OSError as error:
                insist(lease.compensation_failed, owed.id, Failure("os_error", str(error)))
                return
            insist(lease.compensation_done, owed.id)

    def _take_time(self, lease: Lease) -> None:
        time.sleep(lease.task.payload["work_ms"] / 1_000)
        insist(lease.complete, {"by": self._name})

    def _provision(self, lease: Lease) -> None:
        try:
            for resource in lease.task.payload["resources"]:
                self._make(lease, resource)
        except OSError as error:
            insist(lease.retry, Failure("os_error", str(error)), budget="transient")
            return
        if lease.task.payload["fails"]:
            insist(lease.fail, Failure("no_capacity", "the machine would not start"))
        else:
            insist(lease.complete, {"by": self._name})

    def _make(self, lease: Lease, resource: str) -> None:
        """Put the undo on record, then make the thing: after a crash in between, the undo finds nothing. [COMP-1]"""
        thing = f"{resource}-{lease.task.id}"
        insist(lease.register, Compensation(undo_kind(resource), {"thing": thing}, id=undo_kind(resource)))
        (self._effects / thing).touch()

    def _unmake(self, params: Mapping[str, str]) -> None:
        (self._effects / params["thing"]).unlink(missing_ok=True)

    # --- the two that come to grief -----------------------------------------------------------------------------------

    def hold_until_killed(self) -> None:
        """Lease some tasks, keep the leases alive, and never settle one."""
        with self._renewals:
            leases = self._claim_work(DOOMED_TASKS)
            self._renewals.add(leases)
            _report_held(leases)
            sys.stdin.readline()

    def sleep_and_wake(self) -> None:
        """Begin a task, be stopped, and go on as if nothing had happened.

        Nothing is renewed meanwhile: a process that is stopped inside a commit keeps the file's lock from everybody,
        and what is to be seen is one that is stopped between two writes.
        """
        leases = self._claim_work(1)
        for lease in leases:
            self._make(lease, lease.task.payload["resources"][0])
        _report_held(leases)
        if sys.stdin.readline():
            _say({"late": {lease.task.id: try_every_verb(lease) for lease in leases}})


def try_every_verb(lease: Lease) -> dict[str, str]:
    """All that a holder may write, and what came of it: verb -> the code of its refusal, or `accepted`."""
    verbs: Mapping[str, Callable[[], object]] = {
        "heartbeat": lease.heartbeat,
        "register": lambda: lease.register(Compensation("remove-late", {"thing": "late"})),
        "complete": lambda: lease.complete({"by": lease.owner}),
        "fail": lambda: lease.fail("woke up late", waive_compensation="nothing was done"),
        "release": lambda: lease.release("woke up late"),
        "retry": lambda: lease.retry("woke up late"),
    }
    return {name: _outcome(verb) for name, verb in verbs.items()}


def _outcome(verb: Callable[[], object]) -> str:
    try:
        insist(verb)
    except SagalogError as refusal:
        return refusal.code
    return "accepted"


def _report_held(leases: Iterable[Lease]) -> None:
    _say({"holding": {lease.task.id: lease.fence for lease in leases}})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _input_closed(timeout_ms: int) -> bool:
    """Wait so long for the end of the input: after the first line nothing else comes for a worker that races."""
    ready, _, _ = select.select([sys.stdin], [], [], timeout_ms / 1_000)
    return bool(ready)


def main() -> None:
    """Open the store, say so, wait for the word, and play the role."""
    parser = argparse.ArgumentParser(prog="python -m sagalog_cli.demo_worker", description="A worker of the demo.")
    parser.add_argument("url", help="of the store")
    parser.add_argument("name", help="who holds the leases")
    parser.add_argument("effects", type=Path, help="folder in which resources are made")
    parser.add_argument("role", choices=["run", "hold_until_killed", "sleep_and_wake"])
    given = parser.parse_args()
    with sagalog.open(given.url, create=False) as engine:
        worker = Worker(engine, given.name, given.effects)
        _say({"ready": given.name})
        if sys.stdin.readline():
            roles = {
                "run": worker.run,
                "hold_until_killed": worker.hold_until_killed,
                "sleep_and_wake": worker.sleep_and_wake,
            }
            roles[given.role]()


if __name__ == "__main__":
    main()
