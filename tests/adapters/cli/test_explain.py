"""The command `explain`: why a task does not run, or a schedule creates none, in words and in JSON. [EXPLAIN-1]"""

from __future__ import annotations

import re
from pathlib import Path

import sagalog
from tests.adapters.cli.calls import Answer, call, past
from tests.contract.tampering import tamper

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \((in )?[0-9a-z.]+( ago)?\)")


def of(path: Path, *words: str) -> Answer:
    return call("explain", *words, "--db", str(path))


def lines(path: Path, *words: str) -> list[str]:
    """The lines, with every time as TIME."""
    answer = of(path, *words)
    assert (answer.status, answer.err) == (0, "")
    return TIME.sub("TIME", answer.out).splitlines()


def test_each_reason_has_a_line_and_its_advice_one_below(engine: sagalog.Engine, path: Path) -> None:
    engine.create("build", id="build-1", run_at_ms=engine.now_ms() + 3_600_000)
    engine.pause(queue="default", reason="the disk is full", actor="user:ann")

    assert lines(path, "build") == [
        "build-1 is pending: no claim leases it now",
        "  - it is not due before TIME",
        "    sagalog amend build-1 --run-at +0s",
        "  - the queue 'default' is paused since TIME by user:ann: the disk is full",
        "    sagalog queue resume default",
        "  no worker has written itself into this store",
    ]


def test_a_task_that_a_claim_leases_says_so_with_its_place(engine: sagalog.Engine, path: Path) -> None:
    engine.create("build", id="first")
    engine.create("build", id="task")

    assert lines(path, "task")[:2] == [
        "task is pending: a claim leases it now",
        "  a claim leases it now: it is number 2 of queue 'default'",
    ]


def test_the_document_has_codes_parameters_sentences_and_advice(engine: sagalog.Engine, path: Path) -> None:
    engine.set_limit("gpu", slots=1)
    for id in ("holder", "waiter"):
        engine.create("build", id=id, uses={"gpu": 1})
    engine.claim("default", owner="ann", ttl_ms=60_000)

    [document] = of(path, "waiter", "--json").documents

    assert document["reasons"] == [
        {
            "code": "lacks_units",
            "parameters": {"limit": "gpu", "asked": 1, "free": 0, "holders": ["holder"]},
            "sentence": "it asks for 1 of the limit 'gpu', of which none is free; 'holder' has units",
            "advice": "sagalog limit holders gpu",
        }
    ]
    assert {name: document[name] for name in ("task", "state", "is_claimable")} == {
        "task": "waiter",
        "state": "pending",
        "is_claimable": False,
    }
    assert [note["code"] for note in document["notes"]] == ["no_worker_known"]


def test_a_task_that_cannot_be_read_is_explained_and_not_refused(engine: sagalog.Engine, path: Path) -> None:
    """[LOG-5]"""
    engine.create("build", id="task")
    tamper(path, ("UPDATE events SET type = 'moved' WHERE type = 'created'", []))
    engine.rebuild()

    first, reason, advice = lines(path, "task")

    assert first == "task cannot be read: no claim leases it now"
    assert reason.startswith("  - this version cannot read task/task: ")
    assert advice == "    sagalog verify"
    assert of(path, "task", "--json").documents[0]["state"] is None


def test_an_unknown_task_is_status_4(engine: sagalog.Engine, path: Path) -> None:
    answer = of(path, "nothing-like-it")

    assert answer.status == 4
    assert "there is no task 'nothing-like-it'" in answer.err


def test_a_text_of_a_caller_steers_no_terminal(engine: sagalog.Engine, path: Path) -> None:
    engine.create("build", id="task")
    engine.pause(kind="build", reason="red\x1b[31m")

    assert lines(path, "task")[1].endswith("since TIME: red\\x1b[31m")


def test_a_pinned_task_that_no_worker_takes_is_not_called_claimable(engine: sagalog.Engine, path: Path) -> None:
    """[BUILD-4]"""
    engine.create("build", id="task", build="new")

    assert lines(path, "task") == [
        "task is pending, and no live worker takes it:",
        "  - it is pinned to the build 'new', which no live worker of its queue 'default' names",
        "    start a worker of that build in queue default (sagalog worker run --build new), or have any worker take "
        "it: sagalog amend task --without build",
        "  a claim that names the build 'new' leases it now: it is number 1 of queue 'default'",
        "  it is pinned to the build 'new': no claim leases it that does not name it",
        "  no worker has written itself into this store",
    ]


def test_what_the_next_claim_does_first_is_said_in_the_first_line(engine: sagalog.Engine, path: Path) -> None:
    """[LEASE-2]"""
    engine.create("build", id="task")
    engine.claim("default", owner="ann", ttl_ms=1)
    clock_ms = engine.now_ms()
    while engine.now_ms() <= clock_ms + 1:
        pass

    assert lines(path, "task")[0] == "task is running: the next claim, or `sagalog recover`, sees to it first"


def test_an_end_is_explained_with_its_cause(engine: sagalog.Engine, path: Path) -> None:
    engine.create("build", id="task")
    engine.cancel("task", "it is no use")

    assert lines(path, "task") == [
        "task is cancelled: no claim leases it now",
        "  - it has ended as cancelled at TIME: it is no use",
        "    sagalog show task, or sagalog retry task",
    ]


# --- schedules ------------------------------------------------------------------------------------------------------


def test_a_schedule_is_explained_by_its_name(engine: sagalog.Engine, path: Path) -> None:
    """[PAUSE-1]"""
    engine.set_schedule("nightly", "backup", cron="@daily")

    assert lines(path, "--schedule", "nightly") == [
        "the schedule nightly creates no task now",
        "  - it is not due before TIME",
    ]
    engine.pause(schedule="nightly", reason="the disk is full", actor="user:ann")
    assert lines(path, "--schedule", "nightly") == [
        "the schedule nightly creates no task now",
        "  - the schedule 'nightly' is paused since TIME by user:ann: the disk is full",
        "    sagalog schedule resume nightly",
    ]


def test_a_schedule_that_is_due_says_that_the_next_claim_fires_it(path: Path) -> None:
    """[SCHEDULE-2]"""
    with past(path) as engine:
        engine.set_schedule("often", "poll", every_ms=60_000)

    first, note = lines(path, "--schedule", "often")

    assert first == "the schedule often fires with the next claim, or `sagalog recover`"
    assert note.startswith("  it is due since TIME, and the next claim creates 'often@")


def test_the_document_of_a_schedule_names_it_in_place_of_a_task(engine: sagalog.Engine, path: Path) -> None:
    engine.set_schedule("nightly", "backup", cron="@daily")
    engine.pause(schedule="nightly", actor="user:ann")

    [document] = of(path, "--schedule", "nightly", "--json").documents

    assert {name: document[name] for name in ("task", "schedule", "state", "is_claimable", "notes")} == {
        "task": None,
        "schedule": "nightly",
        "state": None,
        "is_claimable": False,
        "notes": [],
    }
    [reason] = document["reasons"]
    assert (reason["code"], reason["advice"]) == ("paused_schedule", "sagalog schedule resume nightly")


def test_an_unknown_schedule_is_status_4_with_its_own_advice(engine: sagalog.Engine, path: Path) -> None:
    answer = of(path, "--schedule", "nope")

    assert (answer.status, answer.out) == (4, "")
    assert answer.err.splitlines() == [
        "error: there is no schedule 'nope'; set it first, or check its name",
        "hint: `sagalog schedule ls` shows the schedules of this store",
    ]


def test_a_task_or_a_schedule_is_asked_for_and_not_both(engine: sagalog.Engine, path: Path) -> None:
    neither, both = of(path), of(path, "task", "--schedule", "nightly")

    assert (neither.status, both.status) == (2, 2)
    assert "give the ID of a task, or --schedule NAME" in neither.err
    assert "--schedule nightly: the task task is given too; leave one of them out" in both.err
