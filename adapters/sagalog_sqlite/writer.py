"""The writing half of a write transaction: events, projections, blobs, and the gates of tasks woken or put aside.

Rule: it touches only the statements, tables and indexes that have something new, and changes the cached stream with
them. It must not know what operations do, nor how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import astuple

from sagalog.store import (
    FOLD_FORMAT,
    Account,
    Append,
    Projection,
    Result,
    Row,
    Saved,
    StoreFold,
    TaskFold,
    armed,
    encode_account,
    reach,
)
from sagalog_sqlite import dedupes, edges, references, rows
from sagalog_sqlite.fold_cache import CREATED_CHARACTERS_MAX, is_worth_keeping
from sagalog_sqlite.loader import Loader
from sagalog_sqlite.rows import Loaded

INSERT_STREAM: Final = "INSERT INTO streams(category, id) VALUES (?, ?)"
INSERT_NUMBERED: Final = "INSERT INTO streams(category, id, number) VALUES (?, ?, ?)"
INSERT_EVENT: Final = (
    "INSERT INTO events(stream, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Writer(Loader):
    """The writer of one transaction, based on what it has read.

    wrote      whether there is anything to commit
    kept       what to keep beside the log, by space and name, which the store writes last; None: nothing
    """

    wrote = False
    kept: dict[tuple[str, str], str | None] | None = None

    def _write_result(self, result: Result, targets: Sequence[Loaded]) -> None:
        """Write everything that a result carries, in the port's order."""
        self._write_blobs(result)
        if len(targets) > 1:
            self._append_many(result.appends, targets)
        elif targets:
            self._append(result.appends[0], targets[0])
        if result.projections:
            for stream, projection in result.projections:
                self._save(self._streams[stream], projection)
        if result.accounts:
            for name, account in result.accounts:
                self._save_account(name, account)
        if result.dedupes_freed or result.dedupes_taken:
            self.wrote = True
            dedupes.save(self.execute, result.dedupes_freed, result.dedupes_taken)
        if result.aside:
            for stream in result.aside:
                self._put_aside(stream)
        if result.kept:
            self.wrote = True
            self.kept = {**(self.kept or {}), **{(one.space, one.name): one.value for one in result.kept}}
        if result.ended:
            # After all writes, so that it also wakes a task that begins to wait in this very operation.
            self._end_all_edges(result)
        if result.children_done or result.children_left:
            self._keep_children(result)
        if result.pruned is not None:
            self.wrote = True
            references.prune(self.execute, result.pruned)

    def _write_plain(self, result: Result, target: Loaded) -> None:
        """Write what the result of a plain way may carry: one append with its blobs and ends."""
        if result.blobs:
            self._write_blobs(result)
        self._append(result.appends[0], target)
        if result.ended:
            self._end_all_edges(result)

    def _write_blobs(self, result: Result) -> None:
        for blob in result.blobs:
            self._write(rows.INSERT_BLOB, (blob.digest, blob.data))

    def _append(self, append: Append, loaded: Loaded) -> None:
        """Append to one stream, as nearly every operation does."""
        self.wrote = True
        execute = self.execute
        if loaded.number == 0:
            execute(INSERT_STREAM, _category_and_id(append))
            self._begin(append, loaded, self._connection.last_insert_rowid())
        for values in _event_rows(append, loaded.number):
            execute(INSERT_EVENT, values)
        if armed:
            reach("commit.after_events")
        self._save_appended(append, loaded)
        if armed:
            reach("commit.after_fold")

    def _append_many(self, appends: Sequence[Append], targets: Sequence[Loaded]) -> None:
        """Append to several streams: write all rows of each table at once."""
        self.wrote = True
        pairs = list(zip(appends, targets, strict=True))
        new: dict[str, tuple[Append, Loaded]] = {}
        for append, loaded in pairs:
            if loaded.number == 0:
                new.setdefault(append.stream, (append, loaded))
        if new:
            number = int(self.execute(rows.NEWEST_STREAM).fetchone()[0])
            for append, loaded in new.values():
                number += 1
                self._begin(append, loaded, number)
            self._execute_many(
                INSERT_NUMBERED, [(*_category_and_id(one), loaded.number) for one, loaded in new.values()]
            )
        self._execute_many(INSERT_EVENT, [row for one, loaded in pairs for row in _event_rows(one, loaded.number)])
        if armed:
            reach("commit.after_events")
        for append, loaded in pairs:
            self._save_appended(append, loaded)
        if armed:
            reach("commit.after_fold")

    def _begin(self, append: Append, loaded: Loaded, number: int) -> None:
        """Begin a stream under a number, and save its tags, which never change."""
        loaded.number = number
        self._absent.discard(append.stream)
        created = append.envelopes[0]
        if len(created.body) <= CREATED_CHARACTERS_MAX:
            loaded.created = created
        for name, value in append.projection.tags:
            self.execute(rows.INSERT_TAG, (name, value, number))
        self._cache.add(loaded)

    def _save_appended(self, append: Append, loaded: Loaded) -> None:
        projection = append.projection
        if append.references:
            references.save(self.execute, loaded.number, append.references)
        loaded.version = append.expected + len(append.envelopes)
        if projection.row is not None:
            self._save(loaded, projection)
            return
        if isinstance(projection.fold, StoreFold):
            rows.update_store(self.execute, projection.fold)
            self.store = projection.fold
            self.estimates.has_settings = None
            self._finished.append(append.stream)
        else:
            self.execute(rows.REPLACE_FOLD, (loaded.number, FOLD_FORMAT, loaded.version, projection.content))
            self.note_settings(append.stream)
        loaded.saved = Saved(append.stream, projection.fold)

    def _save(self, loaded: Loaded, projection: Projection) -> None:
        """Save a projection; touch no more tables and indexes than have changed."""
        self.wrote = True
        row, saved = projection.row, loaded.saved
        assert row is not None, "every task has a row"
        before = saved.row
        self.execute(*rows.saving(loaded.number, projection, row, before))
        if projection.awaited or loaded.may_wait:
            self._save_edges(loaded, projection.awaited, before)
        if projection.limit_uses or loaded.limit_uses != ():
            self._save_limit_uses(loaded, projection)
        if row.follows is not None:
            self.estimates.is_followed = True
        loaded.saved = Saved(saved.stream, projection.fold, row)
        if not is_worth_keeping(projection.fold):
            self._finished.append(saved.stream)
        self.estimates.note(row)

    def _save_edges(self, loaded: Loaded, awaited: tuple[str, ...] | None, before: Row | None) -> None:
        """Save the edges of a task, in place of those that it has; None: they stay as they are. [WAIT-3]"""
        if awaited is None:
            return
        if awaited or rows.may_await(before):
            edges.save(self.execute, loaded.number, awaited)
            self.estimates.is_awaited = None
        loaded.may_wait = bool(awaited)

    def _save_limit_uses(self, loaded: Loaded, projection: Projection) -> None:
        uses = projection.limit_uses
        if uses != loaded.limit_uses and (uses or self._may_use_limits(loaded)):
            rows.save_limit_uses(self.execute, loaded.number, projection)
        loaded.limit_uses = uses

    def _may_use_limits(self, loaded: Loaded) -> bool:
        """Tell whether a task that limit_uses nowhere now may have a place under a limit on record."""
        if loaded.limit_uses is not None:
            return bool(loaded.limit_uses)
        fold = loaded.saved.fold
        return self.has_settings() and (
            not isinstance(fold, TaskFold) or bool(fold.uses) or self.is_governed(fold.queue)
        )

    def _save_account(self, name: str, account: Account) -> None:
        self._write(rows.SAVE_ACCOUNT, (name, account.due_ms, account.since_ms, encode_account(account)))
        self._cache.accounts[name] = account
        self.estimates.note_account(account.due_ms, account.since_ms)

    def _end_all_edges(self, result: Result) -> None:
        if self._shown_due or self.is_awaited():
            for id in result.ended:
                self._end_edges(id)

    def _end_edges(self, ended: str) -> None:
        """End the first edges to an ended task; have maintenance look at what has none left, and go on. [WAIT-3]"""
        woken, is_more = edges.end(self.execute, ended)
        was_due = ended in self._shown_due
        if is_more != was_due:
            self._write(edges.KEEP_UNHANDLED if is_more else edges.FORGET_UNHANDLED, (edges.DEPENDANTS, ended))
        self._shown_due.discard(ended)
        if woken or is_more:
            self.estimates.forget_due()
            self._cache.wake(woken)
        if woken or is_more or self.estimates.is_awaited:
            self.wrote = True
            self.estimates.is_awaited = None

    def _keep_children(self, result: Result) -> None:
        """Keep and forget the names of tasks whose children are due. [CANCEL-4]"""
        for id in result.children_done:
            self._write(edges.FORGET_UNHANDLED, (edges.CHILDREN, id))
        for id in result.children_left:
            self._write(edges.KEEP_UNHANDLED, (edges.CHILDREN, id))
        self.estimates.forget_due()

    def _put_aside(self, stream: str) -> None:
        """Hide the task from every search until it can be read again and is rebuilt. [LOG-5]"""
        loaded = self._streams.get(stream)
        self._cache.drop(stream)
        number = self._unreadable.get(stream) if loaded is None else loaded.number
        if number is None:
            # The operation asked for it by its name.
            number = self._newest(stream).number
        if number:
            self._unread.pop(number, None)
            self._write(rows.PUT_ASIDE, (number,))

    def _execute_many(self, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
        self._connection.executemany(statement, values)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self.wrote = True
        self.execute(statement, values)


def _event_rows(append: Append, number: int) -> list[tuple[Any, ...]]:
    """Return the rows of the events to append; raises ValueError where their versions have a gap."""
    found, version = [], append.expected
    for one in append.envelopes:
        version += 1
        if one.version != version:
            raise ValueError(f"{one.name} was to be appended as version {version} of {append.stream}")
        # All fields of an envelope except its position, and the number of its stream in place of the name.
        found.append((number, *astuple(one)[2:]))
    return found


def _category_and_id(append: Append) -> tuple[str, str]:
    category, _, id = append.stream.partition("/")
    return category, id
