"""`sagalog demo` on real processes: it shows what it promises, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sagalog
from sagalog_cli.demo import demo
from sagalog_cli.demo_checks import CHECKS, VERBS
from sagalog_cli.demo_crew import Crew, DidNotHappen
from sagalog_cli.demo_plan import DOOMED_TASKS, RESOURCES, TASKS_MIN, specs, undo_kind

TASKS = 60
COMMAND = [sys.executable, "-m", "sagalog_cli", "demo"]


# --- the demo itself, as its user runs it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """One demo that was run to its end: its exit status, what it printed, its store, and where temporary files go."""

    status: int
    printed: str
    store: Path
    temporary: Path


def environment(temporary: Path) -> dict[str, str]:
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}


def play(folder: Path, *options: str) -> Played:
    store, temporary = folder / "kept.db", folder / "temporary"
    done = subprocess.run(
        [*COMMAND, "--tasks", str(TASKS), "--workers", "3", *options],
        cwd=folder,
        env=environment(temporary),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return Played(done.returncode, done.stdout, store, temporary)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("kept"), "--json", "--keep", "kept.db", "--seed", "7")


@pytest.fixture(scope="module")
def told(kept: Played) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kept.printed)
    return document


def test_the_demo_exits_with_0_and_everything_in_it_happened(kept: Played, told: dict[str, Any]) -> None:
    assert kept.status == 0
    assert told["ok"]
    assert told["missing"] == []
    assert list(told["findings"]) == [one.__name__ for one in CHECKS]
    for name, finding in told["findings"].items():
        assert finding["happened"], name
        assert finding["count"] > 0, name


def test_it_loses_what_it_set_out_to_lose(told: dict[str, Any]) -> None:
    counts = {name: finding["count"] for name, finding in told["findings"].items()}

    assert counts["every_task_ended"] == TASKS
    assert counts["killed_worker_was_recovered"] == DOOMED_TASKS
    assert counts["stopped_worker_was_replaced"] == 1
    assert counts["late_writes_were_refused"] == len(VERBS)
    assert counts["unknown_undo_was_quarantined"] == 1
    # Those that fail by plan, and the one that was taken over from the sleeper.
    assert counts["failed_tasks_were_undone"] == TASKS // 15 + 1


def test_its_timeline_shows_a_take_over_and_an_undo_in_reverse(told: dict[str, Any]) -> None:
    events = [(one["type"], one["event"]) for one in told["timeline"]["events"]]
    types = [type for type, _ in events]

    assert types[:4] == ["created", "leased", "compensation_registered", "lease_expired"]
    assert types[-1] == "compensated"
    fences = [body["fence"] for type, body in events if type == "leased"]
    assert fences == sorted(set(fences))
    undone = [body["id"] for type, body in events if type == "compensation_done"]
    assert undone == [undo_kind(resource) for resource in reversed(RESOURCES)]
    assert told["timeline"]["refused"] == list(VERBS)


def test_its_throughput_says_under_what_it_was_measured(told: dict[str, Any]) -> None:
    speed = told["throughput"]

    assert speed["workers"] == 3
    assert speed["durability"] == "full"
    assert speed["events_per_second"] > speed["tasks_per_second"] >= 0


def test_a_kept_file_is_a_store_that_stands_up_to_another_audit(kept: Played, told: dict[str, Any]) -> None:
    with sagalog.open(f"sqlite:///{kept.store}", create=False) as engine:
        audit = engine.verify()

    assert audit.ok
    assert audit.events == told["findings"]["log_was_verified"]["count"]
    assert told["file"] == "kept.db"


def test_it_tells_people_a_story_and_keeps_no_file_unasked(tmp_path: Path) -> None:
    played = play(tmp_path)

    assert played.status == 0
    for words in ("SIGSTOP", "SIGKILL", "SIGCONT", "what happened", "the life of task", "durability full"):
        assert words in played.printed
    assert "✗" not in played.printed
    assert played.printed.count("✓") == len(CHECKS)
    assert list(tmp_path.iterdir()) == [played.temporary]
    assert list(played.temporary.iterdir()) == []


def test_a_file_that_exists_is_never_taken_for_the_demo(tmp_path: Path) -> None:
    found = tmp_path / "precious.db"
    found.write_text("mine")

    answer = CliRunner().invoke(demo, ["--keep", str(found)])

    assert answer.exit_code == 2
    assert "precious.db" in answer.output
    assert found.read_text() == "mine"


def test_a_path_that_no_url_can_name_is_a_usage_error(tmp_path: Path) -> None:
    answer = CliRunner().invoke(demo, ["--keep", str(tmp_path / "what?.db")])

    assert answer.exit_code == 2
    assert "what?.db" in answer.output


# --- nothing outlives it ----------------------------------------------------------------------------------------------


def living(session: int) -> list[int]:
    """Processes of a session that are not dead, from the kernel's own list."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@contextmanager
def started(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo in a session of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        COMMAND,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for pid in living(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_demo_however_it_ends(tmp_path: Path, blow: signal.Signals) -> None:
    """Also not the one that is stopped at that time, and cannot see that its input was closed."""
    with started(tmp_path / "temporary") as process:
        assert process.stdout is not None
        assert any("workers race" in line for line in process.stdout)
        assert len(living(process.pid)) > 2

        process.send_signal(blow)
        process.wait(20)

        deadline = time.monotonic() + 20
        while living(process.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert living(process.pid) == []
    assert process.returncode != 0
    if blow is not signal.SIGKILL:
        assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"sqlite:///{tmp_path}/crew.db"
    sagalog.open(found).close()
    return found


def test_a_worker_that_dies_by_itself_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Crew(60) as crew:
        worker = crew.start(f"sqlite:///{tmp_path}/absent.db", "nobody", tmp_path, "run")

        with pytest.raises(DidNotHappen, match="nobody ended by itself with exit status 1"):
            worker.hear("ready")
        with pytest.raises(DidNotHappen, match="nobody ended by itself"):
            crew.wait_until(lambda: False, [worker])
    assert "absent.db" in capfd.readouterr().err


def test_a_demo_that_takes_too_long_is_ended_with_its_workers(url: str, tmp_path: Path) -> None:
    crew = Crew(1.5)

    def wait_for_ever() -> None:
        with crew:
            worker = crew.start(url, "idle", tmp_path, "run")
            worker.hear("ready")
            worker.hear("ready")

    with pytest.raises(DidNotHappen, match=r"within 1\.5 s"):
        wait_for_ever()
    assert [worker.exit_status for worker in crew] == [-signal.SIGKILL]


def test_workers_that_are_asked_to_end_end_well_even_while_stopped(url: str, tmp_path: Path) -> None:
    with Crew(60) as crew:
        busy, stopped = (crew.start(url, name, tmp_path, "run") for name in ("busy", "stopped"))
        for worker in crew:
            worker.hear("ready")
        busy.tell()
        stopped.stop()
        stopped.wake()

        assert crew.dismiss() == {"busy": 0, "stopped": 0}


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [TASKS_MIN, 100, 1_000])
def test_a_plan_has_as_many_tasks_as_were_asked_for_and_one_seed_gives_one_plan(tasks: int) -> None:
    assert len(specs(tasks, 1)) == tasks
    assert specs(tasks, 1) == specs(tasks, 1)
    assert specs(tasks, 1) != specs(tasks, 2)
