"""The store port: everything that an engine needs of a store.

Rule: methods are operations of the domain and state their promise and their errors. Nothing here knows a database.
Polling is always right; being woken only makes it sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from sagalog.ports import Clock
from sagalog.store.audits import Audit
from sagalog.store.candidates import Candidates
from sagalog.store.operation import Operation
from sagalog.store.reads import Reads

# What long work calls with how much of it is done, and how much there is: first with none, last with all, never with
# less than before. Between two slices of the work, in the thread that does it, and outside every transaction and
# snapshot; what it raises ends the work.
Progress = Callable[[int, int], object]


class FileHealth(msgspec.Struct, frozen=True):
    """The state of a store's file and of its disk.

    path, durability    as the store was opened
    wal_bytes           bytes that are written and not moved into the file yet: some megabytes, more beside a long
                        reader
    checkpointed_ms     when a checkpoint of any process last wrote the file, by the system's clock
    checkpoint_error    what the last checkpoint of this process met; None if that went well, or there was none
    links               names of the file; with more than one, each has locks and a WAL of its own, and writes are lost
    free_bytes          room on the disk that the user of this process may fill
    """

    path: str
    durability: str
    wal_bytes: int
    checkpointed_ms: int
    checkpoint_error: str | None
    links: int
    free_bytes: int


class Snapshot(Reads, Candidates, Audit, Protocol):
    """A consistent state for reading, fixed at its first look at the latest; blocks no writer.

    What lists tasks leaves out those that cannot be folded, unless it says otherwise.
    """


class Store(Protocol):
    """Keeps the log and the projections, and moves them together or not at all.

    Several threads use one handle at the same time. Once it is closed, every method but `close` raises Closed.
    """

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry the operations out in order in one transaction, all durable when this returns.

        All that they declare is locked first, in the order of names, and then the clock is read. Where one of them asks
        for what it has not declared, nothing is written, and all are carried out anew with that declared as well; after
        8 rounds, or 1,024 names that one has not declared at first, its answer is OverBound. [BOUND-5]

        Returns:
            For each operation its answer, or the SagalogError by which it was refused; a refusal undoes nothing else.

        Raises:
            Unavailable: nothing of any operation was written; wait and repeat.
            Unknown: it may have been written; repeat with the same identities.
            Corrupt: the file is damaged or of a newer format; nothing was written.
            Exception: whatever else an operation's function raises; nothing was written.
        """
        ...

    def read(self) -> AbstractContextManager[Snapshot]:
        """A snapshot, to be used within the block.

        Raises:
            Unavailable, Corrupt: as `commit`.
        """
        ...

    def rebuild(self, progress: Progress | None = None) -> int:
        """Throw away every projection, fold it afresh from the log, and give the number of tasks.

        A task that cannot be folded counts too, and gets the gate `unreadable`, whether it had a row or not.
        What `progress` raises is raised here: what was folded before it stays so, and all else is as it was.

        Args:
            progress: called with how many streams were folded, and how many there were at the beginning.

        Raises:
            Unavailable, Corrupt: as `commit`.
        """
        ...

    def save_checkpoint(self, name: str, expected: int | None, position: int) -> bool:
        """Move the checkpoint of a subscription from `expected` (None: none yet) to `position`, durably. [SUBSCRIBE-3]

        Returns:
            Whether it was moved; False: it stands elsewhere, and nothing was written.

        Raises:
            Unavailable, Unknown, Corrupt: as `commit`.
        """
        ...

    def changes(self) -> int:
        """A number that differs once any handle has committed events since; saved checkpoints need not count."""
        ...

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over, by the machine's own clock.

        Raises:
            Closed: this handle was closed, also while it waited.
        """
        ...

    def file_health(self) -> FileHealth | None:
        """How its file and disk stand; None where there is no file.

        Raises:
            Unavailable: it was moved or taken away.
        """
        ...

    def close(self) -> None:
        """Give everything back; a second time does nothing."""
        ...


class OpenStore(Protocol):
    """What an entry point of the group `sagalog.stores` names."""

    def __call__(self, url: str, *, create: bool, clock: Clock, durability: str) -> Store:
        """Open the store that `url` names; an absent one is made if `create`. `durability` is "full" or "normal".

        Raises:
            Unavailable, Corrupt: it cannot be opened, or is not a store this version can write.
            ValueError: the URL or the durability is not of this store's form.
        """
        ...
