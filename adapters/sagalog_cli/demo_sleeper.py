"""A holder that leases a task, sleeps beyond the lease, and goes on as if nothing had happened.

Rule: it renews nothing and asks nothing; whether its late writes count is for the store alone to say [FENCE-2].
It sleeps in the demo's own process: one that is stopped by a signal might be stopped inside a commit, and keep the
file's lock from every other process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sagalog import Compensation, Engine, Lease, SagalogError
from sagalog_cli.demo_plan import SLEEPER, SLEPT, TTL_MS

# What the holder of a lease may write.
VERBS: Final = ("heartbeat", "register", "step", "complete", "fail", "release", "retry")


def fall_asleep(engine: Engine) -> Lease:
    """Lease the task that is meant for it."""
    return engine.acquire(SLEPT, owner=SLEEPER, ttl_ms=TTL_MS)


def wake_up(lease: Lease) -> dict[str, str]:
    """Try all that a holder may write: verb -> the code of its refusal, or `accepted`."""
    verbs: Mapping[str, Callable[[], object]] = {
        "heartbeat": lease.heartbeat,
        "register": lambda: lease.register(Compensation("remove-worktree", {"name": "late"})),
        "step": lambda: lease.step("late", "too late"),
        "complete": lambda: lease.complete({"by": lease.owner}),
        "fail": lambda: lease.fail("woke up late", waive_compensation="nothing was done"),
        "release": lambda: lease.release("woke up late"),
        "retry": lambda: lease.retry("woke up late"),
    }
    return {name: _outcome(verbs[name]) for name in VERBS}


def _outcome(verb: Callable[[], object]) -> str:
    try:
        verb()
    except SagalogError as refusal:
        return refusal.code
    return "accepted"
