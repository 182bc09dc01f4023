"""What tests of several folders share: a clock that a test moves, and engines over every store that is always there.

Rule: a test that takes `open_engine` or `engine` runs once on each store, with time and entropy of its own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import Engine, Task
from sagalog.testing import ManualClock, SeededEntropy

START_MS = 1_700_000_000_000
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OpenEngine = Callable[..., Engine]


def pytest_configure() -> None:
    """Hear SIGINT and SIGHUP again: every process of a test inherits that they are ignored.

    A shell starts its background jobs deaf to the one, and `nohup` whatever it runs to the other.
    """
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say which fields of two tasks differ: what is shown of a task is not all of it."""
    if op != "==" or not isinstance(left, Task) or not isinstance(right, Task):
        return None
    fields = [name for name in left.__struct_fields__ if getattr(left, name) != getattr(right, name)]
    return [
        f"{left!r} == {right!r}",
        *(f"{name}: {getattr(left, name)!r} == {getattr(right, name)!r}" for name in fields),
    ]


@pytest.fixture
def clock() -> ManualClock:
    """Time for the test, in the year 2023, until the test moves it."""
    return ManualClock(START_MS)


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store of each kind is made; that of SQLite can be opened several times."""
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def open_engine(store_url: str, clock: ManualClock) -> Iterator[OpenEngine]:
    """Open the store, as often as the test likes, with any argument of `sagalog.open`; all are closed afterwards."""
    opened: list[Engine] = []

    def open_(**arguments: object) -> Engine:
        arguments = {"clock": clock, "entropy": SeededEntropy(len(opened)), "durability": "normal", **arguments}
        opened.append(sagalog.open(store_url, **arguments))  # type: ignore[arg-type]  # whatever the test gives
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(open_engine: OpenEngine) -> Engine:
    """One engine over a new store of each kind."""
    return open_engine()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Where a new SQLite store is made, for what only a store that outlives its process can show."""
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Refuse a test that leaves another handler of a signal behind, or an exception that is still being handled.

    The next SIGINT would end the tests' process; each later exception would have the other one as its context.
    """
    before = [signal.getsignal(number) for number in STOPPING]
    yield
    assert before == [signal.getsignal(number) for number in STOPPING]
    assert sys.exc_info() == (None, None, None)
