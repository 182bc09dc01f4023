"""Signals of a worker's process: which stop it, which do not, and what a child that a handler forks has of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
import sagalog.aio
from sagalog.worker.process_signals import listening
from tests.worker.worker_processes import PATIENCE_S, Process, ended, story

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path}/store.db", durability="normal") as engine:
        yield engine


def status_of(child: int) -> int:
    """How a child has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def forked() -> int:
    """A child that waits for a signal, and ends by itself only where none ends it."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b"1")
        threading.Event().wait(PATIENCE_S)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return child


def multiprocessed() -> int:
    """The same by `multiprocessing`; how it ended after SIGTERM."""
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    child = context.Process(target=waiting, args=(begun,))
    child.start()
    assert begun.wait(PATIENCE_S)
    child.terminate()
    child.join(PATIENCE_S)
    assert child.exitcode is not None
    return child.exitcode


def waiting(begun: Any) -> None:
    begun.set()
    threading.Event().wait(PATIENCE_S)


def killed(number: int) -> int:
    """How a forked child ends by a signal."""
    child = forked()
    os.kill(child, number)
    return status_of(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_child_that_a_handler_forks_ends_by_signals_that_stop_its_worker(
    number: signal.Signals, engine: sagalog.Engine
) -> None:
    worker = sagalog.Worker(concurrency=1)
    worker.task("fork")(lambda _context, _payload: killed(number))
    worker.task("mp")(lambda _context, _payload: multiprocessed())
    ids = [engine.create(kind).id for kind in ("fork", "mp", "fork")]

    assert worker.run(engine, until="idle").settled == 3
    # It was run to its end: what the children were sent has stopped nothing here.
    assert [engine.get(id).result for id in ids] == [-number, -signal.SIGTERM, -number]  # type: ignore[union-attr]


def test_signals_that_stop_a_worker_on_a_loop_end_its_child_too(engine: sagalog.Engine) -> None:
    worker = sagalog.aio.Worker(concurrency=1)
    worker.task("plain")(lambda _context, _payload: killed(signal.SIGTERM))

    @worker.task("thread")
    async def thread(_context: Any, _payload: Any) -> list[int]:
        return [await asyncio.to_thread(killed, signal.SIGTERM), await asyncio.to_thread(multiprocessed)]

    @worker.task("loop")
    async def loop(_context: Any, _payload: Any) -> int:
        return killed(signal.SIGHUP)

    ids = [engine.create(kind).id for kind in ("plain", "thread", "loop")]
    asyncio.run(worker.run(engine, until="idle", handle_signals=True))

    found = [engine.get(id).result for id in ids]  # type: ignore[union-attr]
    assert found == [-signal.SIGTERM, [-signal.SIGTERM] * 2, -signal.SIGHUP]


def test_a_forked_child_has_the_default_handlers_and_the_parent_its_own() -> None:
    told: list[int] = []
    with listening(told.append):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            kept = [signal.getsignal(number) for number in STOPS]
            default = [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
            os.write(writing, b"default" if kept == default else repr(kept).encode())
            os._exit(0)
        assert os.read(reading, 1_000) == b"default"
        assert status_of(child) == 0
        os.close(reading)
        os.close(writing)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.getsignal(signal.SIGTERM)
    assert told == [signal.SIGTERM]


def test_what_is_ignored_is_not_taken_and_what_was_taken_is_given_back() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    told: list[int] = []
    try:
        with listening(told.append):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert told == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in STOPS] == before


def test_a_repeated_hang_up_is_told_once_and_a_second_stop_counts() -> None:
    """The shell repeats it."""
    told: list[int] = []
    with listening(told.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert told == [signal.SIGHUP, signal.SIGTERM, signal.SIGTERM]
    with listening(told.append):
        os.kill(os.getpid(), signal.SIGHUP)
    assert told[3:] == [signal.SIGHUP]


def test_a_worker_whose_terminal_closes_lets_its_handler_finish(engine: sagalog.Engine, tmp_path: Path) -> None:
    """[WORKER-3] Then it ends."""
    task, late = engine.create("patient", {}), None
    process = Process(tmp_path / "store.db", tmp_path)
    try:
        process.reached("patient")
        process.send(signal.SIGHUP)
        process.send(signal.SIGHUP)
        process.reached("told-patient")
        late = engine.create("patient", {})
        (tmp_path / "enough").touch()
        assert process.wait() == 0
    finally:
        process.end()
    assert ended(engine, task.id).result == "finished"
    assert story(engine, late.id) == ["created"]


HOST = """
import asyncio, signal, sys
import sagalog.aio

worker = sagalog.aio.Worker(ttl_ms=600)
asked = {words}


@worker.task("hold")
async def hold(context, payload):
    print("holding", flush=True)
    while not context.stopping:
        await asyncio.sleep(0.01)
    return "stopped"


async def main():
    told = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), told.set()))
    async with sagalog.aio.open(sys.argv[1]) as engine:
        running = asyncio.create_task(worker.run(engine, **asked))
        await asyncio.wait([running, asyncio.create_task(told.wait())], return_when="FIRST_COMPLETED")
        print("worker has ended" if running.done() else "worker runs", flush=True)
        worker.stop()
        await running


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [({}, ["told", "worker runs"]), ({"handle_signals": True}, ["worker has ended"])],
    ids=["left", "taken"],
)
def test_a_worker_on_an_event_loop_leaves_signals_to_its_program(
    words: dict[str, bool], said: list[str], engine: sagalog.Engine, tmp_path: Path
) -> None:
    """The program may ask the worker to take them.

    A real process: a server that has handlers of its own, as uvicorn has, is told of SIGTERM.
    """
    (tmp_path / "host.py").write_text(HOST.format(words=words))
    task = engine.create("hold")
    url = f"sqlite:///{tmp_path}/store.db"
    process = subprocess.Popen([sys.executable, "host.py", url], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()

    assert output.splitlines() == said
    assert process.returncode == 0
    assert ended(engine, task.id).result == "stopped"


def test_a_hang_up_ends_the_command_unless_it_is_ignored(engine: sagalog.Engine, tmp_path: Path) -> None:
    """SIGTERM ends it in the same way."""
    (tmp_path / "handlers.py").write_text(
        "import sagalog\nworker = sagalog.Worker()\n"
        "@worker.task('hold')\ndef hold(context, payload):\n"
        "    print('holding', flush=True)\n"
        "    while not context.stopping:\n        context.wait_stop(10)\n    return 'finished'\n"
        "@worker.task('quick')\ndef quick(context, payload):\n    return 'done'\n"
    )
    url = f"sqlite:///{tmp_path}/store.db"
    words = [sys.executable, "-m", "sagalog_cli", "--db", url, "worker", "run", "--handlers", "handlers:worker"]

    def run(ignores: bool) -> tuple[subprocess.Popen[bytes], str]:
        id = engine.create("hold").id
        hang_up = signal.SIG_IGN if ignores else signal.SIG_DFL
        before = signal.signal(signal.SIGHUP, hang_up)
        try:
            process = subprocess.Popen(
                words, cwd=tmp_path, stdout=subprocess.PIPE, restore_signals=False, env={**os.environ}
            )
        finally:
            signal.signal(signal.SIGHUP, before)
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        process.send_signal(signal.SIGHUP)
        return process, id

    process, id = run(ignores=False)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 129
    assert ended(engine, id).result == "finished"
    process, id = run(ignores=True)
    assert ended(engine, engine.create("quick").id).result == "done"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 143
