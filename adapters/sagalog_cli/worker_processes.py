"""The parent of worker processes: it begins them, passes signals on, puts others in the place of those that die.

Rule: it opens no store and imports no handler, and each process is a fresh interpreter, so no store is ever forked
[FORK-1]. It neither reads nor writes what they say. A process that ends in order stays ended.
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
from sagalog_cli.lifeline import is_begun
from sagalog_cli.render import EXIT_STATUS
from sagalog_cli.times import duration

# How long the place of a process stays empty after it has died: the first time, the second, and so on.
_PAUSES_MS: Final = (100, 500, 1_000, 2_000, 5_000, 15_000, 30_000)
# A process that has worked for so long was sound, and the next pause is the first again.
_SOUND_S: Final = 60.0
# So many die at start-up, with none between them that begins to work, before the parent gives up.
_START_DEATHS_MAX: Final = 5
# The work is done, or a caller has ended it: no reason for another process.
_IN_ORDER: Final = frozenset(
    EXIT_STATUS[code] for code in ("ok", "output", "hung_up", "interrupted", "pipe_closed", "terminated")
)
# What is wrong with the command line or the module, which a process says at start-up.
_AT_START: Final = frozenset(EXIT_STATUS[code] for code in ("usage", "rejected"))


@dataclass(eq=False)
class _Process:
    """One process, and the parent's end of the line to it."""

    number: int
    popen: subprocess.Popen[bytes]
    line: socket.socket
    is_first: bool
    began_s: float = field(default_factory=time.monotonic)
    is_working: bool = False

    @property
    def status(self) -> int:
        """Its exit status, as shells have it: 128 and the number of the signal that has killed it."""
        code = self.popen.returncode
        return code if code >= 0 else 128 - code

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        code = self.popen.returncode
        how = f"ended with status {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        return f"process {self.number} (pid {self.popen.pid}) {how}"


class Parent:
    """Runs `count` processes of one command until all have ended.

    words   the command line, behind the name of the command
    say     tells the user something
    """

    def __init__(self, words: Sequence[str], count: int, say: Callable[[str], None]) -> None:
        self._words = words
        self._count = count
        self._say = say
        self._notes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._living: dict[int, _Process] = {}
        # Numbers of which a process is to begin, and when.
        self._due_s: dict[int, float] = {1: 0.0}
        self._deaths: dict[int, int] = {}
        self._start_deaths = 0
        self._has_worked = False
        self._is_stopping = False
        self._status = 0

    def run(self) -> int:
        """Run them; the worst exit status of those in whose place no other was put."""
        with listening(lambda number: self._notes.put(lambda: self._pass_on(number))):
            try:
                while self._living or self._due_s:
                    self._begin_due()
                    self._next_note()()
            finally:
                # Those that are left stop by themselves.
                for process in self._living.values():
                    process.line.close()
        return self._status

    # --- what happens -------------------------------------------------------------------------------------------------

    def _next_note(self) -> Callable[[], None]:
        """What has happened; where nothing does until a process is to begin, nothing."""
        due_s = min(self._due_s.values(), default=None)
        wait_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        try:
            return self._notes.get(timeout=wait_s)
        except Empty:
            return lambda: None

    def _begin_due(self) -> None:
        now_s = time.monotonic()
        for number in [number for number, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[number]
            self._begin(number)

    def _begin(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            popen = subprocess.Popen(  # noqa: S603  the interpreter that runs this
                # Without the folder of the call on its path, as the command itself has it.
                [sys.executable, "-P", "-m", "sagalog_cli.worker_process", str(descriptor), str(number), *self._words],
                stdin=subprocess.DEVNULL,
                pass_fds=[descriptor],
                # What a terminal sends to the parent reaches it once, by the parent.
                process_group=0,
            )
        is_first = not self._living and not self._deaths and not self._has_worked
        process = self._living[number] = _Process(number, popen, ours, is_first)
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: _Process) -> None:
        """The life of a thread: note that the process begins to work, and that it ends."""
        reading = threading.Thread(target=self._read, args=(process,), daemon=True)
        reading.start()
        process.popen.wait()
        # A child of the process may hold the line still; else what it has said is read by now.
        reading.join(1)
        self._notes.put(lambda: self._take_ended(process))

    def _read(self, process: _Process) -> None:
        if is_begun(process.line):
            self._notes.put(lambda: self._take_working(process))

    def _take_working(self, process: _Process) -> None:
        process.is_working = True
        self._start_deaths = 0
        if not self._has_worked:
            # The first has gone ahead, so that what is wrong with the command is said once.
            self._has_worked = True
            if not self._is_stopping:
                self._due_s |= dict.fromkeys(range(2, self._count + 1), 0.0)

    def _take_ended(self, process: _Process) -> None:
        del self._living[process.number]
        process.line.close()
        if self._is_stopping:
            was_stopped = not process.is_working and process.popen.returncode == -signal.SIGTERM
            self._settle(EXIT_STATUS["terminated"] if was_stopped else process.status)
        elif process.status in _IN_ORDER and process.popen.returncode >= 0:
            self._settle(process.status)
        elif process.status == EXIT_STATUS["corrupt"] or self._dies_at_start(process):
            self._give_up(process)
        else:
            self._replace(process)

    def _settle(self, status: int) -> None:
        self._status = max(self._status, status)

    # --- after a death ------------------------------------------------------------------------------------------------

    def _dies_at_start(self, process: _Process) -> bool:
        """Whether another one would be of no use: processes die before they begin to work, again and again."""
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
        """Stop all, and say why, unless the very first process has told of an error: then that is said."""
        self._settle(process.status)
        if not (process.is_first and process.status in EXIT_STATUS.values()):
            times = f", as {self._start_deaths} in a row at start-up," if self._start_deaths > 1 else ""
            self._say(f"{process.end}{times} and no other one begins: all processes are stopped")
        self._stop(signal.SIGTERM)

    # --- stopping -----------------------------------------------------------------------------------------------------

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGINT and not self._is_stopping:
            self._settle(EXIT_STATUS["interrupted"])
        self._stop(number)

    def _stop(self, number: int) -> None:
        """Begin no more, and send the signal to each process; to one that does not listen yet, one that ends it."""
        self._is_stopping = True
        self._due_s.clear()
        for process in self._living.values():
            process.popen.send_signal(number if process.is_working else signal.SIGTERM)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"the signal {number}"
