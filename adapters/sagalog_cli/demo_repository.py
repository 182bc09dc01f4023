"""The git repository of the demo: made, changed by handlers, and asked by checks, always with the command `git`.

Rule: whatever changes it finds done what was done before, since a handler may have been killed in the middle of it; and
nothing that the user has configured, or exported, reaches it. Knows no store and no task.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# One identity and one time: the same work gives the same commits.
_SETTINGS: Final = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "demo",
    "GIT_AUTHOR_EMAIL": "demo@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "demo",
    "GIT_COMMITTER_EMAIL": "demo@example.invalid",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "LC_ALL": "C",
}
MAIN: Final = "main"
_BRANCHES: Final = "work/"

# Runs one part; that it has begun shows on the disk at once, how it ended only in its exit status.
_BUILD: Final = """\
#!/bin/sh
set -eu
mkdir -p built
echo "building $1" > "built/$1"
sh "parts/$1.sh" >> "built/$1"
"""


class Repository:
    """A repository with its worktrees and branches beside it, all in one folder.

    repository      what is checked out on `main`
    worktrees       one folder for each name; its branch is `work/NAME`
    """

    def __init__(self, folder: Path) -> None:
        # As git spells it: a temporary folder may be reached by a link.
        self._folder = folder.resolve()
        self._repository = self._folder / "repository"
        self._worktrees = self._folder / "worktrees"

    def make(self) -> None:
        """Make it, with a build script and one commit on `main`."""
        self._repository.mkdir()
        self._worktrees.mkdir()
        self.git("init", "--quiet")
        self.git("symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
        (self._repository / "build.sh").write_text(_BUILD, encoding="utf-8")
        (self._repository / ".gitignore").write_text("built/\n", encoding="utf-8")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin with a build script")

    def worktree(self, name: str) -> Path:
        """Where the worktree of this name is, or would be."""
        return self._worktrees / name

    def folders(self) -> frozenset[str]:
        """The names of what lies where worktrees are, whether git knows it or not."""
        return frozenset(path.name for path in self._worktrees.iterdir())

    # --- changing it ----------------------------------------------------------------------------------------------

    def add_branch(self, name: str) -> str:
        """A branch from `main`; its name."""
        branch = branch_of(name)
        with self._alone():
            if branch not in self.branches():
                self.git("branch", "--no-track", branch, MAIN)
        return branch

    def add_worktree(self, name: str) -> str:
        """A worktree on the branch of this name; its path."""
        path = self.worktree(name)
        with self._alone():
            if name not in self.worktrees():
                # What a worker that was killed had begun is no worktree yet.
                shutil.rmtree(path, ignore_errors=True)
                self.git("worktree", "prune")
                self.git("worktree", "add", "--quiet", str(path), branch_of(name))
        return str(path)

    def remove_worktree(self, name: str) -> None:
        """Take a worktree away with all that is in it; nothing where there is none."""
        with self._alone():
            if name in self.worktrees():
                self.git("worktree", "remove", "--force", str(self.worktree(name)))
            shutil.rmtree(self.worktree(name), ignore_errors=True)
            self.git("worktree", "prune")

    def delete_branch(self, name: str) -> None:
        """Take a branch away, merged or not; nothing where there is none."""
        with self._alone():
            if branch_of(name) in self.branches():
                self.git("branch", "--quiet", "-D", branch_of(name))

    def commit(self, name: str, file: str, text: str) -> str:
        """Write a file in a worktree and commit it; the id of the commit that holds it."""
        path = self.worktree(name) / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.git("add", file, within=path.parent.parent)
        if self.git("status", "--porcelain", within=path.parent.parent):
            self.git("commit", "--quiet", "--message", f"Add {file}", within=path.parent.parent)
        return self.git("rev-parse", "HEAD", within=path.parent.parent)

    def merge(self, commit: str, into: str | None = None) -> str:
        """Merge a commit into the branch of a worktree, or into `main`; the id of what it is then."""
        within = self._repository if into is None else self.worktree(into)
        with self._alone():
            self.git("merge", "--quiet", "--no-ff", "--no-edit", commit, within=within)
            return self.git("rev-parse", "HEAD", within=within)

    # --- asking it ------------------------------------------------------------------------------------------------

    def worktrees(self) -> frozenset[str]:
        """The names of all worktrees, as `git worktree list` has them."""
        listed = self.git("worktree", "list", "--porcelain").splitlines()
        paths = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
        return frozenset(path.name for path in paths if path.parent == self._worktrees)

    def branches(self) -> frozenset[str]:
        """The names of all branches, as `git branch --list` has them."""
        return frozenset(self.git("branch", "--list", "--format=%(refname:short)").splitlines())

    def commits(self, branch: str) -> frozenset[str]:
        """The ids of all commits that a branch holds."""
        return frozenset(self.git("rev-list", branch, "--").splitlines())

    def git(self, *words: str, within: Path | None = None) -> str:
        """Run `git` with these words; what it says.

        Raises:
            RuntimeError: it ended with another status than 0; what it said is in the text.
        """
        done = subprocess.run(  # noqa: S603  fixed words, and names of our own
            ["git", *words],  # noqa: S607  whichever git the user has
            cwd=within or self._repository,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(words)}: {done.stderr.strip() or f'exit {done.returncode}'}")
        return done.stdout.strip()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block no other caller changes worktrees and branches: git gives up where it meets another one."""
        with open(self._folder / "repository.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def branch_of(name: str) -> str:
    """The branch that belongs to a name."""
    return f"{_BRANCHES}{name}"


def environment() -> Mapping[str, str]:
    """What commands of the demo run in: nothing of git's but what stands here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **_SETTINGS}


def is_installed() -> bool:
    """Whether there is a `git` to call."""
    return shutil.which("git") is not None
