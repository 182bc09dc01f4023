"""The executor: the port for all that an engine needs of the place where its store is.

Rule: the engine's side (`Engine`, `Lease`, `Batch`, workers, `sagalog.aio`) checks arguments and makes entries; the
store's side carries them out. So an engine on a store that another process keeps needs only one more executor. Knows
no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sagalog.engine.audit import RebuildReport, VerifyReport
from sagalog.engine.claims import Claimed
from sagalog.engine.command_work import Maintained
from sagalog.engine.entries import Answer, CommandEntry, Entry, JournalWrite, SettingEntry
from sagalog.engine.health import Health
from sagalog.engine.journal_values import JournalCursor
from sagalog.engine.pruning import PruneReport
from sagalog.engine.queries import Queries
from sagalog.engine.task import Task
from sagalog.errors import SagalogError
from sagalog.ports import Clock
from sagalog.store import Kept, Progress
from sagalog.validation.commands import ClaimRequest

# How long a call that waits sleeps at most before it looks again, even if no change was reported.
WAIT_SLICE_MS: Final = 50


class Executor(Protocol):
    """The port that carries out entries, answers queries and waits, and draws ids and jitter; threads may share it.

    Each of its methods may raise Unavailable (nothing was written: repeat), Unknown (repeat with the same identity) or
    Corrupt.
    """

    @property
    def store_id(self) -> str:
        """The id of the store."""
        ...

    @property
    def actor(self) -> str | None:
        """The actor on record for commands that name none."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock by which its callers wait and measure."""
        ...

    @property
    def queries(self) -> Queries:
        """The queries, which answer questions."""
        ...

    # --- drawing --------------------------------------------------------------------------------------------------

    def draw_id(self) -> str:
        """Draw a new ULID, for a task that a command may create."""
        ...

    def jitter(self) -> float:
        """Draw a number in [0, 1), for a backoff."""
        ...

    # --- carrying out ---------------------------------------------------------------------------------------------

    def carry_out(self, entry: CommandEntry) -> Task:
        """Carry out one command, in a commit of its own, and return the task afterwards. Raises the refusal."""
        ...

    def carry_out_all(self, entries: Sequence[Entry], together: bool, kept: Sequence[Kept] = ()) -> list[Answer]:
        """Carry out entries in one commit.

        Args:
            entries: in this order; at least one, or something to keep.
            together: all or none; the first refusal is raised, with the index of its command in the field `command`; a
                claim may come last. Else the entries are independent, and the refusal of one is its answer.
            kept: values to keep beside the log in that commit, whatever is there; only beside independent entries, and
                whatever becomes of these. [KEEP-2]

        Returns:
            For each entry its result.
        """
        ...

    def claim(self, request: ClaimRequest) -> Claimed:
        """Lease what is ready now, after the maintenance of its queues. [UPKEEP-2]"""
        ...

    def claim_later(self, request: ClaimRequest, timeout_ms: int) -> list[Task]:
        """Wait until there may be something to lease, and lease it; return none when the time is over.

        A timeout of 0 looks once, and writes nothing where there is nothing to lease.
        """
        ...

    def set(self, entry: SettingEntry) -> None:
        """Carry out a command on the stream of a limit, a queue or the store. Raises the refusal. [LIMIT-1]"""
        ...

    def write_journals(self, writes: Sequence[JournalWrite]) -> list[JournalCursor | SagalogError]:
        """Carry out commands on journals in one commit, each by itself. [JOURNAL-1]

        Returns:
            For each the cursor of the newest entry of its journal, that of the repeated append, or the refusal.
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

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Keep a value beside the log, as `Store.keep`; raises OverBound. [KEEP-1]"""
        ...

    # --- waiting --------------------------------------------------------------------------------------------------

    def changes(self) -> int:
        """Return a number that differs once a process has committed since."""
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

    def prune(
        self,
        older_than_ms: int,
        limit: int | None,
        queue: str | None,
        dry_run: bool,
        progress: Progress | None = None,
    ) -> PruneReport:
        """Delete bytes that nothing needs any more; the arguments are those of `Engine.prune`. [PRUNE-1]"""
        ...

    def health(self) -> Health:
        """Return the health of the store."""
        ...

    def close(self) -> None:
        """Close the store; a second call does nothing."""
        ...
