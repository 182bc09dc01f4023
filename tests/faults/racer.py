"""A racer: a process of its own that works on one store and says, line by line, what was acknowledged to it.

Run as `python -m tests.faults.racer URL OWNER TTL_MS HOW` by `test_races.py`. It says `ready`, begins when a line comes
in, and prints one JSON object after each answer of the engine; whatever it has printed was promised to it.

It must not decide anything: what is right is the test's business.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import sagalog
from sagalog import Compensation, Engine, Lease, SagalogError


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  this is how the test is told


def race(engine: Engine, owner: str, ttl_ms: int) -> None:
    """Claim and complete until nothing is left; each task that is completed brings a successor in the same batch."""
    while True:
        changes = engine.changes()
        leases = engine.claim("race", owner=owner, ttl_ms=ttl_ms, limit=2)
        for lease in leases:
            say(did="leased", task=lease.task.id, fence=lease.fence)
            finish(engine, lease)
        if not set(engine.counts("race").get("race", {})) & {"pending", "running"}:
            return
        if not leases:
            engine.wait_change(changes, 50)


def finish(engine: Engine, lease: Lease) -> None:
    try:
        with engine.batch() as batch:
            batch.complete(lease, {"by": lease.owner})
            batch.create("follow-up", id=f"after {lease.task.id}", queue="later")
    except sagalog.LeaseLost:
        say(lost=lease.task.id, fence=lease.fence)
    else:
        say(did="completed", task=lease.task.id, fence=lease.fence)


def oversleep(engine: Engine, owner: str, ttl_ms: int) -> None:
    """Claim one task, wait to be told, then try every verb on it."""
    [lease] = engine.claim("race", owner=owner, ttl_ms=ttl_ms)
    say(did="leased", task=lease.task.id, fence=lease.fence)
    sys.stdin.readline()
    verbs: dict[str, Callable[[], object]] = {
        "heartbeat": lease.heartbeat,
        "progress": lambda: lease.heartbeat(progress="late"),
        "register": lambda: lease.register(Compensation("remove")),
        "release": lease.release,
        "retry": lambda: lease.retry("late"),
        "complete": lambda: lease.complete("late"),
        "fail": lambda: lease.fail("late", [Compensation("remove")]),
        "compensation_done": lambda: lease.compensation_done("remove"),
        "compensation_failed": lambda: lease.compensation_failed("remove", "late"),
        "batch": lambda: finish_in_batch(engine, lease),
    }
    for name, verb in verbs.items():
        try:
            verb()
        except SagalogError as refusal:
            say(verb=name, code=refusal.code)
        else:
            say(verb=name, code="accepted")
    renewal = engine.heartbeat([lease])
    say(verb="heartbeat of many", code=renewal.lost[0].code if renewal.lost else "accepted")


def finish_in_batch(engine: Engine, lease: Lease) -> None:
    with engine.batch() as batch:
        batch.create("follow-up", id="late", queue="later")
        batch.complete(lease)


def main(url: str, owner: str, ttl_ms: str, how: str) -> None:
    with sagalog.open(url, durability="normal") as engine:
        say(ready=owner)
        sys.stdin.readline()
        try:
            {"race": race, "oversleep": oversleep}[how](engine, owner, int(ttl_ms))
        except SagalogError as error:
            say(error=error.code, text=str(error), after_s=time.monotonic())
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
