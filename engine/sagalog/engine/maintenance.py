"""Upkeep: what is due whoever comes by, done a bounded share a commit. [UPKEEP-1]

Rule: what is due is read from the state and the time; a task that cannot be read never stops the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sagalog.actors import MAINTENANCE
from sagalog.engine import operations
from sagalog.engine.lease_watch import DELAYED_MAX, Observer
from sagalog.engine.reading import Reading
from sagalog.engine.unit_of_work import Maintained
from sagalog.errors import SagalogError
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.store import Due
from sagalog.validation import arguments
from sagalog.validation.values import check_integer


class Upkeep(Reading):
    """`recover`, and what a claim does of it."""

    _observer: Observer
    _actor: str | None

    def recover(
        self,
        limit: int | None = None,
        unknown_kinds: Iterable[str] = (),
        *,
        queues: str | Sequence[str] | None = None,
        known_kinds: Iterable[str] | None = None,
    ) -> list[Maintained]:
        """Do all upkeep that is due, on at most `limit` tasks; what happened to each. [UPKEEP-1]

        Ends leases and waits that are over, lets in what has become due, and quarantines what owes compensations that
        nobody knows, or has waited for its undo longer than its policy allows. [UNDO-2]
        A task that cannot be read never stops the others. Doing it again changes nothing more.

        Args:
            limit: at most so many tasks.
            unknown_kinds: compensation kinds that nobody knows; or
            known_kinds: those that somebody knows, so that all others are unknown to everybody.
            queues: only in these; None: in every one.
        """
        unknown = arguments.names(unknown_kinds, "unknown_kinds") or frozenset()
        known = arguments.names(known_kinds, "known_kinds")
        where = None if queues is None else arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        if limit is not None:
            check_integer(limit, "limit", 1, bounds.TIME_MS_MAX)
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            # Only what is over in these queues counts against the limit, and a wait that is looked at may go on.
            over = [*snapshot.over(now_ms, limit if where is None else None), *snapshot.waits_over(now_ms)]
        due = [c.Maintain(task=task.id) for task in over if where is None or task.queue in where]
        maintained = self._maintain([*due, *self._unseen(where)], limit)
        # Read after those leases have ended, so that what they leave is looked at in this call too.
        with self._store.read() as snapshot:
            undoing = [
                c.Maintain(task=id, unknown_kinds=unknown, known_kinds=known, overdue=True)
                for id in snapshot.undoing(now_ms, where, unknown, known)
            ]
        # [ACTOR-2] That no worker knows a kind is the caller's word.
        declared = bool(unknown) or known is not None
        actor = (self._actor if declared else None) or MAINTENANCE
        maintained += self._maintain(undoing, None if limit is None else limit - len(maintained), actor)
        self._let_in(limit, where)
        return maintained

    # --- inside -------------------------------------------------------------------------------------------------

    def _maintain(
        self, commands: Sequence[c.Maintain], limit: int | None, actor: str = MAINTENANCE
    ) -> list[Maintained]:
        """Do what is due on each task, one operation a task, until `limit` of them had something due."""
        maintained: list[Maintained] = []
        done = 0
        while done < len(commands) and (limit is None or len(maintained) < limit):
            count = bounds.UPKEEP_LIMIT if limit is None else min(bounds.UPKEEP_LIMIT, limit - len(maintained))
            some = commands[done : done + count]
            for answer in self._store.commit([operations.maintaining_tasks((command,), actor) for command in some]):
                maintained += answered(answer)
            done += count
        return maintained

    def _let_in(self, limit: int | None, queues: tuple[str, ...] | None) -> None:
        """Let in everything whose time has come, a bounded share a commit, or `limit` tasks."""
        share = bounds.UPKEEP_LIMIT if limit is None else min(bounds.UPKEEP_LIMIT, limit)
        let_in = 0
        while limit is None or let_in < limit:
            more: int = answered(self._store.commit((operations.promoting(Due(queues, share)),))[0])
            let_in += more
            if more < share:
                return

    def _end_unseen(self, queues: tuple[str, ...]) -> bool:
        """End leases and delays that only a monotonic clock can see to be over; whether there were any. [TIME-3]"""
        commands = self._unseen(queues)
        if not commands:
            return False
        return bool(answered(self._store.commit((operations.maintaining_tasks(commands),))[0]))

    def _unseen(self, queues: tuple[str, ...] | None) -> list[c.Maintain]:
        """What the monotonic clock can say of leases whose renewal lies in the future, and of delayed tasks."""
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        with self._store.read() as snapshot:
            # Of all queues, so that who looks there later finds them seen for long enough.
            was_set_back = self._observer.was_set_back(now_ms, snapshot.latest_ms)
            is_to_look = self._observer.is_to_look(queues, monotonic_ms) or was_set_back
            behind = snapshot.behind(now_ms, queues) if is_to_look else []
            delayed = snapshot.delayed(now_ms, DELAYED_MAX) if was_set_back else []
        return [
            *self._observer.look(behind, monotonic_ms, everywhere=queues is None),
            *self._observer.look_at_delayed(delayed, monotonic_ms, queues),
        ]


def answered(answer: Any) -> Any:
    """What an operation answered, or its refusal raised."""
    if isinstance(answer, SagalogError):
        raise answer
    return answer
