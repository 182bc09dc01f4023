"""The view of an operation on a write transaction: exactly what it has declared, and what the store has found for it.

Rule: a look writes nothing. The store makes a selection when the operation first asks for it. It must not know how
streams are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from sagalog.store import (
    Account,
    Append,
    Candidate,
    Claim,
    DedupeRow,
    Due,
    Ends,
    Envelope,
    Execution,
    Place,
    Recordable,
    ReferringStream,
    Saved,
    TaskFold,
    Undeclared,
    stream_of_account,
)
from sagalog_sqlite import references, selection

if TYPE_CHECKING:
    from sagalog_sqlite.transaction import Transaction

_Queues = tuple[list[str], list[str], list[str], list[str], bool]


class SqliteView:
    """The port's view of one operation."""

    # Most operations search for nothing, so the results of searches have these defaults until a search sets them.
    _is_along_found = False
    _found: frozenset[str] = frozenset()  # streams that the operation may read, though it has not named them
    _selected: frozenset[str] = frozenset()  # streams that it may write as well
    _sources: frozenset[str] = frozenset()  # streams of predecessors, of which the view shows only events
    _queues: _Queues | None = None

    def __init__(self, transaction: Transaction, execution: Execution) -> None:
        self._transaction = transaction
        self._execution = execution
        self._shown = execution.streams
        self.now_ms = transaction.now_ms
        self.store = transaction.store
        self.epoch = transaction.epoch
        if execution.operation.drawn:
            transaction.note_drawn(execution.operation.drawn, are_new=bool(execution.drawn))

    def require_writes(self, appends: Iterable[Append]) -> None:
        """Raise Undeclared for streams to which the operation may not append."""
        writes, selected = self._execution.writes, self._selected
        missing = [one.stream for one in appends if one.stream not in writes and one.stream not in selected]
        if missing:
            raise Undeclared(tuple(dict.fromkeys(missing)))

    def saved(self, stream: str, /) -> Saved | None:
        """Return a stream by name; raises as the port says."""
        if stream not in self._shown:
            self._require(stream)
        saved = self._transaction.load(stream)
        if saved is not None and isinstance(saved.fold, TaskFold):
            self._show_beside(saved.fold)
        return saved

    def event(self, stream: str, version: int, /) -> Recordable:
        """Return one event of a stream; raises as the port says."""
        if stream not in self._shown and stream not in self._sources:
            self._require(stream)
        return self._transaction.event(stream, version)

    def blob(self, digest: str, /) -> bytes | None:
        """Return the bytes under a digest."""
        return references.blob(self._transaction.execute, digest)

    def blob_size(self, digest: str) -> int | None:
        """Return how many bytes there are under a digest."""
        return references.blob_size(self._transaction.execute, digest)

    def task(self, id: str) -> TaskFold | None:
        """Return a task, whatever the operation has named."""
        return self._transaction.any_task(id)

    def digests(self, after: str, limit: int) -> Sequence[str]:
        """Return the digests above `after` to which streams refer."""
        return references.digests(self._transaction.execute, after, limit)

    def referring(self, name: str, limit: int | None = None) -> Sequence[ReferringStream]:
        """Return the newest streams that refer to a name."""
        return references.referring(self._transaction.execute, name, limit)

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """Return all events with this idempotency key, and show their streams from now on."""
        if key not in self._execution.keys:
            raise Undeclared((), (key,))
        envelopes = self._transaction.keyed(key)
        if envelopes:
            self._show({envelope.stream for envelope in envelopes})
        return envelopes

    def dedupe(self, kind: str, key: str, /) -> DedupeRow | None:
        """Return the row of a dedupe key, and show the stream of its task from now on."""
        if (kind, key) not in self._execution.dedupes:
            raise Undeclared((), (), ((kind, key),))
        row = self._transaction.dedupe(kind, key)
        if row is not None:
            self._show({f"task/{row.task}"})
        return row

    def dedupes_over(self, limit: int, /) -> Sequence[DedupeRow]:
        """Return the first rows of dedupe keys whose period is over."""
        assert self._execution.dedupes, "the operation declares no dedupe key"
        return self._transaction.dedupes_over(limit)

    def select(self, claim: Claim, /) -> Sequence[Saved]:
        """Return the tasks that a claim selects, in its order."""
        assert self._execution.operation.claim is not None, "the operation declares no claim"
        return self._select(self._transaction.claimed(claim))

    @property
    def expired(self) -> Sequence[Saved]:
        """Return, of the operation's `due`, the leased tasks whose check time has come by their row."""
        due, (leased, *_) = self._look()
        return self._select(self._transaction.expired(due, leased))

    @property
    def waits_over(self) -> Sequence[Saved]:
        """Return, of the operation's `due`, tasks whose wait may be over by their row."""
        due, (_, _, waited, *_) = self._look()
        return self._select(self._transaction.waits_over(due, waited))

    @property
    def deadlines_over(self) -> Sequence[Saved]:
        """Return, of the operation's `due`, the tasks whose deadline has come by their row."""
        due, (_, _, _, cancelling, _) = self._look()
        return self._select(self._transaction.deadlines_over(due, cancelling))

    @property
    def promotable(self) -> Sequence[Saved]:
        """Return, of the operation's `due`, the tasks whose due time has come by their row."""
        due, (_, later, *_) = self._look()
        return self._select(self._transaction.promotable(due, later))

    @property
    def due_accounts(self) -> Sequence[str]:
        """Return, of the operation's `due`, the accounts that are due; show what they allow too."""
        due = self._execution.operation.due
        assert due is not None, "the operation declares no maintenance"
        names = self._transaction.due_accounts(due)
        self._show_limits(names)
        return names

    # --- limits ---------------------------------------------------------------------------------------------------

    def is_governed(self, queue: str, /) -> bool:
        """Tell whether a queue has settings."""
        return self._transaction.is_governed(queue)

    def account(self, name: str, /) -> Account | None:
        """Return an account by its name."""
        stream = stream_of_account(name)
        if stream not in self._shown:
            self._require(stream)
        return self._transaction.account(name)

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """Return tasks at a place under an account, in their order; the operation may write them."""
        found = [
            Candidate(*row) for row in self._transaction.execute(selection.IN_LINE, (account, place, section, limit))
        ]
        self._selected |= {one.stream for one in found}
        return found

    def count_ready(self, account: str, section: str, without: Collection[str], limit: int, /) -> int:
        """Count the ready tasks of a section under an account."""
        numbers = self._numbers(without)
        return selection.count_ready(self._transaction.execute, account, section, numbers, limit)

    def last_ready(self, account: str, section: str, without: Collection[str], /) -> Candidate | None:
        """Return the last ready task of a section under an account; the operation may write it."""
        execute, numbers = self._transaction.execute, self._numbers(without)
        for row in execute(selection.LAST_READY, (account, section, len(numbers) + 1)):
            candidate = Candidate(*row)
            if candidate.order not in numbers:
                self._selected |= {candidate.stream}
                return candidate
        return None

    def _numbers(self, streams: Collection[str]) -> list[int]:
        found = [self._transaction.number(stream) for stream in streams]
        return [number for number in found if number is not None]

    def sections(self, account: str, limit: int, /) -> Sequence[str]:
        """Return the sections that an account holds back."""
        return selection.sections(self._transaction.execute, account, limit)

    def any_of(self, account: str, /) -> str | None:
        """Return the stream of a task that uses an account."""
        for (stream,) in self._transaction.execute(selection.ANY_OF, (account,)):
            return str(stream)
        return None

    def accounts_held(self, prefix: str, after: str, limit: int, /) -> Sequence[str]:
        """Return the accounts that hold tasks back and whose name begins with a prefix."""
        names = selection.accounts_held(self._transaction.execute, prefix, after, limit)
        self._show_limits(names)
        return names

    def order(self, stream: str, /) -> int | None:
        """Return the number of a stream."""
        return self._transaction.number(stream)

    def running(self, queue: str, /) -> Sequence[Saved]:
        """Return the running tasks of a queue; those that cannot be read are not among them."""
        numbers = [number for (number,) in self._transaction.execute(selection.RUNNING, (queue,))]
        found = self._select(self._transaction.by_numbers(numbers))
        return [saved for saved in found if saved.fold is not None]

    def _show_limits(self, accounts: Iterable[str]) -> None:
        self._found |= {stream_of_account(name) for name in accounts}

    # --- dependencies ---------------------------------------------------------------------------------------------

    @property
    def dependants_due(self) -> Sequence[str]:
        """Return the first task that has ended and has edges left."""
        _, (*_, is_due) = self._look()
        return self._transaction.dependants_due() if is_due else ()

    @property
    def children_due(self) -> Sequence[Saved]:
        """Return the tasks of which children may have to be cancelled."""
        due, (*_, is_due) = self._look()
        return self._transaction.children_due(due.limit) if is_due else ()

    def ends(self, ids: Sequence[str], /) -> Ends:
        """Return the ends of some tasks."""
        return self._transaction.ends(ids)

    def edges(self, ids: Sequence[str], limit: int, /) -> Sequence[tuple[str, str]]:
        """Return edges of some tasks."""
        return self._transaction.edges(ids, limit)

    def followers(self, parent: str, adopted: Sequence[str], limit: int, /) -> Sequence[Saved]:
        """Return the tasks that are cancelled with a parent."""
        return self._select(self._transaction.followers(parent, adopted, limit))

    def _look(self) -> tuple[Due, _Queues]:
        due = self._execution.operation.due
        assert due is not None, "the operation declares no maintenance"
        if self._queues is None:
            self._queues = self._transaction.queues_due(due)
        return due, self._queues

    def _require(self, stream: str) -> None:
        """Look for a stream among those that the store has found for the operation; raises Undeclared."""
        if stream in self._selected or stream in self._found:
            return
        along = self._execution.operation.along
        if self._is_along_found or not along:
            raise Undeclared((stream,))
        self._is_along_found = True
        self._show(self._transaction.reached(along))
        self._require(stream)

    def _select(self, selected: list[Saved]) -> list[Saved]:
        if selected:
            self._selected |= {saved.stream for saved in selected}
            for saved in selected:
                if isinstance(saved.fold, TaskFold):
                    self._show_beside(saved.fold)
        return selected

    def _show_beside(self, task: TaskFold) -> None:
        """Show, with a task, the events that it has from predecessors, and the streams of its limits and its queue."""
        if task.sources:
            self._show_events_of(task.sources)
        if task.uses is not None or self._transaction.is_governed(task.queue):
            self._show({f"queue/{task.queue}", *(f"limit/{name}" for name in task.uses or ())})

    def _show(self, streams: set[str]) -> None:
        self._found |= streams

    def _show_events_of(self, ids: Iterable[str]) -> None:
        self._sources |= {f"task/{id}" for id in ids}
