"""`sagalog demo` as its user runs it: what it shows fits a screen, is true, and can be tried further."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sagalog
from sagalog_cli.demo.checks import CHECKS
from sagalog_cli.demo.command import demo
from sagalog_cli.demo.late_holder import VERBS
from sagalog_cli.demo.tasks import (
    DONE_STEPS,
    FAILED,
    INTERRUPTED_STEP,
    LATE,
    PARENT,
    PARTS,
    QUARANTINED,
    RESUMED,
    REVIEWED,
)
from tests.adapters.cli.calls import ROOT
from tests.adapters.demo.runs import Run, environment, in_a_pipe, on_a_terminal

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the demo works on a git repository")
COLUMNS, LINES = 80, 24


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def run(kept: Path) -> Run:
    return in_a_pipe(kept, "--json", "--folder", "kept")


@pytest.fixture(scope="module")
def told(run: Run) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run.printed)
    return document


def git(folder: Path, *words: str) -> str:
    """Git itself, without a line of ours in between."""
    command = ["git", "-C", str(folder / "kept" / "repository"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- on a terminal and in a pipe --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="takes a terminal as Linux gives it")
def test_on_a_terminal_it_fits_one_screen_and_its_commands_work(tmp_path: Path) -> None:
    """The line of the command above it and the prompt below it are on the screen too; the README shows the same."""
    with on_a_terminal(tmp_path, COLUMNS) as terminal:
        shown = terminal.end()

    assert shown.status == 0
    assert len(shown.plain) + 2 <= LINES, shown.printed
    # As wide as where temporary files have a short path.
    lines = [line.replace(str(shown.temporary), "/tmp") for line in shown.plain]  # noqa: S108  no file
    assert max(map(len, lines)) <= COLUMNS, shown.printed
    assert shown.printed.count("✓") == len(CHECKS)
    assert "\x1b[32m✓" in shown.printed
    for words in ("SIGKILL", "SIGTERM", "late holder", f"{len(CHECKS)} of {len(CHECKS)} checks passed"):
        assert words in shown.printed
    assert without_numbers("\n".join(lines)) == without_numbers(readme_shows())
    listing, history, removal = [
        subprocess.run(["sh", "-c", line], env=environment(tmp_path), capture_output=True, text=True, check=True).stdout
        for line in shown.commands
    ]
    assert all(f"{task} " in listing for task in (RESUMED, LATE, FAILED, QUARANTINED, REVIEWED, PARENT))
    assert "lease_expired" in history
    assert removal == ""
    assert list(shown.temporary.iterdir()) == []


# The gate runs the demo in a pipe in any case, by `./dev demo`.
@pytest.mark.slow
def test_in_a_pipe_it_is_plain_and_the_readme_shows_it(tmp_path: Path) -> None:
    shown = in_a_pipe(tmp_path)

    printed = shown.printed.replace(str(shown.temporary), "/tmp")  # noqa: S108  no file
    assert "\x1b" not in printed
    assert without_numbers(printed) == without_numbers(readme_shows())


def readme_shows() -> str:
    [block] = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert isinstance(block, str)
    return block


def without_numbers(text: str) -> list[str]:
    """The lines without numbers, the name of the folder, and how the command is called."""
    text = re.sub(r"sagalog-demo-\w+", "sagalog-demo", text.replace(".venv-demo/bin/", ""))
    return [re.sub(r"\d+", "N", " ".join(line.split())) for line in text.splitlines()]


@pytest.mark.slow
def test_with_full_it_prints_the_histories_and_a_line_for_each_check(tmp_path: Path) -> None:
    shown = in_a_pipe(tmp_path, "--full")

    assert shown.status == 0
    assert "\x1b" not in shown.printed
    assert shown.plain[0].endswith(str(next(shown.temporary.iterdir())))
    assert f"history of task {RESUMED}:" in shown.plain
    assert [line.split()[1] for line in shown.plain if line.startswith("✓")] == [one.__name__ for one in CHECKS]


# --- what it shows is so ----------------------------------------------------------------------------------------------


def test_it_exits_with_0_and_each_thing_has_happened(run: Run, told: dict[str, Any]) -> None:
    assert run.status == 0
    assert told["ok"]
    assert told["missing"] == []
    assert list(told["findings"]) == [one.__name__ for one in CHECKS]
    for name, finding in told["findings"].items():
        assert finding["happened"], name
        assert finding["count"] > 0, name


def test_the_tasks_end_as_the_demo_means_them_to(told: dict[str, Any]) -> None:
    counts = {name: finding["count"] for name, finding in told["findings"].items()}
    ends = {task: history[-1]["type"] for task, history in told["histories"].items()}

    assert counts["recorded_steps_were_not_run_again"] == len(DONE_STEPS)
    assert counts["interrupted_step_was_run_again"] == 1
    assert counts["late_writes_were_refused"] == len(VERBS)
    assert counts["children_were_waited_for"] == len(PARTS)
    assert ends == {
        **dict.fromkeys((RESUMED, LATE, REVIEWED, PARENT, *(f"{PARENT}/{part}" for part in PARTS)), "completed"),
        FAILED: "compensated",
        QUARANTINED: "quarantined",
    }


def test_another_worker_goes_on_at_the_step_that_the_kill_interrupted(told: dict[str, Any]) -> None:
    history = told["histories"][RESUMED]
    steps = [(one["event"]["name"], one["actor"][:15]) for one in history if one["type"] == "step_completed"]
    between = [one["type"] for one in history if one["type"] in ("leased", "lease_expired")]

    assert steps[:-1] == [(name, "worker:worker-1") for name in DONE_STEPS]
    assert steps[-1][0] == INTERRUPTED_STEP
    assert steps[-1][1] in ("worker:worker-2", "worker:worker-3")
    assert between == ["leased", "lease_expired", "leased"]


def test_the_killed_worker_leases_no_other_task(told: dict[str, Any]) -> None:
    """A kill in the middle of a call of git could leave a lock behind, on which other tasks would fail."""
    leased = {
        task
        for task, history in told["histories"].items()
        if any(one["actor"].startswith("worker:worker-1-") for one in history)
    }

    assert leased == {RESUMED}


def test_git_agrees_about_what_is_left_and_what_is_gone(run: Run, kept: Path) -> None:
    worktrees, branches = git(kept, "worktree", "list"), git(kept, "branch", "--list")

    for name in (RESUMED, LATE, QUARANTINED, REVIEWED, PARENT, *PARTS):
        assert f"worktrees/{name} " in worktrees
        assert f"work/{name}\n" in branches
    assert f"worktrees/{FAILED}" not in worktrees
    assert f"work/{FAILED}\n" not in branches
    assert "Add parts/reviewed.sh" in git(kept, "log", "--format=%s", "main")
    assert {"demo"} == set(git(kept, "log", "--all", "--format=%an").split())


def test_the_store_that_is_left_passes_another_audit(kept: Path, told: dict[str, Any]) -> None:
    with sagalog.open(f"sqlite:///{told['folder']}/log.db", create=False) as engine:
        audit = engine.verify()
        output = engine.artifact(RESUMED, "build").data

    assert audit.ok
    assert audit.events == told["findings"]["log_was_verified"]["count"]
    assert output == b"building resumed\nbuilt at last\n"
    assert told["folder"] == str(kept / "kept")


# --- what it refuses --------------------------------------------------------------------------------------------------


def test_a_folder_that_exists_is_never_taken_for_the_demo(tmp_path: Path) -> None:
    found = tmp_path / "precious"
    found.write_text("mine")

    answer = CliRunner().invoke(demo, ["--folder", str(found)])

    assert answer.exit_code == 2
    assert "precious" in answer.output
    assert found.read_text() == "mine"


def test_a_path_that_no_url_can_name_is_a_usage_error(tmp_path: Path) -> None:
    answer = CliRunner().invoke(demo, ["--folder", str(tmp_path / "what?")])

    assert answer.exit_code == 2
    assert "what?" in answer.output
    assert not (tmp_path / "what?").exists()


def test_without_git_it_says_so_and_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "sagalog_cli", "demo", "--folder", "kept"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PATH": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (6, "")
    assert "no command `git`" in done.stderr
    assert not (tmp_path / "kept").exists()
