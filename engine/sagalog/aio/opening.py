"""The function `sagalog.aio.open`: the engine of a URL, to await or to enter.

Rule: the arguments are those of `sagalog.open`. It closes an engine that no caller awaits any more.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial, wraps
from types import TracebackType
from typing import Any, ParamSpec

from sagalog.aio.engine import AsyncEngine
from sagalog.aio.pool import Pool
from sagalog.engine import Engine, opening
from sagalog.engine.adapters import say_returned

P = ParamSpec("P")


class Opening:
    """An engine that is being opened: `await` it, or `async with` it, which also closes the engine.

    Example:
        import asyncio

        import sagalog.aio


        async def main() -> None:
            async with sagalog.aio.open("memory:") as engine:
                await engine.create("build")


        asyncio.run(main())
    """

    def __init__(self, opening: Callable[[], Engine]) -> None:
        self._opening = opening
        self._engine: AsyncEngine | None = None

    def __await__(self) -> Generator[Any, None, AsyncEngine]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncEngine:
        self._engine = await self._open()
        return self._engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._engine is not None
        await self._engine.close()

    async def _open(self) -> AsyncEngine:
        pool = Pool(threads=1)
        try:
            return AsyncEngine(await pool.run(self._opening, Engine.close))
        finally:
            pool.shut_down()


def _opening(plain: Callable[P, Engine]) -> Callable[P, Opening]:
    @wraps(plain)
    def open(*args: P.args, **kwargs: P.kwargs) -> Opening:
        return Opening(partial(plain, *args, **kwargs))

    say_returned(open, Opening.__name__, __name__)
    return open


open = _opening(opening.open)
