"""Command lines run by a real worker: what they leave in the log, and that a cancel ends the whole group."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Retry
from sagalog.worker import WorkContext
from sagalog_command import Command, handler, run
from tests.adapters.command.attempt import Attempt, is_running
from tests.worker.worker_processes import at_work, ended, story, until

WAIVED = "it changes nothing"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path}/store.db") as engine:
        yield engine


@pytest.fixture
def worker() -> sagalog.Worker:
    worker = sagalog.Worker(ttl_ms=2_000)
    worker.task("command")(handler())
    return worker


def test_a_command_that_ends_well_completes_its_task(engine: sagalog.Engine, worker: sagalog.Worker) -> None:
    """Its output is kept as artifacts."""
    id = engine.create("command", {"words": ["sh", "-c", "echo out; echo err >&2"]}).id
    with at_work(worker, engine):
        task = ended(engine, id)

    assert (task.state, task.result["exit_status"]) == ("completed", 0)
    assert (engine.artifact(id, "stdout").data, engine.artifact(id, "stderr").data) == (b"out\n", b"err\n")
    assert story(engine, id) == ["created", "leased", "artifact_put", "artifact_put", "completed"]


def test_a_handler_keeps_the_output_of_each_of_its_commands(engine: sagalog.Engine, worker: sagalog.Worker) -> None:
    """Each has a name, since an attempt keeps one artifact of a name."""

    @worker.task("build")
    def build(context: WorkContext, payload: None) -> None:
        for name in ("compile", "test"):
            context.step(name, lambda name=name: run(context, Command(("echo", name)), name=name))

    id = engine.create("build").id
    with at_work(worker, engine):
        task = ended(engine, id)

    assert (task.state, task.artifacts) == ("completed", ("compile.stdout", "test.stdout"))
    assert engine.artifact(id, "test.stdout").data == b"test\n"


@pytest.mark.parametrize("name", ["", "n" * 200, 5])
def test_a_command_whose_artifacts_could_have_no_name_is_not_run(name: Any, tmp_path: Path) -> None:
    with pytest.raises(sagalog.InvalidValue) as refusal:
        run(Attempt(), Command(("touch", f"{tmp_path}/ran")), name=name)

    assert (refusal.value.path, list(tmp_path.iterdir())) == ("name", [])


def test_a_failure_costs_an_attempt_and_a_plea_for_patience_does_not(
    engine: sagalog.Engine, worker: sagalog.Worker
) -> None:
    """Exit status 75 costs the budget of transients instead. [ATTEMPT-2]"""
    once = Retry(attempts_max=1, transient_max=2, delay_min_ms=0, delay_max_ms=0)
    failing = engine.create("command", {"words": ["sh", "-c", "exit 3"]}, retry=once, waive_compensation=WAIVED).id
    busy = engine.create("command", {"words": ["sh", "-c", "exit 75"]}, retry=once, waive_compensation=WAIVED).id
    with at_work(worker, engine):
        assert ended(engine, failing).code == "attempts_spent"
        assert ended(engine, busy).code == "transients_spent"
    assert story(engine, busy).count("leased") == 2


def test_a_cancel_ends_the_command_with_its_children(
    engine: sagalog.Engine, worker: sagalog.Worker, tmp_path: Path
) -> None:
    """[CANCEL-2]"""
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    id = engine.create("command", {"words": ["sh", "-c", script]}).id
    with at_work(worker, engine):
        until(engine, id, lambda task: task.lease is not None)
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
            engine.wait_change(engine.changes(), 5)
        engine.cancel(id, "not needed")
        assert ended(engine, id).state == "cancelled"
    child = int((tmp_path / "child").read_text())
    assert not is_running(child)


def test_what_a_cancelled_command_has_printed_is_kept(engine: sagalog.Engine, worker: sagalog.Worker) -> None:
    """[CANCEL-2] [BLOB-1]"""
    id = engine.create("command", {"words": ["sh", "-c", "echo so far; sleep 60"]}).id
    with at_work(worker, engine):
        until(engine, id, lambda task: task.progress is not None or task.lease is not None)
        time.sleep(0.3)  # a real command needs real time to print
        engine.cancel(id, "not needed")
        assert ended(engine, id).state == "cancelled"
    assert engine.artifact(id, "stdout").data == b"so far\n"


def test_a_process_that_ends_takes_its_commands_along(tmp_path: Path) -> None:
    script = f"""
import threading, time, sagalog
from sagalog_command import handler
worker = sagalog.Worker(grace_ms=0)
worker.task("command")(handler())
with sagalog.open("sqlite:///{tmp_path}/store.db") as engine:
    deaf = "trap '' TERM; echo $$ > {tmp_path}/pid; sleep 60 & wait; sleep 60"
    engine.create("command", {{"words": ["sh", "-c", deaf]}})
    threading.Thread(target=lambda: (time.sleep(1.5), worker.stop(), worker.stop())).start()
    worker.run(engine)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == 0
    deadline = time.monotonic() + 20
    while is_running(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "the command outlives its worker"
        time.sleep(0.01)
