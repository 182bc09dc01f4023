"""The executor on a store of this process: entries -> operations -> one commit -> answers.

Rule: it decides nothing about tasks. Maintenance precedes what leases, in the same commit. [UPKEEP-2] Knows no store by
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from typing import Any, Final

from sagalog import versions
from sagalog.engine import audit, operations, pruning
from sagalog.engine.claims import Claimed
from sagalog.engine.command_work import Maintained
from sagalog.engine.entries import Answer, CommandEntry, Entry, EntryGroup, JournalWrite, SettingEntry, commands_of
from sagalog.engine.executor import WAIT_SLICE_MS
from sagalog.engine.health import Health, health
from sagalog.engine.journal_values import JournalCursor
from sagalog.engine.journal_writes import writing_journal
from sagalog.engine.maintenance import Maintenance, answered
from sagalog.engine.relations import depends_on
from sagalog.engine.sizes import require_kept_fits
from sagalog.engine.store_queries import StoreQueries
from sagalog.engine.task import Task
from sagalog.errors import SagalogError, Unavailable, Unknown
from sagalog.ids import Ulids
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.state import StoreFold
from sagalog.ports import Clock, Entropy
from sagalog.store import Due, Kept, Operation, Progress, Store
from sagalog.validation.commands import ClaimRequest

# Commands that depend on tasks that they do not name, or need maintenance before them.
_NEEDING_OTHERS: Final = frozenset({c.Acquire, c.AdoptChild, c.RetryAsNew})


class LocalExecutor:
    """An `Executor` on a store, a clock and entropy; it founds the store where no process has.

    It closes `store` with itself; `actor` is checked already.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, actor: str | None = None) -> None:
        self.store = store
        self.clock = clock
        self.actor = actor
        self.queries = StoreQueries(store, clock)
        self._entropy = entropy
        self._ids = Ulids(entropy.token_bytes)
        self._maintenance = Maintenance(store, clock, actor)
        self.store_id = self._found().id

    def draw_id(self) -> str:
        """Implement `Executor.draw_id`."""
        return self._ids.next(self.clock.now_ms())

    def jitter(self) -> float:
        """Implement `Executor.jitter`."""
        return self._entropy.fraction()

    # --- carrying out ---------------------------------------------------------------------------------------------

    def carry_out(self, entry: CommandEntry) -> Task:
        """Implement `Executor.carry_out`."""
        needs_others = type(entry.command) in _NEEDING_OTHERS
        writes = self._operations_of(entry) if needs_others else (operations.writing_one(entry),)
        answer = self.store.commit(writes)[-1]
        if isinstance(answer, SagalogError):
            raise answer
        task: Task = answer[0]
        return task

    def carry_out_all(self, entries: Sequence[Entry], together: bool, kept: Sequence[Kept] = ()) -> list[Answer]:
        """Implement `Executor.carry_out_all`."""
        for entry in entries:
            if isinstance(entry, ClaimRequest):
                self._maintenance.end_unseen(entry.claim.queues)
        return self._carry_out_together(entries) if together else self._carry_out_apart(entries, kept)

    def claim(self, request: ClaimRequest) -> Claimed:
        """Implement `Executor.claim`."""
        writes = _claiming(request)
        # [TIME-3] Not only after an empty claim: a queue that is never empty would hide delayed tasks.
        self._maintenance.end_unseen(request.claim.queues)
        claimed, again = self._claim_once(writes)
        while not claimed.tasks and (again or self._maintenance.end_unseen(request.claim.queues)):
            claimed, again = self._claim_once(writes)
        return claimed

    def claim_later(self, request: ClaimRequest, timeout_ms: int) -> list[Task]:
        """Implement `Executor.claim_later`."""
        started_ms = self.clock.monotonic_ms()
        while True:
            changes = self.store.changes()
            due_ms = self.queries.claimable_ms((request,))
            in_ms = None if due_ms is None else due_ms - self.clock.now_ms()
            is_due = (in_ms is not None and in_ms <= 0) or self._maintenance.end_unseen(request.claim.queues)
            if is_due and (tasks := self.claim(request).tasks):
                return tasks
            left_ms = timeout_ms - (self.clock.monotonic_ms() - started_ms)
            if left_ms <= 0:
                return []
            # A clock may jump, and a manual one does not wait: look again soon in any case.
            soon_ms = WAIT_SLICE_MS if in_ms is None or in_ms <= 0 else min(WAIT_SLICE_MS, in_ms)
            self.store.wait_change(changes, min(left_ms, soon_ms))

    def set(self, entry: SettingEntry) -> None:
        """Implement `Executor.set`."""
        answered(self.store.commit((operations.setting(entry),))[0])

    def write_journals(self, writes: Sequence[JournalWrite]) -> list[JournalCursor | SagalogError]:
        """Implement `Executor.write_journals`."""
        return self.store.commit([writing_journal(write) for write in writes])

    def recover(
        self,
        limit: int | None,
        queues: tuple[str, ...] | None,
        unknown_kinds: frozenset[str],
        known_kinds: frozenset[str] | None,
    ) -> list[Maintained]:
        """Implement `Executor.recover`."""
        return self._maintenance.recover(limit, queues, unknown_kinds, known_kinds)

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Implement `Executor.keep`."""
        require_kept_fits(Kept(space, name, value))
        return self.store.keep(space, name, expected, value)

    # --- waiting --------------------------------------------------------------------------------------------------

    def changes(self) -> int:
        """Implement `Executor.changes`."""
        return self.store.changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Implement `Executor.wait_change`."""
        self.store.wait_change(since, timeout_ms)

    # --- the store as a whole -------------------------------------------------------------------------------------

    def verify(self, progress: Progress | None = None) -> audit.VerifyReport:
        """As `Executor.verify`."""
        return audit.verify(self.store, progress)

    def rebuild(self, progress: Progress | None = None) -> audit.RebuildReport:
        """As `Executor.rebuild`."""
        return audit.rebuild(self.store, progress)

    def prune(
        self,
        older_than_ms: int,
        limit: int | None,
        queue: str | None,
        dry_run: bool,
        progress: Progress | None = None,
    ) -> pruning.PruneReport:
        """As `Executor.prune`."""
        return pruning.prune(
            self.store, self.store_id, self.clock, older_than_ms, limit, queue, dry_run, progress, self.actor
        )

    def health(self) -> Health:
        """Implement `Executor.health`."""
        return health(self.store, self.store_id, self.clock.now_ms())

    def close(self) -> None:
        """Implement `Executor.close`."""
        self.store.close()

    # --- inside -------------------------------------------------------------------------------------------------

    def _claim_once(self, writes: Sequence[Operation]) -> tuple[Claimed, bool]:
        """Claim after one look for maintenance; return also whether another look may find more."""
        done, answer = self.store.commit(writes)
        claimed: Claimed = answered(answer)
        # [UPKEEP-1] A look moves every live lease that it finds, so another one gets behind them.
        return claimed, claimed.again or (isinstance(done, operations.MaintenanceDone) and done.again)

    def _carry_out_together(self, entries: Sequence[Entry]) -> list[Answer]:
        commands = [one for entry in entries for one in commands_of(entry)]
        acquiring, reads, last = operations.acquiring(commands), self._depends_on(commands), entries[-1]
        if not isinstance(last, ClaimRequest):
            writing = operations.writing(commands, together=True, reads=reads)
            return _gathered(entries, answered(self.store.commit((*acquiring, writing))[-1]))
        maintenance, _ = _claiming(last)
        settling = operations.settling(commands, last, reads)
        tasks, claimed = answered(self.store.commit((*acquiring, maintenance, settling))[-1])
        return [*_gathered(entries[:-1], tasks), claimed.tasks]

    def _carry_out_apart(self, entries: Sequence[Entry], kept: Sequence[Kept]) -> list[Answer]:
        """Carry out each entry by itself in one commit: its Task, the tasks of a group or a claim, or its refusal."""
        writes = [self._operations_of(entry) for entry in entries]
        if kept:
            writes.append((operations.keeping(kept),))
        answers = self.store.commit([operation for several in writes for operation in several])
        ends = accumulate(len(several) for several in writes)
        return [_answer_of(entry, answers[end - 1]) for entry, end in zip(entries, ends, strict=False)]

    def _operations_of(self, entry: Entry) -> tuple[Operation, ...]:
        """Make one operation of a command or a group, and put maintenance before what leases."""
        if isinstance(entry, ClaimRequest):
            return _claiming(entry)
        commands = commands_of(entry)
        return (*operations.acquiring(commands), operations.writing(commands, reads=self._depends_on(commands)))

    def _depends_on(self, commands: Sequence[CommandEntry]) -> tuple[str, ...]:
        """Return the tasks that these commands depend on without naming them; only a few commands need a read."""
        some = [one.command for one in commands if isinstance(one.command, c.AdoptChild | c.RetryAsNew)]
        if not some:
            return ()
        with self.store.read() as snapshot:
            return depends_on(snapshot, some)

    def _found(self) -> StoreFold:
        """Return the store's own fold; found a new store, and record a newer version than is on record. [LOG-7]"""
        writer = versions.RUNNING
        with self.store.read() as snapshot:
            fold = snapshot.store()
        if fold is None:
            fold = answered(self.store.commit((operations.founding(self.draw_id(), writer),))[0])
        assert isinstance(fold, StoreFold)
        if not versions.is_newer(writer, fold.writer):
            return fold
        try:
            upgraded = answered(self.store.commit((operations.upgrading(fold.id, writer),))[0])
        except (Unavailable, Unknown):
            # [LOG-7] The next opening records what this one cannot write: a caller can still read the store.
            return fold
        assert isinstance(upgraded, StoreFold)
        # [LOG-5] Tasks that older versions could not read come back without a write of a caller or an operator.
        with suppress(Unavailable, Unknown):
            self._maintenance.find_again()
        return upgraded


def _claiming(request: ClaimRequest) -> tuple[Operation, Operation]:
    """Return the operations of a claim: the maintenance of its queues, then the claim, which answers. [UPKEEP-2]"""
    return (
        operations.maintaining(Due(request.claim.queues, bounds.UPKEEP_LIMIT)),
        operations.claiming(request),
    )


def _gathered(entries: Sequence[Entry], tasks: Iterable[Task]) -> list[Answer]:
    """Group the tasks of all commands by entry: those of a group are a list."""
    left = iter(tasks)
    return [
        list(islice(left, len(entry.entries))) if isinstance(entry, EntryGroup) else next(left) for entry in entries
    ]


def _answer_of(entry: Entry, answer: Any) -> Answer:
    """Return the answer of one entry from that of its last operation; the maintenance before it answers no entry."""
    if isinstance(answer, SagalogError):
        return answer
    tasks: list[Task] = answer.tasks if isinstance(entry, ClaimRequest) else answer
    return tasks[0] if isinstance(entry, CommandEntry) else tasks
