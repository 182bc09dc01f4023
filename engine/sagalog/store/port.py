"""The store port: everything that an engine needs of a store.

Rule: methods are operations of the domain and state their promise and their errors. Polling is always right; a wake-up
only makes it sooner. Knows no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from sagalog.ports import Clock
from sagalog.store.audits import Audit
from sagalog.store.candidates import Candidates
from sagalog.store.operation import Operation
from sagalog.store.reads import Reads


class Progress(Protocol):
    """A caller's function that hears how far long work is.

    The work calls it as `progress(done, total)`, from its own thread and outside every transaction.
    """

    def __call__(self, done: int, total: int, /) -> object:
        """Take note that `done` of `total` parts are done; what it returns does not matter."""
        ...


class FileHealth(msgspec.Struct, frozen=True):
    """The state of a store's file and of its disk.

    path, durability    as the store was opened
    wal_bytes           bytes that are written and not moved into the file yet: some megabytes, more beside a long
                        reader
    checkpointed_ms     when a checkpoint of any process last wrote the file, by the system's clock
    checkpoint_error    the error of the last checkpoint of this process; None if it succeeded, or there was none
    links               how many names the file has; if more than one, each has its own locks and WAL, and writes get
                        lost
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
    """A consistent state for reading, fixed no later than its first look; it blocks no writer.

    Methods that list tasks leave out those that cannot be folded, unless their text says otherwise.
    """


class Store(Protocol):
    """The log and the projections, which change together or not at all.

    Several threads may use one handle at the same time. Once it is closed, every method but `close` raises Closed.
    """

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out the operations in order in one transaction, all durable when this returns.

        The store first locks all that they declare, in the order of names, and then reads the clock. Where one of them
        asks for what it has not declared, the store writes nothing and runs all again with that declared as well. After
        8 rounds, or 1,024 names that an operation has not declared at first, its answer is OverBound. [BOUND-5]

        Returns:
            For each operation its answer, or the SagalogError of its refusal; a refusal undoes nothing else.

        Raises:
            Unavailable: nothing of any operation was written; wait and repeat.
            Unknown: it may have been written; repeat with the same identities.
            Corrupt: the file is damaged or of a newer format; nothing was written.
            Exception: whatever else an operation's function raises; nothing was written.
        """
        ...

    def read(self) -> AbstractContextManager[Snapshot]:
        """Give a snapshot, for use within the block.

        Raises:
            Unavailable, Corrupt: as `commit`.
        """
        ...

    def rebuild(self, progress: Progress | None = None) -> int:
        """Throw away every projection, fold it afresh from the log, and give the number of tasks.

        A task that cannot be folded counts too, and gets the gate `unreadable`, whether it had a row or not.
        What `progress` raises is raised here: what was folded before it stays so, and all else is as it was.

        Args:
            progress: called with how much is done, and how much there was to do at the beginning, in the store's own
                units: streams, and tags.

        Raises:
            Unavailable, Corrupt: as `commit`.
        """
        ...

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Keep a value beside the log under a name of a space, durably, if `expected` is kept there now. [KEEP-1]

        Args:
            space: what the names are of; a name of another space is another one.
            expected: the value that is to be there, compared as text; None: none.
            value: JSON as text, of 65,536 bytes at most, which the engine has checked; None: remove what is there.

        Returns:
            Whether it was; False: another value is there, or none, and nothing was written.

        Raises:
            Unavailable, Unknown, Corrupt: as `commit`.
        """
        ...

    def changes(self) -> int:
        """Return a number that differs once any handle has committed events since; what is kept need not count."""
        ...

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over, by the machine's own clock.

        Raises:
            Closed: this handle was closed, also while it waited.
        """
        ...

    def file_health(self) -> FileHealth | None:
        """Return the condition of its file and disk; None where there is no file.

        Raises:
            Unavailable: another program has moved or removed the file.
        """
        ...

    def close(self) -> None:
        """Release everything; a second call does nothing."""
        ...


class OpenStore(Protocol):
    """`open_store` of a package that is called `sagalog_<scheme>`, or what an entry point of `sagalog.stores` names."""

    def __call__(self, url: str, *, create: bool, clock: Clock, durability: str) -> Store:
        """Open the store that `url` names; with `create`, make an absent one. `durability` is "full" or "normal".

        Raises:
            Unavailable, Corrupt: it cannot be opened, or is not a store this version can write.
            ValueError: the URL or the durability is not of this store's form.
        """
        ...
