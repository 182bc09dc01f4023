"""A store and its oracle, which carry out the same commands and are compared after each.

Rule: both see the same clock and the same entropy, so everything must be equal: answers, refusals with all their
fields, every envelope of the log, and every listing. Knows no hypothesis: `machine` draws the commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from typing import Any, Final

import msgspec

from sagalog import failpoints
from sagalog.codec import Recorded
from sagalog.engine import Engine
from sagalog.engine.lease import Lease, Renewal
from sagalog.engine.local_executor import LocalExecutor
from sagalog.engine.task import Task
from sagalog.errors import Corrupt, Pruned, SagalogError, Unavailable, Unknown
from sagalog.kernel.values import Purpose
from sagalog.ports import Clock, Entropy
from sagalog.store import Store
from sagalog.store.memory import MemoryStore
from sagalog.testing.clock import ManualClock
from sagalog.testing.entropy import SeededEntropy
from sagalog.testing.history import PROPERTIES, check, explain
from sagalog.testing.projections import lasting, places

# The builds of workers to which some tasks of a run are pinned.
BUILDS: Final = ("b1", "b2")

# A function that opens the store of one run, and opens it again after it was closed or crashed.
Open = Callable[[Clock, Entropy], Engine]
NewPlace = Callable[[], AbstractContextManager[Open]]

START_MS: Final = 1_700_000_000_000
# Longer than any delay and any lease that the runs draw.
LONG_MS: Final = 10_000_000
PURPOSES: Final[tuple[Purpose, ...]] = ("work", "undo")
AFTER_COMMIT: Final = "commit.after_commit"
# Answers that do not show what a verb does.
NOTHING: Final[tuple[Any, ...]] = (None, [], Renewal((), ()))


class Crash(BaseException):
    """The simulated death of the process, after so many commits; code that catches errors must not catch it."""

    def __init__(self, commits: int) -> None:
        super().__init__(commits)
        self.commits = commits


class Statistics:
    """The counts of all runs: how often each verb succeeded, and how often each refusal was met."""

    def __init__(self) -> None:
        self.succeeded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def never(self, verbs: Iterable[str], refusals: Iterable[str]) -> list[str]:
        """List the verbs and refusals that were never met: the runs have proved nothing about them."""
        return sorted({*verbs} - {*self.succeeded}) + sorted({*refusals} - {*self.refused})

    def __str__(self) -> str:
        return f"succeeded: {dict(self.succeeded)}; refused: {dict(self.refused)}"


class Side:
    """One side of the pair: an engine, and its leases, at the same places as on the other side."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.leases: list[Lease] = []

    def moved_to(self, engine: Engine) -> None:
        """Go on with another engine, and rebind the leases to it, as a worker that reconnects does."""
        self.engine = engine
        self.leases = [engine.rebind(lease) for lease in self.leases]


Call = Callable[[Side], Any]


class Pair:
    """The store under test (`real`) beside the memory store (`oracle`)."""

    def __init__(self, open_: Open, statistics: Statistics) -> None:
        self.clock = ManualClock(START_MS)
        self.statistics = statistics
        self.memory = MemoryStore(self.clock)
        self._open = open_
        self._openings = 0
        self.real = Side(self._open_real())
        self.oracle = Side(self._open_oracle())
        self.crash: tuple[str, int] | None = None
        self._latest_ms = START_MS
        self._has_stepped_back = False

    def run(self, verb: str, call: Call, crashes: bool = True) -> bool:
        """Carry out a command on both sides and compare the results; return whether it succeeded.

        If `crash` is set to a failpoint and a number, the store dies when one command gets there for the n-th time.
        Then the pair opens the store again, and the log must hold the command as a whole or not at all.
        """
        crash = self.crash if crashes else None
        events = len(self.real_log())
        found = _carry_out(call, self.real, crash)
        if isinstance(found, Crash):
            assert crash is not None
            self.crash = None
            self._settle(verb, call, crash[0], found.commits, events)
            return False
        expected = _carry_out(call, self.oracle, None)
        assert plain(found) == plain(expected), (
            f"{verb}: the store says {whole(found)} and the oracle {whole(expected)}"
        )
        assert not isinstance(found, Corrupt | Unavailable | Unknown), f"{verb}: the store says {found!r}"
        if isinstance(found, Exception):
            self.statistics.refused[getattr(found, "code", "timeout")] += 1
            return False
        if found not in NOTHING:
            self.statistics.succeeded[verb] += 1
        self.real.leases += _leases_in(found)
        self.oracle.leases += _leases_in(expected)
        return True

    def reopen(self) -> None:
        """Close the store and open it again; the log stays, and the memory of the engine is gone."""
        self.real.engine.close()
        self.real.moved_to(self._open_real())
        self.oracle.moved_to(self._open_oracle())

    def compare(self) -> None:
        """Check that both sides answer every question alike, and that each dedupe key has one task."""
        self._note_clock()
        real, oracle = self.real.engine, self.oracle.engine
        assert self.real_log() == oracle.events(limit=10_000), "the logs differ"
        for name in ("find", "counts", "stale", "limits", "queues", "paused_kinds", "schedules", "journals"):
            found, expected = getattr(real, name)(), getattr(oracle, name)()
            assert found == expected, f"{name}: the store says {whole(found)} and the oracle {whole(expected)}"

        found, expected = places(_store_of(real)), places(self.memory)
        assert found == expected, f"places, keys, accounts: the store says {found} and the oracle {expected}"
        _require_unique(self.memory)

    def _note_clock(self) -> None:
        now_ms = self.clock.now_ms()
        self._has_stepped_back = self._has_stepped_back or now_ms < self._latest_ms
        self._latest_ms = max(self._latest_ms, now_ms)

    def finish(self, queues: list[str]) -> None:
        """Resume all that is paused and work off every task: each that a limit has held back must come in."""
        for side in (self.real, self.oracle):
            _resume_all(side.engine)
            _remove_schedules(side.engine)
        for _ in range(200):
            for place in self.living("work"):
                self.run("finish", partial(_complete, place))
            # After the ends, which let in what has units: the rest has to come in by time alone.
            self.clock.advance(LONG_MS)
            before = len(self.real_log())
            for suspects, build in product(("alone", "only"), BUILDS):
                given: dict[str, Any] = {"owner": "last", "ttl_ms": None, "limit": 1_000, "suspects": suspects}
                self.run("finish", partial(_claim, queues, {**given, "build": build}))
            if len(self.real_log()) == before:
                # Not if it has only leased nothing: a look may have let a task in that the next claim finds.
                break
        left = [task.id for task in self.oracle.engine.find(state="pending") if task.waiting is None]
        assert left == [], f"these tasks were never let in: {left}"

    def drain(self, queues: list[str]) -> None:
        """Claim all tasks, now and when all have become due: the order and the time of each must be the same."""
        self.crash = None
        for side in (self.real, self.oracle):
            _remove_schedules(side.engine)
        for wait_ms in (0, LONG_MS):
            self.clock.advance(wait_ms)
            for purpose, build in product(PURPOSES, (None, *BUILDS)):
                given: dict[str, Any] = {"owner": "last", "ttl_ms": None, "limit": 1_000, "purpose": purpose}
                given["build"] = build
                self.run("drain", partial(_claim, queues, given))
                leased = -1
                while leased < len(self.oracle.leases):
                    # [LEASE-5] A claim leases each of these alone.
                    leased = len(self.oracle.leases)
                    self.run("drain", partial(_claim, queues, {**given, "suspects": "only"}))
        self.compare()

    def verify(self) -> None:
        """Check that the projections of both sides are such as their logs give."""
        for side in (self.real, self.oracle):
            report = side.engine.verify()
            assert report.ok, report.faults

    def rebuild(self) -> None:
        """Rebuild both sides; what follows from several streams must be as it was. [LIMIT-7] [DEDUPE-4] [WAIT-3]"""
        now_ms = None if self._has_stepped_back else self.clock.now_ms()
        for side in (self.real, self.oracle):
            store = _store_of(side.engine)
            before = lasting(store, now_ms)
            side.engine.rebuild()
            found = lasting(store, now_ms)
            differ = {name: (before.get(name), found.get(name)) for name in {*before, *found}}
            differ = {name: pair for name, pair in differ.items() if pair[0] != pair[1]}
            assert not differ, f"a rebuild gives otherwise, by name (before, after): {differ}"

    def audit(self) -> None:
        """Check that both are sound, and that the history breaks no property."""
        self._compare_recorded()
        for side in (self.real, self.oracle):
            side.engine.recover()
        self.compare()
        self._compare_relations()
        self.verify()
        # [DEDUPE-4] Then a period may end earlier, and no event need show it.
        names = [name for name in PROPERTIES if name != "dedupe_periods" or not self._has_stepped_back]
        violations = check(self.real_log(), names)
        assert not violations, explain(violations)

    def _compare_relations(self) -> None:
        """Compare the edges of all tasks; no child that is cancelled with its parent outlives that. [WAIT-3] [CANCEL-4]

        The streams of both are numbered alike.
        """
        executor = self.real.engine._executor
        assert isinstance(executor, LocalExecutor)
        with executor.store.read() as snapshot:
            edges = {stream: saved.awaited for stream in self._streams() if (saved := snapshot.saved(stream))}
            assert snapshot.dependants_due() == snapshot.children_due() == frozenset(), "something is left to be done"
        tables = self.memory.tables
        expected = {f"task/{id}": tuple(sorted(awaited)) for id, awaited in tables.awaited.items()}
        assert edges == expected, f"edges: the store has {edges} and the oracle {expected}"
        for id, row in tables.rows.items():
            parent = None if row.follows is None else tables.folds.get(row.follows)
            assert parent is None or parent.outcome is None, f"{id} has outlived its parent {row.follows}"

    def _streams(self) -> list[str]:
        return [f"task/{id}" for id in self.memory.tables.order]

    def _compare_recorded(self) -> None:
        """Compare results, bytes and the ends of waits, of all tasks, read by name."""
        real, oracle = self.real.engine, self.oracle.engine
        for task in oracle.find():
            reads = [("step_result", name) for name in task.steps]
            ends = [_recorded(engine, "wait_ends", task.id) for engine in (real, oracle)]
            assert ends[0] == ends[1], f"the ends of the waits of {task.id} differ"
            reads += [("artifact", name) for name in task.artifacts] + [("input", one.name) for one in task.inputs]
            for verb, name in reads:
                found, expected = _recorded(real, verb, task.id, name), _recorded(oracle, verb, task.id, name)
                assert found == expected, f"{verb} {task.id} {name}: the store says {found!r} and not {expected!r}"

    def close(self) -> None:
        """Close both."""
        self.real.engine.close()
        self.oracle.engine.close()

    def living(self, purpose: str | None = None) -> list[int]:
        """List the places of the leases that no event has ended, newest first."""
        return [
            place
            for place in reversed(range(len(self.oracle.leases)))
            if _lives(self.oracle.leases[place], self.memory) and purpose in (None, self.oracle.leases[place].purpose)
        ]

    def real_log(self) -> list[Recorded]:
        """Return the log of the store under test."""
        return self.real.engine.events(limit=10_000)

    def _settle(self, verb: str, call: Call, point: str, commits: int, events: int) -> None:
        """Let the oracle do, after a crash, what the store has committed, and no more."""
        self.statistics.succeeded[f"crash at {point}"] += 1
        self.real.moved_to(self._open_real())
        if commits:
            # The oracle dies after the same commit: neither does what an engine would have done next.
            died = _carry_out(call, self.oracle, (AFTER_COMMIT, commits))
            assert isinstance(died, Crash), f"{verb}: the store died after its commit, and the oracle gave {died!r}"
        else:
            assert len(self.real_log()) == events, f"{verb}: the store died before its commit, and there are new events"
        self.oracle.moved_to(self._open_oracle())

    def _open_real(self) -> Engine:
        self._openings += 1
        return self._open(self.clock, SeededEntropy(self._openings))

    def _open_oracle(self) -> Engine:
        return Engine(self.memory, clock=self.clock, entropy=SeededEntropy(self._openings))


def _store_of(engine: Engine) -> Store:
    executor = engine._executor
    assert isinstance(executor, LocalExecutor)
    return executor.store


def _require_unique(memory: MemoryStore) -> None:
    """Require of each dedupe key that one task at most lives with it, and that this one has it. [DEDUPE-1]"""
    having: dict[tuple[str, str], str] = {}
    for fold in memory.tables.folds.values():
        if fold.dedupe is not None and fold.dedupe.scope == "live" and not fold.is_terminal:
            other = having.setdefault((fold.kind, fold.dedupe.key), fold.id)
            assert other == fold.id, f"{other} and {fold.id} live with the key {fold.dedupe.key!r} of {fold.kind!r}"
    for place, id in having.items():
        assert memory.tables.dedupes[place].task == id, f"the key {place} is not that of {id}, which lives"


def _resume_all(engine: Engine) -> None:
    for limit in engine.limits():
        engine.resume(limit=limit.name)
    for queue in engine.queues():
        engine.resume(queue=queue.name)
        for key in queue.paused_keys:
            engine.resume(queue=queue.name, key=key)
    for kind in engine.paused_kinds():
        engine.resume(kind=kind)


def _remove_schedules(engine: Engine) -> None:
    """Remove all schedules: they would go on to create tasks."""
    for schedule in engine.schedules():
        engine.remove_schedule(schedule.name)


def _complete(place: int, side: Side) -> Task:
    return side.leases[place].complete()


def _claim(queues: list[str], given: dict[str, Any], side: Side) -> list[Lease]:
    return side.engine.claim(queues, **given)


def plain(value: Any) -> Any:
    """Return a value by which answers and refusals of two engines can be compared."""
    if isinstance(value, SagalogError):
        return type(value).__name__, value.code, value.message, value.fields
    if isinstance(value, Exception):
        return type(value).__name__, str(value)
    if isinstance(value, Renewal):
        return value.renewed, [plain(one) for one in value.lost]
    return value


def whole(value: Any) -> str:
    """Show a value with all that was compared: the repr of a task or a lease leaves out much of it."""
    if isinstance(value, Lease):
        return f"a lease on {whole(value.task)}"
    if isinstance(value, Task):
        return repr(msgspec.structs.asdict(value))
    if isinstance(value, Renewal):
        return f"renewed {whole(list(value.renewed))}, lost {value.lost!r}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(whole, value))}]"
    return repr(value)


def _carry_out(call: Call, side: Side, crash: tuple[str, int] | None) -> Any:
    """Return the answer, the refusal, or the crash."""
    if crash is None:
        return _answer(call, side)
    point, left = crash
    commits = 0

    def count() -> None:
        nonlocal commits
        commits += 1
        if point == AFTER_COMMIT:
            die()

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash(commits)

    armed = {point: die, AFTER_COMMIT: count}
    failpoints.armed.update(armed)
    try:
        return _answer(call, side)
    except Crash as died:
        return died
    finally:
        for name in armed:
            del failpoints.armed[name]


def _answer(call: Call, side: Side) -> Any:
    try:
        return call(side)
    except (SagalogError, TimeoutError) as refusal:
        return refusal


def _leases_in(answer: Any) -> list[Lease]:
    if isinstance(answer, Lease):
        return [answer]
    if isinstance(answer, Renewal):
        return list(answer.renewed)
    return [one for one in answer if isinstance(one, Lease)] if isinstance(answer, list) else []


def _lives(lease: Lease, memory: MemoryStore) -> bool:
    held = memory.tables.folds[lease.task.id].lease
    return held is not None and held.fence == lease.fence


def _recorded(engine: Engine, verb: str, *arguments: str) -> Any:
    """Return an answer, or that the bytes were pruned. [PRUNE-3]"""
    try:
        return getattr(engine, verb)(*arguments)
    except Pruned as refusal:
        return refusal.code, refusal.fields
