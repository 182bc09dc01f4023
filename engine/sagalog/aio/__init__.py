"""The engine and its workers for asyncio: the same calls, awaited. This file holds the public names.

    opening         `open`
    engine          `AsyncEngine`: every call of an engine as a coroutine
    batch, lease, subscription   `AsyncBatch`, `AsyncLease`, `AsyncSubscription`
    worker          `Worker`, whose coroutine handlers run on the caller's event loop
    lifting         from a plain method to its coroutine
    pool, watching  threads for calls; coroutines that wait for a commit without one

Rule: no second implementation; a call is the plain one, taken off the event loop. A test compares the two surfaces.
"""

from sagalog.aio.batch import AsyncBatch, AsyncResult
from sagalog.aio.engine import AsyncEngine
from sagalog.aio.lease import AsyncLease, AsyncRenewal
from sagalog.aio.opening import Opening
from sagalog.aio.opening import open as open
from sagalog.aio.subscription import AsyncSubscription
from sagalog.aio.worker import Worker

__all__ = [
    "AsyncBatch",
    "AsyncEngine",
    "AsyncLease",
    "AsyncRenewal",
    "AsyncResult",
    "AsyncSubscription",
    "Opening",
    "Worker",
    "open",
]
