"""The values that random runs draw: few names and few values, so that commands meet one another.

Rule: values only. Knows no rule: those are in `machine`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from sagalog.engine.batch import Batch
from sagalog.engine.lease import Lease
from sagalog.kernel.bounds import INLINE_BYTES_MAX
from sagalog.kernel.values import Compensation, Dedupe, Retry
from sagalog.testing.oracle_pair import BUILDS

TTL_MS: Final = 100
WAITS: Final = (1, TTL_MS // 2, TTL_MS, 10 * TTL_MS)
JUMPS: Final = (-3_600_000, -TTL_MS, -1, 3_600_000)
UNDOS: Final = (
    Compensation("remove", {"n": 1}, "left over", "one"),
    Compensation("close", None, None, "two"),
    Compensation("remove", {"n": 3}),
)
RETRIES: Final = (
    None,
    Retry(attempts_max=2, delay_min_ms=10, delay_max_ms=200),
    Retry(attempts_max=1, spent="quarantine"),
    Retry(transient_max=1, quota_wait_max_ms=0, delay_min_ms=0, delay_max_ms=0),
    Retry(expiries_max=1, releases_max=1),
    Retry(expiries_max=2, delay_min_ms=0, delay_max_ms=0),
    Retry(expiries_max=None, quota_wait_max_ms=TTL_MS, delay_min_ms=10, delay_max_ms=200),
    Retry(undo_attempts_max=1, undo_wait_ms=TTL_MS),
)

queues = st.sampled_from([["left"], ["right"], ["left", "right"]])
owners = st.sampled_from(["ann", "bob", "eve"])
ttls = st.sampled_from([TTL_MS, 5 * TTL_MS, None])
idempotency_keys = st.sampled_from([None] * 8 + ["r1", "r2", "r3", "r4"])
# How far the number of a wait is from the next one of its name: mostly 0.
aheads = st.sampled_from([0] * 5 + [-1, 1])
delays = st.sampled_from([None, None, 0, TTL_MS])
undos = st.lists(st.sampled_from(UNDOS), unique_by=lambda one: one.id, max_size=2)
kinds = st.sampled_from([None, None, ["build"], ["build", "test"]])
undo_kinds = st.sampled_from([None, None, ["remove"], ["remove", "close"]])


def _value(number: int) -> Any:
    # The last is a blob, and not in its event. [BLOB-2] Hypothesis spells what is sampled, so it samples numbers.
    return (None, {"n": 1}, "text", [1, 2.5, None], {"text": "x" * INLINE_BYTES_MAX, "n": 1})[number]


values = st.integers(0, 4).map(_value)
# The build that a worker names.
builds = st.sampled_from([None, None, *BUILDS])
texts = st.sampled_from(["one reason", "another reason"])
suspects = st.sampled_from(["alone", "alone", "never", "only"])
budgets = st.sampled_from(["attempt", "transient", "quota"])
names = st.sampled_from(["w1", "w2", "w3", "w4"])
words = st.sampled_from(["go", "go", "stop"])
contents = st.sampled_from([b"", b"\x00\xff", b"some text"])
retry_afters = st.sampled_from([None, None, 0, 5 * TTL_MS])
picks = st.integers(0, 9)
creations = st.fixed_dictionaries(
    {"kind": st.sampled_from(["build", "test"]), "queue": st.sampled_from(["left", "right"])},
    optional={
        "payload": values,
        "priority": st.integers(-1, 1),
        "affinity": st.sampled_from(["red", "blue"]),
        "build": st.sampled_from([None, None, *BUILDS]),
        "retry": st.sampled_from(RETRIES),
        "compensations": undos,
        "waive_compensation": st.just("it has no effects"),
        "tags": st.just({"team": "red"}),
        "idempotency_key": idempotency_keys,
        "inputs": st.sampled_from([{"spec": b"some text"}, {"spec": b"", "more": b"\x00\xff"}]),
    },
)


# How far ahead a deadline is, and the time by which a task is to start.
deadlines = st.sampled_from([(None, None)] * 5 + [(5 * TTL_MS, None), (None, TTL_MS), (10 * TTL_MS, 0), (-1, None)])
# What is amended; times are from now on.
amendments = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["left", "right"]),
        "priority": st.integers(-1, 1),
        "affinity": st.sampled_from([None, "red", "blue"]),
        "key": st.sampled_from([None, "k"]),
        "build": st.sampled_from([None, None, "b1"]),
        "payload": values,
        "retry": st.sampled_from(RETRIES),
        "run_at_ms": st.sampled_from([None, 0, TTL_MS, 5 * TTL_MS]),
        "deadline_ms": st.sampled_from([None, None, 0, 5 * TTL_MS]),
        "start_by_ms": st.sampled_from([None, None, TTL_MS]),
        "uses": st.sampled_from([None, {}, {"gpu": 1}, {"gpu": 2}, {"cpu": 1, "gpu": 1}]),
    },
)


# The commands of a batch in the runs: (batch, a task's id, a lease).
BATCHED: Final[dict[str, Callable[[Batch, str, Lease], object]]] = {
    "create": lambda batch, id, _: batch.create("build", id=id, queue="left"),
    "create once": lambda batch, *_: batch.create("build", queue="left", dedupe=Dedupe("d1")),
    "create after": lambda batch, id, _: batch.create("build", queue="left", after=[id]),
    "note": lambda batch, id, _: batch.note(id, "seen"),
    "waive": lambda batch, id, _: batch.waive(id, "one", "done by hand"),
    "cancel": lambda batch, id, _: batch.cancel(id),
    "quarantine": lambda batch, id, _: batch.quarantine(id, "look at it"),
    "retry_as_new": lambda batch, id, _: batch.retry_as_new(id),
    "acquire": lambda batch, id, _: batch.acquire(id, owner="bob", ttl_ms=TTL_MS),
    "heartbeat": lambda batch, _, lease: batch.heartbeat(lease, progress="half"),
    "register": lambda batch, _, lease: batch.register(lease, UNDOS[1]),
    "step": lambda batch, _, lease: batch.step(lease, "w1", "together"),
    "put_artifact": lambda batch, _, lease: batch.put_artifact(lease, "w1", b"together"),
    "use": lambda batch, _, lease: batch.use(lease, "gpu", 3),
    "healthy": lambda batch, _, lease: batch.healthy(lease),
    "adopt_child": lambda batch, id, lease: batch.adopt_child(lease, "w1", id),
    "park for tasks": lambda batch, id, lease: batch.park(lease, "w1", after=[id]),
    "park for a signal": lambda batch, _, lease: batch.park(lease, "w2", "go"),
    "signal": lambda batch, id, _: batch.signal(id, "go", "together"),
    "complete": lambda batch, _, lease: batch.complete(lease, "together"),
    "release": lambda batch, _, lease: batch.release(lease),
    "retry": lambda batch, _, lease: batch.retry(lease, "odd"),
    "fail": lambda batch, _, lease: batch.fail(lease, "no way on", UNDOS),
    "quarantine_held": lambda batch, _, lease: batch.quarantine_held(lease, "look at it"),
    "compensation_done": lambda batch, _, lease: batch.compensation_done(lease, "one"),
    "compensation_failed": lambda batch, _, lease: batch.compensation_failed(lease, "one", "odd"),
    "amend": lambda batch, id, _: batch.amend(id, priority=-1, payload="together", deadline_ms=None),
}

# The calls of a worker that has not noticed the loss of its lease.
LATE: Final[dict[str, Callable[[Lease], object]]] = {
    "heartbeat": lambda lease: lease.heartbeat(progress="late"),
    "register": lambda lease: lease.register(UNDOS[0]),
    "step": lambda lease: lease.step("w1", "late"),
    "put_artifact": lambda lease: lease.put_artifact("w1", b"late"),
    "use": lambda lease: lease.use("gpu", 3),
    "healthy": lambda lease: lease.healthy(),
    "adopt_child": lambda lease: lease.adopt_child("w1", "t0"),
    "park": lambda lease: lease.park("w1", "go"),
    "quarantine_held": lambda lease: lease.quarantine("late"),
    "release": lambda lease: lease.release("late"),
    "retry": lambda lease: lease.retry("late"),
    "complete": lambda lease: lease.complete("late"),
    "fail": lambda lease: lease.fail("late", UNDOS),
    "compensation_done": lambda lease: lease.compensation_done("one"),
    "compensation_failed": lambda lease: lease.compensation_failed("one", "late"),
}

# Every verb and every refusal that a whole run must meet, else it proves nothing about them.
VERBS: Final = (
    "acquire", "acquire_undo", "adopt child", "amend", "append",
    "artifact", "batch", "cancel", "claim", "claim_undo", "close journal",
    "compensation_done", "compensation_failed", "complete", "create after", "create limited", "create many once",
    "create once", "create", "end deduped", "retry deduped",
    "create_many", "fail", "find", "get", "healthy", "heartbeat", "heartbeat_many", "history", "input", "limit queue",
    "note",
    "park for a signal", "park for a time", "park for tasks", "pause", "prune", "put artifact", "quarantine held",
    "quarantine", "reattach", "rebuild", "recover", "register", "release", "remove limit", "repeat", "reset breaker",
    "resume",
    "retry as new", "retry attempt", "retry quota", "retry transient", "set limit", "settle and claim", "signal",
    "set schedule", "pause schedule", "resume schedule", "remove schedule",
    "spawn", "step result", "step", "suspect", "use", "wait end", "wait", "waive", "write journal",
)  # fmt: skip
REFUSALS: Final = (
    "already_exists", "blocked", "compensation_order", "compensation_required", "conflict",
    "lease_held", "lease_lost", "not_found", "pruned", "rejected", "result_required", "terminal_task", "wait_over",
    "wrong_state",
)  # fmt: skip
