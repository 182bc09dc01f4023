"""The context of every handler: it learns that it has to end, reports its progress, and keeps artifacts.

Rule: every write carries the fence of the handler's lease. While the store is away, the context repeats the write until
the lease may be over. [FENCE-2] A handler that has to end learns it at its next call. It knows one lease, and must not
know queues, threads and other handlers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from sagalog.engine import Engine
from sagalog.engine.batch import Batch
from sagalog.engine.holder_verbs import put_artifact
from sagalog.engine.lease import HolderVerb, Lease
from sagalog.engine.task import Task
from sagalog.errors import Closed, Conflict, LeaseLost, Unavailable, Unknown
from sagalog.forks import generation, require_own
from sagalog.outcomes import Interrupted, StepMismatch
from sagalog.worker.stop_token import StopToken

P = ParamSpec("P")
T = TypeVar("T")

# The pauses before a write is repeated that the store could not take; the last one applies for ever.
_PAUSES_MS: Final = (20, 50, 100, 250, 500, 1_000)


class Context:
    """The calls that every handler may make: hear that it is to end, tell its progress, keep artifacts.

    Safe to share between the threads of a handler. What it writes carries the fence of the handler's lease, and is
    repeated while the store is away, until the lease may be over. [FENCE-2] Each call first asks whether the handler is
    to end.

    task      the task as it was leased
    fence     the number that makes a late holder harmless; outside systems may compare it [FENCE-1]
    attempt   1 + recorded failures [ATTEMPT-1]

    Raises:
        Interrupted: the handler is to end; let it pass, since its task is given back. [WORKER-2]
        Closed: the process that this one was forked from holds the lease. [FORK-2]
    """

    def __init__(self, engine: Engine, lease: Lease, stopping: StopToken) -> None:
        self._engine = engine
        self._lease = lease
        self._stopping = stopping
        self._progress: Any = None
        self._writing: Any = None
        self._guard = threading.Lock()
        self._has_ended = False
        self._has_read_cancelled = False
        self._made = generation()
        self.task: Task = lease.task
        self.fence: int = lease.fence
        self.attempt: int = lease.attempt

    @property
    def owner(self) -> str:
        """The name of the lease's holder: this worker."""
        return self._lease.owner

    @property
    def store_id(self) -> str:
        """The id of the store that holds the task."""
        return self._engine.store_id

    @property
    def lost(self) -> bool:
        """Whether the lease is, or may be, another worker's: nothing that is done now may count. [WORKER-2]"""
        return self._stopping.reason == "lost"

    @property
    def cancelled(self) -> bool:
        """Whether the task is to be called off.

        A handler that has read this as true and returns None has stopped: its task is then cancelled. Any other value
        completes the task. [CANCEL-2]
        """
        is_cancelled = self._stopping.reason == "cancelled"
        self._has_read_cancelled = self._has_read_cancelled or is_cancelled
        return is_cancelled

    @property
    def stopping(self) -> bool:
        """Whether the worker shuts down; the handler may finish until the worker's deadline."""
        return self._stopping.announced

    @property
    def interrupted(self) -> bool:
        """Whether the handler's time limit, or the worker's deadline for shutting down, has come."""
        return self._stopping.reason in ("shutdown", "time_limit")

    @property
    def timed_out(self) -> bool:
        """Whether the handler is to end because its time limit has come."""
        return self._stopping.reason == "time_limit"

    def _end_with_its_loop(self) -> None:
        """Note that the handler ends because its worker does. For `sagalog.aio`."""
        self._stopping.request_once("shutdown")

    def go_on(self) -> None:
        """Ask whether the handler may go on: return if so. A loop without other calls of the context calls this.

        Raises:
            Interrupted: the lease is lost, the task is cancelled, or the handler's or the worker's time is over.
        """
        self._require_own()
        if (interruption := self._interruption()) is not None:
            raise interruption

    def _interruption(self) -> Interrupted | None:
        """Return what `go_on` would raise."""
        if self._stopping.reason is not None:
            return Interrupted(self._stopping.reason)
        return Interrupted("its handler has ended") if self._has_ended else None

    def wait_stop(self, timeout_ms: int) -> bool:
        """Sleep until the time is over, or until the handler is to end, whichever comes first.

        Args:
            timeout_ms: how long to sleep at most, in milliseconds.

        Returns:
            Whether the handler is to end.
        """
        return self._stopping.wait(timeout_ms)

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Call a function once, as soon as the handler is to end, while a `with` block lasts.

        A handler that waits for a child process ends that process so.

        Args:
            callback: called without arguments, from another thread; at once and in this thread where the handler is to
                end already.
        """
        return self._stopping.calls(callback)

    def progress(self, value: Any) -> None:
        """Tell how far the work is; the worker writes the newest with its next renewal. [LEASE-3]

        Args:
            value: JSON of at most 8 KiB, which `Task.progress` then shows.
        """
        self.go_on()
        self._progress = value

    def artifact(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Keep bytes that the work has made under a name; another attempt may put others. [BLOB-1]

        What was made may be kept also by a handler that is to end, unless its lease is lost.

        Args:
            name: the name of the artifact.
            data: at most 16 MiB.
            media_type: what the bytes are, as in `text/plain`.

        Raises:
            InvalidValue: an argument is none of its kind.
            OverBound: the bytes are too many, or the task has no room for another name. [BOUND-4]
            StepMismatch: this attempt has put other bytes under this name.
            Interrupted: the lease is lost.
        """
        if self.lost or self._has_ended:
            self.go_on()
        self._record(f"the artifact {name!r}", put_artifact, name, data, media_type)

    # --- inside -------------------------------------------------------------------------------------------------

    def _newest_progress(self) -> Any:
        """Return the progress that the handler has reported and that is not written yet; None: nothing."""
        self._writing = self._progress
        return self._writing

    def _forget_progress(self) -> None:
        """Forget the progress that `_newest_progress` returned, which is written; keep what was reported later."""
        if self._progress is self._writing:
            self._progress = None

    def _record(self, what: str, verb: HolderVerb[P], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write something under the lease, with what has to come before it, in one commit.

        The newest lease knows most of its task, so the write reads least with it.
        """

        def write() -> Lease | Task:
            lease = self._lease
            entry = verb(self._engine._executor, lease.task, *args, **kwargs)
            if not self._begins_something:
                return lease._after(lease._carry_out(entry))
            with self._engine.batch() as batch:
                self._record_before(batch)
                batch._append(entry)
            after = batch.results[-1]
            assert isinstance(after, Lease | Task)
            return after

        try:
            after = self._persist(write)
            if isinstance(after, Lease):
                self._lease = after
                if after.task.cancel_requested and after.purpose == "work":
                    self._stopping.request_once("cancelled")
        except Conflict as conflict:
            if isinstance(conflict, LeaseLost):
                self._lose()
            raise StepMismatch(f"{what}: {conflict.message}") from conflict

    @property
    def _begins_something(self) -> bool:
        """Tell whether something has to be recorded before anything else that this handler writes."""
        return False

    def _record_before(self, batch: Batch) -> None:
        """Record what has to come first: nothing, unless the handler has begun something else."""

    def _require_own(self) -> None:
        """Refuse the copy of a context that a handler's fork has made: the lease is its parent's. [FORK-2]"""
        require_own(self._made, f"the context of task {self.task.id!r}")

    def _persist(self, write: Callable[[], T]) -> T:
        """Repeat a write until the store has taken it, or the handler has to end; the write must be repeatable."""
        self._require_own()
        tries = 0
        while True:
            try:
                return write()
            except (Unavailable, Unknown) as error:
                if isinstance(error, Closed):
                    raise Interrupted("the store was closed") from error
                if self._stopping.wait(_PAUSES_MS[min(tries, len(_PAUSES_MS) - 1)]):
                    self.go_on()
                tries += 1

    def _note_lost(self) -> None:
        """Note that the lease is lost, from another thread than the handler's."""
        self._stopping.request("lost")

    def _lose(self) -> NoReturn:
        self._stopping.request("lost")
        raise Interrupted("lost")
