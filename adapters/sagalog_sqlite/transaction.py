"""One write transaction: its operations decide, by one stream or by a view, and it writes their results.

Rule: it writes what an operation has decided only after the operation's function has returned. So a refusal has nothing
to undo, and later operations see what earlier ones wrote. `loader` reads and `writer` writes. It must not know turns,
files or how a transaction begins and ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import apsw

from sagalog.errors import SagalogError, SchemaMismatch, VersionConflict
from sagalog.store import (
    Append,
    Due,
    Execution,
    Operation,
    Result,
    Saved,
    StoreFold,
    TaskFold,
    Undeclared,
)
from sagalog_sqlite import selection
from sagalog_sqlite.rows import FORMAT, Loaded
from sagalog_sqlite.view import SqliteView
from sagalog_sqlite.writer import Writer


class _NeedsView(Exception):
    """More than one stream decides an operation, or the stream cannot be read."""


class Transaction(Writer):
    """The state of one write transaction.

    is_void    an operation has asked for what it has not declared: the store may commit nothing of it
    """

    is_void = False

    def answer(self, execution: Execution) -> Any:
        """Carry out one operation; return its answer, or the SagalogError that refused it.

        If it asks for what it has not declared, the transaction is void. The operations behind it then only say what
        they need, so that the next round has all of it.
        """
        if execution.refusal is not None:
            return execution.refusal
        try:
            return self._answer(execution)
        except UnicodeDecodeError:
            if self.reads_any_text:
                raise
        # [LOG-5] The operation has met a damaged text, and nothing of it is written yet. This comes after the `except`:
        # the error keeps a half-read statement alive, through which the connection would continue to read.
        self.read_any_text()
        return self._answer(execution)

    def _answer(self, execution: Execution) -> Any:
        try:
            result = (
                self._carry_out_plainly(execution.operation) if execution.may_be_plain and not self.is_void else None
            )
            if result is None:
                result = self._carry_out(execution)
            return result.answer
        except Undeclared as undeclared:
            execution.widen(undeclared)
        except apsw.ConstraintError:
            if not execution.drawn:
                raise
            execution.look_for_drawn()
        except SagalogError as refusal:
            return refusal
        self.is_void = True
        return None

    def _carry_out(self, execution: Execution) -> Result:
        """Have an operation decide by a view, and write its result. Raises what is no answer yet."""
        view = SqliteView(self, execution)
        result = execution.operation.decide(view)
        targets = self._targets(result.appends, view) if result.appends else ()
        if not self.is_void:
            self._write_result(result, targets)
        return result

    def _carry_out_plainly(self, operation: Operation) -> Result | None:
        """Have one stream decide an operation; None, with nothing written, if it needs a view."""
        plain = operation.plain
        if plain is None:
            return None
        try:
            loaded = self._only_stream_of(operation)
            saved = None if loaded is None or loaded.number == 0 else loaded.saved
            may_hold_back = None if self.estimates.has_settings is False else self._may_hold_back
            result = plain(saved, self.now_ms, self.epoch, partial(self._event_of, loaded), may_hold_back)
        except (SagalogError, _NeedsView):
            # With a view it meets the same, and raises it.
            return None
        if result is None or (result.if_childless and self.is_followed()):
            return None
        if result.appends:
            (append,) = result.appends
            if loaded is None or append.stream != loaded.saved.stream or append.expected != loaded.version:
                return None
            self._write_plain(result, loaded)
        return result

    def _only_stream_of(self, operation: Operation) -> Loaded | None:
        """Return the one stream that decides a plain operation, number 0 if absent; None: nothing is due, or ready.

        Raises:
            _NeedsView: something is due, or cannot be read. SagalogError: as `View.saved`.
        """
        if operation.writes:
            (stream,) = operation.writes
            if operation.drawn:
                self._absent.add(stream)
            return self._streams.get(stream) or self._find(stream) or Loaded(0, Saved(stream, None), 0, False, ())
        if operation.claim is not None:
            for number in selection.candidates(self.execute, operation.claim, 1, self.estimates):
                if self._by_number(number).fold is None:
                    raise _NeedsView
                return self._cache.numbered[number]
        elif operation.due is None or self._may_be_due(operation.due):
            raise _NeedsView
        return None

    def _may_hold_back(self, queue: str) -> bool:
        """Tell whether settings of a queue, or a paused kind, may count for a task of that queue."""
        return (self.store is not None and bool(self.store.paused_kinds)) or self.is_governed(queue)

    def _may_be_due(self, due: Due) -> bool:
        if due.queues is None or any(self.estimates.is_due(queue, self.now_ms) for queue in due.queues):
            return True
        return self._limits_are_due()

    def _targets(self, appends: Sequence[Append], view: SqliteView) -> Sequence[Loaded]:
        """Return the streams to append to, if every one has the expected version. [LOG-2]

        Raises:
            VersionConflict: a stream has moved on.
            SchemaMismatch: the store was founded in another format than this version writes.
            Undeclared: the operation has not declared that it writes a stream.
        """
        view.require_writes(appends)
        targets: list[Loaded] = []
        new: dict[str, Loaded] = {}
        versions: dict[str, int] = {}
        for append in appends:
            stream = append.stream
            loaded = self._streams.get(stream) or new.get(stream)
            if loaded is None:
                loaded = new[stream] = self._newest(stream)
            found = versions.get(stream, loaded.version)
            if found != append.expected:
                raise VersionConflict(
                    f"{stream} has {found} events, not {append.expected}: load it again",
                    stream=stream,
                    expected=append.expected,
                    actual=found,
                )
            versions[stream] = found + len(append.envelopes)
            if append.projection.row is None:
                _require_format(append.projection.fold)
            targets.append(loaded)
        return targets


def _require_format(fold: TaskFold | StoreFold) -> None:
    if isinstance(fold, StoreFold) and fold.format != FORMAT:
        raise SchemaMismatch(
            f"a store of format {fold.format} was to be founded in a file of format {FORMAT}",
            found=fold.format,
            supported=FORMAT,
        )
