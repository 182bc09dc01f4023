"""The events folded per second: typed ones, stored ones, and those of a whole store in an audit.

Rule: the streams are those of whole lives, with all kinds of events, and are made before the measured time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final

import apsw

from bench import lives, stores
from bench.plan import Plan
from bench.report import Figure, Goal
from bench.rounds import interleave, spread
from sagalog import Engine
from sagalog.codec import SHAPES, Envelope, decode
from sagalog.kernel.events import Recordable
from sagalog.kernel.evolve import fold
from sagalog.store.memory import MemoryStore
from sagalog.store.projection import refold
from sagalog.system import SystemClock

_GOAL: Final = Goal(">=", 300_000)
_VERIFY_GOAL: Final = Goal(">=", 200_000)

_EVENTS: Final = (
    "SELECT position, stream, version, at_ms, schema, actor, cause, idempotency_key, data_key, type, body, digest "
    "FROM events ORDER BY stream, version"
)

Typed = tuple[str, list[tuple[Recordable, int, int]]]


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the rate of folding, and of an audit beside the least work that any audit of this log does."""
    tasks, audited = (16, 8) if plan.tiny else (800, plan.count(1_200))
    streams = _streams(tasks)
    typed = [_typed(envelopes) for envelopes in streams]
    events = sum(len(envelopes) for envelopes in streams)
    times = max(1, plan.count(300_000) // events)
    path = plan.folder / "audited.db"
    with stores.open_engine(path, "normal") as engine:
        lives.lead(engine, audited)
        sides = {
            "fold": lambda: events * times / _fold(typed, times),
            "decode": lambda: events / _decode_and_fold(streams),
            "verify": lambda: _verify(engine),
            "least": lambda: _read(path),
        }
        rates = interleave(sides, plan.rounds)
    kind = f"streams of {events / tasks:.1f} events"
    yield Figure(f"fold typed events, {kind}", spread(rates["fold"]), "events/s", _GOAL)
    yield Figure(f"decode stored bodies and fold, {kind}", spread(rates["decode"]), "events/s")
    yield Figure(
        f"verify a store of {audited:,} tasks: digests and all", spread(rates["verify"]), "events/s", _VERIFY_GOAL
    )
    yield Figure("read all events, digest and decode their bodies", spread(rates["least"]), "events/s")


def _streams(tasks: int) -> list[list[Envelope]]:
    clock = SystemClock()
    store = MemoryStore(clock)
    engine = Engine(store, clock=clock)
    ids = lives.lead(engine, tasks)
    with store.read() as snapshot:
        return [snapshot.history(f"task/{id}") for id in ids]


def _typed(envelopes: Sequence[Envelope]) -> Typed:
    id = envelopes[0].stream.partition("/")[2]
    return id, [(decode(envelope), envelope.version, envelope.at_ms) for envelope in envelopes]


def _fold(typed: Sequence[Typed], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        for id, events in typed:
            fold(id, events)
    return time.perf_counter() - started


def _decode_and_fold(streams: Sequence[Sequence[Envelope]]) -> float:
    started = time.perf_counter()
    for envelopes in streams:
        refold(envelopes[0].stream.partition("/")[2], envelopes)
    return time.perf_counter() - started


def _verify(engine: Engine) -> float:
    started = time.perf_counter()
    report = engine.verify()
    took = time.perf_counter() - started
    assert report.ok, report.faults
    return report.events / took


def _read(path: Path) -> float:
    """Return the rate of SQLite, SHA-256 and JSON alone: nothing is folded or compared."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        started, events = time.perf_counter(), 0
        for *_, type, body, expected in connection.execute(_EVENTS):
            content = body.encode()
            assert len(sha256(content).digest()) == len(expected)
            SHAPES.decoders[type].decode(content)
            events += 1
        return events / (time.perf_counter() - started)
