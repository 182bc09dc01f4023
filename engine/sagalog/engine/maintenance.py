"""Maintenance: the next claim or `recover` does what is due, a bounded share a commit. [UPKEEP-1]

Rule: the state and the time alone determine what is due; a task that cannot be read never stops the others. Knows no
store by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagalog.actors import MAINTENANCE
from sagalog.engine import operations
from sagalog.engine.command_work import Maintained
from sagalog.engine.lease_watch import LeaseWatch
from sagalog.engine.rediscovery import Rediscovery
from sagalog.errors import SagalogError
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.ports import Clock
from sagalog.store import Due, Store


class Maintenance:
    """The maintenance of one store, as far as this process sees what is due.

    `actor` is on record where a caller declares kinds that no worker knows.
    """

    def __init__(self, store: Store, clock: Clock, actor: str | None) -> None:
        self._store = store
        self._clock = clock
        self._actor = actor
        self._watch = LeaseWatch(clock)
        self._rediscovery = Rediscovery(store)

    def recover(
        self,
        limit: int | None,
        queues: tuple[str, ...] | None,
        unknown_kinds: frozenset[str],
        known_kinds: frozenset[str] | None,
    ) -> list[Maintained]:
        """Do all that is due on at most `limit` tasks; the arguments are those of `Engine.recover`. [UPKEEP-1]"""
        # First, so that this call also looks at the tasks that it finds again.
        unseen, _ = self._look(queues)
        maintained, found = [], self._recover(limit, queues, unknown_kinds, known_kinds, unseen)
        while found:
            maintained += found
            # What has ended now may be what others wait for, so that they are due too. [WAIT-3]
            left = None if limit is None else limit - len(maintained)
            found = self._recover(left, queues, unknown_kinds, known_kinds, ())
        return maintained + self._promote_due(limit, queues)

    def _recover(
        self,
        limit: int | None,
        queues: tuple[str, ...] | None,
        unknown_kinds: frozenset[str],
        known_kinds: frozenset[str] | None,
        unseen: Sequence[c.Maintain],
    ) -> list[Maintained]:
        """Do once what is due by the store's clock, and what the monotonic one shows; without promotions."""
        if limit is not None and limit <= 0:
            return []
        now_ms = self._clock.now_ms()
        maintained = self._handle_due(limit)
        with self._store.read() as snapshot:
            # Only what is over in these queues counts against the limit, and not a wait that goes on.
            over = [*snapshot.over(now_ms, limit if queues is None else None), *snapshot.waits_over(now_ms)]
            over += snapshot.deadlines_over(now_ms, limit if queues is None else None)
        due = [c.Maintain(task=task.id) for task in over if queues is None or task.queue in queues]
        maintained += self._maintain([*due, *unseen], None if limit is None else limit - len(maintained))
        maintained += self._handle_due(None if limit is None else limit - len(maintained))
        # Read after those leases have ended, so that this call also looks at the undos that they leave.
        with self._store.read() as snapshot:
            undoing = [
                c.Maintain(task=id, unknown_kinds=unknown_kinds, known_kinds=known_kinds, overdue=True)
                for id in snapshot.undoing(now_ms, queues, unknown_kinds, known_kinds)
            ]
        # [ACTOR-2] The caller declares that no worker knows a kind.
        declared = bool(unknown_kinds) or known_kinds is not None
        actor = (self._actor if declared else None) or MAINTENANCE
        return maintained + self._maintain(undoing, None if limit is None else limit - len(maintained), actor)

    def end_unseen(self, queues: tuple[str, ...]) -> bool:
        """End leases and delays that only a monotonic clock shows to be over; return whether there were any. [TIME-3]

        Tasks that were put aside and can be read count too. [LOG-5] Mostly no look is due and none is over; then it
        compares a few numbers and asks the store nothing.
        """
        commands, found = self._look(queues)
        if not commands:
            return found
        ended = bool(answered(self._store.commit((operations.maintaining_tasks(commands),))[0]))
        self._watch.tried(commands)
        return ended or found

    def find_again(self) -> None:
        """Restore the rows of all tasks that were put aside and can be read by now. [LOG-5]"""
        self._rediscovery.look_at_all()

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
            self._watch.tried(some)
            done += count
        return maintained

    def _handle_due(self, limit: int | None) -> list[Maintained]:
        """Go on with dependants and children of tasks that have ended, a bounded share a commit, until none is due.

        [WAIT-3] [CANCEL-4] Only children count against the limit.
        """
        with self._store.read() as snapshot:
            is_due = bool(snapshot.dependants_due() or snapshot.children_due())
        cancelled: list[Maintained] = []
        while is_due and (limit is None or len(cancelled) < limit):
            left = bounds.DEPENDANTS_LIMIT if limit is None else min(bounds.DEPENDANTS_LIMIT, limit - len(cancelled))
            done = answered(self._store.commit((operations.handling_due(left),))[0])
            cancelled += done.maintained
            is_due = done.handled
        return cancelled

    def _promote_due(self, limit: int | None, queues: tuple[str, ...] | None) -> list[Maintained]:
        """Promote all tasks whose time has come, a bounded share a commit, or `limit` tasks.

        The same looks fire the schedules that are due; return the tasks that these have created. [SCHEDULE-6]
        """
        share = bounds.UPKEEP_LIMIT if limit is None else min(bounds.UPKEEP_LIMIT, limit)
        created: list[Maintained] = []
        promoted = 0
        while limit is None or promoted < limit:
            done: operations.Promoted = answered(self._store.commit((operations.promoting(Due(queues, share)),))[0])
            created += done.created
            promoted += done.found
            if done.found < share:
                break
        return created

    def _look(self, queues: tuple[str, ...] | None) -> tuple[list[c.Maintain], bool]:
        """Return the maintenance that the monotonic clock shows to be due, of leases and delayed tasks.

        Return also whether the same look, once a minute, has found a task again that had been put aside.
        """
        found = False
        if self._watch.is_look_due():
            now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
            with self._store.read() as snapshot:
                # Of all queues, so that a later claim there finds them observed for long enough.
                behind, delayed, aside = snapshot.behind(now_ms), snapshot.delayed(now_ms), snapshot.unreadable()
            self._watch.look(behind, delayed, monotonic_ms)
            found = self._rediscovery.look(aside)
        return self._watch.over(queues), found


def answered(answer: Any) -> Any:
    """Return the answer of an operation, or raise its refusal."""
    if isinstance(answer, SagalogError):
        raise answer
    return answer
