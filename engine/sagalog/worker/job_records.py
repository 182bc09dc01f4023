"""The records of a worker about its jobs, in the batch of a round.

Rule: the worker settles the lease, whatever a handler has returned or raised [WORKER-1]; what it cannot write in one
way it writes in another. It must not know stores and threads.
"""

from __future__ import annotations

import logging
from typing import Final

from sagalog.engine.batch import Batch
from sagalog.errors import Rejected
from sagalog.kernel.values import Failure, Parameters
from sagalog.worker.handler_pool import Job
from sagalog.worker.settlement import Ending, Settlement, second_settlement
from sagalog.worker.verdicts import give_back

_log: Final = logging.getLogger("sagalog.worker")


def record_settlement(batch: Batch, job: Job, settlement: Settlement) -> Settlement:
    """Record a settlement; if it is refused, record another one and return that."""
    try:
        if not job.context._begins_something:
            settlement(batch)
        else:
            with batch.group():
                settlement(batch)
    except Exception as refusal:  # noqa: BLE001  the lease is settled in any case [WORKER-1]
        _log.error("the outcome of the handler of task %s cannot be stored: %s", job.lease.task.id, refusal)
        settlement = second_settlement(job.lease, job.undo_at, refusal, settlement)
        settlement(batch)
    return settlement


def record_renewal(batch: Batch, job: Job, ttl_ms: int, progress: object) -> None:
    """Record a renewal, with the progress if it can be stored. [LEASE-3]"""
    try:
        batch.heartbeat(job.lease, ttl_ms, progress)
    except Rejected as refusal:
        _log.error("the progress of task %s cannot be stored: %s", job.lease.task.id, refusal)
        job.context._forget_progress()
        batch.heartbeat(job.lease, ttl_ms)


def timing_out(job: Job) -> Settlement:
    """Return the settlement of a handler that has used up its time."""
    parameters: Parameters | None = None if job.time_limit_ms is None else {"time_limit_ms": job.time_limit_ms}
    failure = Failure("time_limit", "", parameters=parameters)
    return Ending(lambda batch: batch.retry(job.lease, failure), "retry", failure)


def giving_back(job: Job, code: str) -> Settlement:
    """Return the settlement that burns no attempt."""
    return lambda batch: give_back(batch, job.lease, code)
