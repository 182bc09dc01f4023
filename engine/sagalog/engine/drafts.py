"""Drafts: one task as an operation leaves it, with the events to append and all that the store saves beside them.

Rule: a draft decodes its events from their bytes, as the store will keep them. Knows no view and no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Envelope, decode, enclose
from sagalog.engine.entries import CommandEntry
from sagalog.engine.json_blobs import CHARACTERS_INLINE, whole, without_large
from sagalog.engine.sizes import CHARACTERS_THAT_FIT, GROWING, hands_over, require_event_fits, require_fold_fits
from sagalog.kernel import events as e
from sagalog.kernel.evolve import evolve
from sagalog.kernel.references import Reference, may_refer, references_of
from sagalog.kernel.state import TaskFold
from sagalog.store import Append, Saved
from sagalog.store.projection import encode_fold, limited_projection, project
from sagalog.store.row import check_ms


class Draft:
    """A task that an operation writes: the stream before, its new events so far, and the fold after them.

    before      the stream as the store has it; None: there is none
    expected    how many events it has there
    awaited     the tasks that live of those for which it begins to wait now; None: it does not [WAIT-3]
    references  all to which its new events refer [PRUNE-2]
    blobs       the bytes of values that are too large for these events, by digest [BLOB-2]
    """

    __slots__ = ("_content", "awaited", "before", "blobs", "envelopes", "expected", "fold", "references")

    def __init__(self, before: Saved | None, fold: TaskFold) -> None:
        self.before = before
        self.expected = fold.version
        self.envelopes: list[Envelope] = []
        self.fold = fold
        self.awaited: tuple[str, ...] | None = None
        self.references: tuple[Reference, ...] = ()
        self.blobs: dict[str, bytes] = {}
        # The fold's bytes, if a check of its size has encoded them.
        self._content: bytes | None = None

    def take(self, events: Sequence[e.Recordable], step: CommandEntry, now_ms: int) -> TaskFold:
        """Add the events decided at `now_ms`, and return the task after them. Raises OverBound. [BOUND-4]"""
        task = self.fold
        stream = f"task/{task.id}"
        grows = False
        for event in events:
            version = task.version + 1
            envelope = enclose(stream, version, now_ms, event, step.actor, step.cause, step.idempotency_key)
            size = len(envelope.body)
            if size > CHARACTERS_INLINE:
                smaller = without_large(event, self.blobs)
                if smaller is not event:
                    event = smaller
                    envelope = enclose(stream, version, now_ms, event, step.actor, step.cause, step.idempotency_key)
                    size = len(envelope.body)
            if size > CHARACTERS_THAT_FIT and not hands_over(event):
                require_event_fits(envelope)
            self.envelopes.append(envelope)
            task = evolve(task, event, version, now_ms)
            grows = grows or type(event) in GROWING
            if may_refer(event):
                self.references += references_of(event)
        self.fold, self._content = task, None
        if grows:
            self._content = encode_fold(task)
            require_fold_fits(task, len(self._content), events)
        return task

    def event(self, version: int) -> e.Recordable:
        """Decode one of its events, with its values, by the version that it has in the task's stream."""
        return whole(decode(self.envelopes[version - self.expected - 1]), self.blobs.get)

    def append(self, now_ms: int) -> Append:
        """Return what the store writes of it."""
        before, fold = self.before, self.fold
        row = None if before is None else before.row
        projection = project(fold, now_ms, row, self._content, self.awaited)
        return Append(f"task/{fold.id}", self.expected, tuple(self.envelopes), projection, self.references)

    def append_at(self, gate: str | None, held: str | None, is_governed: bool) -> Append:
        """Return what the store writes of a task under limits; `held` is the account that it lacks. [LIMIT-5]"""
        before, fold = self.before, self.fold
        look_ms = None if fold.lease is None or before is None else check_ms(fold, before.row)
        projection = limited_projection(fold, gate, held, is_governed, self._content, look_ms, self.awaited)
        return Append(f"task/{fold.id}", self.expected, tuple(self.envelopes), projection, self.references)
