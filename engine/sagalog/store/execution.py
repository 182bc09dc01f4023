"""The execution of one operation in a commit, round after round, until it has declared all that it reads.

Rule: every store uses it, so that all allow the same: 8 rounds, and 1,024 names beyond those first declared. Knows no
stream's content.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sagalog.errors import OverBound
from sagalog.kernel.bounds import ROUNDS_MAX, UNDECLARED_MAX
from sagalog.store.operation import Operation, Undeclared

# Up to so many, the search of a tuple is faster than making a set.
_FEW: Final = 8


class Execution:
    """An operation with everything that it has declared so far.

    writes      the streams that it may append to, beside the tasks that the store selects for it
    keys        idempotency keys that its view looks for
    dedupes     dedupe keys that its view looks for, each behind its kind
    drawn       streams that a store may take for absent without a look
    may_be_plain  whether a store may ask its operation's `plain`: its first declarations have been enough so far
    refusal     once it has asked for too much: its answer
    """

    # Nearly every operation leaves these as they are.
    refusal: OverBound | None = None
    may_be_plain: bool = True
    _streams: frozenset[str] | None = None
    _rounds = 1
    _added = 0

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        writes: Collection[str] = operation.writes
        self.writes: Collection[str] = writes if len(writes) <= _FEW else frozenset(writes)
        self.keys: Collection[str] = operation.keys
        self.dedupes: Collection[tuple[str, str]] = operation.dedupes
        self.drawn: Collection[str] = operation.drawn

    @property
    def streams(self) -> Collection[str]:
        """The streams that its view shows: those declared, and those of the queues of its claim."""
        if self._streams is None:
            operation = self.operation
            queues = () if operation.claim is None else [f"queue/{queue}" for queue in operation.claim.queues]
            self._streams = frozenset((*operation.writes, *operation.reads, *queues))
        return self._streams

    def locks(self) -> list[str]:
        """Return what a store locks for it, in the order of names, except for what the store selects or finds for it.

        That is its streams, its idempotency keys as `/<key>` and its dedupe keys as `#<kind>/<key>`: every category has
        a name, so no stream has such a name. Keys come first, so a store finds the streams of a key's events, or of the
        task that has it, and locks them, once it has locked the key. [REPEAT-4] [DEDUPE-1]
        """
        dedupes = sorted([f"#{kind}/{key}" for kind, key in self.dedupes])
        return [*dedupes, *sorted([f"/{key}" for key in self.keys]), *sorted(self.streams)]

    def look_for_drawn(self) -> None:
        """Look for drawn streams in the next round: one exists after all, as when a caller sends an entry twice."""
        self.drawn = ()
        self.may_be_plain = False

    def widen(self, undeclared: Undeclared) -> None:
        """Declare for the next round what the operation asked for; past the bounds, refuse the operation. [BOUND-5]"""
        self.may_be_plain = False
        self._rounds += 1
        self._added += len(undeclared.streams) + len(undeclared.keys) + len(undeclared.dedupes)
        self._streams = frozenset((*self.streams, *undeclared.streams))
        self.writes = frozenset((*self.writes, *undeclared.streams))
        self.keys = frozenset((*self.keys, *undeclared.keys))
        self.dedupes = frozenset((*self.dedupes, *undeclared.dedupes))
        if self._rounds > ROUNDS_MAX:
            self.refusal = _over_bound("rounds", ROUNDS_MAX, f"it would take more than {ROUNDS_MAX} rounds")
        elif self._added > UNDECLARED_MAX:
            why = f"it would need more than {UNDECLARED_MAX:,} others"
            self.refusal = _over_bound("undeclared", UNDECLARED_MAX, why)


def _over_bound(bound: str, maximum: int, why: str) -> OverBound:
    return OverBound(
        f"the call depends on more tasks than it names, and {why}; write less in one call",
        bound=bound,
        maximum=maximum,
    )
