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

LINES = 200
FAILING = {f"line-{number}" for number in range(20, LINES + 1, 20)}
SUMMARY = {"worktrees": {"compensated": len(FAILING), "completed": LINES - len(FAILING)}}
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


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A file of command lines: each notes its number in the file `ran`, and some fail."""
    path = tmp_path / "commands.txt"
    lines = [
        f"echo line-{number} >> {tmp_path}/ran; read word < greeting; echo $word" for number in range(1, LINES + 1)
    ]
    path.write_text(
        "".join(f"{line}{'; exit 3' if f'line-{n}' in FAILING else ''}\n" for n, line in enumerate(lines, 1))
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
def test_a_killed_orchestrator_runs_no_recorded_line_again(repository: Path, commands: Path) -> None:
    """[STEP-1] [LEASE-4] Only what was cut off by the kill runs again, and every worktree is gone at the end."""
    killed = start(repository, commands)
    until(lambda: len(ran(repository)) >= LINES // 4)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with sagalog.open(f"sqlite:///{repository}-worktrees.db", create=False) as engine:
        recorded = {task.id for task in engine.find() if "run" in task.steps or task.is_terminal}
        held = {task.id for task in engine.find(state="running")}
    assert recorded
    assert 1 < len(held) <= CONCURRENCY

    assert summary(start(repository, commands)) == SUMMARY

    often = ran(repository)
    assert often.keys() == {f"line-{number}" for number in range(1, LINES + 1)}
    twice = {line for line, times in often.items() if times > 1}
    assert twice <= held - recorded
    assert git(repository, "worktree", "list").count("\n") == 1
    assert list(repository.with_name("repository-worktrees").iterdir()) == []
    with sagalog.open(f"sqlite:///{repository}-worktrees.db", create=False) as engine:
        assert {task.id for task in engine.find(state="compensated")} == FAILING
        assert all(engine.artifact(task.id, "stdout").data == b"hello\n" for task in engine.find())
        assert engine.verify().ok

    # Once all has ended, the program finds nothing to do.
    assert summary(start(repository, commands)) == SUMMARY
    assert ran(repository) == often
