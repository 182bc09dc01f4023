"""What a worker holds: its jobs, whom of them it has to tell what, and those that it gives up on.

Rule: a lease is counted on no longer than it is sure to last, from the sending of what was accepted on [WORKER-2];
a handler that does not end keeps its thread and nothing else. Claims nothing.
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

# How long a handler that was told to end is waited for before its thread is replaced.
_PATIENCE_MS: Final = 1_000


class HeldJobs:
    """The jobs of one worker. Not safe to share; only `watch` may be called from another thread."""

    def __init__(self, engine: Engine, config: WorkerConfig, pool: HandlerPool, clock: Clock) -> None:
        self._engine = engine
        self._config = config
        self._pool = pool
        self._clock = clock
        # In order, and a thousand of them are taken out one by one.
        self._jobs: dict[Job, None] = {}
        self._ended: dict[Job, None] = {}
        # [WORKER-5] The suspects that are held: nothing is claimed beside them.
        self._alone: set[Job] = set()
        # What is in the log as this worker's and is not worked on here any more.
        self._given_up: set[tuple[str, int]] = set()
        self.stats = WorkerStats()

    def watch(self) -> int:
        """Tell every handler whose lease may be over that it is lost; how soon to look again, in milliseconds.

        [WORKER-2] Measured from the sending of the last renewal that was accepted, so before the store's clock says so.
        """
        now_ms = self._clock.monotonic_ms()
        margin_ms = min(self._config.ttl_ms // 5, 2_000)
        # Leases begin behind its back; so it looks often enough to be in time for any.
        left_ms = max(1, margin_ms // 2)
        for job in tuple(self._jobs):
            over_ms = job.sent_ms + self._config.ttl_ms - margin_ms - now_ms
            if over_ms > 0:
                left_ms = min(left_ms, over_ms)
            elif job.stopping.reason != "lost" and not job.ended:
                _log.warning("no renewal of task %s was accepted in time: its handler is to end", job.lease.task.id)
                job.stopping.tell("lost")
        return left_ms

    def end_overdue(self) -> None:
        """Tell handlers whose time is over, and let others work in the place of those that were told and do not end.

        No thread settles a lease that is lost; one whose handler has used up its time is settled without it.
        """
        now_ms = self._clock.monotonic_ms()
        for job in tuple(self._jobs):
            if job.ended or not job.begun:
                continue
            job.begun_ms = job.begun_ms or now_ms
            if job.time_limit_ms is not None and now_ms - job.begun_ms >= job.time_limit_ms:
                job.stopping.tell_once("time_limit")
            if job.stopping.reason not in ("lost", "time_limit"):
                continue
            job.told_ms = now_ms if job.told_ms is None else job.told_ms
            if now_ms - job.told_ms >= _PATIENCE_MS:
                _log.error("the handler of task %s does not end: its place is given to others", job.lease.task.id)
                if job.stopping.reason == "lost":
                    self._abandon(job)
                else:
                    self._settle_without(job, timing_out(job))

    def interrupt(self) -> None:
        """The deadline has come: every handler is to end."""
        for job in tuple(self._jobs):
            job.stopping.tell("shutdown")

    def give_back(self) -> None:
        """Give back what is still held, whatever its handlers do."""
        for job in tuple(self._jobs):
            if not job.ended:
                self._settle_without(job, giving_back(job, "not_ended"))

    # --- inside -------------------------------------------------------------------------------------------------

    def _keep(self, job: Job) -> None:
        self._jobs[job] = None
        if job.lease.task.is_suspect:
            self._alone.add(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job]
        self._alone.discard(job)

    def _count_lost(self, job: Job) -> None:
        self.stats.lost += not job.is_counted_lost
        job.is_counted_lost = True

    def _settle_without(self, job: Job, settlement: Settlement) -> None:
        """Settle the lease of a job whose handler does not end."""
        self._abandon(job)
        standing_in = Job(job.lease, job.context, job.stopping, job.sent_ms)
        standing_in.undoing, standing_in.settlement, standing_in.ended = job.undoing, settlement, True
        self._keep(standing_in)
        self._ended[standing_in] = None

    def _abandon(self, job: Job) -> None:
        job.abandoned = True
        self._given_up.add((job.lease.task.id, job.lease.fence))
        self._drop(job)
        self._pool.replace(job)

    def _look_for_cancels(self) -> None:
        """Tell handlers whose task was called off, and those whose lease an event has ended. [CANCEL-1]"""
        jobs = {job.lease.task.id: job for job in self._jobs if not job.ended and job.stopping.reason != "lost"}
        lost, asked = self._engine._executor.queries.called_off({id: job.lease.fence for id, job in jobs.items()})
        for id in asked:
            jobs[id].stopping.tell_once("cancelled")
        for id in lost:
            _log.warning("another caller ended the lease of task %s: its handler is to end", id)
            self._count_lost(jobs[id])
            jobs[id].stopping.tell("lost")
