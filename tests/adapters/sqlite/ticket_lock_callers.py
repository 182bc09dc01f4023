"""Callers of a ticket: members in processes of their own, threads of this one, and how many wait for a lock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout
from tests import warm_processes


class Member:
    """Our end of another process with a ticket on the same path."""

    def __init__(self, path: str) -> None:
        self.process = warm_processes.start("tests.adapters.sqlite.ticket_lock_member", path)
        self.pid = self.process.pid
        self._input, self._output = self.process.stdin, self.process.stdout

    def tell(self, *words: object) -> None:
        self._input.write(" ".join(map(str, words)) + "\n")
        self._input.flush()

    def hear(self) -> str:
        return self._output.readline().strip()

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def leave(self) -> int:
        """Let it go by itself; its exit status."""
        self._input.close()
        return self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._input.close()
        self._output.close()


class ChangeWaiter:
    """A thread of this process that acquires, does something, and releases; or keeps the error."""

    def __init__(self, ticket: TicketLock, then: Callable[[], object] = lambda: None, timeout_ms: int = 10_000) -> None:
        self.error: Exception | None = None
        self._ticket, self._then, self._timeout_ms = ticket, then, timeout_ms
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._ticket.acquire(self._timeout_ms)
            self._then()
        except (RuntimeError, TurnTimeout) as error:
            self.error = error
        finally:
            self._ticket.release()

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def blocked(lock_path: str) -> int:
    """How many wait in the kernel for the lock on this file."""
    found = Path(lock_path).stat()
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino} "
    return sum("-> FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def in_line(ticket: TicketLock) -> int:
    return len(ticket._threads._waiting)


def descriptors(path: str) -> int:
    """How many descriptors of this process lead to the lock files of a path."""
    opened = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            opened += os.readlink(link) in (path + ".next", path + ".turn")
    return opened


def is_stopped(pid: int) -> bool:
    """Each thread of it: a waiter that is not yet stopped may still be given the turn."""
    return all("T" == state(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir())


def state(pid: int) -> str:
    """The kernel's letter for what the process does."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
