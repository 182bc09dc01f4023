"""Children that a handler creates: where they wait, and what they take from their parent."""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog.worker import WorkContext


@pytest.mark.parametrize(("given", "queue"), [({}, "agents"), ({"queue": "other"}, "other")])
def test_a_child_waits_in_its_parents_queue_unless_one_is_named(given: dict[str, Any], queue: str) -> None:
    """A child in a queue that no worker of the parent's claims would hold up its parent without end."""
    worker = sagalog.Worker("agents")

    @worker.task("parent")
    def parent(context: WorkContext, _payload: object) -> str:
        return context.spawn("kid", "child", **given)

    @worker.task("child")
    def child(_context: WorkContext, _payload: object) -> None:
        pass

    with sagalog.open("memory:") as engine:
        id = engine.create("parent", queue="agents").id
        worker.run(engine, until="idle", handle_signals=False)

        [kid] = engine.find(parent=id)
        assert (kid.queue, kid.data_key) == (queue, id)


def test_a_child_that_an_operator_has_amended_is_the_child_of_its_name() -> None:
    """[AMEND-3] [STEP-2] The parent asks for it with the payload that the child was created with."""
    worker = sagalog.Worker("agents")

    @worker.task("parent", waive_compensation="it has no effects")
    def parent(context: WorkContext, _payload: object) -> str:
        id = context.spawn("kid", "child", {"n": 1}, queue="other")
        context.step("begin", lambda: None)
        if context.task.leases == 1:
            context._engine.amend(id, payload={"n": 2})
            raise sagalog.Transient("again")
        return id

    with sagalog.open("memory:") as engine:
        retry = sagalog.Retry(delay_min_ms=0, delay_max_ms=0)
        id = engine.create("parent", queue="agents", retry=retry).id
        worker.run(engine, until="drained", handle_signals=False)

        task = engine.get(id)
        assert task is not None
        assert task.state == "completed", task.error
        [kid] = engine.find(parent=id)
        assert (kid.id, kid.payload) == (task.result, {"n": 2})


def test_a_child_has_the_deadlines_that_its_parent_gives_it_and_no_other() -> None:
    """[DEADLINE-4]"""
    worker = sagalog.Worker("agents")

    @worker.task("parent")
    def parent(context: WorkContext, deadline_ms: int) -> None:
        context.spawn("timed", "child", queue="other", deadline_ms=deadline_ms, start_by_ms=deadline_ms)
        context.spawn("plain", "child", queue="other")

    with sagalog.open("memory:") as engine:
        late_ms = engine.now_ms() + 3_600_000
        id = engine.create("parent", late_ms, queue="agents", deadline_ms=late_ms + 1).id
        worker.run(engine, until="idle", handle_signals=False)

        found = {(kid.deadline_ms, kid.start_by_ms) for kid in engine.find(parent=id)}
        assert found == {(late_ms, late_ms), (None, None)}
