"""A worker: handlers by kind, and the threads in which they run until a caller stops it.

Rule: its settings are in the code that made it, and its deeds are in the log; killed at any line, it loses nothing
[UPKEEP-1]. This file waits and stops; `worker_loop` does the work of a round.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar, get_args

from sagalog.engine import Engine
from sagalog.errors import Closed, InvalidValue, Rejected, SagalogError, Unavailable, Unknown
from sagalog.forks import generation, require_own
from sagalog.kernel import bounds
from sagalog.validation import arguments
from sagalog.validation.values import check_integer, check_name, shown
from sagalog.worker.claims import affinities_of
from sagalog.worker.config import (
    PREFLIGHT_RETRY_MS,
    PREFLIGHT_VALID_MS,
    Affinity,
    Preflight,
    Until,
    WorkerConfig,
    WorkerStats,
)
from sagalog.worker.handler_pool import Inbox, Job, ThreadHandlerPool
from sagalog.worker.preflights import Preflights, preflight_of, require_known
from sagalog.worker.process_signals import listening
from sagalog.worker.registration import Registration
from sagalog.worker.settlement import Handler
from sagalog.worker.typed_handlers import COMPENSATION, TASK, OfCompensation, OfTask, typed
from sagalog.worker.worker_loop import WorkerLoop

H = TypeVar("H", bound=Handler)
Check = TypeVar("Check", bound=Callable[[], Any])

_log: Final = logging.getLogger("sagalog.worker")

# How long a wait lasts at most, because a clock may jump; and the pauses while the store is away.
_SLICE_MS: Final = 1_000
_AWAY_MS: Final = (50, 100, 250, 500, 1_000)
_INTERRUPT_MS: Final = 2_000
# How long the worker waits for more jobs to settle with one that has ended, while its handlers have enough to do.
_COLLECT_MS: Final = 3
# How long the waking thread pauses after it has woken the worker.
_WAKE_PAUSE_MS: Final = 5


class Worker:
    """A worker: it leases tasks and owed undos of its queues and runs the handlers of their kinds.

    A handler is called as `handler(context, payload)`, that of an undo as `handler(context, params)`:
    a function in a thread, a coroutine function on an event loop. What it returns completes the task;
    what it raises is its outcome (`Permanent`, …), or a failed attempt [WORKER-1]. Where its second
    parameter is annotated with a type that holds more than JSON, such as a dataclass, it is given a
    value of that type; what does not fit is a permanent failure, without a call. [WORKER-6]

    stats   the numbers of the present run, or of the last one

    Args:
        queues: the queues that it serves, one name or several.
        name: its own, to which it adds a part that no other worker has; left out, of host and process.
        concurrency: how many handlers run at a time.
        claim_ahead: how many more it holds, so that none waits for a commit; 0 leaves them to others.
        ttl_ms: how long a lease lasts without a renewal, in milliseconds; renewed at a third of it.
        grace_ms: how long handlers may go on after a stop, in milliseconds.
        quarantine_unknown: for a worker that knows every kind of undo of these queues: quarantine a
            task that owes another [UNDO-2]. Left out, it waits, at most for its `undo_wait_ms`.
        build: the version of its code, such as "2026-11-29.3". [WORKER-10] [BUILD-1]
        affinity: what to claim first, or a function that says so before each claim. [WORKER-11]

    Raises:
        InvalidValue: an argument is none of its kind or beyond a limit; the field `path` names it.
    """

    def __init__(
        self,
        queues: str | Sequence[str] = "default",
        *,
        name: str | None = None,
        concurrency: int = 4,
        claim_ahead: int = 0,
        ttl_ms: int = 30_000,
        grace_ms: int = 30_000,
        quarantine_unknown: bool = False,
        build: str | None = None,
        affinity: Affinity = None,
    ) -> None:
        self.queues: tuple[str, ...] = arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        self.name: str = check_name(name or f"worker-{socket.gethostname()}-{os.getpid()}", "name")
        self.concurrency: int = check_integer(concurrency, "concurrency", 1, bounds.CLAIM_LIMIT_MAX)
        self.claim_ahead: int = check_integer(claim_ahead, "claim_ahead", 0, bounds.CLAIM_LIMIT_MAX)
        self.ttl_ms: int = check_integer(ttl_ms, "ttl_ms", 3, bounds.TIME_MS_MAX // 2)
        self.grace_ms: int = check_integer(grace_ms, "grace_ms", 0, bounds.TIME_MS_MAX // 2)
        self.quarantine_unknown = quarantine_unknown
        self.build: str | None = arguments.optional_name(build, "build")
        self.affinity: Affinity = affinity
        if not callable(affinity):
            affinities_of(affinity)
        self.stats: WorkerStats = WorkerStats()
        self._handlers: dict[str, Handler] = {}
        self._compensations: dict[str, Handler] = {}
        self._time_limits_ms: dict[str, int] = {}
        self._strict: set[str] = set()
        self._waivers: dict[str, str] = {}
        self._preflights: list[Preflight] = []
        self._stops = 0
        self._inbox: Inbox | None = None
        self._made = generation()

    # --- handlers -------------------------------------------------------------------------------------------------

    def task(
        self,
        kind: str,
        *,
        time_limit_ms: int | None = None,
        strict: bool = False,
        waive_compensation: str | None = None,
    ) -> Callable[[OfTask], OfTask]:
        """Decorate the handler of tasks of this kind.

        Args:
            kind: the kind of the tasks.
            time_limit_ms: how long one call may take, in milliseconds. Then the attempt has failed, and the handler is
                told to end: a coroutine at its next await, a function at its next call of the context.
            strict: hold the code to the history: a step out of order, or a step on record that is not asked for,
                quarantines the task (`StepMismatch`). Left out, a step is found by its name, in any order. [WORKER-4]
            waive_compensation: why this kind needs no undo, such as "writes nothing". Each lease records it, so that
                the task may fail without a compensation, also where its worker dies. [COMP-2]

        Raises:
            InvalidValue: the kind has a handler already, or an argument is none of its kind; or the annotation of the
                payload cannot be resolved, or is none of which values can be made. [WORKER-6]
        """
        if arguments.check_truth(strict, "strict"):
            self._strict.add(kind)
        if waive_compensation is not None:
            self._waivers[kind] = arguments.sentence(waive_compensation, "waive_compensation")
        if time_limit_ms is not None:
            self._time_limits_ms[kind] = check_integer(time_limit_ms, "time_limit_ms", 1, bounds.TIME_MS_MAX // 2)
        return self._registering(self._handlers, kind, "task", TASK)

    def compensation(self, kind: str) -> Callable[[OfCompensation], OfCompensation]:
        """Decorate the handler of compensations of this kind.

        It may be called again for the same compensation, so it must bear to find undone what it would undo. What it
        raises has failed and is tried again, up to `undo_attempts_max`; `Permanent` and `Quarantine` quarantine the
        task, and so do params that do not fit what the handler takes. [UNDO-3] [WORKER-6]

        Args:
            kind: the kind of the compensations.

        Raises:
            InvalidValue: the kind has a handler already, or is no name; or the annotation of the params cannot be
                resolved, or is none of which values can be made. [WORKER-6]
        """
        return self._registering(self._compensations, kind, "compensation", COMPENSATION)

    def preflight(
        self,
        name: str,
        *,
        kinds: Iterable[str] = (),
        compensation_kinds: Iterable[str] = (),
        valid_ms: int = PREFLIGHT_VALID_MS,
        retry_ms: int = PREFLIGHT_RETRY_MS,
    ) -> Callable[[Check], Check]:
        """Decorate a function that finds out whether this machine can do the work of some kinds now. [WORKER-9]

        It takes no arguments, is plain or a coroutine function, and fails by raising, or by returning False or a text.
        While it fails, and before its first success, this worker claims none of these kinds and goes on with its
        others; tasks wait unharmed, for another worker or for better times. It runs beside the handlers, and a call
        that takes more than 60 s counts as a failure. Its failure is logged once, and is in the worker's row.

        Args:
            name: the name of the preflight, in the log and in the worker's row.
            kinds: the kinds of tasks that need it.
            compensation_kinds: the kinds of compensations that need it; a task waits with its undos if it owes one.
            valid_ms: how long a success is valid, in milliseconds; then it is run again, and nothing of these kinds is
                claimed meanwhile.
            retry_ms: how long after a failure it is run again, in milliseconds.

        Raises:
            InvalidValue: the name is taken, it names no kind, or the function needs arguments.
        """
        made = preflight_of(name, kinds, compensation_kinds, valid_ms, retry_ms)

        def register(function: Check) -> Check:
            if any(one.name == name for one in self._preflights):
                raise InvalidValue(f"preflight {name!r} is there already; give this one another name", path="name")
            self._preflights.append(made(function))
            return function

        return register

    def _registering(self, handlers: dict[str, Handler], kind: str, what: str, code: str) -> Callable[[H], H]:
        if callable(kind):
            raise InvalidValue(f'kind: found a function; name the kind, as in @worker.{what}("…")', path="kind")
        check_name(kind, "kind")

        def register(handler: H) -> H:
            if not callable(handler):
                raise InvalidValue(f"{what} {kind!r}: expected a function, found {type(handler).__name__}", path="kind")
            if kind in handlers:
                raise InvalidValue(f"{what} {kind!r} has a handler already: {handlers[kind]!r}", path="kind")
            handlers[kind] = typed(handler, f"{what} {kind!r}", code)
            return handler

        return register

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, engine: Engine, *, until: Until | None = None, handle_signals: bool = True) -> WorkerStats:
        """Run handlers until the worker is told to stop, and give back what it has not finished. [WORKER-3]

        SIGTERM, SIGINT, SIGHUP or `stop` stop it gracefully: it claims nothing more and gives back at once what no
        handler has begun. It lets handlers finish for `grace_ms`, then tells them to end and gives back the rest. None
        of that counts as a failure. A second signal stops it at once. While the store is away (`Unavailable`,
        `Unknown`) it waits and goes on.

        Args:
            engine: the engine on the store that holds the tasks.
            until: when the run ends by itself; None: it does not. "idle": once there is nothing to do now. "drained":
                once no live task is left in its queues that it has handlers for: none delayed, leased by others, parked
                or held back by a pause, a limit or a breaker, be it for ever. It does not wait for tasks that are
                pinned to another build, nor for other kinds; a warning names each of the kinds.
            handle_signals: listen to these three, as far as they are not ignored, where this is the main thread, and
                give them back at the end. A child that a handler forks has the default ones.

        Returns:
            What it has done, in numbers.

        Raises:
            InvalidValue: `until` is neither of these.
            Rejected: it runs already, or has no handler.
            Corrupt: the store is damaged, or newer than this version: stop and call a human.
            Closed: the worker was made in the process that this one was forked from. [FORK-2]
        """
        return self._run(engine, None, until, handle_signals)

    def stop(self) -> None:
        """Stop gracefully, as a signal does; a second call stops at once. From any thread, and from a signal handler.

        A worker that does not run yet ends its next run before that begins anything.
        """
        self._stops += 1
        inbox = self._inbox
        if inbox is not None:
            inbox.put()

    def _on_signal(self, _number: int) -> None:
        self.stop()

    def _run(
        self, engine: Engine, loop: asyncio.AbstractEventLoop | None, until: Until | None, handle_signals: bool
    ) -> WorkerStats:
        require_own(self._made, f"the worker {self.name!r}")
        if until is not None and until not in get_args(Until):
            words = ", ".join(map(repr, get_args(Until)))
            raise InvalidValue(f"until: expected one of {words}, or None, found {shown(until)}", path="until")
        if not self._handlers and not self._compensations:
            raise Rejected("this worker has no handler: register one with @worker.task(kind) first")
        if self._inbox is not None:
            raise Rejected(f"the worker {self.name!r} runs already; make another one to run beside it")
        require_known(self._preflights, self._handlers, self._compensations)
        inbox = self._inbox = Inbox()
        pool = ThreadHandlerPool(self.concurrency, inbox, loop)
        try:
            with listening(self._on_signal) if handle_signals else nullcontext():
                config = self._config()
                registration = Registration(engine, self.name, config)
                preflights = Preflights(config.preflights, pool.start_preflight, inbox.put, engine._executor.clock)
                try:
                    self._run_known(engine, config, registration, preflights, inbox, pool, until)
                finally:
                    preflights.close()
                    registration.end()
        finally:
            pool.close()
            self._inbox, self._stops = None, 0
        return self.stats

    def _run_known(
        self,
        engine: Engine,
        config: WorkerConfig,
        registration: Registration,
        preflights: Preflights,
        inbox: Inbox,
        pool: ThreadHandlerPool,
        until: Until | None,
    ) -> None:
        """Run handlers to the end of the run; by its row others know the worker meanwhile."""
        clock = engine._executor.clock
        asked = preflights if config.preflights else None
        worker_loop = WorkerLoop(engine, config, registration.name, pool, clock, registration, asked)
        self.stats = worker_loop.stats
        with _watching(worker_loop), _Waker(engine, inbox) as waker:
            try:
                self._work(worker_loop, registration, inbox, pool, waker, until)
                self._finish(worker_loop, registration, inbox)
            except BaseException:
                _abandon_jobs(worker_loop)
                raise

    def _config(self) -> WorkerConfig:
        return WorkerConfig(
            self.queues,
            dict(self._handlers),
            dict(self._compensations),
            self.concurrency,
            self.claim_ahead,
            self.ttl_ms,
            self.quarantine_unknown,
            dict(self._time_limits_ms),
            frozenset(self._strict),
            dict(self._waivers),
            tuple(self._preflights),
            self.build,
            self.affinity,
        )

    def _work(
        self,
        worker_loop: WorkerLoop,
        registration: Registration,
        inbox: Inbox,
        pool: ThreadHandlerPool,
        waker: _Waker,
        until: Until | None,
    ) -> None:
        """Run round after round, until a caller stops it or `until` is reached."""
        away = 0
        while not self._stops:
            try:
                waker.look()
                if self._is_stopped_by_operator(worker_loop, registration):
                    return
                worker_loop.look()
                while worker_loop.run_round() and not self._stops:
                    worker_loop.collect(_ended(inbox, pool, 0))
                worker_loop.end_overdue()
                away = 0
                if worker_loop.is_draining and not worker_loop.has_unsettled:
                    return
                if until is not None and _has_nothing_left(worker_loop, until):
                    worker_loop.warn_of_unknown_kinds(until)
                    return
                wait_ms = min(worker_loop.wait_ms(), _SLICE_MS)
            except (Unavailable, Unknown) as error:
                if isinstance(error, Closed):
                    _log.error("the store was closed under the worker: %s", error)
                    worker_loop.interrupt()
                    self._stops = max(self._stops, 2)
                    return
                wait_ms = _AWAY_MS[min(away, len(_AWAY_MS) - 1)]
                away += 1
                _log.warning("the store is away, again in %d ms: %s", wait_ms, error)
            if wait_ms:
                waker.arm()
            worker_loop.collect(_ended(inbox, pool, wait_ms / 1_000))

    def _is_stopped_by_operator(self, worker_loop: WorkerLoop, registration: Registration) -> bool:
        """Do what an operator asks, and have the row say that the worker lives; tell whether it is to stop. [WORKER-8]

        A stop is that of the first signal: it counts only where none has come.
        """
        asked = registration.asked()
        if asked == "stop":
            self._stops = max(self._stops, 1)
            return True
        if asked == "drain" and not worker_loop.is_draining:
            worker_loop.drain()
        registration.write_alone(worker_loop.running)
        return False

    def _finish(self, worker_loop: WorkerLoop, registration: Registration, inbox: Inbox) -> None:
        """Let handlers finish until the deadline, interrupt them, and give back the rest."""
        clock_ms = worker_loop.monotonic_ms
        worker_loop.announce_stop()
        until_ms = clock_ms() + self.grace_ms
        self._settle_ended(worker_loop, registration, inbox, until_ms, stops=2)
        if worker_loop.held:
            worker_loop.interrupt()
            until_ms = clock_ms() + min(_INTERRUPT_MS, self.ttl_ms)
            self._settle_ended(worker_loop, registration, inbox, until_ms, stops=2)
        worker_loop.give_back()
        self._settle_ended(worker_loop, registration, inbox, clock_ms() + _INTERRUPT_MS, stops=3)

    def _settle_ended(
        self, worker_loop: WorkerLoop, registration: Registration, inbox: Inbox, until_ms: int, stops: int
    ) -> None:
        """Settle jobs that end, until the worker holds nothing, the time is over, or a further stop or signal comes."""
        while worker_loop.has_unsettled and self._stops < stops:
            left_ms = until_ms - worker_loop.monotonic_ms()
            try:
                worker_loop.look()
                worker_loop.end_overdue()
                worker_loop.run_round()
                registration.write_alone(worker_loop.running)
                wait_ms = min(worker_loop.wait_ms(), left_ms, 50)
            except (Unavailable, Unknown) as error:
                _log.warning("the store is away while the worker stops: %s", error)
                if isinstance(error, Closed):
                    return
                wait_ms = 50
            if left_ms <= 0:
                return
            if worker_loop.has_unsettled:
                worker_loop.collect(inbox.take(max(0, wait_ms) / 1_000))


def _ended(inbox: Inbox, pool: ThreadHandlerPool, wait_s: float) -> list[Job]:
    """Return the jobs that have ended; while others wait in the pool, wait briefly for a few more."""
    ended = inbox.take(wait_s)
    if ended and pool.waiting:
        time.sleep(_COLLECT_MS / 1_000)
        ended += inbox.take(0)
    return ended


def _abandon_jobs(worker_loop: WorkerLoop) -> None:
    """Interrupt the handlers of a worker that cannot continue, and give back what it can."""
    worker_loop.interrupt()
    with suppress(Exception):
        worker_loop.announce_stop()
        worker_loop.give_back()
        worker_loop.run_round()


def _has_nothing_left(worker_loop: WorkerLoop, until: Until) -> bool:
    """Tell whether it is idle, even after another look, as a settlement may have made a task ready; or drained."""
    if until == "drained":
        return worker_loop.is_drained()
    if not worker_loop.is_idle:
        return False
    worker_loop.look()
    return worker_loop.is_idle


@contextmanager
def _watching(worker_loop: WorkerLoop) -> Iterator[None]:
    """Run a thread for the block that interrupts handlers whose lease may be over, even while a commit hangs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(worker_loop.watch() / 1_000):
            pass

    thread = threading.Thread(target=watch, name="sagalog-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1)


class _Waker:
    """A thread that wakes the worker after a commit of another caller; only while the worker waits for one."""

    def __init__(self, engine: Engine, inbox: Inbox) -> None:
        self._engine = engine
        self._inbox = inbox
        self._armed = threading.Event()
        self._is_over = False
        self._seen: int | None = None

    def __enter__(self) -> _Waker:
        threading.Thread(target=self._wake, name="sagalog-wake-up", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._armed.set()

    def look(self) -> None:
        """Note what is committed by now: a later commit is news."""
        self._seen = self._engine.changes()

    def arm(self) -> None:
        """Wake the worker if a caller has committed since `look`."""
        self._armed.set()

    def _wake(self) -> None:
        while not self._is_over:
            self._armed.wait()
            try:
                seen = self._seen
                if seen is not None and not self._is_over:
                    self._engine.wait_change(seen, _SLICE_MS)
                    if self._engine.changes() != seen:
                        self._armed.clear()
                        self._inbox.put()
                        # The worker's own handlers commit too, thousands of times: one look serves many.
                        time.sleep(_WAKE_PAUSE_MS / 1_000)
            except SagalogError:
                # The worker meets the same error, and logs it; a pause keeps this thread from asking all the time.
                self._armed.clear()
                self._inbox.put()
                time.sleep(_AWAY_MS[0] / 1_000)
