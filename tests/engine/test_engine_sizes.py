"""What events and folds may take: what is too large is refused unwritten, and every end still fits. [BOUND-4]"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import astuple

import sagalog
from sagalog import Compensation, Engine, Failure, Lease, OverBound, Retry, State
from sagalog.engine.sizes import GROWING
from sagalog.kernel import bounds
from sagalog.kernel.events import Created, Quarantined, Unblocked
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold
from sagalog.store.projection import encode_fold
from sagalog.testing import ManualClock
from tests.engine.checking import refused
from tests.kernel.walks import Step, walk, walks
from tests.store_of import store_of

TTL_MS = 1_000
# Four bytes a character in UTF-8, which is the most.
WIDE = "\U0001f9f1"
LASTING = Retry(expiries_max=None, releases_max=None, attempts_max=None, undo_attempts_max=None)


def wide(number: int) -> str:
    """A name of the greatest length and size."""
    return f"{number:03}" + WIDE * 197


@pytest.fixture
def memory(clock: ManualClock) -> Any:
    with sagalog.open("memory:", clock=clock) as engine:
        yield engine


def fold_bytes(engine: Engine, id: str = "t") -> int:
    with store_of(engine).read() as snapshot:
        task = snapshot.task(id)
    assert task is not None
    return len(encode_fold(task))


def test_a_creation_whose_undos_are_larger_than_an_event_is_refused(engine: Engine) -> None:
    """The refusal names the bound and the path."""
    large = "x" * (bounds.DETAILS_BYTES_MAX - 2)
    undos = [Compensation("undo", large, id=str(number)) for number in range(32)]
    refusal = refused(engine, OverBound, engine.create, "build", compensations=undos)
    assert (refusal.bound, refusal.maximum, refusal.path) == ("event_bytes", bounds.EVENT_BYTES_MAX, "compensations")
    with engine.batch() as batch, pytest.raises(OverBound):
        batch.create("build", compensations=undos)
    engine.create("build", "y" * 1_000_000, compensations=undos[:16], id="fits")
    assert engine.verify().ok


def test_what_is_largest_of_each_event_fits(memory: Engine) -> None:
    """Only a creation with planned undos can take more than an event may: every other event always fits."""
    text = "\x01" * bounds.TEXT_CHARACTERS_MAX
    payload = "x" * (bounds.PAYLOAD_BYTES_MAX - 2)
    details = "x" * (bounds.DETAILS_BYTES_MAX - 2)
    error = Failure(wide(0), text, details)
    undos = [Compensation(wide(n), None, id=wide(n)) for n in range(bounds.COMPENSATIONS_MAX)]
    tags = {wide(n): WIDE * 200 for n in range(bounds.TAGS_MAX)}
    inputs = {wide(n): b"" for n in range(bounds.INPUTS_MAX)}
    names: dict[str, Any] = {name: wide(0) for name in ("queue", "affinity", "key", "correlation_id")}
    memory.create("build", payload, id="a", tags=tags, inputs=inputs, waive_compensation=text, parent=wide(0), **names)
    memory.create("build", id="t", compensations=undos, retry=LASTING)
    # As many ids as the bound of their bytes lets through: each takes as many more for quotes and a comma.
    names_of_others = [f"{n:04}" + WIDE * 196 for n in range(bounds.AFTER_BYTES_MAX // len(f'"{wide(0)},"'.encode()))]
    others = [task.id for task in memory.create_many([{"kind": "k", "id": id} for id in names_of_others])]
    lease = memory.acquire("t", owner=wide(0), ttl_ms=TTL_MS)
    lease.step(wide(1), payload)
    lease.retry(error)
    lease = memory.acquire("t", owner=wide(0), ttl_ms=TTL_MS)
    memory.signal("t", wide(0), payload)
    memory.cancel("t", text)
    lease.fail(error)
    memory.acquire("t", owner=wide(0), ttl_ms=TTL_MS, purpose="undo").quarantine(error)
    memory.note("t", text, [wide(n) for n in range(bounds.COMPENSATIONS_MAX)])
    memory.create("k", id="p")
    memory.acquire("p", owner=wide(0), ttl_ms=TTL_MS).park(wide(0), after=others)
    sizes = [len(one.body.encode()) for one in memory.events(limit=10_000)]
    assert max(sizes) < bounds.EVENT_BYTES_MAX
    assert memory.verify().ok


@pytest.fixture
def full(memory: Engine) -> Engine:
    """A leased task `t` whose fold has no room for another step, with as many undos as there may be."""
    undos = [Compensation(wide(0), id=wide(number)) for number in range(bounds.COMPENSATIONS_MAX - 1)]
    memory.create("build", id="t", compensations=undos, retry=LASTING)
    lease = memory.acquire("t", owner=wide(0), ttl_ms=TTL_MS)
    names = [*map(wide, range(100)), *(letter * length for length in (180, 100, 50, 20) for letter in "abcd")]
    for name in names:
        with suppress(OverBound):
            lease = lease.step(name)
    assert bounds.FOLD_BYTES_MAX - bounds.FOLD_BYTES_RESERVE - fold_bytes(memory) < 100
    return memory


def test_a_fold_at_its_bound_takes_nothing_more_that_it_would_keep(full: Engine) -> None:
    lease = Lease(full.get("t"), full._executor)  # type: ignore[arg-type]
    name = "n" * 100
    calls: list[Callable[[], object]] = [
        lambda: lease.step(name),
        lambda: lease.put_artifact(name, b""),
        lambda: lease.register(Compensation("undo", id=name)),
        lambda: lease.park(wide(999), signal=wide(999)),
        lambda: full.signal("t", name),
    ]
    for call in calls:
        refusal = refused(full, OverBound, call)
        assert (refusal.bound, refusal.task) == ("fold_bytes", "t")
        assert refusal.maximum == bounds.FOLD_BYTES_MAX - bounds.FOLD_BYTES_RESERVE
    full.note("t", "notes are not kept in the fold")
    assert full.verify().ok


def undone(engine: Engine) -> str:
    """Undo everything, with some failures in between."""
    for number in range(3):
        lease = engine.acquire("t", owner=wide(number), ttl_ms=TTL_MS, purpose="undo")
        lease.compensation_failed(lease.task.owed[0].id, Failure(wide(2), "again"), run_at_ms=0)
    lease = engine.acquire("t", owner=wide(1), ttl_ms=TTL_MS, purpose="undo")
    with engine.batch() as batch:
        for one in lease.task.owed:
            batch.compensation_done(lease, one.id)
    return str(engine.get("t").state)  # type: ignore[union-attr]


def noted(engine: Engine) -> str:
    """Quarantine it, settle everything by a note, and let another take its place."""
    engine.quarantine("t", "odd")
    assert engine.note("t", "settled by hand", [one.id for one in engine.get("t").owed]).owed == ()  # type: ignore[union-attr]
    return str(engine.retry_as_new("t").state)


def waived(engine: Engine) -> str:
    engine.cancel("t", now=True)
    with engine.batch() as batch:
        for one in engine.get("t").owed:  # type: ignore[union-attr]
            batch.waive("t", one.id, "not needed")
    return str(engine.get("t").state)  # type: ignore[union-attr]


ENDS: dict[str, tuple[Callable[[Engine, Lease], object], Callable[[Engine], str]]] = {
    State.COMPLETED: (lambda _, lease: lease.complete({"ok": True}), lambda engine: str(engine.get("t").state)),  # type: ignore[union-attr]
    State.COMPENSATED: (lambda _, lease: lease.fail(Failure(wide(3), "no"), [Compensation("last", id="x")]), undone),
    State.CANCELLED: (lambda _, lease: lease.release(), waived),
    State.PENDING: (lambda engine, _: engine.recover(), noted),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_or_settles_fits_where_nothing_else_does(full: Engine, clock: ManualClock, end: str) -> None:
    """Leases come and go, and every undo is settled by itself: all of that fits in the reserve."""
    lease = Lease(full.get("t"), full._executor)  # type: ignore[arg-type]
    for number in range(5):
        clock.advance(1)
        lease.heartbeat(progress="p" * 100).retry(Failure(wide(number), "again"), run_at_ms=0)
        lease = full.acquire("t", owner=wide(number), ttl_ms=TTL_MS)
        clock.advance(2 * TTL_MS)
        full.recover()
        lease = full.acquire("t", owner=wide(number), ttl_ms=TTL_MS)
    finish, settle = ENDS[end]
    finish(full, lease)
    state = settle(full)
    assert state == (end if end != State.CANCELLED else State.COMPENSATED)
    assert fold_bytes(full) < bounds.FOLD_BYTES_MAX
    assert full.verify().ok


def test_the_creation_of_a_successor_always_fits(engine: Engine) -> None:
    """[BOUND-4] [COMP-7] It holds what its predecessor was created with, and references besides."""
    large = "x" * (bounds.DETAILS_BYTES_MAX - 2)
    undos = [Compensation("undo", large, id=str(number)) for number in range(31)]
    engine.create("build", "y" * 50_000, compensations=undos, id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    for number in range(60):
        lease = lease.register(Compensation(wide(number), None, id=wide(number)))
    engine.quarantine("t", "odd")
    heir = engine.retry_as_new("t")
    created = engine.history(heir.id)[0]
    assert len(created.body.encode()) > bounds.EVENT_BYTES_MAX
    assert len(heir.owed) == 91
    assert engine.verify().ok


def test_a_successors_creation_takes_its_bound_and_a_kibibyte_a_reference(
    memory: Engine,
) -> None:
    """[BOUND-4] The fold holds names; besides there are its predecessor's id, at its widest, and numbers."""
    id = WIDE * 200
    memory.create("build", "y" * 1_000_000, id=id)
    for number in range(50):
        memory.signal(id, "go", number)
        lease = memory.acquire(id, owner="ann", ttl_ms=None)
        lease = lease.register(Compensation(wide(number), None, id=wide(number)))
        undo = Compensation(wide(number), None, id=f"s{number}")
        lease = lease.register(undo).step(wide(number), number, undo)
        lease.park("w", signal="go", number=number + 1)
    memory.quarantine(id, "odd")
    [accepted, *_] = memory.history(id)
    predecessor_bytes = len(accepted.body.encode()) + fold_bytes(memory, id)
    [created, *_] = memory.history(memory.retry_as_new(id).id)
    kept = created.event
    assert isinstance(kept, Created)
    references = len(kept.inherited) + len(kept.steps) + sum(len(one.ends) for one in kept.waits)
    assert references == 200
    assert len(created.body.encode()) <= predecessor_bytes + 1_024 * references


# A wait was measured as it began; what puts a task aside is covered by the reserve.
MEASURED_BEFORE = {Unblocked, Quarantined}


@given(walks())
def test_a_fold_is_measured_after_every_event_that_puts_a_name_on_record(steps: list[Step]) -> None:
    for answer in walk(steps):
        task = answer.before or TaskFold("t")
        for event in answer.events:
            after = evolve(task, event, task.version + 1, answer.now_ms)
            if type(event) not in GROWING | MEASURED_BEFORE:
                assert names_held(after) <= names_held(task), type(event)
            task = after


def names_held(task: TaskFold) -> int:
    """How many there are in all that a fold holds by name."""
    return sum(len(held) for held in astuple(task) if isinstance(held, dict | tuple))


def test_ids_of_a_wait_that_are_too_long_together_are_refused(engine: Engine) -> None:
    """[BOUND-1] [WAIT-5] Before any look at the tasks that they name."""
    ids = [f"{n:04}" + WIDE * 196 for n in range(3_000)]
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    for call in (lambda: engine.create("build", after=ids), lambda: lease.park("w", after=ids)):
        refusal = refused(engine, OverBound, call)
        assert (refusal.bound, refusal.maximum) == ("after_bytes", bounds.AFTER_BYTES_MAX)
