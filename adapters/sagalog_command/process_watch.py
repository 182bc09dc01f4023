"""Watch of a running process: it reads the streams, keeps the time, and ends the group.

Rule: no wait is without end. The command has its time limit and its group a grace; for a pipe that a process outside
the group holds open, the watch does not wait at all.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from sagalog_command.command import Command
from sagalog_command.ending import FrameSelection
from sagalog_command.frames import FrameReader
from sagalog_command.group import Group, read_ready
from sagalog_command.output import Excerpt
from sagalog_command.redactor import Redactor
from sagalog_command.rules import Classifier

_CHUNK_BYTES: Final = 262_144
# How often a group is looked at whose leader has ended, or a leader whose end the system does not tell of.
_LOOK_S: Final = 0.02
_WAIT_S_MAX: Final = 1.0
# How long what was killed may take to be gone: it may hang in the kernel.
_KILLED_S: Final = 10.0
# What a pipe holds at most, on any system with its usual settings: more than that is being written now.
_PIPE_BYTES_MAX: Final = 1_048_576
_PROGRESS_S: Final = 5.0
_LINE_CHARACTERS_MAX: Final = 200


class Stop:
    """A request to end, from any thread, that wakes the thread that waits for it.

    `is_urgent` tells whether there is no time for a grace, because another holder may be at work by now.
    """

    def __init__(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        self.is_set = False
        self.is_urgent = is_urgent
        self._pipe = (-1, -1)
        self._lock = threading.Lock()
        self._is_open = False

    def __enter__(self) -> Stop:
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_open = False
            for end in self._pipe:
                os.close(end)

    @property
    def descriptor(self) -> int:
        """The descriptor that can be read once the request is there."""
        return self._pipe[0]

    def set(self) -> None:
        """Make the request."""
        self.is_set = True
        # A thread that calls late must not write into a descriptor that has become another file's.
        with self._lock, suppress(BlockingIOError):
            if self._is_open:
                os.write(self._pipe[1], b"\0")


class ProcessWatch:
    """The watch of one run; after the `with` block nothing of the process group is left.

    status        how the command ended, once `follow` has returned
    was_stopped   the watch ended the command because of a request
    is_over_time  the watch ended the command because its time was over
    is_lingering  the watch ended the command after its final frame, because it went on for a whole grace or because of
                  a request
    """

    def __init__(
        self,
        command: Command,
        variables: Mapping[str, str],
        make_redactor: Callable[[], Redactor],
        classifier: Classifier,
    ) -> None:
        """Start the command.

        Raises:
            OSError: the command cannot be started.
        """
        self._command = command
        self._group = Group(command.words, command.cwd, variables, command.input_bytes())
        self._begun_s = time.monotonic()
        self._grace_s = command.grace_ms / 1_000
        self._selected = FrameSelection(classifier)
        self.stdout = Excerpt(command.output_bytes_max)
        self.stderr = Excerpt(command.output_bytes_max)
        streams = {"stdout": (self._group.stdout, self.stdout), "stderr": (self._group.stderr, self.stderr)}
        self._streams = {
            pipe.fileno(): _Stream(
                make_redactor(), excerpt, FrameReader(self._take_frame) if name in classifier.streams else None
            )
            for name, (pipe, excerpt) in streams.items()
        }
        self._open = set(self._streams)
        self._kill_at_s: float | None = None
        self._is_killed = False
        self._killed_at_s = 0.0
        self._progress_at_s = self._begun_s + _PROGRESS_S
        self._progress_seen = 0
        # When the final frame came, if it has.
        self._final_at_s: float | None = None
        self.status = 0
        self.was_stopped = False
        self.is_over_time = False
        self.is_lingering = False

    def __enter__(self) -> ProcessWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group.is_alive():  # whatever went wrong here, the command does not outlive it
            self._kill()
            self._wait_for_end_of_killed()
        self._group.close()

    def frames(self) -> list[Mapping[str, Any]]:
        """Give the JSON objects that matter, in order of arrival."""
        return self._selected.frames()

    @property
    def is_final(self) -> bool:
        """Whether the final frame has come."""
        return self._selected.is_final

    def follow(self, stop: Stop, progress: Callable[[Any], None]) -> None:
        """Follow the command until it has ended, and its group with it."""
        while True:
            status = self._group.status()
            self._look(stop)
            if status is not None and not self._group.is_alive():
                break
            if self._is_killed and time.monotonic() >= self._given_up_s():
                break
            self._read(stop, self._pause_s(has_ended=status is not None))
            self._report(progress)
        status = self._group.status()
        self.status = -signal.SIGKILL if status is None else status
        self._drain()

    def _look(self, stop: Stop) -> None:
        """Decide whether the group is to end."""
        now_s = time.monotonic()
        if self._kill_at_s is None:
            if self._group.status() is not None:
                # It ended by itself: what it has left behind goes, and the outcome is its own.
                self._end(now_s)
            elif stop.is_set:
                # What it had said before the request counts, whether or not it was read by then.
                for descriptor in sorted(self._open):
                    self._read_one(descriptor)
                # After its final frame a command has its outcome; all that is cut short is what it does then.
                self.is_lingering = self._final_at_s is not None
                self.was_stopped = not self.is_lingering
                self._end(now_s)
            elif self._final_at_s is not None and now_s >= self._final_at_s + self._grace_s:
                self.is_lingering = True
                self._end(now_s)
            elif now_s >= self._begun_s + self._command.time_limit_ms / 1_000:
                self.is_over_time = True
                self._end(now_s)
        if self._kill_at_s is None or self._is_killed:
            return
        if now_s >= self._kill_at_s or (stop.is_set and stop.is_urgent()):
            self._kill()

    def _end(self, now_s: float) -> None:
        self._kill_at_s = now_s + self._grace_s
        self._group.send(signal.SIGTERM)

    def _kill(self) -> None:
        self._is_killed = True
        self._killed_at_s = time.monotonic()
        self._group.send(signal.SIGKILL)

    def _given_up_s(self) -> float:
        return self._killed_at_s + _KILLED_S

    def _wait_for_end_of_killed(self) -> None:
        while self._group.is_alive() and time.monotonic() < self._given_up_s():
            time.sleep(_LOOK_S)

    def _pause_s(self, *, has_ended: bool) -> float:
        if has_ended or self._is_killed or self._group.end_descriptor is None:
            return _LOOK_S
        until_s = self._kill_at_s
        if until_s is None:
            until_s = self._begun_s + self._command.time_limit_ms / 1_000
            if self._final_at_s is not None:
                until_s = min(until_s, self._final_at_s + self._grace_s)
        return min(_WAIT_S_MAX, until_s - time.monotonic())

    def _read(self, stop: Stop, seconds: float) -> None:
        """Wait for output, the end of the command, or a request; read what there is."""
        descriptors = [*self._open]
        if self._group.end_descriptor is not None and self._group.status() is None:
            descriptors.append(self._group.end_descriptor)
        if not stop.is_set:
            descriptors.append(stop.descriptor)
        for descriptor in read_ready(descriptors, seconds) & self._open:
            self._read_one(descriptor)

    def _read_one(self, descriptor: int) -> int:
        """Read once; give the number of bytes."""
        try:
            data = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._open.discard(descriptor)
        self._streams[descriptor].feed(data)
        return len(data)

    def _drain(self) -> None:
        """Read what the group has left in the pipes, and nothing that other processes go on writing."""
        for descriptor in sorted(self._open):
            left = _PIPE_BYTES_MAX
            while left > 0 and (count := self._read_one(descriptor)) > 0:
                left -= count
        for stream in self._streams.values():
            stream.end()

    def _take_frame(self, frame: Mapping[str, Any]) -> None:
        self._selected.take(frame)
        if not self.is_final:
            self._final_at_s = None
        elif self._final_at_s is None:
            self._final_at_s = time.monotonic()

    def _report(self, progress: Callable[[Any], None]) -> None:
        """Report how far the command is, now and then, and only if it has printed something new."""
        now_s = time.monotonic()
        seen = self.stdout.bytes_seen + self.stderr.bytes_seen
        if now_s < self._progress_at_s or seen == self._progress_seen or self._kill_at_s is not None:
            return
        self._progress_at_s, self._progress_seen = now_s + _PROGRESS_S, seen
        lines = self.stdout.tail().split("\n")
        line = next((line.strip() for line in reversed(lines) if line.strip()), "")
        progress(
            {
                "elapsed_ms": round((now_s - self._begun_s) * 1_000),
                "stdout_bytes": self.stdout.bytes_seen,
                "stderr_bytes": self.stderr.bytes_seen,
                "line": line[:_LINE_CHARACTERS_MAX],
            }
        )


class _Stream:
    """A stream on its way through the redactor to the excerpt and to the frames."""

    def __init__(self, redactor: Redactor, excerpt: Excerpt, frames: FrameReader | None) -> None:
        self._redactor = redactor
        self._excerpt = excerpt
        self._frames = frames

    def feed(self, data: bytes) -> None:
        self._pass(self._redactor.feed(data))

    def end(self) -> None:
        self._pass(self._redactor.end())
        if self._frames is not None:
            self._frames.end()

    def _pass(self, data: bytes) -> None:
        self._excerpt.feed(data)
        if self._frames is not None:
            self._frames.feed(data)
