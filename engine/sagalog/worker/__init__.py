"""Workers: handlers by kind, run with leases, heartbeats, durable steps and undos. This file holds the public names.

    running         `Worker`: what users register handlers with, and its threads
    shift           one turn: settle, renew and claim, in one commit
    holding         what it holds, and whom of that it has to tell what; `claiming`, what is claimed next
    recording       what is written of jobs; `plan`, how a worker works
    crew            who runs handlers: threads, an event loop
    handling        from a handler's end to what is written
    context         what a handler may do; `async_context`, the same for coroutines
    process_signals SIGTERM, SIGINT and SIGHUP for the workers of a process
    steps           the steps of an attempt: on record, asked for, and in which order
    waits           which wait of a name comes next, and how those on record have ended
    unknown_kinds   tasks of kinds that a worker does not know, each named once
    unknown_undos   undos of kinds that a worker does not know, each named once
    stopping        whether a handler is to end, and why

Rule: everything that matters is in the log; a worker that is killed loses nothing but its leases.
"""

from sagalog.worker.async_context import AsyncContext, AsyncWorkContext
from sagalog.worker.context import Context
from sagalog.worker.plan import Tally
from sagalog.worker.running import Worker
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.work_context import WorkContext

__all__ = ["AsyncContext", "AsyncWorkContext", "Context", "Tally", "UndoContext", "WorkContext", "Worker"]
