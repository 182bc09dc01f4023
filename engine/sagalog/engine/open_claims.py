"""What a snapshot says of limits: their status, and from when on a claim may find something despite them.

Rule: the arithmetic is that of the kernel, and the accounts are as the store has them. It reads only. Knows no store by
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from sagalog.codec import read
from sagalog.engine.pauses import pause_at, paused_keys_of
from sagalog.engine.queries import BreakerStatus, LimitStatus, QueueStatus
from sagalog.errors import Corrupt, InvalidValue, NotFound
from sagalog.kernel.accounts import Account, account_of_key, account_of_limit, account_of_queue
from sagalog.kernel.events import BreakerOpened
from sagalog.kernel.state import LimitFold, QueueFold
from sagalog.kernel.values import Breaker, BreakerMode, BreakerOpening, BreakerPolicy
from sagalog.store import Claim, Snapshot
from sagalog.validation.values import check_name

_PAGE: Final = 1_000
_DEFAULT_QUEUE: Final = "default"
# A listing counts the tasks that a limit holds back no further, so that it costs the same however many there are.
HELD_MAX: Final = 1_000
# How many events before its probe the opening of a breaker is looked for.
_OPENING_WITHIN: Final = 64


def limits_of(snapshot: Snapshot, now_ms: int) -> list[LimitStatus]:
    """Return the named limits, by name, as they are at `now_ms`; one that cannot be read is only named. [LOG-5]"""
    found = [_limit(snapshot, name, now_ms) for name in stream_ids(snapshot, "limit")]
    return [one for one in found if one is not None]


def _limit(snapshot: Snapshot, name: str, now_ms: int) -> LimitStatus | None:
    """Return a named limit; None where it was removed."""
    held = snapshot.placed(account_of_limit(name), "held", HELD_MAX)
    try:
        fold: LimitFold = snapshot.fold(f"limit/{name}")
    except Corrupt as error:
        return LimitStatus(name, None, None, 0, 0, False, None, held, "unreadable", error.message)
    if fold.is_removed:
        return None
    limit = fold.limit
    account = _account(snapshot, account_of_limit(name)).at(limit.rate, now_ms)
    free, pause = account.free(limit), pause_at(snapshot, f"limit/{name}", fold.paused)
    return LimitStatus(
        name,
        limit.slots,
        limit.rate,
        account.slots_used,
        free,
        pause is not None,
        pause,
        held,
        breaker=_given(fold.breaker),
        breaker_mode=_mode(fold),
    )


def queues_of(snapshot: Snapshot, now_ms: int) -> list[QueueStatus]:
    """Return the queues that have settings, by name, as they are at `now_ms`; as `limits_of`."""
    return [_queue(snapshot, name, now_ms) for name in stream_ids(snapshot, "queue")]


def _queue(snapshot: Snapshot, name: str, now_ms: int) -> QueueStatus:
    try:
        fold: QueueFold = snapshot.fold(f"queue/{name}")
    except Corrupt as error:
        unknown = (None, None, None, None)
        return QueueStatus(name, *unknown, 0, None, False, {}, None, "unreadable", error.message)
    own, per_key = fold.own, fold.per_key
    account = _account(snapshot, account_of_queue(name)).at(own.rate, now_ms)
    pause = pause_at(snapshot, f"queue/{name}", fold.paused)
    return QueueStatus(
        name,
        own.slots,
        own.rate,
        per_key.slots,
        per_key.rate,
        account.slots_used,
        account.free(own),
        pause is not None,
        paused_keys_of(snapshot, name, fold.paused_keys),
        pause,
        breaker=_given(fold.breaker),
        affinity_wait_ms=fold.affinity_wait_ms,
        breaker_mode=_mode(fold),
    )


def breakers_of(snapshot: Snapshot) -> list[BreakerStatus]:
    """Return the breakers of named limits and of queues, as they are; without those that cannot be read. [LOG-5]"""
    streams = [f"{category}/{name}" for category in ("limit", "queue") for name in stream_ids(snapshot, category)]
    found = [_breaker(snapshot, stream) for stream in streams]
    return [one for one in found if one is not None]


def _breaker(snapshot: Snapshot, stream: str) -> BreakerStatus | None:
    """Return a breaker; None where there is none, or it cannot be read, which `limits_of` and `queues_of` tell."""
    try:
        fold = snapshot.fold(stream)
    except Corrupt:
        return None
    breaker = _given(fold.breaker)
    return None if breaker is None else _breaker_status(snapshot, fold, breaker, stream)


def _breaker_status(snapshot: Snapshot, fold: LimitFold | QueueFold, breaker: Breaker, stream: str) -> BreakerStatus:
    state, is_limit = fold.breaker_state, isinstance(fold, LimitFold)
    account = _account(snapshot, stream)
    code, cause = (None, None) if state.mode == "closed" else _opening(snapshot, stream, state.generation)
    return BreakerStatus(
        limit=fold.id if is_limit else None,
        queue=None if is_limit else fold.id,
        breaker=breaker,
        mode=state.mode,
        failures=account.failures,
        trips=state.trips,
        since_ms=None if state.mode == "closed" else state.since_ms,
        until_ms=state.until_ms if state.mode == "open" else None,
        task=state.task,
        code=code,
        cause=cause,
    )


def _opening(snapshot: Snapshot, stream: str, generation: int) -> tuple[BreakerOpening | None, str | None]:
    """Return why a breaker has opened last, and the event that caused it; nothing where its event cannot be read.

    It is the event of the generation, or of a half open one a little before: pauses and settings may lie between.
    """
    before = max(0, generation - _OPENING_WITHIN)
    try:
        for envelope in reversed(snapshot.history(stream, before, generation - before)):
            event = read(envelope)
            if isinstance(event, BreakerOpened):
                return event.code, envelope.cause
    except Corrupt:
        pass
    return None, None


def _mode(fold: LimitFold | QueueFold) -> BreakerMode | None:
    return None if fold.breaker is None else fold.breaker_state.mode


def _given(policy: BreakerPolicy | None) -> Breaker | None:
    """Return a breaker as its caller gave it."""
    return None if policy is None else Breaker(*msgspec.structs.astuple(policy))


def account_named(limit: str | None, queue: str | None, key: str | None) -> str:
    """Return the account that a caller names by a limit, a queue, or a key within a queue; raises InvalidValue."""
    if (limit is None) == (queue is None and key is None):
        raise InvalidValue("limit, queue, key: expected a limit, or a queue or a key within it", path="limit")
    if limit is not None:
        return account_of_limit(check_name(limit, "limit"))
    where = check_name(_DEFAULT_QUEUE if queue is None else queue, "queue")
    return account_of_queue(where) if key is None else account_of_key(where, check_name(key, "key"))


def require_limit(snapshot: Snapshot, name: str) -> None:
    """Raise NotFound where there is no limit of this name; one that cannot be read is there."""
    try:
        fold: LimitFold | None = snapshot.fold(f"limit/{name}")
    except Corrupt:
        return
    if fold is None or fold.is_removed:
        raise NotFound(f"there is no limit {name!r}; set it first, or check its name", limit=name)


def claimable_times(snapshot: Snapshot, claim: Claim, now_ms: int) -> Iterator[int | None]:
    """Yield the times from which on a claim may find something: in open queues, and once closed ones open.

    A closed queue gives nothing before a lease there ends, its rate has a unit, or a caller resumes it. [LIMIT-2]
    """
    if claim.purpose != "work":
        yield snapshot.claimable_ms(claim)
        return
    store = snapshot.store()
    excluded = frozenset() if store is None else frozenset(store.paused_kinds)
    opened: list[str] = []
    for queue in claim.queues:
        opens_ms = _opens_ms(snapshot, queue, now_ms)
        if opens_ms is None or opens_ms > now_ms:
            # Without a kind the claim finds no task there, and only what is due for maintenance.
            yield snapshot.claimable_ms(msgspec.structs.replace(claim, queues=(queue,), kinds=frozenset()))
            yield opens_ms
        else:
            opened.append(queue)
    # [LIMIT-8] A clock that was set back cannot show when an account is due.
    since_ms = snapshot.accounts_since_ms()
    if since_ms is not None and since_ms > now_ms:
        yield now_ms
    if opened:
        yield snapshot.claimable_ms(msgspec.structs.replace(claim, queues=tuple(opened), excluded=excluded))


def _opens_ms(snapshot: Snapshot, queue: str, now_ms: int) -> int | None:
    """Return from when on a queue is open for claims, as far as time opens it; None: time does not."""
    if not snapshot.is_governed(queue):
        return now_ms
    fold: QueueFold = snapshot.fold(f"queue/{queue}")
    if fold.paused:
        return None
    state = fold.breaker_state
    if state.lets_none(now_ms):
        # Nothing but the end of its probe opens a half open one.
        return state.until_ms if state.mode == "open" else None
    account = _account(snapshot, account_of_queue(queue)).at(fold.own.rate, now_ms)
    free = account.free(fold.own)
    return now_ms if free is None or free >= 1 else account.refilled_ms(fold.own, 1)


def _account(snapshot: Snapshot, name: str) -> Account:
    return snapshot.account(name) or Account()


def stream_ids(snapshot: Snapshot, category: str) -> Iterable[str]:
    """Yield the ids of the streams of a category of settings, sorted."""
    after, page = "", snapshot.ids(category, "", _PAGE)
    while page:
        yield from page
        # Where a damaged table is out of order, a page may lead back.
        after, before = page[-1], after
        page = snapshot.ids(category, after, _PAGE) if after > before else []
