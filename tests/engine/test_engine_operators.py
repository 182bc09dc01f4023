"""What people do to tasks: cancel, quarantine, waive, note, in every state. [CANCEL-1] [CANCEL-3] [COMP-4] [COMP-6]"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sagalog import (
    AlreadySettled,
    Conflict,
    Engine,
    Lease,
    LeaseLost,
    NotFound,
    TerminalTask,
    WrongState,
)
from sagalog.testing import ManualClock
from sagalog.testing.history import check, explain
from tests.engine.checking import CLOSE, REMOVE, TTL_MS, get, leased, log_of, refused, types, unchanged, undoing


def _failed(engine: Engine) -> None:
    leased(engine).fail("x", waive_compensation="it has no effects")


def _compensated(engine: Engine) -> None:
    undo = undoing(engine)
    undo.compensation_done("remove")
    undo.compensation_done("close")


def _compensating(engine: Engine) -> None:
    leased(engine, compensations=[CLOSE, REMOVE]).fail("x")


def _quarantined(engine: Engine) -> None:
    leased(engine, compensations=[CLOSE, REMOVE])
    engine.quarantine("t", "odd")


def _asked(engine: Engine) -> None:
    leased(engine)
    engine.cancel("t", "called off")


STATES: dict[str, Callable[[Engine], object]] = {
    "pending": lambda engine: engine.create("build", id="t"),
    "running": leased,
    "running, asked to stop": _asked,
    "compensating": _compensating,
    "undoing": undoing,
    "completed": lambda engine: leased(engine).complete(),
    "failed": _failed,
    "compensated": _compensated,
    "cancelled": lambda engine: (engine.create("build", id="t"), engine.cancel("t", "called off")),
    "quarantined": _quarantined,
}
ENDED = ("completed", "failed", "compensated", "quarantined")


@pytest.mark.parametrize("state", STATES)
def test_cancelling_in_every_state(engine: Engine, state: str) -> None:
    STATES[state](engine)
    before = types(engine, "t")
    if state in ENDED:
        assert refused(engine, TerminalTask, engine.cancel, "t", "again").state == state
        return
    engine.cancel("t", "again")
    written = {"pending": ["cancelled"], "running": ["cancel_requested"]}
    assert types(engine, "t")[len(before) :] == written.get(state, [])


@pytest.mark.parametrize("state", STATES)
def test_cancelling_at_once_in_every_state(engine: Engine, state: str) -> None:
    STATES[state](engine)
    before = types(engine, "t")
    if state in ENDED:
        refused(engine, TerminalTask, engine.cancel, "t", "again", now=True)
        return
    task = engine.cancel("t", "again", now=True)
    ends_it = state in ("pending", "running", "running, asked to stop")
    assert types(engine, "t")[len(before) :] == (["cancelled"] if ends_it else [])
    assert (task.lease is None) or state == "undoing"


@pytest.mark.parametrize("state", STATES)
def test_quarantining_in_every_state(engine: Engine, state: str) -> None:
    STATES[state](engine)
    if state in ("completed", "failed", "compensated", "cancelled"):
        refused(engine, TerminalTask, engine.quarantine, "t", "odd")
        return
    if state == "quarantined":
        assert unchanged(engine, engine.quarantine, "t", "odd").state == "quarantined"
        return
    owed = [one.id for one in reversed(get(engine).owed)]
    task = engine.quarantine("t", "odd")
    assert (task.state, task.code, task.reason, task.lease) == ("quarantined", "operator", "odd", None)
    assert list(engine.history("t")[-1].event.owed) == owed  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", STATES)
def test_noting_in_every_state_changes_no_state(engine: Engine, state: str) -> None:
    STATES[state](engine)
    before = get(engine)
    after = engine.note("t", "seen", actor="me")
    assert (after.state, after.version, after.lease) == (before.state, before.version + 1, before.lease)
    noted = engine.history("t")[-1]
    assert (noted.type, noted.actor) == ("noted", "user:me")
    assert check(log_of(engine)) == []


@pytest.mark.parametrize("state", STATES)
def test_waiving_what_the_task_does_not_have_is_refused_in_every_state(engine: Engine, state: str) -> None:
    STATES[state](engine)
    assert refused(engine, NotFound, engine.waive, "t", "unheard of", "gone").compensation == "unheard of"


@pytest.mark.parametrize("call", ["cancel", "quarantine", "note", "waive"])
def test_what_is_not_there_is_not_found(engine: Engine, call: str) -> None:
    given = {"cancel": (), "quarantine": ("odd",), "note": ("seen",), "waive": ("remove", "gone")}[call]
    assert refused(engine, NotFound, getattr(engine, call), "nobody", *given).task == "nobody"


def test_a_pending_task_that_was_never_leased_owes_nothing_when_cancelled(engine: Engine) -> None:
    engine.create("build", id="t", compensations=[REMOVE])
    task = engine.cancel("t", "called off", actor="me")
    assert (task.state, task.outcome, task.reason, task.owed) == ("cancelled", "cancelled", "called off", ())
    assert engine.history("t")[-1].actor == "user:me"


def test_a_cancelled_task_that_owes_something_is_undone_and_says_so(engine: Engine) -> None:
    leased(engine, compensations=[REMOVE]).release()
    assert engine.cancel("t", "called off").state == "compensating"
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    task = undo.compensation_done("remove")
    assert not isinstance(task, Lease)
    assert (task.state, task.outcome) == ("compensated", "cancelled")


def test_the_caller_that_commits_first_wins(engine: Engine) -> None:
    lease = leased(engine)
    engine.cancel("t", "called off")
    assert lease.complete("done").state == "completed"
    other = leased(engine, "u")
    engine.cancel("u", "called off", now=True)
    refused(engine, LeaseLost, other.complete, "done")


def test_a_worker_sees_that_it_is_asked_to_stop(engine: Engine, clock: ManualClock) -> None:
    lease = leased(engine)
    assert engine.cancel("t", "called off").cancel_requested
    clock.advance(1)
    seen = lease.heartbeat().task
    assert (seen.cancel_requested, seen.reason, seen.state) == (True, "called off", "running")


def test_a_worker_of_several_tasks_reads_which_were_cancelled(engine: Engine) -> None:
    """[CANCEL-1]"""
    held = {}
    for id in ("kept", "asked", "at once", "quarantined", "overtaken", "by its holder"):
        engine.create("build", id=id)
        held[id] = engine.acquire(id, owner="ann", ttl_ms=TTL_MS)
    fences = {id: lease.fence for id, lease in held.items()}
    assert engine._executor.queries.called_off(fences) == (set(), set())
    engine.cancel("asked")
    engine.cancel("at once", now=True)
    engine.quarantine("quarantined", "look")
    held["overtaken"].release()
    engine.acquire("overtaken", owner="bob", ttl_ms=TTL_MS)
    held["by its holder"].quarantine("by its holder")
    assert engine._executor.queries.called_off(fences) == ({"at once", "quarantined", "overtaken"}, {"asked"})


def test_a_planned_compensation_may_be_waived_before_it_is_owed(engine: Engine) -> None:
    engine.create("build", id="t", compensations=[REMOVE, CLOSE])
    task = engine.waive("t", "remove", "never made")
    assert [one.status for one in task.compensations] == ["waived", "planned"]
    lease = engine.acquire("t", owner="ann", ttl_ms=TTL_MS)
    assert [one.id for one in lease.task.owed] == ["close"]
    engine.waive("t", "close", "never made either")
    assert lease.fail("x").state == "failed"
    assert explain(check(log_of(engine))) == ""


def test_a_waived_compensation_is_waived_once(engine: Engine) -> None:
    _compensating(engine)
    task = engine.waive("t", "close", "gone")
    assert unchanged(engine, engine.waive, "t", "close", "gone") == task
    assert refused(engine, Conflict, engine.waive, "t", "close", "gone elsewhere").task == "t"
    undo = engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo")
    refusal = refused(engine, AlreadySettled, undo.compensation_done, "close")
    assert (refusal.compensation, refusal.status) == ("close", "waived")
    undo.compensation_done("remove")
    assert get(engine).state == "compensated"


def test_what_was_undone_is_not_waived_any_more(engine: Engine) -> None:
    undoing(engine).compensation_done("remove")
    assert refused(engine, AlreadySettled, engine.waive, "t", "remove", "gone").status == "done"


def test_after_the_end_nothing_is_waived(engine: Engine) -> None:
    _quarantined(engine)
    refusal = refused(engine, TerminalTask, engine.waive, "t", "remove", "gone")
    assert "a note with `settles`" in str(refusal)


def test_another_retry_of_a_retried_task_names_the_successor(engine: Engine) -> None:
    """[REPEAT-6] [REPEAT-7]"""
    leased(engine).quarantine("it cannot be stored", ["charge"])
    successor = engine.retry_as_new("t", results={"charge": 7}).id
    refusal = refused(engine, Conflict, engine.retry_as_new, "t", rerun=["charge"])
    assert (refusal.successor, repr(successor) in str(refusal)) == (successor, True)


def test_a_note_settles_what_a_quarantine_left_and_nothing_else(engine: Engine) -> None:
    _compensating(engine)
    refused(engine, WrongState, engine.note, "t", "by hand", ["close"])
    engine.quarantine("t", "odd")
    refused(engine, NotFound, engine.note, "t", "by hand", ["close", "unheard of"])
    task = engine.note("t", "by hand", ["close", "remove"])
    assert ([one.status for one in task.compensations], task.owed) == (["noted", "noted"], ())
    refused(engine, NotFound, engine.note, "t", "once more", ["close"])
    assert engine.note("t", "it is over").version == task.version + 1
    assert explain(check(log_of(engine))) == ""


def test_notes_without_an_idempotency_key_are_all_kept(engine: Engine) -> None:
    engine.create("build", id="t")
    engine.note("t", "seen")
    engine.note("t", "seen")
    assert types(engine, "t") == ["created", "noted", "noted"]


REQUESTS: dict[str, tuple[Callable[..., object], Callable[..., object]]] = {
    "cancel": (
        lambda engine, **given: engine.cancel("t", "called off", **given),
        lambda engine, **given: engine.cancel("t", "for another reason", **given),
    ),
    "cancel, now": (
        lambda engine, **given: engine.cancel("t", "called off", **given),
        lambda engine, **given: engine.cancel("t", "called off", now=True, **given),
    ),
    "cancel, not now": (
        lambda engine, **given: engine.cancel("t", "called off", now=True, **given),
        lambda engine, **given: engine.cancel("t", "called off", **given),
    ),
    "quarantine": (
        lambda engine, **given: engine.quarantine("t", "odd", **given),
        lambda engine, **given: engine.quarantine("t", "odder", **given),
    ),
    "note": (
        lambda engine, **given: engine.note("t", "seen", **given),
        lambda engine, **given: engine.note("t", "seen twice", **given),
    ),
    "waive": (
        lambda engine, **given: engine.waive("t", "remove", "gone", **given),
        lambda engine, **given: engine.waive("t", "close", "gone", **given),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_idempotency_key_is_the_identity_of_what_people_ask(engine: Engine, name: str) -> None:
    call, other = REQUESTS[name]
    leased(engine, compensations=[REMOVE, CLOSE])
    answer = call(engine, idempotency_key="r")
    assert unchanged(engine, call, engine, idempotency_key="r") == answer
    refused(engine, Conflict, other, engine, idempotency_key="r")
    engine.note("t", "meanwhile")
    again = unchanged(engine, call, engine, idempotency_key="r")
    assert again == get(engine)


def test_an_idempotency_key_holds_for_one_task_only(engine: Engine) -> None:
    for id in ("a", "b"):
        engine.create("build", id=id)
    engine.cancel("a", "called off", idempotency_key="r")
    assert refused(engine, Conflict, engine.cancel, "b", "called off", idempotency_key="r").stream == "task/a"
    refused(engine, Conflict, engine.note, "a", "called off", idempotency_key="r")


def test_the_engines_actor_is_on_record_where_a_call_names_none(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(actor="the house")
    engine.create("build", id="t")
    engine.note("t", "seen", actor="me")
    engine.cancel("t", "called off")
    assert [event.actor for event in engine.history("t")] == ["user:the house", "user:me", "user:the house"]


def test_quarantining_again_is_a_repeat_in_the_same_words_only(engine: Engine) -> None:
    lease = leased(engine)
    engine.quarantine("t", "odd")
    assert unchanged(engine, engine.quarantine, "t", "odd").reason == "odd"
    assert refused(engine, Conflict, engine.quarantine, "t", "quite odd").differs == ["reason"]
    refused(engine, LeaseLost, lease.complete)


@pytest.mark.parametrize("end", ["at once", "undone by half"])
def test_a_quarantined_task_is_not_cancelled_by_what_came_before(engine: Engine, end: str) -> None:
    """[CANCEL-3] A caller who cancels must not believe that it is out of the way."""
    if end == "at once":
        leased(engine)
        engine.cancel("t", "asked for")
    else:
        leased(engine, compensations=[REMOVE])
        assert engine.cancel("t", now=True).outcome == "cancelled"
    engine.quarantine("t", "odd")
    assert refused(engine, TerminalTask, engine.cancel, "t").state == "quarantined"


def test_a_task_that_was_cancelled_and_undone_may_be_cancelled_again(engine: Engine) -> None:
    leased(engine, compensations=[REMOVE])
    engine.cancel("t", now=True)
    engine.acquire("t", owner="ann", ttl_ms=TTL_MS, purpose="undo").compensation_done("remove")
    assert unchanged(engine, engine.cancel, "t").state == "compensated"


def test_a_task_that_failed_and_was_undone_was_not_cancelled(engine: Engine) -> None:
    undo = undoing(engine, compensations=[REMOVE])
    undo.compensation_done("remove")
    refused(engine, TerminalTask, engine.cancel, "t")
