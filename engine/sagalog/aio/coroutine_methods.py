"""Coroutine methods: each calls the plain method of its name in a thread.

Rule: parameters, defaults and texts are those of the plain method, for people, for type checkers and for `inspect`. It
must not know the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sagalog.aio.pool import Pool
from sagalog.engine.adapters import say_returned

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)


class CoroutineMethod(Generic[S_co]):
    """A plain object, and the threads that call its methods."""

    __slots__ = ("_plain", "_pool")

    def __init__(self, plain: S_co, pool: Pool) -> None:
        self._plain = plain
        self._pool = pool

    def __repr__(self) -> str:
        return f"<Async{repr(self._plain).removeprefix('<')}"

    @property
    def plain(self) -> S_co:
        """Return the object whose calls block."""
        return self._plain


def as_coroutine(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[CoroutineMethod[S], P], Coroutine[Any, Any, R]]:
    """Make a coroutine method of a plain one."""

    @wraps(method)
    async def call(self: CoroutineMethod[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._pool.run(partial(method, self._plain, *args, **kwargs))

    return call


def as_coroutine_of(
    lift: Callable[[R, Pool], T],
    method: Callable[Concatenate[S, P], R],
    give_back: Callable[[S, R], None] | None = None,
) -> Callable[Concatenate[CoroutineMethod[S], P], Coroutine[Any, Any, T]]:
    """Make a coroutine method whose answer is lifted too; `give_back` gets an answer that no caller awaits any more."""

    @wraps(method)
    async def call(self: CoroutineMethod[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        giving = None if give_back is None else partial(give_back, self._plain)
        answer = await self._pool.run(partial(method, self._plain, *args, **kwargs), giving)
        return lift(answer, self._pool)

    say_returned(call, lift.__annotations__["return"], lift.__module__)
    return call


def passed_on(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[CoroutineMethod[S], P], R]:
    """Make a method of a plain one that never blocks; it is called directly."""

    @wraps(method)
    def call(self: CoroutineMethod[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._plain, *args, **kwargs)

    return call
