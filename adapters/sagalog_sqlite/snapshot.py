"""The port's snapshot: a consistent view for reading, over one read transaction.

Rule: it blocks no writer and lives only briefly, because SQLite cannot reuse the WAL while a reader holds an old state;
past its age it refuses every call. It must not know where its connection comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from typing import Any, Final

import apsw

from sagalog.errors import Unavailable
from sagalog.store import (
    Account,
    AuditedStream,
    Candidate,
    Claim,
    Delayed,
    Ends,
    Envelope,
    Listed,
    PinnedTasks,
    Place,
    Query,
    ReferringStream,
    SavedTask,
    State,
    StoreFold,
    StreamHead,
    Tag,
    TaskFold,
    UnclaimedUndo,
)
from sagalog_sqlite import audit_rows, edges, kept, listing, references, rows, selection, texts
from sagalog_sqlite.estimates import Estimates
from sagalog_sqlite.failures import store_error

# A slice of an audit or an export takes seconds; a reader that takes longer reads in pages.
AGE_MAX_MS: Final = 300_000

# The number of steps of SQLite's machine after which Python may look for a signal: some tenths of a second.
_STEPS: Final = 100_000

_STATES: Final = tuple(str(state) for state in State)
HISTORY: Final = rows.ENVELOPES + "WHERE s.category = ? AND s.id = ? AND e.version > ? ORDER BY e.version LIMIT ?"
DELAYED: Final = (
    "SELECT s.id, t.queue, t.version, t.run_at_ms - t.updated_ms FROM tasks t JOIN streams s ON s.number = t.stream "
    "WHERE t.updated_ms > ? AND t.gate IN ('later', 'waiting') AND t.run_at_ms > t.updated_ms "
    "ORDER BY t.updated_ms, t.stream"
)
HEAD: Final = "SELECT (SELECT count(*) FROM events), (SELECT max(position) FROM events)"
UNREADABLE: Final = (
    "SELECT s.id FROM tasks t JOIN streams s ON s.number = t.stream AND s.category = 'task' "
    "WHERE t.gate = 'unreadable' ORDER BY t.stream"
)
COUNTS: Final = "SELECT queue, state, count(*) FROM tasks WHERE state IS NOT NULL GROUP BY state, queue"
COUNT: Final = "SELECT count(*) FROM tasks WHERE state = ? AND queue = ?"
OF_NUMBER: Final = "SELECT id FROM streams WHERE number = ?"
IDS_FROM: Final = "SELECT id FROM streams WHERE category = 'task' AND id >= ? ORDER BY id LIMIT ?"

# The types of a `Delayed`.
_DELAYED: Final = (str, str, int, int)


class SqliteSnapshot:
    """The port's snapshot, for one thread, within the block that gave it."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        require_open: Callable[[], None],
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._require_open = require_open
        self._path = path
        self._monotonic_ms = monotonic_ms
        self._until_ms = monotonic_ms() + AGE_MAX_MS

    def task(self, id: str) -> TaskFold | None:
        """Return the fold of a task, or None."""
        for row in self._rows(rows.TASK_BY_ID, (id,)):
            return task_of(rows.load(self._rows, row))
        return None

    def fold(self, stream: str) -> Any:
        """Return the fold of a stream of any category but a task's."""
        store = rows.store_fold(rows.store_row(self._rows)) if stream.startswith("store/") else None
        loaded = rows.load_other(self._rows, stream, store)
        return None if loaded is None else loaded.saved.fold

    def recorded(self, id: str, version: int) -> Envelope:
        """Return one event of a task's stream."""
        for row in self._rows(rows.OF_NAME, (rows.TASK, id, version)):
            return Envelope(*row)
        raise rows.absent_event(f"task/{id}", version)

    def blob(self, digest: str) -> bytes | None:
        """Return the bytes under a digest; None also if the row holds something else."""
        return references.blob(self._rows, digest)

    def blob_size(self, digest: str) -> int | None:
        """Return how many bytes there are under a digest."""
        return references.blob_size(self._rows, digest)

    def pruned(self, digest: str) -> int | None:
        """Return the version of the event by which bytes are gone."""
        return references.pruned(self._rows, digest)

    def digests(self, after: str, limit: int) -> list[str]:
        """Return the digests above `after` to which streams refer."""
        return references.digests(self._rows, after, limit)

    def digest_count(self) -> int:
        """Count the digests to which streams refer."""
        return int(self._rows(references.DIGEST_COUNT)[0][0])

    def referring(self, name: str, limit: int | None = None) -> list[ReferringStream]:
        """Return the newest streams that refer to a name."""
        return references.referring(self._rows, name, limit)

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """Return the events of one stream with versions above `after`."""
        category, _, id = stream.partition("/")
        found = self._rows(HISTORY, (category, id, after, _all_if_none(limit)))
        return [Envelope(*row) for row in found]

    def events(self, after: int, limit: int) -> list[Envelope]:
        """Return the events of the whole log with positions above `after`."""
        return [Envelope(*row) for row in self._rows(rows.OF_LOG, (after, limit))]

    def find(self, query: Query) -> list[Listed]:
        """Return tasks in the query's order; read a page of rows at a time until enough of them can be folded."""
        found: list[Listed] = []
        for numbers in listing.pages(self._rows, query, found):
            found += self._listed(numbers, query)
        return found

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Return ids of tasks, by their own index from the prefix on, up to the first that does not begin with it."""
        found = (id for (id,) in self._rows(IDS_FROM, (prefix, limit)))
        return list(takewhile(lambda id: isinstance(id, str) and id.startswith(prefix), found))

    def unreadable(self) -> list[str]:
        """Return the ids of tasks whose gate is `unreadable`, in order of creation. [LOG-5]"""
        return [id for (id,) in self._rows(UNREADABLE)]

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of some tasks."""
        return edges.ends(self._rows, ids, self.task)

    def dependants_due(self) -> frozenset[str]:
        """Return the ids of tasks that have ended and have edges left."""
        return frozenset(edges.unhandled(self._rows, edges.DEPENDANTS))

    def children_due(self) -> frozenset[str]:
        """Return the ids of tasks of which children may have to be cancelled."""
        return frozenset(edges.unhandled(self._rows, edges.CHILDREN))

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Return queue -> state -> number of tasks."""
        if queue is None:
            found = self._rows(COUNTS)
        else:
            found = [(queue, state, self._rows(COUNT, (state, queue))[0][0]) for state in _STATES]
        counted: dict[str, dict[str, int]] = {}
        for name, state, number in found:
            if number:
                counted.setdefault(str(name), {})[str(state)] = number
        return counted

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Return the live tasks whose lease is over by the clock and not ended by an event, oldest expiry first."""
        queues = selection.queues_leased(self._rows)
        return self._first_folds(selection.over(self._rows, queues, now_ms, -1), limit)

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Return the tasks whose wait may be over."""
        queues = selection.queues_waited(self._rows)
        return self._first_folds(selection.waits_over(self._rows, queues, now_ms, -1), limit)

    def deadlines_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Return the tasks whose deadline has come. [DEADLINE-2]"""
        queues = selection.queues_cancelling(self._rows)
        return self._first_folds(selection.deadlines_over(self._rows, queues, now_ms, -1), limit)

    def behind(self, now_ms: int) -> list[TaskFold]:
        """Return the leased tasks whose last renewal is later than `now_ms`. [TIME-3]"""
        return self._folds(selection.behind(self._rows, selection.queues_leased(self._rows), now_ms))

    def delayed(self, now_ms: int) -> list[Delayed]:
        """Return all tasks that wait for a time and whose last event is later than `now_ms`. [TIME-3]"""
        found = (Delayed(*row) for row in self._rows(DELAYED, (now_ms,)))
        # A damaged column may hold another type. An audit names it; the engine still watches the other tasks.
        return [one for one in found if tuple(map(type, one)) == _DELAYED]

    def ready_kinds(self, queues: tuple[str, ...], build: str | None, limit: int) -> list[str]:
        """Return the kinds of the tasks at the gate `ready` of these queues, at most `limit` of each queue, sorted."""
        values = selection.GATES["work"].values
        places = {(queue, one) for queue in queues for one in (None, build)}
        return sorted({kind for place in places for (kind,) in self._rows(values, (*place, limit))})

    def standing(self, claim: Claim) -> list[str]:
        """Return the ids of the tasks that such a claim would take now."""
        return [fold.id for fold in self._folds(selection.candidates(self._rows, claim, claim.limit, Estimates()))]

    def claimable_ms(self, claim: Claim) -> int | None:
        """Return when such a claim may find something: 0 is now, None not before a writer commits."""
        return selection.claimable_ms(self._rows, claim)

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """Return the ids of compensating tasks without hope that no worker holds, in order of creation."""
        found = selection.overdue(self._rows, queues, now_ms)
        found += selection.hopeless(self._rows, queues, unknown, known)
        return [id for number in sorted(set(found)) for (id,) in self._rows(OF_NUMBER, (number,))]

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """Return the undos that are due and that no worker has leased, by queue, then kind."""
        return selection.unclaimed(self._rows, now_ms)

    def pinned(self) -> list[PinnedTasks]:
        """Return the builds to which pending tasks are pinned, by build, then queue."""
        return selection.pinned(self._rows)

    def account(self, name: str) -> Account | None:
        """Return an account by its name; None if it does not exist, or was changed."""
        return rows.account(self._rows, name)

    def ids(self, category: str, after: str, limit: int) -> list[str]:
        """Return the ids of the streams of a category, in order."""
        return [id for (id,) in self._rows(selection.IDS, (category, after, limit))]

    def holders(self, account: str, limit: int) -> list[tuple[str, int]]:
        """Return the tasks whose leases have units of an account, and how many."""
        return [(id, units) for id, units in self._rows(selection.HOLDERS, (account, limit))]

    def placed(self, account: str, place: Place, limit: int, section: str | None = None) -> int:
        """Count the tasks that have this place under an account, up to `limit`."""
        if section is None:
            return len(self._rows(selection.PLACED, (account, place, limit)))
        return len(self._rows(selection.PLACED_IN_SECTION, (account, place, limit, section)))

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """List the first tasks of a section at a place under an account."""
        return [Candidate(*row) for row in self._rows(selection.IN_LINE, (account, place, section, limit))]

    def is_governed(self, queue: str) -> bool:
        """Tell whether a queue has settings."""
        return bool(self._rows(selection.IS_STREAM, ("queue", queue)))

    def accounts_due_ms(self) -> int | None:
        """Return when maintenance has to look at the first account."""
        return selection.accounts_due_ms(self._rows)

    def accounts_since_ms(self) -> int | None:
        """Return when the due time of an account was set last."""
        return selection.accounts_since_ms(self._rows)

    def store(self) -> StoreFold | None:
        """Return the fold of the store's own stream."""
        return rows.store_fold(rows.store_row(self._rows))

    def head(self) -> tuple[int, int]:
        """Count the events; return the count and the newest position."""
        ((count, newest),) = self._rows(HEAD)
        return count, newest or 0

    def kept(self, space: str, name: str) -> str | None:
        """Return what is kept under a name; None: nothing. Raises as the port says."""
        return kept.value_of(self._rows, space, name)

    def kept_in(self, space: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Return the first names of a space beyond `after`, and what is kept under each."""
        return kept.page(self._rows, space, after, limit)

    # --- for an audit -------------------------------------------------------------------------------------------------

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """Return the streams with numbers above `after`, in their order."""
        return audit_rows.streams(self._rows, after, limit)

    def saved(self, stream: str) -> SavedTask | None:
        """Return a task as it is saved; None if it is not."""
        return audit_rows.saved(self._rows, stream)

    def audited(self, after: int, limit: int) -> list[AuditedStream]:
        """Return streams with all their events, fewer if those are large."""
        return audit_rows.audited(self._rows, after, limit)

    def tagged(self, name: str, value: str, first: int, last: int) -> frozenset[int]:
        """Return the numbers of the streams from `first` to `last` with a tag."""
        return audit_rows.tagged(self._rows, name, value, first, last)

    def pruned_count(self) -> int:
        """Count the digests that are kept as pruned."""
        return int(self._rows(references.PRUNED_COUNT)[0][0])

    def strays(self) -> list[str]:
        """Return a sentence for each row of tasks and waits that belongs to no stream."""
        return audit_rows.strays(self._rows)

    def tag_count(self) -> int:
        """Count the tags."""
        return audit_rows.tag_count(self._rows)

    def stray_tags(self, after: Tag, limit: int) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Return the tags among the next `limit` that their task does not have, and the last tag of those."""
        return audit_rows.stray_tags(self._rows, after, limit)

    def counting(self, after: int, limit: int) -> list[Envelope]:
        """Return the next events behind a position that change accounts."""
        return rows.counting(self._rows, after, limit)

    def accounts(self, after: str, limit: int) -> list[tuple[str, Account | None]]:
        """Return the accounts with names above `after`, in order."""
        return audit_rows.accounts(self._rows, after, limit)

    def check(self) -> list[str]:
        """Return what SQLite's integrity check finds, and what no stream shows."""
        with self._interruptible():
            return audit_rows.check(self._rows)

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Have SQLite pause now and then for Python, which otherwise sees a signal only after the statement."""
        self._connection.set_progress_handler(lambda: False, _STEPS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, _STEPS)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> audit_rows.Rows:
        self._require_open()
        if self._monotonic_ms() > self._until_ms:
            raise Unavailable(
                f"this snapshot is older than {AGE_MAX_MS} ms and holds up the WAL: read in pages, each from a new one",
                path=self._path,
            )
        try:
            try:
                return self._connection.execute(statement, values).fetchall()
            except UnicodeDecodeError:
                return list(texts.forgiving(self._connection)(statement, values))
        except apsw.Error as error:
            raise store_error(error, self._path) from error

    def _listed(self, numbers: Iterable[int], query: Query) -> Iterator[Listed]:
        for number in numbers:
            fold = self._fold(number)
            if fold is not None and all((fold.tags or {}).get(name) == value for name, value in query.tags):
                yield Listed(number, fold)

    def _first_folds(self, numbers: Sequence[int], limit: int | None) -> list[TaskFold]:
        """Return the folds of the first `limit` streams that can be read; None: of all."""
        return list(islice((fold for fold in map(self._fold, numbers) if fold is not None), limit))

    def _folds(self, numbers: Sequence[int]) -> list[TaskFold]:
        return [fold for fold in map(self._fold, numbers) if fold is not None]

    def _fold(self, number: int) -> TaskFold | None:
        """Return the fold of a stream; None if it cannot be read. [LOG-5]"""
        try:
            for row in self._rows(rows.TASK_BY_NUMBER, (number,)):
                return task_of(rows.load(self._rows, row))
        except rows.UNFOLDABLE:
            return None
        return None


def task_of(loaded: rows.Loaded) -> TaskFold:
    """Return the fold of a task that was loaded."""
    assert isinstance(loaded.saved.fold, TaskFold), "a stream of a task folds into one"
    return loaded.saved.fold


def _all_if_none(limit: int | None) -> int:
    return -1 if limit is None else limit
