"""How a worker and its process end where something is broken: told, given back, and with no thread left hanging."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import failpoints
from sagalog.worker import WorkContext
from tests.worker.worker_processes import at_work, ended, story


def test_a_worker_that_cannot_go_on_tells_its_handlers(real: sagalog.Engine) -> None:
    """[WORKER-2]"""
    worker = sagalog.Worker(ttl_ms=60_000)
    begun, told = threading.Event(), threading.Event()

    @worker.task("do")
    def do(context: WorkContext, _payload: Any) -> None:
        begun.set()
        if context.wait_stop(20_000):
            told.set()

    def break_down() -> None:
        if begun.is_set() and not told.is_set():
            raise sagalog.Corrupt("the file is damaged")

    real.create("do")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(real)
        except sagalog.Corrupt as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    real.create("do")
    failpoints.armed["commit.before_begin"] = break_down
    try:
        assert told.wait(20)
        thread.join(20)
    finally:
        del failpoints.armed["commit.before_begin"]
    assert not thread.is_alive()
    assert len(failures) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_copy_of_a_coroutine_that_forks_ends_and_writes_nothing(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    children: list[int] = []

    @worker.task("fork")
    async def fork(_context: Any, _payload: Any) -> str:
        child = os.fork()
        if child:
            children.append(child)
            return "parent"
        return "child"

    id = real.create("fork").id
    with at_work(worker, real):
        assert ended(real, id).result == "parent"
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == os.EX_SOFTWARE
    assert story(real, id) == ["created", "leased", "completed"]


def test_a_hanging_undo_beside_coroutines_keeps_no_process_running(tmp_path: Path) -> None:
    """The undo is a plain function."""
    script = f"""
import threading, sagalog
from sagalog import Compensation
worker = sagalog.Worker(grace_ms=0)
begun = threading.Event()

@worker.compensation("plain")
def plain(ctx, params):
    begun.set()
    threading.Event().wait()

@worker.compensation("coroutine")
async def coroutine(ctx, params):
    pass

with sagalog.open("sqlite:///{tmp_path}/store.db") as engine:
    undos = [Compensation("coroutine"), Compensation("plain")]
    task = engine.create("do", compensations=undos)
    engine.acquire(task.id, owner="me", ttl_ms=60_000).fail("no")
    threading.Thread(target=lambda: (begun.wait(), worker.stop(), worker.stop())).start()
    worker.run(engine)
    print(engine.history(task.id)[-1].type)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=30, check=True, capture_output=True, text=True)
    assert done.stdout == "released\n"
