"""What holds on every walk, however odd: asked of random commands by random people at random times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagalog.errors import Conflict, LogDamaged, Rejected
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH, TIME_MS_MAX
from sagalog.kernel.decide import VERB_OF, Decision, Repeat, decide
from sagalog.kernel.decide.rules import backoff_ms
from sagalog.kernel.evolve import evolve, fold
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Failure, State, Unchanged
from sagalog.sentences import reason_of
from tests.kernel.freedom import exchanged
from tests.kernel.making import policy
from tests.kernel.walks import COMPENSATIONS, Answer, Step, policies, snapshot, walk, walks
from tests.kernel.witness import Witness

often = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@often
@given(walks())
def test_deciding_and_folding_are_pure(steps: list[Step]) -> None:
    """[RECORD-3]"""
    for answer in walk(steps):
        inputs = answer.before, answer.command
        before = snapshot(*inputs)
        again: Decision | None = None
        with contextlib.suppress(Rejected, Conflict):
            again = decide(answer.before, answer.command, answer.now_ms, answer.epoch)
        assert again == answer.decision
        assert inputs == before
        if answer.events and answer.before is not None:
            evolve(answer.before, answer.events[0], answer.before.version + 1, answer.now_ms)
            assert inputs == before


@often
@given(walks())
def test_what_the_kernel_says_by_a_code_can_be_read_in_words(steps: list[Step]) -> None:
    """[RECORD-6]"""
    for answer in walk(steps):
        for event in answer.events:
            if not isinstance(event, e.Quarantined | e.Noted | e.Failed) or event.code is None:
                continue
            if isinstance(event, e.Noted) or event.error is None:
                assert reason_of(event)


@often
@given(walks())
def test_what_is_free_decides_nothing(steps: list[Step]) -> None:
    """[RECORD-5] With other content in it there are the same events, but for that content, and the same fold."""
    for answer in walk(steps):
        other: Decision | None = None
        with contextlib.suppress(Rejected, Conflict):
            other = decide(answer.before, exchanged(answer.command), answer.now_ms, answer.epoch)
        if isinstance(other, tuple) and isinstance(answer.decision, tuple):
            assert [exchanged(event) for event in other] == [exchanged(event) for event in answer.decision]
        else:
            assert other == answer.decision
        task = answer.before or TaskFold("t")
        for event in answer.events:
            version = task.version + 1
            after = evolve(task, event, version, answer.now_ms)
            assert evolve(task, exchanged(event), version, answer.now_ms) == after
            task = after


@often
@given(walks())
def test_what_is_decided_can_be_folded_and_folding_at_once_gives_the_same(steps: list[Step]) -> None:
    """[RECORD-1] [LIFE-1] [LOG-1]"""
    log: list[tuple[e.Recordable, int, int]] = []
    for answer in walk(steps):
        for event in answer.events:
            log.append((event, len(log) + 1, answer.now_ms))
        assert (fold("t", log) if log else None) == answer.after


@often
@given(walks())
def test_a_witness_that_reads_only_the_log_finds_every_promise_kept(steps: list[Step]) -> None:
    """[LEASE-1] [FENCE-1] [FENCE-2] [COMP-1] [COMP-2] [COMP-3] [COMP-5] [COMP-6] [CANCEL-2] [ATTEMPT-2] [TERM-1]

    [STEP-1] [WAIT-1] [WAIT-2]
    """
    witness: Witness | None = None
    for answer in walk(steps):
        for event in answer.events:
            if isinstance(event, e.Created):
                witness = Witness(event.policy)
            assert witness is not None
            witness = witness.see(event)
        assert answer.after is not None
        assert witness is not None
        assert tuple(answer.after.owed()) == witness.owed
        assert (answer.after.lease.fence if answer.after.lease else None) == witness.open
        assert answer.after.steps.keys() == witness.steps
        if answer.after.state is State.PENDING:
            waiting = answer.after.waiting
            assert (waiting and (waiting.name, waiting.signal)) == witness.waits_for
            assert tuple(one.name for one in answer.after.signals) == witness.signals


@often
@given(walks())
def test_a_decision_holds_no_event_that_its_verb_does_not_list(steps: list[Step]) -> None:
    for answer in walk(steps):
        assert {e.NAMES[type(event)] for event in answer.events} <= VERB_OF[type(answer.command)].writes


@often
@given(walks())
def test_after_the_end_nothing_changes_but_notes_and_what_they_settle(steps: list[Step]) -> None:
    """[TERM-1]"""
    for answer in walk(steps):
        if answer.before is not None and answer.before.is_terminal:
            assert all(isinstance(event, e.Noted) for event in answer.events)
            assert answer.after is not None
            assert _lasting(answer.after) == _lasting(answer.before)


def _lasting(task: TaskFold) -> dict[str, Any]:
    passing = {"version", "length", "updated_ms", "compensations"}
    return {name: getattr(task, name) for name in task.__struct_fields__ if name not in passing}


@often
@given(walks())
def test_only_the_fence_of_the_lease_writes_and_only_in_its_epoch(steps: list[Step]) -> None:
    """[FENCE-2]"""
    for answer in walk(steps):
        if isinstance(answer.command, c.Held) and answer.events:
            assert answer.before is not None
            assert answer.before.lease is not None
            assert answer.command.fence == answer.before.lease.fence
            assert answer.command.fence // FENCE_EPOCH == answer.epoch


@often
@given(walks())
def test_fences_count_leases_and_attempts_count_failures(steps: list[Step]) -> None:
    """[FENCE-1] [ATTEMPT-1]"""
    leases = failures = failed_undos = 0
    for answer in walk(steps):
        for event in answer.events:
            if isinstance(event, e.Leased):
                leases += 1
                assert event.fence == answer.epoch * FENCE_EPOCH + leases
                assert event.attempt == 1 + (failed_undos if event.purpose == "undo" else failures)
            failures += isinstance(event, e.Retried) and event.budget == "attempt"
            failed_undos += isinstance(event, e.CompensationFailed)


@often
@given(walks())
def test_a_repeat_names_an_event_that_answers_the_command(steps: list[Step]) -> None:
    """[REPEAT-1] [REPEAT-2] [REPEAT-3] [REPEAT-5]"""
    log: list[e.Recordable] = []
    for answer in walk(steps):
        if isinstance(answer.decision, Repeat):
            recorded = log[answer.decision.version - 1]
            written = VERB_OF[type(answer.command)].writes
            planned = isinstance(answer.command, c.Register) and isinstance(recorded, e.Created)
            assert planned or e.NAMES[type(recorded)] in written
            asked, found = answer.command, recorded
            if isinstance(asked, c.Held) and not isinstance(asked, c.Register | c.Step | c.AdoptChild):
                assert getattr(found, "fence", None) == asked.fence
        log += answer.events


@often
@given(walks())
def test_asking_again_writes_nothing_more_or_is_refused(steps: list[Step]) -> None:
    """[REPEAT-1] [REPEAT-5] [CANCEL-3] [UPKEEP-1] Whatever ends a lease or a task is done once."""
    asked_anew = c.Acquire | c.Heartbeat | c.Signal | c.Note
    for answer in walk(steps):
        if answer.events and not isinstance(answer.command, asked_anew):
            try:
                again = decide(answer.after, answer.command, answer.now_ms, answer.epoch)
            except (Rejected, Conflict) as refusal:
                raise AssertionError(f"{answer.command!r} again: {refusal}") from refusal
            assert again == () or isinstance(again, Repeat)


@often
@given(walks())
def test_maintenance_leaves_nothing_due(steps: list[Step]) -> None:
    """[UPKEEP-1] [LIFE-2] After it no lease is over, and asking again gives nothing."""
    for answer in walk(steps):
        task = answer.after
        if task is None:
            continue
        after = _maintained(task, answer)
        assert after.lease is None or not after.lease.is_over(answer.now_ms, answer.epoch)
        assert _maintained(after, answer) == after


def _maintained(task: TaskFold, answer: Answer) -> TaskFold:
    events = decide(task, c.Maintain(task="t"), answer.now_ms, answer.epoch)
    assert not isinstance(events, Repeat)
    for event in events:
        task = evolve(task, event, task.version + 1, answer.now_ms)
    return task


# --- any log at all --------------------------------------------------------------------------------------------------


def logs() -> st.SearchStrategy[list[e.Recordable]]:
    """Events that no command decided, in any order."""
    fence, id, to = st.integers(0, 3), st.sampled_from(("u1", "u2", "u9")), st.sampled_from(State)
    error = st.just(Failure("x", "y"))
    ended = {"fence": st.none() | fence, "verb": st.sampled_from((None, "fail"))}
    build: Callable[..., st.SearchStrategy[e.Recordable]] = st.builds
    created = build(
        e.Created,
        kind=st.just("build"),
        queue=st.just("q"),
        priority=st.just(0),
        run_at_ms=st.just(0),
        policy=policies(),
        to=to,
        compensations=st.sampled_from(((), COMPENSATIONS[:2])),
    )
    purpose = st.sampled_from(("work", "undo"))
    sound = build(
        e.Created,
        kind=st.just("build"),
        queue=st.just("q"),
        priority=st.just(0),
        run_at_ms=st.just(0),
        policy=st.just(policy()),
        compensations=st.just(COMPENSATIONS[:2]),
    )
    later = st.one_of(
        created,
        build(e.Leased, owner=st.just("ann"), fence=fence, attempt=st.just(1), purpose=purpose),
        build(e.Heartbeat, fence=fence),
        build(e.Released, fence=fence, verb=st.just("release"), run_at_ms=st.just(0)),
        build(e.LeaseExpired, fence=fence, verb=st.just("expire"), why=st.just("clock")),
        build(e.Promoted, seen=st.builds(Unchanged, version=st.integers(0, 5), unchanged_ms=st.integers(0, 100))),
        build(e.CompensationRegistered, id=id, kind=st.just("x"), fence=fence),
        build(e.CompensationWaived, id=id, reason=st.just("gone")),
        build(
            e.Retried, fence=fence, verb=st.just("retry"), error=error, budget=st.just("quota"), run_at_ms=st.just(0)
        ),
        build(e.Failed, to=to, code=st.just("failed"), **ended),
        build(e.StepCompleted, name=id, fence=fence),
        build(e.ArtifactPut, name=id, fence=fence, digest=id, size_bytes=fence, media_type=id),
        build(e.ChildAdopted, name=id, fence=fence, task=id),
        build(e.Parked, fence=fence, verb=st.just("park"), name=id, signal=st.none() | id, until_ms=st.none() | fence),
        build(e.Signalled, name=id),
        build(e.Unblocked, wait=id, by=st.sampled_from(("signal", "tasks", "time")), signal_version=st.none() | fence),
        build(e.CancelRequested),
        build(e.Cancelled, to=to, **ended),
        build(e.CompensationDone, id=id, fence=fence),
        build(
            e.CompensationFailed,
            id=id,
            fence=fence,
            verb=st.just("compensation_failed"),
            error=error,
            run_at_ms=st.just(0),
        ),
        build(e.Compensated, outcome=st.just("failed"), **ended),
        build(e.Completed, fence=fence, verb=st.just("complete")),
        build(e.Quarantined, code=st.just("operator"), **ended),
        build(e.Noted, text=st.just("x"), settles=st.lists(id, max_size=1).map(tuple)),
        build(e.Founded, id=st.just("s"), format=st.just(0), writer=st.just("1")),
    )
    return st.builds(lambda one, rest: [one, *rest], created | sound, st.lists(later, max_size=12))


@settings(max_examples=200, deadline=None)
@given(logs())
def test_any_log_is_folded_or_found_damaged_and_never_anything_else(log: list[e.Recordable]) -> None:
    """[RECORD-1] [LIFE-1] What is damaged is left out here, and the rest of the log is tried on what was sound."""
    task = TaskFold("t")
    for event in log:
        before = snapshot(task)
        try:
            after = evolve(task, event, task.version + 1, 0)
        except LogDamaged:
            after = task
        assert (task,) == before
        task = after
        assert not (task.is_terminal and task.lease is not None)
        assert (task.state is State.RUNNING) <= (task.lease is not None)
        assert task.waiting is None or (task.state is State.PENDING and task.lease is None)


# --- backoff ---------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, TIME_MS_MAX),
    st.integers(0, TIME_MS_MAX),
    st.integers(0, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_a_delay_lies_between_the_policys_bounds_and_grows_with_jitter(
    minimum: int, maximum: int, tries: int, low: float, high: float
) -> None:
    """[ATTEMPT-4] A maximum below the minimum wins."""
    bounds = policy(delay_min_ms=minimum, delay_max_ms=maximum)
    low, high = sorted((low, high))
    drawn = backoff_ms(bounds, tries, low), backoff_ms(bounds, tries, high)
    assert min(minimum, maximum) <= drawn[0] <= drawn[1] <= maximum


@given(st.integers(1, 1_000), st.integers(1, 10**9), st.integers(0, 60))
def test_the_ceiling_of_a_delay_doubles_until_the_maximum(minimum: int, maximum: int, tries: int) -> None:
    """[ATTEMPT-4]"""
    bounds = policy(delay_min_ms=minimum, delay_max_ms=maximum)
    most = 1 - 2.0**-53
    assert backoff_ms(bounds, tries, most) == min(maximum, minimum * 2**tries)
