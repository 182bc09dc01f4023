"""The candidates: the tasks that a claim or maintenance would find in a consistent state.

Rule: a store finds them by their saved rows, through indexes, whatever the number of tasks. Knows no event.
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


class PinnedTasks(msgspec.Struct, frozen=True):
    """The tasks of a queue that are pinned to a build and wait for a worker of it, now or later. [BUILD-4]

    build       the build that its workers name
    queue       the queue
    tasks       how many tasks are neither leased nor being undone nor over; at most `UNCLAIMED_MAX` are counted
    """

    build: str
    queue: str
    tasks: int


class Delayed(NamedTuple):
    """A task that waits for a time, as its row says; the kernel compares that with its events.

    version    of its last event
    wait_ms    for how long it was to wait from that event on
    """

    task: str
    queue: str
    version: int
    wait_ms: int


# A store counts no further, so that the question costs the same however many there are.
UNCLAIMED_MAX: Final = 1_000


class Candidates(Protocol):
    """The tasks that a worker may claim now or later, and those that are due."""

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """List the live tasks whose lease is over by the clock and has not ended yet, oldest expiry first."""
        ...

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """List the tasks whose wait may be over, in the order of `View.waits_over`."""
        ...

    def deadlines_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """List the tasks whose `Row.cancel_ms` has come, the earliest first. [DEADLINE-2]"""
        ...

    def behind(self, now_ms: int) -> list[TaskFold]:
        """List the leased tasks whose last renewal is in the future of `now_ms`: the clock has stepped back. [TIME-3]

        In order of creation, without leases that never expire: they need no clock.
        """
        ...

    def delayed(self, now_ms: int) -> list[Delayed]:
        """List all tasks that wait for a time, and whose last event is in the future of `now_ms`. [TIME-3]

        In order of that time, then of creation. A store finds them by `Row.updated_ms`, so the cost grows with the
        tasks ahead of the clock, which are nearly always none, and not with the number of delayed tasks.
        """
        ...

    def standing(self, claim: Claim) -> list[str]:
        """List the ids of the tasks that such a claim would take now, in its order, without any maintenance."""
        ...

    def claimable_ms(self, claim: Claim) -> int | None:
        """Return from when on such a claim may find something, as known now; None: not before a caller commits.

        0 where `standing` would find something, a task of its queues is at the gate `waking`, or dependants or children
        of any task are due; else the earliest time at which a task of its queues becomes due, or maintenance has to
        check a lease, wait or deadline there, perhaps of another kind than the claim's, or an account. That time may
        have passed.
        """
        ...

    def accounts_due_ms(self) -> int | None:
        """Return when maintenance has to look at the first account; None: at none, as known now. [LIMIT-5]"""
        ...

    def accounts_since_ms(self) -> int | None:
        """Return when such a time was set last; a clock that was set back behind that makes accounts due. [LIMIT-8]"""
        ...

    def ready_kinds(self, queues: tuple[str, ...], build: str | None, limit: int) -> list[str]:
        """List the kinds of the tasks at the gate `ready` of these queues, sorted; of each queue the first `limit`.

        Of the tasks that are pinned to no build, and with `build` those that are pinned to that, `limit` again.
        """
        ...

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """List the ids of the compensating tasks that no worker holds and that maintenance quarantines. [UNDO-2]

        In order of creation: those whose undo has waited for longer than their policy allows, and those that owe a kind
        which is among `unknown`, or not among `known` (None: all are), whether it is due or not.
        """
        ...

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """List the undos that are due and that no worker has leased, by queue, then kind.

        The cost grows with queues and kinds, not with tasks.
        """
        ...

    def pinned(self) -> list[PinnedTasks]:
        """List the builds to which pending tasks are pinned, whatever their gate, by build, then queue. [BUILD-4]

        The cost grows with builds and queues, not with tasks.
        """
        ...
