"""The executor: what an engine needs of the place where its store is, and the only way to that.

Rule: whatever stands before it (`Engine`, `Lease`, `Batch`, workers, `sagalog.aio`) checks arguments and makes entries;
whatever stands behind it carries them out. So an engine on a store that another process keeps is one more executor.
This file says what is asked of one, and knows no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sagalog.engine.audit import RebuildReport, VerifyReport
from sagalog.engine.claims import Claimed
from sagalog.engine.entries import Answer, CommandEntry, Entry
from sagalog.engine.health import Health
from sagalog.engine.queries import Queries
from sagalog.engine.task import Task
from sagalog.engine.unit_of_work import Maintained
from sagalog.ports import Clock
from sagalog.store import Progress
from sagalog.validation.commands import ClaimRequest

# How long a call that waits sleeps at most before it looks again, whatever it was told of changes.
WAIT_SLICE_MS: Final = 50


class Executor(Protocol):
    """Carries out entries, answers queries and waits, draws ids and jitter. Safe to share between threads.

    Whatever it does may raise Unavailable (nothing was written: repeat), Unknown (repeat with the same identity) or
    Corrupt.
    """

    @property
    def store_id(self) -> str:
        """The id of the store."""
        ...

    @property
    def actor(self) -> str | None:
        """Who is on record for commands that name no actor."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock by which its callers wait and measure."""
        ...

    @property
    def queries(self) -> Queries:
        """What answers questions."""
        ...

    # --- drawing --------------------------------------------------------------------------------------------------

    def draw_id(self) -> str:
        """A new ULID, for a task that a command may create."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1), for a backoff."""
        ...

    # --- carrying out ---------------------------------------------------------------------------------------------

    def carry_out(self, entry: CommandEntry) -> Task:
        """Carry out one command, in a commit of its own; the task afterwards. Raises the refusal."""
        ...

    def carry_out_all(self, entries: Sequence[Entry], together: bool) -> list[Answer]:
        """Carry out entries in one commit.

        Args:
            entries: in this order; at least one.
            together: all or none, and the first refusal is raised, with the index of its command in the field
                `command`; a claim may come last. Else each stands by itself, and its refusal is its answer.

        Returns:
            For each entry what became of it.
        """
        ...

    def claim(self, request: ClaimRequest) -> Claimed:
        """Lease what there is to be leased now, after the maintenance of its queues. [UPKEEP-2]"""
        ...

    def claim_later(self, request: ClaimRequest, timeout_ms: int) -> list[Task]:
        """Wait until there may be something to lease, and lease it; none when the time is over.

        A timeout of 0 looks once, and writes nothing where there is nothing to lease.
        """
        ...

    def recover(
        self,
        limit: int | None,
        queues: tuple[str, ...] | None,
        unknown_kinds: frozenset[str],
        known_kinds: frozenset[str] | None,
    ) -> list[Maintained]:
        """Do all maintenance that is due; the arguments are those of `Engine.recover`. [UPKEEP-1]"""
        ...

    def save_checkpoint(self, name: str, expected: int | None, position: int) -> bool:
        """Move a checkpoint, as `Store.save_checkpoint`. [SUBSCRIBE-3]"""
        ...

    # --- waiting --------------------------------------------------------------------------------------------------

    def changes(self) -> int:
        """A number that differs once a process has committed since."""
        ...

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        ...

    # --- the store as a whole -------------------------------------------------------------------------------------

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Audit the log and every projection against it; `progress` as `Engine.verify` says. [LOG-4]"""
        ...

    def rebuild(self, progress: Progress | None = None) -> RebuildReport:
        """Fold every projection afresh from the log; `progress` as `Engine.rebuild` says."""
        ...

    def health(self) -> Health:
        """How the store fares."""
        ...

    def close(self) -> None:
        """Give the store back; a second time does nothing."""
        ...
