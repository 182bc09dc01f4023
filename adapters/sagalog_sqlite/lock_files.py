"""The two lock files of a ticket: how they are made, locked, signed and read.

Its one rule: a lock that was taken is given back on every way out, and nothing about the pids written into the
files may ever cost a turn. A pid counts only while its file is locked; who has gone may leave it there.

`<path>.next` is the head of the queue, `<path>.turn` the right to write. The order is always next, then turn. An
flock belongs to the open file: it never excludes its own descriptor, it falls with the last descriptor of that
open file (so with the process, however it dies), and closing some other descriptor of the same file drops nothing.

It must not know threads, deadlines, or what the path leads to.
"""

import contextlib
import fcntl
import os
import time

_TAKE = fcntl.LOCK_EX
_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB
_FREE = fcntl.LOCK_UN

_SIGNATURE_BYTES = 11  # a pid, padded so that a shorter one covers a longer one, and a line's end
_STEP_BACK_S = 0.00002  # the kernel makes it about 0.1 ms; a woken waiter needs 0.01 to 0.03


class LockFiles:
    """Both lock files, open. For one thread at a time, except `close` and `holder_pid`.

    Creates what is missing with mode 0600 whatever the umask; a file that exists keeps the mode that an operator
    gave it. Nothing is ever deleted: a lock on a deleted file excludes no other process. Raises OSError as it comes:
    no permission, or a symbolic link in the place of a lock file (the pid would be written over its target).
    """

    def __init__(self, path: str) -> None:
        self._paths = (path + ".turn", path + ".next")
        self._signature = str(os.getpid()).ljust(_SIGNATURE_BYTES - 1).encode() + b"\n"
        self._turn = _open(self._paths[0], path)
        try:
            self._next = _open(self._paths[1], path)
        except BaseException:
            os.close(self._turn)
            raise

    def try_turn(self) -> bool:
        """Take the turn if it is free and no other process stands before us; do not wait."""
        # Not even a free turn is taken without `next`: the head of the queue would be overtaken.
        try:
            fcntl.flock(self._next, _TRY)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._turn, _TRY)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._next, _FREE)
        self._sign(self._turn)
        return True

    def wait_turn(self) -> None:
        """Take the turn, however long it takes; the caller signs it."""
        if _try(self._next):
            try:
                if _try(self._turn):
                    return
            finally:
                fcntl.flock(self._next, _FREE)
            # Here no process seems to wait, but the next one may just be waking up: for some microseconds after
            # `next` is freed the kernel lets a newcomer slip in. So we step back once and join behind it.
            time.sleep(_STEP_BACK_S)
        fcntl.flock(self._next, _TAKE)
        try:
            self._sign(self._next)
            fcntl.flock(self._turn, _TAKE)
        finally:
            fcntl.flock(self._next, _FREE)

    def sign_turn(self) -> None:
        """Leave our pid where those look who have waited too long."""
        self._sign(self._turn)

    def free_turn(self) -> None:
        """Give the turn, which we have, to the process that waits for it, if one does."""
        fcntl.flock(self._turn, _FREE)

    def drop(self) -> None:
        """Free what we have, if anything. What is written there is let be: it may be another's."""
        if self._turn >= 0:
            fcntl.flock(self._turn, _FREE)
            fcntl.flock(self._next, _FREE)

    def holder_pid(self) -> int | None:
        """Who is in the way: the pid of who has the turn, else of the head of the queue; None if unknown.

        A head that is stopped between the two locks holds up every other process while none has the turn. The
        pid may be an earlier holder's where the new one could not write, or was stopped before it did.
        """
        with contextlib.suppress(OSError):
            if holder := _pid_if_locked(self._paths[0]):
                return holder
            head = _pid_if_locked(self._paths[1])
            return head if head != os.getpid() else None  # we are at the head ourselves: in no caller's way
        return None

    def _sign(self, descriptor: int) -> None:
        # Read first and written only where another's stands: a write, however small, makes the file system's journal
        # wait for it at the next sync. And a full disk is no reason to lose a turn: the pid is a courtesy.
        try:
            if os.pread(descriptor, _SIGNATURE_BYTES, 0) != self._signature:
                os.pwrite(descriptor, self._signature, 0)
        except OSError:
            pass  # and no context manager, which would cost more than the question

    def __del__(self) -> None:
        # A store that was dropped and never closed must not keep its descriptors, nor a lock, for ever.
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def close(self) -> None:
        """Close both; what they had locked is free. Nothing happens the second time."""
        # The numbers are forgotten first: a closed one may be given to another file at any moment.
        descriptors = (self._turn, self._next)
        self._turn = self._next = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def _open(lock_path: str, path: str) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(lock_path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(lock_path, flags)
    try:
        os.fchmod(descriptor, 0o600)
        _give_to_owner(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _give_to_owner(descriptor: int, path: str) -> None:
    """Made by root on a visit, a lock file would shut the owner out of what it guards."""
    if os.geteuid() == 0:
        with contextlib.suppress(FileNotFoundError):
            owner = os.stat(path)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, _TRY)
    except BlockingIOError:
        return False
    return True


def _pid_if_locked(lock_path: str) -> int | None:
    # On a descriptor of its own, which our other ones do exclude.
    descriptor = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        signature = os.pread(descriptor, _SIGNATURE_BYTES, 0).strip()
        return int(signature) if signature.isdigit() else None
    finally:
        os.close(descriptor)
    return None
