"""Executions: one operation on its way through a commit, round after round, until it has declared all that it reads.

Rule: every store uses it, so that all of them allow the same: 8 rounds, and 1,024 names beyond those first declared.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sagalog.errors import OverBound
from sagalog.kernel.bounds import ROUNDS_MAX, UNDECLARED_MAX
from sagalog.store.operation import Operation, Undeclared

# A tuple of so many is searched faster than a set is made.
_FEW: Final = 8


class Execution:
    """An operation with everything that it has declared so far.

    streams     what its view gives
    writes      what it may append to, beside the tasks that are selected for it
    keys        idempotency keys that its view looks for
    drawn       streams that may be taken for absent without a look
    may_be_plain  whether its operation's `plain` may be asked: what it declared at first has been enough so far
    refusal     once it has asked for too much: its answer
    """

    # As nearly every operation leaves them.
    refusal: OverBound | None = None
    may_be_plain: bool = True
    _rounds = 1
    _added = 0

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        writes: Collection[str] = operation.writes
        self.writes: Collection[str] = writes if len(writes) <= _FEW else frozenset(writes)
        self.streams: Collection[str] = frozenset((*writes, *operation.reads)) if operation.reads else self.writes
        self.keys: Collection[str] = operation.keys
        self.drawn: Collection[str] = operation.drawn

    def locks(self) -> list[str]:
        """What is to be locked for it, in the order of names, but for what the store selects or finds for it.

        That is its streams, and its idempotency keys as `/<key>`: every category has a name, so no stream is named so.
        Keys come first, so a store finds the streams of a key's events, and locks them, once the key is locked.
        [REPEAT-4]
        """
        return [*sorted([f"/{key}" for key in self.keys]), *sorted(self.streams)]

    def look_for_drawn(self) -> None:
        """A stream that was drawn exists all the same, as where an entry is sent twice: look in the next round."""
        self.drawn = ()
        self.may_be_plain = False

    def widen(self, undeclared: Undeclared) -> None:
        """Declare what was asked for, for the next round; past the bounds the operation is refused. [BOUND-5]"""
        self.may_be_plain = False
        self._rounds += 1
        self._added += len(undeclared.streams) + len(undeclared.keys)
        self.streams = frozenset((*self.streams, *undeclared.streams))
        self.writes = frozenset((*self.writes, *undeclared.streams))
        self.keys = frozenset((*self.keys, *undeclared.keys))
        if self._rounds > ROUNDS_MAX:
            self.refusal = _over("rounds", ROUNDS_MAX, f"it would take more than {ROUNDS_MAX} rounds")
        elif self._added > UNDECLARED_MAX:
            self.refusal = _over("undeclared", UNDECLARED_MAX, f"it would need more than {UNDECLARED_MAX:,} others")


def _over(bound: str, maximum: int, why: str) -> OverBound:
    return OverBound(
        f"what is to be written depends on more tasks than the call names, and {why}; write less in one call",
        bound=bound,
        maximum=maximum,
    )
