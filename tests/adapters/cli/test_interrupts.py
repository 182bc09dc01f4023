"""Ctrl-C and SIGTERM: every command ends alike, says so in one line, and leaves nothing half-written."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import sagalog
from sagalog_cli import interrupts
from sagalog_queue import Queue
from tests.adapters.cli.calls import call, environment, leased, past, url_of
from tests.adapters.cli.forked import start
from tests.adapters.cli.held import Held, held
from tests.adapters.cli.test_reference import NAMES

QUERIES = "sagalog.engine.store_queries:StoreQueries"


class Case(NamedTuple):
    """A command, and where it stops: at a place of `held`, or reading the standard input that it was `given`."""

    words: str
    place: str = "commit"
    given: bytes | None = None


CASES = {
    "init": Case("init --db new.db"),
    "create": Case("create build"),
    "create from standard input": Case("create build -", "", b"1"),
    "create --many": Case("create --many", "", b'{"kind": "build"}\n'),
    "create --many, committing": Case("create --many", "commit", b'{"kind": "build"}\n'),
    "list": Case("list", f"{QUERIES}.find"),
    "show": Case("show done", f"{QUERIES}.get"),
    "explain": Case("explain done", f"{QUERIES}.explain"),
    "history": Case("history done", f"{QUERIES}.history"),
    "artifact": Case("artifact done log", f"{QUERIES}.artifact"),
    "input": Case("input done source", f"{QUERIES}.input"),
    "tail": Case("tail", "sagalog.engine.subscription:Subscription.wait"),
    "stats": Case("stats", f"{QUERIES}.counts"),
    "stale": Case("stale", f"{QUERIES}.stale"),
    "recover": Case("recover"),
    "cancel": Case("cancel waits"),
    "quarantine": Case("quarantine waits --reason odd"),
    "waive": Case("waive owes undo --reason known"),
    "retry": Case("retry failed"),
    "note": Case("note done remark"),
    "amend": Case("amend waits --priority 1"),
    "signal": Case("signal waits go"),
    "signal from standard input": Case("signal waits go -", "", b"1"),
    "worker run": Case("worker run --handlers handlers:worker", "sagalog_cli.session:Session.note"),
    "worker ls": Case("worker ls", f"{QUERIES}.workers"),
    "worker drain": Case("worker drain w", f"{QUERIES}.workers"),
    "worker stop": Case("worker stop w", f"{QUERIES}.workers"),
    "breaker ls": Case("breaker ls", f"{QUERIES}.breakers"),
    "breaker reset": Case("breaker reset limit/provider"),
    "schedule ls": Case("schedule ls", f"{QUERIES}.schedules"),
    "journal ls": Case("journal ls", f"{QUERIES}.journals"),
    "journal show": Case("journal show build", f"{QUERIES}.journal_page"),
    "schedule set": Case("schedule set often build --every 1h"),
    "schedule rm": Case("schedule rm hourly"),
    "schedule next": Case("schedule next hourly", f"{QUERIES}.next_times"),
    "schedule pause": Case("schedule pause hourly"),
    "schedule resume": Case("schedule resume paused"),
    "limit ls": Case("limit ls", f"{QUERIES}.limits"),
    "limit set": Case("limit set cpu --slots 1"),
    "limit holders": Case("limit holders gpu", f"{QUERIES}.holders"),
    "limit rm": Case("limit rm gpu"),
    "limit pause": Case("limit pause gpu"),
    "limit resume": Case("limit resume gpu"),
    "kind ls": Case("kind ls", f"{QUERIES}.paused_kinds"),
    "kind pause": Case("kind pause build"),
    "kind resume": Case("kind resume build"),
    "token create": Case("token create new --scope read", "sagalog_http.tokens:Tokens.create"),
    "token ls": Case("token ls", "sagalog_http.tokens:Tokens.list"),
    "token revoke": Case("token revoke ann", "sagalog_http.tokens:Tokens.revoke"),
    "token rm": Case("token rm ann", "sagalog_http.tokens:Tokens.remove"),
    "ollama serve": Case("ollama serve --bind 127.0.0.1:0", "sagalog_cli.session:Session.note"),
    "ollama submit": Case("ollama submit tiny why", "sagalog_cli.ollama.client:Client.stream"),
    "ollama submit from standard input": Case("ollama submit tiny -", "", b"why"),
    "ollama jobs": Case("ollama jobs", "sagalog_cli.ollama.client:Client.jobs"),
    "ollama cancel": Case("ollama cancel 1", "sagalog_cli.ollama.client:Client.cancel"),
    "ollama ps": Case("ollama ps", "sagalog_cli.ollama.client:Client.health"),
    "queue ls": Case("queue ls", f"{QUERIES}.queues"),
    "queue holders": Case("queue holders agents", f"{QUERIES}.holders"),
    "queue set": Case("queue set agents --affinity-wait 60s"),
    "queue limit": Case("queue limit agents --slots 1"),
    "queue pause": Case("queue pause agents"),
    "queue resume": Case("queue resume agents"),
    "queue push": Case("queue push 1"),
    "queue push from standard input": Case("queue push --many", "", b"1\n"),
    "queue pop": Case("queue pop"),
    "queue pop, waiting": Case("queue pop --queue empty --timeout 10m", "sagalog_sqlite.store:SqliteStore.wait_change"),
    "queue ack": Case("queue ack held FENCE"),
    "queue nack": Case("queue nack held FENCE"),
    "queue depth": Case("queue depth", f"{QUERIES}.counts"),
    "queue watch": Case("queue watch", "sagalog_cli.queue.watch:_pause"),
    "queue work": Case("queue work --queue empty -- true", "sagalog_queue.fifo:Queue.pop"),
    "command classify": Case("command classify --with claude -", "", b"text"),
    "verify": Case("verify", "sagalog.engine.audit:_read"),
    "rebuild": Case("rebuild", "sagalog_sqlite.rebuild:_rebuild_task"),
    "prune": Case("prune --older-than 0s", "sagalog.engine.pruning:look"),
}
# What was shown before stays shown.
ANSWERED = {"tail", "queue watch", "worker run"}
GRACEFUL = ["worker run", "queue work"]
HEEDED = [*GRACEFUL, "create --many", "tail", "verify", "rebuild", "prune"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of handlers and a store with a task for every command, made once to be copied."""
    tmp_path = tmp_path_factory.mktemp("made")
    (tmp_path / "handlers.py").write_text("import sagalog\nworker = sagalog.Worker('idle')\nworker.task('k')(print)\n")
    with past(tmp_path / "sagalog.db") as engine:
        lease = leased(engine, "done", inputs={"source": b"text"})
        lease.put_artifact("log", b"bytes").complete()
        leased(engine, "failed").quarantine("odd")
        leased(engine, "owes", undos=["undo"]).fail("broken")
        engine.create("deploy", id="waits")
        engine.set_limit("provider", breaker=sagalog.Breaker(1))
        engine.create("chat", id="down", uses={"provider": 1})
        down = sagalog.Failure("down", "", limit="provider")
        engine.acquire("down", owner="ann", ttl_ms=None).retry(down, budget="transient")
        engine.journal("build").append([b"line\n"])
        engine.set_schedule("hourly", "build", cron="@hourly")
        engine.set_schedule("paused", "build", cron="@hourly")
        engine.pause(schedule="paused")
        engine.set_limit("gpu", slots=1)
        leased(engine, "stale")
    with sagalog.open(url_of(tmp_path / "sagalog.db"), durability="normal") as engine:
        queue = Queue(engine, visibility_ms=None)
        queue.push(1, id="held")
        assert queue.pop("ann") is not None
        queue.push(2, id="free")
    return tmp_path


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, with both in it."""
    for name in ("handlers.py", "sagalog.db"):
        shutil.copy(made / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(case: Case) -> list[str]:
    with sagalog.open("sqlite:///sagalog.db") as engine:
        task = engine.get("held")
    assert task is not None
    return [str(task.fence) if word == "FENCE" else word for word in case.words.split()]


def at_its_place(process: Held, case: Case) -> None:
    """Return once the command is where the case says."""
    stdin = process.process.stdin
    if case.given is not None:
        stdin.write(case.given)
        stdin.flush()
    if case.place:
        if case.given is not None:
            stdin.close()
        process.reached()
        return
    give_up = time.monotonic() + 60
    # Once the pipe is empty, the command is past its imports and reads.
    while struct.unpack("i", fcntl.ioctl(stdin, termios.FIONREAD, b"\0\0\0\0"))[0]:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def log() -> list[int]:
    """The positions of the log, which an audit finds whole."""
    with sagalog.open("sqlite:///sagalog.db") as engine:
        assert engine.verify().ok
        return [event.position for event in engine.events()]


def test_every_command_has_a_case() -> None:
    assert set(NAMES) - {
        "worker",
        "queue",
        "command",
        "schedule",
        "journal",
        "breaker",
        "limit",
        "kind",
        "token",
        "ollama",
        "demo",
    } <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_ctrl_c_ends_each_command_with_130_one_line_and_nothing_written(folder: Path, name: str) -> None:
    case, before = CASES[name], log()
    with held(case.place, *words_of(case)) as process:
        at_its_place(process, case)
        process.process.send_signal(signal.SIGINT)
        if name in GRACEFUL or name == "create --many, committing":
            process.let_go()
        status, out, err = process.end()

    errors = [line for line in err.splitlines() if not line.startswith(("note: ", "hint: "))]
    assert (130, 1) == (status, len(errors)), err
    assert errors[0].startswith("error: interrupted; ")
    if name == "create --many, committing":
        # The first one waits for the end of what is under way.
        assert (len(before) + 1, 1) == (len(log()), len(out.splitlines()))
        return
    assert before == log()
    if name not in ANSWERED:
        assert out == ""
    if name == "init":
        assert call("init", "--db", "new.db").status == 0
        assert call("verify", "--db", "new.db").status == 0


@pytest.mark.parametrize("name", HEEDED)
def test_sigterm_ends_those_that_heed_it_with_143_and_one_line(folder: Path, name: str) -> None:
    case, before = CASES[name], log()
    with held(case.place, *words_of(case)) as process:
        at_its_place(process, case)
        process.process.send_signal(signal.SIGTERM)
        if name in GRACEFUL:
            process.let_go()
        status, _, err = process.end()

    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (143, 1) == (status, len(errors)), err
    assert errors[0].startswith("error: terminated; ")
    assert before == log()


def test_as_json_the_end_by_a_signal_is_an_error_with_a_code(folder: Path) -> None:
    with held("sagalog.engine.audit:_read", "verify", "--json") as process:
        process.reached()
        process.process.send_signal(signal.SIGINT)
        status, out, err = process.end()

    assert (130, "") == (status, out)
    assert '{"error":{"code":"interrupted","message":"interrupted; the store keeps what was answered"}}\n' == err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait_for_a_slow_end(folder: Path, number: signal.Signals) -> None:
    with held("sagalog.engine.audit:_read,sagalog.engine.facade:Engine.close", "verify") as process:
        process.reached()
        process.process.send_signal(signal.SIGINT)
        process.reached()  # it closes the store, and that takes long
        process.process.send_signal(number)
        status, out, err = process.end()

    # Killed by the signal: a shell says 130 or 143.
    assert (-number, "", "") == (status, out, err)


@pytest.mark.parametrize("words", [["list", "--all"], ["tail", "--from-start"]], ids=" ".join)
def test_ctrl_c_does_not_offer_a_full_pipe_the_rest_of_the_answer(folder: Path, words: list[str]) -> None:
    with past(folder / "sagalog.db") as engine:
        engine.create_many({"kind": "k", "payload": "x" * 2_000} for _ in range(200))
    reads, writes = os.pipe()
    process = start(*words, "--json", stdin=subprocess.DEVNULL, stdout=writes)
    give_up = time.monotonic() + 60
    # No process reads, so a full pipe stays full.
    while select.select([], [writes], [], 0)[1]:
        assert time.monotonic() < give_up
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert 130 == process.returncode
    assert b'{"error":{"code":"interrupted","message":"interrupted; the store keeps what was answered"}}\n' == err
    os.close(reads)
    os.close(writes)


@pytest.mark.parametrize("name", ["create", "tail"])
def test_a_signal_that_the_process_ignores_stays_ignored(folder: Path, name: str) -> None:
    case = CASES[name]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held(case.place, *words_of(case)) as process:
            at_its_place(process, case)
            process.process.send_signal(signal.SIGINT)
            process.let_go()
            if name == "tail":
                process.reached()
                process.process.send_signal(signal.SIGTERM)
            status, _, _ = process.end()
    finally:
        signal.signal(signal.SIGINT, before)

    assert status == (143 if name == "tail" else 0)


@pytest.mark.parametrize("module", ["sagalog_cli", "sagalog_cli.worker_process"])
def test_ctrl_c_amid_the_imports_ends_the_command_without_a_word(module: str, tmp_path: Path) -> None:
    """A package that it imports sends the signal."""
    (tmp_path / "msgspec.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGINT)\n")
    ours = environment()
    env = {**ours, "PYTHONPATH": os.pathsep.join([str(tmp_path), ours["PYTHONPATH"]])}

    done = subprocess.run([sys.executable, "-m", module, "0", "1", "list"], env=env, capture_output=True)

    assert (-signal.SIGINT, b"", b"") == (done.returncode, done.stdout, done.stderr)


# --- within a process -------------------------------------------------------------------------------------------------


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_behind_the_block_signals_do_what_they_did_before_it() -> None:
    before = handlers()

    def work() -> None:
        with interrupts.heeding(signal.SIGINT), interrupts.heeding(signal.SIGTERM):
            assert before != handlers()
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(interrupts.Stopped):
        work()
    assert before == handlers()


@pytest.mark.parametrize("raises", [False, True])
def test_a_delayed_signal_comes_when_the_block_ends_unless_that_has_failed(raises: bool) -> None:
    reached = []

    def work() -> None:
        with interrupts.heeding(signal.SIGINT), interrupts.Delay():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")
            if raises:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError if raises else interrupts.Stopped):
        work()
    assert ["the end"] == reached


def test_a_second_signal_is_not_delayed_and_a_third_would_end_the_process() -> None:
    left: list[object] = []

    def work() -> None:
        with interrupts.heeding(signal.SIGINT, signal.SIGTERM):
            try:
                with interrupts.Delay():
                    signal.raise_signal(signal.SIGINT)
                    signal.raise_signal(signal.SIGTERM)
                    left.append("it was delayed too")
            finally:
                left.extend(handlers())

    with pytest.raises(interrupts.Stopped):
        work()
    assert [signal.SIG_DFL, signal.SIG_DFL] == left
