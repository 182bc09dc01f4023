"""`worker` runs the handlers of a module as they are, and `signal` tells tasks what they wait for."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine, Retry
from sagalog.kernel.events import Signalled
from tests.adapters.cli.calls import Answer, call, url_of
from tests.adapters.cli.forked import Process, run, start

HANDLERS = """
import logging, os, sys, threading
import sagalog
from sagalog import Compensation, Permanent

worker = sagalog.Worker(queues="agents", concurrency=3, ttl_ms=20_000, name="crew")
idle = sagalog.Worker(queues="agents")
number = 7


class Shelf:
    worker = worker


@worker.task("add")
def add(context, payload):
    return sum(payload)


@worker.task("ask")
def ask(context, payload):
    return context.wait_signal("answer")


@worker.task("break")
def fall_over(context, payload):
    context.step("make", lambda: None, compensation=Compensation("unmake", {"n": 1}))
    raise Permanent("it is broken")


@worker.compensation("unmake")
def unmake(context, params):
    print("unmade", params["n"])


@worker.task("last")
def last(context, payload):
    worker.stop()


@worker.task("hold")
def hold(context, payload):
    print("holding", flush=True)
    if payload == "deaf":
        threading.Event().wait(60)
    while not context.stopping:
        context.wait_stop(10)
    return "finished"


@worker.task("complain")
def complain(context, payload):
    logging.getLogger("sagalog.worker").warning("something \\x1b is odd")
"""


@pytest.fixture
def folder(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is called: a module of handlers, and a store."""
    (tmp_path / "handlers.py").write_text(HANDLERS, encoding="utf-8")
    shutil.copy(empty, tmp_path / "sagalog.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    with sagalog.open(url_of(folder / "sagalog.db"), create=False) as engine:
        yield engine


def work(*words: str, handlers: str = "handlers:worker") -> Answer:
    return run("worker", "run", "--handlers", handlers, "--until", "idle", *words)


def states(folder: Path) -> dict[str, str]:
    with opened(folder) as engine:
        return {task.id: str(task.state) for task in engine.find()}


# --- worker ---------------------------------------------------------------------------------------------------------


def test_a_worker_runs_tasks_and_undos_with_the_handlers_of_a_module(folder: Path) -> None:
    """The module lies in the folder where the command is run."""
    with opened(folder) as engine:
        engine.create("add", [1, 2], id="sum", queue="agents")
        engine.create("break", id="broken", queue="agents")

    answer = work()

    assert 0 == answer.status, answer.err
    assert "unmade 1" in answer.lines
    with opened(folder) as engine:
        total, broken = engine.get("sum"), engine.get("broken")
    assert total is not None
    assert broken is not None
    assert ("completed", 3) == (total.state, total.result)
    assert "compensated" == broken.state


def test_it_says_what_it_works_on_and_what_it_has_done(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("add", [1, 2], queue="agents")

    plain, as_json = work(), work("--json")

    assert plain.err == (
        "note: crew works on queue agents, 3 at a time, with leases of 20.000s, until there is nothing to claim now\n"
    )
    assert plain.out.startswith("leases: 1 claimed, 1 settled, 0 refused, 0 lost, 0 renewals; ")
    assert "working" == json.loads(as_json.err)["note"]["code"]
    [tally] = as_json.documents
    assert {
        "claimed": 0,
        "settled": 0,
        "refused": 0,
        "lost": 0,
        "renewed": 0,
        "commits": 0,
        "outcomes": {},
    } == tally


def test_it_prints_what_failed_and_counts_how_tasks_ended(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("add", [1, 2], queue="agents")
        engine.create("add", [1, "two"], id="odd", queue="agents", retry=Retry(delay_min_ms=60_000))
        engine.create("add", ["one", 2], id="last", queue="agents", retry=Retry(attempts_max=1))

    answer = work()

    assert "warning: the handler of task odd (add, attempt 1) failed: TypeError: unsupported operand" in answer.err
    assert "warning: task odd (add, attempt 1) is due again in " in answer.err
    assert "warning: task last (add) is quarantined: compensation_required" in answer.err
    assert "Traceback" not in answer.err
    assert answer.out.endswith("; tasks: 1 completed, 1 quarantined, 1 retried\n")


def test_until_drained_it_also_does_what_comes_later(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("add", [1, 2], id="later", queue="agents", run_at_ms=engine.now_ms() + 1_500)

    answer = run("worker", "run", "--handlers", "handlers:worker", "--until", "drained")

    assert "until no live task is left" in answer.err
    assert {"later": "completed"} == states(folder)


def test_it_runs_the_coroutines_of_a_worker_for_asyncio(folder: Path) -> None:
    (folder / "awaited.py").write_text(
        "import asyncio, sagalog.aio\n"
        "worker = sagalog.aio.Worker(queues='agents')\n"
        "@worker.task('add')\n"
        "async def add(context, payload):\n"
        "    await asyncio.sleep(0)\n"
        "    return sum(payload)\n",
        encoding="utf-8",
    )
    with opened(folder) as engine:
        engine.create("add", [1, 2], id="sum", queue="agents")

    answer = work(handlers="awaited:worker")

    assert 0 == answer.status, answer.err
    with opened(folder) as engine:
        task = engine.get("sum")
    assert task is not None
    assert ("completed", 3) == (task.state, task.result)


def test_an_option_wins_over_what_the_module_says_and_the_rest_stays(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("add", [1], id="mine", queue="agents")
        engine.create("add", [1], id="other", queue="other")
        engine.create("add", [1], id="third", queue="third")

    answer = work(
        *("--queue", "other", "--queue", "third", "--concurrency", "1", "--ttl", "5s", "--grace", "0s", "--name", "ann")
    )

    assert "ann works on queues other, third, 1 at a time, with leases of 5.000s" in answer.err
    assert {"mine": "pending", "other": "completed", "third": "completed"} == states(folder)
    with opened(folder) as engine:
        [leased] = [one for one in engine.history("other") if one.type == "leased"]
    assert str(leased.actor).startswith("worker:ann-")


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_build_that_is_given_is_on_record_for_each_lease(folder: Path, processes: tuple[str, ...]) -> None:
    """[WORKER-10]"""
    with opened(folder) as engine:
        engine.create("last", id="last", queue="agents")

    answer = run("worker", "run", "--handlers", "handlers:Shelf.worker", "--build", "2026-11-29.3", *processes)

    assert answer.status == 0, answer.err
    with opened(folder) as engine:
        [leased] = [one for one in engine.history("last") if one.type == "leased"]
        assert '"build":"2026-11-29.3"' in leased.body
        assert [one.build for one in engine.workers()] == ["2026-11-29.3"]


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_the_tasks_of_an_affinity_that_is_given_come_first(folder: Path, processes: tuple[str, ...]) -> None:
    """[WORKER-11]"""
    with opened(folder) as engine:
        for id, affinity in (("a", "llama"), ("b", "qwen"), ("c", "llama"), ("d", "qwen")):
            engine.create("add", [1], id=id, queue="other", affinity=affinity)

    words = ("--queue", "other", "--affinity", "qwen", "--concurrency", "1", *processes)
    answer = run("worker", "run", "--handlers", "handlers:Shelf.worker", "--until", "idle", *words)

    assert answer.status == 0, answer.err
    with opened(folder) as engine:
        leased = [one.stream for one in engine.events(limit=1_000) if one.type == "leased"]
    assert leased == ["task/b", "task/d", "task/a", "task/c"]


def test_a_handler_can_stop_its_worker_whatever_the_options_say(folder: Path) -> None:
    """The handler's module holds the worker."""
    with opened(folder) as engine:
        engine.create("last", id="last", queue="agents")

    answer = run("worker", "run", "--handlers", "handlers:Shelf.worker", "--concurrency", "1")

    assert 0 == answer.status, answer.err
    assert {"last": "completed"} == states(folder)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("absent:worker", "there is no module 'absent'"),
        ("handlers.deeper:worker", "there is no module 'handlers.deeper'"),
        ("handlers", "expected MODULE:NAME"),
        (":worker", "expected MODULE:NAME"),
        ("handlers:", "expected MODULE:NAME"),
        ("handlers:wroker", "has no 'wroker'; the workers in it: idle, worker"),
        ("handlers:number", "of the type int"),
        ("raising:worker", "ZeroDivisionError: division by zero"),
        ("needing:worker", "No module named 'not_installed_here'"),
        ("twisted:worker", "SyntaxError"),
        ("leaving:worker", "ended the program"),
        ("empty:worker", "there is no sagalog.Worker in it"),
    ],
)
def test_what_is_no_worker_is_wrong_usage_and_nothing_is_run(folder: Path, place: str, words: str) -> None:
    broken = {
        "raising": "def fall():\n    1 / 0\n\n\nfall()\n",
        "needing": "import not_installed_here\n",
        "twisted": "def :\n",
        "leaving": "raise SystemExit(0)\n",
        "empty": "",
    }
    for name, text in broken.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    with opened(folder) as engine:
        engine.create("add", [1], id="t", queue="agents")

    answer = work("--json", handlers=place)

    assert (2, "") == (answer.status, answer.out)
    assert "usage" == answer.error["code"]
    assert words in answer.error["message"]
    if place == "raising:worker":
        assert f"{folder}/raising.py, line 2" in answer.error["message"]
    assert {"t": "pending"} == states(folder)


@pytest.mark.parametrize("words", [("--ttl", "0s"), ("--queue", ""), ("--name", "x" * 500), ("--concurrency", "9999")])
def test_what_no_worker_can_be_given_is_refused_and_nothing_is_run(folder: Path, words: tuple[str, str]) -> None:
    answer = work(*words, "--json")

    assert (3, "") == (answer.status, answer.out)
    assert "invalid_value" == answer.error["code"]


def test_a_worker_without_a_handler_is_refused(folder: Path) -> None:
    answer = work(handlers="handlers:idle")

    assert 3 == answer.status
    assert "has no handler" in answer.err


def test_a_store_that_is_not_there_is_not_made(folder: Path) -> None:
    answer = work("--db", "absent.db")

    assert 6 == answer.status
    assert not (folder / "absent.db").exists()


def test_the_worker_logs_plain_lines_to_standard_error(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("complain", queue="agents")
    plain = work()
    with opened(folder) as engine:
        engine.create("complain", queue="agents")
    as_json = work("--json")

    assert "warning: something \\x1b is odd" in plain.err.splitlines()
    notes = [json.loads(line)["note"] for line in as_json.err.splitlines()]
    assert {"code": "log", "message": "warning: something \x1b is odd"} in notes


# --- its end --------------------------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path, payload: str, *words: str) -> Iterator[Process]:
    """A worker in the midst of a handler that ends when it is told to, or never; nothing of it is left afterwards."""
    with opened(folder) as engine:
        engine.create("hold", payload, id="held", queue="agents")
    process = start("worker", "run", "--handlers", "handlers:worker", *words)
    assert process.stdout is not None
    try:
        assert b"holding\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_running_handlers_finish(folder: Path, number: signal.Signals, status: int) -> None:
    with held(folder, "listening") as process:
        process.send_signal(number)
        process.wait(60)
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()

    assert status == process.returncode, err
    assert out.startswith(b"leases: 1 claimed, 1 settled")
    assert {"held": "completed"} == states(folder)


def test_a_second_signal_does_not_wait_and_what_was_held_is_given_back(folder: Path) -> None:
    with held(folder, "deaf", "--grace", "10m") as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        with opened(folder) as engine:
            # It has heard of the first by now, and claims nothing more.
            engine.create("add", [1], id="later", queue="agents")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    assert 143 == process.returncode
    assert {"held": "pending", "later": "pending"} == states(folder)
    with opened(folder) as engine:
        assert ["created", "leased", "released"] == [one.type for one in engine.history("held")]


# --- signal ---------------------------------------------------------------------------------------------------------


def test_a_signal_lets_a_waiting_task_go_on_with_what_it_was_told(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("ask", id="t", queue="agents")
    work()

    answer = call("signal", "t", "answer", '{"is": 42}', "--actor", "bob")
    work()

    assert (0, "t is pending\n", "") == answer
    with opened(folder) as engine:
        task, told = engine.get("t"), next(one for one in engine.history("t") if one.type == "signalled")
    assert task is not None
    assert ("completed", {"is": 42}) == (task.state, task.result)
    assert "user:bob" == told.actor


def test_a_signal_may_come_from_standard_input_or_say_nothing(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("ask", id="t", queue="agents")

    assert 0 == call("signal", "t", "first", "-", given="[1]").status
    assert ["first", "second"] == call("signal", "t", "second", "--json").documents[0]["signals"]

    with opened(folder) as engine:
        told = [one.event for one in engine.history("t")]
    assert [[1], None] == [one.data for one in told if isinstance(one, Signalled)]


def test_an_idempotency_key_makes_a_repeated_signal_the_same_one(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("ask", id="t", queue="agents")

    for _ in range(2):
        assert 0 == call("signal", "t", "go", "1", "--idempotency-key", "r").status
    assert 5 == call("signal", "t", "go", "2", "--idempotency-key", "r").status
    assert 0 == call("signal", "t", "go", "1").status

    assert ["go", "go"] == call("show", "t", "--json").documents[0]["signals"]


def test_a_signal_that_reaches_no_task_is_refused(folder: Path) -> None:
    with opened(folder) as engine:
        engine.create("ask", id="t", queue="agents")
        engine.cancel("t")

    assert 4 == call("signal", "absent", "go").status
    assert 3 == call("signal", "t", "go").status
    assert 2 == call("signal", "t", "go", "{").status


# --- tracebacks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def failed(folder: Path) -> Path:
    """A store with a task whose handler has failed in a step of it, and an undo that has failed too."""
    (folder / "handlers.py").write_text(HANDLERS + FAILING, encoding="utf-8")
    with opened(folder) as engine:
        engine.create("divide", 0, id="t", queue="agents", retry=Retry(attempts_max=1, undo_attempts_max=1))
    return folder


FAILING = """
def quotient(of):
    return 1 / of


@worker.task("divide")
def divide(context, payload):
    context.step("make", lambda: None, compensation=Compensation("break", id="u"))
    return context.step("divide", quotient, payload)


@worker.compensation("break")
def fall_over_again(context, params):
    raise OSError("the disk is away")
"""
PLACES = ("in quotient", "    return 1 / of", "in divide", '    return context.step("divide", quotient, payload)')


def test_a_worker_says_where_a_handler_has_failed(failed: Path) -> None:
    said = work().err.splitlines()

    at = next(n for n, line in enumerate(said) if "attempt 1) failed: ZeroDivisionError: division by zero" in line)
    assert [line.endswith(place) for line, place in zip(said[at + 1 :], PLACES, strict=False)] == [True] * 4
    assert said[at + 1].startswith('  File "/')
    assert said[at + 5].startswith("warning: ")


def test_in_json_a_worker_gives_the_lines_as_a_list(failed: Path) -> None:
    notes = [json.loads(line)["note"] for line in work("--json").err.splitlines()]

    [note] = [one for one in notes if "ZeroDivisionError" in one["message"]]
    assert [line.endswith(place) for line, place in zip(note["traceback"], PLACES, strict=True)] == [True] * 4
    assert not [one for one in notes if "traceback" in one and "failed" not in one["message"]]


def test_show_and_history_tell_a_traceback_line_by_line(failed: Path) -> None:
    work()

    shown, history = call("show", "t").lines, call("history", "t").lines

    undo = ("in fall_over_again", '    raise OSError("the disk is away")')
    at = shown.index("TRACEBACK")
    assert [line.endswith(place) for line, place in zip(shown[at + 1 :], undo, strict=True)] == [True] * 2
    assert not [line for line in shown if line.startswith("details")]
    for places, named in ((PLACES, "ZeroDivisionError"), (undo, "OSError")):
        at = next(n for n, line in enumerate(history) if named in line)
        below = history[at + 1 : at + 1 + len(places)]
        assert [line.endswith(place) for line, place in zip(below, places, strict=True)] == [True] * len(places)
        assert [line.startswith("  ") for line in below] == [True] * len(places)


def test_in_json_show_and_history_give_the_lines_as_a_list(failed: Path) -> None:
    work()

    [shown], history = call("show", "t", "--json").documents, call("history", "t", "--json").documents

    assert shown["error"]["details"]["traceback"][1] == '    raise OSError("the disk is away")'
    lines = [one["event"]["error"]["details"]["traceback"] for one in history if "error" in one["event"]]
    assert next(line[1] for line in lines) == "    return 1 / of"


def test_a_long_traceback_is_told_by_its_innermost_lines(folder: Path) -> None:
    """The worker also says how to see the rest."""
    chain = "".join(f"def f{n}(): f{n - 1}()\n" for n in range(1, 40))
    (folder / "handlers.py").write_text(
        f'{HANDLERS}\ndef f0(): raise OSError("no")\n{chain}\nworker.task("deep")(lambda *_: f39())\n', encoding="utf-8"
    )
    with opened(folder) as engine:
        engine.create("deep", id="t", queue="agents", retry=Retry(attempts_max=1), waive_compensation="none")
    said = work().err.splitlines()

    assert [line for line in said if line.endswith("in f4")]
    assert [line for line in said if line.endswith("… (72 lines more: sagalog show)")]
    for words, shown in (("show", 20), ("history", 6)):
        clipped, full = call(words, "t").lines, call(words, "t", "--full").lines
        assert [line for line in clipped if line == f"  … ({82 - shown} lines more: --full)"]
        assert len([line for line in full if re.search(r"in f\d+$|def f\d+\(\)", line)]) >= 80
