"""The errors of the driver and the system, turned into errors on which a caller can act.

Rule: no error of the driver leaves this package. The store raises one of `sagalog.errors` in its place: the text says
what to do next, and the driver's own error is the cause. It must not know what the store was writing.
"""

from __future__ import annotations

import os
from typing import Final

import apsw

from sagalog.errors import Closed, Corrupt, SagalogError, Unavailable, Unknown

_DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)
# The file is sound, but is not what its migrations say: another program has changed its tables.
_FOREIGN: Final = (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError)

_ADVICE: Final[tuple[tuple[type[apsw.Error], str], ...]] = (
    (apsw.FullError, "the disk is full; make room, then repeat the call"),
    (apsw.BusyError, "another program keeps it locked; wait for that program, or stop it, then repeat the call"),
    (apsw.ReadOnlyError, "it cannot be written; see to the rights of the file, its folder and its -wal and -shm"),
    (apsw.PermissionsError, "the rights do not allow it; see to the owner and mode of the file and its folder"),
    (apsw.CantOpenError, "it cannot be opened; see to the folder, its rights and the limit of open files"),
    (apsw.NoMemError, "there is not enough memory; repeat the call when there is"),
    (apsw.IOError, "reading or writing failed; see to the disk and its log, then repeat the call"),
    (apsw.ProtocolError, "the locks of the file are contended or do not work; is it on a local disk?"),
    (apsw.InterruptError, "the call was interrupted; repeat it"),
)

# Where SQLite's exact name says more than its class: on a full disk nothing can be read either, for want of a -shm.
_ADVICE_BY_NAME: Final = {
    "SQLITE_IOERR_SHMSIZE": "there is no room for its -shm, perhaps the disk is full; make room, then repeat the call",
}


def store_error(error: apsw.Error, path: str) -> SagalogError:
    """Make the error to raise where nothing was written; raise it `from` the driver's."""
    if isinstance(error, apsw.NotADBError):
        return Corrupt(
            f"{path} is no SQLite file ({name_of(error)}: {error}): is the path right? If it was a store, stop, "
            "keep the file with its -wal, and restore a backup",
            path=path,
        )
    if isinstance(error, _DAMAGED):
        return Corrupt(
            f"{path} is damaged ({name_of(error)}: {error}); stop, keep the file with its -wal, and restore a backup",
            path=path,
        )
    if isinstance(error, _FOREIGN):
        return Corrupt(
            f"the tables of {path} are not what this version of sagalog made ({name_of(error)}: {error}); "
            "find out who changed them, or restore a backup",
            path=path,
        )
    if isinstance(error, apsw.ConnectionClosedError):
        return Closed(f"the store {path} was closed; open it again", path=path)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "see to the cause, then repeat the call")
    advice = _ADVICE_BY_NAME.get(name_of(error), advice)
    return Unavailable(f"{path}: {advice} ({name_of(error)}: {error})", path=path)


def commit_error(error: apsw.Error, path: str) -> SagalogError:
    """Make the error for a COMMIT that failed: as `store_error` only where SQLite promises that nothing was written.

    SQLite rolls the transaction back if the disk is full or it does not get a lock. After any other failure the frames
    may be in the WAL, and the process that recovers it may or may not find them.
    """
    if isinstance(error, (apsw.FullError, apsw.BusyError, *_DAMAGED)):
        return store_error(error, path)
    return Unknown(
        f"{path}: the commit failed half-way ({name_of(error)}: {error}) and may have been written; "
        "see to the disk, then repeat the call with the same identity",
        path=path,
    )


def system_error(error: OSError, path: str) -> Unavailable:
    """Make the error for one of the operating system on the way to the file."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = error.filename or path
    return Unavailable(f"cannot open {path}: {reason} ({where}); mend that, then open it again", path=path)


def name_of(error: apsw.Error) -> str:
    """Return SQLite's own name of an error, the most exact one."""
    codes = (apsw.mapping_extended_result_codes, apsw.mapping_result_codes)
    numbers = (getattr(error, "extendedresult", None), getattr(error, "result", None))
    for mapping, number in zip(codes, numbers, strict=True):
        if number in mapping:
            return str(mapping[number])
    return type(error).__name__
