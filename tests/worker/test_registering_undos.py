"""While a handler registers an undo: what reaches it meanwhile keeps its effect from beginning. [WORKER-4]"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sagalog
from sagalog.testing import ManualClock
from sagalog.testing.faults import faults
from sagalog.worker import WorkContext
from tests.worker.commit_plans import BEFORE, UNDO, plan_of
from tests.worker.inline import InlineWorker
from tests.worker.threaded import ThreadedWorker
from tests.worker.worker_processes import story


def stopped_while_it_registers(
    engine: sagalog.Engine, clock: ManualClock, act: Callable[[str, InlineWorker], None]
) -> list[str]:
    """What a step does whose undo is being put on record while something happens."""
    effects: list[str] = []

    def handler(context: WorkContext, _payload: Any) -> None:
        with faults(BEFORE, lambda: act(context.task.id, worker)):
            context.step("make", lambda: effects.append("made"), compensation=UNDO)

    engine.create("do", id="a")
    worker = InlineWorker(engine, plan_of(handler, lambda *_: effects.append("undone")), "w", clock)
    worker.turn()
    worker.run_job()
    worker.turn()
    return effects


def test_a_cancel_before_an_undo_is_registered_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-4] [CANCEL-1] No caller has told the worker: it reads so in the answer of its own commit."""
    made = stopped_while_it_registers(engine, clock, lambda id, _: asked(engine, id))
    assert made == []
    assert story(engine, "a")[:4] == ["created", "leased", "cancel_requested", "compensation_registered"]
    assert engine.get("a").state == "compensating"  # type: ignore[union-attr]


def asked(engine: sagalog.Engine, id: str) -> None:
    engine.cancel(id, "not needed")


def at_once(engine: sagalog.Engine, id: str) -> None:
    engine.cancel(id, now=True)


def test_a_cancel_at_once_during_a_registration_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[FENCE-2] It comes while an undo is registered."""
    made = stopped_while_it_registers(engine, clock, lambda id, _: at_once(engine, id))
    assert made == []
    assert engine.get("a").state == "cancelled"  # type: ignore[union-attr]


def test_a_doubtful_lease_during_a_registration_keeps_the_effect_away(
    engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-2] It may be over while an undo is registered."""

    def pass_time(_id: str, worker: InlineWorker) -> None:
        clock.advance(85)
        worker.worker_loop.watch()

    assert stopped_while_it_registers(engine, clock, pass_time) == []
    assert story(engine, "a")[2] == "compensation_registered"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_cancel_during_a_registration_reaches_handlers_in_threads(
    engine: sagalog.Engine, clock: ManualClock, kind: str
) -> None:
    """[WORKER-4] [CANCEL-2] The threads are real, and an undo is being registered."""
    effects: list[str] = []

    def plain(context: WorkContext, _payload: Any) -> None:
        context.step("make", lambda: effects.append("made"), compensation=UNDO)

    async def coroutine(context: Any, _payload: Any) -> None:
        await context.step("make", lambda: effects.append("made"), compensation=UNDO)

    engine.create("do", id="a")
    handler = plain if kind == "plain" else coroutine
    with ThreadedWorker(engine, plan_of(handler, lambda *_: effects.append("undone")), "w", clock) as worker:
        worker.worker_loop.look()
        # The claim's commit is the first to get there, and the registration the second.
        with faults(BEFORE, None, lambda: asked(engine, "a")):
            worker.worker_loop.run_round()
            worker.take()
        assert effects == []
        worker.turn()
        worker.turn()
        worker.take()
        worker.turn()
    assert effects == ["undone"]
    assert story(engine, "a") == [
        *("created", "leased", "cancel_requested", "compensation_registered", "released", "cancelled"),
        *("leased", "compensation_done", "compensated"),
    ]
