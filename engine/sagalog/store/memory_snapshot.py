"""The snapshot of the memory store: the port's reads over plain lists and dictionaries.

Rule: every question looks at every task; no index answers it. Knows no lock.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from msgspec.structs import astuple

from sagalog.codec import Envelope, StoredEvent
from sagalog.kernel.accounts import Account
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import State
from sagalog.store import memory_selection as found
from sagalog.store.accounts import COUNTING
from sagalog.store.audits import AuditedStream, AuditedTask, StreamHead, Tag
from sagalog.store.candidates import Delayed, PinnedTasks, UnclaimedUndo
from sagalog.store.dependencies import Ends
from sagalog.store.limit_uses import Candidate, Place
from sagalog.store.memory_tables import Tables
from sagalog.store.operation import Claim
from sagalog.store.projection import encode_fold
from sagalog.store.reads import Listed, Query, SavedTask
from sagalog.store.references import ReferringStream


class MemorySnapshot:
    """The port's snapshot; consistent as long as no transaction writes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # --- reads ----------------------------------------------------------------------------------------------------

    def task(self, id: str) -> TaskFold | None:
        """Return the fold; fold an unreadable task again, which raises the reason."""
        return found.task(self._tables, id)

    def fold(self, stream: str) -> Any:
        """Look up the fold by the stream's name."""
        return self._tables.store_fold if stream.startswith("store/") else self._tables.others.get(stream)

    def recorded(self, id: str, version: int) -> Envelope:
        """Look up the event by its place in the stream's list."""
        return self._tables.stream_of[f"task/{id}"][version - 1]

    def blob(self, digest: str) -> bytes | None:
        """Look up the bytes by their digest."""
        return self._tables.blobs.get(digest)

    def blob_size(self, digest: str) -> int | None:
        """Measure the bytes."""
        data = self._tables.blobs.get(digest)
        return None if data is None else len(data)

    def pruned(self, digest: str) -> int | None:
        """Look up the version by the digest."""
        return self._tables.pruned.get(digest)

    def digests(self, after: str, limit: int) -> list[str]:
        """Look at all references."""
        return found.digests(self._tables, after, limit)

    def digest_count(self) -> int:
        """Look at all references."""
        return len(found.digests(self._tables, "", sys.maxsize))

    def referring(self, name: str, limit: int | None = None) -> list[ReferringStream]:
        """Look at all references."""
        return found.referring(self._tables, name)[:limit]

    def history(self, stream: str, after: int = 0, limit: int | None = None) -> list[Envelope]:
        """Slice the stream's list."""
        return self._tables.stream_of.get(stream, [])[after:][:limit]

    def events(self, after: int, limit: int) -> list[Envelope]:
        """Slice the log."""
        return self._tables.log[after : after + limit]

    def find(self, query: Query) -> list[Listed]:
        """Look at every task, in order of creation."""
        order = self._tables.order
        listed = [Listed(order[task.id], task) for task, _ in found.readable(self._tables)]
        if query.newest_first:
            listed.reverse()
        listed = [row for row in listed if _is_beyond(row.order, query) and _matches(row.fold, query)]
        return listed[: query.limit]

    def ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """Look at every task."""
        return sorted(id for id in self._tables.order if id.startswith(prefix))[:limit]

    def unreadable(self) -> list[str]:
        """Sort the unreadable tasks by creation."""
        return sorted(self._tables.unreadable, key=self._tables.order.__getitem__)

    def ends(self, ids: Sequence[str]) -> Ends:
        """Look at each of these tasks."""
        return found.ends(self._tables, ids)

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        """Count every task."""
        counted: dict[str, dict[str, int]] = {}
        for task in self._tables.folds.values():
            if queue is None or task.queue == queue:
                states = counted.setdefault(task.queue, {})
                states[str(task.state)] = states.get(str(task.state), 0) + 1
        return counted

    def account(self, name: str) -> Account | None:
        """Look up the account by its name."""
        return self._tables.accounts.get(name)

    def ids(self, category: str, after: str, limit: int) -> list[str]:
        """Look at every stream."""
        named = (stream.partition("/") for stream in self._tables.stream_of)
        return sorted(id for name, _, id in named if name == category and id > after)[:limit]

    def holders(self, account: str, limit: int) -> list[tuple[str, int]]:
        """Look at every task."""
        return [
            (task.id, one.units)
            for task, _ in found.readable(self._tables)
            for one in self._tables.limit_uses[task.id]
            if one.account == account and one.place == "leased"
        ][:limit]

    def placed(self, account: str, place: Place, limit: int, section: str | None = None) -> int:
        """Look at every task."""
        uses = (one for task, _ in found.readable(self._tables) for one in self._tables.limit_uses[task.id])
        fitting = [one for one in uses if one.account == account and one.place == place]
        return len([one for one in fitting if section is None or one.section == section][:limit])

    def in_line(self, account: str, place: Place, section: str, limit: int, /) -> Sequence[Candidate]:
        """Look at every task."""
        return [one for one in found.in_line(self._tables, account, place) if one.section == section][:limit]

    def is_governed(self, queue: str) -> bool:
        """Look for the queue's stream."""
        return self._tables.is_governed(queue)

    def store(self) -> StoreFold | None:
        """Return the fold as the last commit left it."""
        return self._tables.store_fold

    def head(self) -> tuple[int, int]:
        """Return the length of the log, and the position of its last event."""
        log = self._tables.log
        return len(log), log[-1].position if log else 0

    def saved(self, stream: str) -> SavedTask | None:
        """Return the fold and its row."""
        id = stream.partition("/")[2]
        row = self._tables.rows.get(id)
        if row is None:
            return None
        fold = self._tables.folds[id]
        shown = row._replace(gate="unreadable") if id in self._tables.unreadable else row
        return SavedTask(fold, shown, tuple(sorted(self._tables.awaited[id])), fold.tags or {})

    def kept(self, space: str, name: str) -> str | None:
        """Look up the value by space and name."""
        return self._tables.kept.get((space, name))

    def kept_in(self, space: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Look at everything that is kept, and sort it."""
        found = sorted((name, value) for (of, name), value in self._tables.kept.items() if of == space and name > after)
        return found[:limit]

    # --- candidates -----------------------------------------------------------------------------------------------

    def over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Look at every lease."""
        return found.expired(self._tables, now_ms)[:limit]

    def waits_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Look at every wait."""
        return found.waits_over(self._tables, None, now_ms)[:limit]

    def deadlines_over(self, now_ms: int, limit: int | None = None) -> list[TaskFold]:
        """Look at every deadline."""
        return found.deadlines_over(self._tables, None, now_ms)[:limit]

    def behind(self, now_ms: int) -> list[TaskFold]:
        """Look at every lease."""
        return [
            task
            for task, row in found.readable(self._tables)
            if row.expires_ms is not None and row.renewed_ms is not None and row.renewed_ms > now_ms
        ]

    def delayed(self, now_ms: int) -> list[Delayed]:
        """Look at every task."""
        return found.delayed(self._tables, now_ms)

    def standing(self, claim: Claim) -> list[str]:
        """Look at every task."""
        return [task.id for task in found.claimable(self._tables, claim)]

    def claimable_ms(self, claim: Claim) -> int | None:
        """Look at every task."""
        return 0 if found.claimable(self._tables, claim) else found.next_ms(self._tables, claim.queues)

    def accounts_due_ms(self) -> int | None:
        """Look at every account."""
        return found.accounts_due_ms(self._tables)

    def accounts_since_ms(self) -> int | None:
        """Look at every account."""
        return found.accounts_since_ms(self._tables)

    def ready_kinds(self, queues: tuple[str, ...], build: str | None, limit: int) -> list[str]:
        """Look at every task."""
        ready = [row for _, row in found.readable(self._tables, queues) if row.gate == "ready"]
        places = {(queue, one) for queue in queues for one in (None, build)}
        kinds = (sorted({row.kind for row in ready if (row.queue, row.build) == place})[:limit] for place in places)
        return sorted({kind for some in kinds for kind in some})

    def undoing(
        self,
        now_ms: int,
        queues: tuple[str, ...] | None = None,
        unknown: frozenset[str] = frozenset(),
        known: frozenset[str] | None = None,
    ) -> list[str]:
        """Look at every task."""
        ids = []
        for task, row in found.readable(self._tables, queues):
            kinds = found.owed_kinds(task)
            is_hopeless = not kinds.isdisjoint(unknown) or not (known is None or kinds <= known)
            is_overdue = row.overdue_ms is not None and row.overdue_ms <= now_ms
            if row.undo_ms is not None and (is_hopeless or is_overdue):
                ids.append(task.id)
        return ids

    def unclaimed(self, now_ms: int) -> list[UnclaimedUndo]:
        """Look at every task; a memory store is small enough to count them all."""
        since: dict[tuple[str, str], list[int]] = {}
        for task, row in found.readable(self._tables):
            if row.undo_ms is not None and row.undo_ms <= now_ms:
                for kind in found.owed_kinds(task):
                    since.setdefault((task.queue, kind), []).append(row.undo_ms)
        return [UnclaimedUndo(*where, len(times), min(times)) for where, times in sorted(since.items())]

    def pinned(self) -> list[PinnedTasks]:
        """Look at every task; a memory store is small enough to count them all."""
        rows = [row for _, row in found.readable(self._tables) if row.state == State.PENDING and row.build is not None]
        counts = Counter((str(row.build), row.queue) for row in rows)
        return [PinnedTasks(*place, tasks) for place, tasks in sorted(counts.items())]

    # --- audit ----------------------------------------------------------------------------------------------------

    def dependants_due(self) -> frozenset[str]:
        """Copy the names."""
        return frozenset(found.dependants_due(self._tables))

    def children_due(self) -> frozenset[str]:
        """Copy the names."""
        return frozenset(found.children_due(self._tables))

    def streams(self, after: int, limit: int) -> list[StreamHead]:
        """List the streams in order of their first event."""
        heads = [
            StreamHead(number, name, len(envelopes))
            for number, (name, envelopes) in enumerate(self._tables.stream_of.items(), start=1)
        ]
        return heads[after : after + limit]

    def audited(self, after: int, limit: int) -> list[AuditedStream]:
        """Read stream by stream."""
        return [
            AuditedStream(
                head.number,
                head.stream,
                [_stored(head.number, envelope) for envelope in self.history(head.stream)],
                self._audited_task(head.stream) if head.stream.startswith("task/") else None,
                self._tables.others.get(head.stream),
                tuple(sorted(self._tables.references.get(head.stream, {}).values())),
            )
            for head in self.streams(after, limit)
        ]

    def _audited_task(self, stream: str) -> AuditedTask | None:
        saved = self.saved(stream)
        if saved is None:
            return None
        limit_uses = tuple(sorted(self._tables.limit_uses[stream.partition("/")[2]]))
        dedupe = next((row for row in self._tables.dedupes.values() if f"task/{row.task}" == stream), None)
        return AuditedTask(encode_fold(saved.fold), saved.row, saved.awaited, limit_uses, dedupe)

    def accounts(self, after: str, limit: int) -> list[tuple[str, Account | None]]:
        """Look at every account."""
        found: list[tuple[str, Account | None]] = [*self._tables.accounts.items()]
        return sorted(one for one in found if one[0] > after)[:limit]

    def counting(self, after: int, limit: int) -> list[Envelope]:
        """Look at every event."""
        return [one for one in self._tables.log[after:] if one.type in COUNTING][:limit]

    def tagged(self, name: str, value: str, first: int, last: int) -> frozenset[int]:
        """Look at the folds of those streams."""
        heads = self.streams(first - 1, last - first + 1)
        folds = {head.number: self._tables.folds.get(head.stream.partition("/")[2]) for head in heads}
        return frozenset(
            number for number, fold in folds.items() if fold is not None and (fold.tags or {}).get(name) == value
        )

    def pruned_count(self) -> int:
        """Count the names."""
        return len(self._tables.pruned)

    def strays(self) -> list[str]:
        """Return nothing: here every projection has its stream."""
        return []

    def tag_count(self) -> int:
        """Count the tags of all folds: here these alone find a task."""
        return sum(len(fold.tags or {}) for fold in self._tables.folds.values())

    def stray_tags(self, _after: Tag, _limit: int) -> tuple[list[tuple[str | None, str]], Tag | None]:
        """Return nothing: here the tags of its fold alone find a task."""
        return [], None

    def check(self) -> list[str]:
        """Return nothing: memory has no pages that could be damaged."""
        return []


def _stored(number: int, envelope: Envelope) -> StoredEvent:
    position, _, *fields = astuple(envelope)
    return (position, number, *fields)


def _is_beyond(order: int, query: Query) -> bool:
    if query.newest_first:
        return query.after == 0 or order < query.after
    return order > query.after


def _matches(task: TaskFold, query: Query) -> bool:
    tags = task.tags or {}
    return (
        (query.queues is None or task.queue in query.queues)
        and (query.kind is None or task.kind == query.kind)
        and (query.states is None or task.state in query.states)
        and (query.parent is None or task.parent == query.parent)
        and (query.correlation_id is None or task.correlation_id == query.correlation_id)
        and (query.since_ms is None or task.updated_ms >= query.since_ms)
        and (query.waiting is None or _is_waiting(task, query.waiting))
        and all(tags.get(name) == value for name, value in query.tags)
    )


def _is_waiting(task: TaskFold, name: str | Literal[True]) -> bool:
    return task.waiting is not None and name in (True, task.waiting.name)
