"""The history checker names each planted violation, and passes the same history unbroken."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import msgspec
import pytest

from sagalog import Compensation, Dedupe, Engine, Failure, Recorded
from sagalog.codec import enclose, recorded
from sagalog.engine.entries import CommandEntry
from sagalog.kernel import events as e
from sagalog.kernel.values import (
    Breaker,
    BreakerPolicy,
    DedupeKey,
    Inherited,
    KeptStep,
    KeptWaits,
    Rate,
    SignalEnd,
    State,
    UnrecordedStep,
)
from sagalog.testing import ManualClock
from sagalog.testing.contract.journals import append_of
from sagalog.testing.history import PROPERTIES, check, explain
from sagalog.validation import commands as forms
from tests.conftest import OpenEngine

Log = list[Recorded]
WAITS = "task/waits"
KEPT = "task/kept"
FIRST = "task/first"
TIMED, ASKED = "task/timed", "task/asked"
AFTER, CHILD = "task/after", "task/c"
TICK = "schedule/tick"
BUILD = "journal/build"
TOKENS = "journal/told/tokens"
PROVIDER = "limit/provider"
SECOND = Inherited("second", "close", "left", 1, 1)


@pytest.fixture
def lived(engine: Engine, clock: ManualClock) -> Log:
    """One of everything that the properties speak of, as an engine writes it."""
    undos = [Compensation("remove", id="first"), Compensation("close", id="second")]
    engine.create("build", id="undone", compensations=undos)
    lease = engine.claim("default", owner="ann", ttl_ms=1_000)[0]
    clock.advance(500)
    lease.heartbeat().register(Compensation("drop", id="third"))
    clock.advance(1_000)
    engine.recover()
    again = engine.acquire("undone", owner="bob", ttl_ms=1_000)
    again.fail("no way on")
    undo = engine.acquire("undone", owner="bob", ttl_ms=1_000, purpose="undo")
    for id in ("third", "second", "first"):
        undo.compensation_done(id)
    engine.create("build", id="looked at", compensations=undos)
    engine.acquire("looked at", owner="ann", ttl_ms=None)
    engine.quarantine("looked at", "odd")
    engine.note("looked at", "done by hand", settles=["first", "second"])
    engine.create("build", id="left", compensations=undos)
    engine.acquire("left", owner="ann", ttl_ms=None)
    engine.quarantine("left", "odd")
    engine.retry_as_new("left")
    waits(engine)
    kept(engine)
    limited(engine)
    timed(engine, clock)
    related(engine)
    deduped(engine, clock)
    scheduled(engine, clock)
    journalled(engine)
    watched(engine, clock)
    return engine.events()


def deduped(engine: Engine, clock: ManualClock) -> None:
    """Tasks with dedupe keys, of which the second takes the key of the first once that has ended."""
    engine.create("build", id="once", dedupe=Dedupe("k"))
    engine.create("build", id="short", dedupe=Dedupe("p", "period", 100))
    engine.create("build", id="other", dedupe=Dedupe("o", "ever"))
    engine.cancel("once")
    engine.create("build", id="twice", dedupe=Dedupe("k"))
    clock.advance(100)
    engine.create("build", id="again", dedupe=Dedupe("p", "period", 100))


def journalled(engine: Engine) -> None:
    """A journal of no task is written and closed; two leases of the task `told` write another one."""
    journal = engine.journal("build")
    journal.append([b"a", b"b"])
    journal.append([b"c"])
    journal.close()
    engine.create("build", id="told")
    for data in (b"d", b"e"):
        lease = engine.acquire("told", owner="ann", ttl_ms=None)
        engine._executor.write_journals([append_of(lease, "tokens", data)])
        lease.release()


def scheduled(engine: Engine, clock: ManualClock) -> None:
    """The schedule `tick` fires, skips a time while its task lives, is paused and resumed, and fires again."""
    engine.set_schedule("tick", "build", every_ms=1_000)
    for _ in range(2):
        clock.advance(1_000)
        engine.recover()
    [id] = [task.id for task in engine.find() if task.id.startswith("tick")]
    engine.acquire(id, owner="ann", ttl_ms=None).complete()
    engine.pause(schedule="tick")
    engine.resume(schedule="tick")
    clock.advance(1_000)
    engine.recover()


def limited(engine: Engine) -> None:
    """Two tasks that use a limit of slots and one with a rate, one after the other."""
    engine.set_limit("gpu", slots=1)
    engine.set_limit("tokens", rate=Rate(10, period_ms=1_000))
    for id in ("first", "second"):
        engine.create("build", id=id, queue="limited", uses={"gpu": 1, "tokens": 1})
        lease = engine.acquire(id, owner="ann", ttl_ms=None).use("tokens", 3)
        lease.complete()
    engine.pause(queue="limited")
    engine.resume(queue="limited")


def watched(engine: Engine, clock: ManualClock) -> None:
    """The breaker of `provider` opens at two failures, lets `third` probe, and closes by it."""
    engine.set_limit("provider", breaker=Breaker(2, 1_000, 2_000))
    for id in ("bad", "worse"):
        engine.create("build", id=id, queue="watched", uses={"provider": 1})
        lease = engine.acquire(id, owner="ann", ttl_ms=None)
        lease.retry(Failure("down", "", limit="provider"), budget="transient", run_at_ms=clock.now_ms() + 10**9)
    clock.advance(1_000)
    engine.create("build", id="third", queue="watched", uses={"provider": 1})
    engine.acquire("third", owner="ann", ttl_ms=None).complete()


def timed(engine: Engine, clock: ManualClock) -> None:
    """The task `timed` is cancelled at its deadline, and the worker of `asked` is asked to stop."""
    engine.create("build", id="timed", deadline_ms=clock.now_ms() + 10)
    engine.create("build", id="asked")
    engine.amend("asked", priority=3, deadline_ms=clock.now_ms() + 10)
    lease = engine.acquire("asked", owner="ann", ttl_ms=None)
    clock.advance(10)
    engine.recover()
    lease.release()


def keyed(log: Log, stream: str, dedupe: DedupeKey) -> e.Created:
    """The creation of a task, with another dedupe key."""
    created = first(log, stream)
    assert isinstance(created, e.Created)
    return msgspec.structs.replace(created, dedupe=dedupe)


def using(log: Log, stream: str, uses: dict[str, int] | None) -> e.Created:
    """The creation of a task that uses other limits."""
    created = first(log, stream)
    assert isinstance(created, e.Created)
    return msgspec.structs.replace(created, uses=uses)


def related(engine: Engine) -> None:
    """The task `after` waits for two others, of which one fails; `c` is cancelled with its parent `b`."""
    engine.create("build", id="a")
    engine.create("build", id="b")
    engine.create("build", id="after", after=["a", "b"])
    engine.acquire("a", owner="ann", ttl_ms=None).complete()
    lease = engine.acquire("b", owner="ann", ttl_ms=None, waive_compensation="it has no effects")
    child = forms.create("build", id="c", parent="b", on_parent_end="cancel")
    engine._executor.carry_out(CommandEntry(child, "worker:ann"))
    lease.fail("no way on")
    engine.recover()


def kept(engine: Engine) -> None:
    """The successor of `kept` keeps a step, and leaves an undo over for another task."""
    engine.create("build", id="kept")
    lease = engine.acquire("kept", owner="ann", ttl_ms=None).register(Compensation("drop", id="named"))
    lease.step("one", None, "named").register(Compensation("drop", id="over"))
    engine.signal("kept", "go")
    lease.park("w", signal="go")
    engine.quarantine("kept", "odd")
    engine.create("test", id="child", parent="kept")
    heir = engine.retry_as_new("kept")
    lease = engine.acquire(heir.id, owner="ann", ttl_ms=None).step("two")
    lease.adopt_child("test", "child").complete()


def waits(engine: Engine) -> None:
    """The task `waits` records a step and an artifact, and waits for two signals, one after another."""
    engine.create("build", id="old", inputs={"spec": b"old"})
    engine.cancel("old")
    engine.create("build", id="waits", inputs={"spec": b"bytes"})
    engine.signal("waits", "go", 1)
    lease = engine.acquire("waits", owner="ann", ttl_ms=None)
    lease.step("first").put_artifact("log", b"bytes")
    lease.park("approval", signal="go")
    engine.acquire("waits", owner="ann", ttl_ms=None).step("second").park("approval", signal="go", number=2)
    engine.signal("waits", "stop")
    engine.signal("waits", "go", 2)
    engine.acquire("waits", owner="ann", ttl_ms=None).complete()


def again(log: Log, event: e.Recordable, version: int, stream: str = "task/undone", at_ms: int | None = None) -> Log:
    """The log with another event in the place of the one at this version."""
    return [
        msgspec.structs.replace(
            recorded(enclose(stream, version, one.at_ms if at_ms is None else at_ms, event)), position=one.position
        )
        if (one.stream, one.version) == (stream, version)
        else one
        for one in log
    ]


def added(log: Log, event: e.Recordable, stream: str = "task/undone") -> Log:
    """The log with one more event, in a place of its own."""
    version = 1 + max(one.version for one in log if one.stream == stream)
    envelope = recorded(enclose(stream, version, log[-1].at_ms, event))
    return [*log, msgspec.structs.replace(envelope, position=len(log) + 1)]


def without(log: Log, *versions: int, stream: str = "task/undone") -> Log:
    """The log without some events, with places as if they had never been."""
    kept = [one for one in log if one.stream != stream or one.version not in versions]
    newest: dict[str, int] = {}
    placed: Log = []
    for position, one in enumerate(kept, start=1):
        newest[one.stream] = newest.get(one.stream, 0) + 1
        placed.append(msgspec.structs.replace(one, position=position, version=newest[one.stream]))
    return placed


def moved(log: Log, stream: str, version: int, before: tuple[str, int]) -> Log:
    """The log with an event in an earlier place."""
    [one] = [found for found in log if (found.stream, found.version) == (stream, version)]
    rest = [found for found in log if found is not one]
    place = next(at for at, found in enumerate(rest) if (found.stream, found.version) == before)
    placed = [*rest[:place], one, *rest[place:]]
    return [msgspec.structs.replace(found, position=position) for position, found in enumerate(placed, start=1)]


def version_of(log: Log, kind: type[e.Recordable], stream: str = "task/undone", nth: int = 0) -> int:
    return [one.version for one in log if one.stream == stream and isinstance(one.event, kind)][nth]


def lease_of(log: Log, nth: int) -> e.Leased:
    event = log[0].event
    for one in log:
        if one.stream == "task/undone" and isinstance(one.event, e.Leased):
            event = one.event
            nth -= 1
            if nth < 0:
                break
    assert isinstance(event, e.Leased)
    return event


def with_fence(log: Log, fence: int, nth: int) -> Log:
    leased = msgspec.structs.replace(lease_of(log, nth), fence=fence)
    return again(log, leased, version_of(log, e.Leased, nth=nth))


def heir_of(log: Log, stream: str = "task/left") -> str:
    """The id of the task's successor."""
    notes = [one.event for one in log if one.stream == stream and isinstance(one.event, e.Noted)]
    [id] = [note.successor for note in notes if note.successor is not None]
    return id


def heir(log: Log, of: str = "task/left", **changed: object) -> Log:
    """The log with another creation of the successor."""
    stream = f"task/{heir_of(log, of)}"
    created = next(one.event for one in log if one.stream == stream)
    return again(log, msgspec.structs.replace(created, **changed), 1, stream)


def shifted(log: Log) -> tuple[KeptWaits, ...]:
    """The waits that it keeps, each under the number behind its own."""
    created = next(one.event for one in log if one.stream == keeper(log))
    assert isinstance(created, e.Created)
    return tuple(KeptWaits(one.name, (0, *one.ends)) for one in created.waits)


def keeper(log: Log) -> str:
    """The stream of the successor that keeps a step."""
    return f"task/{heir_of(log, KEPT)}"


def completed(log: Log, **changed: object) -> Log:
    """The log with another completion of that one."""
    version = version_of(log, e.Completed, keeper(log))
    [found] = [one.event for one in log if (one.stream, one.version) == (keeper(log), version)]
    return again(log, msgspec.structs.replace(found, **changed), version, keeper(log))


def quarantined(log: Log, **changed: object) -> Log:
    """The log with another quarantine of the task that handed on its steps."""
    version = version_of(log, e.Quarantined, KEPT)
    [found] = [one.event for one in log if (one.stream, one.version) == (KEPT, version)]
    return again(log, msgspec.structs.replace(found, **changed), version, KEPT)


def put(log: Log, **changed: object) -> Log:
    """The log with another artifact of the task `waits`."""
    version = version_of(log, e.ArtifactPut, WAITS)
    [artifact] = [one.event for one in log if (one.stream, one.version) == (WAITS, version)]
    return again(log, msgspec.structs.replace(artifact, **changed), version, WAITS)


def pruned(log: Log, digest: str, size_bytes: int, older_than_ms: int = 0) -> Log:
    """The log with a pruning at its end."""
    [store] = [one.stream for one in log if isinstance(one.event, e.Founded)]
    return added(log, e.Pruned((digest,), size_bytes, older_than_ms), store)


def appended(log: Log, stream: str) -> e.JournalAppended:
    """The first append to a journal."""
    return next(one.event for one in log if one.stream == stream and isinstance(one.event, e.JournalAppended))


def first(log: Log, stream: str) -> e.Created:
    """The creation of a task."""
    created = next(one.event for one in log if one.stream == stream)
    assert isinstance(created, e.Created)
    return created


def fired(log: Log) -> e.ScheduleFired:
    """The first firing of the schedule."""
    found = next(one.event for one in log if isinstance(one.event, e.ScheduleFired))
    assert isinstance(found, e.ScheduleFired)
    return found


def unblocked(log: Log) -> e.Unblocked:
    """The end of the wait of the task `after`."""
    found = next(one.event for one in log if one.stream == AFTER and isinstance(one.event, e.Unblocked))
    assert isinstance(found, e.Unblocked)
    return found


PLANTED: dict[str, list[Callable[[Log], Log]]] = {
    "dense": [
        lambda log: [*log[:-1], msgspec.structs.replace(log[-1], position=len(log) + 1)],
        lambda log: [*log[:-1], msgspec.structs.replace(log[-1], version=log[-1].version + 1)],
        lambda log: [log[0], *log[:-1]],
    ],
    "fenced": [
        lambda log: with_fence(log, fence=1, nth=1),
        lambda log: with_fence(log, fence=5, nth=1),
        lambda log: again(log, e.Failed(State.COMPENSATING, "failed", fence=1), version_of(log, e.Failed)),
        lambda log: again(log, e.CompensationDone("third", fence=9), version_of(log, e.CompensationDone)),
    ],
    "one_lease": [
        lambda log: without(log, version_of(log, e.LeaseExpired)),
        lambda log: again(
            log, e.LeaseExpired(1, "expire", "clock"), version_of(log, e.LeaseExpired), at_ms=log[0].at_ms
        ),
        lambda log: again(log, e.Retried(1, "retry", Failure("a", "b"), "attempt", 0), version_of(log, e.Heartbeat)),
        lambda log: again(
            log,
            e.Quarantined("operator", owed=("first", "second")),
            version_of(log, e.Quarantined, "task/looked at"),
            "task/looked at",
        ),
    ],
    "terminal": [
        lambda log: added(log, e.CancelRequested()),
        lambda log: added(log, e.Heartbeat(3), "task/looked at"),
    ],
    "settled": [
        lambda log: without(log, version_of(log, e.CompensationDone)),
        lambda log: added(log, e.Noted("twice", settles=("third",))),
        lambda log: added(log, e.CompensationRegistered("second", "close", 3)),
        lambda log: again(log, e.Quarantined("operator", fence=1), 3, "task/looked at"),
        lambda log: completed(log, left=()),
        lambda log: completed(log, left=("named", "over")),
        lambda log: without(log, version_of(log, e.Noted, keeper(log)), stream=keeper(log)),
    ],
    "in_reverse": [
        lambda log: again(
            again(log, e.CompensationDone("second", 3), version_of(log, e.CompensationDone)),
            e.CompensationDone("third", 3),
            version_of(log, e.CompensationDone, nth=1),
        ),
        lambda log: again(log, e.CompensationDone("unheard of", 3), version_of(log, e.CompensationDone)),
    ],
    "handed_over": [
        lambda log: again(log, e.Noted("odd", ("first", "second"), "nobody"), 4, "task/left"),
        lambda log: again(log, e.Noted("odd", ("first", "second")), 4, "task/left"),
        lambda log: heir(log, predecessor="undone"),
        lambda log: heir(log, inherited=()),
        lambda log: added(log, e.Noted("once more", (), heir_of(log)), "task/left"),
        lambda log: heir(log, keeper(log), outcome="failed"),
    ],
    "inheritance": [
        lambda log: heir(log, KEPT, steps=()),
        lambda log: quarantined(log, steps=(UnrecordedStep("begun"),)),
        lambda log: heir(log, KEPT, waits=()),
        lambda log: heir(log, KEPT, waits=(KeptWaits("w", (SignalEnd("kept", 6),)),)),
        lambda log: heir(log, KEPT, waits=(KeptWaits("w", (-1,)),)),
        lambda log: heir(log, KEPT, waits=shifted(log)),
        lambda log: heir(log, KEPT, steps=(KeptStep("one", "kept", 3, "named"),)),
        lambda log: heir(log, KEPT, steps=(KeptStep("one", "kept", 4),)),
        lambda log: heir(log, inherited=(Inherited("first", "remove", "left", 1, 1), SECOND)),
        lambda log: heir(log, inherited=(Inherited("first", "remove", "left", 2, -1), SECOND)),
    ],
    "children": [
        lambda log: again(log, e.ChildAdopted("test", 1, "left"), 4, keeper(log)),
        lambda log: again(log, e.ChildAdopted("test", 1, "nobody"), 4, keeper(log)),
        lambda log: again(log, e.ChildAdopted("test", 1, "child"), 3, keeper(log)),
    ],
    "steps": [
        lambda log: again(log, e.StepCompleted("first", 2), version_of(log, e.StepCompleted, WAITS, 1), WAITS),
        lambda log: again(log, e.StepCompleted("one", 1), version_of(log, e.StepCompleted, keeper(log)), keeper(log)),
        lambda log: again(
            log, e.Quarantined("odd", steps=(UnrecordedStep("first"),)), version_of(log, e.Completed, WAITS), WAITS
        ),
    ],
    "waits": [
        lambda log: without(log, version_of(log, e.Unblocked, WAITS), stream=WAITS),
        lambda log: again(log, e.Parked(2, "park", "approval", 1, "go"), version_of(log, e.Parked, WAITS, 1), WAITS),
        lambda log: again(log, e.Unblocked("approval", 2, "signal", 2), version_of(log, e.Unblocked, WAITS), WAITS),
        lambda log: again(log, e.Unblocked("approval", 2, "time"), version_of(log, e.Signalled, WAITS, 1), WAITS),
        lambda log: again(log, e.Parked(2, "park", "approval", 3, "go"), version_of(log, e.Parked, WAITS, 1), WAITS),
        lambda log: again(log, e.Unblocked("another", 1, "signal", 2), version_of(log, e.Unblocked, WAITS, 1), WAITS),
        lambda log: again(log, e.Unblocked("approval", 1, "signal", 2), version_of(log, e.Unblocked, WAITS, 1), WAITS),
    ],
    "signals": [
        lambda log: again(log, e.Unblocked("approval", 2, "signal", 2), version_of(log, e.Unblocked, WAITS, 1), WAITS),
        lambda log: again(log, e.Unblocked("approval", 2, "signal", 11), version_of(log, e.Unblocked, WAITS, 1), WAITS),
        lambda log: again(log, e.Signalled("stop"), version_of(log, e.Signalled, WAITS), WAITS),
    ],
    "slots": [
        lambda log: without(log, version_of(log, e.Completed, FIRST), stream=FIRST),
    ],
    "units": [
        lambda log: again(log, using(log, FIRST, {"gpu": 1, "tokens": 2}), 1, FIRST),
        lambda log: again(log, using(log, FIRST, None), 1, FIRST),
    ],
    "rates": [lambda log: again(log, e.LimitSet(rate=Rate(3, 1_000)), 1, "limit/tokens")],
    "pauses": [
        lambda log: moved(log, "queue/limited", 1, before=("task/second", 2)),
    ],
    "breakers": [
        lambda log: without(log, 2, stream=PROVIDER),
        lambda log: without(log, 3, stream=PROVIDER),
        lambda log: without(log, 4, stream=PROVIDER),
        lambda log: again(log, e.LimitSet(breaker=BreakerPolicy(3, 1_000, 2_000)), 1, PROVIDER),
        lambda log: again(log, e.LimitBreakerOpened("quota", 1, log[-1].at_ms), 2, PROVIDER),
        lambda log: again(log, e.LimitBreakerOpened("failures", 1, 10**15), 2, PROVIDER),
        lambda log: again(log, e.LimitBreakerHalfOpened("bad", 1), 3, PROVIDER),
        lambda log: again(log, e.Retried(1, "retry", Failure("odd", ""), "attempt", 5), 3, "task/worse"),
    ],
    "deadlines": [
        lambda log: again(log, e.Cancelled(State.CANCELLED, code="start_by"), 2, TIMED),
        lambda log: again(log, e.Amended(priority=3), 2, ASKED),
        lambda log: again(log, e.Amended(deadline_ms=1), 2, ASKED),
        lambda log: again(log, e.CancelRequested(code="deadline"), version_of(log, e.Released, ASKED), ASKED),
        lambda log: added(log, e.Cancelled(State.CANCELLED, code="deadline"), "task/looked at"),
    ],
    "amendments": [
        lambda log: again(log, e.Amended(priority=3), version_of(log, e.Heartbeat)),
        lambda log: again(log, e.Amended(removes=("key",)), version_of(log, e.Heartbeat)),
        lambda log: again(log, e.Amended(uses={"gpu": 1}), version_of(log, e.Heartbeat)),
        lambda log: again(log, e.Amended(payload=1), version_of(log, e.Signalled, WAITS, 1), WAITS),
    ],
    "builds": [
        lambda log: again(log, msgspec.structs.replace(first(log, WAITS), build="one"), 1, WAITS),
        lambda log: again(log, e.Amended(build="one"), version_of(log, e.Signalled, WAITS, 1), WAITS),
    ],
    "awaited": [
        lambda log: again(log, msgspec.structs.replace(unblocked(log), counts={State.COMPLETED: 2}), 2, AFTER),
        lambda log: again(log, msgspec.structs.replace(unblocked(log), ended=unblocked(log).ended[:1] * 2), 2, AFTER),
        lambda log: without(log, 3, stream=AFTER),
        lambda log: again(log, e.Quarantined("dependency_failed"), 3, AFTER),
    ],
    "cancelled_children": [
        lambda log: again(log, e.Cancelled(State.CANCELLED, code="parent_ended", parameters={"parent": "a"}), 2, CHILD),
        lambda log: again(log, msgspec.structs.replace(first(log, CHILD), on_parent_end="leave"), 1, CHILD),
        lambda log: again(log, msgspec.structs.replace(first(log, CHILD), parent="after"), 1, CHILD),
    ],
    "dedupes": [
        lambda log: again(log, keyed(log, "task/once", DedupeKey("k", "ever")), 1, "task/once"),
        lambda log: without(log, 2, stream="task/once"),
        lambda log: again(log, keyed(log, "task/twice", DedupeKey("o", "live")), 1, "task/twice"),
    ],
    "dedupe_periods": [
        lambda log: again(log, keyed(log, "task/short", DedupeKey("p", "period", 101, 600)), 1, "task/short"),
    ],
    "schedules": [
        lambda log: added(log, e.ScheduleFired(log[-1].at_ms, "nothing"), TICK),
        lambda log: added(log, e.ScheduleSkipped(log[-1].at_ms + 1, "missed"), TICK),
        lambda log: added(log, e.ScheduleSkipped(fired(log).nominal_ms, "missed"), TICK),
        lambda log: again(log, msgspec.structs.replace(fired(log), task="another"), 2, TICK),
        lambda log: without(log, version_of(log, e.ScheduleResumed, TICK), stream=TICK),
        lambda log: again(log, fired(log), version_of(log, e.ScheduleFired, TICK, 1), TICK),
        lambda log: without(log, 3, stream=f"task/{fired(log).task}"),
    ],
    "journals": [
        lambda log: without(log, 1, stream=BUILD),
        lambda log: again(log, e.JournalAppended(4, 1, "ab" * 32, 4), 2, BUILD),
        lambda log: again(log, e.JournalAppended(3, 0, "ab" * 32, 4), 2, BUILD),
        lambda log: again(log, e.JournalAppended(3, 1, "ab" * 32, 4, "told", 2), 2, BUILD),
        lambda log: added(log, e.JournalAppended(4, 1, "ab" * 32, 4), BUILD),
        lambda log: added(log, e.JournalAppended(3, 1, "ab" * 32, 4, "told", 2), TOKENS),
        lambda log: again(log, e.JournalAppended(2, 1, "ab" * 32, 4, "told", 1), 2, TOKENS),
    ],
    "blobs": [
        lambda log: put(log, digest="0" * 63),
        lambda log: put(log, size_bytes=4),
    ],
    "prunings": [
        lambda log: pruned(log, "0" * 64, 0),
        lambda log: pruned(without(log, 2, stream="task/old"), sha256(b"old").hexdigest(), 3),
        lambda log: pruned(log, sha256(b"old").hexdigest(), 4),
        lambda log: pruned(log, sha256(b"old").hexdigest(), 3, 10**9),
        lambda log: pruned(log, appended(log, TOKENS).digest, appended(log, TOKENS).size_bytes, 10**9),
        lambda log: pruned(log, appended(log, BUILD).digest, appended(log, BUILD).size_bytes),
    ],
}


def test_a_log_that_an_engine_wrote_breaks_no_property(lived: Log) -> None:
    assert explain(check(lived)) == ""


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, plants in PLANTED.items() for number in range(len(plants))]
)
def test_each_property_names_its_planted_violation(lived: Log, name: str, number: int) -> None:
    broken = PLANTED[name][number](lived)
    assert broken != lived
    assert check(lived, [name]) == []
    found = check(broken)
    assert name in {violation.property for violation in found}, explain(found)


def test_every_property_has_a_planted_violation_that_no_other_one_sees(lived: Log) -> None:
    seen_alone = {
        name
        for name, plants in PLANTED.items()
        for plant in plants
        if {violation.property for violation in check(plant(lived))} == {name}
    }
    assert seen_alone == set(PROPERTIES)


def test_a_violation_names_its_event(lived: Log) -> None:
    broken = added(lived, e.CancelRequested())
    [violation] = check(broken)
    assert violation.event == broken[-1].name
    assert violation.event in explain([violation])


def test_a_task_that_was_called_off_before_it_began_owes_nothing(open_engine: OpenEngine) -> None:
    engine = open_engine()
    engine.create("build", id="t", compensations=[Compensation("remove")])
    engine.cancel("t", "no longer wanted")
    assert check(engine.events()) == []
