"""Candidates: which tasks a claim or maintenance would find in a consistent state.

Rule: they are found by what is saved beside the log, through indexes, whatever the number of tasks.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import msgspec

from sagalog.kernel.state import TaskFold
from sagalog.store.operation import Claim


class UnclaimedUndo(msgspec.Struct, frozen=True):
    """The undos of one kind in a queue that are due and that no worker has leased.

    queue       the queue of their tasks
    kind        the kind of the compensations
    tasks       how many tasks owe one; at most `UNCLAIMED_MAX` of those that owe the same kinds are counted
    since_ms    when the one that waits longest became due, in milliseconds since 1970
    """

    queue: str
    kind: str
    tasks: int
    since_ms: int


class Delayed(NamedTuple):
    """A task that waits for a time, as it stands saved; the kernel compares that with its events.

    version    of its last event
    wait_ms    for how long it was to wait from that event on
    """

    task: str
    queue: str
    version: int
    wait_ms: int


# Counting goes on no further, so that asking costs the same however many there are.
UNCLAIMED_MAX: Final = 1_000


class Candidates(Protocol):
    """What may be claimed now or later, and what is due."""

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Live tasks whose lease is over by the clock and was not ended yet, oldest expiry first."""
        ...

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Tasks whose wait may be over, in the order of `View.waits_over`."""
        ...

    def behind(self, now_ms: int) -> list[TaskFold]:
        """Leased tasks whose last renewal lies in the future of `now_ms`: the clock has stepped back. [TIME-3]

        In order of creation. A lease that never expires is left out: no clock has to say when it is over.
        """
        ...

    def delayed(self, now_ms: int) -> list[Delayed]:
        """All tasks that wait for a time, and whose last event lies in the future of `now_ms`. [TIME-3]

        In order of that time, then of creation. They are found by `Row.updated_ms`, so a look costs by what lies ahead
        of the clock, which is nearly always nothing, and not by how many tasks are delayed.
        """
        ...

    def standing(self, claim: Claim) -> list[str]:
        """Ids of the tasks that such a claim would take now, in its order, without any upkeep."""
        ...

    def claimable_ms(self, claim: Claim) -> int | None:
        """From when on such a claim may find something, as far as can be told now; None: not before a caller commits.

        0 where `standing` would find something, or a task of its queues stands at the gate `waking`; else the earliest
        time at which a task of its queues becomes due, or a lease or wait there has to be looked at, perhaps of another
        kind than is claimed. That time may have passed.
        """
        ...

    def ready_kinds(self, queues: tuple[str, ...], limit: int) -> list[str]:
        """The kinds of the tasks at the gate `ready` of these queues, sorted; of each queue the first `limit` kinds."""
        ...

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """Ids of the compensating tasks that no worker holds and that upkeep gives up, in order of creation. [UNDO-2]

        Those whose undo has waited for longer than their policy allows, and those that owe a kind which is among
        `unknown`, or not among `known` (None: all are), whether it is due or not.
        """
        ...

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """Undos that are due and that no worker has leased, by queue, then kind.

        It costs by queues and kinds, not by tasks.
        """
        ...
