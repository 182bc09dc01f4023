"""The final frame decides what a run was, however the process ends after it, and whether it ends at all."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sagalog import Interrupted, Transient
from sagalog_command import CLAUDE, CODEX, GEMINI, Classifier, run
from tests.adapters.command.attempt import VARIABLES, Attempt, is_running, python, until

RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "all clear", "session_id": "s"}
LIMITED = {"type": "result", "subtype": "success", "is_error": True, "api_error_status": 429, "result": "rejected"}
FINAL: dict[str, tuple[Classifier, list[Any]]] = {
    "claude": (CLAUDE, [{"type": "system", "subtype": "init", "session_id": "s"}, RESULT]),
    "claude, array": (CLAUDE, [[{"type": "system", "subtype": "init"}, RESULT]]),
    "codex": (CODEX, [{"type": "turn.started"}, {"type": "turn.completed", "usage": {}}]),
    "gemini": (GEMINI, [{"type": "init", "session_id": "s"}, {"type": "result", "status": "success"}]),
    "gemini, json": (GEMINI, [{"session_id": "s", "response": "all clear", "stats": {}}]),
}
HANGS = "time.sleep(600)"


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


def printing(frames: list[Any], then: str, **settings: Any) -> Any:
    """Give a command that prints frames, and then does something."""
    lines = "".join(f"{json.dumps(frame)}\n" for frame in frames)
    program = f"import os, signal, sys, time\nsys.stdout.write({lines!r})\nsys.stdout.flush()\n{then}"
    return python(program, **{"grace_ms": 300, "time_limit_ms": 60_000, **settings})


def go(attempt: Attempt, command: Any, classifier: Classifier = CLAUDE) -> dict[str, Any]:
    return run(attempt, command, classifier, variables=VARIABLES)


@pytest.mark.parametrize("form", FINAL)
def test_a_command_that_hangs_after_its_final_frame_is_ended(attempt: Attempt, form: str) -> None:
    """Its result counts, and says that it lingered."""
    classifier, frames = FINAL[form]
    begun_s = time.monotonic()

    result = go(attempt, printing(frames, HANGS), classifier)

    assert ("ok", True) == (result["class"], result["lingered"])
    assert time.monotonic() - begun_s < 30


def test_one_that_is_deaf_is_killed_and_its_result_counts(attempt: Attempt, tmp_path: Path) -> None:
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(tmp_path / 'id')!r}, 'w').write(str(os.getpid()))"

    result = go(attempt, printing([], f"{deaf}; print({json.dumps(RESULT)!r}, flush=True); {HANGS}"))

    assert ("ok", -9) == (result["class"], result["exit_status"])
    assert not is_running(int((tmp_path / "id").read_text()))


def test_a_final_frame_that_tells_an_error_decides_as_well(attempt: Attempt) -> None:
    with pytest.raises(Transient) as limited:
        go(attempt, printing([LIMITED], HANGS))

    assert ("rate_limit", "rejected", True) == (
        limited.value.code,
        limited.value.message,
        limited.value.details["lingered"],
    )


def test_the_final_frame_decides_where_the_time_limit_comes_first(attempt: Attempt) -> None:
    """The time limit is over before the grace that follows the final frame."""
    result = go(attempt, printing([RESULT], HANGS, time_limit_ms=1_500, grace_ms=20_000))

    assert ("ok", "all clear", False) == (result["class"], result["fields"]["result"], result["lingered"])


@pytest.mark.parametrize("then", ["sys.exit(1)", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 9)"])
def test_the_final_frame_decides_however_the_process_ends(attempt: Attempt, then: str) -> None:
    assert "ok" == go(attempt, printing([RESULT], then))["class"]
    with pytest.raises(Transient, match="rejected"):
        go(attempt, printing([LIMITED], then))


def test_a_turn_that_begins_after_a_result_has_its_time(attempt: Attempt) -> None:
    again = f"""
time.sleep(0.1)
print({json.dumps({"type": "system", "subtype": "init"})!r}, flush=True)
time.sleep(1.5)
print({json.dumps({**RESULT, "result": "and clear again"})!r}, flush=True)
"""

    result = go(attempt, printing([RESULT], again, grace_ms=700))

    assert ("and clear again", 0, False) == (result["fields"]["result"], result["exit_status"], result["lingered"])


def test_what_a_program_prints_after_its_result_holds_up_no_worker(attempt: Attempt) -> None:
    chatter = f"""
while True:
    print({json.dumps({"type": "system", "subtype": "hook_response"})!r}, flush=True)
    time.sleep(0.05)
"""

    assert go(attempt, printing([RESULT], chatter))["lingered"]


# --- stopped ------------------------------------------------------------------------------------------------------


def stopped(attempt: Attempt, place: Path, then: str, frames: list[Any], *, lost: bool = False) -> dict[str, Any]:
    """Run a command that prints frames, and stop it as soon as it has made a file."""
    thread = attempt.stop_once(place.exists, lost=lost)
    try:
        return go(attempt, printing(frames, f"open({str(place)!r}, 'w').close()\n{then}", grace_ms=20_000))
    finally:
        thread.join()


def test_a_command_that_is_stopped_after_its_final_frame_keeps_its_outcome(attempt: Attempt, tmp_path: Path) -> None:
    assert "ok" == stopped(attempt, tmp_path / "at", HANGS, [RESULT])["class"]


def test_one_that_had_told_an_error_keeps_that_as_its_outcome(attempt: Attempt, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="rejected"):
        stopped(attempt, tmp_path / "at", HANGS, [LIMITED])


def test_one_whose_lease_is_lost_has_no_outcome_whatever_it_said(attempt: Attempt, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        stopped(attempt, tmp_path / "at", HANGS, [RESULT], lost=True)

    assert {} == attempt.artifacts


def answering(frame: Any) -> str:
    return f"""
def answer(*_):
    print({json.dumps(frame)!r}, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, answer)
open(sys.argv[1], "w").close()
{HANGS}
"""


@pytest.mark.parametrize("frame", [RESULT, LIMITED])
def test_what_is_said_after_the_wish_to_end_counts_only_if_it_is_a_success(
    attempt: Attempt, tmp_path: Path, frame: dict[str, Any]
) -> None:
    place = tmp_path / "at"
    thread = attempt.stop_once(place.exists)
    program = f"import os, signal, sys, time\n{answering(frame)}"
    command = python(program, str(place), grace_ms=20_000)

    if frame is RESULT:
        assert "ok" == go(attempt, command)["class"]
    else:
        with pytest.raises(Interrupted):
            go(attempt, command)
    thread.join()


def test_a_command_that_had_ended_when_it_was_stopped_keeps_its_outcome(attempt: Attempt, tmp_path: Path) -> None:
    # Something of its group outlives it, so that the wish comes between its end and that of the group.
    place = tmp_path / "id"
    program = f"""
import os, subprocess, sys
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf], **quiet)
open({str(place)!r}, "w").write(str(os.getpid()))
"""
    thread = attempt.stop_once(
        lambda: place.exists() and bool(place.read_text()) and not is_running(int(place.read_text()))
    )

    result = run(attempt, python(program, grace_ms=1_500), variables=VARIABLES)

    until(lambda: not thread.is_alive())
    assert ("ok", 0) == (result["class"], result["exit_status"])
