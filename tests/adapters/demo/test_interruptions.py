"""However `sagalog demo` ends, no worker of it lives on, and nothing is left that it did not name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog_cli.demo.errors import DemoFailed
from sagalog_cli.demo.folders import DemoFolder
from sagalog_cli.demo.interruptions import Interruptions
from sagalog_cli.demo.worker_processes import WorkerProcesses
from tests.adapters.demo.runs import gone, living, on_a_terminal

CTRL_C = 3
needs_a_terminal = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("git") is None, reason="reads /proc, and needs git"
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path}/workers.db"
    sagalog.open(found).close()
    return found


# --- real runs --------------------------------------------------------------------------------------------------------


@needs_a_terminal
@pytest.mark.parametrize(
    "words",
    [
        "worker-1 starts",
        "SIGTERM stops",
        pytest.param("makes its store", marks=pytest.mark.slow),
        pytest.param("worker-2 and worker-3", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_at_any_act_leaves_no_worker_and_no_folder(tmp_path: Path, words: str) -> None:
    with on_a_terminal(tmp_path) as terminal:
        terminal.read_until(words)
        # Twice, as impatient users do: the second must not break off the clean-up.
        terminal.type(CTRL_C, CTRL_C)
        run = terminal.end()

        assert run.status == 130
        assert gone(terminal.session)
    assert list(run.temporary.iterdir()) == []
    assert "Traceback" not in run.printed


@needs_a_terminal
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_worker_outlives_the_demo_whatever_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with on_a_terminal(tmp_path) as terminal:
        terminal.read_until("worker-1 starts")
        assert len(living(terminal.session)) > 1

        terminal.kill(number)
        run = terminal.end()

        assert gone(terminal.session)
    if number is signal.SIGKILL:
        assert run.status == -signal.SIGKILL
        assert run.plain[0].endswith(str(next(run.temporary.iterdir())))
    else:
        assert run.status == 128 + number
        assert list(run.temporary.iterdir()) == []


# --- when an interruption is raised -----------------------------------------------------------------------------------


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_is_raised_only_where_it_is_admitted() -> None:
    reached: list[str] = []

    def interrupted() -> None:
        with Interruptions() as interruptions:
            interrupt()
            reached.append("held")
            with interruptions.admitted():
                reached.append("admitted")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["held"]


def test_a_second_interruption_does_not_break_off_the_clean_up() -> None:
    reached: list[str] = []

    def interrupted() -> None:
        with Interruptions() as interruptions:
            try:
                with interruptions.admitted():
                    interrupt()
            finally:
                interrupt()
                reached.append("clean")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["clean"]


def test_after_one_interruption_no_other_is_raised() -> None:
    with Interruptions() as interruptions:
        with pytest.raises(KeyboardInterrupt), interruptions.admitted():
            interrupt()
        try:
            with interruptions.admitted():
                interrupt()
        except KeyboardInterrupt:
            # As it is, this would end pytest.
            pytest.fail("it was raised twice")


def test_an_interruption_that_was_never_admitted_is_raised_at_the_end() -> None:
    reached: list[str] = []

    def interrupted() -> None:
        with Interruptions() as interruptions:
            with interruptions.admitted():
                reached.append("admitted")
            interrupt()
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["admitted", "end"]


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions, interruptions.admitted():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_that_is_being_started_is_remembered_before_ctrl_c(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes when the process exists and its object does not yet."""
    start: Callable[..., Any] = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(*words: Any, **settings: Any) -> subprocess.Popen[bytes]:
        started.append(start(*words, **settings))
        interrupt()
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", interrupted)

    def run() -> None:
        with (
            Interruptions() as interruptions,
            WorkerProcesses(url, tmp_path, interruptions) as workers,
            interruptions.admitted(),
        ):
            workers.start("worker-1")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [process.poll() for process in started] == [-signal.SIGKILL]


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_ends_by_itself_is_noticed_with_its_output(tmp_path: Path) -> None:
    with (
        Interruptions() as interruptions,
        WorkerProcesses(f"sqlite:///{tmp_path}/absent.db", tmp_path, interruptions) as workers,
    ):
        workers.start("worker-1")

        with pytest.raises(DemoFailed, match=r"worker-1 ended by itself with exit status 6: (?s:.)*absent\.db"):
            workers.wait_until(lambda: False)


def test_a_demo_that_takes_too_long_is_ended_with_its_workers(url: str, tmp_path: Path) -> None:
    started: list[WorkerProcesses] = []

    def wait_for_ever() -> None:
        with Interruptions() as interruptions, WorkerProcesses(url, tmp_path, interruptions) as workers:
            started.append(workers)
            with interruptions.admitted(1.5):
                workers.start("idle")
                workers.wait_until(lambda: False)

    with pytest.raises(DemoFailed, match=r"within 1\.5 s"):
        wait_for_ever()
    assert [worker.exit_status for worker in started[0]] == [-signal.SIGKILL]


def test_workers_that_get_sigterm_end_with_status_143(url: str, tmp_path: Path) -> None:
    with Interruptions() as interruptions, WorkerProcesses(url, tmp_path, interruptions) as workers:
        workers.start("busy")
        workers.wait_until(lambda: "works on queue demo" in (tmp_path / "busy.log").read_text())

        assert workers.stop() == {"busy": 143}


def test_a_folder_stays_only_if_it_is_kept(tmp_path: Path) -> None:
    for name, keeps in (("gone", False), ("kept", True)):
        with DemoFolder(tmp_path / name) as folder:
            (folder.path / "file").touch()
            if keeps:
                folder.keep()

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
