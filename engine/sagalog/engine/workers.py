"""What workers say of themselves: a row each beside the log, and a row each for what an operator asks of them.

Rule: the engine decides nothing by these rows; a worker alone writes its own, and an operator alone asks. [WORKER-7]
Knows no executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from sagalog.kernel.bounds import KEPT_BYTES_MAX
from sagalog.store import Kept

# The spaces of their names.
WORKERS: Final = "workers"
REQUESTS: Final = "worker_requests"

# [WORKER-7] How often a worker writes its row, how long it counts as live after that, and how long its row is kept.
WRITTEN_MS: Final = 10_000
LIVE_MS: Final = 30_000
REMOVED_MS: Final = 86_400_000
# How many rows are read at a time.
_PAGE: Final = 1_000


WorkerState = Literal["working", "draining", "stopping", "ended"]
WorkerVerb = Literal["drain", "stop"]


class FailedPreflight(msgspec.Struct, frozen=True, omit_defaults=True):
    """A preflight of a worker that fails, so that this worker claims none of its kinds. [WORKER-9]

    name                the name of the preflight
    text                what it has raised or returned
    since_ms            since when it fails, in milliseconds since 1970
    kinds               the kinds of tasks that the worker does not claim
    compensation_kinds  the kinds of compensations that it does not claim
    """

    name: str
    text: str
    since_ms: int
    kinds: tuple[str, ...] = ()
    compensation_kinds: tuple[str, ...] = ()


class WorkerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker as it was last seen, as `Engine.workers` gives it. [WORKER-7]

    name                the owner of its leases: its own name and a part that no other worker has
    host, pid           where it runs
    process_started_ms  when that process began, so that a reused pid is told apart; None where the system does not say
    queues, kinds, compensation_kinds   what it works on, and has handlers for
    concurrency         how many handlers it runs at a time
    running             how many it ran when it was last seen
    state               "working"; "draining": it takes nothing new; "stopping": it was told to stop; "ended"
    since_ms, seen_ms   when it began, and when it was last seen, in milliseconds since 1970
    failed_preflights   what it does not claim meanwhile, and why [WORKER-9]
    left_out            how many names of queues and kinds its row has no room for
    build               the build that it names; None: none
    is_live             whether it was seen within 30 s, and has not ended
    """

    name: str
    host: str
    pid: int
    process_started_ms: int | None
    queues: tuple[str, ...]
    kinds: tuple[str, ...]
    compensation_kinds: tuple[str, ...]
    concurrency: int
    running: int
    state: WorkerState
    since_ms: int
    seen_ms: int
    failed_preflights: tuple[FailedPreflight, ...] = ()
    left_out: int = 0
    build: str | None = None
    is_live: bool = False


class WorkerRequest(msgspec.Struct, frozen=True):
    """What an operator asks of a worker, by whom and when, in milliseconds since 1970. [WORKER-8]"""

    verb: WorkerVerb
    actor: str | None
    at_ms: int


def row_of(worker: WorkerInfo) -> Kept:
    """Return a worker's row; where it would be too long, names of kinds and queues are left out, and counted."""
    content = msgspec.json.encode(worker)
    while len(content) > KEPT_BYTES_MAX:
        worker = _shortened(worker)
        content = msgspec.json.encode(worker)
    return Kept(WORKERS, worker.name, content.decode())


def worker_in(kept: str, now_ms: int) -> WorkerInfo | None:
    """Return the worker that a row shows at this time; None: it is no such row."""
    try:
        worker = msgspec.json.decode(kept, type=WorkerInfo)
    except msgspec.MsgspecError:
        return None
    # A worker whose clock was ahead for a while has been seen at a time that has not come.
    is_seen = abs(now_ms - worker.seen_ms) < LIVE_MS
    return msgspec.structs.replace(worker, is_live=is_seen and worker.state != "ended")


def workers_in(kept_in: Callable[[str, str, int], list[tuple[str, str]]], now_ms: int) -> list[WorkerInfo]:
    """Return the workers at this time, by name; `kept_in` answers as `Reads.kept_in`."""
    found: list[WorkerInfo | None] = []
    after = ""
    while page := kept_in(WORKERS, after, _PAGE):
        found += [worker_in(kept, now_ms) for _, kept in page]
        after = page[-1][0]
    return [worker for worker in found if worker is not None]


def request_in(kept: str | None) -> WorkerRequest | None:
    """Return what an operator asks by this row; None: nothing that this version knows."""
    try:
        return None if kept is None else msgspec.json.decode(kept, type=WorkerRequest)
    except msgspec.MsgspecError:
        return None


def outdated(workers: Iterable[tuple[str, str]], requests: Iterable[str], now_ms: int) -> list[Kept]:
    """Return the rows to remove: of workers that were last seen more than a day ago, and of requests of no worker."""
    gone: list[Kept] = []
    left: set[str] = set()
    for name, kept in workers:
        worker = worker_in(kept, now_ms)
        if worker is None or abs(now_ms - worker.seen_ms) <= REMOVED_MS:
            left.add(name)
        else:
            gone.append(Kept(WORKERS, name, None))
    return gone + [Kept(REQUESTS, name, None) for name in requests if name not in left]


def _shortened(worker: WorkerInfo) -> WorkerInfo:
    """Return the worker with half as many names in the longest of its lists."""
    lists = ("failed_preflights", "kinds", "compensation_kinds", "queues")
    longest: str = max(lists, key=lambda name: len(msgspec.json.encode(getattr(worker, name))))
    names: tuple[Any, ...] = getattr(worker, longest)
    kept = names[: len(names) // 2]
    left_out = worker.left_out + len(names) - len(kept)
    return msgspec.structs.replace(worker, **{longest: kept, "left_out": left_out})
