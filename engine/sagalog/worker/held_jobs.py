"""The jobs that a worker holds: which of them it has to interrupt, and which it abandons.

Rule: the worker relies on a lease only as long as it certainly lasts, measured from the moment when it sent the last
accepted renewal. [WORKER-2] A handler that does not end keeps its thread and nothing else. It claims nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from sagalog.engine import Engine
from sagalog.ports import Clock
from sagalog.worker.config import WorkerConfig, WorkerStats
from sagalog.worker.handler_pool import HandlerPool, Job
from sagalog.worker.job_records import giving_back, timing_out
from sagalog.worker.settlement import Settlement

_log: Final = logging.getLogger("sagalog.worker")

# How long the worker waits for an interrupted handler before it replaces its thread.
_END_WAIT_MS: Final = 1_000


class HeldJobs:
    """The jobs of one worker, for one thread; only `watch` may be called from another one."""

    def __init__(self, engine: Engine, config: WorkerConfig, pool: HandlerPool, clock: Clock) -> None:
        self._engine = engine
        self._config = config
        self._pool = pool
        self._clock = clock
        # Dictionaries keep the order, and remove each of a thousand jobs quickly.
        self._jobs: dict[Job, None] = {}
        self._ended: dict[Job, None] = {}
        # [WORKER-5] The suspects that it holds: it claims nothing beside them.
        self._suspects: set[Job] = set()
        # Leases that the log has as this worker's, and for which it runs no handler any more.
        self._abandoned: set[tuple[str, int]] = set()
        self.stats = WorkerStats()

    def watch(self) -> int:
        """Interrupt every handler whose lease may be over; return how soon to look again, in milliseconds.

        [WORKER-2] The time counts from the sending of the last accepted renewal, so it ends before the store's clock
        says so.
        """
        now_ms = self._clock.monotonic_ms()
        margin_ms = min(self._config.ttl_ms // 5, 2_000)
        # Another thread begins leases, so this one looks often enough to be in time for any of them.
        left_ms = max(1, margin_ms // 2)
        for job in tuple(self._jobs):
            over_ms = job.sent_ms + self._config.ttl_ms - margin_ms - now_ms
            if over_ms > 0:
                left_ms = min(left_ms, over_ms)
            elif job.stopping.reason != "lost" and not job.ended:
                _log.warning("no renewal of task %s was accepted in time: its handler has to end", job.lease.task.id)
                job.stopping.request("lost")
        return left_ms

    def end_overdue(self) -> None:
        """Interrupt handlers whose time is over, and replace the threads of interrupted handlers that do not end.

        The worker settles no lease that is lost. If a handler has used up its time, the worker settles its lease
        without it.
        """
        now_ms = self._clock.monotonic_ms()
        for job in tuple(self._jobs):
            if job.ended or not job.begun:
                continue
            job.begun_ms = job.begun_ms or now_ms
            if job.time_limit_ms is not None and now_ms - job.begun_ms >= job.time_limit_ms:
                job.stopping.request_once("time_limit")
            if job.stopping.reason not in ("lost", "time_limit"):
                continue
            job.stop_requested_ms = now_ms if job.stop_requested_ms is None else job.stop_requested_ms
            if now_ms - job.stop_requested_ms >= _END_WAIT_MS:
                _log.error("the handler of task %s does not end: other handlers get its place", job.lease.task.id)
                if job.stopping.reason == "lost":
                    self._abandon(job)
                else:
                    self._settle_without(job, timing_out(job))

    def interrupt(self) -> None:
        """Interrupt every handler: the deadline has come."""
        for job in tuple(self._jobs):
            job.stopping.request("shutdown")

    def give_back(self) -> None:
        """Give back every lease that the worker still holds, whatever its handlers do."""
        for job in tuple(self._jobs):
            if not job.ended:
                self._settle_without(job, giving_back(job, "not_ended"))

    # --- inside -------------------------------------------------------------------------------------------------

    def _keep(self, job: Job) -> None:
        self._jobs[job] = None
        if job.lease.task.is_suspect:
            self._suspects.add(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job]
        self._suspects.discard(job)

    def _count_lost(self, job: Job) -> None:
        self.stats.lost += not job.is_counted_lost
        job.is_counted_lost = True

    def _settle_without(self, job: Job, settlement: Settlement) -> None:
        """Settle the lease of a job whose handler does not end."""
        self._abandon(job)
        substitute = Job(job.lease, job.context, job.stopping, job.sent_ms)
        substitute.undoing, substitute.settlement, substitute.ended = job.undoing, settlement, True
        self._keep(substitute)
        self._ended[substitute] = None

    def _abandon(self, job: Job) -> None:
        job.abandoned = True
        self._abandoned.add((job.lease.task.id, job.lease.fence))
        self._drop(job)
        self._pool.replace(job)

    def _look_for_cancels(self) -> None:
        """Interrupt handlers whose task was cancelled, and those whose lease an event has ended. [CANCEL-1]"""
        jobs = {job.lease.task.id: job for job in self._jobs if not job.ended and job.stopping.reason != "lost"}
        lost, asked = self._engine._executor.queries.called_off({id: job.lease.fence for id, job in jobs.items()})
        for id in asked:
            jobs[id].stopping.request_once("cancelled")
        for id in lost:
            _log.warning("another caller ended the lease of task %s: its handler has to end", id)
            self._count_lost(jobs[id])
            jobs[id].stopping.request("lost")
