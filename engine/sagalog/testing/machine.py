"""Random runs: workers race over one store, time jumps, the store dies, and the memory store gives the right answers.

    Machine = store_machine(new_place, crash_points=("commit.after_events", "commit.after_commit"))
    prove(Machine)

Rule: a rule draws a command and gives it to the pair. Interleavings are written as rules, one step of one worker at a
time, without threads. Hypothesis shrinks a failing run and prints how to repeat it. Knows no expected result.
"""

from __future__ import annotations

from typing import Any

from sagalog.kernel.decide.successors import steps_to_say
from sagalog.kernel.values import Compensation, Retry
from sagalog.testing.oracle_pair import NewPlace, Side, Statistics, plain

try:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        initialize,
        precondition,
        rule,
        run_state_machine_as_test,
    )

    from sagalog.testing import strategies
    from sagalog.testing.dedupe_run import DedupeRun
    from sagalog.testing.journal_run import JournalRun
    from sagalog.testing.recording_run import holds_work
except ImportError as error:
    raise ImportError("sagalog.testing.machine needs hypothesis: pip install 'sagalog[dev]'") from error


def holds_undo(machine: Any) -> bool:
    """Check whether a worker holds a lease for undoing."""
    return bool(machine.pair.living("undo"))


class StoreMachine(DedupeRun, JournalRun):
    """The rules of a random run, beside those of recording, waiting, limits, dedupe keys and schedules.

    `store_machine` makes a machine for one kind of store; its `statistics` are those of all its runs.
    """

    # --- what callers do --------------------------------------------------------------------------------------

    @initialize(
        given=st.tuples(strategies.creations, strategies.creations, strategies.creations), ttl_ms=strategies.ttls
    )
    def begin(self, given: tuple[dict[str, Any], ...], ttl_ms: int | None) -> None:
        """Begin with some tasks, of which some are leased, so that no run is empty."""
        for arguments in given:
            self.create(0, arguments, None)
        self.run("claim", lambda side: side.engine.claim(["left", "right"], owner="ann", ttl_ms=ttl_ms, limit=2))

    @rule(
        given=strategies.creations,
        others=st.lists(strategies.picks, min_size=1, max_size=3),
        on_failed=st.sampled_from(["cancel", "run", "quarantine"]),
        delay=strategies.delays,
        end=st.booleans(),
    )
    def create_after(
        self, given: dict[str, Any], others: list[int], on_failed: Any, delay: int | None, end: bool
    ) -> None:
        """Create a task that waits for others of the run, rarely for one that there is not; perhaps end one of them."""
        id = self.new_id()
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        more = {"id": id, "run_at_ms": run_at_ms, "on_failed": on_failed, **given}
        after = [self.task(other, "pending", "running") for other in others]
        self.run("create after", lambda side: side.engine.create(after=after, **more))
        if end:
            self.run("cancel", lambda side: side.engine.cancel(after[0], now=True))
            self.run("recover", lambda side: side.engine.recover(), crashes=False)

    @rule(pick=strategies.picks, given=strategies.creations, delay=strategies.delays, deadlines=strategies.deadlines)
    def create(
        self, pick: int, given: dict[str, Any], delay: int | None, deadlines: tuple[int | None, ...] = (None, None)
    ) -> None:
        """Create a new task, or the same again, or another under its id, or one whose id is drawn."""
        id = None if pick == 7 else self.task(pick) if pick > 7 else self.new_id()
        now_ms = self.pair.clock.now_ms()
        names = ("run_at_ms", "deadline_ms", "start_by_ms")
        given |= {name: now_ms + ms for name, ms in zip(names, (delay, *deadlines), strict=True) if ms is not None}
        self.run("create", lambda side: side.engine.create(id=id, **given))

    @rule(given=st.lists(st.tuples(strategies.picks, strategies.creations), min_size=1, max_size=3))
    def create_many(self, given: list[tuple[int, dict[str, Any]]]) -> None:
        """Create several at once, rarely one that exists."""
        first = self.new_id()
        specs = [
            {"id": self.task(pick) if pick > 8 else f"{first}-{place}", **arguments}
            for place, (pick, arguments) in enumerate(given)
        ]
        self.run("create_many", lambda side: side.engine.create_many(specs))

    @rule(
        undo=st.booleans(),
        queues=strategies.queues,
        owner=strategies.owners,
        ttl_ms=strategies.ttls,
        limit=st.integers(1, 3),
        kinds=strategies.kinds,
        undo_kinds=strategies.undo_kinds,
        idempotency_key=strategies.idempotency_keys,
        affinity=st.sampled_from([None, "red", ["blue", "red"]]),
        build=strategies.builds,
        suspects=strategies.suspects,
    )
    def claim(self, undo: bool, kinds: list[str] | None, undo_kinds: list[str] | None, **given: Any) -> None:
        """Claim forward work, or undoing."""
        if undo:
            self.run("claim_undo", lambda side: side.engine.claim(purpose="undo", kinds=undo_kinds, **given))
        else:
            self.run("claim", lambda side: side.engine.claim(kinds=kinds, **given))

    @rule(
        pick=strategies.picks,
        undo=st.booleans(),
        owner=strategies.owners,
        ttl_ms=strategies.ttls,
        kinds=strategies.undo_kinds,
        idempotency_key=strategies.idempotency_keys,
        build=strategies.builds,
    )
    def acquire(
        self,
        pick: int,
        undo: bool,
        owner: str,
        ttl_ms: int | None,
        kinds: list[str] | None,
        idempotency_key: str | None,
        build: str | None,
    ) -> None:
        """Lease one task, for work or for undoing."""
        id = self.task(pick, "compensating" if undo else "pending")
        given: dict[str, Any] = {"purpose": "undo", "kinds": kinds} if undo else {}
        given |= {"idempotency_key": idempotency_key, "build": build}
        verb = "acquire_undo" if undo else "acquire"
        self.run(verb, lambda side: side.engine.acquire(id, owner=owner, ttl_ms=ttl_ms, **given))

    @rule(
        owner=strategies.owners,
        planned=st.integers(0, 2),
        undos=strategies.undos,
        retry=st.sampled_from(strategies.RETRIES),
        then=st.sampled_from(["nothing", "acquire", "claim", "done", "failed", "out of order"]),
    )
    def fall_into_undoing(
        self, owner: str, planned: int, undos: list[Compensation], retry: Retry | None, then: str
    ) -> None:
        """Go the long way to a lease for undoing, and to its first use, in one rule, so that runs get there often."""
        id = self.new_id()
        given: Any = {"queue": "left", "compensations": strategies.UNDOS[:planned], "retry": retry}
        self.run("create", lambda side: side.engine.create("build", id=id, **given))
        if self.run("acquire", lambda side: side.engine.acquire(id, owner=owner, ttl_ms=strategies.TTL_MS)):
            self.of_newest("fail", id, lambda lease: lease.fail("no way on", undos))
        asked: Any = {"owner": owner, "ttl_ms": strategies.TTL_MS, "purpose": "undo"}
        if then == "claim":
            self.run("claim_undo", lambda side: side.engine.claim("left", **asked))
        elif then != "nothing" and self.run("acquire_undo", lambda side: side.engine.acquire(id, **asked)):
            owed = self.owed_of(id)
            if then == "done":
                self.of_newest("compensation_done", id, lambda lease: lease.compensation_done(owed[-1]))
            elif then == "failed":
                self.of_newest("compensation_failed", id, lambda lease: lease.compensation_failed(owed[-1], "no"))
            elif then == "out of order":
                self.of_newest("compensation_done", id, lambda lease: lease.compensation_done(owed[0]))

    @rule(
        pick=strategies.picks,
        owner=strategies.owners,
        undo=st.booleans(),
        asked=strategies.suspects,
        many=st.booleans(),
    )
    def fall_under_suspicion(self, pick: int, owner: str, undo: bool, asked: Any, many: bool) -> None:
        """Go the long way to a suspect, and to a claim that meets it."""
        id = self.new_id() if pick > 5 else self.task(pick, "compensating" if undo else "pending")
        if pick > 5:
            retry = strategies.RETRIES[5]
            self.run("create", lambda side: side.engine.create("build", id=id, queue="left", priority=-1, retry=retry))
        given: dict[str, Any] = {"owner": owner, "purpose": "undo" if undo else "work"}
        for _ in range(2):
            self.run("acquire", lambda side: side.engine.acquire(id, ttl_ms=strategies.TTL_MS, **given))
            self.pair.clock.advance(strategies.TTL_MS)
            self.run("recover", lambda side: side.engine.recover(), crashes=False)
        given |= {"ttl_ms": strategies.TTL_MS, "limit": 3 if many else 1, "suspects": asked}
        verb = "suspect" if asked == "only" else "claim"
        self.run(verb, lambda side: side.engine.claim(["left", "right"], **given))

    # --- what holders of leases do ----------------------------------------------------------------------------

    @rule(
        pick=strategies.picks,
        ttl_ms=st.none() | strategies.ttls,
        progress=st.none() | strategies.values,
        undo=st.booleans(),
    )
    def heartbeat(self, pick: int, ttl_ms: int | None, progress: Any, undo: bool) -> None:
        """Renew one lease."""
        purpose = "undo" if undo else "work"
        self.with_lease("heartbeat", pick, lambda lease: lease.heartbeat(ttl_ms, progress), purpose)

    @rule(places=st.lists(strategies.picks, max_size=4), ttl_ms=strategies.ttls)
    def heartbeat_many(self, places: list[int], ttl_ms: int | None) -> None:
        """Renew several leases, some of them lost."""

        def renew(side: Side) -> Any:
            held = [side.leases[-1 - place] for place in places if place < len(side.leases)]
            return side.engine.heartbeat(held, ttl_ms)

        self.run("heartbeat_many", renew)

    @precondition(holds_work)
    @rule(pick=strategies.picks, undo=st.sampled_from(strategies.UNDOS))
    def register(self, pick: int, undo: Compensation) -> None:
        """Record an undo."""
        self.with_lease("register", pick, lambda lease: lease.register(undo), "work")

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        quick=st.booleans(),
        value=strategies.values,
        text=strategies.texts,
        delay=strategies.delays,
    )
    def release_or_complete(self, pick: int, quick: bool, value: Any, text: str, delay: int | None) -> None:
        """Complete, or give the lease back."""
        if quick:
            run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
            purpose = "undo" if pick > 6 else "work"
            self.with_lease("release", pick, lambda lease: lease.release(text, run_at_ms), purpose)
        else:
            self.with_lease("complete", pick, lambda lease: lease.complete(value), "work")

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        error=strategies.texts,
        budget=strategies.budgets,
        delay=strategies.delays,
        after_ms=strategies.retry_afters,
    )
    def retry(self, pick: int, error: str, budget: Any, delay: int | None, after_ms: int | None) -> None:
        """Fail for now."""
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        self.with_lease(f"retry {budget}", pick, lambda lease: lease.retry(error, run_at_ms, budget, after_ms), "work")

    @precondition(holds_work)
    @rule(pick=strategies.picks, reason=strategies.texts, undos=strategies.undos, waiver=st.none() | strategies.texts)
    def fail(self, pick: int, reason: str, undos: list[Compensation], waiver: str | None) -> None:
        """Fail for good."""
        self.with_lease("fail", pick, lambda lease: lease.fail(reason, undos, waiver), "work")

    @precondition(holds_undo)
    @rule(pick=strategies.picks, done=st.booleans(), error=strategies.texts, delay=strategies.delays)
    def undo(self, pick: int, done: bool, error: str, delay: int | None) -> None:
        """Report an undo as done or failed, mostly the one whose turn it is."""
        id = self.turn(pick)
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        if done:
            self.with_lease("compensation_done", pick, lambda lease: lease.compensation_done(id), "undo")
        else:
            self.with_lease(
                "compensation_failed", pick, lambda lease: lease.compensation_failed(id, error, run_at_ms), "undo"
            )

    @precondition(lambda self: self.pair.oracle.leases)
    @rule(pick=st.integers(0, 99), verb=st.sampled_from(sorted(strategies.LATE)))
    def late(self, pick: int, verb: str) -> None:
        """Use some copy of a lease once more, mostly one that has ended long ago."""
        place = pick % len(self.pair.oracle.leases)
        self.run(f"late {verb}", lambda side: strategies.LATE[verb](side.leases[place]))

    @precondition(lambda self: self.pair.living())
    @rule(pick=strategies.picks, verb=st.sampled_from(sorted(strategies.LATE)))
    def overtake(self, pick: int, verb: str) -> None:
        """Let a worker sleep until another one has its task, and then go on as if nothing had happened."""
        living = self.pair.living()
        place = living[pick % len(living)]
        late = self.pair.oracle.leases[place]
        self.pair.clock.advance(5 * strategies.TTL_MS)
        given: Any = {"owner": "eve", "ttl_ms": strategies.TTL_MS, "purpose": late.purpose}
        self.run("acquire", lambda side: side.engine.acquire(late.task.id, **given))
        self.run(f"late {verb}", lambda side: strategies.LATE[verb](side.leases[place]))

    # --- what operators do ------------------------------------------------------------------------------------

    @rule(
        pick=strategies.picks,
        reason=st.none() | strategies.texts,
        now=st.booleans(),
        idempotency_key=strategies.idempotency_keys,
    )
    def cancel(self, pick: int, reason: str | None, now: bool, idempotency_key: str | None) -> None:
        """Cancel a task."""
        id = self.task(pick, "running", "pending")
        self.run("cancel", lambda side: side.engine.cancel(id, reason, now, idempotency_key=idempotency_key))

    @rule(pick=strategies.picks, given=strategies.amendments, idempotency_key=strategies.idempotency_keys)
    def amend(self, pick: int, given: dict[str, Any], idempotency_key: str | None) -> None:
        """Amend a task, mostly one that no worker holds."""
        id, now_ms = self.task(pick, "pending", "compensating"), self.pair.clock.now_ms()
        given = {
            name: now_ms + value if name.endswith("_ms") and value is not None else value
            for name, value in given.items()
        }
        self.run("amend", lambda side: side.engine.amend(id, idempotency_key=idempotency_key, **given))

    @rule(pick=strategies.picks, reason=strategies.texts, idempotency_key=strategies.idempotency_keys)
    def quarantine(self, pick: int, reason: str, idempotency_key: str | None) -> None:
        """Quarantine a task."""
        id = self.task(pick, "running", "compensating")
        self.run("quarantine", lambda side: side.engine.quarantine(id, reason, idempotency_key=idempotency_key))

    @rule(
        pick=strategies.picks,
        text=strategies.texts,
        verb=st.sampled_from(["note", "settle", "waive"]),
        idempotency_key=strategies.idempotency_keys,
    )
    def say(self, pick: int, text: str, verb: str, idempotency_key: str | None) -> None:
        """Note a remark, settle by a note what a quarantine left, or waive what is owed."""
        if verb == "waive":
            id = self.task(pick, "compensating", "running")
            undo = self.undo_of(id, pick)
            self.run("waive", lambda side: side.engine.waive(id, undo, text, idempotency_key=idempotency_key))
        else:
            id = self.task(pick, *(["quarantined"] if verb == "settle" else []))
            owed = self.owed_of(id) if verb == "settle" else []
            self.run("note", lambda side: side.engine.note(id, text, owed, idempotency_key=idempotency_key))

    @rule(
        pick=strategies.picks,
        quarantined=st.booleans(),
        idempotency_key=strategies.idempotency_keys,
        choice=st.sampled_from(["nothing", "results", "results", "rerun", "of another"]),
    )
    def retry_as_new(self, pick: int, quarantined: bool, idempotency_key: str | None, choice: str) -> None:
        """Retry an ended task as a new one, mostly one that was quarantined with debts, or over a step."""
        states = ["quarantined"] if quarantined else ["failed", "compensated", "cancelled", "quarantined"]
        id = self.task(pick, *states)
        fold = self.pair.memory.tables.folds.get(id)
        steps = [] if fold is None else steps_to_say(fold)
        given: dict[str, Any] = {}
        if choice == "of another":
            given = {"rerun": ["unheard of"]} if pick > 6 else {}
        elif steps and choice != "nothing":
            some = steps[: 1 + pick % len(steps)] if pick > 16 else steps
            given = {"rerun": some} if choice == "rerun" else {"results": dict.fromkeys(some, pick)}
        self.run("retry as new", lambda side: side.engine.retry_as_new(id, idempotency_key=idempotency_key, **given))

    @rule(
        limit=st.none() | st.integers(1, 2),
        unknown=st.sampled_from([(), (), ("close",)]),
        known=st.sampled_from([None, None, ["remove"], ["remove", "close"]]),
        queues=st.none() | strategies.queues,
    )
    def recover(self, limit: int | None, unknown: tuple[str, ...], **given: Any) -> None:
        """Do all maintenance, in all queues or in some."""
        known = given.pop("known")
        self.run("recover", lambda side: side.engine.recover(limit, unknown, known_kinds=known, **given), crashes=False)

    @precondition(lambda self: self.pair.oracle.leases)
    @rule(commands=st.lists(st.tuples(st.sampled_from(sorted(strategies.BATCHED)), strategies.picks), max_size=4))
    def batch(self, commands: list[tuple[str, int]]) -> None:
        """Carry out several commands as one."""
        new, living = self.new_id(), self.pair.living() or [len(self.pair.oracle.leases) - 1]
        ids = [new if name == "create" else self.task(pick) for name, pick in commands]

        def run(side: Side) -> Any:
            with side.engine.batch() as batch:
                for (name, pick), id in zip(commands, ids, strict=True):
                    strategies.BATCHED[name](batch, id, side.leases[living[pick % len(living)]])
            return batch.results

        self.run("batch", run)

    @precondition(lambda self: self.pair.oracle.leases)
    @rule(
        commands=st.lists(st.tuples(st.sampled_from(sorted(strategies.BATCHED)), strategies.picks), max_size=3),
        together=st.booleans(),
        queues=strategies.queues,
        owner=strategies.owners,
        limit=st.integers(1, 3),
        suspects=strategies.suspects,
    )
    def settle_and_claim(self, commands: list[tuple[str, int]], together: bool, **given: Any) -> None:
        """Carry out several commands and a claim in one commit, all or none or each by itself."""
        new, living = self.new_id(), self.pair.living() or [len(self.pair.oracle.leases) - 1]
        ids = [new if name == "create" else self.task(pick) for name, pick in commands]

        def run(side: Side) -> Any:
            with side.engine.batch(together=together) as batch:
                for (name, pick), id in zip(commands, ids, strict=True):
                    strategies.BATCHED[name](batch, id, side.leases[living[pick % len(living)]])
                batch.claim(ttl_ms=strategies.TTL_MS, **given)
            return [
                one for result in batch.results for one in (result if isinstance(result, list) else [plain(result)])
            ]

        self.run("settle and claim", run)

    @precondition(lambda self: self.pair.oracle.leases)
    @rule(pick=st.integers(0, 99))
    def reattach(self, pick: int) -> None:
        """Resume a lease by its fence in another process, as it was when it was acquired."""
        lease = self.pair.oracle.leases[pick % len(self.pair.oracle.leases)]
        self.run("reattach", lambda side: side.engine.reattach(lease.task.id, lease.fence), crashes=False)

    # --- what is read -----------------------------------------------------------------------------------------

    @rule(pick=strategies.picks)
    def read(self, pick: int) -> None:
        """Read one task, and all that callers see of it."""
        id = self.task(pick)
        self.run("get", lambda side: side.engine.get(id), crashes=False)
        self.run("history", lambda side: side.engine.history(id), crashes=False)
        self.run("wait", lambda side: side.engine.wait(id, 0), crashes=False)

    @rule(
        queue=st.sampled_from([None, "left"]),
        state=st.sampled_from(["pending", "compensating", ["quarantined", "running"]]),
        more=st.sampled_from([{"tags": {"team": "red"}}, {"waiting": True}, {"newest_first": True}]),
    )
    def find(self, queue: str | None, state: str | list[str], more: dict[str, Any]) -> None:
        """List tasks."""
        given: Any = {"queue": queue, "state": state, "limit": 3, **more}
        self.run("find", lambda side: side.engine.find(**given), crashes=False)

    # --- what goes wrong --------------------------------------------------------------------------------------

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self) -> None:
        """Repeat the last command, as a caller that got no answer."""
        assert self.last is not None
        _, call = self.last
        self.run("repeat", call, crashes=False)

    @rule(ms=st.sampled_from(strategies.WAITS), step_ms=st.sampled_from([0, 0, *strategies.JUMPS]))
    def time_passes(self, ms: int, step_ms: int) -> None:
        """Advance both clocks, or let the wall clock jump, ahead or back."""
        if step_ms:
            self.pair.clock.step(step_ms)
        else:
            self.pair.clock.advance(ms)

    @rule(rebuild=st.booleans())
    def reopen(self, rebuild: bool) -> None:
        """Go on as another process, perhaps with rebuilt projections."""
        self.pair.reopen()
        if rebuild:
            self.run("rebuild", lambda side: side.engine.rebuild(), crashes=False)

    @precondition(lambda self: self.crash_points)
    @rule(point=st.integers(0, 99), nth=st.sampled_from([1, 1, 1, 2]))
    def die_at_the_next_command(self, point: int, nth: int) -> None:
        """Let the store die in the middle of the next command."""
        self.pair.crash = (self.crash_points[point % len(self.crash_points)], nth)


def store_machine(new_place: NewPlace, crash_points: tuple[str, ...] = ()) -> type[StoreMachine]:
    """Make a machine for one kind of store.

    Args:
        new_place: a context manager that makes a place for one store and removes it afterwards; it gives the function
            that opens the store there with a clock and entropy, the first time and after each close or crash.
        crash_points: names of failpoints at which the machine kills the store in the middle of a command.
    """
    members = {"new_place": staticmethod(new_place), "crash_points": crash_points, "statistics": Statistics()}
    return type("StoreMachine", (StoreMachine,), members)


def prove(
    machine: type[StoreMachine], max_examples: int = 150, stateful_step_count: int = 50, rounds_max: int = 22
) -> None:
    """Run a machine in rounds until every verb, every refusal and every crash point was met.

    The first round has `max_examples` runs; each other one, for what the first has missed, a third of that.

    Raises:
        AssertionError: the store and the oracle differ, a history breaks a property, or all rounds have missed a verb,
            a refusal or a crash point.
    """
    first = settings(
        max_examples=max_examples,
        stateful_step_count=stateful_step_count,
        deadline=None,
        # Rounds that repeat one another, as they do where a CI server makes Hypothesis predictable, would meet no more.
        derandomize=False,
        print_blob=True,
        # All but the phase `explain`, which takes longer than all else and names lines of the stores at best.
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    verbs = [*strategies.VERBS, *(f"crash at {point}" for point in machine.crash_points)]
    again = settings(first, max_examples=max(1, max_examples // 3))
    for left in reversed(range(rounds_max)):
        run_state_machine_as_test(machine, settings=first if left == rounds_max - 1 else again)
        never = machine.statistics.never(verbs, strategies.REFUSALS)
        assert never == [] or left, f"in {rounds_max} rounds these were never met: {never}; {machine.statistics}"
        if not never:
            return
