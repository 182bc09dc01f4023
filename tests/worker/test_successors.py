"""A successor goes on where its predecessor stopped: handlers keep their steps, and their children. [STEP-1] [STEP-2]

Rule: real workers, run until there is nothing left to do; what they did outside is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Permanent, Quarantine, Retry, StepMismatch
from sagalog.testing.history import check, explain
from sagalog.worker import UndoContext, WorkContext

ONCE = Retry(attempts_max=1, undo_attempts_max=1, delay_min_ms=0, delay_max_ms=0)
Handler = Callable[[WorkContext, Any], Any]


@pytest.fixture
def engine() -> Iterator[sagalog.Engine]:
    with sagalog.open("memory:") as engine:
        yield engine
        report = engine.verify()
        assert report.ok, report.faults
        violations = check(engine.events(limit=10_000))
        assert not violations, explain(violations)


class Outside:
    """What was done outside of the store, by name."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    def do(self, what: str) -> str:
        self.done[what] += 1
        return what


def run(engine: sagalog.Engine, handler: Handler, outside: Outside, **others: Handler) -> None:
    """A worker of this version of the code, until there is nothing left to do."""
    worker = sagalog.Worker("default", concurrency=1)
    worker.task("order")(handler)
    for kind, other in others.items():
        worker.task(kind)(other)

    @worker.compensation("undo")
    def undo(_context: UndoContext, what: str) -> None:
        outside.do(f"undo {what}")

    worker.run(engine, until="idle", handle_signals=False)


def get(engine: sagalog.Engine, id: str) -> sagalog.Task:
    task = engine.get(id)
    assert task is not None
    return task


def step(context: WorkContext, outside: Outside, name: str) -> Any:
    """A step with an undo."""
    return context.step(name, outside.do, name, compensation=Compensation("undo", name))


def test_orders_go_on_after_a_bad_deploy_and_none_is_charged_twice(
    engine: sagalog.Engine,
) -> None:
    """[STEP-1] [COMP-7] [TERM-2] Every order goes on once the deploy was rolled back."""
    outside = Outside()

    def good(context: WorkContext, number: int) -> str:
        step(context, outside, f"charge {number}")
        context.wait_signal("packed")
        step(context, outside, f"ship {number}")
        return "shipped"

    def bad(context: WorkContext, number: int) -> str:
        step(context, outside, f"charge {number}")
        if number < 3:
            context.wait_signal("packed")
        raise StepMismatch("the bad deploy does not know how to go on")

    ids = [engine.create("order", number, retry=ONCE).id for number in range(5)]
    run(engine, good, outside)
    for id in ids[:3]:
        engine.signal(id, "packed")
    run(engine, bad, outside)
    for id in ids[3:]:
        engine.quarantine(id, "these still wait for their signal")
    assert [get(engine, id).state for id in ids] == ["quarantined"] * 5

    heirs = [engine.retry_as_new(id).id for id in ids]
    for id in heirs[3:]:
        engine.signal(id, "packed")
    run(engine, good, outside)

    assert [get(engine, id).result for id in heirs] == ["shipped"] * 5
    assert outside.done == Counter([f"{what} {number}" for what in ("charge", "ship") for number in range(5)])


def test_the_undo_of_an_unrecorded_step_runs_after_the_successor(
    engine: sagalog.Engine,
) -> None:
    """[COMP-7] It runs once, when the successor has completed.

    No worker can tell whether its effect is there, and the successor has another of its own.
    """
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> str:
        path = f"tree of {context.task.id}"

        def grow() -> None:
            outside.do(path)
            if context.task.predecessor is None:
                raise Quarantine("look at this")

        context.step("grow", grow, compensation=Compensation("undo", path))
        return "done"

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside)
    heir = engine.retry_as_new("a").id
    run(engine, handler, outside)

    assert get(engine, heir).state == "completed"
    assert outside.done == Counter(["tree of a", f"tree of {heir}", "undo tree of a"])
    undoer = get(engine, get(engine, heir).successor or "")
    assert (undoer.state, undoer.outcome, undoer.predecessor) == ("compensated", "completed", heir)


def test_a_step_done_again_under_the_same_undo_is_the_successors_own(engine: sagalog.Engine) -> None:
    """[COMP-7] [REPEAT-3]"""
    outside = Outside()
    broken = [True]

    def handler(context: WorkContext, _payload: Any) -> str:
        def charge() -> None:
            outside.do("charge")
            if broken.pop() if broken else False:
                raise Quarantine("the answer never came")

        context.step("charge", charge, compensation=Compensation("undo", "charge"))
        return "done"

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside)
    heir = engine.retry_as_new("a").id
    run(engine, handler, outside)

    assert (get(engine, heir).state, get(engine, heir).successor) == ("completed", None)
    assert outside.done == Counter({"charge": 2})


def test_a_failing_successor_undoes_its_predecessors_work_in_reverse(engine: sagalog.Engine) -> None:
    """[STEP-1] [COMP-5] [COMP-7]"""
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> None:
        step(context, outside, "first")
        if context.task.predecessor is None:
            raise Quarantine("look at this")
        step(context, outside, "second")
        raise Permanent("no way on")

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside)
    heir = engine.retry_as_new("a").id
    run(engine, handler, outside)

    assert get(engine, heir).state == "compensated"
    assert list(outside.done) == ["first", "second", "undo second", "undo first"]
    assert set(outside.done.values()) == {1}


def test_an_effect_whose_result_did_not_fit_is_not_repeated_by_a_successor(engine: sagalog.Engine) -> None:
    """[STEP-1] [WORKER-1] [COMP-7] The operator says what the step's result was, and its undo is void at the end."""
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> Any:
        def charge() -> set[str]:
            return {outside.do("charge")}

        return context.step("charge", charge, compensation=Compensation("undo", "charge"))

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside)
    assert (get(engine, "a").state, get(engine, "a").unrecorded_steps[0].name) == ("quarantined", "charge")
    with pytest.raises(sagalog.ResultRequired):
        engine.retry_as_new("a")

    heir = engine.retry_as_new("a", results={"charge": "paid"}).id
    run(engine, handler, outside)
    assert (get(engine, heir).state, get(engine, heir).result) == ("completed", "paid")
    assert outside.done == Counter({"charge": 1})


def test_a_step_that_was_undone_by_hand_is_not_taken_for_done(engine: sagalog.Engine) -> None:
    """[STEP-1] [COMP-7] The customer was refunded: who wants the order after all is charged again, and is asked."""
    outside = Outside()

    def version(stuck: bool) -> Handler:
        def handler(context: WorkContext, _payload: Any) -> None:
            context.step("charge", outside.do, "charge", compensation=Compensation("undo", "charge"))
            if stuck:
                raise Quarantine("a bad deploy")

        return handler

    engine.create("order", id="a", retry=ONCE)
    run(engine, version(stuck=True), outside)
    engine.note("a", "refunded by hand", settles=[one.id for one in get(engine, "a").owed])
    with pytest.raises(sagalog.ResultRequired, match="'charge'"):
        engine.retry_as_new("a")

    heir = engine.retry_as_new("a", rerun=["charge"]).id
    run(engine, version(stuck=False), outside)
    assert get(engine, heir).state == "completed"
    assert outside.done == Counter({"charge": 2})


def test_a_successor_does_not_sleep_again_and_takes_no_signal_twice(engine: sagalog.Engine) -> None:
    """[WAIT-1]"""
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> list[Any]:
        for _ in range(3):
            context.sleep("poll", 0)
        said = [context.wait_signal("word"), context.wait_signal("word")]
        with pytest.raises(TimeoutError):
            context.wait_signal("never", timeout_ms=0)
        if context.task.predecessor is None:
            raise Quarantine("look at this")
        return said

    engine.create("order", id="a", retry=ONCE)
    engine.signal("a", "word", 1)
    engine.signal("a", "word", 2)
    run(engine, handler, outside)
    assert get(engine, "a").waits == {"poll": 3, "word": 2, "never": 1}
    heir = engine.retry_as_new("a").id
    assert get(engine, heir).waits == {"poll": 3, "word": 2}
    run(engine, handler, outside)
    assert (get(engine, heir).result, get(engine, heir).waits["never"]) == ([1, 2], 1)
    assert [event.type for event in engine.history(heir)].count("parked") == 1


def test_a_successors_wait_gets_what_the_wait_of_its_number_got(engine: sagalog.Engine) -> None:
    """[WAIT-1] It gets what no other wait got.

    A loop that waits for a signal, and reminds when none comes: only what ran out of time is asked anew.
    """
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> list[Any]:
        got = []
        for number in range(3):
            # The first and the last have no time; the one between them has a signal.
            try:
                got.append(context.wait_signal("go", timeout_ms=60_000 if number == 1 else 0))
            except TimeoutError:
                context.step(f"remind {number}", lambda number=number: outside.do(f"remind {number}"))
                got.append(None)
            if number == 0 and context.task.predecessor is None:
                engine.signal(context.task.id, "go", "A", idempotency_key="A")
        if context.task.predecessor is None:
            raise Quarantine("look at this")
        return got

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside)
    assert get(engine, "a").waits == {"go": 3}
    before = {one.number: (one.by, one.data) for one in engine.wait_ends("a")["go"]}
    assert before == {1: ("time", None), 2: ("signal", "A"), 3: ("time", None)}

    heir = engine.retry_as_new("a").id
    assert [(one.number, one.data) for one in engine.wait_ends(heir)["go"]] == [(2, "A")]
    run(engine, handler, outside)
    assert (get(engine, heir).state, get(engine, heir).result) == ("completed", [None, "A", None])
    assert {one.number: (one.by, one.data) for one in engine.wait_ends(heir)["go"]} == before
    assert outside.done == Counter({"remind 0": 1, "remind 2": 1})


def test_unchanged_code_with_mixed_waits_of_one_name_goes_on(
    engine: sagalog.Engine,
) -> None:
    """[WAIT-1] [WORKER-4] It goes on in a successor; the waits of that name are of several sorts.

    The sleep behind a wait for tasks is not taken for that wait.
    """
    outside = Outside()

    def handler(context: WorkContext, _payload: Any) -> str:
        context.spawn("test", "test")
        context.wait_tasks(name="wait")
        context.sleep("wait", 0)
        if context.task.predecessor is None:
            raise Quarantine("look at this")
        return "done"

    engine.create("order", id="a", retry=ONCE)
    run(engine, handler, outside, test=lambda _context, _payload: None)
    heir = engine.retry_as_new("a").id
    assert get(engine, heir).waits == {}
    run(engine, handler, outside, test=lambda _context, _payload: None)
    assert (get(engine, heir).state, get(engine, heir).result) == ("completed", "done")
    assert [(one.number, one.by) for one in engine.wait_ends(heir)["wait"]] == [(1, "tasks"), (2, "time")]


# --- children ---------------------------------------------------------------------------------------------------------


def parent(outside: Outside, *, stuck: bool = False) -> Handler:
    """A handler that has a child, and may be stuck once it has."""

    def handler(context: WorkContext, payload: Any) -> list[str]:
        id = context.spawn("part", "part", payload, retry=ONCE, waive_compensation="it writes nothing")
        context.step("begun", outside.do, "begun")
        if stuck:
            raise Quarantine("look at this")
        [child] = context.wait_tasks([id])
        return [child.id, str(child.state)]

    return handler


def part(outside: Outside) -> Handler:
    def handler(context: WorkContext, payload: Any) -> str:
        return outside.do(f"part {payload}")

    return handler


def test_a_successor_adopts_the_child_that_has_completed(engine: sagalog.Engine) -> None:
    """[STEP-2] [ACTOR-1]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside, part=part(outside))
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside, part=part(outside))

    assert get(engine, heir).result == ["a/part", "completed"]
    assert get(engine, heir).children == {"part": "a/part"}
    assert outside.done == Counter(["begun", "part 1"])
    # [ACTOR-1] The holder of a lease has written that.
    actors = [one.actor for one in engine.history(heir) if one.type == "child_adopted"]
    assert [actor and actor.partition(":")[0] for actor in actors] == ["worker"]


def test_a_successor_adopts_the_child_that_lives_and_waits_for_it(engine: sagalog.Engine) -> None:
    """[STEP-2]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside)
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside)
    assert (get(engine, heir).state, get(engine, heir).children) == ("pending", {"part": "a/part"})

    run(engine, parent(outside), outside, part=part(outside))
    assert get(engine, heir).result == ["a/part", "completed"]


def test_the_child_that_was_adopted_stays_the_one_whatever_becomes_of_it(engine: sagalog.Engine) -> None:
    """[STEP-2] A later attempt asks for the same child, and learns that it was called off."""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside)
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside)
    engine.cancel("a/part")
    run(engine, parent(outside), outside)

    assert get(engine, heir).result == ["a/part", "cancelled"]
    assert [task.id for task in engine.find(kind="part")] == ["a/part"]


def test_a_successor_adopts_the_newest_successor_of_a_child(engine: sagalog.Engine) -> None:
    """[STEP-2]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside)
    engine.quarantine("a/part", "odd")
    newest = engine.retry_as_new("a/part").id
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside, part=part(outside))

    assert get(engine, heir).result == [newest, "completed"]
    assert outside.done == Counter(["begun", "part 1"])


def test_a_child_that_has_ended_otherwise_is_not_adopted(engine: sagalog.Engine) -> None:
    """[STEP-2]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside)
    engine.cancel("a/part")
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside, part=part(outside))

    assert get(engine, heir).result == [f"{heir}/part", "completed"]
    assert get(engine, heir).children == {}


def test_a_successor_of_a_successor_adopts_the_child_of_the_first(engine: sagalog.Engine) -> None:
    """[STEP-2]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside, part=part(outside))
    second = engine.retry_as_new("a").id
    engine.quarantine(second, "odd")
    third = engine.retry_as_new(second).id
    run(engine, parent(outside), outside, part=part(outside))
    assert get(engine, third).result == ["a/part", "completed"]


def test_a_successor_that_starts_over_has_children_of_its_own(engine: sagalog.Engine) -> None:
    """[STEP-2] What its predecessor did is undone, and so may what the child did be."""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE, waive_compensation="it writes nothing")
    run(engine, parent(outside, stuck=False), outside)
    engine.cancel("a", now=True)
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside, part=part(outside))
    assert get(engine, heir).result == [f"{heir}/part", "completed"]


@pytest.mark.parametrize("mother", [None, "stranger"])
def test_a_task_with_another_parent_is_never_adopted(mother: str | None, engine: sagalog.Engine) -> None:
    """[STEP-2] [REPEAT-3]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    engine.create("part", 1, id="a/part", parent=mother, retry=ONCE, waive_compensation="it writes nothing")
    engine.quarantine("a", "odd")
    heir = engine.retry_as_new("a").id
    run(engine, parent(outside), outside, part=part(outside))
    assert get(engine, heir).result == [f"{heir}/part", "completed"]


def test_a_later_attempt_takes_no_task_with_another_parent_for_its_child(engine: sagalog.Engine) -> None:
    """[STEP-2] [REPEAT-3]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    engine.create("part", 1, id="a/part", parent="stranger")
    engine.acquire("a", owner="ann", ttl_ms=None).release()
    run(engine, parent(outside), outside)
    assert (get(engine, "a").state, get(engine, "a").code) == ("quarantined", "step_mismatch")


def test_a_child_with_other_content_than_is_asked_for_is_a_mismatch(engine: sagalog.Engine) -> None:
    """[STEP-2] [WORKER-4]"""
    outside = Outside()
    engine.create("order", 1, id="a", retry=ONCE)
    run(engine, parent(outside, stuck=True), outside)
    heir = engine.retry_as_new("a").id
    run(engine, lambda context, _: context.spawn("part", "part", 2), outside)
    assert (get(engine, heir).state, get(engine, heir).code) == ("quarantined", "step_mismatch")
