"""The two files of a ticket lock: how a process makes, locks, signs and reads them.

Rule: a process gives back a lock that it has taken on every way out, and the pids in the files never cost a turn. A pid
counts only while its file is locked; a process that has ended may leave it there.

`<path>.next` is the head of the queue, `<path>.turn` the right to write. The order is always next, then turn. An flock
belongs to the open file: it never excludes its own descriptor. It falls with the last descriptor of that open file, so
with the process, however the process dies. Closing another descriptor of the same file drops nothing.

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
_STEP_BACK_S = 0.00002  # the kernel makes it about 0.1 ms; a woken process needs 0.01 to 0.03 ms


class LockFiles:
    """Both lock files, open. For one thread at a time, except `close` and `holder_pid`.

    It creates missing files with mode 0600 whatever the umask; a file that exists keeps the mode that an operator gave
    it. No process deletes them: a lock on a deleted file excludes no other process. OSErrors pass through, as where
    permission is missing. A symbolic link in the place of a lock file is refused too: the pid would overwrite its
    target.
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
        """Take the turn if it is free and no other process is before this one; do not wait."""
        # Take even a free turn only with `next`, or this process would overtake the head of the queue.
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
        """Take the turn, however long that takes; the caller signs it."""
        if _try(self._next):
            try:
                if _try(self._turn):
                    return
            finally:
                fcntl.flock(self._next, _FREE)
            # No process seems to wait here, but one may just be waking up: for some microseconds after a process
            # frees `next`, the kernel lets a newcomer overtake it. So this process pauses once and joins behind it.
            time.sleep(_STEP_BACK_S)
        fcntl.flock(self._next, _TAKE)
        try:
            self._sign(self._next)
            fcntl.flock(self._turn, _TAKE)
        finally:
            fcntl.flock(self._next, _FREE)

    def sign_turn(self) -> None:
        """Write this process's pid where a process looks that has waited too long."""
        self._sign(self._turn)

    def free_turn(self) -> None:
        """Free the turn, which this process has, for the process that waits for it."""
        fcntl.flock(self._turn, _FREE)

    def drop(self) -> None:
        """Free what this process has locked, if anything. Leave the pids: they may be another process's."""
        if self._turn >= 0:
            fcntl.flock(self._turn, _FREE)
            fcntl.flock(self._next, _FREE)

    def holder_pid(self) -> int | None:
        """Return the pid of the process that has the turn, or else of the head of the queue; None if unknown.

        A head that is stopped between the two locks holds up every other process while none has the turn. The pid may
        be an earlier holder's if the new one could not write it, or was stopped before it did.
        """
        with contextlib.suppress(OSError):
            if holder := _pid_if_locked(self._paths[0]):
                return holder
            head = _pid_if_locked(self._paths[1])
            return head if head != os.getpid() else None  # this process is the head itself and blocks no caller
        return None

    def _sign(self, descriptor: int) -> None:
        # Read first, and write only over another process's pid: after any write, however small, the file system's
        # journal waits for it at the next sync. A full disk is no reason to lose a turn: the pid is a courtesy.
        try:
            if os.pread(descriptor, _SIGNATURE_BYTES, 0) != self._signature:
                os.pwrite(descriptor, self._signature, 0)
        except OSError:
            pass  # and no context manager, which would cost more than the question

    def __del__(self) -> None:
        # A caller may drop a store without closing it; its descriptors and locks must not stay for ever.
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def close(self) -> None:
        """Close both, which frees what they have locked. A second call does nothing."""
        # Forget the numbers first: the system may give a closed one to another file at any moment.
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
    """Give a lock file to the store's owner: made by root on a visit, it would lock the owner out of the store."""
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
    # On a new descriptor: the locks of this process's other descriptors exclude that one.
    descriptor = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        signature = os.pread(descriptor, _SIGNATURE_BYTES, 0).strip()
        return int(signature) if signature.isdigit() else None
    finally:
        os.close(descriptor)
    return None
