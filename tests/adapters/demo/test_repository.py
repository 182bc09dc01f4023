"""The git repository of the demo: each change can be repeated, and half a change is made whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sagalog_cli.demo.repository import Repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the demo works on a git repository")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.make()
    return made


def what_is_there(repository: Repository) -> tuple[list[str], list[str], list[str]]:
    """Worktrees of git, folders on the disk, branches."""
    return sorted(repository.worktrees()), sorted(repository.folders()), sorted(repository.branches())


def test_every_change_of_the_repository_can_be_repeated(repository: Repository) -> None:
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


def test_half_a_worktree_of_a_killed_worker_is_made_whole(repository: Repository) -> None:
    repository.add_branch("a")
    repository.worktree("a").mkdir()
    (repository.worktree("a") / "half").touch()

    repository.add_worktree("a")

    assert repository.git("status", "--porcelain", within=repository.worktree("a")) == ""
    assert repository.worktrees() == {"a"}


def test_a_worktree_whose_folder_has_gone_can_be_removed(repository: Repository) -> None:
    repository.add_branch("a")
    repository.add_worktree("a")
    shutil.rmtree(repository.worktree("a"))

    repository.remove_worktree("a")
    repository.delete_branch("a")

    assert what_is_there(repository) == ([], [], ["main"])


def test_a_refusal_of_git_is_raised_with_its_own_words(repository: Repository) -> None:
    with pytest.raises(RuntimeError, match=r"git checkout absent: .*absent"):
        repository.git("checkout", "absent")
