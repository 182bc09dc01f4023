"""What a handler says is kept and seen: its message and code are in the log whatever comes first, and are logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import sagalog
from sagalog import Compensation, Failed, Permanent, Quarantine, Retry, Transient
from sagalog.recurrence import spelled
from sagalog.testing import ManualClock
from sagalog.worker import WorkContext
from sagalog.worker.config import WorkerConfig
from tests.worker.inline import InlineWorker

ONCE = Retry(attempts_max=1, transient_max=1, undo_attempts_max=2, delay_min_ms=10, delay_max_ms=10)
TWICE = Retry(attempts_max=2, transient_max=2, undo_attempts_max=2, delay_min_ms=10, delay_max_ms=10)
SAID = ("card", "the card was declined")


def worker_of(
    engine: sagalog.Engine, clock: ManualClock, handler: Any, undo: Any = None, **config: Any
) -> InlineWorker:
    compensations = {} if undo is None else {"undo": undo}
    config = {"concurrency": 2, "claim_ahead": 0, "ttl_ms": 100, "quarantine_unknown": True, **config}
    return InlineWorker(engine, WorkerConfig(("default",), {"do": handler}, compensations, **config), "w", clock)


def run(worker: InlineWorker, engine: sagalog.Engine, **create: Any) -> sagalog.Task:
    """What becomes of a task until the worker finds nothing more to do now."""
    id = engine.create("do", **{"retry": ONCE, **create}).id
    worker.until_idle()
    task = engine.get(id)
    assert task is not None
    return task


def raises(error: BaseException) -> Any:
    def handler(_context: Any, _payload: Any) -> None:
        raise error

    return handler


def said(task: sagalog.Task) -> tuple[str, str]:
    assert task.error is not None
    return task.error.code, task.error.message


# --- kept -------------------------------------------------------------------------------------------------------------


def test_a_budget_that_there_is_not_is_named_in_the_log(engine: sagalog.Engine, clock: ManualClock) -> None:
    def handler(_context: Any, _payload: Any) -> None:
        raise Transient("busy", budget="attempts")  # type: ignore[arg-type]  # as an untyped handler may

    code, message = said(run(worker_of(engine, clock, handler), engine, waive_compensation="it has no effects"))
    assert code == "InvalidValue"
    assert "budget: expected one of 'attempt', 'transient', 'quota', found 'attempts'" in message


WAYS = {
    "permanent": Permanent,
    "failed": Failed,
    "transient": Transient,
    "quarantine": Quarantine,
}


@pytest.mark.parametrize("waived", [True, False], ids=["waived", "nothing to undo by"])
@pytest.mark.parametrize("way", WAYS)
def test_a_handlers_message_and_code_are_in_the_log_whatever_rule_counts(
    way: str, waived: bool, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-2] [COMP-3] [WORKER-1] Any rule may decide first."""
    error = WAYS[way](SAID[1], code=SAID[0], details={"issuer": "x"})

    task = run(worker_of(engine, clock, raises(error)), engine, waive_compensation="none" if waived else None)

    assert said(task) == SAID
    assert task.error is not None
    assert task.error.details == {"issuer": "x"}
    expected = "quarantined" if way == "quarantine" or not waived else "failed"
    assert task.state == expected
    if not waived and way != "quarantine":
        assert task.code == "compensation_required"


class Odd(Permanent):
    """One that was not made by the means of its class."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(SAID[1], code=SAID[0])
        for name, value in fields.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    "fields",
    [
        {"details": object()},
        {"details": {"n": float("nan")}},
        {"details": "x" * 70_000},
        {"compensations": ["no compensation"]},
        {"compensations": [Compensation("undo", object())]},
        {"waive_compensation": 5},
    ],
    ids=["object", "nan", "large", "no compensation", "params", "waiver"],
)
def test_message_and_code_are_kept_beside_what_cannot_be_stored(
    fields: dict[str, Any], engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1]"""
    task = run(worker_of(engine, clock, raises(Odd(**fields))), engine, waive_compensation="none")

    assert task.state == "failed"
    assert said(task) == SAID
    assert task.error is not None
    assert set(task.error.details) <= {"left_out", "refused"}
    assert task.error.details


@pytest.mark.parametrize("code", ["", "x" * 201, "two\nlines", 5, None, b"card"], ids=repr)
def test_a_code_that_is_no_name_is_told_among_the_details(
    code: Any, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[WORKER-1]"""
    error = Odd(details={"issuer": "x"})
    error.code = code

    task = run(worker_of(engine, clock, raises(error)), engine, waive_compensation="none")

    assert (task.state, said(task)) == ("failed", ("failed", SAID[1]))
    assert task.error is not None
    [why] = task.error.details["left_out"]
    assert why.startswith("code: ")
    assert task.error.details["said"] == {"issuer": "x"}


def test_a_message_that_is_no_text_is_shown(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[WORKER-1]"""
    error = Permanent(ValueError("no"), code="card")  # type: ignore[arg-type]

    task = run(worker_of(engine, clock, raises(error)), engine, waive_compensation="none")

    assert (task.state, said(task)) == ("failed", ("card", "ValueError('no')"))


def test_what_an_undo_says_is_kept_too(engine: sagalog.Engine, clock: ManualClock) -> None:
    """[UNDO-3]"""
    for error, state in ((Failed, "compensating"), (Permanent, "quarantined"), (Transient, "compensating")):
        undo = raises(error(SAID[1], code=SAID[0], details=object()))
        failing = raises(Permanent("no", compensations=[Compensation("undo")]))

        task = run(worker_of(engine, clock, failing, undo), engine)

        assert (task.state, said(task)) == (state, SAID)


# --- a kind that needs no undo ----------------------------------------------------------------------------------------

WAIVED = {"do": "writes nothing"}


@pytest.mark.parametrize("error", [Permanent, Failed, Transient, ValueError])
def test_a_kind_that_needs_no_undo_fails_without_one(
    error: type[Exception], engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-2] [COMP-3]"""
    task = run(worker_of(engine, clock, raises(error("no")), waivers=WAIVED), engine)

    assert task.state == "failed"
    [leased] = [one for one in engine.history(task.id) if one.type == "leased"]
    assert '"waiver":"writes nothing"' in leased.body


@pytest.mark.parametrize(("waivers", "state"), [(WAIVED, "failed"), ({}, "quarantined")])
def test_a_kind_that_needs_no_undo_fails_also_where_its_worker_dies(
    waivers: dict[str, str], state: str, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """[COMP-3] Only the log knows: the worker that could say it is gone."""
    id = engine.create("do", retry=Retry(expiries_max=1)).id
    worker = worker_of(engine, clock, raises(ValueError()), waivers=waivers)
    worker.turn()
    clock.advance(100)

    engine.recover()

    task = engine.get(id)
    assert task is not None
    assert task.state == state


def test_a_worker_is_told_that_a_kind_needs_no_undo() -> None:
    worker = sagalog.Worker()

    @worker.task("resize", waive_compensation="writes nothing")
    def resize(_context: WorkContext, _payload: Any) -> None:
        raise Permanent("too large", code="size")

    with sagalog.open("memory:") as engine:
        engine.create("resize", id="t")
        stats = worker.run(engine, until="idle", handle_signals=False)
        task = engine.get("t")

    assert task is not None
    assert (task.state, said(task), stats.outcomes) == ("failed", ("size", "too large"), {"failed": 1})


@pytest.mark.parametrize("reason", ["", " ", 5, ["writes nothing"]])
def test_a_reason_that_says_nothing_is_refused(reason: Any) -> None:
    with pytest.raises(sagalog.InvalidValue) as refusal:
        sagalog.Worker().task("resize", waive_compensation=reason)
    assert refusal.value.path == "waive_compensation"


# --- seen -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "sagalog.worker")
    return caplog


def warnings(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged.records if record.levelno == logging.WARNING]


def test_a_failing_handler_is_logged_with_its_traceback_and_next_try(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """The log line says when the task is tried again."""
    task = run(worker_of(engine, clock, raises(ValueError("no way on"))), engine, retry=TWICE)

    failed, due = warnings(logged)
    assert failed == f"the handler of task {task.id} (do, attempt 1) failed: ValueError: no way on"
    when = spelled(clock.now_ms() + 10)
    assert due == f"task {task.id} (do, attempt 1) is due again in 0.010 s, at {when}"
    assert when.endswith("Z")
    [record] = [one for one in logged.records if one.getMessage() == failed]
    assert record.exc_info is not None
    assert "in handler" in logged.text


def test_an_outcome_is_logged_without_a_traceback_of_its_own(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """A handler that says what became of its work has said all; where something else went wrong, the place counts."""
    run(worker_of(engine, clock, raises(Permanent("no"))), engine)
    assert [record.exc_info for record in logged.records if record.levelno == logging.WARNING] == [None, None]

    def fail(context: WorkContext, payload: object) -> None:
        try:
            raise ValueError("no way on")
        except ValueError as error:
            raise Permanent("no") from error

    run(worker_of(engine, clock, fail), engine)
    assert "ValueError: no way on" in logged.text


def test_what_fails_for_good_is_logged_with_what_becomes_of_its_task(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    task = run(worker_of(engine, clock, raises(Permanent(SAID[1], code=SAID[0]))), engine)

    assert warnings(logged) == [
        f"the handler of task {task.id} (do, attempt 1) failed: card: the card was declined",
        f"task {task.id} (do) is quarantined: compensation_required",
    ]


def test_beginnings_and_ends_are_logged_for_who_asks_for_them(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    task = run(worker_of(engine, clock, lambda _context, _payload: 5), engine)

    told = [(record.levelname, record.getMessage()) for record in logged.records]
    named = f"the handler of task {task.id} (do, attempt 1)"
    assert told == [("DEBUG", f"{named} begins"), ("DEBUG", f"{named} has ended")]


def test_an_undo_that_fails_is_logged_by_its_id(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    failing = raises(Permanent("no", compensations=[Compensation("undo", id="u")]))

    task = run(worker_of(engine, clock, failing, raises(OSError("the disk is away"))), engine)

    assert f"the undo 'u' of task {task.id} (do, attempt 1) failed: OSError: the disk is away" in warnings(logged)


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit("it ends the process")


def test_an_exception_that_cannot_be_spelled_out_is_logged_all_the_same(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    task = run(worker_of(engine, clock, raises(Speechless())), engine)

    assert task.state == "quarantined"
    assert warnings(logged)[0].startswith(f"the handler of task {task.id} (do, attempt 1) failed: Speechless: ")


def test_a_worker_counts_how_its_tasks_ended(engine: sagalog.Engine, clock: ManualClock) -> None:
    def handler(context: WorkContext, payload: Any) -> None:
        if payload == "park":
            context.wait_signal("go")
        if isinstance(payload, str):
            raise WAYS[payload](payload)

    worker = worker_of(engine, clock, handler, lambda _context, _params: None)
    for payload in (1, 2, "park", "transient", "quarantine"):
        engine.create("do", payload, retry=TWICE)
    engine.create("do", "permanent", waive_compensation="none")
    engine.create("do", "permanent", compensations=[Compensation("undo")])
    worker.until_idle()

    assert worker.worker_loop.stats.outcomes == {
        "completed": 2,
        "parked": 1,
        "retried": 1,
        "quarantined": 1,
        "failed": 1,
        "compensating": 1,
        "compensated": 1,
    }
    assert sum(worker.worker_loop.stats.outcomes.values()) == worker.worker_loop.stats.settled


def test_an_unknown_kind_is_named_once_however_long_it_waits(
    logged: pytest.LogCaptureFixture, engine: sagalog.Engine, clock: ManualClock
) -> None:
    """No worker here knows the kind."""
    worker = worker_of(engine, clock, lambda _context, _payload: None)
    engine.create("strange")
    engine.create("far", queue="elsewhere")
    worker.until_idle()
    clock.advance(9_999)
    worker.turn()
    assert warnings(logged) == []
    clock.advance(1)
    for _ in range(3):
        worker.turn()
        clock.advance(20_000)

    [named] = warnings(logged)
    assert named.startswith("tasks of the kind 'strange' are ready in 'default', and this worker has no handler")


def test_a_worker_that_has_nothing_left_to_do_names_what_it_cannot(logged: pytest.LogCaptureFixture) -> None:
    worker = sagalog.Worker()
    worker.task("do")(lambda _context, _payload: None)
    with sagalog.open("memory:") as engine:
        engine.create("do")
        engine.create("strange")
        worker.run(engine, until="idle", handle_signals=False)

    assert [one.split(" are ready")[0] for one in warnings(logged)] == ["tasks of the kind 'strange'"]
