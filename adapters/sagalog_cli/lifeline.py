"""The line between a parent and one of its worker processes: a pair of sockets, of which each holds one end.

Rule: an end closes with the process that holds it, however that ends; so a worker whose parent was killed learns of it,
and stops as after a signal. Nothing is sent but one byte, with which a worker says that it begins to work.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Final

from sagalog import Worker

# How long a worker that was told to stop may take beyond its grace, before its process ends whatever holds it.
_LEAVE_MS: Final = 10_000
_READY: Final = b"\n"


class Lifeline:
    """The end of a worker process.

    number   which of the processes of its parent it is, from 1; one that takes the place of another has its number
    """

    def __init__(self, descriptor: int, number: int) -> None:
        # No command that a handler runs keeps it.
        os.set_inheritable(descriptor, False)
        self.number = number
        self._line = socket.socket(fileno=descriptor)
        self._worker: Worker | None = None
        threading.Thread(target=self._watch, name="sagalog-lifeline", daemon=True).start()

    def hold(self, worker: Worker) -> None:
        """Stop this worker when the parent is gone; before, the process just ends."""
        self._worker = worker

    def begin(self) -> None:
        """Tell the parent that this process is set up, and begins to work."""
        # Where the parent is gone, the watch finds out too.
        with suppress(OSError):
            self._line.sendall(_READY)

    def _watch(self) -> None:
        with suppress(OSError):
            self._line.recv(1)
        worker = self._worker
        if worker is not None:
            worker.stop()
            # Threads of a handler's own could keep the process for ever.
            threading.Event().wait((worker.grace_ms + _LEAVE_MS) / 1_000)
        os._exit(os.EX_UNAVAILABLE)


def is_begun(line: socket.socket) -> bool:
    """Wait until the process at the other end begins to work; False: it is gone, and never did."""
    try:
        return bool(line.recv(1))
    except OSError:
        return False
