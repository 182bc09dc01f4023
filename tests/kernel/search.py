"""A breadth-first search over the real `decide` and `evolve`: everything that can happen to one small task.

Rule: every action is offered in every state, sensible or not, and a refusal is an answer; a `Witness` sees every event.
States are made canonical (times relative to now, no versions, no fence numbers, nothing that the future cannot depend
on), so that the space is finite and is searched to its end. Workers are alike to the kernel, so who holds the lease is
left out too; what a second worker or a late one would be told is asked in every state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from sagalog.errors import Conflict, LeaseHeld, LeaseLost, LogDamaged, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel import decide as kernel
from sagalog.kernel import evolve as folding
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.decide import Repeat
from sagalog.kernel.events import NAMES, Heartbeat, Leased, LeaseExpired
from sagalog.kernel.lifecycle import UNBORN
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, Seen, State, TaskEnd, Units, UnrecordedStep
from tests.kernel import making as make
from tests.kernel.witness import Finding, Witness

TTL_MS: Final = 2
Who = Literal["worker", "heartbeat", "upkeep", "time", "operator"]
Key = tuple[object, ...]


class World(NamedTuple):
    """One task, the clocks, and what was seen.

    `idle_ms` is how long no worker renewed its lease, or it stayed unchanged where none holds it, by a steady clock.
    """

    task: TaskFold
    witness: Witness
    now_ms: int = 10
    epoch: int = 0
    idle_ms: int = 0
    stepped_back: bool = False
    also: frozenset[str] = frozenset()
    other_ended: bool = False


class Edge(NamedTuple):
    """An action that led from one canonical state to another."""

    source: int
    who: Who
    action: str
    dest: int


@dataclass
class Searched:
    """What a search has found: its states (by number, with how each was reached), all edges, and broken promises."""

    states: list[World] = field(default_factory=list)
    reached_by: list[Edge | None] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    findings: dict[str, str] = field(default_factory=dict)
    rows: set[tuple[str, str, str]] = field(default_factory=set)
    written: set[tuple[type[c.Command], str]] = field(default_factory=set)
    refusals: int = 0

    def path(self, number: int) -> str:
        """The actions that led to a state."""
        steps: list[str] = []
        edge = self.reached_by[number]
        while edge is not None:
            steps.append(edge.action)
            edge = self.reached_by[edge.source]
        return " -> ".join(reversed(steps)) or "the beginning"

    def add(self, name: str, number: int, seen: object) -> None:
        """Keep the first finding of a name: breadth-first, it has the shortest path."""
        self.findings.setdefault(name, f"after {self.path(number)}: {seen}")


def search(
    create: c.Create,
    hazards: bool = False,
    until_found: bool = False,
    states_max: int = 100_000,
    also: frozenset[str] = frozenset(),
) -> Searched:
    """Search all that can happen to a task so created; `hazards`: also one step back of the clock and one restore.

    `also`: what its holder does beside the common verbs, by name: "step", "artifact", and the waits "approval" and
    "second approval" of one name (for a signal, which a caller sends), "child" (for another task, which ends), "pause".
    And "amend", what a caller does.
    Also what becomes of others: "other" (the task that it was created to wait for ends, "other fails": without
    success), "parent" (the work of its parent ends without success).

    `until_found` stops at the first broken promise. A space that is not covered within `states_max` states is the
    finding `endless`.
    """
    result = Searched()
    numbers: dict[Key, int] = {}
    waiting: deque[int] = deque()

    def reach(world: World, edge: Edge | None) -> int:
        key = canonical(world)
        if key not in numbers:
            numbers[key] = len(numbers)
            result.states.append(world)
            result.reached_by.append(edge and edge._replace(dest=numbers[key]))
            waiting.append(numbers[key])
        return numbers[key]

    empty = World(TaskFold("t"), Witness(create.policy), also=also)
    reach(_append(result, empty, create, kernel.decide(None, create, empty.now_ms, 0)), None)
    while waiting and not (until_found and result.findings):
        number = waiting.popleft()
        if len(numbers) > states_max:
            result.add("endless", number, f"more than {states_max} states")
            break
        _check_late_holders(result, number)
        for who, action, after in _steps(result, number, hazards):
            edge = Edge(number, who, action, -1)
            result.edges.append(edge._replace(dest=reach(after, edge)))
    return result


def canonical(world: World) -> Key:
    """What the future of a world depends on, and nothing else."""
    task, now_ms = world.task, world.now_ms
    statuses = tuple((id, record.status, record.is_inherited) for id, record in task.compensations.items())
    if task.is_terminal:
        return (task.state, task.code, task.outcome, statuses, task.successor_version > 0)
    lease = task.lease
    held = lease and (
        lease.fence // FENCE_EPOCH,
        None if lease.expires_ms is None else max(lease.expires_ms - now_ms, 0),
        max(lease.renewed_ms - now_ms, 0),
        world.idle_ms if lease.renewed_ms > now_ms else 0,
        lease.uses,
    )
    common: Key = (
        task.state,
        statuses,
        held,
        task.policy_version > 0,
        world.epoch,
        world.stepped_back,
        max(task.run_at_ms - now_ms, -2),
    )
    # What an observer may say of a task whose last event lies in the future.
    ahead_ms = 0 if lease is not None else max(task.updated_ms - now_ms, 0)
    due_ms = (task.waiting.until_ms or 0) if task.waiting is not None else task.run_at_ms
    stood_ms = min(world.idle_ms, max(due_ms - task.updated_ms, 0)) if ahead_ms else 0
    common = (
        *common,
        (ahead_ms if due_ms > task.updated_ms else 0, stood_ms),
        world.other_ended,
        tuple((name, one.fence == task.fence) for name, one in task.artifacts.items()),
        tuple(task.children),
    )
    if task.state is State.COMPENSATING:
        return (*common, task.outcome, task.undo_failures, task.undo_expiries, task.undo_releases)
    # What a deadline may still do.
    common = (*common, *(at and max(at - now_ms, 0) for at in (task.deadline_ms, task.start_by_ms)), task.cancel_code)
    common = (*common, task.build)
    quota_ms = None if task.quota_since_ms is None else min(now_ms - task.quota_since_ms, 2)
    waiting = task.waiting
    until_ms = None if waiting is None or waiting.until_ms is None else max(waiting.until_ms - now_ms, 0)
    wait = (
        waiting and waiting.name,
        until_ms,
        frozenset((name, one.count, tuple(end == 0 for end in one.later)) for name, one in task.waits.items()),
        len(task.signals),
    )
    common = (*common, wait, frozenset((name, step.compensation) for name, step in task.steps.items()))
    counts = (task.failures, task.transients, task.expiries, task.releases, quota_ms)
    family = task.is_blocked, task.ends_with_parent
    return (*common, *counts, task.cancel_version > 0, task.leases > 0, task.has_waiver, task.needs_undo, family)


def _steps(result: Searched, number: int, hazards: bool) -> Iterator[tuple[Who, str, World]]:
    """Every action that leads on from a state: who takes it, what it is, and where it leads."""
    world = result.states[number]
    for who, name, command in _commands(world):
        try:
            decision = kernel.decide(world.task, command, world.now_ms, world.epoch)
            after = _append(result, world, command, decision)
        except Finding as finding:
            result.add(finding.name, number, finding.seen)
        except LogDamaged as damage:
            result.add("log_damaged", number, damage)
        except (Rejected, Conflict):
            result.refusals += 1
        else:
            if after is not world:
                yield who, name, after
    if world.task.is_terminal:
        return
    yield (
        "time",
        "a millisecond passes",
        world._replace(now_ms=world.now_ms + 1, idle_ms=min(world.idle_ms + 1, TTL_MS)),
    )
    if not world.also.isdisjoint({"child", "other", "other fails"}) and not world.other_ended:
        yield "worker", "the other task ends", world._replace(other_ended=True)
    if hazards and not world.stepped_back:
        yield "operator", "the clock steps back", world._replace(now_ms=world.now_ms - 3, stepped_back=True)
    if hazards and world.epoch == 0:
        yield "operator", "the store is restored", world._replace(epoch=1)


def _commands(world: World) -> Iterator[tuple[Who, str, c.Command]]:
    """Every command, told by the newest fence: what is refused costs little."""
    task, fence = world.task, world.task.fence
    due = task.run_at_ms <= world.now_ms
    if due:
        yield "worker", "lease", make.acquire(ttl_ms=TTL_MS, build=task.build)
        if "waived lease" in world.also:
            yield "worker", "lease under a waiver", make.acquire(ttl_ms=TTL_MS, waiver="writes nothing")
        yield "worker", "lease the undo", make.acquire(ttl_ms=TTL_MS, purpose="undo")
    yield "heartbeat", "renew", make.heartbeat(fence)
    for name, held in _held_commands(fence):
        yield "worker", name, held
    ended = ("other",) if world.other_ended else ()
    if "parent" in world.also:
        yield "upkeep", "its parent fails", c.CancelChild(task="t", parent="p", outcome="failed")
    for name, held in _recording_commands(fence, ended, world.now_ms).items():
        if name in world.also:
            yield "worker", name, held
    if "use" in world.also and due:
        yield "worker", "lease with units", make.acquire(ttl_ms=TTL_MS, uses=(Units("limit/gpu", 1),))
    if "approval" in world.also and len(task.signals) < 2:
        yield "worker", "signal", make.signal()
    maintain = make.maintain(ended=ended)
    if "other fails" in world.also and ended:
        maintain = msgspec.structs.replace(maintain, ended=(TaskEnd("other", 3, State.FAILED),))
    yield "upkeep", "maintain", maintain
    yield "upkeep", "maintain what is overdue", make.maintain(overdue=True)
    if task.lease is None and world.stepped_back:
        yield "upkeep", "promote", make.maintain_unchanged(task.version, world.idle_ms)
    if task.lease is not None:
        seen = Seen(fence, task.lease.renewed_ms, world.idle_ms)
        yield "upkeep", "maintain what was seen", make.maintain(seen)
    yield "operator", "maintain unknown kinds", make.maintain(unknown_kinds=frozenset({"remove"}))
    if "amend" in world.also and not task.policy_version:
        # Each amends the policy too, so that a task is amended once and the space stays small.
        changed = msgspec.structs.replace(world.witness.policy, delay_max_ms=2)
        yield "operator", "amend the deadline", make.amend(policy=changed, deadline_ms=world.now_ms + 1)
        others = {"priority": 1, "payload": 1, "uses": {"gpu": 1}, "build": "b2"}
        yield "operator", "amend all else", make.amend(policy=changed, **others)
        yield "operator", "amend without", make.amend(policy=changed, removes=("deadline_ms", "start_by_ms"))
    yield "operator", "cancel", make.cancel()
    yield "operator", "cancel now", make.cancel(now=True)
    yield "operator", "quarantine", make.quarantine()
    yield "operator", "note", make.note()
    yield "operator", "retry as new", make.retry_as_new()
    for id in ("u1", "u2"):
        yield "operator", f"waive {id}", make.waive(id)
        yield "operator", f"settle {id} by a note", make.note("by hand", (id,))


def _held_commands(fence: int) -> list[tuple[str, c.Held]]:
    return [
        ("release", make.release(fence)),
        ("retry", make.retry(fence)),
        ("retry a transient", make.retry(fence, "transient")),
        ("retry for quota", make.retry(fence, "quota")),
        ("complete", make.complete(fence, undoer="t9")),
        ("quarantine held", make.quarantine_held(fence)),
        (
            "quarantine held over a step",
            make.quarantine_held(fence, make.ERROR, UnrecordedStep("s1", "u1"), UnrecordedStep("s9")),
        ),
        ("fail", make.fail(fence=fence)),
        ("fail or be quarantined", make.fail(fence=fence, or_quarantine=True)),
        ("fail with a waiver", make.fail(fence=fence, waiver="harmless")),
        ("fail with an undo", make.fail(make.LATER_UNDO, fence=fence)),
        ("register u2", make.register(make.LATER_UNDO, fence)),
        ("undo u1", make.compensation_done("u1", fence)),
        ("undo u2", make.compensation_done("u2", fence)),
        ("fail the undo of u1", make.compensation_failed("u1", fence)),
        ("fail the undo of u2", make.compensation_failed("u2", fence)),
    ]


def _recording_commands(fence: int, ended: tuple[str, ...], now_ms: int) -> dict[str, c.Held]:
    return {
        "step": make.step("s1", fence),
        "step of u2": make.step("s2", fence, compensation="u2"),
        "artifact": make.put_artifact("log", fence),
        "child of another": make.adopt_child(fence=fence),
        "approval": make.park("approval", fence, signal="go"),
        "second approval": make.park("approval", fence, signal="go", number=2),
        "child": make.park("child", fence, after=("other",), ended=ended),
        "pause": make.park("pause", fence, until_ms=now_ms + 1),
        "use": make.use(fence, 2),
        "healthy": make.healthy(fence),
    }


def _append(result: Searched, world: World, command: c.Command, decision: kernel.Decision) -> World:
    """The world after a decision; the same object where nothing was written.

    Raises:
        Finding: what was written breaks a promise.
    """
    if isinstance(decision, Repeat) or not decision:
        return world
    task, witness, idle_ms = world.task, world.witness, world.idle_ms
    listed = kernel.VERB_OF[type(command)].writes
    for event in decision:
        if NAMES[type(event)] not in listed:
            raise Finding("unlisted_event", (command, event))
        result.written.add((type(command), NAMES[type(event)]))
        witness = witness.see(event)
        source = task.state or UNBORN
        task = folding.evolve(task, event, task.version + 1, world.now_ms)
        result.rows.add((source, NAMES[type(event)], str(task.state)))
        if isinstance(event, LeaseExpired) and event.why != "epoch" and idle_ms < TTL_MS:
            raise Finding("live_lease_taken", (event, f"unrenewed for {idle_ms} ms"))
        if isinstance(event, Leased) and event.purpose == "work" and witness.is_late(world.now_ms):
            raise Finding("leased_too_late", (event, world.now_ms))
        if isinstance(event, Leased) and event.fence // FENCE_EPOCH != world.epoch:
            raise Finding("fence_of_another_epoch", (event, world.epoch))
    _check_agreement(task, witness)
    if task.state is State.COMPLETED and task.owed():
        raise Finding("left_to_no_task", (decision, task.owed()))
    if witness.undoing and not witness.ended and not witness.owed:
        raise Finding("undoing_of_nothing", decision)
    begun = task.lease is not None and (world.task.lease is None or isinstance(decision[0], Heartbeat))
    return world._replace(task=task, witness=witness, idle_ms=0 if begun or task.lease is None else idle_ms)


def _check_agreement(task: TaskFold, witness: Witness) -> None:
    """The fold knows of leases and debts what the log says."""
    if (None if task.lease is None else task.lease.fence) != witness.open:
        raise Finding("fold_disagrees", (task.lease, witness.open))
    if tuple(task.owed()) != witness.owed or task.is_terminal != witness.ended:
        raise Finding("fold_disagrees", (task.owed(), witness.owed, task.state))


def _check_late_holders(result: Searched, number: int) -> None:
    """[FENCE-2] [LEASE-1] No other fence writes anything, and no second worker gets a lease."""
    world = result.states[number]
    task, current = world.task, world.witness.open
    live = current is not None and current // FENCE_EPOCH == world.epoch
    # The lease before, and the same number in another epoch; or the newest, where it has ended or is of an old epoch.
    for fence in (task.fence - 1, task.fence ^ FENCE_EPOCH) if live else (task.fence,):
        recording = _recording_commands(fence, (), world.now_ms)
        for name, held in [("renew", make.heartbeat(fence)), *_held_commands(fence), *recording.items()]:
            try:
                decision = kernel.decide(task, held, world.now_ms, world.epoch)
            except LeaseLost:
                continue
            except Rejected as refusal:
                result.add("late_holder_misled", number, (name, fence, refusal))
                continue
            if not isinstance(decision, Repeat):
                result.add("stale_fence_accepted", number, (name, fence, decision))
    if current is None:
        return
    for command in (make.acquire("bob"), make.acquire("bob", purpose="undo")):
        try:
            decision = kernel.decide(task, command, world.now_ms, world.epoch)
        except LeaseHeld:
            continue
        except Rejected as refusal:
            result.add("second_worker_misled", number, refusal)
        else:
            result.add("two_leases", number, decision)


# --- what the whole graph must show ----------------------------------------------------------------------------------


def check_ways_out(result: Searched) -> None:
    """[LIFE-2] Workers and maintenance can end every task, and maintenance alone every lease that has an end."""
    ended = {number for number, world in enumerate(result.states) if world.task.is_terminal}
    _expect_ways(result, "dead_end", ended, {"worker", "upkeep", "time"})
    unleased = {number for number, world in enumerate(result.states) if world.task.lease is None}
    _expect_ways(result, "immortal_lease", unleased, {"upkeep", "time"})


def _expect_ways(result: Searched, name: str, goal: set[int], by: set[Who]) -> None:
    """Every state has a way to the goal by actions of these."""
    sources: dict[int, list[int]] = {}
    for edge in result.edges:
        if edge.who in by:
            sources.setdefault(edge.dest, []).append(edge.source)
    reaches, waiting = set(goal), list(goal)
    while waiting:
        for source in sources.get(waiting.pop(), ()):
            if source not in reaches:
                reaches.add(source)
                waiting.append(source)
    for number in range(len(result.states)):
        if number not in reaches:
            result.add(name, number, result.states[number].task)


def check_rounds(result: Searched) -> None:
    """[LIFE-2] Whatever workers and maintenance do, heartbeats aside, never leads back to where they were."""
    onward: dict[int, list[int]] = {}
    waiting_for = [0] * len(result.states)
    for edge in result.edges:
        # Waiting where nothing changes by it is no round; any other step that changes nothing is one.
        if edge.who in ("worker", "upkeep") or (edge.who == "time" and edge.source != edge.dest):
            onward.setdefault(edge.source, []).append(edge.dest)
            waiting_for[edge.dest] += 1
    free = [number for number, count in enumerate(waiting_for) if count == 0]
    passed = 0
    while free:
        passed += 1
        for dest in onward.get(free.pop(), ()):
            waiting_for[dest] -= 1
            if waiting_for[dest] == 0:
                free.append(dest)
    if passed < len(result.states):
        number = next(number for number, count in enumerate(waiting_for) if count > 0)
        result.add("endless_round", number, result.states[number].task)


def small(*compensations: Compensation, waiver: str | None = None, **changed: Any) -> c.Create:
    """A task with budgets of two and delays of one millisecond; further names are fields of its policy."""
    budgets = dict.fromkeys(("attempts_max", "transient_max", "expiries_max", "releases_max", "undo_attempts_max"), 2)
    delays = {"quota_wait_max_ms": 2, "delay_min_ms": 1, "delay_max_ms": 1}
    return make.create(*compensations, run_at_ms=None, waiver=waiver, **{**budgets, **delays, **changed})
