"""What the lines of `tests/data/events/shapes.jsonl` are read as: for every type and schema number, its events.

Rule: where a shape changes, the events of its older schema numbers change here to what they mean now; the lines stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sagalog.codec import Envelope, Shape, enclose
from sagalog.kernel import events as e
from sagalog.kernel.categories import CATEGORIES
from sagalog.kernel.ends import counted, digest_of_ends
from sagalog.kernel.values import (
    BreakerPolicy,
    BreakerState,
    Compensation,
    DedupeKey,
    Failure,
    Inherited,
    Input,
    JsonBlob,
    KeptStep,
    KeptWaits,
    Limit,
    Rate,
    Retry,
    Schedule,
    Seen,
    SignalEnd,
    State,
    TaskEnd,
    TaskTemplate,
    Unchanged,
    Units,
    UnrecordedStep,
)

LINES: Final = Path(__file__).parents[1] / "data" / "events" / "shapes.jsonl"

POLICY = Retry().resolve()
BARE = Failure("timeout", "no answer")
WHOLE = Failure("time_limit", "", {"seconds": 1.5}, {"time_limit_ms": 50, "kind": "build", "kinds": ("close", "open")})
ENDS = (TaskEnd("b", 3, State.COMPLETED), TaskEnd("c", 4, State.CANCELLED))
DIGEST = "ab" * 32
LARGE = JsonBlob("c" * 64, 70_000)
KEYED = JsonBlob("d" * 64, 70_016, "subject")
RATE = Rate(60, 60_000, 10)
BARE_RATE = Rate(1, 1_000)
BREAKER = BreakerPolicy(5, 60_000, 3_600_000)
DOWN = Failure("down", "", limit="gpu")
NIGHTLY = Schedule(
    "Europe/Berlin",
    "all",
    "allow",
    TaskTemplate(
        "backup", "agents", -3, Retry(attempts_max=1).resolve(), {"a": [1]}, "safe", {"b": "c"}, "gpu", "acme", "n",
        {"provider": 2},
    ),
    cron="0 2 * * *",
)  # fmt: skip
EVERY = Schedule("UTC", "one", "skip", TaskTemplate("poll", "default", 0, Retry().resolve()), every_ms=1_000)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

EVENTS: Final[dict[Shape, tuple[e.Recordable, ...]]] = {
    ("created", 1): (
        e.Created("build", "default", 0, 5, POLICY, State.PENDING),
        e.Created(
            kind="build",
            queue="agents",
            priority=-3,
            run_at_ms=7,
            policy=Retry(releases_max=2, spent="quarantine", undo_wait_ms=None).resolve(),
            to=State.COMPENSATING,
            payload={"a": [1, 2.5, None, "é"]},
            compensations=(Compensation("close"), Compensation("remove", {"path": "wt"}, "left over", "u1")),
            waiver="read only",
            tags={"team": "red"},
            affinity="gpu",
            key="repository",
            parent="p",
            predecessor="before",
            correlation_id="c",
            trace=TRACE,
            tracestate="vendor=1",
            data_key="tenant-1",
            inherited=(Inherited("u2", "remove", "before", 1, 0), Inherited("u3", "close", "before", 4, -1)),
            outcome="failed",
            inputs=(Input("plan", DIGEST, 3), Input("secret", DIGEST, 19, "tenant-1")),
            steps=(KeptStep("one", "before", 5), KeptStep("two", "before", 6, "u2")),
            waits=(KeptWaits("w", (-2, 0, SignalEnd("before", 9))),),
        ),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, uses={"gpu": 2, "tokens": 900}),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, deadline_ms=90, start_by_ms=80),
        e.Created(
            "build",
            "default",
            0,
            5,
            POLICY,
            State.PENDING,
            parent="p",
            after=("b", "c"),
            on_failed="quarantine",
            on_parent_end="cancel",
        ),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, dedupe=DedupeKey("nightly", "period", 60, 65)),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, dedupe=DedupeKey("nightly", "ever")),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, build="2026-11-29.3"),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, payload_blob=LARGE),
        e.Created("build", "default", 0, 5, POLICY, State.PENDING, payload_blob=KEYED),
    ),
    ("leased", 1): (
        e.Leased("w", 1, 1, "work", False),
        e.Leased("w", 4_294_967_298, 2, "undo", True, 10, 20, "writes nothing"),
        e.Leased("w", 1, 1, "work", False, uses=(Units("limit/gpu", 2), Units("key/q/acme", 1))),
        e.Leased("w", 1, 1, "work", False, build="2026-11-29.3"),
        e.Leased("w", 1, 1, "work", False, uses=(Units("limit/gpu", 2, 0), Units("queue/q", 1, 7))),
    ),
    ("heartbeat", 1): (e.Heartbeat(1), e.Heartbeat(1, 10, 20, {"done": 3})),
    ("released", 1): (
        e.Released(1, "release", 7),
        e.Released(1, "release", 7, "shutdown", "interrupted", {"n": 1}),
    ),
    ("lease_expired", 1): (
        e.LeaseExpired(1, "expire", "clock"),
        e.LeaseExpired(1, "expire", "unseen", Seen(1, 5, 100)),
        e.LeaseExpired(1, "expire", "epoch"),
    ),
    ("promoted", 1): (e.Promoted(Unchanged(3, 1_000)),),
    ("step_completed", 1): (
        e.StepCompleted("checkout", 1),
        e.StepCompleted("checkout", 1, {"path": "wt"}, "u1"),
        e.StepCompleted("checkout", 1, result_blob=LARGE),
        e.StepCompleted("checkout", 1, result_blob=KEYED),
    ),
    ("compensation_registered", 1): (
        e.CompensationRegistered("u1", "remove", 1),
        e.CompensationRegistered("u1", "remove", 1, [1], "left over"),
    ),
    ("compensation_waived", 1): (e.CompensationWaived("u1", "gone already"),),
    ("artifact_put", 1): (
        e.ArtifactPut("log", 1, DIGEST, 3, "text/plain"),
        e.ArtifactPut("log", 1, DIGEST, 19, "text/plain", "tenant-1"),
    ),
    ("child_adopted", 1): (e.ChildAdopted("build", 1, "before/build"),),
    ("retried", 1): (
        e.Retried(1, "retry", BARE, "transient", 9),
        e.Retried(1, "retry", WHOLE, "quota", 9),
        e.Retried(1, "retry", DOWN, "transient", 9),
        e.Retried(1, "retry", BARE, "quota", 9, 8),
    ),
    ("parked", 1): (
        e.Parked(1, "park", "approval", 1),
        e.Parked(1, "park", "approval", 2, "approved", ("b", "c"), 9),
    ),
    ("signalled", 1): (
        e.Signalled("approved"),
        e.Signalled("approved", {"by": "ann"}),
        e.Signalled("approved", data_blob=KEYED),
        e.Signalled("approved", data_blob=LARGE),
    ),
    ("unblocked", 1): (
        e.Unblocked("approval", 1, "time"),
        e.Unblocked("approval", 1, "tasks", 4, counted(ENDS), digest_of_ends(ENDS), ENDS, Unchanged(3, 1_000)),
        e.Unblocked("after", 0, "tasks", None, {State.COMPLETED: 300}, DIGEST),
    ),
    ("failed", 1): (
        e.Failed(State.FAILED, "expiries_spent"),
        e.Failed(State.COMPENSATING, "failed", WHOLE, "harmless", ("u1",), 1, "fail", "tired", {"n": 1}),
        e.Failed(State.FAILED, "attempts_spent", BARE, fence=1, verb="retry"),
        e.Failed(State.FAILED, "transients_spent", DOWN, fence=1, verb="retry"),
    ),
    ("cancel_requested", 1): (
        e.CancelRequested(),
        e.CancelRequested("not needed"),
        e.CancelRequested(code="deadline"),
        e.CancelRequested(None, "parent_ended", {"parent": "p", "outcome": "failed"}),
    ),
    ("cancelled", 1): (
        e.Cancelled(State.CANCELLED),
        e.Cancelled(State.COMPENSATING, "not needed", 1, "cancel"),
        e.Cancelled(State.CANCELLED, code="start_by"),
        e.Cancelled(
            State.CANCELLED, code="dependency_failed", parameters={"task": "b", "state": "failed", "failed": 1}
        ),
    ),
    ("compensation_done", 1): (e.CompensationDone("u1", 2),),
    ("compensation_failed", 1): (
        e.CompensationFailed("u1", 2, "compensation_failed", BARE, 4),
        e.CompensationFailed("u1", 2, "compensation_failed", WHOLE, 4),
        e.CompensationFailed("u1", 2, "compensation_failed", DOWN, 4),
    ),
    ("compensated", 1): (e.Compensated("failed"), e.Compensated("cancelled", 2, "waive")),
    ("completed", 1): (
        e.Completed(1, "complete"),
        e.Completed(1, "complete", [None, "é"], ("u1",)),
        e.Completed(1, "complete", result_blob=LARGE),
        e.Completed(1, "complete", result_blob=KEYED),
    ),
    ("quarantined", 1): (
        e.Quarantined("undo_expiries_spent"),
        e.Quarantined(
            "unstorable_result",
            "odd",
            WHOLE,
            ("u1",),
            1,
            "quarantine",
            (UnrecordedStep("charge"), UnrecordedStep("ship", "u1")),
            {"step": "charge"},
        ),
        e.Quarantined("attempts_spent", None, BARE, (), 1, "retry"),
        e.Quarantined("transients_spent", None, DOWN, (), 1, "retry"),
    ),
    ("noted", 1): (
        e.Noted(),
        e.Noted("seen", ("u1",), "after", {"charge": [1]}, ("ship",), "retried_as_new", {"n": 1}),
        e.Noted("seen", results={"charge": None}, results_blobs={"charge": LARGE}),
        e.Noted("seen", results={"charge": None}, results_blobs={"charge": KEYED}),
    ),
    ("amended", 1): (
        e.Amended(priority=-1),
        e.Amended("agents", -3, 7, {"a": [1]}, "gpu", "repository", 90, 80, Retry(attempts_max=1).resolve()),
        e.Amended(removes=("payload", "affinity", "deadline_ms")),
        e.Amended(build="2026-11-29.4"),
        e.Amended(uses={"gpu": 2, "tokens": 900}),
        e.Amended(payload_blob=LARGE),
        e.Amended(payload_blob=KEYED),
    ),
    ("founded", 1): (e.Founded("s", 0, "0.1.0"),),
    ("upgraded", 1): (e.Upgraded("0.2.0"),),
    ("used", 1): (e.Used(1, "tokens", 900),),
    ("kind_paused", 1): (e.KindPaused("build"), e.KindPaused("build", "the disk is full")),
    ("kind_resumed", 1): (e.KindResumed("build"),),
    ("pruned", 1): (e.Pruned(("a" * 64, "b" * 64), 9, 86_400_000),),
    ("limit_set", 1): (
        e.LimitSet(3),
        e.LimitSet(rate=RATE),
        e.LimitSet(rate=BARE_RATE),
        e.LimitSet(breaker=BREAKER),
    ),
    ("limit_breaker_opened", 1): (e.LimitBreakerOpened("failures", 1, 9),),
    ("limit_breaker_half_opened", 1): (e.LimitBreakerHalfOpened("t", 2),),
    ("limit_breaker_closed", 1): (e.LimitBreakerClosed("healthy"),),
    ("limit_removed", 1): (e.LimitRemoved(),),
    ("limit_paused", 1): (e.LimitPaused(), e.LimitPaused("the provider is down")),
    ("limit_resumed", 1): (e.LimitResumed(),),
    ("limit_carried", 1): (
        e.LimitCarried(True),
        e.LimitCarried(False, 3, RATE, 7),
        e.LimitCarried(False, rate=BARE_RATE),
        e.LimitCarried(False, breaker=BREAKER, breaker_state=BreakerState("open", 4, 5, 9, 2)),
        e.LimitCarried(False, breaker=BREAKER, breaker_state=BreakerState("half_open", 5, 5, 9, 2, "t")),
    ),
    ("queue_limited", 1): (e.QueueLimited(), e.QueueLimited(2, RATE, 1, BARE_RATE), e.QueueLimited(breaker=BREAKER)),
    ("queue_breaker_opened", 1): (e.QueueBreakerOpened("quota", 1, 9),),
    ("queue_breaker_half_opened", 1): (e.QueueBreakerHalfOpened("t", 2),),
    ("queue_breaker_closed", 1): (e.QueueBreakerClosed("reset"),),
    ("queue_set", 1): (e.QueueSet(), e.QueueSet(60_000)),
    ("queue_paused", 1): (e.QueuePaused(), e.QueuePaused("release day")),
    ("queue_resumed", 1): (e.QueueResumed(),),
    ("key_paused", 1): (e.KeyPaused("acme"), e.KeyPaused("acme", "they asked")),
    ("key_resumed", 1): (e.KeyResumed("acme"),),
    ("queue_carried", 1): (
        e.QueueCarried(Limit(), Limit()),
        e.QueueCarried(Limit(2, RATE), Limit(1, BARE_RATE), 4, {"acme": 5}),
        e.QueueCarried(Limit(), Limit(), breaker=BREAKER, breaker_state=BreakerState("closed", 4, 0, 0, 0)),
        e.QueueCarried(Limit(), Limit(), breaker=BREAKER, breaker_state=BreakerState("half_open", 5, 5, 9, 2, "t")),
        e.QueueCarried(Limit(), Limit(), affinity_wait_ms=60_000),
    ),
    ("schedule_set", 1): (e.ScheduleSet(NIGHTLY, 5, 5, 9), e.ScheduleSet(EVERY, 5, 7, 9)),
    ("schedule_removed", 1): (e.ScheduleRemoved(),),
    ("schedule_paused", 1): (e.SchedulePaused(), e.SchedulePaused("release day")),
    ("schedule_resumed", 1): (e.ScheduleResumed(5, 9),),
    ("schedule_fired", 1): (e.ScheduleFired(9, "nightly@1970"), e.ScheduleFired(9, "nightly@1970", 12, 6)),
    ("schedule_skipped", 1): (e.ScheduleSkipped(9, "overlap"), e.ScheduleSkipped(9, "missed", 12, 6)),
    ("schedule_stopped", 1): (
        e.ScheduleStopped("never_fires"),
        e.ScheduleStopped("zone_unknown", {"zone": "Europe/Berlin"}),
    ),
    ("schedule_reset", 1): (e.ScheduleReset(5, 9),),
    ("schedule_carried", 1): (
        e.ScheduleCarried(True, EVERY, 5, 6),
        e.ScheduleCarried(False, NIGHTLY, 5, 6, 9, "nightly@1970", 6, 3, "task_refused"),
    ),
    ("journal_appended", 1): (
        e.JournalAppended(1, 2, DIGEST, 9),
        e.JournalAppended(3, 1, DIGEST, 4, "b", 2, "dk"),
    ),
    ("journal_closed", 1): (e.JournalClosed(),),
    ("journal_carried", 1): (e.JournalCarried(2, 9, 1), e.JournalCarried(3, 13, 3, "b", 2)),
}


_ID = {"task": "a", "store": "s", "limit": "gpu", "queue": "agents", "schedule": "nightly", "journal": "build"}


def stored_line(event: e.Recordable, version: int) -> str:
    """The line of an event as this version stores it; the further ones of a type have all that an envelope may have."""
    stream = next(f"{one.name}/{_ID[one.name]}" for one in CATEGORIES.values() if type(event) in one.events)
    more = ("user:ann", "task/b@2", "key-1") if version > 1 else ()
    envelope = enclose(stream, version, 1_700_000_000_000, event, *more)
    fields = {name: getattr(envelope, name) for name in Envelope.__struct_fields__}
    return json.dumps({**fields, "digest": envelope.digest.hex()}, ensure_ascii=False)


def envelope_of(line: str) -> Envelope:
    """The envelope of a line."""
    fields: dict[str, Any] = json.loads(line)
    return Envelope(**{**fields, "digest": bytes.fromhex(fields["digest"])})
