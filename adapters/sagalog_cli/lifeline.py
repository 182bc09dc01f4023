"""The lifeline between a parent and one of its worker processes: a pair of sockets, one end in each.

Rule: the system closes an end when its process ends, in whatever way. So a worker process whose parent was killed
notices that, and stops as after a signal. It sends one byte and no more: that it begins to work.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Final

from sagalog import Worker

# How long a stopped worker may take beyond its grace; then its process ends, even if a thread is still running.
_EXIT_MS: Final = 10_000
_READY: Final = b"\n"


class Lifeline:
    """The end in the worker process.

    number   which of the parent's processes it is, from 1; a replacement has the number of the process that it replaces
    """

    def __init__(self, descriptor: int, number: int) -> None:
        # No command that a handler runs inherits it.
        os.set_inheritable(descriptor, False)
        self.number = number
        self._socket = socket.socket(fileno=descriptor)
        self._worker: Worker | None = None
        threading.Thread(target=self._watch, name="sagalog-lifeline", daemon=True).start()

    def hold(self, worker: Worker) -> None:
        """Stop this worker when the parent is gone; without a worker, the process just ends."""
        self._worker = worker

    def begin(self) -> None:
        """Report to the parent that this process is set up and begins to work."""
        # If the parent is gone, the watching thread notices too.
        with suppress(OSError):
            self._socket.sendall(_READY)

    def _watch(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)
        worker = self._worker
        if worker is not None:
            worker.stop()
            # Threads that a handler has started could keep the process for ever.
            threading.Event().wait((worker.grace_ms + _EXIT_MS) / 1_000)
        os._exit(os.EX_UNAVAILABLE)


def is_begun(lifeline: socket.socket) -> bool:
    """Wait until the process at the other end begins to work; False: it has ended without a start."""
    try:
        return bool(lifeline.recv(1))
    except OSError:
        return False
