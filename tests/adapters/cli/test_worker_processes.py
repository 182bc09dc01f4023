"""`worker --processes`: several real processes under one parent, which tells them, replaces them, and leaves none."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine
from tests.adapters.cli import calls
from tests.adapters.cli.calls import Answer, call, url_of
from tests.adapters.cli.forked import Process, run, start

PATIENCE_S = 60.0
HANDLERS = """
import os, pathlib, threading, time
import sagalog

worker = sagalog.Worker(queues="agents", concurrency=1, ttl_ms=1_000, name="crew")
idle = sagalog.Worker(queues="agents")
place = pathlib.Path("marks")


@worker.task("meet")
def meet(context, payload):
    # Each waits for as many processes as there are to be.
    (place / f"met-{os.getpid()}").touch()
    while len(list(place.glob("met-*"))) < payload:
        context.go_on()
        context.wait_stop(10)
    return os.getpid()


@worker.task("hold")
def hold(context, payload):
    (place / f"holding-{os.getpid()}").touch()
    while not context.stopping and not (place / "go-on").exists():
        context.wait_stop(10)
    return "finished"


@worker.task("deaf")
def deaf(context, payload):
    (place / f"deaf-{os.getpid()}").touch()
    threading.Event().wait(600)


@worker.task("crash")
def crash(context, payload):
    if context.fence == 1:
        os._exit(70)
    return os.getpid()
"""


@pytest.fixture
def folder(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is called: a module of handlers, a store, and a folder in which handlers leave marks."""
    (tmp_path / "handlers.py").write_text(HANDLERS, encoding="utf-8")
    (tmp_path / "marks").mkdir()
    shutil.copy(empty, tmp_path / "sagalog.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    with sagalog.open(url_of(folder / "sagalog.db"), create=False) as engine:
        yield engine


def words(processes: int, *more: str, handlers: str = "handlers:worker") -> tuple[str, ...]:
    return ("worker", "run", "--handlers", handlers, "--processes", str(processes), *more)


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def marked(folder: Path, name: str, count: int) -> list[int]:
    """The pids of the processes that have left this mark, once there are so many."""

    def pids() -> list[int]:
        return [int(path.name.rpartition("-")[2]) for path in (folder / "marks").glob(f"{name}-*")]

    until(lambda: len(pids()) >= count, f"{count} processes never left the mark {name!r}")
    return pids()


@contextmanager
def started(*more: str, processes: int = 2) -> Iterator[Process]:
    """A parent with its processes; none of them is left afterwards."""
    parent = start(*words(processes, *more))
    try:
        yield parent
    finally:
        parent.kill()
        # It ends with the last process that holds the other end of its streams.
        parent.communicate(timeout=PATIENCE_S)


def ended(parent: Process | subprocess.Popen[bytes]) -> Answer:
    out, err = parent.communicate(timeout=PATIENCE_S)
    return Answer(parent.wait(), out.decode(), err.decode())


def create(folder: Path, *kinds: str, payload: object = None) -> list[str]:
    with opened(folder) as engine:
        return [engine.create(kind, payload, queue="agents", waive_compensation="none").id for kind in kinds]


def results(folder: Path) -> dict[str, tuple[str, object]]:
    with opened(folder) as engine:
        return {task.id: (str(task.state), task.result) for task in engine.find()}


# --- work -----------------------------------------------------------------------------------------------------------


def test_each_process_works_under_a_name_of_its_own(folder: Path) -> None:
    ids = create(folder, "meet", "meet", payload=2)

    answer = run(*words(2, "--until", "drained"))

    assert 0 == answer.status, answer.err
    assert len({result for _, result in results(folder).values()}) == 2
    assert {"completed"} == {state for state, _ in results(folder).values()}
    with opened(folder) as engine:
        owners = {
            str(one.actor)[: len("worker:crew-1-")] for id in ids for one in engine.history(id) if one.type == "leased"
        }
    assert {"worker:crew-1-", "worker:crew-2-"} == owners
    assert 2 == len([line for line in answer.lines if line.startswith("leases: ")])
    assert sorted(re.findall(r"note: (crew-\d) works on", answer.err)) == ["crew-1", "crew-2"]


def test_every_option_reaches_every_process(folder: Path) -> None:
    options = ("--queue", "left", "--queue", "right", "--concurrency", "3", "--ttl", "5s", "--grace", "1s")

    answer = run(*words(2, *options, "--name", "-ann", "--until", "idle", "--json", "--db", "sagalog.db"))

    notes = [json.loads(line)["note"]["message"] for line in answer.err.splitlines()]
    assert sorted(notes) == [
        f"-ann-{number} works on queues left, right, 3 at a time, with leases of 5.000s, "
        "until there is nothing to claim now"
        for number in (1, 2)
    ]
    assert [0, 0] == [tally["claimed"] for tally in answer.documents]


def test_the_parent_opens_no_store(folder: Path) -> None:
    create(folder, "hold")
    with started(processes=1) as parent:
        [worker] = marked(folder, "holding", 1)
        stores = [
            [link for one in Path(f"/proc/{pid}/fd").iterdir() if "sagalog.db" in (link := os.readlink(one))]
            for pid in (parent.pid, worker)
        ]

    assert stores[0] == []
    assert stores[1]


# --- death ----------------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_is_replaced_and_its_task_is_done(folder: Path) -> None:
    create(folder, "hold", "hold")
    with started("--until", "drained") as parent:
        [killed, _] = marked(folder, "holding", 2)
        os.kill(killed, signal.SIGKILL)
        # Another process takes the task over once its lease is over.
        marked(folder, "holding", 3)
        (folder / "marks" / "go-on").touch()
        answer = ended(parent)

    assert 0 == answer.status, answer.err
    assert {("completed", "finished")} == set(results(folder).values())
    assert f"(pid {killed}) was killed by SIGKILL; another one begins in 100ms" in answer.err


def test_a_process_that_crashes_is_replaced_and_its_task_is_done(folder: Path) -> None:
    create(folder, "crash")

    answer = run(*words(1, "--until", "drained", "--json"))

    assert 0 == answer.status, answer.err
    assert {"completed"} == {state for state, _ in results(folder).values()}
    notes = [json.loads(line)["note"] for line in answer.err.splitlines()]
    [death] = [note["message"] for note in notes if note["code"] == "process"]
    assert re.fullmatch(r"process 1 \(pid \d+\) ended with status 70; another one begins in 100ms", death)


def test_a_parent_that_is_killed_leaves_no_process(folder: Path) -> None:
    create(folder, "hold", "hold")
    with started() as parent:
        marked(folder, "holding", 2)
        parent.kill()
        # What they write ends once no process holds the other end.
        parent.communicate(timeout=PATIENCE_S)

    assert {("completed", "finished")} == set(results(folder).values())


@pytest.fixture
def importing(folder: Path) -> Process:
    """A parent whose first process imports a module for ten minutes."""
    (folder / "slow.py").write_text(
        f"{HANDLERS}\n(place / f'importing-{{os.getpid()}}').touch()\ntime.sleep(600)\n", encoding="utf-8"
    )
    parent = start(*words(2, handlers="slow:worker"))
    marked(folder, "importing", 1)
    return parent


def test_a_process_whose_parent_is_killed_while_it_starts_ends(importing: Process) -> None:
    parent = importing
    parent.kill()
    parent.communicate(timeout=PATIENCE_S)


# --- what cannot begin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handlers", "more"),
    [
        ("absent:worker", ()),
        ("handlers:worker", ("--db", "absent.db")),
    ],
)
def test_what_no_worker_could_begin_with_ends_all_at_once(folder: Path, handlers: str, more: tuple[str, ...]) -> None:
    one = run("worker", "run", "--handlers", handlers, *more)
    several = run(*words(2, *more, handlers=handlers))

    assert one.status != 0
    assert one.status == several.status
    errors = [line for line in several.err.splitlines() if line.startswith("error: ")]
    assert errors == [line for line in one.err.splitlines() if line.startswith("error: ")]
    assert "" == several.out


def test_processes_that_die_at_start_up_again_and_again_are_given_up(folder: Path) -> None:
    """The module is broken while the first process works."""
    create(folder, "hold")
    with started("--until", "drained", processes=1) as parent:
        [worker] = marked(folder, "holding", 1)
        (folder / "handlers.py").write_text("import not_there\n", encoding="utf-8")
        os.kill(worker, signal.SIGKILL)
        answer = ended(parent)

    assert 2 == answer.status
    [last] = [line for line in answer.err.splitlines() if "all processes are stopped" in line]
    assert "ended with status 2, as 5 in a row at start-up," in last
    assert {"running"} == {state for state, _ in results(folder).values()}


def test_a_module_that_ends_its_process_without_a_word_is_told_of(folder: Path) -> None:
    (folder / "silent.py").write_text("import os\nos._exit(70)\n", encoding="utf-8")

    answer = run(*words(2, handlers="silent:worker"))

    assert 70 == answer.status
    assert re.fullmatch(
        r"note: process 1 \(pid \d+\) ended with status 70 and no other one begins: all processes are stopped\n",
        answer.err,
    )


def test_a_process_that_dies_by_a_signal_at_its_first_start_is_tried_again(folder: Path) -> None:
    (folder / "once.py").write_text(
        f"{HANDLERS}\nif not (place / 'died').exists():\n    (place / 'died').touch()\n    os.kill(os.getpid(), 9)\n",
        encoding="utf-8",
    )
    answer = run(*words(1, "--until", "idle", handlers="once:worker"))

    assert 0 == answer.status, answer.err
    assert 1 == answer.err.count("was killed by SIGKILL; another one begins")


@pytest.mark.parametrize("processes", ["0", "-1", "two"])
def test_a_number_of_processes_that_is_none_is_wrong_usage(folder: Path, processes: str) -> None:
    answer = call("worker", "run", "--handlers", "handlers:worker", f"--processes={processes}")

    assert 2 == answer.status
    assert "--processes" in answer.err


# --- stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status", "processes"),
    [(signal.SIGTERM, 143, 2), (signal.SIGHUP, 129, 1), (signal.SIGINT, 130, 1)],
    ids=lambda one: str(one),
)
def test_a_signal_is_passed_on_and_running_handlers_finish(
    folder: Path, number: signal.Signals, status: int, processes: int
) -> None:
    create(folder, *["hold"] * processes)
    with started(processes=processes) as parent:
        marked(folder, "holding", processes)
        parent.send_signal(number)
        answer = ended(parent)

    assert status == answer.status, answer.err
    assert {("completed", "finished")} == set(results(folder).values())


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_before_any_process_listens_is_told_by_the_parent(
    importing: Process, number: signal.Signals, status: int, said: str
) -> None:
    """A process that does not listen yet gets SIGTERM in its place."""
    importing.send_signal(number)
    assert (status, "", f"error: {said}; the store keeps what was answered\n") == ended(importing)


def test_what_a_terminal_sends_to_all_reaches_each_process_once(folder: Path) -> None:
    """A second signal would not wait for the grace, and the task would be given back."""
    create(folder, "hold")
    parent = calls.start(*words(1), start_new_session=True)
    marked(folder, "holding", 1)
    os.killpg(parent.pid, signal.SIGINT)
    answer = ended(parent)

    assert 130 == answer.status
    assert {("completed", "finished")} == set(results(folder).values())


def test_a_second_signal_does_not_wait_and_what_was_held_is_given_back(folder: Path) -> None:
    [id] = create(folder, "deaf")
    with started("--grace", "10m", processes=1) as parent:
        marked(folder, "deaf", 1)
        parent.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(1)
        parent.send_signal(signal.SIGTERM)
        answer = ended(parent)

    assert 143 == answer.status
    with opened(folder) as engine:
        events = [one.type for one in engine.history(id) if one.type != "heartbeat"]
    assert ["created", "leased", "released"] == events


def test_the_worst_status_of_all_processes_is_the_parents(folder: Path) -> None:
    _, held = create(folder, "deaf", "hold")
    with started("--grace", "10m") as parent:
        [deaf], _ = marked(folder, "deaf", 1), marked(folder, "holding", 1)
        parent.send_signal(signal.SIGTERM)
        until(lambda: results(folder)[held][0] == "completed", "the signal was never heard")
        os.kill(deaf, signal.SIGKILL)
        answer = ended(parent)

    assert 128 + signal.SIGKILL == answer.status
