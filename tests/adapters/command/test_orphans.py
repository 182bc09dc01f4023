"""What a killed worker has left running is ended before the next attempt begins, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Interrupted, Transient
from sagalog_command import handler, orphans, run
from sagalog_command.orphans import Orphans
from tests.adapters.command.attempt import VARIABLES, Attempt, is_running, python, until
from tests.worker.worker_processes import at_work, ended

# Of this run of tests alone: another one beside it leaves processes as well.
STORE = f"store-{uuid.uuid4()}"
TASK, FENCE = "task-1", 4_294_967_299
LEFT = {"SAGALOG_STORE_ID": STORE, "SAGALOG_TASK_ID": TASK, "SAGALOG_TASK_FENCE": str(FENCE - 1)}
SLEEPS = "import time; print('begun', flush=True); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the system has no descriptors of processes")

Leave = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def leave() -> Iterator[Leave]:
    """Leave a process with some variables that has begun; it is gone after the test."""
    begun: list[subprocess.Popen[bytes]] = []

    def leave_(program: str = SLEEPS, variables: dict[str, str] = LEFT, **settings: Any) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", program] if "user" in settings else [sys.executable, "-I", "-S", "-c", program]
        process = subprocess.Popen(
            words, env={**VARIABLES, **variables}, stdout=subprocess.PIPE, start_new_session=True, **settings
        )
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        return process

    yield leave_
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def looking(grace_s: float = 20.0) -> Orphans:
    marks = {"SAGALOG_STORE_ID": STORE, "SAGALOG_TASK_ID": TASK}
    return Orphans(marks, "SAGALOG_TASK_FENCE", FENCE, grace_s)


def end_all(grace_s: float = 20.0) -> list[int]:
    with looking(grace_s) as found:
        until(found.look)
        return sorted(found.ended)


# --- whom it hits ---------------------------------------------------------------------------------------------------


def test_every_process_of_this_task_with_a_lower_fence_is_ended(leave: Leave) -> None:
    lower = {**LEFT, "SAGALOG_TASK_FENCE": "1"}
    left = [leave(), leave(variables=lower), leave(variables={**lower, "SAGALOG_TASK_ATTEMPT": "1"})]

    assert sorted(process.pid for process in left) == end_all()
    assert [-signal.SIGTERM] * 3 == [process.wait() for process in left]


@pytest.mark.parametrize(
    "change",
    [
        {"SAGALOG_STORE_ID": f"{STORE}-2"},
        {"SAGALOG_STORE_ID": ""},
        {"SAGALOG_TASK_ID": "task-11"},
        {"SAGALOG_TASK_ID": "TASK-1"},
        {"SAGALOG_TASK_FENCE": str(FENCE)},
        {"SAGALOG_TASK_FENCE": str(FENCE + 1)},
        {"SAGALOG_TASK_FENCE": ""},
        {"SAGALOG_TASK_FENCE": "-1"},
        {"SAGALOG_TASK_FENCE": "1.5"},
    ],
)
def test_a_process_of_another_store_task_or_no_lower_fence_is_spared(leave: Leave, change: dict[str, str]) -> None:
    other, orphan = leave(variables={**LEFT, **change}), leave()

    assert [orphan.pid] == end_all()
    assert is_running(other.pid)


@pytest.mark.parametrize("missing", LEFT)
def test_a_process_that_lacks_one_of_the_variables_is_spared(leave: Leave, missing: str) -> None:
    other = leave(variables={name: value for name, value in LEFT.items() if name != missing})

    assert [] == end_all()
    assert is_running(other.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process of another user")
def test_a_process_of_another_user_is_spared(leave: Leave) -> None:
    other, orphan = leave("echo begun; exec sleep 600", user=65_534), leave()

    assert [orphan.pid] == end_all()
    assert is_running(other.pid)


def test_a_process_is_spared_from_which_the_looking_one_descends(leave: Leave) -> None:
    # Both carry the variables of an earlier attempt: a worker that is a command, and the shell that began it.
    paths = [str(Path(__file__).parents[3] / each) for each in ("engine", "adapters")]
    child = f"""
import sys, time
sys.path[:0] = {paths + sys.path!r}
from sagalog_command.orphans import Orphans
marks = {{"SAGALOG_STORE_ID": {STORE!r}, "SAGALOG_TASK_ID": {TASK!r}}}
with Orphans(marks, "SAGALOG_TASK_FENCE", {FENCE}, 20.0) as orphans:
    while not orphans.look():
        time.sleep(0.02)
    print("begun", flush=True)
    print(orphans.ended, flush=True)
"""
    parent = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {child!r}])
print("over", flush=True)
time.sleep(600)
"""
    process = leave(parent)

    assert process.stdout is not None
    assert [b"[]\n", b"over\n"] == [process.stdout.readline(), process.stdout.readline()]
    assert is_running(process.pid)


def test_a_process_in_a_session_of_its_own_is_found(leave: Leave, tmp_path: Path) -> None:
    """It has inherited the variables that name its store, task and fence."""
    inner = f"open({str(tmp_path / 'id')!r}, 'w').write(str(os.getpid()))"
    program = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import os, time; {inner}; time.sleep(600)"],
                 start_new_session=True, stdout=subprocess.DEVNULL)
while not os.path.exists({str(tmp_path / "id")!r}) or not open({str(tmp_path / "id")!r}).read():
    time.sleep(0.01)
print("begun", flush=True)
os._exit(0)
"""
    leave(program).wait()
    daemon = int((tmp_path / "id").read_text())

    assert [daemon] == end_all()


# --- how it ends ----------------------------------------------------------------------------------------------------


def test_one_that_ignores_the_wish_to_end_is_killed_after_its_grace(leave: Leave) -> None:
    process = leave(DEAF)

    assert [process.pid] == end_all(grace_s=0.3)
    assert -signal.SIGKILL == process.wait()


def test_one_that_is_stopped_is_killed_after_its_grace(leave: Leave) -> None:
    process = leave()
    process.send_signal(signal.SIGSTOP)

    assert [process.pid] == end_all(grace_s=0.3)


def test_nothing_is_left_open(leave: Leave) -> None:
    leave(), leave(DEAF)
    before = len(os.listdir("/proc/self/fd"))
    with looking() as found:
        assert not found.look()

    assert before == len(os.listdir("/proc/self/fd"))


# --- before a command -------------------------------------------------------------------------------------------------


def of(attempt: Attempt, fence: int) -> dict[str, str]:
    return {**LEFT, "SAGALOG_STORE_ID": attempt.store_id, "SAGALOG_TASK_FENCE": str(fence)}


def test_a_command_begins_only_after_the_last_orphan_has_ended(
    leave: Leave, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt()
    orphan = leave(
        f"""
import os, signal, sys, time
def end(*_):
    time.sleep(0.3)
    open({str(tmp_path / "ended")!r}, "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
time.sleep(600)
""",
        of(attempt, attempt.fence - 1),
    )
    program = f"import os; print(os.path.exists({str(tmp_path / 'ended')!r}))"

    run(attempt, python(program, grace_ms=20_000), variables=VARIABLES)

    assert "True\n" == attempt.text("stdout")
    assert f"task task-1: ended what an earlier attempt has left: process {orphan.pid}" in caplog.text


def test_a_wish_to_end_is_heeded_while_an_orphan_has_its_grace(leave: Leave, tmp_path: Path) -> None:
    attempt = Attempt()
    leave(DEAF, of(attempt, attempt.fence - 1))
    thread = attempt.stop_once(lambda: True)
    begun_s = time.monotonic()

    with pytest.raises(Interrupted, match="before it began"):
        run(attempt, python(f"open({str(tmp_path / 'at')!r}, 'w')", grace_ms=600_000), variables=VARIABLES)

    thread.join()
    assert time.monotonic() - begun_s < 60
    assert not (tmp_path / "at").exists()


def test_nothing_is_begun_beside_an_orphan_that_does_not_end(
    leave: Leave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = Attempt()
    orphan = leave(variables=of(attempt, attempt.fence - 1))
    # As one that hangs in the kernel: it is sent signals, and stays.
    monkeypatch.setattr(orphans, "_send", lambda *_: None)
    monkeypatch.setattr(orphans, "_KILLED_S", 0.1)

    with pytest.raises(Transient, match=f"does not end: process {orphan.pid}") as failed:
        run(attempt, python(f"open({str(tmp_path / 'at')!r}, 'w')", grace_ms=0), variables=VARIABLES)

    assert "orphan" == failed.value.code
    assert not (tmp_path / "at").exists()


def test_two_commands_under_one_lease_do_not_end_each_other(leave: Leave) -> None:
    attempt = Attempt()
    other = leave(variables=of(attempt, attempt.fence))

    run(attempt, python("pass"), variables=VARIABLES)

    assert is_running(other.pid)


def test_the_command_of_a_killed_worker_ends_before_the_next_attempt(tmp_path: Path) -> None:
    """The second command looks for the process of the first, and finds itself alone."""
    url = f"sqlite:///{tmp_path}/store.db"
    # The second command tells whether the first one still runs beside it.
    script = f"""
import os, time
first = not os.path.exists("{tmp_path}/first")
if first:
    open("{tmp_path}/first.new", "w").write(str(os.getpid()))
    os.rename("{tmp_path}/first.new", "{tmp_path}/first")
    time.sleep(600)
try:
    state = open("/proc/" + open("{tmp_path}/first").read() + "/stat").read().rpartition(")")[2].split()[0]
except OSError:
    state = "gone"
print("alone" if state in ("gone", "Z", "X") else "beside")
"""
    program = f"""
import sagalog
from sagalog_command import handler
worker = sagalog.Worker(ttl_ms=1_000)
worker.task("command")(handler())
with sagalog.open({url!r}) as engine:
    worker.run(engine)
"""
    with sagalog.open(url) as engine:
        payload = {"words": [sys.executable, "-c", script]}
        id = engine.create("command", payload, waive_compensation="it changes nothing").id
        first = subprocess.Popen([sys.executable, "-c", program])
        until((tmp_path / "first").exists, 60)
        first.kill()
        first.wait()
        orphan = int((tmp_path / "first").read_text())
        assert is_running(orphan)
        worker = sagalog.Worker(ttl_ms=5_000)
        worker.task("command")(handler())
        with at_work(worker, engine):
            assert "completed" == ended(engine, id).state
        assert engine.artifact(id, "stdout").data == b"alone\n"
    assert not is_running(orphan)
