"""`sagalog queue work`: real workers, real commands, real signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagalog import Engine
from sagalog_cli.queue.process import ended_by
from sagalog_queue import Queue
from tests.adapters.cli.calls import Answer, call, past, url_of
from tests.adapters.cli.forked import Process, run, start
from tests.contract.tampering import tamper

Start = Callable[..., Process]


@pytest.fixture
def path(empty: Path, tmp_path: Path) -> Path:
    """Where a store is that exists and is empty."""
    return Path(shutil.copy(empty, tmp_path / "store.db"))


@pytest.fixture
def begin(path: Path) -> Iterator[Start]:
    """Start a worker; what is left of it is killed after the test."""
    begun: list[Process] = []

    def start_(*words: str) -> Process:
        process = start("queue", "work", "--db", str(path), *words)
        begun.append(process)
        return process

    yield start_
    for process in begun:
        process.kill()
        process.wait()
        # Not read to their ends: a command that was left behind may hold them open.
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def push(path: Path, *payloads: str, returns_max: str = "5") -> list[str]:
    words = ("queue", "push", "--db", url_of(path), "--returns-max", returns_max)
    return [call(*words, payload).lines[0] for payload in payloads]


def work(path: Path, *words: str, **settings: Any) -> Answer:
    return run("queue", "work", "--db", str(path), *words, **settings)


def state(path: Path, id: str) -> str:
    with past(path) as engine:
        return state_in(engine, id)


def state_in(engine: Engine, id: str) -> str:
    task = engine.get(id)
    assert task is not None
    return str(task.state)


def reasons(path: Path, id: str) -> list[str | None]:
    events = call("history", id, "--json", "--db", url_of(path)).documents
    return [one["event"].get("reason") for one in events if one["type"] == "released"]


def hand_backs(path: Path, id: str) -> list[str]:
    """Why an item went back without that counting as a return."""
    events = call("history", id, "--json", "--db", url_of(path)).documents
    return [one["event"]["error"]["message"] for one in events if one["type"] == "retried"]


def fences(path: Path, id: str) -> list[int]:
    """The fences of all leases that an item has had."""
    events = call("history", id, "--json", "--db", url_of(path)).documents
    return [one["event"]["fence"] for one in events if one["type"] == "leased"]


def renewals(engine: Engine, id: str) -> int:
    return sum(one.type == "heartbeat" for one in engine.history(id))


def until(holds: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(file: Path) -> int:
    until(lambda: file.exists() and file.read_text().endswith("\n"), f"{file.name} was not written")
    return int(file.read_text())


# --- what a command gets and how it ends -----------------------------------------------------------------------------


def test_a_command_gets_the_payload_and_what_tells_its_item_apart(path: Path) -> None:
    [id] = push(path, '{"n": [1, "a b"]}')

    script = "cat; echo $SAGALOG_ITEM_ID $SAGALOG_ITEM_ATTEMPTS $SAGALOG_ITEM_FENCE"
    answer = work(path, "--once", "--", "sh", "-c", script)

    assert (answer.status, answer.lines, answer.err) == (0, ['{"n":[1,"a b"]}', f"{id} 1 1"], "")
    assert state(path, id) == "completed"


def test_text_goes_in_as_text_and_all_else_as_json(path: Path) -> None:
    push(path, '"é \\"x\\""', "[1]")

    assert work(path, "--until-empty", "--text", "cat").lines == ['é "x"', "[1]"]


@pytest.mark.parametrize(("script", "reason"), [("exit 3", "exit 3"), ("kill -9 $$", "killed by SIGKILL")])
def test_a_command_that_fails_gives_its_item_back_with_the_reason(path: Path, script: str, reason: str) -> None:
    [id] = push(path, "1")

    answer = work(path, "--once", "--", "sh", "-c", script)

    assert answer.status == 0
    assert answer.err == f"note: item {id}: {reason}; it is pending\n"
    assert reasons(path, id) == [reason]


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    assert ended_by(-250) == "killed by signal 250"


def test_a_poison_item_ends_in_quarantine_and_holds_up_no_other_item(path: Path) -> None:
    poison, good = push(path, '"poison"', '"good"', returns_max="3")

    answer = work(path, "--until-empty", "--text", "--", "sh", "-c", "read -r word; echo $word; test $word = good")

    assert (answer.status, answer.lines) == (0, ["poison"] * 3 + ["good"])
    assert (state(path, poison), state(path, good)) == ("quarantined", "completed")


def test_a_delay_lets_the_next_item_go_first_and_until_empty_waits_for_it(path: Path) -> None:
    push(path, '"a"', '"b"')
    script = "read -r word; echo $word; test $word$SAGALOG_ITEM_ATTEMPTS != a1"

    answer = work(path, "--until-empty", "--text", "--delay", "700ms", "--", "sh", "-c", script)

    assert (answer.status, answer.lines) == (0, ["a", "b", "a"])


@pytest.mark.parametrize("word", ["no-such-command", "/etc/passwd", "/"])
def test_a_command_that_cannot_be_started_is_wrong_usage(path: Path, word: str) -> None:
    """It costs no item a return."""
    first, second = push(path, "1", "2")

    answer = work(path, "--until-empty", "--", word)

    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: COMMAND: '{word}' cannot be started: ")
    assert [reasons(path, id) for id in (first, second)] == [[], []]
    assert [len(hand_backs(path, id)) for id in (first, second)] == [1, 0]
    assert state(path, first) == "pending"


def test_unread_payloads_and_children_left_behind_hang_no_worker(path: Path, tmp_path: Path) -> None:
    """The payload is large, and the command does not read it."""
    ids = push(path, f'"{"x" * 200_000}"', "2")
    script = f"sleep 300 >/dev/null 2>&1 & echo $! >>{tmp_path}/pids"

    with (tmp_path / "out").open("wb") as out:
        process = start("queue", "work", "--db", str(path), "--until-empty", "--", "sh", "-c", script, stdout=out)
        _, err = process.communicate(timeout=60)
    for pid in (tmp_path / "pids").read_text().split():
        os.kill(int(pid), signal.SIGKILL)

    assert (process.returncode, err) == (0, b"")
    assert [state(path, id) for id in ids] == ["completed"] * 2


def test_the_ack_and_the_next_pop_are_one_commit(path: Path) -> None:
    first, second = push(path, "1", "2")

    work(path, "--until-empty", "true")

    at = {
        (one["stream"], one["type"]): (one["position"], one["at_ms"])
        for id in (first, second)
        for one in call("history", id, "--json", "--db", url_of(path)).documents
    }
    done, leased = at[f"task/{first}", "completed"], at[f"task/{second}", "leased"]
    assert (leased[0], leased[1]) == (done[0] + 1, done[1])


def test_options_of_the_command_are_its_own(path: Path) -> None:
    push(path, "1", "2")

    assert work(path, "--once", "echo", "--json", "--queue").lines == ["--json --queue"]
    assert work(path, "--once", "--", "echo", "--", "-h").lines == ["-- -h"]


# --- leases ----------------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_for_as_long_as_its_command_runs(path: Path, tmp_path: Path, begin: Start) -> None:
    """It is seen from outside at three renewals, a third of the visibility apart: later than the first lease's end."""
    [id] = push(path, "1")
    script = f"echo $$ >{tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.05; done"
    worker = begin("--once", "--visibility", "3s", "--", "sh", "-c", script)
    pid_in(tmp_path / "pid")

    with past(path) as engine:
        until(lambda: renewals(engine, id) >= 3, "the lease was not renewed")
    assert call("queue", "pop", "--db", url_of(path)).status == 4
    (tmp_path / "go").touch()

    assert worker.communicate(timeout=60) == (b"", b"")
    assert (worker.returncode, state(path, id), fences(path, id)) == (0, "completed", [1])


def test_the_item_of_a_killed_worker_comes_back_after_its_visibility(path: Path, tmp_path: Path, begin: Start) -> None:
    [id] = push(path, "1")
    worker = begin("--visibility", "1s", "--", "sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 300")
    orphan = pid_in(tmp_path / "pid")
    worker.kill()
    worker.wait()

    assert call("queue", "pop", "--db", url_of(path)).status == 4
    item = call("queue", "pop", "--json", "--timeout", "20s", "--db", url_of(path)).documents[0]
    os.kill(orphan, signal.SIGKILL)

    assert (item["id"], item["attempts"], item["fence"]) == (id, 2, 2)


def test_a_lost_item_ends_its_command_with_all_children(path: Path, tmp_path: Path, begin: Start) -> None:
    """The worker goes on."""
    [lost] = push(path, '"long"')
    # The child ignores SIGTERM: only the kill after the grace ends it.
    child = f"trap '' TERM; echo $$ >{tmp_path}/child; while :; do sleep 0.1; done"
    (tmp_path / "child.sh").write_text(child)
    script = f"read -r word; test $word = long || exit 0; sh {tmp_path}/child.sh & echo $$ >{tmp_path}/pid; wait"
    worker = begin("--visibility", "900ms", "--grace", "300ms", "--text", "--", "sh", "-c", script)
    pids = [pid_in(tmp_path / name) for name in ("pid", "child")]
    assert all(map(is_alive, pids))

    assert call("cancel", lost, "--now", "--db", url_of(path)).status == 0
    [after] = push(path, '"short"')

    with past(path) as engine:
        until(lambda: state_in(engine, after) == "completed", "the worker did not go on")
    assert [is_alive(pid) for pid in pids] == [False, False]
    assert state(path, lost) == "cancelled"
    worker.terminate()
    _, err = worker.communicate(timeout=60)
    assert err.decode().splitlines()[0] == f"note: item {lost} was lost, and its command ended"


def test_two_workers_at_once_never_run_one_item_twice(path: Path, tmp_path: Path, begin: Start) -> None:
    with past(path) as engine:
        queue = Queue(engine)
        ids = [queue.push(number) for number in range(40)]
    script = f"mkdir {tmp_path}/$SAGALOG_ITEM_ID && echo $PPID >{tmp_path}/$SAGALOG_ITEM_ID/by"

    workers = [begin("--until-empty", "--", "sh", "-c", script) for _ in range(2)]
    ends = [(worker.communicate(timeout=60)[1], worker.returncode) for worker in workers]

    assert ends == [(b"", 0)] * 2
    by = {(tmp_path / id / "by").read_text() for id in ids}
    assert len(by) == 2, "only one of them worked, so this shows nothing"
    with past(path) as engine:
        assert (Queue(engine).depth(), Queue(engine).in_flight()) == (0, 0)
        assert {task.leases for task in engine.find(queue="items")} == {1}


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_first_signal_lets_the_command_end_and_pops_no_more(
    path: Path, tmp_path: Path, begin: Start, number: signal.Signals, status: int
) -> None:
    first, second = push(path, "1", "2")
    script = f"echo $$ >{tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.05; done"
    worker = begin("--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")

    worker.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)
    assert is_alive(pid)
    (tmp_path / "go").touch()

    assert worker.wait(60) == status
    assert (state(path, first), state(path, second)) == ("completed", "pending")


def test_a_second_signal_ends_the_command_and_gives_the_item_back(path: Path, tmp_path: Path, begin: Start) -> None:
    [id] = push(path, "1")
    worker = begin("--", "sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 300")
    pid = pid_in(tmp_path / "pid")

    worker.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)
    worker.terminate()

    assert worker.wait(60) == 143
    assert not is_alive(pid)
    assert (state(path, id), hand_backs(path, id)) == ("pending", ["its worker was stopped"])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_worker_that_waits_for_an_item_ends_at_the_first_signal(
    path: Path, begin: Start, number: signal.Signals, status: int
) -> None:
    [id] = push(path, "1")
    worker = begin("--", "true")
    with past(path) as engine:
        until(lambda: state_in(engine, id) == "completed", "the worker did not begin")

    worker.send_signal(number)

    assert worker.wait(60) == status


def test_the_end_of_a_terminal_is_heeded_like_sigterm_and_counts_once(path: Path, tmp_path: Path, begin: Start) -> None:
    first, second = push(path, "1", "2")
    script = f"echo $$ >{tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.05; done"
    worker = begin("--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")

    for _ in range(3):
        worker.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.2)
    assert is_alive(pid)
    (tmp_path / "go").touch()

    assert worker.wait(60) == 129
    assert (state(path, first), state(path, second)) == ("completed", "pending")


def test_the_end_of_a_terminal_is_ignored_where_it_was_ignored(path: Path, tmp_path: Path) -> None:
    first, second = push(path, "1", "2")
    script = f"echo $$ >{tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.05; done"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        worker = start("queue", "work", "--db", str(path), "--until-empty", "--", "sh", "-c", script)
    finally:
        signal.signal(signal.SIGHUP, before)
    pid_in(tmp_path / "pid")

    worker.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()

    assert worker.communicate(timeout=60) == (b"", b"")
    assert (state(path, first), state(path, second)) == ("completed", "completed")


def test_a_killed_workers_command_is_ended_before_the_next_one_begins(path: Path, tmp_path: Path, begin: Start) -> None:
    """The killed worker has left it running, for the same item."""
    [id] = push(path, "1")
    deaf = f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"
    worker = begin("--visibility", "1s", "--", "sh", "-c", deaf)
    orphan = pid_in(tmp_path / "pid")
    worker.kill()
    worker.wait()

    answer = work(path, "--once", "--grace", "300ms", "--", "grep", "-c", "State:.[^Z]", f"/proc/{orphan}/status")

    assert not is_alive(orphan)
    # The next command looks at the orphan and finds it dead, or not at all.
    assert f"item {id}: ended what an earlier holder has left: process " in answer.err
    assert "1" not in answer.lines
    assert str(orphan) in answer.err


def test_a_worker_that_ends_by_an_error_leaves_no_command_behind(path: Path, tmp_path: Path, begin: Start) -> None:
    push(path, "1")
    worker = begin("--visibility", "900ms", "--", "sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 300")
    pid = pid_in(tmp_path / "pid")
    # A store of a newer version: the next heartbeat is refused.
    tamper(path, ("UPDATE store SET format = 99", []))

    assert worker.wait(60) == 8
    until(lambda: not is_alive(pid), "the command still runs")
