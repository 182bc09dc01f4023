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
