"""Random runs: workers race over one store, time jumps, the store dies, and the memory store says what is right.

    Machine = store_machine(new_place, crash_points=("commit.after_events", "commit.after_commit"))
    prove(Machine, max_examples=60, stateful_step_count=40)

Rule: a rule draws a command and hands it to the pair; it knows nothing of what should come of it. Interleavings are
written as rules, one step of one worker at a time, without threads. A failing run is shrunk, and hypothesis prints how
to repeat it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from sagalog.batch import Batch
from sagalog.kernel.values import Compensation, Retry
from sagalog.task import Lease
from sagalog.testing.pairs import Call, NewPlace, Pair, Side, Statistics

try:
    from hypothesis import HealthCheck, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        invariant,
        precondition,
        rule,
        run_state_machine_as_test,
    )
except ImportError as error:
    raise ImportError("sagalog.testing.machine needs hypothesis: pip install 'sagalog[dev]'") from error

TTL_MS: Final = 100
JUMPS: Final = (-3_600_000, -TTL_MS, -1, 3_600_000)
UNDOS: Final = (
    Compensation("remove", {"n": 1}, "left over", "one"),
    Compensation("close", None, None, "two"),
    Compensation("remove", {"n": 3}),
)
_SHORT: Final = {"delay_min_ms": 10, "delay_max_ms": 200}
RETRIES: Final = (
    None,
    Retry(attempts_max=2, **_SHORT),
    Retry(attempts_max=1, spent="quarantine"),
    Retry(transient_max=1, quota_wait_max_ms=0, **_SHORT),
    Retry(expiries_max=1, releases_max=1),
    Retry(expiries_max=None, quota_wait_max_ms=TTL_MS, **_SHORT),
    Retry(undo_attempts_max=1, undo_wait_ms=TTL_MS),
)

queues = st.sampled_from([["left"], ["right"], ["left", "right"]])
owners = st.sampled_from(["ann", "bob", "eve"])
ttls = st.sampled_from([TTL_MS, 5 * TTL_MS, None])
requests = st.sampled_from([None] * 8 + ["r1", "r2", "r3", "r4"])
delays = st.sampled_from([None, None, 0, TTL_MS])
undos = st.lists(st.sampled_from(UNDOS), unique_by=lambda one: one.id, max_size=2)
kinds = st.sampled_from([None, None, ["build"], ["build", "test"]])
undo_kinds = st.sampled_from([None, None, ["remove"], ["remove", "close"]])
values = st.sampled_from([None, {"n": 1}, "text", [1, 2.5, None]])
texts = st.sampled_from(["one reason", "another reason"])
budgets = st.sampled_from(["attempt", "attempt", "transient", "quota"])
picks = st.integers(0, 9)
creations = st.fixed_dictionaries(
    {"kind": st.sampled_from(["build", "test"]), "queue": st.sampled_from(["left", "right"])},
    optional={
        "payload": values,
        "priority": st.integers(-1, 1),
        "affinity": st.sampled_from(["red", "blue"]),
        "retry": st.sampled_from(RETRIES),
        "compensations": undos,
        "waive_compensation": st.just("it has no effects"),
        "tags": st.just({"team": "red"}),
        "request": requests,
    },
)


# What a batch of the runs is made of: (batch, a task's id, some lease or None).
BATCHED: Final[dict[str, Callable[[Batch, str, Lease | None], object]]] = {
    "create": lambda batch, id, _: batch.create("build", id=id, queue="left"),
    "note": lambda batch, id, _: batch.note(id, "seen"),
    "cancel": lambda batch, id, _: batch.cancel(id),
    "heartbeat": lambda batch, _, lease: lease and batch.heartbeat(lease, progress="half"),
    "register": lambda batch, _, lease: lease and batch.register(lease, UNDOS[1]),
    "complete": lambda batch, _, lease: lease and batch.complete(lease, "together"),
    "release": lambda batch, _, lease: lease and batch.release(lease),
    "fail": lambda batch, _, lease: lease and batch.fail(lease, "no way on", UNDOS),
}

# Every verb and every refusal that a whole run must have met, else it has proved nothing about them.
VERBS: Final = (
    "acquire", "acquire_undo", "batch", "cancel", "claim", "claim_undo", "compensation_done", "compensation_failed",
    "complete", "create", "create_many", "fail", "find", "get", "heartbeat", "heartbeat_many", "history", "note",
    "quarantine", "rebuild", "recover", "register", "release", "repeat", "retry attempt", "retry quota",
    "retry transient", "wait", "waive",
)  # fmt: skip
REFUSALS: Final = (
    "already_exists", "already_settled", "blocked", "compensation_order", "compensation_required", "conflict",
    "lease_held", "lease_lost", "not_found", "terminal_task", "wrong_state",
)  # fmt: skip


def has_leases(machine: Any) -> bool:
    """Whether a worker has ever got a lease; late ones may write too."""
    return bool(machine.pair.oracle.leases)


class StoreMachine(RuleBasedStateMachine):
    """The rules. `store_machine` makes a machine for one kind of store; its `statistics` are those of all its runs."""

    new_place: ClassVar[NewPlace]
    crash_points: ClassVar[tuple[str, ...]] = ()
    statistics: ClassVar[Statistics]

    def __init__(self) -> None:
        super().__init__()
        self._place = type(self).new_place()
        self.pair = Pair(self._place.__enter__(), self.statistics)
        self.last: tuple[str, Call] | None = None
        self.sound = True

    def teardown(self) -> None:
        """Audit both at the end of a run, and give everything back."""
        try:
            if self.sound:
                self.pair.audit()
        finally:
            self.pair.close()
            self._place.__exit__(None, None, None)

    @invariant()
    def both_agree(self) -> None:
        """After every step all that can be asked is answered alike."""
        self.sound = False
        self.pair.compare()
        self.sound = True

    def run(self, verb: str, call: Call, crashes: bool = True) -> bool:
        """Carry out and remember a command."""
        self.sound = False
        self.last = (verb, call)
        succeeded = self.pair.run(verb, call, crashes)
        self.sound = True
        return succeeded

    def with_lease(self, verb: str, pick: int, use: Callable[[Lease], Any], purpose: str | None = None) -> None:
        """A verb of a lease: mostly one that lives, else any older copy."""
        places = self.pair.living(purpose) if pick < 8 else []
        places = places or list(reversed(range(len(self.pair.oracle.leases))))
        if places:
            place = places[pick % len(places)]
            self.run(verb, lambda side: use(side.leases[place]))

    def task(self, pick: int, *states: str) -> str:
        """The id of a task, mostly of one in these states (none: any), newest first; rarely nobody's."""
        folds = list(reversed(self.pair.memory.folds.values()))
        fitting = [fold.id for fold in folds if not states or fold.state in states] if pick < 8 else []
        ids = fitting or [fold.id for fold in folds]
        return "nobody" if pick == 9 or not ids else ids[pick % len(ids)]

    def new_id(self) -> str:
        """An id that no task has, short and the same in every run of the same commands."""
        return f"t{len(self.pair.memory.folds)}"

    def owed_of(self, id: str) -> list[str]:
        """What a task owes."""
        return self.pair.memory.folds[id].owed() if id in self.pair.memory.folds else []

    def turn(self, pick: int) -> str:
        """The id of some compensation, mostly the one whose turn it is under the lease that `with_lease` will use."""
        living = self.pair.living("undo")
        owed = self.owed_of(self.pair.oracle.leases[living[pick % len(living)]].task.id)
        return owed[-1] if owed and pick < 7 else ("one", "two", "unheard of")[pick % 3]

    # --- what callers do --------------------------------------------------------------------------------------

    @initialize(given=st.tuples(creations, creations, creations), ttl_ms=ttls)
    def begin(self, given: tuple[dict[str, Any], ...], ttl_ms: int | None) -> None:
        """No run is about nothing: some tasks are there, and some are leased."""
        for arguments in given:
            self.create(0, arguments, None)
        self.run("claim", lambda side: side.engine.claim(["left", "right"], owner="ann", ttl_ms=ttl_ms, limit=2))

    @rule(pick=picks, given=creations, delay=delays)
    def create(self, pick: int, given: dict[str, Any], delay: int | None) -> None:
        """A new task, or the same again, or another under its id, or one whose id is drawn."""
        id = None if pick == 7 else self.task(pick) if pick > 7 else self.new_id()
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        self.run("create", lambda side: side.engine.create(id=id, run_at_ms=run_at_ms, **given))

    @rule(given=st.lists(st.tuples(picks, creations), min_size=1, max_size=3))
    def create_many(self, given: list[tuple[int, dict[str, Any]]]) -> None:
        """Several at once, rarely one that exists."""
        first = self.new_id()
        specs = [
            {"id": self.task(pick) if pick > 8 else f"{first}-{place}", **arguments}
            for place, (pick, arguments) in enumerate(given)
        ]
        self.run("create_many", lambda side: side.engine.create_many(specs))

    @rule(
        queues=queues, owner=owners, ttl_ms=ttls, limit=st.integers(1, 3), kinds=kinds, request=requests,
        affinity=st.sampled_from([None, "red", ["blue", "red"]]),
    )  # fmt: skip
    def claim(self, **given: Any) -> None:
        """Claim forward work."""
        self.run("claim", lambda side: side.engine.claim(**given))

    @rule(queues=queues, owner=owners, ttl_ms=ttls, limit=st.integers(1, 3), kinds=undo_kinds, request=requests)
    def claim_undo(self, **given: Any) -> None:
        """Claim undoing."""
        self.run("claim_undo", lambda side: side.engine.claim(purpose="undo", **given))

    @rule(pick=picks, owner=owners, ttl_ms=ttls)
    def acquire(self, pick: int, owner: str, ttl_ms: int | None) -> None:
        """Lease one task for work."""
        id = self.task(pick, "pending")
        self.run("acquire", lambda side: side.engine.acquire(id, owner=owner, ttl_ms=ttl_ms))

    @rule(pick=picks, owner=owners, kinds=undo_kinds)
    def acquire_undo(self, pick: int, owner: str, kinds: list[str] | None) -> None:
        """Lease one task for undoing."""
        id = self.task(pick, "compensating")
        self.run(
            "acquire_undo",
            lambda side: side.engine.acquire(id, owner=owner, ttl_ms=TTL_MS, purpose="undo", kinds=kinds),
        )

    @rule(owner=owners, undos=undos, retry=st.sampled_from(RETRIES))
    def fall_into_undoing(self, owner: str, undos: list[Compensation], retry: Retry | None) -> None:
        """The long way to a lease for undoing, in one rule, so that runs get there often."""
        id = self.new_id()
        first = UNDOS[:1]
        self.run("create", lambda side: side.engine.create("build", id=id, compensations=first, retry=retry))
        if self.run("acquire", lambda side: side.engine.acquire(id, owner=owner, ttl_ms=TTL_MS)):
            self.with_lease("fail", 0, lambda lease: lease.fail("no way on", undos))
        self.run("acquire_undo", lambda side: side.engine.acquire(id, owner=owner, ttl_ms=TTL_MS, purpose="undo"))

    # --- what holders of leases do ----------------------------------------------------------------------------

    @precondition(has_leases)
    @rule(pick=picks, ttl_ms=st.none() | ttls, progress=st.none() | values)
    def heartbeat(self, pick: int, ttl_ms: int | None, progress: Any) -> None:
        """Renew one lease."""
        self.with_lease("heartbeat", pick, lambda lease: lease.heartbeat(ttl_ms, progress))

    @rule(places=st.lists(picks, max_size=4), ttl_ms=ttls)
    def heartbeat_many(self, places: list[int], ttl_ms: int | None) -> None:
        """Renew several leases, some of them lost."""

        def renew(side: Side) -> Any:
            held = [side.leases[-1 - place] for place in places if place < len(side.leases)]
            return side.engine.heartbeat(held, ttl_ms)

        self.run("heartbeat_many", renew)

    @precondition(has_leases)
    @rule(pick=picks, undo=st.sampled_from(UNDOS))
    def register(self, pick: int, undo: Compensation) -> None:
        """Put an undo on record."""
        self.with_lease("register", pick, lambda lease: lease.register(undo), "work")

    @precondition(has_leases)
    @rule(pick=picks, reason=st.none() | texts, delay=delays)
    def release(self, pick: int, reason: str | None, delay: int | None) -> None:
        """Give a lease back."""
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        self.with_lease("release", pick, lambda lease: lease.release(reason, run_at_ms))

    @precondition(has_leases)
    @rule(pick=picks, error=texts, budget=budgets, delay=delays)
    def retry(self, pick: int, error: str, budget: Any, delay: int | None) -> None:
        """Fail for now."""
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        self.with_lease(f"retry {budget}", pick, lambda lease: lease.retry(error, run_at_ms, budget), "work")

    @precondition(has_leases)
    @rule(pick=picks, result=values)
    def complete(self, pick: int, result: Any) -> None:
        """Be done."""
        self.with_lease("complete", pick, lambda lease: lease.complete(result), "work")

    @precondition(has_leases)
    @rule(pick=picks, reason=texts, undos=undos, waiver=st.none() | texts)
    def fail(self, pick: int, reason: str, undos: list[Compensation], waiver: str | None) -> None:
        """Fail for good."""
        self.with_lease("fail", pick, lambda lease: lease.fail(reason, undos, waiver), "work")

    @precondition(lambda self: self.pair.living("undo"))
    @rule(pick=picks)
    def compensation_done(self, pick: int) -> None:
        """An undo is done, mostly the one whose turn it is."""
        id = self.turn(pick)
        self.with_lease("compensation_done", pick, lambda lease: lease.compensation_done(id), "undo")

    @precondition(lambda self: self.pair.living("undo"))
    @rule(pick=picks, error=texts, delay=delays)
    def compensation_failed(self, pick: int, error: str, delay: int | None) -> None:
        """An undo failed."""
        id = self.turn(pick)
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        self.with_lease(
            "compensation_failed", pick, lambda lease: lease.compensation_failed(id, error, run_at_ms), "undo"
        )

    # --- what operators do ------------------------------------------------------------------------------------

    @rule(pick=picks, reason=st.none() | texts, now=st.booleans(), request=requests)
    def cancel(self, pick: int, reason: str | None, now: bool, request: str | None) -> None:
        """Call a task off."""
        id = self.task(pick, "running", "pending")
        self.run("cancel", lambda side: side.engine.cancel(id, reason, now, request=request))

    @rule(pick=picks, reason=texts, request=requests)
    def quarantine(self, pick: int, reason: str, request: str | None) -> None:
        """Put a task aside."""
        id = self.task(pick, "running", "compensating")
        self.run("quarantine", lambda side: side.engine.quarantine(id, reason, request=request))

    @rule(pick=picks, text=texts, settles=st.booleans(), request=requests)
    def note(self, pick: int, text: str, settles: bool, request: str | None) -> None:
        """Leave a remark, which may settle something."""
        id = self.task(pick, *(["quarantined"] if settles else []))
        owed = self.owed_of(id) if settles else []
        self.run("note", lambda side: side.engine.note(id, text, owed, request=request))

    @rule(pick=picks, reason=texts, request=requests)
    def waive(self, pick: int, reason: str, request: str | None) -> None:
        """Settle an undo by word."""
        id = self.task(pick, "compensating", "running")
        owed = [*self.owed_of(id), "one", "unheard of"]
        undo = owed[pick % len(owed)]
        self.run("waive", lambda side: side.engine.waive(id, undo, reason, request=request))

    @rule(limit=st.none() | st.integers(1, 2), unknown=st.sampled_from([(), (), ("close",)]))
    def recover(self, limit: int | None, unknown: tuple[str, ...]) -> None:
        """All upkeep."""
        self.run("recover", lambda side: side.engine.recover(limit, unknown), crashes=False)

    @rule(commands=st.lists(st.tuples(st.sampled_from(sorted(BATCHED)), picks), max_size=4))
    def batch(self, commands: list[tuple[str, int]]) -> None:
        """Several commands as one."""
        new, living = self.new_id(), self.pair.living() or list(range(len(self.pair.oracle.leases)))
        ids = [new if name == "create" else self.task(pick) for name, pick in commands]

        def run(side: Side) -> Any:
            with side.engine.batch() as batch:
                for (name, pick), id in zip(commands, ids, strict=True):
                    lease = side.leases[living[pick % len(living)]] if living else None
                    BATCHED[name](batch, id, lease)
            return batch.results

        self.run("batch", run)

    # --- what is read -----------------------------------------------------------------------------------------

    @rule(pick=picks)
    def read(self, pick: int) -> None:
        """One task, all that can be seen of it."""
        id = self.task(pick)
        self.run("get", lambda side: side.engine.get(id), crashes=False)
        self.run("history", lambda side: side.engine.history(id), crashes=False)
        self.run("wait", lambda side: side.engine.wait(id, 0), crashes=False)

    @rule(queue=st.sampled_from([None, "left"]), state=st.sampled_from(["pending", "compensating", "quarantined"]))
    def find(self, queue: str | None, state: str) -> None:
        """Listings."""
        self.run(
            "find", lambda side: side.engine.find(queue=queue, state=state, tags={"team": "red"}, limit=3), crashes=False
        )

    # --- what goes wrong --------------------------------------------------------------------------------------

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        """Whoever got no answer asks again."""
        assert self.last is not None
        _, call = self.last
        self.run("repeat", call, crashes=False)

    @rule(ms=st.sampled_from([1, TTL_MS // 2, TTL_MS, 10 * TTL_MS]), step_ms=st.sampled_from([0, 0, *JUMPS]))
    def time_passes(self, ms: int, step_ms: int) -> None:
        """Both clocks go on, or the wall clock jumps, ahead or back."""
        if step_ms:
            self.pair.clock.step(step_ms)
        else:
            self.pair.clock.advance(ms)

    @rule(rebuild=st.booleans())
    def reopen(self, rebuild: bool) -> None:
        """Another process goes on, perhaps with its projections made afresh."""
        self.pair.reopen()
        if rebuild:
            self.run("rebuild", lambda side: side.engine.rebuild(), crashes=False)

    @precondition(lambda self: self.crash_points)
    @rule(point=st.integers(0, 99), nth=st.sampled_from([1, 1, 1, 2]))
    def die_at_the_next_command(self, point: int, nth: int) -> None:
        """The store dies in the middle of the next command."""
        self.pair.crash = (self.crash_points[point % len(self.crash_points)], nth)


def store_machine(new_place: NewPlace, crash_points: tuple[str, ...] = ()) -> type[StoreMachine]:
    """A machine for one kind of store.

    Args:
        new_place: makes a place for one store and removes it afterwards, as a context manager; what it gives opens the
            store at that place with a clock and a chance, the first time and after each close or crash.
        crash_points: names of failpoints at which the store is killed in the middle of a command.
    """
    members = {"new_place": staticmethod(new_place), "crash_points": crash_points, "statistics": Statistics()}
    return type("StoreMachine", (StoreMachine,), members)


def prove(machine: type[StoreMachine], max_examples: int = 60, stateful_step_count: int = 40) -> None:
    """Run a machine, and see that the whole run met every verb, every refusal and every crash point.

    Raises:
        AssertionError: the store and the oracle differ, a history breaks a property, or something was never met.
    """
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=stateful_step_count,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    machine.statistics.require([*VERBS, *(f"crash at {point}" for point in machine.crash_points)], REFUSALS)
