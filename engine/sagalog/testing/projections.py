"""The projections over several streams: what of a store follows from its whole log, and what a rebuild gives again.

Rule: `places` has all of it; `lasting` leaves out what depends on when a caller looked: which of the tasks that wait
are ready, who was refused, and when maintenance looks. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sagalog.kernel.accounts import Account
from sagalog.store import Snapshot, Store
from sagalog.store.accounts import is_of_schedule

_PAGE = 1_000


def places(store: Store) -> dict[str, Any]:
    """Return the gate of each task, the account that it lacks, its places under limits, its dedupe key; accounts."""
    with store.read() as snapshot:
        saved = [(one.stream, one.saved) for one in snapshot.audited(0, _PAGE)]
        found: dict[str, Any] = dict(_accounts(snapshot))
    for stream, one in saved:
        if one is not None:
            found[stream] = one.row.gate, one.row.held, one.limit_uses, one.dedupe
    return found


def lasting(store: Store, now_ms: int | None) -> dict[str, Any]:
    """Return what a rebuild gives again: uses of limits, due times of schedules, edges, places and dedupe keys.

    Of keys for a period those whose period is not over at `now_ms`; None: none of them, since the clock has stepped
    back, and some may have been removed. [DEDUPE-4]
    """
    with store.read() as snapshot:
        saved = [(one.stream, one.saved) for one in snapshot.audited(0, _PAGE)]
        found: dict[str, Any] = {
            name: (one.slots_used, one.rate, one.credit, one.at_ms, one.due_ms if is_of_schedule(name) else None)
            for name, one in _accounts(snapshot)
            if one is not None
        }
    # An account of which nothing was ever used is as good as none.
    found = {name: values for name, values in found.items() if values != (0, None, 0, 0, None)}
    for stream, one in saved:
        if one is not None:
            # A task that waits with a key has no place under that before its queue gets settings.
            uses = [use for use in one.limit_uses if use.place == "leased" or use.account.startswith("limit/")]
            units = [(use.account, use.place == "leased", use.section, use.units) for use in uses]
            until_ms = None if one.dedupe is None else one.dedupe.until_ms
            is_lasting = until_ms is None or (now_ms is not None and now_ms < until_ms)
            found[stream] = one.awaited, units, one.dedupe if is_lasting else None
    return found


def _accounts(snapshot: Snapshot) -> Iterator[tuple[str, Account | None]]:
    after = ""
    while page := snapshot.accounts(after, _PAGE):
        yield from page
        after = page[-1][0]
