"""What operators do: `cancel`, `quarantine`, `note`, `waive`, `recover`; who asked is on record."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from sagalog import Retry
from sagalog.testing import ManualClock
from tests.adapters.cli.calls import PAST_MS, call, leased, past

# --- what operators do ----------------------------------------------------------------------------------------------


def test_a_pending_task_is_cancelled_at_once_and_who_asked_is_on_record(db: str, path: Path) -> None:
    with past(path) as engine:
        engine.create("build", id="t")

    answer = call("cancel", "t", "--reason", "no longer wanted", "--actor", "bob", "--idempotency-key", "r", "--db", db)

    assert (0, "t is cancelled\n", "") == answer
    with past(path) as engine:
        last = engine.history("t")[-1]
    assert ("cancelled", "user:bob", "r") == (last.type, last.actor, last.idempotency_key)
    assert msgspec.to_builtins(last.event)["reason"] == "no longer wanted"


def test_a_running_task_is_asked_to_stop_or_loses_its_lease_with_now(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "asked")
        leased(engine, "ended", undos=["u1", "u2"])

    asked = call("cancel", "asked", "--db", db)
    ended = call("cancel", "ended", "--now", "--db", db)

    assert asked.out == "asked is running; its owner is asked to stop\n"
    assert ended.out == "ended is compensating; owed: u2, u1\n"
    assert call("cancel", "ended", "--db", db).status == 0


def test_a_task_is_quarantined_with_what_it_owes_and_a_note_settles_it(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["u1"])

    quarantined = call("quarantine", "t", "--reason", "looks wrong", "--db", db)
    noted = call("note", "t", "undone by hand", "--settles", "u1", "--db", db, "--json")

    assert quarantined.out == "t is quarantined; owed: u1\n"
    assert (0, "noted") == (noted.status, noted.documents[0]["compensations"][0]["status"])


def test_a_task_is_amended_by_what_is_given_and_keeps_the_rest(db: str, path: Path) -> None:
    """[AMEND-1]"""
    with past(path) as engine:
        engine.create("build", {"n": 1}, id="t", key="k", deadline_ms=PAST_MS + 10**12, retry=Retry(transient_max=7))

    words = ("--priority", "-3", "--queue", "fast", "--payload", "null", "--retry", "attempts_max=9")
    more: tuple[str, ...] = ("--affinity", "gpu", "--build", "b2", "--run-at", "2000000000000")
    more += ("--without", "key", "--without", "deadline")
    answer = call("amend", "t", *words, *more, "--actor", "bob", "--idempotency-key", "r", "--db", db, "--json")

    assert (0, "") == (answer.status, answer.err)
    [task] = answer.documents
    assert (task["priority"], task["queue"], task["payload"]) == (-3, "fast", None)
    assert (task["affinity"], task["key"], task["deadline_ms"], task["build"]) == ("gpu", None, None, "b2")
    assert (task["policy"]["attempts_max"], task["policy"]["transient_max"]) == (9, 7)
    assert task["run_at_ms"] == 2_000_000_000_000
    assert (
        call("amend", "t", *words, *more, "--idempotency-key", "r", "--db", db).out == "t is pending; nothing changed\n"
    )
    with past(path) as engine:
        assert [one.type for one in engine.history("t")] == ["created", "amended"]
        assert engine.history("t")[-1].actor == "user:bob"


def test_an_amendment_says_what_it_has_changed(db: str, path: Path) -> None:
    """[AMEND-1] By the options, and only what was not so already."""
    with past(path) as engine:
        engine.create("build", id="t", key="k", priority=3)

    def said(*words: str) -> str:
        return call("amend", "t", *words, "--db", db).out

    assert said("--priority", "3", "--run-at", "2000000000000") == "t is pending; changed: --run-at\n"
    assert said("--without", "key", "--retry", "attempts_max=2") == "t is pending; changed: --key, --retry\n"
    assert said("--without", "key", "--priority", "3") == "t is pending; nothing changed\n"


def test_the_payload_of_an_amendment_may_come_on_standard_input(db: str, path: Path) -> None:
    with past(path) as engine:
        engine.create("build", id="t")

    answer = call("amend", "t", "--payload", "-", "--db", db, "--json", given=b'{"n": 2}')

    assert answer.documents[0]["payload"] == {"n": 2}


def test_the_limits_of_a_task_are_amended_and_taken_away(db: str, path: Path) -> None:
    """[AMEND-1] [LIMIT-1] What is given is all that it uses from then on."""
    with past(path) as engine:
        engine.set_limit("gpu", slots=2)
        engine.set_limit("cpu", slots=2)
        engine.create("build", id="t", uses={"cpu": 1})

    amended = call("amend", "t", "--use", "gpu=2", "--use", "cpu", "--db", db, "--json")
    unknown = call("amend", "t", "--use", "tpu", "--db", db, "--json")
    too_many = call("amend", "t", "--use", "gpu=3", "--db", db, "--json")
    without = call("amend", "t", "--without", "use", "--db", db, "--json")

    assert amended.documents[0]["uses"] == {"cpu": 1, "gpu": 2}
    assert (unknown.status, unknown.error["limit"]) == (4, "tpu")
    assert (too_many.status, too_many.error["path"]) == (3, "uses['gpu']")
    assert without.documents[0]["uses"] == {}


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("live",), 2, "usage"),
        (("live", "--without", "deadline", "--deadline", "+1h"), 2, "usage"),
        (("live", "--without", "queue"), 2, "usage"),
        (("live", "--deadline", "soon"), 2, "usage"),
        (("live", "--without", "use", "--use", "gpu"), 2, "usage"),
        (("live", "--use", "gpu=many"), 2, "usage"),
        (("live", "--use", "gpu"), 5, "lease_held"),
        (("live", "--retry", "attempts=1"), 2, "usage"),
        (("live", "--priority", "1"), 5, "lease_held"),
        (("live", "--payload", "1"), 5, "lease_held"),
        (("done", "--priority", "1"), 3, "terminal_task"),
        (("nope", "--priority", "1"), 4, "not_found"),
        (("nope", "--retry", "attempts_max=1"), 4, "not_found"),
    ],
)
def test_an_amendment_that_cannot_be_is_refused(
    db: str, path: Path, words: tuple[str, ...], status: int, code: str
) -> None:
    """[AMEND-2]"""
    with past(path) as engine:
        leased(engine, "live")
        leased(engine, "done").complete()

    answer = call("amend", *words, "--db", db, "--json")

    assert (status, code) == (answer.status, answer.error["code"])


def test_a_deadline_is_given_as_a_time_and_shown(db: str, path: Path) -> None:
    """[DEADLINE-1]"""
    call("create", "build", "--id", "t", "--deadline", "+2h", "--start-by", "2100-01-01T00:00:00Z", "--db", db)

    shown = call("show", "t", "--db", db).out

    assert "deadline" in shown
    assert "start by  2100-01-01T00:00:00.000Z" in shown
    call("amend", "t", "--without", "start-by", "--deadline", "2000-01-01T00:00:00Z", "--db", db)
    assert call("recover", "--db", db).out.split() == ["ID", "EVENTS", "STATE", "t", "cancelled", "cancelled"]
    assert "its deadline has come" in call("show", "t", "--db", db).out
    again = call("retry", "t", "--deadline", "2100-01-01T00:00:00Z", "--db", db, "--json").documents[0]
    assert (again["deadline_ms"], again["start_by_ms"]) == (4_102_444_800_000, None)


def test_a_compensation_is_waived_by_word(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["u1", "u2"])

    answer = call("waive", "t", "u1", "--reason", "never began", "--db", db, "--json")

    assert ["waived", "owed"] == [one["status"] for one in answer.documents[0]["compensations"]]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("cancel", "done"), 3, "terminal_task"),
        (("quarantine", "done", "--reason", "r"), 3, "terminal_task"),
        (("waive", "done", "u", "--reason", "r"), 4, "not_found"),
        (("waive", "live", "nope", "--reason", "r"), 4, "not_found"),
        (("note", "live", "text", "--settles", "u"), 3, "wrong_state"),
        (("note", "live", " "), 3, "invalid_value"),
        (("cancel", "nobody"), 4, "not_found"),
        (("note", "nobody", "text"), 4, "not_found"),
        (("note", "live", "text", "--idempotency-key", "taken"), 5, "conflict"),
        (("quarantine", "live"), 2, "usage"),
        (("waive", "live", "u"), 2, "usage"),
        (("note", "live"), 2, "usage"),
        (("recover", "--limit", "0"), 2, "usage"),
        (("recover", "--unknown-kind", ""), 3, "invalid_value"),
    ],
)
def test_what_operators_may_not_do_is_refused_with_its_status(
    db: str, path: Path, words: tuple[str, ...], status: int, code: str
) -> None:
    """The status is that of the error's branch."""
    with past(path) as engine:
        leased(engine, "done").complete()
        leased(engine, "live", undos=["u"])
        engine.note("done", "something else", idempotency_key="taken")
        before = len(engine.events())

    answer = call(*words, "--db", db, "--json")

    assert (status, code, "") == (answer.status, answer.error["code"], answer.out)
    with past(path) as engine:
        assert before == len(engine.events())


def test_an_idempotency_key_that_is_repeated_writes_nothing_twice(db: str, path: Path) -> None:
    """[REPEAT-4]"""
    with past(path) as engine:
        engine.create("build", id="t")

    statuses = [call("note", "t", "once", "--idempotency-key", "r", "--db", db).status for _ in range(2)]

    assert [0, 0] == statuses
    with past(path) as engine:
        assert ["created", "noted"] == [event.type for event in engine.history("t")]


# --- recover --------------------------------------------------------------------------------------------------------


def test_recover_ends_leases_that_are_over_once(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "a")
        leased(engine, "b")

    first = call("recover", "--db", db)
    second = call("recover", "--db", db)

    assert ["ID  EVENTS         STATE", "a   lease_expired  pending", "b   lease_expired  pending"] == first.lines
    assert (0, "", "note: nothing was due\n") == second


def test_recover_stops_at_its_limit_and_answers_json_lines(db: str, path: Path) -> None:
    with past(path) as engine:
        for number in range(3):
            leased(engine, str(number))

    answer = call("recover", "--limit", "1", "--db", db, "--json")

    assert [{"task": "0", "events": ["lease_expired"], "state": "pending"}] == answer.documents


def test_recover_quarantines_who_owes_a_kind_that_no_worker_knows(db: str, path: Path) -> None:
    with past(path) as engine:
        leased(engine, "t", undos=["teleport"]).fail("broken")
        # Its undo may wait for ever, though the past lies years ago.
        leased(engine, "other", undos=["walk"], retry=Retry(undo_wait_ms=None)).fail("broken")

    answer = call("recover", "--unknown-kind", "teleport", "--db", db, "--json")

    assert [("t", "quarantined")] == [(one["task"], one["state"]) for one in answer.documents]


def test_a_past_lease_is_told_by_the_clock_of_its_own_time(db: str, path: Path) -> None:
    """Nothing here depends on when the test runs: the engine of the past sees its lease alive."""
    with past(path) as engine:
        leased(engine, "t")
        assert engine.stale() == []
    with past(path, ManualClock(PAST_MS + 30_000)) as engine:
        assert [task.id for task in engine.stale()] == ["t"]


def test_answers_of_writes_are_tasks_as_json(db: str) -> None:
    words = [("create", "build", "--id", "t"), ("note", "t", "x"), ("cancel", "t")]

    answers = [call(*one, "--db", db, "--json").out for one in words]

    assert ["pending", "pending", "cancelled"] == [json.loads(answer)["state"] for answer in answers]
