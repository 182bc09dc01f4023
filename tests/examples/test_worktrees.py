"""`docs/examples/worktrees` runs command lines in worktrees of a real repository, also when it is killed in between."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sagalog
from tests.adapters.cli.calls import environment
from tests.examples.programs import PATIENCE_S, copy, until

# How many lines it runs at a time.
CONCURRENCY = 8


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "greeting").write_text("hello\n")
    git(path, "add", ".")
    git(path, "-c", "user.name=ann", "-c", "user.email=ann@example.invalid", "commit", "--quiet", "--message", "Begin")
    return path


def names(lines: int, step: int = 1) -> set[str]:
    """The tasks of so many lines, or of every so manieth of them."""
    return {f"line-{number}" for number in range(step, lines + 1, step)}


def commands(folder: Path, lines: int, failing: set[str]) -> Path:
    """A file of command lines: each notes its number in the file `ran`, and some fail."""
    path = folder / "commands.txt"
    path.write_text(
        "".join(
            f"echo {name} >> {folder}/ran; read word < greeting; echo $word{'; exit 3' if name in failing else ''}\n"
            for name in (f"line-{number}" for number in range(1, lines + 1))
        )
    )
    return path


def git(repository: Path, *words: str) -> str:
    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.check_output(["git", "-C", str(repository), *words], env=alone, text=True)


def start(repository: Path, commands: Path) -> subprocess.Popen[str]:
    program = copy("orchestrator.py", repository.parent)
    return subprocess.Popen(
        [sys.executable, str(program), str(repository), str(commands)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def summary(orchestrator: subprocess.Popen[str]) -> Any:
    """Wait for its end; give the last line that it prints, as data."""
    said, _ = orchestrator.communicate(timeout=PATIENCE_S)
    assert orchestrator.returncode == 0, said
    return ast.literal_eval(said.splitlines()[-1])


def ran(repository: Path) -> Counter[str]:
    """How often each line has run."""
    noted = repository.parent / "ran"
    return Counter(noted.read_text().splitlines() if noted.exists() else [])


@pytest.mark.timeout(300)  # a thousand processes take some seconds, and more on a machine that has other work
@pytest.mark.parametrize("lines", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_a_killed_orchestrator_runs_no_recorded_line_again(repository: Path, tmp_path: Path, lines: int) -> None:
    """[STEP-1] [LEASE-4] Only what was cut off by the kill runs again, and every worktree is gone at the end."""
    failing = names(lines, step=20)
    summed_up = {"worktrees": {"compensated": len(failing), "completed": lines - len(failing)}}
    listed = commands(tmp_path, lines, failing)
    killed = start(repository, listed)
    until(lambda: len(ran(repository)) >= lines // 2)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with sagalog.open(f"sqlite:///{repository}-worktrees.db", create=False) as engine:
        recorded = {task.id for task in engine.find() if "run" in task.steps or task.is_terminal}
        held = {task.id for task in engine.find(state="running")}
    assert recorded
    assert 1 < len(held) <= CONCURRENCY

    assert summary(start(repository, listed)) == summed_up

    often = ran(repository)
    assert often.keys() == names(lines)
    twice = {line for line, times in often.items() if times > 1}
    assert twice <= held - recorded
    assert git(repository, "worktree", "list").count("\n") == 1
    assert list(repository.with_name("repository-worktrees").iterdir()) == []
    with sagalog.open(f"sqlite:///{repository}-worktrees.db", create=False) as engine:
        assert {task.id for task in engine.find(state="compensated")} == failing
        assert all(engine.artifact(task.id, "stdout").data == b"hello\n" for task in engine.find())
        assert engine.verify().ok

    # Once all has ended, the program finds nothing to do.
    assert summary(start(repository, listed)) == summed_up
    assert ran(repository) == often
