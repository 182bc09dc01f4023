"""How a store fares: its file and disk, and undos and pinned tasks that no worker comes for.

Rule: reads only, through indexes and the system, so that asking costs the same however large the store is; what is
wrong is told in words that say what to do.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sagalog.engine.builds import absent_builds
from sagalog.store import FileHealth, PinnedTasks, Store, UnclaimedUndo

# Only a reader that stays can let a WAL grow so far.
WAL_ALARM_BYTES: Final = 256 * 1024 * 1024


class Health(msgspec.Struct, frozen=True):
    """The health of a store at `now_ms`, for a monitor to look at.

    store_id    the id of the store
    writer      the newest version of sagalog that has begun to write to it [LOG-7]
    now_ms      when it was looked at, in milliseconds since 1970 by the store's clock
    file        its file and disk; None: it is kept in memory
    undos       undos that are due and that no worker has leased, by queue and kind
    errors      what an operator has to mend, a sentence each; undos and builds are none, since a worker may still come
    builds      the builds to which live tasks are pinned and that no live worker of their queue names [BUILD-4]
    """

    store_id: str
    writer: str
    now_ms: int
    file: FileHealth | None
    undos: tuple[UnclaimedUndo, ...]
    errors: tuple[str, ...]
    builds: tuple[PinnedTasks, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.errors


def health(store: Store, store_id: str, now_ms: int) -> Health:
    """Look at a store; raises Unavailable or Corrupt where it cannot be read at all."""
    file = store.file_health()
    with store.read() as snapshot:
        undos = tuple(snapshot.unclaimed(now_ms))
        builds = tuple(absent_builds(snapshot, now_ms))
        store_fold = snapshot.store()
    writer = "" if store_fold is None else store_fold.writer
    return Health(store_id, writer, now_ms, file, undos, () if file is None else tuple(_errors(file)), builds)


def _errors(file: FileHealth) -> list[str]:
    errors = []
    if file.links > 1:
        errors.append(
            f"{file.path} has {file.links} names (hard links): a process that opens another one has other locks and "
            "another WAL, and what is written then is lost; remove all names but one"
        )
    if file.checkpoint_error is not None:
        errors.append(f"the last checkpoint failed, so the WAL grows: {file.checkpoint_error}")
    if file.wal_bytes > WAL_ALARM_BYTES:
        errors.append(
            f"the WAL of {file.path} has {file.wal_bytes} bytes: some program reads an old state for long, or keeps a "
            "transaction open; find and end it"
        )
    return errors
