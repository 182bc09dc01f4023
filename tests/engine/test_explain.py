"""Why a task does not run: each reason that `Engine.explain` gives, with what it names and how it reads. [EXPLAIN-1]"""

from __future__ import annotations

import asyncio
import re
from typing import Any, get_args

import pytest

import sagalog.aio
from sagalog import Breaker, Compensation, Engine, Explanation, FailedPreflight, Failure, NotFound, Rate, Reason, Retry
from sagalog.engine.entries import CommandEntry
from sagalog.engine.explanation import CODES, ReasonCode
from sagalog.engine.explanations import NOTES, NOTES_OF_CLAIMABLE, REASONS
from sagalog.engine.workers import WorkerInfo, row_of
from sagalog.kernel.bounds import PASS_MS, READY_MAX
from sagalog.sentences import ADVICE, COUNTED, fields_of, told
from sagalog.sentences import REASONS as SENTENCES
from sagalog.testing import ManualClock
from sagalog.validation import commands as forms
from tests.adapters.cli.calls import ROOT
from tests.conftest import START_MS

PAGE = (ROOT / "docs" / "how-to" / "why-a-task-does-not-run.md").read_text(encoding="utf-8")
QUIET = {"no_worker_known", "claimable"}


def documented() -> dict[str, set[str]]:
    """The parameters of each code, in the order of the page; of one that it names twice, by the first row."""
    found: dict[str, set[str]] = {}
    for codes, parameters in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [^|]* \| ([^|]*)\|$", PAGE, re.MULTILINE):
        for code in re.findall(r"`(\w+)`", codes):
            found.setdefault(code, set(re.findall(r"`(\w+)`", parameters)))
    return found


def create(engine: Engine, *ids: str, **given: Any) -> None:
    for id in ids:
        engine.create(given.pop("kind", "build"), id=id, **given)


def reasons(engine: Engine, id: str = "t") -> list[tuple[str, dict[str, Any]]]:
    """The codes and parameters, of a task that no claim leases."""
    before = engine.newest_position(), engine.changes()
    found = engine.explain(id)
    assert (engine.newest_position(), engine.changes()) == before, "an explanation has written"
    assert not found.is_claimable
    return [(one.code, one.parameters) for one in found.reasons]


def notes(engine: Engine, id: str = "t") -> dict[str, dict[str, Any]]:
    return {one.code: one.parameters for one in engine.explain(id).notes if one.code not in QUIET}


def claim(engine: Engine, **given: Any) -> list[sagalog.Lease]:
    return engine.claim("default", owner="ann", ttl_ms=given.pop("ttl_ms", 1_000), **given)


def told_of(engine: Engine, id: str = "t") -> list[str]:
    return [one.sentence for one in engine.explain(id).reasons]


def advised(engine: Engine, id: str = "t") -> list[str | None]:
    return [one.advice for one in engine.explain(id).reasons]


# --- the task itself ------------------------------------------------------------------------------------------------


def test_a_task_that_a_claim_leases_has_no_reason_and_a_place(engine: Engine) -> None:
    create(engine, "first", "t")
    create(engine, "urgent", priority=-1)
    found = engine.explain("t")
    assert (found.state, found.is_claimable, found.reasons) == ("pending", True, ())
    assert [one.code for one in found.notes] == ["claimable", "no_worker_known"]
    assert found.notes[0].parameters == {"queue": "default", "place": 3}
    assert found.notes[0].sentence == "a claim leases it now: it is number 3 of queue 'default'"


def test_the_place_of_a_task_far_behind_is_not_counted(engine: Engine) -> None:
    create(engine, *(f"t{number}" for number in range(65)))
    assert engine.explain("t63").notes[0].parameters["place"] == 64
    assert engine.explain("t64").notes[0].sentence == "a claim leases it now"


def test_an_unknown_task_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound, match="there is no task 'nope'"):
        engine.explain("nope")


def test_a_task_that_has_ended_names_when_and_its_successor(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t")
    clock.advance(5)
    claim(engine)[0].complete()
    clock.advance(5)
    engine.note("t", "looked at")
    assert reasons(engine) == [("ended", {"task": "t", "state": "completed", "at_ms": START_MS + 5})]
    create(engine, "u")
    engine.quarantine("u", "odd")
    successor = engine.retry_as_new("u").id
    [(_, parameters)] = reasons(engine, "u")
    assert (parameters["state"], parameters["successor"]) == ("quarantined", successor)
    assert told_of(engine, "u") == [
        f"it has ended as quarantined at 2023-11-14T22:13:20.010Z, and {successor!r} is its successor: odd"
    ]
    assert advised(engine, "u") == ["sagalog show u"]


def test_an_end_without_success_says_why_and_what_to_do(engine: Engine, clock: ManualClock) -> None:
    """[DEADLINE-2] [WAIT-5]"""
    create(engine, "a", retry=Retry(attempts_max=1))
    create(engine, "b", after=["a"])
    create(engine, "late", deadline_ms=START_MS + 5)
    claim(engine, waive_compensation={"build": "it only looks"})[0].retry(Failure("odd", "no way on"))
    engine.recover()
    clock.advance(5)
    engine.recover()
    [(_, failed)], [(_, waited)], [(_, late)] = (reasons(engine, id) for id in ("a", "b", "late"))
    assert (failed["code"], failed["error"]) == ("attempts_spent", "odd: no way on")
    assert told_of(engine, "a")[0].endswith(
        ": it has failed as often as its policy allows; its error is odd: no way on"
    )
    assert (waited["code"], waited["by"]) == ("dependency_failed", "a")
    assert told_of(engine, "b")[0].endswith("1 did not complete: 'a' is failed")
    assert (late["code"], late["text"]) == ("deadline", "its deadline has come")
    assert advised(engine, "a") == ["sagalog show a, or sagalog retry a"]


def test_a_task_that_ended_with_its_parent_names_it(engine: Engine) -> None:
    """[CANCEL-4]"""
    create(engine, "parent")
    with engine.batch() as batch:
        command = forms.create("build", id="t", parent="parent", on_parent_end="cancel")
        batch._append(CommandEntry(command, "worker:ann"))
    engine.acquire("parent", owner="ann", ttl_ms=None, waive_compensation="it only looks")
    engine.cancel("parent", now=True)
    [(_, parameters)] = reasons(engine)
    assert (parameters["state"], parameters["code"], parameters["by"]) == ("cancelled", "parent_ended", "parent")


def test_a_task_with_more_notes_than_are_looked_at_has_no_end_time(engine: Engine) -> None:
    create(engine, "t")
    engine.cancel("t")
    for number in range(64):
        engine.note("t", f"remark {number}")
    assert reasons(engine) == [("ended", {"task": "t", "state": "cancelled", "retriable": "t"})]
    assert told_of(engine) == ["it has ended as cancelled"]


def test_a_task_that_a_worker_holds_names_it_and_until_when(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t")
    [lease] = claim(engine)
    expected: dict[str, Any] = {"owner": "ann", "fence": lease.fence, "purpose": "work"}
    assert reasons(engine) == [("leased", {**expected, "expires_ms": START_MS + 1_000})]
    assert notes(engine) == {}
    engine.cancel("t")
    assert notes(engine) == {"cancel_requested": {}}
    clock.advance(1_000)
    assert reasons(engine) == [("lease_over", {**expected, "expires_ms": START_MS + 1_000})]
    assert advised(engine) == ["sagalog recover"]


def test_a_lease_without_an_end_has_none(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t")
    claim(engine, ttl_ms=None)
    clock.advance(10**9)
    assert told_of(engine) == [f"'ann' holds it for work under fence {engine.get('t').fence}"]  # type: ignore[union-attr]


def test_a_task_that_is_not_due_says_until_when(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t", run_at_ms=START_MS + 60_000)
    assert reasons(engine) == [("not_due", {"task": "t", "until_ms": START_MS + 60_000})]
    assert told_of(engine) == ["it is not due before 2023-11-14T22:14:20.000Z"]
    assert advised(engine) == ["sagalog amend t --run-at +0s"]
    clock.advance(60_000)
    # A claim promotes it first.
    assert engine.explain("t").is_claimable
    assert len(claim(engine)) == 1


def test_a_task_that_was_ready_stays_so_though_the_clock_steps_back(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t")
    clock.step(-60_000)
    assert engine.explain("t").is_claimable
    assert len(claim(engine)) == 1


def test_deadlines_are_told_ahead_and_once_they_have_come(engine: Engine, clock: ManualClock) -> None:
    """[DEADLINE-1]"""
    create(engine, "t", deadline_ms=START_MS + 20, start_by_ms=START_MS + 10)
    assert engine.explain("t").is_claimable
    assert notes(engine) == {"deadline_ahead": {"at_ms": START_MS + 20}, "start_by_ahead": {"at_ms": START_MS + 10}}
    clock.advance(10)
    assert reasons(engine) == [("deadline_passed", {"deadline": "start_by", "at_ms": START_MS + 10})]
    assert claim(engine) == []
    assert reasons(engine)[0][1]["state"] == "cancelled"


def test_a_suspect_is_told_to_be_claimed_alone(engine: Engine, clock: ManualClock) -> None:
    """[LEASE-5]"""
    create(engine, "t", retry=Retry(expiries_max=2, delay_min_ms=0))
    claim(engine)
    clock.advance(1_000)
    engine.recover()
    clock.advance(60_000)
    assert engine.explain("t").is_claimable
    assert notes(engine) == {"suspect": {}}


# --- waits ----------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_a_signal_names_it(engine: Engine) -> None:
    """[WAIT-1]"""
    create(engine, "t")
    claim(engine)[0].park("approval", signal="approved by me", until_ms=START_MS + 60_000)
    expected: dict[str, Any] = {
        "task": "t",
        "wait": "approval",
        "signal": "approved by me",
        "until_ms": START_MS + 60_000,
    }
    assert reasons(engine) == [("waits_for_signal", expected)]
    assert told_of(engine) == ["it waits for the signal 'approved by me' until 2023-11-14T22:14:20.000Z"]
    assert advised(engine) == ["sagalog signal t 'approved by me'"]


def test_a_task_that_sleeps_says_until_when_and_once_it_is_over(engine: Engine, clock: ManualClock) -> None:
    create(engine, "t")
    claim(engine)[0].park("nap", until_ms=START_MS + 60_000)
    assert reasons(engine) == [("sleeps", {"wait": "nap", "until_ms": START_MS + 60_000})]
    clock.advance(60_000)
    assert reasons(engine) == [("wait_over", {"wait": "nap"})]
    assert advised(engine) == ["sagalog recover"]
    engine.recover()
    assert engine.explain("t").is_claimable


def test_a_task_that_waits_for_others_names_those_that_live(engine: Engine) -> None:
    """[WAIT-5]"""
    create(engine, "a", "b", "c")
    create(engine, "t", after=["a", "b", "c"])
    engine.acquire("b", owner="ann", ttl_ms=None).complete()
    [(code, parameters)] = reasons(engine)
    assert (code, parameters["tasks"], parameters["live"], parameters["ids"]) == ("waits_for_tasks", 3, 2, ("a", "c"))
    assert told_of(engine) == ["of the tasks that it waits for, 2 have not ended: 'a', 'c'"]
    engine.cancel("c")
    assert told_of(engine) == ["of the tasks that it waits for, 1 has not ended: 'a'"]


def test_of_many_tasks_that_it_waits_for_the_first_are_named(engine: Engine) -> None:
    ids = [f"a{number:03}" for number in range(100)]
    engine.create_many([{"kind": "build", "id": id} for id in ids])
    create(engine, "t")
    engine.acquire("t", owner="ann", ttl_ms=None).park("all", after=ids)
    [(_, parameters)] = reasons(engine)
    assert (parameters["live"], parameters["ids"]) == (100, tuple(ids[:64]))


# --- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "code", "said", "advice"),
    [
        ({"queue": "default"}, "paused_queue", "the queue 'default'", "sagalog queue resume default"),
        ({"key": "a b"}, "paused_key", "the key 'a b' of queue 'default'", "sagalog queue resume default --key 'a b'"),
        ({"limit": "gpu"}, "paused_limit", "the limit 'gpu'", "sagalog limit resume gpu"),
        ({"kind": "build"}, "paused_kind", "the kind 'build'", "sagalog kind resume build"),
    ],
)
def test_a_pause_names_what_by_whom_since_when_and_why(
    engine: Engine, target: dict[str, str], code: str, said: str, advice: str
) -> None:
    """[PAUSE-1]"""
    engine.set_limit("gpu", slots=1)
    create(engine, "t", key="a b", uses={"gpu": 1})
    engine.pause(**target, reason="the disk is full", actor="user:ann")
    named = {"queue": "default", **target} if "key" in target else target
    since = {"actor": "user:ann", "since_ms": START_MS, "text": "the disk is full"}
    assert reasons(engine)[0] == (code, {**named, **since})
    assert [one[0] for one in reasons(engine)] == [code]
    assert told_of(engine)[0] == f"{said} is paused since 2023-11-14T22:13:20.000Z by user:ann: the disk is full"
    assert advised(engine)[0] == advice
    assert claim(engine) == []
    engine.resume(**target)
    assert engine.explain("t").is_claimable


def test_a_pause_without_a_reason_says_who_and_when(engine: Engine) -> None:
    create(engine, "t")
    engine.pause(kind="build")
    assert reasons(engine) == [("paused_kind", {"kind": "build", "since_ms": START_MS})]
    assert told_of(engine) == ["the kind 'build' is paused since 2023-11-14T22:13:20.000Z"]


def test_undoing_is_held_back_by_no_pause_and_no_limit(engine: Engine) -> None:
    """[PAUSE-1] [LIMIT-2]"""
    engine.set_limit("gpu", slots=1)
    create(engine, "t", uses={"gpu": 1}, compensations=[Compensation("remove"), Compensation("close")])
    claim(engine)[0].fail("no way on")
    engine.pause(queue="default")
    engine.pause(kind="build")
    engine.pause(limit="gpu")
    found = engine.explain("t")
    assert (found.state, found.is_claimable, found.reasons) == ("compensating", True, ())
    assert notes(engine) == {"owes_undo": {"kinds": ("close", "remove")}}
    assert found.notes[0].parameters == {"queue": "default", "place": 1}


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_task_that_lacks_units_names_the_limit_and_who_has_them(engine: Engine) -> None:
    """[LIMIT-2]"""
    engine.set_limit("gpu", slots=2)
    create(engine, "a", "b", "t", uses={"gpu": 1})
    claim(engine, limit=2)
    assert reasons(engine) == [("lacks_units", {"limit": "gpu", "asked": 1, "free": 0, "holders": ("a", "b")})]
    assert told_of(engine) == ["it asks for 1 of the limit 'gpu', of which none is free; 'a', 'b' have units"]
    assert advised(engine) == ["sagalog limit holders gpu"]


def test_a_task_names_each_limit_that_it_lacks(engine: Engine) -> None:
    """[LIMIT-2]"""
    for name in ("cpu", "gpu"):
        engine.set_limit(name, slots=1)
        create(engine, name, uses={name: 1})
    engine.limit_queue("default", per_key_slots=1)
    create(engine, "key", key="web")
    claim(engine, limit=3)
    create(engine, "t", uses={"cpu": 1, "gpu": 1}, key="web")
    assert [(code, parameters["holders"]) for code, parameters in reasons(engine)] == [
        ("lacks_units", ("cpu",)),
        ("lacks_units", ("gpu",)),
        ("lacks_units", ("key",)),
    ]
    assert told_of(engine)[2] == (
        "it asks for 1 of the key 'web' of queue 'default', of which none is free; 'key' has units"
    )
    assert advised(engine)[2] == "sagalog queue holders default --key web"


def test_a_limit_below_what_runs_has_none_free(engine: Engine) -> None:
    """[LIMIT-1]"""
    engine.set_limit("gpu", slots=3)
    create(engine, "a", "b", "t", uses={"gpu": 1})
    claim(engine, limit=2)
    engine.set_limit("gpu", slots=1)
    [(_, parameters)] = reasons(engine)
    assert parameters["free"] == -1
    assert told_of(engine) == ["it asks for 1 of the limit 'gpu', of which none is free; 'a', 'b' have units"]


def test_a_task_that_asks_for_more_than_is_allowed_takes_the_whole(engine: Engine) -> None:
    """[LIMIT-4]"""
    engine.set_limit("gpu", slots=3)
    create(engine, "t", uses={"gpu": 3})
    create(engine, "a", uses={"gpu": 1}, priority=-1)
    claim(engine)
    engine.set_limit("gpu", slots=1)
    [(_, parameters)] = reasons(engine)
    assert (parameters["asked"], parameters["takes"], parameters["free"]) == (3, 1, 0)
    assert told_of(engine) == [
        "it asks for 3 of the limit 'gpu' and takes the whole of it, 1, of which none is free; 'a' has units"
    ]


def test_a_task_names_each_breaker_that_lets_nothing_start(engine: Engine, clock: ManualClock) -> None:
    """[BREAKER-1] And what probes it; one that lets a probe through is no reason."""
    engine.set_limit("api", breaker=Breaker(1, 60_000))
    engine.limit_queue("default", breaker=Breaker(1, 60_000))
    create(engine, "a", "b", "t", uses={"api": 1}, retry=Retry(transient_max=None))
    create(engine, "c")
    for id, limit in (("a", "api"), ("c", None)):
        lease = engine.acquire(id, owner="ann", ttl_ms=600_000)
        lease.retry(Failure("down", "", limit=limit), budget="transient", run_at_ms=START_MS + 10**9)
        clock.advance(1)
    opened = [
        ("breaker_open", {"queue": "default", "since_ms": START_MS + 1, "until_ms": START_MS + 60_001}),
        ("breaker_open", {"limit": "api", "since_ms": START_MS, "until_ms": START_MS + 60_000}),
    ]
    assert reasons(engine) == opened
    assert advised(engine) == ["sagalog breaker reset queue/default", "sagalog breaker reset limit/api"]
    clock.advance(60_000)
    assert engine.explain("t").reasons == ()
    engine.acquire("b", owner="ann", ttl_ms=600_000)
    assert reasons(engine) == [
        ("breaker_half_open", {"queue": "default", "probe": "b"}),
        ("breaker_half_open", {"limit": "api", "probe": "b"}),
    ]
    assert told_of(engine)[1] == "the breaker of the limit 'api' waits for its probe, 'b'"


def test_a_task_of_a_full_queue_names_the_queue(engine: Engine) -> None:
    """[LIMIT-2]"""
    engine.limit_queue("default", slots=1)
    create(engine, "a", "t")
    claim(engine)
    assert reasons(engine) == [("lacks_units", {"queue": "default", "asked": 1, "free": 0, "holders": ("a",)})]
    assert told_of(engine) == ["it asks for 1 of its queue 'default', of which none is free; 'a' has units"]
    assert advised(engine) == ["sagalog queue holders default"]


def test_a_rate_says_when_it_has_the_units(engine: Engine, clock: ManualClock) -> None:
    """[LIMIT-8]"""
    engine.set_limit("api", rate=Rate(2, 60_000))
    create(engine, "a", uses={"api": 2})
    claim(engine)[0].complete()
    create(engine, "t", uses={"api": 2})
    assert reasons(engine) == [
        ("lacks_units", {"limit": "api", "asked": 2, "free": 0, "refilled_ms": START_MS + 60_000})
    ]
    assert told_of(engine)[0].endswith("; enough are back at 2023-11-14T22:14:20.000Z")
    assert advised(engine) == [None]
    create(engine, "u", uses={"api": 2})
    clock.advance(60_000)
    found = engine.explain("t")
    assert (found.is_claimable, found.reasons, notes(engine)) == (True, (), {"let_in_next": {"limit": "api"}})
    assert found.notes[1].sentence == "the limit 'api' has units for it, and the next claim lets it in"
    assert len(claim(engine)) == 1


def test_of_held_tasks_only_those_with_room_are_let_in_next(engine: Engine, clock: ManualClock) -> None:
    """[LIMIT-5]"""
    engine.set_limit("api", rate=Rate(1, 60_000))
    create(engine, "a", uses={"api": 1})
    claim(engine)[0].complete()
    create(engine, "t", "u", uses={"api": 1})
    clock.advance(60_000)
    assert engine.explain("t").is_claimable
    assert reasons(engine, "u") == [("behind_others", {"limit": "api", "ready": 1})]
    assert [lease.task.id for lease in claim(engine, limit=2)] == ["t"]


def test_a_task_that_becomes_due_behind_others_says_so(engine: Engine, clock: ManualClock) -> None:
    """[LIMIT-5]"""
    engine.set_limit("gpu", slots=1)
    create(engine, "t", uses={"gpu": 1}, run_at_ms=START_MS + 10)
    create(engine, "urgent", uses={"gpu": 1}, run_at_ms=START_MS + 10, priority=-1)
    create(engine, "a", uses={"gpu": 1}, priority=0)
    clock.advance(10)
    assert engine.explain("urgent").is_claimable
    engine.amend("a", priority=-2)
    assert reasons(engine, "urgent") == [("behind_others", {"limit": "gpu", "ready": 1})]


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_limit_that_lets_nothing_start_is_told_alone(engine: Engine, is_paused: bool) -> None:
    """[PAUSE-1] [BREAKER-1]"""
    engine.set_limit("api", slots=5, breaker=None if is_paused else Breaker(1, 60_000))
    create(engine, "a", "t", uses={"api": 1}, retry=Retry(transient_max=None))
    if is_paused:
        engine.pause(limit="api")
    else:
        lease = engine.acquire("a", owner="ann", ttl_ms=600_000)
        lease.retry(Failure("down", "", limit="api"), budget="transient", run_at_ms=START_MS + 10**9)
    create(engine, "later", uses={"api": 1})
    for id in ("t", "later"):
        assert [code for code, _ in reasons(engine, id)] == ["paused_limit" if is_paused else "breaker_open"]


def test_a_task_behind_a_larger_one_names_it(engine: Engine, clock: ManualClock) -> None:
    """[LIMIT-6]"""
    engine.set_limit("gpu", slots=2)
    create(engine, "small", uses={"gpu": 1})
    claim(engine, ttl_ms=None)
    create(engine, "large", uses={"gpu": 2}, kind="large")
    clock.advance(PASS_MS)
    create(engine, "t", uses={"gpu": 1})
    assert reasons(engine) == [("behind_larger", {"limit": "gpu", "first": "large", "since_ms": START_MS})]
    assert [code for code, _ in reasons(engine, "large")] == ["lacks_units"]
    assert told_of(engine)[0].startswith("'large', which asks for more, is first in line of the limit 'gpu' since 2023")


def test_a_task_behind_others_that_are_ready_says_so(engine: Engine) -> None:
    """[LIMIT-5]"""
    engine.set_limit("gpu", slots=READY_MAX + 10)
    engine.create_many([{"kind": "build", "id": f"a{one}", "uses": {"gpu": 1}} for one in range(READY_MAX)])
    create(engine, "t", uses={"gpu": 1})
    assert reasons(engine) == [("behind_others", {"limit": "gpu", "ready": READY_MAX})]
    claim(engine)
    assert engine.explain("t").is_claimable


def test_units_say_nothing_before_a_task_is_due(engine: Engine) -> None:
    engine.set_limit("gpu", slots=1)
    create(engine, "a", uses={"gpu": 1})
    claim(engine)
    create(engine, "t", uses={"gpu": 1}, run_at_ms=START_MS + 60_000)
    engine.pause(limit="gpu")
    assert [code for code, _ in reasons(engine)] == ["not_due", "paused_limit"]


# --- workers --------------------------------------------------------------------------------------------------------


def row(engine: Engine, name: str, **given: Any) -> None:
    """Have a worker of the queue `default` write itself, which knows `build` and undoes `remove`."""
    now_ms = engine.now_ms()
    names = (given.pop("queues", ("default",)), given.pop("kinds", ("build",)), ("remove",))
    info = WorkerInfo(name, "box", 1, None, *names, 2, given.pop("running", 0), "working", now_ms, now_ms, **given)
    kept = row_of(info)
    executor = engine._executor
    assert executor.keep(kept.space, kept.name, executor.queries.kept(kept.space, kept.name), kept.value)


def test_a_task_whose_kind_no_live_worker_takes_says_so(engine: Engine, clock: ManualClock) -> None:
    """[WORKER-7] A caller without a row may claim it all the same."""
    create(engine, "t")
    row(engine, "other", kinds=("test",))
    row(engine, "elsewhere", queues=("agents",))
    found = engine.explain("t")
    expected: dict[str, Any] = {"kind": "build", "queue": "default", "live": 2}
    assert (found.is_claimable, [*found.reasons]) == (True, [Reason("no_live_worker", expected)])
    assert found.reasons[0].sentence == "no live worker takes the kind 'build' of queue 'default' (2 are live)"
    assert found.reasons[0].advice == "start a worker of queue default that has a handler for build"
    row(engine, "builder")
    assert engine.explain("t").reasons == ()
    clock.advance(30_000)
    assert engine.explain("t").reasons == (Reason("no_live_worker", {**expected, "live": 0}),)
    assert told_of(engine) == ["no live worker takes the kind 'build' of queue 'default' (none is live)"]


def test_an_undo_that_no_live_worker_knows_names_its_kinds(engine: Engine) -> None:
    """[UNDO-1]"""
    create(engine, "t", compensations=[Compensation("remove"), Compensation("close")])
    claim(engine)[0].fail("no way on")
    row(engine, "w")
    expected: dict[str, Any] = {"undo_kinds": ("close", "remove"), "queue": "default", "live": 1}
    assert engine.explain("t").reasons == (Reason("no_live_worker", expected),)


def test_a_task_whose_build_no_live_worker_names_says_so(engine: Engine) -> None:
    """[BUILD-4] A caller that names the build may claim it all the same."""
    create(engine, "t", build="new")
    row(engine, "w", build="old")
    found = engine.explain("t")
    expected: dict[str, Any] = {"build": "new", "queue": "default", "live": 1, "task": "t"}
    assert (found.is_claimable, [*found.reasons]) == (True, [Reason("build_absent", expected)])
    assert found.reasons[0].advice == (
        "start a worker of that build in queue default (sagalog worker run --build new), or have any worker take it: "
        "sagalog amend t --without build"
    )
    row(engine, "next", build="new")
    assert engine.explain("t").reasons == ()


def test_a_pinned_task_is_claimable_by_a_claim_of_its_build(engine: Engine) -> None:
    """[BUILD-1] Without any worker too, whose claims are all that there is."""
    create(engine, "first")
    create(engine, "t", build="new")
    found = engine.explain("t")
    expected: dict[str, Any] = {"build": "new", "queue": "default", "live": 0, "task": "t"}
    assert (found.is_claimable, [*found.reasons]) == (True, [Reason("build_absent", expected)])
    assert (
        found.notes[0].sentence == "a claim that names the build 'new' leases it now: it is number 2 of queue 'default'"
    )
    assert notes(engine) == {"pinned": {"build": "new"}}
    assert [one.task.id for one in claim(engine, limit=2)] == ["first"]
    assert [one.task.id for one in claim(engine, limit=2, build="new")] == ["t"]
    assert notes(engine) == {}


def test_a_preflight_that_fails_where_the_kind_is_known_is_named(engine: Engine) -> None:
    """[WORKER-9]"""
    create(engine, "t")
    failed = FailedPreflight("claude", "no such program", START_MS, kinds=("build",))
    row(engine, "w", failed_preflights=(failed, FailedPreflight("disk", "full", 0, kinds=("test",))))
    expected: dict[str, Any] = {
        "worker": "w",
        "host": "box",
        "preflight": "claude",
        "text": "no such program",
        "since_ms": START_MS,
    }
    assert engine.explain("t").reasons == (Reason("preflight_fails", expected),)
    assert told_of(engine) == [
        "on 'w' at box the preflight 'claude' fails since 2023-11-14T22:13:20.000Z: no such program"
    ]
    row(engine, "well")
    assert engine.explain("t").reasons == ()
    assert notes(engine) == {"preflight_fails": expected}


def test_a_worker_whose_row_has_no_room_for_all_its_kinds_may_take_it(engine: Engine) -> None:
    create(engine, "t")
    row(engine, "w", kinds=("test",), left_out=3)
    assert engine.explain("t").reasons == ()


def test_workers_that_are_all_busy_are_counted(engine: Engine) -> None:
    create(engine, "t")
    row(engine, "one", running=2)
    row(engine, "two", running=3)
    assert notes(engine) == {"workers_busy": {"workers": 2}}
    said = next(one.sentence for one in engine.explain("t").notes if one.code == "workers_busy")
    assert said == "each live worker that takes it is busy, as it was last seen (2 in all)"
    row(engine, "three", running=1)
    assert notes(engine) == {}


# --- the answer -----------------------------------------------------------------------------------------------------


def test_the_reasons_are_in_their_documented_order(engine: Engine) -> None:
    engine.set_limit("gpu", slots=1)
    create(engine, "t", key="web", uses={"gpu": 1}, run_at_ms=START_MS + 1)
    for target in ({"limit": "gpu"}, {"key": "web"}, {"queue": "default"}, {"kind": "build"}):
        engine.pause(**target)
    row(engine, "other", kinds=("test",))
    codes = [code for code, _ in reasons(engine)]
    pauses = ["paused_kind", "paused_queue", "paused_key", "paused_limit"]
    assert codes == ["not_due", *pauses, "no_live_worker"]
    assert codes == sorted(codes, key=CODES.index)


def test_every_code_is_documented_in_order_and_has_a_sentence() -> None:
    assert set(get_args(ReasonCode)) == set(SENTENCES)
    assert tuple(documented()) == CODES
    assert set(ADVICE) <= set(CODES)
    sorts = [*REASONS, *NOTES_OF_CLAIMABLE, *NOTES]
    assert len(set(sorts)) == len(sorts)


def test_every_field_of_a_sentence_is_a_documented_parameter() -> None:
    for code, templates in [*SENTENCES.items(), *ADVICE.items()]:
        fields = {field for one in templates for field in fields_of(one)}
        known = documented()[code]
        counted = {name + end for name in known for end in COUNTED}
        assert fields <= known | counted | {name.removesuffix("_ms") for name in known}, code


def test_a_parameter_that_counts_has_a_verb_for_each_number() -> None:
    def of(free: int, holders: tuple[str, ...]) -> str:
        return told("lacks_units", {"limit": "gpu", "asked": 2, "free": free, "holders": holders})

    said = "it asks for 2 of the limit 'gpu', of which "
    assert of(-1, ("a",)) == f"{said}none is free; 'a' has units"
    assert of(0, ("a", "b")) == f"{said}none is free; 'a', 'b' have units"
    assert of(1, ("a",)) == f"{said}1 is free; 'a' has units"
    assert of(2, ("a",)) == f"{said}2 are free; 'a' has units"


def test_a_code_of_a_newer_version_is_told_as_it_is() -> None:
    assert told("of_a_newer_version", {"n": 1}) == "of_a_newer_version"


def test_a_time_beyond_all_years_is_told_in_milliseconds() -> None:
    assert told("not_due", {"task": "t", "until_ms": 10**15}) == f"it is not due before {10**15} ms"


def test_the_asynchronous_engine_explains_as_the_plain_one_does() -> None:
    async def main() -> Explanation:
        async with sagalog.aio.open("memory:", clock=ManualClock(START_MS)) as engine:
            await engine.create("build", id="t", run_at_ms=START_MS + 1)
            return await engine.explain("t")

    assert asyncio.run(main()).reasons == (Reason("not_due", {"task": "t", "until_ms": START_MS + 1}),)
