"""What one run of the demo leaves to be judged: the whole log, and what was seen of the processes and on the disk.

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
class Lost:
    """A worker that came to grief: what it held (task id -> fence), and its exit status."""

    name: str
    holding: Mapping[str, int]
    exit_status: int


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks look at.

    log          every event of the store, in order
    tasks        every task before the rebuild, and `rebuilt` after it, by id
    racing       names of the workers that raced; `exits` their exit statuses
    doomed       the worker that was killed; `sleeper` the one that was stopped and woken
    late         task id -> verb -> what came of it when the sleeper tried
    things       names of the resources that are still there
    """

    log: Sequence[Recorded]
    tasks: Mapping[str, Task]
    rebuilt: Mapping[str, Task]
    rebuilding: RebuildReport
    verifying: VerifyReport
    racing: Sequence[str]
    exits: Mapping[str, int]
    doomed: Lost
    sleeper: Lost
    late: Mapping[str, Mapping[str, str]]
    things: frozenset[str]

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
