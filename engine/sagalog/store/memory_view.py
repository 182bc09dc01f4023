"""The view that the memory store gives an operation: exactly what it has declared, and what the store selects for it.

Rule: it raises Undeclared for anything else. Knows no other operation's view.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sagalog.codec import Envelope, read
from sagalog.kernel.accounts import Account, stream_of_account
from sagalog.kernel.bounds import LEASE_CHECKS_MAX
from sagalog.kernel.events import Recordable
from sagalog.kernel.state import TaskFold
from sagalog.store import memory_selection as found
from sagalog.store.dedupe_keys import DedupeRow
from sagalog.store.dependencies import Ends
from sagalog.store.execution import Execution
from sagalog.store.limit_uses import Candidate, Place
from sagalog.store.memory_tables import Tables
from sagalog.store.operation import Claim, Due, Saved, Undeclared
from sagalog.store.projection import refold
from sagalog.store.references import ReferringStream
from sagalog.store.row import Row


class MemoryView:
    """The port's view; it treats what the store selects or finds for the operation as declared."""

    def __init__(self, tables: Tables, execution: Execution, now_ms: int) -> None:
        self._tables = tables
        self._execution = execution
        self._writes = set(execution.writes)
        self._reads = {*execution.streams, *self._along(execution.operation.along)}
        # Streams of which it shows only events: they hold what tasks have from their predecessors.
        self._sources: set[str] = set()
        self.now_ms = now_ms
        self.store = tables.store_fold
        self.epoch = 0 if tables.store_fold is None else tables.store_fold.epoch

    def require_writes(self, streams: Iterable[str]) -> None:
        """Raise Undeclared for the streams that the operation may not append to."""
        if missing := [stream for stream in dict.fromkeys(streams) if stream not in self._writes]:
            raise Undeclared(missing)

    def saved(self, stream: str, /) -> Saved | None:
        """Look up the stream by name; fold again, without a row, a task that was put aside, which mostly raises."""
        if stream not in self._reads:
            raise Undeclared((stream,))
        category, _, id = stream.partition("/")
        if category == "store":
            return None if self.store is None or self.store.id != id else Saved(stream, self.store)
        if category != "task":
            other = self._tables.others.get(stream)
            return None if other is None else Saved(stream, other)
        is_aside = id in self._tables.unreadable
        fold = refold(id, self._tables.stream_of[stream]) if is_aside else self._tables.folds.get(id)
        if fold is None:
            return None
        return self._show(fold, None if is_aside else self._tables.rows[id])

    def event(self, stream: str, version: int, /) -> Recordable:
        """Decode the event at its place in the stream's list."""
        if stream not in self._reads and stream not in self._sources:
            raise Undeclared((stream,))
        return read(self._tables.stream_of[stream][version - 1])

    def blob(self, digest: str, /) -> bytes | None:
        """Look up the bytes by their digest."""
        return self._tables.blobs.get(digest)

    def blob_size(self, digest: str) -> int | None:
        """Measure the bytes."""
        data = self._tables.blobs.get(digest)
        return None if data is None else len(data)

    def task(self, id: str) -> TaskFold | None:
        """Look up the task, whatever the operation has named."""
        self._require_pruning()
        return found.task(self._tables, id)

    def digests(self, after: str, limit: int) -> Sequence[str]:
        """Look at all references."""
        self._require_pruning()
        return found.digests(self._tables, after, limit)

    def referring(self, name: str, limit: int | None = None) -> Sequence[ReferringStream]:
        """Look at all references."""
        self._require_pruning()
        return found.referring(self._tables, name)[:limit]

    def _require_pruning(self) -> None:
        assert self._execution.operation.prunes, "the operation does not prune"

    def keyed(self, key: str, /) -> Sequence[Envelope]:
        """Look through the whole log; the key declares the streams of the events that it finds."""
        if key not in self._execution.keys:
            raise Undeclared((), (key,))
        envelopes = [envelope for envelope in self._tables.log if envelope.idempotency_key == key]
        self._reads.update(envelope.stream for envelope in envelopes)
        return envelopes

    def dedupe(self, kind: str, key: str, /) -> DedupeRow | None:
        """Look up the row; the key declares the stream of its task."""
        if (kind, key) not in self._execution.dedupes:
            raise Undeclared((), (), ((kind, key),))
        row = self._tables.dedupes.get((kind, key))
        if row is not None:
            self._reads.add(f"task/{row.task}")
        return row

    def dedupes_over(self, limit: int, /) -> Sequence[DedupeRow]:
        """Look at every key."""
        assert self._execution.dedupes, "the operation declares no dedupe key"
        rows = [row for row in self._tables.dedupes.values() if row.until_ms is not None]
        over = [row for row in rows if row.until_ms is not None and row.until_ms <= self.now_ms]
        return sorted(over, key=lambda row: (row.until_ms, row.kind, row.key))[:limit]

    def select(self, claim: Claim, /) -> Sequence[Saved]:
        """Every ready task, sorted, cut to the limit."""
        assert self._execution.operation.claim is not None, "the operation declares no claim"
        return self._select(found.claimable(self._tables, claim))

    @property
    def expired(self) -> Sequence[Saved]:
        """The tasks found by a look at every lease."""
        due = self._due()
        limit = due.limit + LEASE_CHECKS_MAX
        return self._select(found.checks(self._tables, due.queues, self.now_ms)[:limit])

    @property
    def waits_over(self) -> Sequence[Saved]:
        """The tasks found by a look at every wait."""
        due = self._due()
        return self._select(found.waits_over(self._tables, due.queues, self.now_ms)[: due.limit])

    @property
    def deadlines_over(self) -> Sequence[Saved]:
        """The tasks found by a look at every deadline."""
        due = self._due()
        return self._select(found.deadlines_over(self._tables, due.queues, self.now_ms)[: due.limit])

    @property
    def promotable(self) -> Sequence[Saved]:
        """The tasks found by a look at every delayed task."""
        due = self._due()
        return self._select(found.promotable(self._tables, due.queues, self.now_ms)[: due.limit])

    @property
    def due_accounts(self) -> Sequence[str]:
        """The accounts found by a look at every one; the view then also shows what they allow."""
        names = found.due_accounts(self._tables, self.now_ms)[: self._due().limit]
        self._show_limits(names)
        return names

    # --- limits ---------------------------------------------------------------------------------------------------

    def is_governed(self, queue: str, /) -> bool:
        """Look for the queue's stream."""
        return self._tables.is_governed(queue)

    def account(self, name: str, /) -> Account | None:
        """Look up the account, if its stream is declared."""
        if stream_of_account(name) not in self._reads:
            raise Undeclared((stream_of_account(name),))
        return self._tables.accounts.get(name)

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """Look at every task."""
        candidates = [one for one in found.in_line(self._tables, account, place) if one.section == section][:limit]
        self._select([self._tables.folds[one.stream.partition("/")[2]] for one in candidates])
        return candidates

    def count_ready(self, account: str, section: str, without: Collection[str], limit: int, /) -> int:
        """Look at every task."""
        return len(self._ready(account, section, without)[:limit])

    def last_ready(self, account: str, section: str, without: Collection[str], /) -> Candidate | None:
        """Look at every task."""
        last = self._ready(account, section, without)[-1:]
        self._select([self._tables.folds[one.stream.partition("/")[2]] for one in last])
        return last[0] if last else None

    def _ready(self, account: str, section: str, without: Collection[str]) -> list[Candidate]:
        ready = found.in_line(self._tables, account, "ready")
        return [one for one in ready if one.section == section and one.stream not in without]

    def sections(self, account: str, limit: int, /) -> Sequence[str]:
        """Look at every task."""
        return sorted({one.section for one in found.in_line(self._tables, account, "held")})[:limit]

    def any_of(self, account: str, /) -> str | None:
        """Look at every task."""
        found = [
            (one.place, one.section, one.priority, self.order(f"task/{id}"), id)
            for id, limit_uses in self._tables.limit_uses.items()
            for one in limit_uses
            if one.account == account
        ]
        return f"task/{min(found)[-1]}" if found else None

    def accounts_held(self, prefix: str, after: str, limit: int, /) -> Sequence[str]:
        """Look at every task."""
        held = {
            one.account for limit_uses in self._tables.limit_uses.values() for one in limit_uses if one.place == "held"
        }
        names = sorted(name for name in held if name.startswith(prefix) and name > after)[:limit]
        self._show_limits(names)
        return names

    def order(self, stream: str, /) -> int | None:
        """Look up the number of the task."""
        return self._tables.order.get(stream.partition("/")[2])

    def running(self, queue: str, /) -> Sequence[Saved]:
        """Look at every task."""
        tasks = [task for task, row in found.readable(self._tables, (queue,)) if row.state == "running"]
        return self._select(tasks)

    def _show_limits(self, accounts: Iterable[str]) -> None:
        self._reads.update(stream_of_account(name) for name in accounts)

    @property
    def dependants_due(self) -> Sequence[str]:
        """The first of the names."""
        self._due()
        return found.dependants_due(self._tables)[:1]

    @property
    def children_due(self) -> Sequence[Saved]:
        """The tasks of the names; one that is none, or cannot be read, without a fold."""
        ids = found.children_due(self._tables)[: self._due().limit]
        return [
            self._select([self._tables.folds[id]])[0] if self._is_readable(id) else Saved(f"task/{id}", None)
            for id in ids
        ]

    def ends(self, ids: Sequence[str], /) -> Ends:
        """Look at each of these tasks."""
        return found.ends(self._tables, ids)

    def edges(self, ids: Sequence[str], limit: int, /) -> Sequence[tuple[str, str]]:
        """Look at the edges of each of these tasks, which are declared: so no other operation adds one."""
        if missing := [f"task/{id}" for id in ids if f"task/{id}" not in self._reads]:
            raise Undeclared(missing)
        return found.edges(self._tables, ids, limit)

    def followers(self, parent: str, adopted: Sequence[str], limit: int, /) -> Sequence[Saved]:
        """Look at every task."""
        return self._select(found.followers(self._tables, parent, adopted, limit))

    def _is_readable(self, id: str) -> bool:
        return id in self._tables.folds and id not in self._tables.unreadable

    def _due(self) -> Due:
        due = self._execution.operation.due
        assert due is not None, "the operation declares no maintenance"
        return due

    def _select(self, tasks: Sequence[TaskFold]) -> list[Saved]:
        streams = [f"task/{task.id}" for task in tasks]
        self._writes.update(streams)
        self._reads.update(streams)
        return [self._show(task, self._tables.rows[task.id]) for task in tasks]

    def _show(self, fold: TaskFold, row: Row | None) -> Saved:
        if fold.uses is not None or self._tables.is_governed(fold.queue):
            self._reads.add(f"queue/{fold.queue}")
            self._reads.update(f"limit/{name}" for name in fold.uses or ())
        self._sources.update(f"task/{source}" for source in fold.sources)
        return Saved(f"task/{fold.id}", fold, row)

    def _along(self, ids: Iterable[str]) -> set[str]:
        """Return the streams of these tasks, and of all that are reached from them over edges."""
        reached: set[str] = set()
        ahead = list(ids)
        while ahead:
            id = ahead.pop()
            if id not in reached:
                reached.add(id)
                ahead += self._tables.awaited.get(id, ())
        return {f"task/{id}" for id in reached}
