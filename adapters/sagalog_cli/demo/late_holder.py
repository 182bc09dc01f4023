"""A holder that lets its lease expire and writes nevertheless.

Rule: it renews nothing and asks nothing. The store alone says whether its late writes count [FENCE-2].
It runs in the demo's own process. A process that a signal stops may be in the middle of a commit, and then it keeps
the lock of the file from all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sagalog import Compensation, Engine, Lease, SagalogError
from sagalog_cli.demo.tasks import LATE, LATE_HOLDER, TTL_MS

# Every verb of a lease's holder.
VERBS: Final = ("heartbeat", "register", "step", "complete", "fail", "release", "retry")
ACCEPTED: Final = "accepted"


def take_lease(engine: Engine) -> Lease:
    """Lease the task that is meant for the late holder."""
    return engine.acquire(LATE, owner=LATE_HOLDER, ttl_ms=TTL_MS)


def write_late(lease: Lease) -> dict[str, str]:
    """Try every verb of a holder: verb -> the code of the refusal, or `accepted`."""
    verbs: Mapping[str, Callable[[], object]] = {
        "heartbeat": lease.heartbeat,
        "register": lambda: lease.register(Compensation("remove-worktree", {"name": "late"})),
        "step": lambda: lease.step("late", "too late"),
        "complete": lambda: lease.complete({"by": lease.owner}),
        "fail": lambda: lease.fail("too late", waive_compensation="nothing was done"),
        "release": lambda: lease.release("too late"),
        "retry": lambda: lease.retry("too late"),
    }
    return {name: _outcome(verbs[name]) for name in VERBS}


def _outcome(verb: Callable[[], object]) -> str:
    try:
        verb()
    except SagalogError as refusal:
        return refusal.code
    return ACCEPTED
