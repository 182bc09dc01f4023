"""`sagalog demo` on real processes: it shows what it promises, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import shutil
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
from sagalog_cli.demo_checks import CHECKS
from sagalog_cli.demo_crew import Crew, DidNotHappen
from sagalog_cli.demo_plan import DONE_STEPS, FAILED, ODD, PARENT, PARTS, RESUMED, REVIEWED, SLEPT, STEP_IN_HAND
from sagalog_cli.demo_repository import Repository
from sagalog_cli.demo_sleeper import VERBS

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the demo works on a git repository")
COMMAND = [sys.executable, "-m", "sagalog_cli", "demo"]


# --- the demo itself, as its user runs it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """One demo that was run to its end: its exit status, what it printed and kept, and where temporary files go."""

    status: int
    printed: str
    folder: Path
    temporary: Path


def environment(temporary: Path) -> dict[str, str]:
    """A user whose own git is set up as badly as can be."""
    temporary.mkdir(exist_ok=True)
    spoilt = temporary.parent / "gitconfig"
    spoilt.write_text("[user]\n\tuseConfigOnly = true\n[commit]\n\tgpgSign = true\n[core]\n\thooksPath = /nowhere\n")
    ours = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}
    theirs = {"GIT_CONFIG_GLOBAL": str(spoilt), "GIT_DIR": "/nowhere/.git", "GIT_AUTHOR_DATE": "no date"}
    return {**os.environ, **ours, **theirs}


def play(folder: Path, *options: str) -> Played:
    temporary = folder / "temporary"
    done = subprocess.run(
        [*COMMAND, *options], cwd=folder, env=environment(temporary), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return Played(done.returncode, done.stdout, folder / "kept", temporary)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("demo"), "--json", "--keep", "kept")


@pytest.fixture(scope="module")
def told(kept: Played) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kept.printed)
    return document


def git(kept: Played, *words: str) -> str:
    """Git itself, without a line of ours in between."""
    command = ["git", "-C", str(kept.folder / "repository"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_demo_exits_with_0_and_everything_in_it_happened(kept: Played, told: dict[str, Any]) -> None:
    assert kept.status == 0
    assert told["ok"]
    assert told["missing"] == []
    assert list(told["findings"]) == [one.__name__ for one in CHECKS]
    for name, finding in told["findings"].items():
        assert finding["happened"], name
        assert finding["count"] > 0, name


def test_it_shows_what_it_set_out_to_show(told: dict[str, Any]) -> None:
    counts = {name: finding["count"] for name, finding in told["findings"].items()}
    ends = {task: history[-1]["type"] for task, history in told["histories"].items()}

    assert counts["recorded_steps_were_not_run_again"] == len(DONE_STEPS)
    assert counts["step_in_hand_was_run_again"] == 1
    assert counts["late_writes_were_refused"] == len(VERBS)
    assert counts["children_were_waited_for"] == len(PARTS)
    assert ends == {
        **dict.fromkeys((RESUMED, SLEPT, REVIEWED, PARENT, *(f"{PARENT}/{part}" for part in PARTS)), "completed"),
        FAILED: "compensated",
        ODD: "quarantined",
    }


def test_the_killed_task_went_on_at_the_step_in_hand_under_another_worker(told: dict[str, Any]) -> None:
    history = told["histories"][RESUMED]
    steps = [(one["event"]["name"], one["actor"][:15]) for one in history if one["type"] == "step_completed"]
    between = [one["type"] for one in history if one["type"] in ("leased", "lease_expired")]

    assert steps[:-1] == [(name, "worker:worker-1") for name in DONE_STEPS]
    assert steps[-1][0] == STEP_IN_HAND
    assert steps[-1][1] in ("worker:worker-2", "worker:worker-3")
    assert between == ["leased", "lease_expired", "leased"]


def test_git_says_the_same_of_what_was_kept_and_what_is_gone(kept: Played) -> None:
    worktrees, branches = git(kept, "worktree", "list"), git(kept, "branch", "--list")

    for name in (RESUMED, SLEPT, ODD, REVIEWED, PARENT, *PARTS):
        assert f"worktrees/{name} " in worktrees
        assert f"work/{name}\n" in branches
    assert f"worktrees/{FAILED}" not in worktrees
    assert f"work/{FAILED}\n" not in branches
    assert "Add parts/reviewed.sh" in git(kept, "log", "--format=%s", "main")
    assert {"demo"} == set(git(kept, "log", "--all", "--format=%an").split())


def test_a_kept_store_stands_up_to_another_audit_and_holds_what_the_builds_said(
    kept: Played, told: dict[str, Any]
) -> None:
    with sagalog.open(f"sqlite:///{kept.folder}/demo.db", create=False) as engine:
        audit = engine.verify()
        said = engine.artifact(RESUMED, "build").data

    assert audit.ok
    assert audit.events == told["findings"]["log_was_verified"]["count"]
    assert said == b"building resumed\nbuilt at last\n"
    assert told["folder"] == "kept"


def test_it_tells_people_a_story_and_keeps_nothing_unasked(tmp_path: Path) -> None:
    played = play(tmp_path)

    assert played.status == 0
    for words in ("SIGKILL", "SIGTERM", "falls asleep", "what happened", f"the life of task {RESUMED}:"):
        assert words in played.printed
    assert "✗" not in played.printed
    assert played.printed.count("✓") == len(CHECKS)
    assert not played.folder.exists()
    assert list(played.temporary.iterdir()) == []


def test_a_folder_that_exists_is_never_taken_for_the_demo(tmp_path: Path) -> None:
    found = tmp_path / "precious"
    found.write_text("mine")

    answer = CliRunner().invoke(demo, ["--keep", str(found)])

    assert answer.exit_code == 2
    assert "precious" in answer.output
    assert found.read_text() == "mine"


def test_a_path_that_no_url_can_name_is_a_usage_error(tmp_path: Path) -> None:
    answer = CliRunner().invoke(demo, ["--keep", str(tmp_path / "what?")])

    assert answer.exit_code == 2
    assert "what?" in answer.output
    assert not (tmp_path / "what?").exists()


def test_without_git_it_says_so_and_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [*COMMAND, "--keep", "kept"],
        cwd=tmp_path,
        env={**environment(tmp_path / "temporary"), "PATH": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (6, "")
    assert "no command `git`" in done.stderr
    assert not (tmp_path / "kept").exists()


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
    with started(tmp_path / "temporary") as process:
        assert process.stdout is not None
        assert any("worker-1 is started" in line for line in process.stdout)
        assert len(living(process.pid)) > 1

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


def test_a_worker_that_dies_by_itself_is_noticed_with_what_it_said(tmp_path: Path) -> None:
    with Crew(f"sqlite:///{tmp_path}/absent.db", tmp_path, 60) as crew:
        crew.start("worker-1")

        with pytest.raises(DidNotHappen, match=r"worker-1 ended by itself with exit status 6: (?s:.)*absent\.db"):
            crew.wait_until(lambda: False)


def test_a_demo_that_takes_too_long_is_ended_with_its_workers(url: str, tmp_path: Path) -> None:
    crew = Crew(url, tmp_path, 1.5)

    def wait_for_ever() -> None:
        with crew:
            crew.start("idle")
            crew.wait_until(lambda: False)

    with pytest.raises(DidNotHappen, match=r"within 1\.5 s"):
        wait_for_ever()
    assert [worker.exit_status for worker in crew] == [-signal.SIGKILL]


def test_workers_that_are_asked_to_end_end_well(url: str, tmp_path: Path) -> None:
    with Crew(url, tmp_path, 60) as crew:
        crew.start("busy")
        crew.wait_until(lambda: "works on queue demo" in (tmp_path / "busy.log").read_text())

        assert crew.dismiss() == {"busy": 0}


# --- the repository ---------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.make()
    return made


def what_is_there(repository: Repository) -> tuple[list[str], list[str], list[str]]:
    """Worktrees of git, folders on the disk, branches."""
    return sorted(repository.worktrees()), sorted(repository.folders()), sorted(repository.branches())


def test_whatever_changes_the_repository_may_be_done_again(repository: Repository) -> None:
    for round in range(2):
        assert repository.add_branch("a") == "work/a"
        assert repository.add_worktree("a") == str(repository.worktree("a"))
        (repository.worktree("a") / "built").mkdir(exist_ok=True)
        (repository.worktree("a") / "built" / f"{round}").touch()
    assert {"0", "1"} <= {path.name for path in (repository.worktree("a") / "built").iterdir()}
    commits = {repository.commit("a", "parts/a.sh", "echo a\n") for _ in range(2)}
    [commit] = commits
    for _ in range(2):
        repository.merge(commit)
    assert commit in repository.commits("main")
    assert what_is_there(repository) == (["a"], ["a"], ["main", "work/a"])

    for _ in range(2):
        repository.remove_worktree("a")
        repository.delete_branch("a")
    assert what_is_there(repository) == ([], [], ["main"])


def test_half_a_worktree_of_a_worker_that_was_killed_is_made_whole(repository: Repository) -> None:
    repository.add_branch("a")
    repository.worktree("a").mkdir()
    (repository.worktree("a") / "half").touch()

    repository.add_worktree("a")

    assert repository.git("status", "--porcelain", within=repository.worktree("a")) == ""
    assert repository.worktrees() == {"a"}


def test_a_worktree_whose_folder_has_gone_is_taken_away_all_the_same(repository: Repository) -> None:
    repository.add_branch("a")
    repository.add_worktree("a")
    shutil.rmtree(repository.worktree("a"))

    repository.remove_worktree("a")
    repository.delete_branch("a")

    assert what_is_there(repository) == ([], [], ["main"])


def test_what_git_refuses_is_said_in_its_own_words(repository: Repository) -> None:
    with pytest.raises(RuntimeError, match=r"git checkout absent: .*absent"):
        repository.git("checkout", "absent")
