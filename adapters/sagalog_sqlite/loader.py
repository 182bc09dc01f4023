"""The reading half of a write transaction: streams by name, number and key, and the tasks that selections find.

Rule: it reads within the transaction that holds the write lock, and keeps what it has read for the next transaction as
long as no other connection commits. It must not know what operations do, nor how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from sagalog.store import (
    LEASE_CHECKS_MAX,
    Account,
    Claim,
    DedupeRow,
    Due,
    Ends,
    Envelope,
    Recordable,
    Saved,
    TaskFold,
    decode,
    read,
)
from sagalog_sqlite import dedupes, edges, rows, selection
from sagalog_sqlite.fold_cache import FoldCache, is_worth_keeping
from sagalog_sqlite.rows import Loaded
from sagalog_sqlite.texts import forgiving

# How many unreadable tasks one selection for a claim passes over; the claim puts them aside and selects again.
UNREADABLE_MAX: Final = 256


class Loader:
    """The reader of one write transaction.

    store    the store's own fold; None before it was founded
    """

    reads_any_text = False

    def __init__(self, connection: apsw.Connection, now_ms: int, cache: FoldCache) -> None:
        self.now_ms = now_ms
        self._connection = connection
        self.execute: Callable[..., Any] = connection.execute
        self._cache = cache
        self._streams = cache.streams
        # Streams that do not exist, and those that the cache need not keep after the commit.
        self._absent: set[str] = set()
        self._finished: list[str] = []
        # What selections have found and cannot read: streams by number, and their numbers by name.
        self._unread: dict[int, Saved] = {}
        self._unreadable: dict[str, int] = {}
        # Tasks that have ended and were shown to have edges left.
        self._shown_due: set[str] = set()
        self.estimates = cache.estimates
        self.store = cache.begin(connection, self.execute)

    @property
    def epoch(self) -> int:
        """Return the store's epoch."""
        return 0 if self.store is None else self.store.epoch

    def keep(self) -> None:
        """Keep what it has loaded and written, after the commit, until another connection commits."""
        self._cache.end(self._connection, self.store, self._finished)

    def forget(self) -> None:
        """Forget the cache, because other code writes rows that this loader does not load."""
        self._cache.forget()

    def read_any_text(self) -> None:
        """From here on read text that is no UTF-8 as well; see `texts`."""
        self.reads_any_text = True
        self.execute = forgiving(self._connection)

    def load(self, stream: str) -> Saved | None:
        """Return a stream by name; None if it does not exist. Raises as `View.saved`."""
        loaded = self._streams.get(stream) or self._find(stream)
        return None if loaded is None else loaded.saved

    def _find(self, stream: str) -> Loaded | None:
        if stream in self._absent:
            return None
        category, _, id = stream.partition("/")
        if category == rows.TASK:
            row = self.execute(rows.TASK_BY_ID, (id,)).fetchone()
            loaded = None if row is None else rows.load(self.execute, row)
        else:
            loaded = rows.load_other(self.execute, stream, self.store)
        if loaded is None:
            self._absent.add(stream)
            return None
        return self._add(loaded)

    def _add(self, loaded: Loaded) -> Loaded:
        if not is_worth_keeping(loaded.saved.fold):
            self._finished.append(loaded.saved.stream)
        return self._cache.add(loaded)

    def note_drawn(self, streams: Sequence[str], are_new: bool) -> None:
        """Take streams for absent if the engine drew their ids: if one exists, the first append to it finds that.

        After that, `are_new` is False: look these streams up, whatever another operation takes them for.
        """
        if are_new:
            self._absent.update(streams)
        else:
            self._absent.difference_update(streams)

    def _event_of(self, loaded: Loaded | None, version: int) -> Recordable:
        assert loaded is not None, "there is no stream, so it has no events"
        return self.event(loaded.saved.stream, version)

    def event(self, stream: str, version: int) -> Recordable:
        """Return one event of a stream; raises as `View.event`."""
        loaded = self._streams.get(stream)
        if loaded is None:
            category, _, id = stream.partition("/")
            row = self.execute(rows.OF_NAME, (category, id, version)).fetchone()
        elif version == 1 and loaded.created is not None:
            return decode(loaded.created)
        else:
            row = self.execute(rows.OF_VERSION, (loaded.number, version)).fetchone()
        if row is None:
            raise rows.absent_event(stream, version)
        return read(Envelope(*row))

    def keyed(self, key: str) -> list[Envelope]:
        """Return all events with an idempotency key; their streams exist, even if their ids were drawn. [REPEAT-4]"""
        found = [Envelope(*row) for row in self.execute(rows.OF_IDEMPOTENCY_KEY, (key,))]
        self._absent.difference_update([envelope.stream for envelope in found])
        return found

    def dedupe(self, kind: str, key: str) -> DedupeRow | None:
        """Return the row of a dedupe key; the stream of its task exists, even if its id was drawn. [DEDUPE-1]"""
        row = dedupes.row_of_key(self.execute, kind, key)
        if row is not None:
            self._absent.discard(f"{rows.TASK}/{row.task}")
        return row

    def dedupes_over(self, limit: int) -> list[DedupeRow]:
        """Return the first rows of dedupe keys whose period is over."""
        return dedupes.over(self.execute, self.now_ms, limit)

    def claimed(self, claim: Claim) -> list[Saved]:
        """Return the tasks that a claim selects, and before or among them unreadable ones, which do not count.

        A second selection passes over `UNREADABLE_MAX` of those. Behind more than that it shows fewer tasks than the
        claim asks for.
        """
        found: list[Saved] = []
        for limit in (claim.limit, claim.limit + UNREADABLE_MAX):
            numbers = selection.candidates(self.execute, claim, limit, self.estimates)
            found, readable = self._until(numbers, claim.limit)
            if readable == claim.limit or len(numbers) < limit:
                break
        return found

    def _until(self, numbers: Iterable[int], limit: int) -> tuple[list[Saved], int]:
        """Return the tasks of these streams up to the readable one with number `limit`, and how many are readable."""
        found, readable = [], 0
        for number in numbers:
            saved = self._by_number(number)
            found.append(saved)
            readable += saved.fold is not None
            if readable == limit:
                break
        return found, readable

    def expired(self, due: Due, queues: list[str]) -> list[Saved]:
        """Return the tasks of these queues whose lease the engine has to look at."""
        limit = due.limit + LEASE_CHECKS_MAX
        found = selection.checks(self.execute, queues, self.now_ms, limit) if queues else []
        if due.queues is not None:
            # [LIMIT-5] Tasks of these queues may wait for units that a lease in another queue has.
            found += [number for number in self.holding(limit) if number not in found]
        return self.by_numbers(found[:limit])

    def waits_over(self, due: Due, queues: list[str]) -> list[Saved]:
        """Return the tasks of these queues whose wait may be over."""
        return self.by_numbers(selection.waits_over(self.execute, queues, self.now_ms, due.limit)) if queues else []

    def deadlines_over(self, due: Due, queues: list[str]) -> list[Saved]:
        """Return the tasks of these queues whose deadline has come."""
        return self.by_numbers(selection.deadlines_over(self.execute, queues, self.now_ms, due.limit)) if queues else []

    def promotable(self, due: Due, queues: list[str]) -> list[Saved]:
        """Return the tasks of these queues whose due time has come."""
        return self.by_numbers(selection.due_later(self.execute, queues, self.now_ms, due.limit)) if queues else []

    def reached(self, ids: Sequence[str]) -> set[str]:
        """Return the streams of these tasks, and of all that are reached from them over edges."""
        reached = {f"task/{id}" for id in ids}
        if self.is_awaited():
            found = self.execute(edges.REACHED, (msgspec.json.encode(ids).decode(),))
            reached.update(f"task/{id}" for (id,) in found)
        return reached

    def is_awaited(self) -> bool:
        """Tell whether some task may wait for another."""
        if self.estimates.is_awaited is None:
            self.estimates.is_awaited = bool(self.execute(edges.IS_AWAITED).fetchone()[0])
        return self.estimates.is_awaited

    def number(self, stream: str) -> int | None:
        """Return the number of a stream; None if it does not exist."""
        loaded = self._streams.get(stream) or self._find(stream)
        return None if loaded is None else loaded.number

    # --- limits ---------------------------------------------------------------------------------------------------

    def has_settings(self) -> bool:
        """Tell whether a limit or a queue has a stream, or a kind is paused, so that an operation may depend on it."""
        if self.estimates.has_settings is None:
            is_paused = self.store is not None and bool(self.store.paused_kinds)
            self.estimates.has_settings = is_paused or bool(self.execute(selection.HAS_SETTINGS).fetchone()[0])
        return self.estimates.has_settings

    def note_settings(self, stream: str) -> None:
        """Note that a stream which is no task's was written."""
        category, _, id = stream.partition("/")
        if category == "journal":
            # A journal says nothing of what may run.
            return
        self.estimates.has_settings = True
        if category == "queue":
            self._cache.governed[id] = True

    def is_governed(self, queue: str) -> bool:
        """Tell whether a queue has settings."""
        if not self.has_settings():
            return False
        known = self._cache.governed.get(queue)
        if known is None:
            found = self.execute(selection.IS_STREAM, ("queue", queue)).fetchone()
            self._cache.make_room()
            known = self._cache.governed[queue] = found is not None
        return known

    def account(self, name: str) -> Account | None:
        """Return an account by its name; None if it does not exist, or cannot be read: a rebuild folds it again."""
        accounts = self._cache.accounts
        if name not in accounts:
            self._cache.make_room()
            accounts[name] = rows.account(self.execute, name)
        return accounts[name]

    def due_accounts(self, due: Due) -> list[str]:
        """Return the names of the accounts that are due, the earliest first."""
        if not self._limits_are_due():
            return []
        return selection.due_accounts(self.execute, self.now_ms, due.limit)

    def holding(self, limit: int) -> list[int]:
        """Return the numbers of the streams whose leases have units of named limits and are to be looked at."""
        if not self._limits_are_due():
            return []
        return [number for _, number in self.execute(selection.HOLDING, (self.now_ms, limit))]

    def _limits_are_due(self) -> bool:
        if not self.has_settings():
            return False
        known = self.estimates.are_limits_due(self.now_ms)
        if known is None:
            times = self.execute(selection.FIRST_LIMIT_DUE).fetchone()
            self.estimates.keep_limits_due(times, selection.accounts_since_ms(self.execute))
            known = self.estimates.are_limits_due(self.now_ms)
        return bool(known)

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of some tasks; as the port says."""
        return edges.ends(self.execute, ids, self._fold)

    def edges(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Return edges of some tasks, up to the limit."""
        return edges.edges(self.execute, ids, limit) if ids and self.is_awaited() else []

    def followers(self, parent: str, adopted: Sequence[str], limit: int) -> list[Saved]:
        """Return the tasks that are cancelled with a parent, up to the limit."""
        if not self.is_followed():
            return []
        return self.by_numbers(edges.followers(self.execute, parent, adopted, limit))

    def is_followed(self) -> bool:
        """Tell whether some task may be cancelled with its parent."""
        if self.estimates.is_followed is None:
            self.estimates.is_followed = bool(self.execute(edges.IS_FOLLOWED).fetchone()[0])
        return self.estimates.is_followed

    def dependants_due(self) -> list[str]:
        """Return the first task that has ended and has edges left."""
        found = edges.unhandled(self.execute, edges.DEPENDANTS, 1)
        self._shown_due.update(found)
        return found

    def children_due(self, limit: int) -> list[Saved]:
        """Return the tasks of which children may have to be cancelled; one that cannot be read, without a fold."""
        return [self._readable(f"task/{id}") for id in edges.unhandled(self.execute, edges.CHILDREN, limit)]

    def _readable(self, stream: str) -> Saved:
        try:
            return self.load(stream) or Saved(stream, None)
        except rows.UNFOLDABLE:
            return Saved(stream, None)

    def any_task(self, id: str) -> TaskFold | None:
        """Return a task without a place in the cache; raises as `rows.load`."""
        known = self._streams.get(f"{rows.TASK}/{id}")
        if known is None:
            row = self.execute(rows.TASK_BY_ID, (id,)).fetchone()
            known = None if row is None else rows.load(self.execute, row)
        fold = None if known is None else known.saved.fold
        return fold if isinstance(fold, TaskFold) else None

    def _fold(self, id: str) -> TaskFold | None:
        saved = self.load(f"{rows.TASK}/{id}")
        return saved.fold if saved is not None and isinstance(saved.fold, TaskFold) else None

    def queues_due(self, due: Due) -> tuple[list[str], list[str], list[str], list[str], bool]:
        """Return the queues with a lease to look at, a task whose time has come, a wait to look at, and a deadline.

        Return also whether dependants or children of tasks that have ended may be due; those are of no queue.
        """
        execute = self.execute
        if due.queues is None:
            return (
                selection.queues_leased(execute),
                selection.queues_later(execute),
                selection.queues_waited(execute),
                selection.queues_cancelling(execute),
                True,
            )
        leased, later, waited, cancelling = [], [], [], []
        is_due = not due.queues
        for queue in dict.fromkeys(due.queues):
            if not self.estimates.is_due(queue, self.now_ms):
                continue
            first = execute(selection.FIRST_DUE, (queue,)).fetchone()
            assert first is not None
            check_ms, run_at_ms, until_ms, waking, cancel_ms, unhandled = first
            is_due = is_due or unhandled is not None
            self.estimates.keep_due(queue, first)
            if waking is not None or self._has_come(until_ms):
                waited.append(queue)
            if self._has_come(check_ms):
                leased.append(queue)
            if self._has_come(run_at_ms):
                later.append(queue)
            if self._has_come(cancel_ms):
                cancelling.append(queue)
        return leased, later, waited, cancelling, is_due

    def _has_come(self, time_ms: int | None) -> bool:
        """Tell whether a column's time has come; False if it has another type, as in a damaged file."""
        return type(time_ms) is int and time_ms <= self.now_ms

    def by_numbers(self, numbers: Iterable[int]) -> list[Saved]:
        """Return the tasks of these streams; without a fold where one is unreadable."""
        return [self._by_number(number) for number in numbers]

    def _by_number(self, number: int) -> Saved:
        """Return a task by its stream's number; without a fold if it is unreadable or the row has no stream. [LOG-5]"""
        known = self._cache.numbered.get(number)
        if known is not None:
            return known.saved
        return self._unread.get(number) or self._find_numbered(number)

    def _find_numbered(self, number: int) -> Saved:
        row = self.execute(rows.TASK_BY_NUMBER, (number,)).fetchone()
        if row is None:
            # No stream has such a name, so no task changes when the engine puts the row aside.
            saved = Saved(f"row {number} of tasks", None)
        else:
            try:
                return self._add(rows.load(self.execute, row)).saved
            except rows.UNFOLDABLE:
                saved = Saved(f"{rows.TASK}/{row[1]}", None, rows.row_of(row))
        self._unread[number] = saved
        self._unreadable[saved.stream] = number
        return saved

    def _newest(self, stream: str) -> Loaded:
        """Return a stream that is not loaded, with its number and version alone; both are 0 where it is new."""
        if stream not in self._absent:
            category, _, id = stream.partition("/")
            row = self.execute(rows.NEWEST, (category, id)).fetchone()
            if row is not None:
                return Loaded(row[0], Saved(stream, None), row[1] or 0)
        return Loaded(0, Saved(stream, None), 0, may_wait=False, limit_uses=())
