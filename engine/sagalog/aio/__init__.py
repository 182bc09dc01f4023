"""The engine and its workers for asyncio: the same calls, awaited. This file holds the public names.

    opening         `open`
    engine          `AsyncEngine`: every call of an engine as a coroutine
    batch, lease, subscription   `AsyncBatch`, `AsyncLease`, `AsyncSubscription`
    journal         `AsyncJournal`, and the readers that follow one
    worker          `Worker`, whose coroutine handlers run on the caller's event loop
    coroutine_methods   a plain method -> its coroutine
    pool            threads for calls that block
    change_watch    waiting for a commit without a thread for each coroutine

Rule: it implements nothing anew; a call is the plain one, in a thread and not on the event loop. A test compares the
two surfaces.
"""

from sagalog.aio.batch import AsyncBatch, AsyncResult
from sagalog.aio.engine import AsyncEngine
from sagalog.aio.journal import AsyncJournal, AsyncJournalReader
from sagalog.aio.lease import AsyncLease, AsyncRenewal
from sagalog.aio.opening import Opening
from sagalog.aio.opening import open as open
from sagalog.aio.subscription import AsyncSubscription
from sagalog.aio.worker import Worker

__all__ = [
    "AsyncBatch",
    "AsyncEngine",
    "AsyncJournal",
    "AsyncJournalReader",
    "AsyncLease",
    "AsyncRenewal",
    "AsyncResult",
    "AsyncSubscription",
    "Opening",
    "Worker",
    "open",
]
