"""The git repository of the demo, which handlers change and checks read, always by the command `git`.

Rule: every change can be repeated, since a handler may have been killed in the middle of it. No setting and no variable
of the user's git reaches it. Knows no store and no task.
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

# One identity and one time, so that the same work gives the same commits.
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
# Where the repository is, in the folder of the demo.
REPOSITORY: Final = "repository"
_BRANCHES: Final = "work/"

# Runs one part. A file on the disk shows that it has begun, and its exit status how it ended.
_BUILD: Final = """\
#!/bin/sh
set -eu
mkdir -p built
echo "building $1" > "built/$1"
sh "parts/$1.sh" >> "built/$1"
"""


class Repository:
    """A repository and its worktrees in one folder.

    repository      the worktree of `main`
    worktrees       one folder for each name, on the branch `work/NAME`
    """

    def __init__(self, folder: Path) -> None:
        # As git spells it, since a link may lead to the temporary folder.
        self._folder = folder.resolve()
        self._repository = self._folder / REPOSITORY
        self._worktrees = self._folder / "worktrees"

    def make(self) -> None:
        """Make the repository, with a build script in one commit on `main`."""
        self._repository.mkdir()
        self._worktrees.mkdir()
        self.git("init", "--quiet")
        self.git("symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
        (self._repository / "build.sh").write_text(_BUILD, encoding="utf-8")
        (self._repository / ".gitignore").write_text("built/\n", encoding="utf-8")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin with a build script")

    def worktree(self, name: str) -> Path:
        """Name the folder of a worktree, whether it exists or not."""
        return self._worktrees / name

    def folders(self) -> frozenset[str]:
        """List the folders among the worktrees, whether git knows them or not."""
        return frozenset(path.name for path in self._worktrees.iterdir())

    # --- changing it ----------------------------------------------------------------------------------------------

    def add_branch(self, name: str) -> str:
        """Make a branch from `main`, unless it exists; return its name."""
        branch = branch_of(name)
        with self._alone():
            if branch not in self.branches():
                self.git("branch", "--no-track", branch, MAIN)
        return branch

    def add_worktree(self, name: str) -> str:
        """Make a worktree on the branch of this name, unless it exists; return its path."""
        path = self.worktree(name)
        with self._alone():
            if name not in self.worktrees():
                # A worker that was killed may have left half of it.
                shutil.rmtree(path, ignore_errors=True)
                self.git("worktree", "prune")
                self.git("worktree", "add", "--quiet", str(path), branch_of(name))
        return str(path)

    def remove_worktree(self, name: str) -> None:
        """Remove a worktree with all that is in it, if it exists."""
        with self._alone():
            if name in self.worktrees():
                self.git("worktree", "remove", "--force", str(self.worktree(name)))
            shutil.rmtree(self.worktree(name), ignore_errors=True)
            self.git("worktree", "prune")

    def delete_branch(self, name: str) -> None:
        """Delete a branch, merged or not, if it exists."""
        with self._alone():
            if branch_of(name) in self.branches():
                self.git("branch", "--quiet", "-D", branch_of(name))

    def commit(self, name: str, file: str, text: str) -> str:
        """Write a file in a worktree and commit it, unless it is committed; return the id of the commit."""
        path = self.worktree(name) / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.git("add", file, within=path.parent.parent)
        if self.git("status", "--porcelain", within=path.parent.parent):
            self.git("commit", "--quiet", "--message", f"Add {file}", within=path.parent.parent)
        return self.git("rev-parse", "HEAD", within=path.parent.parent)

    def merge(self, commit: str, into: str | None = None) -> str:
        """Merge a commit into the branch of a worktree, or into `main`; return the id of its newest commit."""
        within = self._repository if into is None else self.worktree(into)
        with self._alone():
            self.git("merge", "--quiet", "--no-ff", "--no-edit", commit, within=within)
            return self.git("rev-parse", "HEAD", within=within)

    # --- asking it ------------------------------------------------------------------------------------------------

    def worktrees(self) -> frozenset[str]:
        """List the names of all worktrees, as `git worktree list` gives them."""
        listed = self.git("worktree", "list", "--porcelain").splitlines()
        paths = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
        return frozenset(path.name for path in paths if path.parent == self._worktrees)

    def branches(self) -> frozenset[str]:
        """List the names of all branches, as `git branch --list` gives them."""
        return frozenset(self.git("branch", "--list", "--format=%(refname:short)").splitlines())

    def commits(self, branch: str) -> frozenset[str]:
        """List the ids of all commits that a branch holds."""
        return frozenset(self.git("rev-list", branch, "--").splitlines())

    def git(self, *words: str, within: Path | None = None) -> str:
        """Run `git` with these words; return its output.

        Raises:
            RuntimeError: it ended with another status than 0; the text holds its error.
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
        """Keep other callers from changing worktrees and branches within the block: git fails where two meet."""
        with open(self._folder / "repository.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def branch_of(name: str) -> str:
    """Give the branch that belongs to a name."""
    return f"{_BRANCHES}{name}"


def environment() -> Mapping[str, str]:
    """Give the environment of the demo's commands: of the variables of git it holds only `_SETTINGS`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **_SETTINGS}


def is_installed() -> bool:
    """Tell whether there is a command `git`."""
    return shutil.which("git") is not None
