"""Workers: handlers by kind, run with leases, heartbeats, durable steps and undos. This file holds the public names.

    worker          `Worker`: registers handlers, and runs until it is told to stop
    worker_loop     one round: settle, renew and claim, in one commit
    held_jobs       the jobs that it holds, and what it has to tell them; `claims`, what it claims next
    job_records     what it writes of jobs; `config`, how it works
    handler_pool    what runs handlers: threads, an event loop
    settlement      from a handler's end to what is written
    typed_handlers  handlers that take values of their own types; `annotations`, what an annotation says of JSON
    context         what a handler may do; `async_context`, the same for coroutines
    process_signals SIGTERM, SIGINT and SIGHUP for the workers of a process
    steps           the steps of an attempt: on record, asked for, and in which order
    waits           which wait of a name comes next, and how those on record have ended
    unknown_kinds   tasks of kinds that a worker does not know, each named once
    unknown_undos   undos of kinds that a worker does not know, each named once
    stop_token      whether a handler is to end, and why
    handler_log     what it logs of its handlers

Rule: everything that matters is in the log; a worker that is killed loses nothing but its leases.
"""

from sagalog.worker.async_context import AsyncContext, AsyncWorkContext
from sagalog.worker.config import WorkerStats
from sagalog.worker.context import Context
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext
from sagalog.worker.worker import Worker

__all__ = ["AsyncContext", "AsyncWorkContext", "Context", "UndoContext", "WorkContext", "Worker", "WorkerStats"]
