"""Calls of one engine beside a change by another one on the same store: what is set up, what each does, how it ended.

Rule: a scene names every id itself and draws no other entropy, so its outcome depends on the order of the two alone;
the memory store, which keeps nothing of what it has read, gives the outcome of each order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from sagalog import Compensation, Engine, Lease, Retry, SagalogError, Task
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock, SeededEntropy
from sagalog.testing.history import check, explain
from tests.adapters.sqlite.stores import START_MS, open_at

LONG_MS: Final = 2**40
SHORT_MS: Final = 1_000
QUEUE: Final = "q"


@dataclass
class Stage:
    """Two engines on one store, on one clock; `held` are the leases of both by task."""

    ours: Engine
    others: Engine
    clock: ManualClock
    held: dict[str, Lease] = field(default_factory=dict)

    def create(self, id: str, queue: str = QUEUE, **fields: Any) -> None:
        """Create a task by our engine, so that its store has it in mind."""
        self.ours.create("build", {"n": 1}, id=id, queue=queue, **fields)

    def lease(self, id: str, ttl_ms: int = LONG_MS, engine: Engine | None = None, **how: Any) -> None:
        self.held[id] = (engine or self.ours).acquire(id, owner="ann", ttl_ms=ttl_ms, **how)

    def know(self) -> None:
        """Have our store know that nothing is to be claimed and nothing is due."""
        assert claimed(self.ours) == claimed(self.ours, "undo") == []


class Scene(NamedTuple):
    """What both engines find, the call of ours, and the change that the other makes."""

    set_up: Callable[[Stage], None]
    call: Callable[[Stage], Any]
    change: Callable[[Stage], Any]


class Outcome(NamedTuple):
    """What the two were told, what later calls find, and the log of all tasks."""

    call: Any
    change: Any
    later: Any
    log: Any


@cache
def in_order(scene: Scene, call_first: bool) -> Outcome:
    """The outcome of a scene on the memory store where one of the two comes wholly first."""
    stores: list[MemoryStore] = []

    def engine_at(clock: ManualClock, entropy: SeededEntropy) -> Engine:
        stores[:] = stores or [MemoryStore(clock)]
        return Engine(stores[0], clock=clock, entropy=entropy)

    stage = staged(engine_at)
    scene.set_up(stage)
    call = told(scene.call, stage) if call_first else None
    change = told(scene.change, stage)
    return outcome(stage, call if call_first else told(scene.call, stage), change)


def staged(engine_at: Callable[[ManualClock, SeededEntropy], Engine]) -> Stage:
    """A stage on a new store; `engine_at` gives one engine on it at each call."""
    clock = ManualClock(START_MS)
    return Stage(engine_at(clock, SeededEntropy(1)), engine_at(clock, SeededEntropy(2)), clock)


def empty_store_in(folder: Path) -> Path:
    """The file of a store that holds nothing yet: a stage founds its copy by its own entropy."""
    path = folder / "log.db"
    open_at(path).close()
    return path


def told(call: Callable[[Stage], Any], stage: Stage) -> Any:
    """What a call has answered, or the code by which it was refused."""
    try:
        return in_short(call(stage))
    except SagalogError as refusal:
        return refusal.code


def in_short(answer: Any) -> Any:
    if isinstance(answer, Lease):
        return ("lease", answer.task.id, answer.fence, answer.expires_ms, answer.task.version)
    if isinstance(answer, Task):
        return ("task", answer.id, str(answer.state), answer.version)
    if isinstance(answer, list | tuple):
        return [in_short(one) for one in answer]
    return answer


def claimed(engine: Engine, purpose: str = "work", **how: Any) -> Any:
    """What a claim of up to nine tasks gives."""
    return in_short(engine.claim(QUEUE, owner="eve", ttl_ms=LONG_MS, limit=9, purpose=purpose, **how))  # type: ignore[arg-type]


def outcome(stage: Stage, call: Any, change: Any) -> Outcome:
    """The store after both: everything that either may still claim, then the whole log, which must be sound."""
    later = [claimed(engine, purpose) for engine in (stage.ours, stage.others) for purpose in ("work", "undo")]
    log = stage.ours.events()
    assert explain(check(log)) == ""
    report = stage.ours.verify()
    assert report.ok, report.faults
    return Outcome(call, change, later, [(e.stream, e.version, e.event) for e in log if e.stream.startswith("task/")])


# --- scenes -----------------------------------------------------------------------------------------------------------


def _ready(stage: Stage) -> None:
    stage.know()
    stage.create("t")


def _leased(stage: Stage) -> None:
    stage.create("t")
    stage.lease("t")
    stage.know()


def _renewing(stage: Stage) -> None:
    _leased(stage)
    stage.clock.advance(1)


def _two_leased(stage: Stage) -> None:
    """`w`, leased by the other engine, is about to wait; `t`, leased by ours, for which it will."""
    stage.create("t")
    stage.create("w")
    stage.lease("w", engine=stage.others)
    stage.lease("t")
    stage.know()


def _waiting(stage: Stage) -> None:
    """`w` waits for `t`, which we have leased."""
    stage.create("t")
    stage.create("w")
    stage.lease("w")
    stage.held["w"].park("t", after=["t"])
    stage.lease("t")
    stage.know()


def _woken(stage: Stage) -> None:
    _waiting(stage)
    stage.held["t"].complete()


def _lease_over(stage: Stage) -> None:
    stage.create("t")
    stage.lease("t", SHORT_MS, stage.others)
    stage.know()
    stage.clock.advance(SHORT_MS)


def _time_come(stage: Stage) -> None:
    stage.create("t", run_at_ms=START_MS + SHORT_MS)
    stage.know()
    stage.clock.advance(SHORT_MS)


def _wait_over(stage: Stage) -> None:
    stage.create("t")
    stage.lease("t")
    stage.held["t"].park("go", signal="go", until_ms=START_MS + SHORT_MS)
    stage.know()
    stage.clock.advance(SHORT_MS)


def _undoing(stage: Stage) -> None:
    stage.create("t", compensations=[Compensation("remove", id="undo")])
    stage.lease("t")
    stage.held["t"].fail("no")
    stage.lease("t", purpose="undo")
    stage.know()


def _suspect_to_be(stage: Stage) -> None:
    stage.create("t", retry=Retry(expiries_max=2, delay_min_ms=0, delay_max_ms=0))
    stage.create("u")
    stage.lease("t", SHORT_MS, stage.others)
    stage.lease("u")
    stage.held["u"].release()
    stage.clock.advance(SHORT_MS)


def _ended(stage: Stage) -> None:
    stage.create("t", compensations=[Compensation("remove", id="undo")])
    stage.lease("t")
    stage.held["t"].quarantine("look at it")
    stage.know()


def _claim(stage: Stage) -> Any:
    return stage.ours.claim(QUEUE, owner="ann", ttl_ms=LONG_MS, idempotency_key="ours")


def _claim_by_other(stage: Stage) -> Any:
    return stage.others.claim(QUEUE, owner="bob", ttl_ms=LONG_MS, idempotency_key="others")


def _settle(stage: Stage) -> Any:
    with stage.ours.batch() as batch:
        batch.complete(stage.held["t"], "done")
        batch.create("build", id="next", queue=QUEUE)
        batch.create("build", id="last", queue=QUEUE)
    return batch.results


def _cancel(stage: Stage) -> Any:
    return stage.others.cancel("t", "not needed", now=True, idempotency_key="others")


def _note(stage: Stage) -> Any:
    return stage.others.note("t", "seen", idempotency_key="others")


SCENES: Final[dict[str, Scene]] = {
    "create, and one of the same id": Scene(
        Stage.know,
        lambda stage: stage.ours.create("build", {"n": 1}, id="t", queue=QUEUE),
        lambda stage: stage.others.create("build", {"n": 2}, id="t", queue=QUEUE),
    ),
    "create, and one of the same idempotency key": Scene(
        Stage.know,
        lambda stage: stage.ours.create("build", id="t", queue=QUEUE, idempotency_key="k"),
        lambda stage: stage.others.create("build", id="u", queue=QUEUE, idempotency_key="k"),
    ),
    "claim, and another": Scene(_ready, _claim, _claim_by_other),
    "claim, and a more urgent task of another kind": Scene(
        _ready,
        _claim,
        lambda stage: stage.others.create("test", id="urgent", queue=QUEUE, priority=-1),
    ),
    "claim, and a cancel": Scene(_ready, _claim, _cancel),
    "claim, and a note": Scene(_ready, _claim, _note),
    "claim of nothing, and a task of a new kind": Scene(
        Stage.know, _claim, lambda stage: stage.others.create("test", id="t", queue=QUEUE)
    ),
    "claim where a lease is over, and another": Scene(_lease_over, _claim, _claim_by_other),
    "claim where a lease is over, and its end by a complete": Scene(
        _lease_over, _claim, lambda stage: stage.held["t"].complete("late")
    ),
    "claim where a time has come, and a cancel": Scene(_time_come, _claim, _cancel),
    "claim where a wait is over, and the signal": Scene(
        _wait_over, _claim, lambda stage: stage.others.signal("t", "go", 1, idempotency_key="others")
    ),
    "claim where a task was woken, and its cancel": Scene(
        _woken, _claim, lambda stage: stage.others.cancel("w", "not needed", now=True)
    ),
    "claim where a suspect comes to be, and another": Scene(_suspect_to_be, _claim, _claim_by_other),
    "heartbeat, and a cancel": Scene(_renewing, lambda stage: stage.held["t"].heartbeat(), _cancel),
    "heartbeat, and a wish to cancel": Scene(
        _renewing, lambda stage: stage.held["t"].heartbeat(), lambda stage: stage.others.cancel("t")
    ),
    "step, and a cancel": Scene(_leased, lambda stage: stage.held["t"].step("one", {"n": 1}), _cancel),
    "step, and a note": Scene(_leased, lambda stage: stage.held["t"].step("one", {"n": 1}), _note),
    "complete, and a cancel": Scene(_leased, lambda stage: stage.held["t"].complete("done"), _cancel),
    "complete, and a wait for that": Scene(
        _two_leased,
        lambda stage: stage.held["t"].complete("done"),
        lambda stage: stage.held["w"].park("t", after=["t"]),
    ),
    "complete with others in a batch, and one of those": Scene(
        _leased, _settle, lambda stage: stage.others.create("test", id="last", queue=QUEUE)
    ),
    "complete where a task is woken, and its cancel": Scene(
        _waiting,
        lambda stage: stage.held["t"].complete("done"),
        lambda stage: stage.others.cancel("w", "not needed", now=True),
    ),
    "park for a task, and the end of that": Scene(
        _two_leased,
        lambda stage: stage.held["t"].park("w", after=["w"]),
        lambda stage: stage.held["w"].complete("done"),
    ),
    "park for a task, and a wait of that for this": Scene(
        _two_leased,
        lambda stage: stage.held["t"].park("w", after=["w"]),
        lambda stage: stage.held["w"].park("t", after=["t"]),
    ),
    "park for a signal, and the signal": Scene(
        _leased,
        lambda stage: stage.held["t"].park("go", signal="go"),
        lambda stage: stage.others.signal("t", "go", 1, idempotency_key="others"),
    ),
    "undo, and its waiver": Scene(
        _undoing,
        lambda stage: stage.held["t"].compensation_done("undo"),
        lambda stage: stage.others.waive("t", "undo", "not needed", idempotency_key="others"),
    ),
    "retry as new, and a note that settles": Scene(
        _ended,
        lambda stage: stage.ours.retry_as_new("t", idempotency_key="ours"),
        lambda stage: stage.others.note("t", "undone by hand", settles=["undo"], idempotency_key="others"),
    ),
    "retry as new, and another": Scene(
        _ended, lambda stage: stage.ours.retry_as_new("t"), lambda stage: stage.others.retry_as_new("t")
    ),
}
