"""A command is stopped because the worker has lost the right to run it, or ends itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sagalog import Interrupted
from sagalog_command import EXIT_STATUS, process_watch, run
from tests.adapters.command.attempt import VARIABLES, Attempt, is_running, python, until

# It tells its id in a file, and what becomes of a wish to end is the second word.
WAITS = """
import os, signal, sys, time
if sys.argv[2] == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2] == "obey well":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("begun", flush=True)
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


def stopped(attempt: Attempt, place: Path, manner: str, *, lost: bool = False, grace_ms: int = 5_000) -> float:
    """Run a command that waits, and stop it once it has begun; give the seconds that ending it took."""
    thread = attempt.stop_once(place.exists, lost=lost)
    with pytest.raises(Interrupted):
        run(attempt, python(WAITS, str(place), manner, grace_ms=grace_ms), variables=VARIABLES)
    ended_s = time.monotonic()
    thread.join()
    assert not is_running(int(place.read_text(encoding="utf-8")))
    return ended_s - attempt.stopped_s


@pytest.mark.parametrize("manner", ["obey", "obey well"])
def test_a_command_that_is_stopped_has_no_outcome_however_it_ends(
    attempt: Attempt, tmp_path: Path, manner: str
) -> None:
    stopped(attempt, tmp_path / "id", manner)

    assert {"stdout": b"begun\n"} == attempt.artifacts


def test_a_command_that_is_stopped_ends_at_once(
    attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but the wish itself may wake the runner.
    monkeypatch.setattr(process_watch, "_WAIT_S_MAX", 60.0)

    assert stopped(attempt, tmp_path / "id", "obey") < 10


def test_a_command_that_ignores_being_stopped_is_killed(attempt: Attempt, tmp_path: Path) -> None:
    assert stopped(attempt, tmp_path / "id", "ignore", grace_ms=200) < 5


def test_nothing_is_kept_once_the_lease_is_lost(attempt: Attempt, tmp_path: Path) -> None:
    stopped(attempt, tmp_path / "id", "obey", lost=True)

    assert {} == attempt.artifacts


def test_a_command_is_not_begun_where_it_is_to_end_already(attempt: Attempt, tmp_path: Path) -> None:
    attempt.stop()

    with pytest.raises(Interrupted, match="before it began"):
        run(attempt, python(WAITS, str(tmp_path / "id"), "obey"), variables=VARIABLES)

    assert not (tmp_path / "id").exists()


def test_a_command_that_ended_leaves_nothing_once_the_lease_is_lost(attempt: Attempt) -> None:
    """The lease was lost while the command ended by itself."""
    attempt.lost = True

    with pytest.raises(Interrupted):
        run(attempt, python("print(1)"), variables=VARIABLES)

    assert {} == attempt.artifacts


def test_a_wish_to_end_that_comes_late_does_no_harm() -> None:
    with process_watch.Stop() as stop:
        pass

    stop.set()

    assert stop.is_set


def test_progress_tells_how_much_came_and_the_last_line_without_secrets(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_watch, "_PROGRESS_S", 0.0)
    program = """
import os, sys, time
print("first " + os.environ["TOKEN"], flush=True)
sys.stdin.read()
time.sleep(0.3)
print("second", flush=True)
time.sleep(0.3)
"""

    run(attempt, python(program, secrets=("TOKEN",)), EXIT_STATUS, variables={**VARIABLES, "TOKEN": "hunter2"})

    lines = [report["line"] for report in attempt.reports]
    assert "second" == lines[-1]
    assert "hunter2" not in str(attempt.reports)
    assert {"elapsed_ms", "stdout_bytes", "stderr_bytes", "line"} == set(attempt.reports[0])


def test_a_worker_whose_progress_fails_leaves_no_command_behind(
    attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_watch, "_PROGRESS_S", 0.0)
    place = tmp_path / "id"

    def refuse(value: Any) -> None:
        until(place.exists)
        raise RuntimeError("no store")

    attempt.progress = refuse  # type: ignore[method-assign]

    with pytest.raises(RuntimeError):
        run(attempt, python(WAITS, str(place), "ignore"), variables=VARIABLES)

    assert not is_running(int(place.read_text(encoding="utf-8")))
