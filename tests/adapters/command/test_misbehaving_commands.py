"""Commands that do not behave: real processes, and a runner that always ends and leaves none of them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sagalog import Failed, Permanent
from sagalog_command import Command, process_watch, run
from tests.adapters.command.attempt import VARIABLES, Attempt, is_running, python, until

IGNORES_TERM = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
# A child in the same group that keeps both pipes open, and tells its id.
LEAVES_CHILD = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    if sys.argv[1] == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[1] == "leave":
        os.setsid()
    print("child", os.getpid(), flush=True)
    time.sleep(600)
    os._exit(0)
time.sleep(float(sys.argv[2]))
os._exit(int(sys.argv[3]))
"""


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()


def go(attempt: Attempt, command: Command) -> dict[str, Any]:
    return run(attempt, command, variables=VARIABLES)


def child_of(attempt: Attempt) -> int:
    return int(attempt.text("stdout").split("child ")[1].split()[0])


def test_a_flood_is_kept_by_head_and_tail_in_bounded_memory() -> None:
    # In a process of its own, so that the peak is this run's alone.
    program = """
import resource, sys
from sagalog_command import CLAUDE, run
from tests.adapters.command.attempt import VARIABLES, Attempt, python
flood = '''
import os
os.write(1, b"first\\\\n")
for _ in range(1600):
    left = memoryview(b"x" * 65536)
    while left:
        left = left[os.write(1, left):]
os.write(1, b"\\\\nlast\\\\n")
'''
attempt = Attempt()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = run(attempt, python(flood, secrets=("TOKEN",)), CLAUDE, variables={**VARIABLES, "TOKEN": "hunter2hunter2"})
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(done["stdout_bytes"], grown, len(attempt.artifacts["stdout"]))
print(attempt.artifacts["stdout"][:6] + attempt.artifacts["stdout"][-6:])
"""
    root = Path(__file__).parents[3]
    paths = [str(root / each) for each in ("engine", "adapters", ".")]
    prepared = f"import sys; sys.path[:0] = {paths!r}\n{program}"

    done = subprocess.run([sys.executable, "-c", prepared], capture_output=True, text=True, timeout=100, check=True)

    figures, ends = done.stdout.splitlines()
    seen, grown_kb, kept = map(int, figures.split())
    assert seen == 1_600 * 65_536 + 12
    assert kept < 262_144 + 64
    assert "b'first\\n\\nlast\\n'" == ends
    assert grown_kb < 32_768


# --- groups and time -------------------------------------------------------------------------------------------


def test_a_command_whose_time_is_over_is_ended(attempt: Attempt) -> None:
    with pytest.raises(Failed) as failed:
        go(attempt, python("import time; print('begun', flush=True); time.sleep(600)", time_limit_ms=1_500))

    assert "time_limit" == failed.value.code
    assert b"begun\n" == attempt.artifacts["stdout"]


def test_a_command_that_ignores_the_wish_to_end_is_killed_after_its_grace(attempt: Attempt) -> None:
    program = f"{IGNORES_TERM} print('begun', flush=True); time.sleep(600)"
    begun_s = time.monotonic()

    with pytest.raises(Failed) as failed:
        go(attempt, python(program, time_limit_ms=1_500, grace_ms=300))

    assert b"begun\n" == attempt.artifacts["stdout"]
    assert -9 == failed.value.details["exit_status"]
    assert 1.8 <= time.monotonic() - begun_s < 10


def test_a_command_that_is_halted_is_killed_when_its_time_is_over(attempt: Attempt) -> None:
    with pytest.raises(Failed) as failed:
        go(attempt, python("import os; os.kill(os.getpid(), 19)", time_limit_ms=500, grace_ms=100))

    assert ("time_limit", -9) == (failed.value.code, failed.value.details["exit_status"])


@pytest.mark.parametrize("manner", ["obey", "ignore"])
def test_what_a_command_leaves_behind_in_its_group_is_ended(attempt: Attempt, manner: str) -> None:
    """The worker waits for the grace of what is left at most."""
    begun_s = time.monotonic()

    result = go(attempt, python(LEAVES_CHILD, manner, "0.3", "0", grace_ms=400))

    assert (0, "ok") == (result["exit_status"], result["class"])
    assert time.monotonic() - begun_s < 10
    assert not is_running(child_of(attempt))


def test_what_a_command_leaves_behind_has_its_grace(attempt: Attempt) -> None:
    """What it prints within the grace is kept."""
    program = """
import os, signal, sys, time
ready, told = os.pipe()
if os.fork() == 0:
    def leave(*_):
        time.sleep(0.3)
        os.write(1, b"goodbye")
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
    os.write(told, b"1")
    time.sleep(600)
os.read(ready, 1)
os._exit(0)
"""
    go(attempt, python(program))

    assert b"goodbye" == attempt.artifacts["stdout"]


def test_what_is_still_in_a_pipe_when_the_command_has_ended_is_read(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_watch, "_CHUNK_BYTES", 7)

    result = go(attempt, python("import os; os.write(1, b'x' * 5000); os.write(2, b'y' * 5000)"))

    assert (5_000, 5_000) == (result["stdout_bytes"], result["stderr_bytes"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_the_dead_whom_no_parent_collects_are_not_waited_for(attempt: Attempt) -> None:
    # As in a container whose first process collects no dead: here this one adopts the orphan, and lets it lie.
    adopt = 36
    library = ctypes.CDLL(None)
    assert library.prctl(adopt, 1, 0, 0, 0) == 0
    try:
        begun_s = time.monotonic()
        go(attempt, python(LEAVES_CHILD, "obey", "0.3", "0"))
        assert time.monotonic() - begun_s < 4
    finally:
        library.prctl(adopt, 0, 0, 0, 0)
    os.waitpid(child_of(attempt), 0)


def test_the_end_of_a_command_is_its_own_whatever_it_leaves_behind(attempt: Attempt) -> None:
    with pytest.raises(Failed, match="exit 7"):
        go(attempt, python(LEAVES_CHILD, "ignore", "0.3", "7", grace_ms=100))

    assert not is_running(child_of(attempt))


def test_the_whole_group_is_ended_when_the_time_is_over(attempt: Attempt) -> None:
    with pytest.raises(Failed):
        go(attempt, python(LEAVES_CHILD, "ignore", "600", "0", time_limit_ms=1_500, grace_ms=200))

    assert not is_running(child_of(attempt))


def test_who_has_left_the_group_and_holds_the_pipes_open_is_not_waited_for(attempt: Attempt) -> None:
    begun_s = time.monotonic()

    go(attempt, python(LEAVES_CHILD, "leave", "0.3", "0"))

    child = child_of(attempt)
    assert time.monotonic() - begun_s < 10
    assert is_running(child)
    subprocess.run(["kill", "-9", str(child)], check=True)
    until(lambda: not is_running(child))


def test_a_command_that_closes_its_streams_is_waited_for(attempt: Attempt) -> None:
    with pytest.raises(Failed, match="exit 5"):
        go(attempt, python("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(5)"))


def test_commands_end_where_the_system_has_no_descriptor_of_a_process(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `pidfd_open` the runner looks for the end of the command again and again."""
    monkeypatch.delattr("os.pidfd_open", raising=False)

    with pytest.raises(Failed, match="exit 5"):
        go(attempt, python(LEAVES_CHILD, "ignore", "0.3", "5", grace_ms=100))
    assert not is_running(child_of(attempt))
    with pytest.raises(Failed, match="its time was over"):
        go(attempt, python("import time; time.sleep(600)", time_limit_ms=500))


def test_a_command_leaves_no_descriptor_open(attempt: Attempt) -> None:
    before = set(Path("/proc/self/fd").iterdir())

    go(attempt, python("print(1)", input="x"))
    with pytest.raises(Permanent):
        go(attempt, Command(("no-such-command",)))

    assert len(before) == len(set(Path("/proc/self/fd").iterdir()))
