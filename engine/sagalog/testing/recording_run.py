"""The rules of a random run by which holders record steps and artifacts, and tasks wait: part of `machine`.

Rule: as in `machine`, a rule draws a command and gives it to the pair. It draws waits from few names, so that runs meet
one that is over, and from the tasks of the run, so that they meet ends, circles and tasks that no rule created. Knows
no expected result.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sagalog.engine.entries import CommandEntry
from sagalog.engine.lease import Lease
from sagalog.kernel.values import Compensation, UnrecordedStep
from sagalog.testing import strategies
from sagalog.testing.oracle_pair import Side
from sagalog.testing.random_run import Run
from sagalog.validation import commands as forms


def holds_work(machine: Any) -> bool:
    """Check whether a worker holds a lease for forward work."""
    return bool(machine.pair.living("work"))


def _number(lease: Lease, name: str, ahead: int) -> int:
    """Return the number of the next wait of a name, or, rarely, of one that is over or later."""
    return max(1, lease.task.waits.get(name, 0) + 1 + ahead)


def _wait_end(task: str, name: str, number: int, side: Side) -> Any:
    return side.engine.wait_end(task, name, number)


class RecordingRun(Run):
    """The rules of recording and waiting."""

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        name=strategies.names,
        value=strategies.values,
        undo=st.none() | st.sampled_from(strategies.UNDOS),
    )
    def step(self, pick: int, name: str, value: Any, undo: Compensation | None) -> None:
        """Record a step, or repeat it; some name an undo, which may not be on record."""
        self.with_lease("step", pick, lambda lease: lease.step(name, value, undo), "work")

    @rule(
        owner=strategies.owners,
        name=strategies.names,
        again=st.booleans(),
        recorded=st.booleans(),
        end=st.sampled_from(["complete", "fail", "look"]),
    )
    def succeed_in_the_middle(self, owner: str, name: str, again: bool, recorded: bool, end: str) -> None:
        """Go the long way to a successor that keeps a step, and owes an undo that no recorded step names."""
        id = self.new_id()
        given: Any = {"owner": owner, "ttl_ms": strategies.TTL_MS}
        self.run("create", lambda side: side.engine.create("build", id=id, queue="left"))
        if not self.run("acquire", lambda side: side.engine.acquire(id, **given)):
            return
        self.with_lease("register", 0, lambda lease: lease.register(strategies.UNDOS[0]), "work")
        self.with_lease("register", 0, lambda lease: lease.register(strategies.UNDOS[1]), "work")
        self.with_lease("step", 0, lambda lease: lease.step(name, 1, strategies.UNDOS[0]), "work")
        self.run("create", lambda side: side.engine.create("test", id=f"{id}-child", parent=id if again else None))
        if recorded:
            self.run("quarantine", lambda side: side.engine.quarantine(id, "odd"))
        else:
            self.with_lease(
                "quarantine held",
                0,
                lambda lease: lease.quarantine("odd", [UnrecordedStep("over", strategies.UNDOS[1].id)]),
                "work",
            )
        self.run("retry as new", lambda side: side.engine.retry_as_new(id))
        if not recorded and end != "look":
            choice: Any = {"results": {"over": 1}} if again else {"rerun": ["over"]}
            self.run("retry as new", lambda side: side.engine.retry_as_new(id, **choice))
        heir = self.pair.oracle.engine.get(id)
        if heir is None or heir.successor is None or end == "look":
            return
        successor = heir.successor
        if self.run("acquire", lambda side: side.engine.acquire(successor, **given)):
            if again:
                self.with_lease("register", 0, lambda lease: lease.register(strategies.UNDOS[1]), "work")
            self.with_lease("adopt child", 0, lambda lease: lease.adopt_child(name, f"{id}-child"), "work")
            if end == "fail":
                self.with_lease("fail", 0, lambda lease: lease.fail("no way on"), "work")
            else:
                self.with_lease("complete", 0, lambda lease: lease.complete("done"), "work")

    @precondition(lambda self: self.pair.living())
    @rule(pick=strategies.picks, name=strategies.names, data=strategies.contents, undo=st.booleans())
    def put_artifact(self, pick: int, name: str, data: bytes, undo: bool) -> None:
        """Put an artifact, or replace one."""
        purpose = "undo" if undo else "work"
        self.with_lease("put artifact", pick, lambda lease: lease.put_artifact(name, data, "text/plain"), purpose)

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        name=strategies.names,
        signal=strategies.words,
        delay=strategies.delays,
        ahead=strategies.aheads,
    )
    def park_for_signal(self, pick: int, name: str, signal: str, delay: int | None, ahead: int) -> None:
        """Wait for a signal, perhaps for so long."""
        until_ms = None if delay is None else self.pair.clock.now_ms() + delay

        def park(lease: Lease) -> Any:
            return lease.park(name, signal, until_ms=until_ms, number=_number(lease, name, ahead))

        self.with_lease("park for a signal", pick, park, "work")

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        name=strategies.names,
        others=st.lists(strategies.picks, min_size=1, max_size=2),
        delay=strategies.delays,
        ahead=strategies.aheads,
    )
    def park_for_tasks(self, pick: int, name: str, others: list[int], delay: int | None, ahead: int) -> None:
        """Wait for other tasks of the run, in whatever state they are."""
        until_ms = None if delay is None else self.pair.clock.now_ms() + delay
        after = [self.task(other, "pending", "running") for other in others]

        def park(lease: Lease) -> Any:
            return lease.park(name, None, after, until_ms, number=_number(lease, name, ahead))

        self.with_lease("park for tasks", pick, park, "work")

    @precondition(holds_work)
    @rule(pick=strategies.picks, name=strategies.names, ms=st.sampled_from(strategies.WAITS), ahead=strategies.aheads)
    def park_for_time(self, pick: int, name: str, ms: int, ahead: int) -> None:
        """Sleep."""
        until_ms = self.pair.clock.now_ms() + ms

        def park(lease: Lease) -> Any:
            return lease.park(name, until_ms=until_ms, number=_number(lease, name, ahead))

        self.with_lease("park for a time", pick, park, "work")

    @rule(
        owner=strategies.owners,
        name=strategies.names,
        circle=st.booleans(),
        end=st.sampled_from(["cancel", "note", "look", "again"]),
    )
    def wait_for_one_another(self, owner: str, name: str, circle: bool, end: str) -> None:
        """Go the long way to a wait for another task, in one rule; then that one ends, or waits in its turn.

        `again`: the holder repeats the wait that is over.
        """
        waiter = self.new_id()
        other = f"{waiter}-other"
        specs = [{"kind": "build", "id": id, "queue": "left"} for id in (waiter, other)]
        self.run("create_many", lambda side: side.engine.create_many(specs))
        given: Any = {"owner": owner, "ttl_ms": strategies.TTL_MS}
        if self.run("acquire", lambda side: side.engine.acquire(waiter, **given)):
            self.with_lease("park for tasks", 0, lambda lease: lease.park(name, None, [other]), "work")
        if circle and self.run("acquire", lambda side: side.engine.acquire(other, **given)):
            self.with_lease("park for tasks", 0, lambda lease: lease.park(name, None, [waiter]), "work")
        if end != "look":
            self.run("cancel", lambda side: side.engine.cancel(other, now=True))
        if end == "note":
            self.run("note", lambda side: side.engine.note(waiter, "seen"))
        self.run("claim", lambda side: side.engine.claim("left", limit=2, **given))
        if end == "again":
            self.of_newest("park for tasks", waiter, lambda lease: lease.park(name, None, [other], number=1))

    @rule(owner=strategies.owners, name=strategies.names, first=st.booleans(), delay=strategies.delays)
    def park_and_end_in_one_batch(self, owner: str, name: str, first: bool, delay: int | None) -> None:
        """Park a task and end the one that it waits for in one commit, whichever stream comes first."""
        waiter = self.new_id()
        other = f"{waiter}-other"
        specs = [{"kind": "build", "id": id, "queue": "left"} for id in (waiter, other)]
        self.run("create_many", lambda side: side.engine.create_many(specs))
        given: Any = {"owner": owner, "ttl_ms": strategies.TTL_MS}
        if not self.run("acquire", lambda side: side.engine.acquire(waiter, **given)):
            return
        place = self.pair.living("work")[0]
        until_ms = None if delay is None else self.pair.clock.now_ms() + delay

        def batch(side: Side) -> Any:
            with side.engine.batch() as batch:
                if first:
                    batch.note(other, "nearly there")
                batch.park(side.leases[place], name, after=[other], until_ms=until_ms)
                batch.cancel(other)
            return batch.results

        self.run("batch", batch)

    @precondition(holds_work)
    @rule(
        pick=strategies.picks,
        name=strategies.names,
        on_parent_end=st.sampled_from(["cancel", "cancel", "leave"]),
        held=st.booleans(),
        end=st.sampled_from(["cancel", "fail", "complete", "look"]),
    )
    def spawn(self, pick: int, name: str, on_parent_end: Any, held: bool, end: str) -> None:
        """Create a child as the handler of a held task does, perhaps lease it, and perhaps end the parent's work."""
        places = self.pair.living("work")
        place = places[pick % len(places)]
        parent = self.pair.oracle.leases[place].task.id
        id = f"{parent}/{name}"
        command = forms.create("build", id=id, queue="left", parent=parent, on_parent_end=on_parent_end)
        entry = CommandEntry(command, "worker:ann")
        self.run("spawn", lambda side: side.engine._executor.carry_out(entry))
        if held:
            self.run("acquire", lambda side: side.engine.acquire(id, owner="ann", ttl_ms=strategies.TTL_MS))
        if end == "cancel":
            self.run("cancel", lambda side: side.engine.cancel(parent, now=True))
        elif end == "fail":
            self.run("fail", lambda side: side.leases[place].fail("no way on", waive_compensation="it has no effects"))
        elif end == "complete":
            self.run("complete", lambda side: side.leases[place].complete("done"))

    @rule(
        pick=strategies.picks,
        name=strategies.words,
        value=strategies.values,
        idempotency_key=strategies.idempotency_keys,
    )
    def signal(self, pick: int, name: str, value: Any, idempotency_key: str | None) -> None:
        """Send a task a signal, mostly one that waits for it."""
        waits = [fold.id for fold in self.pair.memory.tables.folds.values() if fold.waiting is not None]
        id = waits[-1 - pick % len(waits)] if waits and pick < 6 else self.task(pick, "pending", "running")
        self.run("signal", lambda side: side.engine.signal(id, name, value, idempotency_key=idempotency_key))

    @precondition(lambda self: self.pair.living())
    @rule(
        pick=st.integers(0, 19),
        reason=strategies.texts,
        undo=st.booleans(),
        steps=st.lists(strategies.names, max_size=2),
    )
    def quarantine_held(self, pick: int, reason: str, undo: bool, steps: list[str]) -> None:
        """Quarantine a task as its holder, perhaps over a step; rarely, since it ends the task."""
        if pick < 10:
            self.with_lease(
                "quarantine held", pick, lambda lease: lease.quarantine(reason, steps), "undo" if undo else "work"
            )

    @rule(pick=strategies.picks, name=strategies.names)
    def read_what_was_recorded(self, pick: int, name: str) -> None:
        """Read results, bytes, and the ends of waits, mostly of such as are on record."""
        waited, waited_name = self._recorded("waits", pick, name)
        stepped, step_name = self._recorded("steps", pick, name)
        made, made_name = self._recorded("artifacts", pick, name)
        for number in (1, 2):
            self.run("wait end", partial(_wait_end, waited, waited_name, number), crashes=False)
        self.run("wait ends", lambda side: side.engine.wait_ends(waited), crashes=False)
        self.run("step result", lambda side: side.engine.step_result(stepped, step_name), crashes=False)
        self.run("artifact", lambda side: side.engine.artifact(made, made_name), crashes=False)
        self.run("input", lambda side: side.engine.input(waited, "spec"), crashes=False)

    @rule(older_than_ms=st.sampled_from([0, 0, *strategies.WAITS]), limit=st.sampled_from([None, None, 1]))
    def prune(self, older_than_ms: int, limit: int | None) -> None:
        """Prune bytes of tasks that have ended so long ago, perhaps only some."""
        self.run("prune", lambda side: side.engine.prune(older_than_ms, limit=limit))

    @rule(data=strategies.contents, end=st.sampled_from(["cancel", "wait", "look"]), again=st.booleans())
    def prune_what_has_ended(self, data: bytes, end: str, again: bool) -> None:
        """Go the long way to bytes that only ended tasks name, or that another may still need."""
        id = self.new_id()
        self.run("create", lambda side: side.engine.create("build", id=id, queue="left", inputs={"spec": data}))
        if end == "wait":
            self.run("create after", lambda side: side.engine.create("build", id=f"{id}-other", after=[id]))
        if end != "look":
            self.run("cancel", lambda side: side.engine.cancel(id))
        self.run("prune", lambda side: side.engine.prune(0))
        if again:
            self.run("retry as new", lambda side: side.engine.retry_as_new(id))
        self.run("input", lambda side: side.engine.input(id, "spec"), crashes=False)

    def _recorded(self, kind: str, pick: int, name: str) -> tuple[str, str]:
        """Pick a task and a name under which it has something of that kind on record; rarely one that has not.

        Live tasks come first: what those that have ended have on record may be pruned.
        """
        folds = sorted(self.pair.memory.tables.folds.values(), key=lambda fold: fold.is_terminal)
        found = [(fold.id, one) for fold in folds for one in getattr(fold, kind)]
        return found[pick % len(found)] if found and pick < 8 else (self.task(pick), name)
