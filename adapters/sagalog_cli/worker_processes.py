"""The parent of worker processes: it starts them, passes signals on, and replaces those that die.

Rule: it opens no store and imports no handler, and each process is a fresh interpreter, so no store is ever forked
[FORK-1]. It neither reads nor writes the output of the processes. It does not replace a process that ends in order.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final

from sagalog.worker.process_signals import listening
from sagalog_cli.interrupts import Stopped
from sagalog_cli.lifeline import is_begun
from sagalog_cli.render import EXIT_STATUS
from sagalog_cli.times import duration

# How long the parent waits before it replaces a process: after its first death, the second, and so on.
_PAUSES_MS: Final = (100, 500, 1_000, 2_000, 5_000, 15_000, 30_000)
# After a process has worked for so long, the next pause is the first again.
_SOUND_S: Final = 60.0
# The parent gives up after so many deaths at start-up, if no process begins to work in between.
_START_DEATHS_MAX: Final = 5
# The statuses of a process whose work is done, or that a caller has ended: the parent does not replace it.
_IN_ORDER: Final = frozenset(
    EXIT_STATUS[code] for code in ("ok", "output", "hung_up", "interrupted", "pipe_closed", "terminated")
)
# The statuses of a process that finds a fault in the command line or the module, at start-up.
_AT_START: Final = frozenset(EXIT_STATUS[code] for code in ("usage", "rejected"))


@dataclass(eq=False)
class _Process:
    """One process, and the parent's end of the lifeline to it."""

    number: int
    popen: subprocess.Popen[bytes]
    lifeline: socket.socket
    is_first: bool
    began_s: float = field(default_factory=time.monotonic)
    is_working: bool = False

    @property
    def status(self) -> int:
        """Return its exit status, as in shells: 128 and the number of the signal that has killed it."""
        code = self.popen.returncode
        return code if code >= 0 else 128 - code

    @property
    def end(self) -> str:
        """Return how it has ended, in words."""
        code = self.popen.returncode
        how = f"ended with status {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        return f"process {self.number} (pid {self.popen.pid}) {how}"


class Parent:
    """The parent of `count` processes of one command.

    words   the command line, after the name of the command
    say     gets each remark for the user
    """

    def __init__(self, words: Sequence[str], count: int, say: Callable[[str], None]) -> None:
        self._words = words
        self._count = count
        self._say = say
        self._notes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._living: dict[int, _Process] = {}
        # The numbers of the processes to start, and when.
        self._due_s: dict[int, float] = {1: 0.0}
        self._deaths: dict[int, int] = {}
        self._start_deaths = 0
        self._has_worked = False
        self._is_stopping = False
        # The signal that has ended it; a process that did not listen yet got SIGTERM in its place.
        self._stopped: Stopped | None = None
        self._status = 0

    def run(self) -> int:
        """Run the processes until all have ended; return the worst exit status of those that were not replaced.

        Raises:
            Stopped: a signal came before any process listened to it and could report it.
        """
        with listening(lambda number: self._notes.put(lambda: self._pass_on(number))):
            try:
                while self._living or self._due_s:
                    self._start_due()
                    self._next_note()()
            finally:
                # The processes that are left notice this, and stop.
                for process in self._living.values():
                    process.lifeline.close()
        if self._stopped is not None and not self._has_worked and self._status == EXIT_STATUS[self._stopped.code]:
            raise self._stopped
        return self._status

    # --- what happens -------------------------------------------------------------------------------------------------

    def _next_note(self) -> Callable[[], None]:
        """Wait for what happens next, and return it; return a call that does nothing when a start is due."""
        due_s = min(self._due_s.values(), default=None)
        wait_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        try:
            return self._notes.get(timeout=wait_s)
        except Empty:
            return lambda: None

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for number in [number for number, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[number]
            self._start(number)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            popen = subprocess.Popen(  # noqa: S603  the interpreter that runs this
                # `-P`: like the command itself, without the current folder on its path.
                [sys.executable, "-P", "-m", "sagalog_cli.worker_process", str(descriptor), str(number), *self._words],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                # A terminal's signal reaches the process once, through the parent.
                process_group=0,
            )
        is_first = not self._living and not self._deaths and not self._has_worked
        process = self._living[number] = _Process(number, popen, ours, is_first)
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: _Process) -> None:
        """Run in a thread: note that the process begins to work, and that it ends."""
        reading = threading.Thread(target=self._read, args=(process,), daemon=True)
        reading.start()
        process.popen.wait()
        # A child of the process may still hold the socket; otherwise the thread has read it by now.
        reading.join(1)
        self._notes.put(lambda: self._take_ended(process))

    def _read(self, process: _Process) -> None:
        if is_begun(process.lifeline):
            self._notes.put(lambda: self._take_working(process))

    def _take_working(self, process: _Process) -> None:
        process.is_working = True
        self._start_deaths = 0
        if not self._has_worked:
            # The first process starts alone, so that an error in the command is reported once.
            self._has_worked = True
            if not self._is_stopping:
                self._due_s |= dict.fromkeys(range(2, self._count + 1), 0.0)

    def _take_ended(self, process: _Process) -> None:
        del self._living[process.number]
        process.lifeline.close()
        if self._is_stopping:
            was_terminated = process.status == EXIT_STATUS["terminated"]
            self._count_status(
                EXIT_STATUS[self._stopped.code] if was_terminated and self._stopped is not None else process.status
            )
        elif process.status in _IN_ORDER and process.popen.returncode >= 0:
            self._count_status(process.status)
        elif process.status == EXIT_STATUS["corrupt"] or self._dies_at_start(process):
            self._give_up(process)
        else:
            self._replace(process)

    def _count_status(self, status: int) -> None:
        # An end in order never hides one that was not.
        self._status = max(self._status, status, key=lambda one: (one not in _IN_ORDER, one))

    # --- after a death ------------------------------------------------------------------------------------------------

    def _dies_at_start(self, process: _Process) -> bool:
        """Tell whether a replacement would be useless: processes die again and again before they begin to work."""
        if process.is_working and process.status not in _AT_START:
            return False
        self._start_deaths += 1
        return (process.is_first and process.popen.returncode >= 0) or self._start_deaths >= _START_DEATHS_MAX

    def _replace(self, process: _Process) -> None:
        is_sound = process.is_working and time.monotonic() - process.began_s >= _SOUND_S
        deaths = 0 if is_sound else self._deaths.get(process.number, 0)
        self._deaths[process.number] = deaths + 1
        pause_ms = _PAUSES_MS[min(deaths, len(_PAUSES_MS) - 1)]
        self._due_s[process.number] = time.monotonic() + pause_ms / 1_000
        self._say(f"{process.end}; another one begins in {duration(pause_ms)}")

    def _give_up(self, process: _Process) -> None:
        """Stop all, and say why, unless the very first process has reported an error itself."""
        self._count_status(process.status)
        if not (process.is_first and process.status in EXIT_STATUS.values()):
            times = f", as {self._start_deaths} in a row at start-up," if self._start_deaths > 1 else ""
            self._say(f"{process.end}{times} and no other one begins: all processes are stopped")
        self._stop(signal.SIGTERM)

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _pass_on(self, number: int) -> None:
        if not self._is_stopping:
            self._stopped = Stopped(number)
            if number == signal.SIGINT:
                self._count_status(EXIT_STATUS["interrupted"])
        self._stop(number)

    def _stop(self, number: int) -> None:
        """Start no more, and send the signal to each process; end one that does not listen yet by SIGTERM."""
        self._is_stopping = True
        self._due_s.clear()
        for process in self._living.values():
            process.popen.send_signal(number if process.is_working else signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"the signal {number}"
