"""One write transaction: how its operations decide, by one stream or by a view, and what becomes of their answers.

Its one rule: what an operation has decided is written only after its function has returned; so a refusal has nothing to
undo, and later operations see what earlier ones wrote. What is read is in `loader`, what is written in `writer`.
It must not know turns, files or how a transaction begins and ends.
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
    """What decides an operation is more than one stream, or cannot be read."""


class Transaction(Writer):
    """The state of one write transaction.

    is_void    an operation has asked for what it had not declared: nothing of it may be committed
    """

    is_void = False

    def answer(self, execution: Execution) -> Any:
        """Carry out one operation: its answer, or the SagalogError by which it was refused.

        Where it asks for what it has not declared, the transaction is void, and the operations behind it are only asked
        what they need, so that the next round has it all.
        """
        if execution.refusal is not None:
            return execution.refusal
        try:
            return self._answer(execution)
        except UnicodeDecodeError:
            if self.reads_any_text:
                raise
        # [LOG-5] A damaged text lies on its way, and nothing of the operation is written yet. Only once that error is
        # gone: it holds on to a statement that was read half-way, by which the connection would go on reading.
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
        """Have an operation decide by a view, and write what it has decided. Raises what is no answer yet."""
        view = SqliteView(self, execution)
        result = execution.operation.decide(view)
        targets = self._targets(result.appends, view) if result.appends else ()
        if not self.is_void:
            self._write_result(result, targets)
        return result

    def _carry_out_plainly(self, operation: Operation) -> Result | None:
        """The same for an operation that one stream decides; None, and nothing is written, where it needs a view."""
        plain = operation.plain
        if plain is None:
            return None
        try:
            loaded = self._only_stream_of(operation)
            saved = None if loaded is None or loaded.number == 0 else loaded.saved
            result = plain(saved, self.now_ms, self.epoch, partial(self._event_of, loaded))
        except (SagalogError, _NeedsView):
            # With a view it finds the same, and tells it.
            return None
        if result is not None and result.appends:
            (append,) = result.appends
            if loaded is None or append.stream != loaded.saved.stream or append.expected != loaded.version:
                return None
            self._write_result(result, (loaded,))
        return result

    def _only_stream_of(self, operation: Operation) -> Loaded | None:
        """The one stream that decides a plain operation, an absent one under number 0; None: nothing is due, or ready.

        Raises:
            _NeedsView: something is due, or cannot be read. SagalogError: as `View.saved`.
        """
        if operation.writes:
            (stream,) = operation.writes
            if operation.drawn:
                self._absent.add(stream)
            return self._streams.get(stream) or self._find(stream) or Loaded(0, Saved(stream, None), 0, ())
        if operation.claim is not None:
            for number in selection.candidates(self.execute, operation.claim, 1, self.estimates):
                if self._by_number(number).fold is None:
                    raise _NeedsView
                return self._cache.numbered[number]
        elif operation.due is None or self._may_be_due(operation.due):
            raise _NeedsView
        return None

    def _may_be_due(self, due: Due) -> bool:
        return due.queues is None or any(self.estimates.is_due(queue, self.now_ms) for queue in due.queues)

    def _targets(self, appends: Sequence[Append], view: SqliteView) -> Sequence[Loaded]:
        """The streams to append to, once all were found where they are expected. [LOG-2]

        Raises:
            VersionConflict: a stream has moved on.
            SchemaMismatch: the store is founded in another format than this one writes.
            Undeclared: a stream was not declared to be written.
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
