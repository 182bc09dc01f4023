"""The tables of the memory store: the log in a list, and the projections folded from it, by id of the task.

Rule: a transaction can take back all that it writes until the next one begins. Knows no operation's function.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from sagalog.codec import Envelope
from sagalog.errors import SagalogError, VersionConflict
from sagalog.kernel.accounts import Account
from sagalog.kernel.bounds import DEPENDANTS_LIMIT
from sagalog.kernel.categories import CATEGORIES, Category
from sagalog.kernel.references import Reference
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.store.accounts import AccountFold
from sagalog.store.dedupe_keys import DedupeRow, fold_dedupes
from sagalog.store.limit_uses import LimitUse
from sagalog.store.operation import Append, Kept, Result
from sagalog.store.projection import Projection, decode_fold, decode_fold_of, project_afresh, refold_stream
from sagalog.store.references import Pruning, fold_prunings, fold_references
from sagalog.store.row import Row

_ABSENT: Final = object()


class Tables:
    """The log and its projections. A task that cannot be read keeps its last known fold, or has none."""

    def __init__(self) -> None:
        self.log: list[Envelope] = []
        self.stream_of: dict[str, list[Envelope]] = {}
        self.folds: dict[str, TaskFold] = {}
        self.rows: dict[str, Row] = {}
        self.awaited: dict[str, tuple[str, ...]] = {}
        self.limit_uses: dict[str, tuple[LimitUse, ...]] = {}
        self.accounts: dict[str, Account] = {}
        # The dedupe keys that tasks have, by kind and key.
        self.dedupes: dict[tuple[str, str], DedupeRow] = {}
        self.order: dict[str, int] = {}
        self.unreadable: dict[str, None] = {}
        # Tasks that have ended and have edges left, and those of which children may have to be cancelled.
        self.dependants_due: dict[str, bool] = {}
        self.children_due: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        # By stream, its references by name; and by digest, the version of the event by which bytes are gone.
        self.references: dict[str, dict[str, Reference]] = {}
        self.pruned: dict[str, int] = {}
        # What is kept beside the log, by space and name.
        self.kept: dict[tuple[str, str], str] = {}
        self.store_fold: StoreFold | None = None
        # The folds of every other category, by the name of the stream.
        self.others: dict[str, Any] = {}
        self._begin: tuple[int, StoreFold | None] = (0, None)
        # The entries that `take_back` restores, newest last.
        self._before: list[tuple[dict[Any, Any], Any, Any]] = []

    def begin(self) -> None:
        """Begin a transaction: `take_back` undoes what is written from here on."""
        self._begin = (len(self.log), self.store_fold)
        self._before.clear()

    def require_expected(self, result: Result) -> None:
        """Refuse a result with a stream that has moved on. [LOG-2]"""
        versions: dict[str, int] = {}
        for append in result.appends:
            actual = versions.setdefault(append.stream, len(self.stream_of.get(append.stream, ())))
            if actual != append.expected:
                raise VersionConflict(
                    f"{append.stream} has {actual} events, not {append.expected}: load it again",
                    stream=append.stream,
                    expected=append.expected,
                    actual=actual,
                )
            versions[append.stream] += len(append.envelopes)

    def write(self, result: Result) -> None:
        """Write everything that a result carries, in the port's order."""
        for blob in result.blobs:
            if blob.digest not in self.blobs:
                self._set(self.blobs, blob.digest, blob.data)
                self._remove(self.pruned, blob.digest)
        for append in result.appends:
            self._append(append.stream, append.envelopes)
            self._save(append.stream, append.projection)
            self._refer(append)
        for stream, projection in result.projections:
            self._save(stream, projection)
        for name, account in result.accounts:
            self._set(self.accounts, name, account)
        for row in result.dedupes_freed:
            place = (row.kind, row.key)
            if place in self.dedupes and self.dedupes[place].task == row.task:
                self._before.append((self.dedupes, place, self.dedupes.pop(place)))
        for row in result.dedupes_taken:
            self._set(self.dedupes, (row.kind, row.key), row)
        for stream in result.aside:
            self._set(self.unreadable, stream.partition("/")[2], None)
        if result.kept:
            self.keep(result.kept)
        # After all else, so that a task that begins to wait in this very operation wakes too.
        for id in result.ended:
            self._end_edges(id)
        for id in result.children_done:
            self._set(self.children_due, id, False)
        for id in result.children_left:
            self._set(self.children_due, id, True)
        if result.pruned is not None:
            self._prune(result.pruned)

    def keep(self, kept: Iterable[Kept]) -> None:
        """Write what is kept beside the log."""
        for one in kept:
            place = (one.space, one.name)
            if one.value is not None:
                self._set(self.kept, place, one.value)
            elif place in self.kept:
                self._before.append((self.kept, place, self.kept.pop(place)))

    def take_back(self) -> bool:
        """Undo what was written since `begin`; return whether that included events."""
        length, self.store_fold = self._begin
        newer = self.log[length:]
        del self.log[length:]
        for envelope in newer:
            stream = self.stream_of[envelope.stream]
            stream.pop()
            if not stream:
                del self.stream_of[envelope.stream]
        while self._before:
            mapping, key, value = self._before.pop()
            if value is _ABSENT:
                del mapping[key]
            else:
                mapping[key] = value
        return bool(newer)

    def has_appended(self) -> bool:
        """Check whether there are new events since `begin`."""
        return len(self.log) > self._begin[0]

    def rebuild(self, now_ms: int) -> int:
        """Fold every task again; return how many there are."""
        known, self.folds, self.rows, self.awaited, self.order, self.unreadable = self.folds, {}, {}, {}, {}, {}
        self.limit_uses = {}
        for stream, envelopes in self.stream_of.items():
            name, _, id = stream.partition("/")
            if name not in ("task", "store"):
                self._rebuild_other(stream, CATEGORIES[name], envelopes)
            if name != "task":
                continue
            self.order[id] = len(self.order) + 1
            try:
                self._save(stream, project_afresh(id, envelopes, now_ms, self.is_governed))
            except SagalogError:
                # `counts` still uses the last known fold; no other reader does.
                self.unreadable[id] = None
                if id in known:
                    self.folds[id] = known[id]
        self._settle_relations()
        self._rebuild_accounts()
        self._rebuild_dedupes(now_ms)
        self._rebuild_references()
        return len(self.order)

    def is_governed(self, queue: str) -> bool:
        """Check whether a queue has a stream of its own."""
        return f"queue/{queue}" in self.stream_of

    def _rebuild_accounts(self) -> None:
        """Fold all accounts again; maintenance looks at each that holds tasks back. [LIMIT-7]"""
        used: dict[str, int] = {}
        held: set[str] = set()
        for limit_uses in self.limit_uses.values():
            for one in limit_uses:
                if one.place == "leased":
                    used[one.account] = used.get(one.account, 0) + one.units
                elif one.place == "held":
                    held.add(one.account)
        fold = AccountFold()
        for envelope in self.log:
            fold.take(envelope)
        self.accounts = fold.rebuilt(used, held)

    def _rebuild_dedupes(self, now_ms: int) -> None:
        """Fold the dedupe keys again; a task that cannot be read keeps the one that it has. [DEDUPE-1] [LOG-5]"""
        kept = {place: row for place, row in self.dedupes.items() if row.task in self.unreadable}
        readable = (self.folds[id] for id in self.order if id not in self.unreadable)
        self.dedupes = {**fold_dedupes(readable, now_ms), **kept}

    def _settle_relations(self) -> None:
        """Delete the edges to tasks that have ended; have maintenance look at every task that has children. [WAIT-3]"""
        ended = {id for id, fold in self.folds.items() if fold.is_terminal and id not in self.unreadable}
        self.awaited = {id: tuple([one for one in ids if one not in ended]) for id, ids in self.awaited.items()}
        self.dependants_due = {}
        followed = [row.follows for row in self.rows.values() if row.follows is not None]
        adopters = [id for id, fold in self.folds.items() if fold.children]
        self.children_due = dict.fromkeys((*followed, *adopters), True)

    def _rebuild_other(self, stream: str, category: Category[Any], envelopes: list[Envelope]) -> None:
        with suppress(SagalogError):
            self.others[stream] = refold_stream(category, stream.partition("/")[2], envelopes)

    def _append(self, name: str, envelopes: tuple[Envelope, ...]) -> None:
        stream = self.stream_of.setdefault(name, [])
        for envelope in envelopes:
            stored = msgspec.structs.replace(envelope, position=len(self.log) + 1)
            self.log.append(stored)
            stream.append(stored)

    def _save(self, stream: str, projection: Projection) -> None:
        if isinstance(projection.fold, StoreFold):
            self.store_fold = projection.fold
            return
        name, _, id = stream.partition("/")
        if name != "task":
            self._set(self.others, stream, decode_fold_of(CATEGORIES[name], projection.content))
            return
        if id not in self.order:
            self._set(self.order, id, len(self.order) + 1)
        # From its bytes, so that the operation shares no container with the store.
        self._set(self.folds, id, decode_fold(projection.content))
        self._set(self.rows, id, projection.row)
        self._set(self.limit_uses, id, projection.limit_uses)
        if projection.awaited is not None or id not in self.awaited:
            self._set(self.awaited, id, projection.awaited or ())
        if id in self.unreadable:
            # An operation writes a task only if it could read it.
            self._before.append((self.unreadable, id, None))
            del self.unreadable[id]

    def _end_edges(self, ended: str) -> None:
        """Delete the first edges to a task that has ended; maintenance looks at what has none left. [WAIT-3]"""
        found = sorted((id for id, ids in self.awaited.items() if ended in ids), key=self.order.__getitem__)
        for id in found[:DEPENDANTS_LIMIT]:
            left = tuple([one for one in self.awaited[id] if one != ended])
            self._set(self.awaited, id, left)
            row = self.rows.get(id)
            if row is not None and row.gate == "waiting" and not left:
                self._set(self.rows, id, row._replace(gate="waking"))
        if found:
            self._set(self.dependants_due, ended, len(found) > DEPENDANTS_LIMIT)

    def _refer(self, append: Append) -> None:
        """Keep the references that a stream does not have yet. [PRUNE-2]"""
        if append.references:
            known = self.references.get(append.stream, {})
            self._set(self.references, append.stream, {one.name: one for one in append.references} | known)

    def _prune(self, pruning: Pruning) -> None:
        """Delete bytes with all references to them, and keep the names of these bytes. [PRUNE-1]"""
        gone = frozenset(pruning.digests)
        for digest in pruning.digests:
            self._remove(self.blobs, digest)
            self._set(self.pruned, digest, pruning.version)
        for stream, named in list(self.references.items()):
            if not gone.isdisjoint(named):
                self._set(self.references, stream, {name: one for name, one in named.items() if name not in gone})

    def _rebuild_references(self) -> None:
        """Fold the references again; a stream that cannot be read keeps those that it has. [PRUNE-2] [LOG-5]"""
        stores = [one for name, envelopes in self.stream_of.items() if name.startswith("store/") for one in envelopes]
        positions, versions = fold_prunings(stores)
        for stream, envelopes in self.stream_of.items():
            with suppress(SagalogError):
                self.references[stream] = {one.name: one for one in fold_references(envelopes, positions)}
        named = {name for references in self.references.values() for name in references}
        self.pruned = {digest: version for digest, version in versions.items() if digest not in named}

    def _remove(self, mapping: dict[Any, Any], key: Any) -> None:
        if key in mapping:
            self._before.append((mapping, key, mapping.pop(key)))

    def _set(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._before.append((mapping, key, mapping.get(key, _ABSENT)))
        mapping[key] = value
