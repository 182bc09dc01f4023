"""Workers: handlers by kind, run with leases, heartbeats, durable steps and undos. This file holds the public names.

    worker          `Worker`: registers handlers, and runs until a caller stops it
    worker_loop     one round: settle, renew and claim, in one commit
    held_jobs       the jobs that a worker holds, and when to interrupt them; `claims`, what it claims next
    job_records     what a worker writes of jobs; `config`, its settings and numbers
    handler_pool    what runs handlers: threads, an event loop
    settlement      a handler's end -> what the worker writes
    typed_handlers  handlers that take values of their own types; `annotations`, JSON -> such a value
    context         what a handler may do; `async_context`, the same for coroutines
    preflights      whether the machine can do some kinds of work now
    registration    the row that a worker keeps of itself, and what an operator asks; `process`, when it began
    process_signals SIGTERM, SIGINT and SIGHUP for the workers of a process
    steps           the steps of an attempt: on record, asked for, and in which order
    task_journal    the journals that a handler writes
    waits           which wait of a name comes next, and how those on record have ended
    unknown_kinds   tasks of kinds that a worker does not know; the log names each kind once
    unknown_undos   undos of kinds that a worker does not know; the log names each kind once
    stop_token      whether a handler has to end, and why
    handler_log     what a worker logs of its handlers

Rule: everything that matters is in the log; a worker that is killed loses nothing but its leases.
"""

from sagalog.worker.async_context import AsyncContext, AsyncWorkContext
from sagalog.worker.config import WorkerStats
from sagalog.worker.context import Context
from sagalog.worker.task_journal import AsyncTaskJournal, TaskJournal
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext
from sagalog.worker.worker import Worker

__all__ = [
    "AsyncContext",
    "AsyncTaskJournal",
    "AsyncWorkContext",
    "Context",
    "TaskJournal",
    "UndoContext",
    "WorkContext",
    "Worker",
    "WorkerStats",
]
