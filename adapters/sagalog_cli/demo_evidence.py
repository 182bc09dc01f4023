"""What one run of the demo leaves to be judged: the whole log, and what was seen of processes, in git and on the disk.

Rule: facts only, no judgement (`demo_checks`) and no words for people (`demo_report`). A test makes its own, in which
something did not happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sagalog import RebuildReport, Recorded, Task, VerifyReport
from sagalog.kernel import events as e

# Which events end a lease, said once more and on purpose: an audit that asked the engine would audit nothing.
_ENDING: Final = (
    e.Released,
    e.Parked,
    e.LeaseExpired,
    e.Retried,
    e.Failed,
    e.Cancelled,
    e.CompensationFailed,
    e.Compensated,
    e.Completed,
    e.Quarantined,
)


@dataclass(frozen=True)
class Killed:
    """The worker that was killed, its process, and its exit status: negative for a signal."""

    name: str
    pid: int
    exit_status: int


@dataclass(frozen=True)
class Effect:
    """One line of the journal: the effect of a step began, in this process."""

    task: str
    step: str
    pid: int


@dataclass(frozen=True)
class Kept:
    """What git and the disk hold at the end.

    worktrees   names of those that `git worktree list` has; `folders` of those that are on the disk
    branches    those that `git branch --list` has; `commits` branch -> ids of all commits that it holds
    """

    worktrees: frozenset[str]
    folders: frozenset[str]
    branches: frozenset[str]
    commits: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks look at.

    log          every event of the store, in order
    tasks        every task before the rebuild, and `rebuilt` after it, by id
    killed       the worker that was killed; `exits` name -> exit status, of all workers
    slept        the fence of the lease beyond which the sleeper slept
    late         verb -> what came of it when the sleeper tried it afterwards
    journal      the effects of steps in the order in which they began
    kept         what is left of them
    """

    log: Sequence[Recorded]
    tasks: Mapping[str, Task]
    rebuilt: Mapping[str, Task]
    rebuilding: RebuildReport
    verifying: VerifyReport
    killed: Killed
    exits: Mapping[str, int]
    slept: int
    late: Mapping[str, str]
    journal: Sequence[Effect]
    kept: Kept

    @property
    def histories(self) -> dict[str, list[Recorded]]:
        """Task id -> its events, in order."""
        found: dict[str, list[Recorded]] = {}
        for one in self.log:
            category, _, id = one.stream.partition("/")
            if category == "task":
                found.setdefault(id, []).append(one)
        return found


@dataclass(frozen=True)
class Held:
    """One lease as the log tells it: how it began, what its holder wrote, and how it ended (None: it did not)."""

    leased: Recorded
    lease: e.Leased
    written: tuple[Recorded, ...] = ()
    ended: Recorded | None = None


def leases_of(history: Iterable[Recorded]) -> list[Held]:
    """The leases of one task, in order; where one began before the last had ended, the last stays open."""
    found: list[Held] = []
    for one in history:
        if isinstance(one.event, e.Leased):
            found.append(Held(one, one.event))
        elif found and found[-1].ended is None:
            held = found[-1]
            ended = one if isinstance(one.event, _ENDING) else None
            found[-1] = Held(held.leased, held.lease, (*held.written, one), ended)
    return found
