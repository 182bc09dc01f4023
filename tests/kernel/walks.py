"""Random walks: one task, and whatever callers might ask of it, sensible or not, at any time.

Rule: a walk is drawn by hypothesis and replayed by `walk`, so a failure shrinks to the few commands that matter. It is
drawn before its end is known: a step says how old its fence is, and most steps only say which of the
sensible things to ask, so that walks come far.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from sagalog.errors import Conflict, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.decide import Decision, Repeat, decide
from sagalog.kernel.events import Recordable
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Compensation, DedupeKey, Failure, Policy, Seen, State, TaskEnd, UnrecordedStep
from tests.kernel import making as make

COMPENSATIONS: Final = (
    Compensation("remove", {"path": "wt"}, "left over", "u1"),
    Compensation("close", None, None, "u2"),
    Compensation("remove", None, None, "u3"),
)


@dataclass(frozen=True)
class Step:
    """A command, or which of the sensible ones, after so many milliseconds.

    `age` is how many leases before the newest the fence of the command is from.
    """

    command: c.Command | int
    later_ms: int
    age: int
    restored: bool


@dataclass(frozen=True)
class Answer:
    """What one step of a walk was answered: `decision` is None where it was refused."""

    before: TaskFold | None
    command: c.Command
    now_ms: int
    epoch: int
    decision: Decision | None
    after: TaskFold | None

    @property
    def events(self) -> tuple[Recordable, ...]:
        """What was written."""
        return () if self.decision is None or isinstance(self.decision, Repeat) else self.decision


def walk(steps: list[Step]) -> Iterator[Answer]:
    """Take the steps one after another.

    Raises:
        LogDamaged: what was decided could not be folded.
    """
    task: TaskFold | None = None
    now_ms, epoch = 1_000, 0
    for step in steps:
        now_ms = max(0, now_ms + step.later_ms)
        epoch += step.restored
        command = step.command if isinstance(step.command, c.Command) else _sensible(task, step.command)
        if isinstance(command, c.Held) and task is not None:
            command = msgspec.structs.replace(command, fence=task.fence - step.age)
        if isinstance(command, c.Maintain) and task is not None and task.lease is not None and command.seen is not None:
            seen = msgspec.structs.replace(command.seen, fence=task.fence - step.age, renewed_ms=task.lease.renewed_ms)
            command = msgspec.structs.replace(command, seen=seen)
        before = task
        decision: Decision | None = None
        with contextlib.suppress(Rejected, Conflict):
            decision = decide(task, command, now_ms, epoch)
        if decision is not None and not isinstance(decision, Repeat):
            for event in decision:
                folded = TaskFold("t") if task is None else task
                task = evolve(folded, event, folded.version + 1, now_ms)
        yield Answer(before, command, now_ms, epoch, decision, task)


def _sensible(task: TaskFold | None, number: int) -> c.Command:
    """One of the things that a caller with eyes would ask now; most of them lead on rather than to the end."""
    if task is None or task.is_terminal:
        return make.note()
    if task.waiting is not None:
        # Whatever it is for: a signal of that name, an end, or time.
        ended = ("a", "b") if task.waiting.tasks == 2 else ("a",)
        return make.signal(task.waiting.signal or "go") if number % 2 else make.maintain(ended=ended)
    if task.state is State.PENDING:
        return make.acquire(ttl_ms=10)
    if task.lease is None:
        return make.acquire(ttl_ms=10, purpose="undo")
    if task.state is State.RUNNING:
        work: list[c.Command] = [
            make.retry(),
            make.retry(budget="transient"),
            make.retry(budget="quota"),
            make.release(),
            make.maintain(),
            make.heartbeat(),
            make.register(COMPENSATIONS[1]),
            make.register(COMPENSATIONS[2]),
            make.step(),
            make.step("s2"),
            make.put_artifact(),
            make.adopt_child(),
            make.signal(),
            make.park("w", signal="go", number=task.next_wait("w")),
            make.park("v", after=("a", "b"), number=task.next_wait("v")),
            make.park("w", until_ms=1_030, number=task.next_wait("w")),
            make.cancel(),
            make.fail(),
            make.fail(COMPENSATIONS[2]),
            make.complete(),
        ]
        return work[number % len(work)]
    last = task.owed()[-1]
    undo: list[c.Command] = [
        make.compensation_done(last),
        make.compensation_failed(last),
        make.release(),
        make.maintain(),
        make.heartbeat(),
        make.waive(last),
    ]
    return undo[number % len(undo)]


def budgets() -> st.SearchStrategy[int | None]:
    """Small, so that walks spend them; or without end."""
    return st.sampled_from((3, 2, None, 1))


def policies() -> st.SearchStrategy[Policy]:
    """Any policy that a caller may give, with small budgets."""
    return st.builds(
        Policy,
        attempts_max=budgets(),
        transient_max=budgets(),
        expiries_max=budgets(),
        releases_max=budgets(),
        quota_wait_max_ms=st.sampled_from((0, 5, 50, None)),
        delay_min_ms=st.sampled_from((0, 1, 10)),
        delay_max_ms=st.sampled_from((0, 5, 100)),
        spent=st.sampled_from(("fail", "quarantine")),
        undo_attempts_max=budgets(),
        undo_wait_ms=st.sampled_from((5, None)),
    )


def creations() -> st.SearchStrategy[c.Create]:
    """The task's creation, with some compensations planned or none."""
    return st.builds(
        c.Create,
        task=st.just("t"),
        kind=st.just("build"),
        queue=st.just("q"),
        priority=st.integers(-1, 1),
        run_at_ms=st.sampled_from((None, 0, 2_000)),
        policy=policies(),
        compensations=st.sampled_from(((), COMPENSATIONS[:1], COMPENSATIONS[:2])),
        waiver=st.sampled_from((None, "harmless")),
    ).flatmap(_perhaps_related)


def _perhaps_related(create: c.Create) -> st.SearchStrategy[c.Create]:
    """The creation as it is, or that of a child, or of a task that waits for others. [WAIT-5] [CANCEL-4]"""
    waiting = st.builds(
        lambda on_failed, ended: msgspec.structs.replace(
            create,
            after=("a", "b"),
            on_failed=on_failed,
            ended=ended,
            parent="p",
            on_parent_end="cancel",
            dedupe=DedupeKey("k", "period", 5),
        ),
        st.sampled_from(("cancel", "run", "quarantine")),
        st.sampled_from(((), make.ends("a"), make.ends("a", "b"), (*make.ends("a"), TaskEnd("b", 2, State.FAILED)))),
    )
    return st.one_of(st.just(create), st.just(create), waiting)


def commands() -> st.SearchStrategy[c.Command]:
    """Anything that a caller might ask; fences are set when the step is taken."""
    held: dict[str, Any] = {"task": st.just("t"), "fence": st.just(0)}
    task = {"task": st.just("t")}
    ttl_ms = st.sampled_from((None, 1, 10, 100))
    run_at_ms = st.sampled_from((None, 0, 5_000))
    error = st.sampled_from((Failure("broken", "it broke"), Failure("odd", "", {"n": 1})))
    jitter = st.floats(0, 1, exclude_max=True)
    id = st.sampled_from(("u1", "u2", "u3", "u9"))
    kinds = st.frozensets(st.sampled_from(("remove", "close")))
    brought = st.lists(st.sampled_from(COMPENSATIONS), max_size=3).map(tuple)
    purpose = st.sampled_from(("work", "undo"))
    ended = st.lists(st.sampled_from(make.ends("a", "b")), unique=True).map(tuple)
    names, words = st.sampled_from(("w0", "w1", "w2")), st.sampled_from(("go", "stop"))
    retry_after_ms = st.sampled_from((None, 0, 500))
    parks = st.one_of(
        st.fixed_dictionaries({"signal": words}),
        st.fixed_dictionaries({"after": st.sampled_from((("a",), ("a", "b"), ("t",))), "ended": ended}),
        st.fixed_dictionaries({"until_ms": st.sampled_from((0, 1_030, 5_000))}),
    )
    unrecorded = st.sampled_from(
        ((), (UnrecordedStep("s1"),), (UnrecordedStep("s2", "u1"), UnrecordedStep("s1")), (UnrecordedStep("s3", "u2"),))
    )
    seen = st.none() | st.builds(Seen, st.just(0), st.just(0), st.integers(0, 100))
    return st.one_of(
        st.builds(c.Acquire, **task, owner=st.sampled_from(("ann", "bob")), ttl_ms=ttl_ms, purpose=purpose),
        st.builds(c.Acquire, **task, owner=st.just("ann"), ttl_ms=ttl_ms, waiver=st.just("writes nothing")),
        st.builds(c.Acquire, **task, owner=st.just("ann"), ttl_ms=ttl_ms, purpose=purpose, kinds=kinds),
        st.builds(c.Heartbeat, **held, ttl_ms=ttl_ms, progress=st.none() | st.integers()),
        st.builds(c.Register, **held, compensation=st.sampled_from(COMPENSATIONS)),
        st.builds(c.Release, **held, run_at_ms=run_at_ms),
        st.builds(
            c.Retry,
            **held,
            error=error,
            budget=st.sampled_from(("attempt", "transient", "quota")),
            jitter=jitter,
            run_at_ms=run_at_ms,
            retry_after_ms=retry_after_ms,
        ),
        st.builds(c.Step, **held, name=st.sampled_from(("s1", "s2")), result=st.none() | st.integers()),
        st.builds(
            c.PutArtifact,
            **held,
            name=st.sampled_from(("log", "report")),
            digest=st.sampled_from(("ab" * 32, "cd" * 32)),
            size_bytes=st.just(3),
            media_type=st.just("text/plain"),
        ),
        st.builds(lambda name, wait: c.Park(task="t", fence=0, name=name, **wait), names, parks),
        st.builds(c.CancelChild, **task, parent=st.just("p"), outcome=st.sampled_from(("failed", "cancelled"))),
        st.builds(c.Signal, **task, name=words, data=st.none() | st.integers()),
        st.builds(c.AdoptChild, **held, name=st.sampled_from(("build", "test")), child=st.sampled_from(("a", "b"))),
        st.builds(c.QuarantineHeld, **held, error=error, steps=unrecorded),
        st.builds(c.Complete, **held, result=st.none() | st.integers()),
        st.builds(
            c.Fail,
            **held,
            error=error,
            compensations=brought,
            waiver=st.sampled_from((None, "harmless")),
            or_quarantine=st.booleans(),
        ),
        st.builds(c.CompensationDone, **held, compensation=id),
        st.builds(c.CompensationFailed, **held, compensation=id, error=error, jitter=jitter, run_at_ms=run_at_ms),
        st.builds(c.Cancel, **task, now=st.booleans()),
        st.builds(c.Quarantine, **task, reason=st.just("odd"), code=st.sampled_from(("operator", "audit"))),
        st.builds(c.Note, **task, text=st.text(max_size=3), settles=st.lists(id, max_size=2).map(tuple)),
        st.builds(c.Waive, **task, compensation=id, reason=st.just("gone")),
        st.builds(c.Maintain, **task, seen=seen, unknown_kinds=kinds, overdue=st.booleans(), ended=ended),
        st.builds(c.Maintain, **task, known_kinds=kinds, ended=ended),
        creations(),
    )


def walks() -> st.SearchStrategy[list[Step]]:
    """A creation, then 10 to 40 steps; mostly the newest fence and a little time, sometimes late or stepped back."""
    begin = st.builds(Step, creations(), st.just(0), st.just(0), st.just(False))
    # Of two strategies `one_of` would take the one with more branches more often, and integers favour their ends.
    sensible, anything = st.sampled_from(range(60)), commands()
    asked: st.SearchStrategy[c.Command | int] = st.sampled_from((True, True, True, False)).flatmap(
        lambda eyes_open: sensible if eyes_open else anything
    )
    step = st.builds(
        Step,
        asked,
        st.sampled_from((5, 12, 1, 12, 0, -20)),
        st.sampled_from((0, 0, 0, 0, 0, 0, 0, 0, 1, 2, -1, FENCE_EPOCH)),
        st.sampled_from((*[False] * 29, True)),
    )
    return st.builds(lambda one, rest: [one, *rest], begin, st.lists(step, min_size=10, max_size=40))


def snapshot(*values: object) -> tuple[object, ...]:
    """Deep copies, to compare with later."""
    return deepcopy(values)
