"""The unit of work of one operation: commands, maintenance, and the result, all within what the store has locked.

Rule: it depends only on what the view shows, and computes, once, all that the store saves beside the events. It is
read in four layers: `task_view`, `task_changes`, `command_work`, and this one. Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sagalog.engine.accounts import Accounts
from sagalog.engine.command_work import CommandWork, Maintained
from sagalog.engine.drafts import Draft
from sagalog.engine.entries import CommandEntry
from sagalog.engine.json_blobs import blobs_in
from sagalog.engine.parents import WITHOUT_SUCCESS
from sagalog.errors import Corrupt
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import DEPENDANTS_LIMIT
from sagalog.kernel.decide import Repeat, decide
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL
from sagalog.store import Append, Blob, Result, Saved, View
from sagalog.store.projection import project
from sagalog.store.row import READY, gate_of, row_of


class UnitOfWork(CommandWork):
    """The folds as they are after each step, and what the store has to write."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        # Tasks that had ended before, and whose end waiting tasks may have missed.
        self._ended: list[str] = []
        # Tasks whose rows are put right where a limit counts.
        self._righted: dict[str, Saved] = {}

    # --- what it gives -----------------------------------------------------------------------------------------------

    def result(self, answer: object) -> Result:
        """Return everything to write, streams in the order of their first write, and the answer."""
        self.cancel_children()
        is_limited = self._accounts is not None or self._settings
        result = self._limited_result(answer, self.accounts) if is_limited else self._plain_result(answer)
        return result if self._dedupes is None else self._dedupes.add_to(result)

    def _plain_result(self, answer: object) -> Result:
        ended = list(self._ended)
        appends: list[Append] = []
        for id, draft in self._drafts.items():
            if draft.fold.state in TERMINAL:
                ended.append(id)
            appends.append(draft.append(self._now_ms))
        return Result(
            answer,
            tuple(appends),
            tuple(self._projections.items()) if self._projections else (),
            tuple(ended),
            tuple(self._aside),
            self._all_blobs(),
            children_left=tuple(self._parents.left),
            children_done=tuple(self._parents.done),
        )

    def _all_blobs(self) -> tuple[Blob, ...]:
        """Return the bytes that callers gave, and those of values that are too large for their events. [BLOB-2]"""
        values = [draft.blobs for draft in self._drafts.values() if draft.blobs]
        return (*self._blobs, *(one for blobs in values for one in blobs_in(blobs))) if values else self._blobs

    def _limited_result(self, answer: object, accounts: Accounts) -> Result:
        """Return as `result` what to write where a limit counts, with all that follows for other tasks. [LIMIT-5]"""
        admission = self.admission
        if self._breakers is not None:
            self._breakers.count_in_order(self._drafts)
        drafts = {id: draft for id, draft in self._drafts.items() if self._is_or_was_limited(draft)}
        written = [(draft.fold, draft.before) for draft in drafts.values()]
        written += [(saved.fold, saved) for saved in self._righted.values()]
        for fold, before in written:
            admission.write(fold, before)
        admission.let_in()
        for fold, before in written:
            admission.place(fold, before)
        admission.let_in()
        ended = [*self._ended, *(id for id, draft in self._drafts.items() if draft.fold.state in TERMINAL)]
        appends = [*self._settings]
        for id, draft in self._drafts.items():
            if id in drafts:
                gate = admission.gates[id]
                appends.append(draft.append_at(gate.name, gate.held, self._view.is_governed(draft.fold.queue)))
            else:
                appends.append(draft.append(self._now_ms))
        for saved in (*self._righted.values(), *admission.moved.values()):
            gate = admission.gates[saved.fold.id]
            self._projections[saved.stream] = self._project_at(saved.fold, gate.name, gate.held)
        return Result(
            answer,
            tuple(appends),
            tuple(self._projections.items()),
            tuple(ended),
            tuple(dict.fromkeys([*self._aside, *admission.aside])),
            self._all_blobs(),
            accounts.changed(),
            children_left=tuple(self._parents.left),
            children_done=tuple(self._parents.done),
        )

    def _is_or_was_limited(self, draft: Draft) -> bool:
        """Check whether a limit may count for a task as it is, or as it was: an amended one may leave its queue."""
        before = draft.before
        return self.is_limited(draft.fold) or (
            before is not None and isinstance(before.fold, TaskFold) and self.is_limited(before.fold)
        )

    # --- maintenance -------------------------------------------------------------------------------------------------

    def handle_due(self) -> bool:
        """Go on with the dependants and the children of tasks that have ended; return whether there were any. [WAIT-3]

        The children count among what `cancel_children` answers. [CANCEL-4]
        """
        ended, parents = self._view.dependants_due, self._view.children_due
        self._ended += ended
        self._parents.due(parents)
        return bool(ended or parents)

    def cancel_children(self, limit: int = DEPENDANTS_LIMIT) -> list[Maintained]:
        """Cancel up to `limit` children of tasks whose work these steps have ended without success. [CANCEL-4]"""
        cancelled: list[Maintained] = []

        def write(child: TaskFold, step: CommandEntry) -> None:
            decision = decide(child, step.command, self._now_ms, self._epoch)
            if not isinstance(decision, Repeat) and decision:
                after = self._take(child, decision, step)
                names = tuple([e.NAMES[type(event)] for event in decision])
                cancelled.append(Maintained(child.id, names, str(after.state)))

        self._parents.cancel(self._live_children, write, limit)
        return cancelled

    def _live_children(
        self, parent: str, adopted: Sequence[str], created: Sequence[str], limit: int
    ) -> Sequence[TaskFold]:
        """Return up to `limit` children that are cancelled with a parent, as they are after the steps so far."""
        found = {id: self._drafts[id].fold for id in created}
        for saved in self._view.followers(parent, adopted, limit):
            if isinstance(saved.fold, TaskFold):
                found[saved.fold.id] = self._current(saved.fold.id, saved) or saved.fold
            else:
                self._aside.append(saved.stream)
        return list(found.values())[:limit]

    def maintain_found(self, saved: Saved) -> Maintained | None:
        """Maintain a task that the store has found to be due; if it was not, move its row so that it is found later."""
        fold = saved.fold
        if self.is_written(saved.stream):
            # Another look has found it too, and all that was due is done.
            return None
        if not isinstance(fold, TaskFold):
            self._aside.append(saved.stream)
            return None
        maintained = self.maintain(c.Maintain(task=fold.id), saved)
        if maintained is None:
            self._postpone_look(saved, fold)
        return maintained

    def _postpone_look(self, saved: Saved, fold: TaskFold) -> None:
        """Save the row by which maintenance looks again later. [WAIT-3] [UPKEEP-1]

        It looks at a wait when another of its tasks has ended, and at a lease at its expiry.
        """
        if fold.lease is not None:
            self._projections[saved.stream] = self._project_at(fold, None)
        elif saved.row is not None and saved.row.gate == "waking" and fold.waiting is not None:
            self._projections[saved.stream] = self._project_at(fold, "waiting", awaited=self._open.get(fold.id))
        else:
            self.put_right(saved)

    def put_right(self, saved: Saved) -> bool:
        """Save the row that the log and the time give, if another one is saved; return whether it did.

        So it promotes a task whose time has come, and corrects a row that another program has changed.
        """
        if self.is_written(saved.stream):
            return False
        if not isinstance(saved.fold, TaskFold):
            self._aside.append(saved.stream)
            return True
        if self.is_limited(saved.fold):
            return self._put_limited_right(saved)
        projection = project(saved.fold, self._now_ms, saved.row)
        if projection.row == saved.row:
            return False
        self._projections[saved.stream] = projection
        return True

    def _put_limited_right(self, saved: Saved) -> bool:
        """Have the gate of a task under limits decided, unless its row is right."""
        row, fold = saved.row, saved.fold
        gate = gate_of(fold, self._now_ms, row)
        is_right_gate = row is not None and (row.gate == gate or (row.gate == "held" and gate in READY))
        if row is not None and is_right_gate and row == row_of(fold, row.gate, row.check_ms, row.held):
            return False
        _ = self.admission
        self._righted[saved.stream] = saved
        return True

    def find_again(self, stream: str) -> bool:
        """Save the row of a task that was put aside, if it can be read; return whether it did. [LOG-5]

        Where it has ended, maintenance looks at the tasks that wait for it: its end could not wake them. [WAIT-3]
        """
        try:
            saved = self._view.saved(stream)
        except Corrupt:
            return False
        if saved is None or not self.put_right(saved):
            return False
        if saved.fold.state in TERMINAL:
            self._ended.append(saved.fold.id)
        if saved.fold.outcome in WITHOUT_SUCCESS and saved.fold.leases:
            self._parents.left.append(saved.fold.id)
        return True

    @contextmanager
    def tentatively(self, task: TaskFold) -> Iterator[None]:
        """Take back what a block has changed in accounts and breakers, if it raises. [LOG-5]"""
        mark = self.accounts.mark() if self.is_limited(task) else None
        written = len(self._settings)
        try:
            yield
        except Corrupt:
            if mark is not None:
                self.accounts.go_back(mark)
                del self._settings[written:]
            raise

    def take_back(self, ids: Sequence[str]) -> None:
        """Take back what was decided for new tasks, so that nothing of it is written."""
        for id in ids:
            self._drafts.pop(id, None)
        self._read_last = None

    def set_aside(self, saved: Saved) -> None:
        """Put the task aside, where no claim finds it, and take back what was decided for it. [LOG-5]"""
        self._drafts.pop(saved.stream.partition("/")[2], None)
        self._read_last = None
        self._aside.append(saved.stream)
