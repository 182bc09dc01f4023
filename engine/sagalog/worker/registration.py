"""The row that a running worker keeps of itself beside the log, and what an operator asks of it.

Rule: the row is written with a commit that the worker makes anyway, where there is one. A row that cannot be written
stops nothing: the worker goes on, and tries again later. [WORKER-7] It must not know handlers and threads.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from sagalog.engine import Engine
from sagalog.engine.batch import Batch
from sagalog.engine.workers import (
    REQUESTS,
    WORKERS,
    WRITTEN_MS,
    FailedPreflight,
    WorkerInfo,
    WorkerState,
    WorkerVerb,
    outdated,
    request_in,
    row_of,
)
from sagalog.errors import Corrupt, SagalogError, Unavailable, Unknown
from sagalog.store import Kept
from sagalog.worker.config import WorkerConfig
from sagalog.worker.process import process_started_ms

_log: Final = logging.getLogger("sagalog.worker")

# For how much longer the row waits for a commit that is made anyway.
_ALONE_MS: Final = 2_000
# How soon the worker tries again to write a row that it could not write; how often it looks at what is asked of it.
_AGAIN_MS: Final = 2_000
_LOOK_MS: Final = 1_000
_PAGE: Final = 1_000
_REMOVED_MAX: Final = 1_000


class Registration:
    """The row of one run of a worker, for one thread.

    name               the name of the row, which is the owner of the worker's leases
    state              what the row says next
    failed_preflights  those that the row shows next
    """

    def __init__(self, engine: Engine, name: str, config: WorkerConfig) -> None:
        self._engine = engine
        self._executor = engine._executor
        self._clock = self._executor.clock
        self._config = config
        self.state: WorkerState = "working"
        self.failed_preflights: tuple[FailedPreflight, ...] = ()
        self._host = socket.gethostname()
        self._process_started_ms = process_started_ms()
        self._since_ms = engine.now_ms()
        self._is_changed = True
        self._written_ms = self._failed_ms = self._looked_ms = self._clock.monotonic_ms() - WRITTEN_MS
        self.name = self._begin(name)

    # --- writing --------------------------------------------------------------------------------------------------

    def note_state(self, state: WorkerState) -> None:
        """Note what the worker does now; the row says so soon."""
        self._is_changed |= state != self.state
        self.state = state

    def note_preflights(self, failed: tuple[FailedPreflight, ...]) -> None:
        """Note which preflights fail; the row says so soon."""
        self._is_changed |= failed != self.failed_preflights
        self.failed_preflights = failed

    def write_beside(self, batch: Batch, running: int) -> bool:
        """Have a batch that holds something write the row too, if it is time; tell whether it does."""
        if not len(batch) or not self._is_due(0):
            return False
        batch._keep(self._row(running))
        return True

    def note_written(self) -> None:
        """Note that the commit of that batch is on disk."""
        self._written_ms = self._clock.monotonic_ms()
        self._is_changed = False

    def write_alone(self, running: int) -> None:
        """Write the row in a commit of its own, if none that is made anyway has written it in time."""
        if self._is_due(_ALONE_MS) and self._clock.monotonic_ms() - self._failed_ms >= _AGAIN_MS:
            self._write(running)

    def end(self) -> None:
        """Write that the worker has ended."""
        self.note_state("ended")
        self._write(0)

    def _is_due(self, grace_ms: int) -> bool:
        return self._is_changed or self._clock.monotonic_ms() - self._written_ms >= WRITTEN_MS + grace_ms

    def _write(self, running: int) -> None:
        try:
            self._executor.carry_out_all((), together=False, kept=(self._row(running),))
        except SagalogError:
            self._failed_ms = self._clock.monotonic_ms()
        else:
            self.note_written()

    def _row(self, running: int) -> Kept:
        config = self._config
        worker = WorkerInfo(
            self.name,
            self._host,
            os.getpid(),
            self._process_started_ms,
            config.queues,
            tuple(config.handlers),
            tuple(config.compensations),
            config.concurrency,
            running,
            self.state,
            self._since_ms,
            self._engine.now_ms(),
            self.failed_preflights,
            build=config.build,
        )
        return row_of(worker)

    # --- what is asked --------------------------------------------------------------------------------------------

    def asked(self) -> WorkerVerb | None:
        """Look, if it is time, whether an operator has asked the worker to drain or to stop; raises Unavailable."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._looked_ms < _LOOK_MS:
            return None
        self._looked_ms = now_ms
        request = None
        with suppress(Corrupt):
            # Another program has changed it: an audit says so, and an operator may ask again.
            request = request_in(self._executor.queries.kept(REQUESTS, self.name))
        if request is None:
            return None
        if request.verb != _VERB_OF.get(self.state):
            _log.info("%s asks the worker %s to %s", request.actor or "an operator", self.name, request.verb)
        return request.verb

    # --- beginning ------------------------------------------------------------------------------------------------

    def _begin(self, name: str) -> str:
        """Take a name that no other worker has, write the first row, and remove the rows of long ago."""
        while True:
            self.name = f"{name}-{self._executor.draw_id()[-8:]}"
            try:
                row = self._row(0)
                if not self._executor.keep(WORKERS, self.name, None, row.value):
                    continue
            except (Unavailable, Unknown):
                self._failed_ms = self._clock.monotonic_ms()
                return self.name
            self.note_written()
            with suppress(Unavailable, Unknown):
                self._remove_outdated()
            return self.name

    def _remove_outdated(self) -> None:
        # Requests first: a worker that begins meanwhile, and is asked something, then has a row.
        requests = [name for name, _ in self._kept_in(REQUESTS)]
        gone = outdated(self._kept_in(WORKERS), requests, self._engine.now_ms())[:_REMOVED_MAX]
        if gone:
            self._executor.carry_out_all((), together=False, kept=gone)

    def _kept_in(self, space: str) -> Iterator[tuple[str, str]]:
        after = ""
        while page := self._executor.queries.kept_in(space, after, _PAGE):
            yield from page
            after = page[-1][0]


_VERB_OF: Final[dict[WorkerState, WorkerVerb]] = {"draining": "drain", "stopping": "stop"}
