"""The rules of a random run by which operators set limits and pauses, and tasks use them: part of `machine`.

Rule: as in `machine`, a rule draws a command and gives it to the pair. Few limits and few keys, so that tasks meet at
them. Knows no expected result.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sagalog.engine.lease import Lease
from sagalog.kernel.values import Breaker, Failure, Rate
from sagalog.testing import strategies
from sagalog.testing.oracle_pair import Side
from sagalog.testing.recording_run import RecordingRun, holds_work

BREAKER: Any = Breaker(2, 2_000, 5_000)
LIMITS: Any = st.sampled_from(
    [
        {"slots": 1},
        {"slots": 2},
        {"slots": 3},
        {"rate": Rate(2, strategies.TTL_MS)},
        {"rate": Rate(1, 3_000, burst=3)},
        {"breaker": BREAKER},
        {"slots": 2, "breaker": BREAKER},
        {"rate": Rate(2, strategies.TTL_MS), "breaker": Breaker(1, 1_000, 1_000)},
    ]
)
RATES: Any = st.sampled_from([{"rate": Rate(5, strategies.TTL_MS)}, {"rate": Rate(1, 3_000, burst=3)}])
QUEUE_LIMITS: Any = st.fixed_dictionaries(
    {},
    optional={
        "slots": st.integers(1, 3),
        "rate": st.just(Rate(3, 10 * strategies.TTL_MS)),
        "per_key_slots": st.integers(1, 2),
        "per_key_rate": st.just(Rate(2, 10 * strategies.TTL_MS)),
        "breaker": st.just(BREAKER),
    },
)
TARGETS: Any = st.sampled_from(
    [{"queue": "left"}, {"queue": "left", "key": "k1"}, {"limit": "gpu"}, {"limit": "cpu"}, {"kind": "test"}]
)
USES: Any = st.sampled_from([None, {"gpu": 1}, {"gpu": 1}, {"gpu": 2}, {"cpu": 1}, {"gpu": 1, "cpu": 1}])

BREAKERS: Any = st.sampled_from([{"queue": "left"}, {"limit": "gpu"}, {"limit": "cpu"}])

KEYS: Any = st.sampled_from([None, "k1", "k2"])
QUEUES: Any = st.sampled_from(["left", "right"])


def complete(place: int, side: Side) -> Any:
    """Complete the task of a lease, by its place."""
    return side.leases[place].complete()


def create_in_left(id: str, uses: dict[str, int] | None, side: Side) -> Any:
    """Create a task in the queue `left`."""
    return side.engine.create("build", id=id, queue="left", uses=uses)


def acquire(id: str, side: Side) -> Any:
    """Lease a task."""
    return side.engine.acquire(id, owner="ann", ttl_ms=strategies.TTL_MS)


def has_limits(machine: Any) -> bool:
    """Check whether a named limit is set."""
    return any(stream.startswith("limit/") for stream in machine.pair.memory.tables.stream_of)


class LimitingRun(RecordingRun):
    """The rules of limits and pauses."""

    @rule(name=st.sampled_from(["gpu", "gpu", "cpu"]), given=LIMITS)
    def set_limit(self, name: str, given: dict[str, Any]) -> None:
        """Set a named limit."""

        def call(side: Any) -> Any:
            side.engine.set_limit(name, **given)
            return [side.engine.limits(), side.engine.breakers()]

        self.run("set limit", call)

    @rule(queue=st.sampled_from(["left", "right"]), given=QUEUE_LIMITS)
    def limit_queue(self, queue: str, given: dict[str, Any]) -> None:
        """Set the limits of a queue and its keys."""

        def call(side: Any) -> Any:
            side.engine.limit_queue(queue, **given)
            return [side.engine.queues(), side.engine.breakers()]

        self.run("limit queue", call)

    @rule(queue=st.sampled_from(["left", "right"]), wait_ms=st.sampled_from([None, 1, *strategies.WAITS]))
    def set_queue(self, queue: str, wait_ms: int | None) -> None:
        """Bound how long affinities are passed over in a queue."""

        def call(side: Any) -> Any:
            side.engine.set_queue(queue, affinity_wait_ms=wait_ms)
            return side.engine.queues()

        self.run("set queue", call)

    @rule(what=TARGETS, pause=st.booleans())
    def pause_or_resume(self, what: dict[str, str], pause: bool) -> None:
        """Pause something, or resume it."""

        def call(side: Any) -> Any:
            if pause:
                side.engine.pause(**what, reason="look first")
            else:
                side.engine.resume(**what)
            return [*side.engine.limits(), *side.engine.queues(), *side.engine.paused_kinds(), pause]

        self.run("pause" if pause else "resume", call)

    @rule(what=TARGETS, resume=st.booleans())
    def pause_and_look(self, what: dict[str, str], resume: bool) -> None:
        """Pause something, and have a worker look at a task that it holds back. [PAUSE-1]"""
        id, name = self.new_id(), what.get("limit", "gpu")
        self.set_limit(name, {"slots": 9})
        self.pause_or_resume(what, True)
        given: dict[str, Any] = {"queue": "left", "key": what.get("key"), "uses": {name: 1}, "priority": -1}
        self.run("create limited", lambda side: side.engine.create("test", id=id, **given))
        looking: dict[str, Any] = {"owner": "ann", "ttl_ms": strategies.TTL_MS, "limit": 2}
        self.run("claim", lambda side: side.engine.claim(["left", "right"], **looking))
        if resume:
            self.pause_or_resume(what, False)

    @precondition(has_limits)
    @rule(name=st.sampled_from(["gpu", "cpu"]))
    def remove_limit(self, name: str) -> None:
        """Remove a named limit, which tasks may use."""

        def call(side: Any) -> Any:
            side.engine.remove_limit(name)
            return name

        self.run("remove limit", call)

    @precondition(has_limits)
    @rule(
        given=st.lists(
            st.tuples(strategies.creations, USES, st.sampled_from([None, "k1", "k2"])), min_size=1, max_size=4
        ),
        delay=strategies.delays,
    )
    def create_limited(self, given: list[tuple[dict[str, Any], Any, str | None]], delay: int | None) -> None:
        """Create tasks that use limits, some under a key."""
        first = self.new_id()
        run_at_ms = None if delay is None else self.pair.clock.now_ms() + delay
        specs = [
            {**arguments, "id": f"{first}-{place}", "uses": uses, "key": key, "run_at_ms": run_at_ms}
            for place, (arguments, uses, key) in enumerate(given)
        ]
        self.run("create limited", lambda side: side.engine.create_many(specs))

    @precondition(has_limits)
    @rule(pick=strategies.picks, uses=USES, where=st.fixed_dictionaries({}, optional={"key": KEYS, "queue": QUEUES}))
    def amend_limits(self, pick: int, uses: Any, where: dict[str, Any]) -> None:
        """Amend the limits of a task, of one that is held where there is one, and perhaps its key and queue."""
        held = [id for id, row in self.pair.memory.tables.rows.items() if row.gate == "held"]
        id = held[pick % len(held)] if held else self.task(pick, "pending", "pending")
        self.run("amend limits", lambda side: side.engine.amend(id, uses=uses, **where))

    @precondition(holds_work)
    @rule(pick=strategies.picks, name=st.sampled_from(["gpu", "cpu"]), units=st.sampled_from([0, 1, 2, 5]))
    def use(self, pick: int, name: str, units: int) -> None:
        """State what an attempt uses of a rate."""
        self.with_lease("use", pick, lambda lease: lease.use(name, units), "work")

    @rule(
        name=st.sampled_from(["gpu", "cpu"]),
        rate=RATES,
        statements=st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=3),
    )
    def use_rate(self, name: str, rate: dict[str, Any], statements: list[int]) -> None:
        """Lease a task that uses a rate, and state what the attempt uses, time after time."""
        id = self.new_id()
        self.set_limit(name, rate)
        self.run("create limited", lambda side: side.engine.create("build", id=id, queue="left", uses={name: 1}))
        self.run("acquire", lambda side: side.engine.acquire(id, owner="ann", ttl_ms=strategies.TTL_MS))
        for units in statements:
            self.of_newest("use", id, partial(Lease.use, limit=name, units=units))

    @rule(what=BREAKERS)
    def reset_breaker(self, what: dict[str, str]) -> None:
        """Close a breaker."""

        def call(side: Any) -> Any:
            side.engine.reset_breaker(**what)
            return side.engine.breakers()

        self.run("reset breaker", call)

    @precondition(holds_work)
    @rule(pick=strategies.picks, name=st.sampled_from([None, "gpu", "cpu"]))
    def healthy(self, pick: int, name: str | None) -> None:
        """Report an attempt healthy."""
        self.with_lease("healthy", pick, lambda lease: lease.healthy(name), "work")

    @rule(
        uses=st.sampled_from([None, {"gpu": 1}, {"gpu": 1, "cpu": 1}]),
        struck=st.sampled_from([None, "gpu", "cpu"]),
        outcomes=st.lists(st.sampled_from(["transient", "transient", "quota", "attempt", "complete"]), max_size=5),
        waits=st.sampled_from([0, 2_000]),
    )
    def break_down(self, uses: dict[str, int] | None, struck: str | None, outcomes: list[str], waits: int) -> None:
        """Have tasks fail because of what a breaker watches, time after time."""
        for name in uses or ():
            self.set_limit(name, {"slots": 3, "breaker": BREAKER})
        if uses is None:
            self.limit_queue("left", {"breaker": BREAKER})
        for outcome in outcomes:
            id = self.new_id()
            self.run("create limited", partial(create_in_left, id, uses))
            self.run("acquire", partial(acquire, id))
            if outcome == "complete":
                self.of_newest("complete", id, Lease.complete)
            else:
                down = Failure("down", "", limit=struck)
                budget: Any = outcome
                self.of_newest(f"retry {outcome}", id, partial(Lease.retry, error=down, budget=budget))
            self.pair.clock.advance(waits)

    @precondition(has_limits)
    @rule(owner=strategies.owners, limit=st.integers(1, 4))
    def work_off(self, owner: str, limit: int) -> None:
        """Claim some tasks and complete them, so that units are freed and others come in."""
        given: dict[str, Any] = {"owner": owner, "ttl_ms": strategies.TTL_MS, "limit": limit}
        before = len(self.pair.oracle.leases)
        self.run("claim", lambda side: side.engine.claim(["left", "right"], **given))
        for place in range(before, len(self.pair.oracle.leases)):
            self.run("complete", partial(complete, place))
