"""The class `AsyncBatch`: commands recorded in an `async with` block, and carried out in one commit at its end.

Rule: a recorded command is a plain call and writes nothing; only the end of the block is awaited, and runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

from sagalog.aio.coroutine_methods import CoroutineMethod, passed_on
from sagalog.aio.lease import AsyncLease, give_back, lift_lease_or_task, lower_lease
from sagalog.aio.pool import Pool
from sagalog.engine import Engine
from sagalog.engine.adapters import call_of
from sagalog.engine.batch import Batch, Result
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.errors import SagalogError

P = ParamSpec("P")
R = TypeVar("R")

# What `AsyncBatch.results` holds for each command.
AsyncResult = AsyncLease | Task | list[AsyncLease] | tuple[AsyncLease | Task, ...] | SagalogError


def _held(
    method: Callable[Concatenate[Batch, Lease, P], R],
) -> Callable[Concatenate[AsyncBatch, AsyncLease, P], R]:
    """Record a verb of a lease's holder."""

    @call_of(method, 2)
    def call(self: AsyncBatch, lease: AsyncLease, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.plain, lower_lease(lease), *args, **kwargs)

    return call  # type: ignore[return-value]  # its callers may also name the lease


class AsyncBatch(CoroutineMethod[Batch]):
    """Commands that are recorded in an `async with` block and carried out in one commit when the block ends.

    It is an awaited `Batch`, with its errors. Recording is plain and writes nothing. A caller that is cancelled while
    it waits for the end of the block does not stop a commit that was begun; what that has claimed or acquired is given
    back.
    """

    __slots__ = ("_engine",)

    def __init__(self, plain: Batch, pool: Pool, engine: Engine) -> None:
        super().__init__(plain, pool)
        self._engine = engine

    async def __aenter__(self) -> AsyncBatch:
        self.plain.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and len(self):
            await self._pool.run(lambda: self.plain.__exit__(None, None, None), lambda _: self._give_back_claimed())
        else:
            self.plain.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def results(self) -> list[AsyncResult]:
        """The answer to each command in order, as `Batch.results`, with an `AsyncLease` for each Lease."""
        return [_lift_result(result, self._pool) for result in self.plain.results]

    def group(self) -> AbstractContextManager[None]:
        """Group what is recorded within a plain `with` block, as `Batch.group`.

        Raises:
            Rejected: a group is opened within a group, or a claim is recorded in it.
        """
        return self.plain.group()

    create = passed_on(Batch.create)
    cancel = passed_on(Batch.cancel)
    quarantine = passed_on(Batch.quarantine)
    signal = passed_on(Batch.signal)
    note = passed_on(Batch.note)
    waive = passed_on(Batch.waive)
    retry_as_new = passed_on(Batch.retry_as_new)
    amend = passed_on(Batch.amend)
    acquire = passed_on(Batch.acquire)
    claim = passed_on(Batch.claim)

    heartbeat = _held(Batch.heartbeat)
    register = _held(Batch.register)
    step = _held(Batch.step)
    put_artifact = _held(Batch.put_artifact)
    use = _held(Batch.use)
    healthy = _held(Batch.healthy)
    adopt_child = _held(Batch.adopt_child)
    park = _held(Batch.park)
    release = _held(Batch.release)
    retry = _held(Batch.retry)
    complete = _held(Batch.complete)
    fail = _held(Batch.fail)
    quarantine_held = _held(Batch.quarantine_held)
    compensation_done = _held(Batch.compensation_done)
    compensation_failed = _held(Batch.compensation_failed)

    def _give_back_claimed(self) -> None:
        give_back(self._engine, self.plain._leased())


def _lift_result(result: Result, pool: Pool) -> AsyncResult:
    if isinstance(result, list):
        return [AsyncLease(lease, pool) for lease in result]
    if isinstance(result, tuple):
        return tuple(lift_lease_or_task(one, pool) for one in result)
    return AsyncLease(result, pool) if isinstance(result, Lease) else result
