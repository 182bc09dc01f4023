"""An answer of a model: its tokens at the server's pace, then how it ended; the same for every route.

Rule: nothing is yielded before the first token is there, so that whatever goes wrong until then has a status of its
own. It must not know the shape of any route's frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any, NamedTuple

import msgspec

from tests.ollama_server import keep_alive
from tests.ollama_server.failures import Refused, busy
from tests.ollama_server.inventory import Inventory
from tests.ollama_server.record import Record, Request
from tests.ollama_server.residency import Residency, Resident, ServerBusy
from tests.ollama_server.runner import Completion, RunnerFailure, Sampling
from tests.ollama_server.settings import Settings


class Server(NamedTuple):
    """The parts of one server."""

    settings: Settings
    record: Record
    inventory: Inventory
    residency: Residency


class End(msgspec.Struct, frozen=True):
    """How an answer ended, and the nanoseconds of all of it and of having its model loaded."""

    completion: Completion
    total_ns: int
    load_ns: int


class Order(msgspec.Struct, kw_only=True, frozen=True):
    """What a request wants of which model."""

    model: str
    prompt: str
    options: Mapping[str, Any]
    keep_s: float | None = None


async def answer(server: Server, request: Request, order: Order) -> AsyncGenerator[str | End]:
    """Yield the tokens of an answer, then its end.

    Raises:
        Refused: the server is busy, or the model refuses the prompt.
    """
    began_ns = time.monotonic_ns()
    try:
        async with AsyncExitStack() as stack:
            resident, load_ns = await stack.enter_async_context(_using(server, order))
            await stack.enter_async_context(resident.slots)
            sampling = _sampling(order.options, server.settings.answer_tokens)
            answered = await stack.enter_async_context(aclosing(resident.runner.answer(order.prompt, sampling)))
            pace = _Pace(server.settings.tokens_per_second)
            async for one in answered:
                if isinstance(one, Completion):
                    yield End(one, time.monotonic_ns() - began_ns, load_ns)
                else:
                    await pace.next()
                    server.record.count_token(request)
                    yield one
    except ServerBusy as error:
        raise busy() from error
    except RunnerFailure as error:
        raise Refused(400, str(error)) from error


async def whole(answered: AsyncGenerator[str | End]) -> tuple[str, End]:
    """Return the whole text of an answer, and its end."""
    text = ""
    async with aclosing(answered):
        async for one in answered:
            if isinstance(one, End):
                return text, one
            text += one
    raise AssertionError("an answer without an end")


async def embed(server: Server, order: Order, texts: Sequence[str]) -> tuple[list[list[float]], int, int]:
    """Return a vector of each text, how many tokens they have, and the nanoseconds of having the model loaded.

    Raises:
        Refused: as for an answer.
    """
    try:
        async with _using(server, order) as (resident, load_ns):
            vectors, tokens = await resident.runner.embed(texts)
            return vectors, tokens, load_ns
    except ServerBusy as error:
        raise busy() from error
    except RunnerFailure as error:
        raise Refused(400, str(error)) from error


def keep_seconds(value: Any) -> float | None:
    """Return the seconds of a request's `keep_alive`.

    Raises:
        Refused: it is no duration.
    """
    try:
        return keep_alive.seconds(value)
    except ValueError as error:
        raise Refused(400, str(error)) from error


class _Pace:
    """Lets through so many a second, the first at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._first_s = 0.0
        self._count = 0

    async def next(self) -> None:
        if not self._count:
            self._first_s = time.monotonic()
        elif self._per_second:
            due_s = self._first_s + self._count / self._per_second
            # A loop wakes up to a millisecond early.
            while (left_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
        self._count += 1


def _using(server: Server, order: Order) -> AbstractAsyncContextManager[tuple[Resident, int]]:
    # As in Ollama, two names of the same file are one loaded model.
    return server.residency.using(server.inventory.source(order.model), order.options, order.keep_s)


def _sampling(options: Mapping[str, Any], tokens: int) -> Sampling:
    stop = options.get("stop") or ()
    wanted = options.get("num_predict")
    return Sampling(
        # Negative is without a bound, which here is that of the context.
        tokens if wanted is None else int(wanted),
        (stop,) if isinstance(stop, str) else tuple(stop),
        float(options.get("temperature") or 0),
        int(options.get("seed") or 0),
    )
