"""What one run of the demo leaves to be checked: the whole log, and what the demo saw of processes, git and the disk.

Rule: facts only, no judgement (`checks`) and no words for people (`report`). A test makes evidence of its own, in which
one thing went wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sagalog import RebuildReport, Recorded, Task, VerifyReport


@dataclass(frozen=True)
class KilledWorker:
    """The worker that was killed, its process, and its exit status: negative for a signal."""

    name: str
    pid: int
    exit_status: int


@dataclass(frozen=True)
class StepRun:
    """One line of the journal: a step of a task began its work in this process."""

    task: str
    step: str
    pid: int


@dataclass(frozen=True)
class RepositoryState:
    """What git and the disk hold at the end.

    worktrees   names that `git worktree list` gives; `folders` names of those that are on the disk
    branches    those that `git branch --list` gives; `commits` branch -> ids of all its commits
    """

    worktrees: frozenset[str]
    folders: frozenset[str]
    branches: frozenset[str]
    commits: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at.

    log           every event of the store, in order
    tasks         every task before the rebuild, and `rebuilt` after it, by id
    killed        the worker that was killed; `exits` name -> exit status, of all workers
    late_fence    the fence of the lease that its holder let expire
    late_writes   verb -> how the store answered the late holder
    journal       the runs of steps, in the order in which they began
    repository    what git and the disk hold
    """

    log: Sequence[Recorded]
    tasks: Mapping[str, Task]
    rebuilt: Mapping[str, Task]
    rebuilding: RebuildReport
    verifying: VerifyReport
    killed: KilledWorker
    exits: Mapping[str, int]
    late_fence: int
    late_writes: Mapping[str, str]
    journal: Sequence[StepRun]
    repository: RepositoryState

    @property
    def histories(self) -> dict[str, list[Recorded]]:
        """Task id -> its events, in order."""
        found: dict[str, list[Recorded]] = {}
        for one in self.log:
            category, _, id = one.stream.partition("/")
            if category == "task":
                found.setdefault(id, []).append(one)
        return found
