"""The unit of work of one operation: load, decide, evolve, enclose, all within what the store has locked.

Rule: it depends only on what the view shows. It recognises a repeat, and compares its content with the event on record
[REPEAT-1] [REPEAT-6]. It computes, once, all that the store saves beside the events. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from sagalog.actors import MAINTENANCE
from sagalog.codec import Envelope, enclose, read
from sagalog.engine.accounts import Accounts
from sagalog.engine.admission import READY, Admission
from sagalog.engine.dedupes import Dedupes
from sagalog.engine.drafts import Draft
from sagalog.engine.entries import CommandEntry, SettingEntry
from sagalog.engine.idempotency import (
    compare,
    compare_keyed,
    differences,
    id_of,
    key_taken,
    may_have_marked,
    require_same_deadlines,
    states_payload,
)
from sagalog.engine.parents import WITHOUT_SUCCESS, EndedParents
from sagalog.engine.relations import (
    in_order,
    newest_successors,
    require_child_of_predecessor,
    require_limit,
    with_ended,
)
from sagalog.engine.schedule_times import timed
from sagalog.engine.task import Task, to_task
from sagalog.errors import Corrupt, LeaseLost
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit
from sagalog.kernel.bounds import CARRY_EVENTS, DEPENDANTS_LIMIT
from sagalog.kernel.categories import CATEGORIES, Category
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide import Decision, Repeat, decide, succeed, undo_left
from sagalog.kernel.decide.settings import SETTING_VERB_OF, decide_setting
from sagalog.kernel.state import QueueFold, ScheduleFold, StoreFold, TaskFold
from sagalog.kernel.values import TERMINAL, Lack, TaskEnd
from sagalog.store import Append, Blob, Ends, Projection, Result, Saved, View, project_fold
from sagalog.store.projection import limited_projection, project, projection_at
from sagalog.store.row import gate_of, row_of


class Maintained(msgspec.Struct, frozen=True):
    """The maintenance of one task, as `Engine.recover` has done it.

    task     its id
    events   the names of the events that were written
    state    the state in which that left it
    """

    task: str
    events: tuple[str, ...]
    state: str


class UnitOfWork:
    """The folds as they are after each step, and what the store has to write."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._now_ms = view.now_ms
        self._epoch = view.epoch
        # What the view has shown; a store would give the same again, at a cost.
        self._saved: dict[str, Saved | None] = {}
        self._drafts: dict[str, Draft] = {}
        self._projections: dict[str, Projection] = {}
        self._aside: list[str] = []
        # Tasks that had ended before, and whose end waiting tasks may have missed.
        self._ended: list[str] = []
        self._blobs: tuple[Blob, ...] = ()
        # Where a limit counts: accounts, gates, tasks whose rows are put right, and streams of settings.
        self._accounts: Accounts | None = None
        self._admission: Admission | None = None
        self._righted: dict[str, Saved] = {}
        self._settings: list[Append] = []
        self._parents = EndedParents()
        # Where a task with a dedupe key is created or ends.
        self._dedupes: Dedupes | None = None
        # What a look for maintenance has found to live of the tasks that one waits for.
        self._open: dict[str, tuple[str, ...]] = {}
        # The event that was read last: one `created`, which may be large, can hold many undos of a task.
        self._read_last: tuple[str, int, e.Recordable] | None = None

    # --- what it gives -------------------------------------------------------------------------------------------

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
            self._blobs,
            children_left=tuple(self._parents.left),
            children_done=tuple(self._parents.done),
        )

    def _limited_result(self, answer: object, accounts: Accounts) -> Result:
        """Return as `result` what to write where a limit counts, with all that follows for other tasks. [LIMIT-5]"""
        admission = self.admission
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
            self._blobs,
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

    # --- limits --------------------------------------------------------------------------------------------------

    @property
    def accounts(self) -> Accounts:
        """The accounts of limits, as this unit of work leaves them; nearly none needs them."""
        if self._accounts is None:
            self._accounts = Accounts(self._view)
        return self._accounts

    @property
    def admission(self) -> Admission:
        """The gates of tasks under limits."""
        if self._admission is None:
            self._admission = Admission(self._view, self.accounts)
        return self._admission

    def is_limited(self, task: TaskFold) -> bool:
        """Check whether a limit may count for a task: one that it names, or one of its queue."""
        return task.uses is not None or self._view.is_governed(task.queue)

    def is_kind_paused(self, kind: str) -> bool:
        """Check whether a kind is paused. [PAUSE-1]"""
        store = self._view.store
        return store is not None and kind in store.paused_kinds

    def lack_of(self, task: TaskFold) -> Lack | None:
        """Return why no lease of a task for work may begin now; None: it may. [LIMIT-2] [PAUSE-1]"""
        if self.is_kind_paused(task.kind):
            return Lack(None, "paused")
        if not self.is_limited(task):
            return None
        return self.accounts.lack_of_queue(task.queue) or self.accounts.lack(task)

    def look_at(self, accounts: Sequence[str]) -> None:
        """Let tasks in at accounts that are due. [LIMIT-5]"""
        for name in accounts:
            self.accounts.be_due(name, None)
            self.accounts.touched.setdefault(name)

    def set(self, entry: SettingEntry) -> Any:
        """Carry out a command on the stream of a limit, a queue or the store; return its fold afterwards. [LIMIT-1]"""
        command = entry.command
        category = CATEGORIES[SETTING_VERB_OF[type(command)].category]
        stream = category.stream(command.id)
        saved = self._view.saved(stream)
        fold = category.begin(command.id) if saved is None else saved.fold
        if isinstance(command, c.RemoveLimit):
            user = self._view.any_of(stream)
            command = msgspec.structs.replace(command, in_use=user and user.partition("/")[2])
        elif isinstance(command, c.SetSchedule | c.ResumeSchedule):
            command = self._with_times(fold, command)
        events = decide_setting(fold, command)
        if not events:
            return fold
        expected = fold.version
        envelopes: list[Envelope] = []
        for event in events:
            fold = self._evolve_setting(category, fold, event, envelopes, entry.actor)
        if category.carry is not None and fold.length >= CARRY_EVENTS:
            fold = self._evolve_setting(category, fold, category.carry(fold), envelopes, MAINTENANCE)
        self._settings.append(Append(stream, expected, tuple(envelopes), project_fold(fold)))
        if isinstance(fold, ScheduleFold):
            self.accounts.be_due(stream, fold.due_ms)
        elif not isinstance(fold, StoreFold):
            self.accounts.set(stream, fold)
            if isinstance(fold, QueueFold) and expected == 0:
                running = self._view.running(fold.id)
                self.accounts.seed(running)
                self._projections.update((one.stream, _governed(one)) for one in running)
        return fold

    def _with_times(self, fold: ScheduleFold, command: c.SetSchedule | c.ResumeSchedule) -> c.Setting:
        """Fill in the times of a schedule that begins, or goes on; require the limits of its tasks. [SCHEDULE-1]"""
        if isinstance(command, c.SetSchedule):
            for name, units in (command.schedule.template.uses or {}).items():
                require_limit(self._view.saved(f"limit/{name}"), command.id, name, units)
        return timed(fold, command, self._now_ms)

    def _evolve_setting(
        self, category: Category[Any], fold: Any, event: e.Recordable, envelopes: list[Envelope], actor: str | None
    ) -> Any:
        version = fold.version + 1
        envelopes.append(enclose(category.stream(fold.id), version, self._now_ms, event, actor))
        return category.evolve(fold, event, version, self._now_ms)

    def _project_at(
        self, fold: TaskFold, gate: str | None, held: str | None = None, awaited: tuple[str, ...] | None = None
    ) -> Projection:
        """Project a task at a gate, with its places under limits."""
        if not self.is_limited(fold):
            return projection_at(fold, gate, awaited=awaited)
        return limited_projection(fold, gate, held, self._view.is_governed(fold.queue), awaited=awaited)

    # --- dedupe keys ---------------------------------------------------------------------------------------------

    @property
    def dedupes(self) -> Dedupes:
        """The dedupe keys, as this unit of work leaves them; nearly none needs them."""
        if self._dedupes is None:
            self._dedupes = Dedupes(self._view, self.task)
        return self._dedupes

    # --- commands ------------------------------------------------------------------------------------------------

    def carry_out(self, step: CommandEntry, saved: Saved | None = None) -> Task:
        """Decide one command, take its events, and return the task. `saved` is the task, if the view selected it."""
        if step.idempotency_key is not None:
            earlier = self.keyed(step.idempotency_key)
            if earlier:
                return self._answer_repeat(step, earlier)
        return self.decide(step, saved)

    def decide(self, step: CommandEntry, saved: Saved | None = None) -> Task:
        """Decide a command as `carry_out`, for a step whose idempotency key, if any, is known to be new."""
        command = step.command
        task = self._current(command.task, saved)
        if type(command) is c.Amend and task is not None and states_payload(command):
            step = msgspec.structs.replace(step, command=self._without_known_payload(task, command))
            command = step.command
        if type(command) is c.Create and command.dedupe is not None and task is None and command.predecessor is None:
            holder = self.dedupes.holder(command.kind, command.dedupe.key)
            if holder is not None:
                # [DEDUPE-2] Nothing else of the creation counts.
                return msgspec.structs.replace(self.show(holder), deduplicated=True)
        fill_in = _FILLED_IN.get(type(command))
        if fill_in is not None:
            command = fill_in(self, task, command)
        if type(command) is c.Create and command.after:
            return self._create_after(task, command, step)
        decision = decide(task, command, self._now_ms, self._epoch)
        special = _SPECIAL.get(type(command))
        if special is not None and task is not None:
            return special(self, task, decision, step)
        return self._settle(task, decision, step)

    def _with_limits_checked(self, task: TaskFold | None, command: c.Create) -> c.Create:
        """Require the limits that a new task would use; a task that only undoes uses none. [LIMIT-1]"""
        if task is None and command.uses is not None and command.outcome is None:
            for name, units in command.uses.items():
                require_limit(self._view.saved(f"limit/{name}"), command.task, name, units)
        return command

    def _with_units(self, task: TaskFold | None, command: c.Acquire) -> c.Acquire:
        """Look up the units that a lease takes, or why it may not begin. [LIMIT-2]"""
        if task is None or command.purpose != "work":
            return command
        if not self.is_limited(task) and not self.is_kind_paused(task.kind):
            return command
        lack = self.lack_of(task)
        return msgspec.structs.replace(command, lack=lack, uses=() if lack is not None else self.accounts.units(task))

    def _with_rate(self, task: TaskFold | None, command: c.Use) -> c.Use:
        """Look up whether a limit that a task uses has a rate. [LIMIT-3]"""
        if task is None or command.limit not in (task.uses or ()):
            return command
        limit = self.accounts.entry(account_of_limit(command.limit)).limit
        return msgspec.structs.replace(command, is_rate=limit.rate is not None)

    def _park(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Decide again, after a look at the tasks that it waits for. [WAIT-3] [WAIT-4]

        A repeat and a late holder have their answers already, independent of the other tasks.
        """
        command = step.command
        assert isinstance(command, c.Park)
        if not command.after or type(decision) is Repeat:
            return self._settle(task, decision, step)
        command, open_ = with_ended(self, command)
        parked = self._settle(task, decide(task, command, self._now_ms, self._epoch), step)
        self._drafts[command.task].awaited = open_
        return parked

    def _create_after(self, task: TaskFold | None, command: c.Create, step: CommandEntry) -> Task:
        """Create a task that waits for others, after a look at those. [WAIT-5]"""
        if task is not None:
            return self._settle(task, decide(task, command, self._now_ms, self._epoch), step)
        command, open_ = with_ended(self, command)
        created = self._settle(None, decide(None, command, self._now_ms, self._epoch), step)
        self._drafts[command.task].awaited = open_
        return created

    def _renew(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Renew a lease, and ask its holder to stop where the deadline of the task has come. [DEADLINE-2]"""
        renewed = self._settle(task, decision, step)
        if passed_deadline(task, self._now_ms) is None or self.maintain(c.Maintain(task=task.id)) is None:
            return renewed
        return self.show(self._drafts[task.id].fold, step.known)

    def _without_known_payload(self, task: TaskFold, command: c.Amend) -> c.Amend:
        """Leave out a payload that the task has already. [AMEND-1]"""
        if task.is_terminal or differences({"payload": command.payload}, {"payload": self._payload(task)}):
            return command
        removes = tuple([name for name in command.removes if name != "payload"])
        return msgspec.structs.replace(command, payload=None, removes=removes)

    def _payload(self, task: TaskFold) -> Any:
        """Return the newest payload of a task. [AMEND-3]"""
        event = self._read(task.id, task.payload_version or 1)
        assert isinstance(event, e.Created | e.Amended)
        return event.payload

    def _adopt_child(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        assert isinstance(step.command, c.AdoptChild)
        if type(decision) is not Repeat:
            require_child_of_predecessor(self, step.command)
        return self._settle(task, decision, step)

    def _register(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        assert isinstance(step.command, c.Fail | c.Register)
        self._compare_registered(task, step.command)
        return self._settle(task, decision, step)

    def _complete(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Complete a task, and hand over the undos that it leaves to a task of their own. [COMP-7]"""
        command = step.command
        assert isinstance(command, c.Complete)
        left = task.left() if type(decision) is not Repeat else ()
        completed = self._settle(task, decision, step)
        if left:
            self._hand_over(self._drafts[command.task].fold, left, step, command.undoer or "")
        return completed

    def _settle(self, task: TaskFold | None, decision: Decision, step: CommandEntry) -> Task:
        """Take the events that were decided, or compare a repeat with the event on record; return the task."""
        command = step.command
        if isinstance(decision, Repeat):
            assert task is not None
            compare(command, self._read(decision.task or task.id, decision.version), task)
        elif decision:
            task = self._take(task or TaskFold(command.task), decision, step)
            if step.blobs:
                self._blobs += step.blobs
        assert task is not None
        return self.show(task, step.known)

    def _succeed(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Create the successor of an ended task in the same commit as the note that names it. [TERM-2]"""
        command = step.command
        assert isinstance(command, c.RetryAsNew)
        if isinstance(decision, Repeat):
            compare(command, self._read(task.id, decision.version), task)
            return self._successor_at(task, decision.version, command)
        version = self._take(task, decision, step).version
        create = succeed(task, self._work_of(task), command.successor, command.results, command.rerun)
        create = msgspec.structs.replace(create, deadline_ms=command.deadline_ms, start_by_ms=command.start_by_ms)
        create = self.dedupes.inherited(task, self._as_of_now(create)) if create.dedupe else self._as_of_now(create)
        return self.decide(CommandEntry(create, step.actor, f"task/{task.id}@{version}", step.idempotency_key))

    def _as_of_now(self, create: c.Create) -> c.Create:
        """Return the creation of a successor as the tasks around it are by now. [WAIT-5] [CANCEL-4]

        It waits for the newest successors of the tasks that its predecessor waited for, and it is not cancelled with a
        parent whose work is over by now.
        """
        if create.after:
            create = msgspec.structs.replace(create, after=newest_successors(self, create.after))
        if create.on_parent_end == "cancel":
            parent = None if create.parent is None else self.task_if_readable(create.parent)
            if parent is None or parent.outcome is not None or parent.is_terminal:
                create = msgspec.structs.replace(create, on_parent_end="leave")
        return create

    def _hand_over(self, task: TaskFold, left: tuple[str, ...], step: CommandEntry, undoer: str) -> None:
        """Create the task that undoes what a completed one has left, in the same commit. [COMP-7]"""
        create = undo_left(task, self._work_of(task), left, undoer)
        self.decide(CommandEntry(create, step.actor, f"task/{task.id}@{task.version}"))

    def _work_of(self, task: TaskFold) -> e.Created:
        """Return the first event of a task, with the payload that it has now. [AMEND-3]"""
        created = self.created(task.id)
        if not task.payload_version:
            return created
        return msgspec.structs.replace(created, payload=self._payload(task))

    def _successor_at(self, task: TaskFold, version: int, command: c.RetryAsNew) -> Task:
        """Return the successor that a note names, as it is now. [REPEAT-7]

        Raises:
            Conflict: it was created with another deadline than the command gives. [REPEAT-6]
        """
        noted = self._read(task.id, version)
        assert isinstance(noted, e.Noted)
        id = noted.successor or ""
        successor = self._named(id, f"task/{task.id}@{version}")
        require_same_deadlines(command, noted, self.created(id), task)
        return self.show(successor, None)

    def _compare_registered(self, task: TaskFold, asked: c.Fail | c.Register) -> None:
        """Require that a compensation on record under the same id is the same one. [REPEAT-3]"""
        for one in asked.compensations if isinstance(asked, c.Fail) else (asked.compensation,):
            record = task.compensations.get(one.id or "")
            if record is not None:
                command = c.Register(task=task.id, fence=0, compensation=one)
                compare(command, self._read(task.stream_of(record.source), record.version), task)

    # --- maintenance ---------------------------------------------------------------------------------------------

    def maintain(self, command: c.Maintain, saved: Saved | None = None, actor: str = MAINTENANCE) -> Maintained | None:
        """Do what is due on one task; None if nothing was. [ACTOR-2]"""
        task = self._current(command.task, saved)
        if task is not None and task.waiting is not None and task.waiting.tasks:
            command = msgspec.structs.replace(command, ended=self._ends_of_wait(task))
        decision = decide(task, command, self._now_ms, self._epoch)
        if isinstance(decision, Repeat) or not decision:
            return None
        assert task is not None
        after = self._take(task, decision, CommandEntry(command, actor))
        return Maintained(task.id, tuple(e.NAMES[type(event)] for event in decision), str(after.state))

    def _ends_of_wait(self, task: TaskFold) -> tuple[TaskEnd, ...]:
        """Return the ends of the tasks that a task waits for; none, without a look, while it has edges. [WAIT-3]"""
        draft = self._drafts.get(task.id)
        saved = self._load(task.id) if draft is None else None
        if saved is not None and saved.row is not None and saved.row.gate == "waiting":
            return ()
        assert task.waiting is not None
        ids = e.awaited_tasks(self._read(task.id, task.waiting.version))
        found = self.ends(ids)
        self._open[task.id] = tuple([id for id in ids if id not in found.ended])
        return in_order(found, ids)

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
        """Take back what a block has changed in accounts, if it raises: the task is put aside then. [LOG-5]"""
        mark = self.accounts.mark() if self.is_limited(task) else None
        try:
            yield
        except Corrupt:
            if mark is not None:
                self.accounts.go_back(mark)
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

    # --- reading -------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The view, which the store gives."""
        return self._view

    def is_written(self, stream: str) -> bool:
        """Check whether the unit of work has written the task already."""
        return stream.partition("/")[2] in self._drafts

    def task(self, id: str) -> TaskFold | None:
        """Return a task as it is after the steps so far; raises as `View.saved`."""
        return self._current(id, None)

    def task_if_readable(self, id: str) -> TaskFold | None:
        """Return a task as `task` does; put aside one that cannot be read, and return None. [LOG-5]

        So a process that can read it finds it, and looks at the tasks that wait for it. [WAIT-3]
        """
        try:
            return self.task(id)
        except Corrupt:
            self._aside.append(f"task/{id}")
            return None

    def ends(self, ids: Sequence[str]) -> Ends:
        """Return the ends of tasks after the steps so far; put aside those that cannot be read. [WAIT-3] [LOG-5]"""
        mine = {id: self._drafts[id].fold for id in ids if id in self._drafts}
        found = self._view.ends([id for id in ids if id not in mine] if mine else ids)
        if found.unreadable:
            self._aside += [f"task/{id}" for id in sorted(found.unreadable)]
        if not mine:
            return found
        ended = {id: TaskEnd(id, task.version, task.state) for id, task in mine.items() if task.state in TERMINAL}
        live = found.live.union(mine.keys() - ended.keys())
        return Ends({**found.ended, **ended}, live, found.unreadable)

    def edges(self, ids: Sequence[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return edges of some tasks after the steps so far. [WAIT-4]"""
        mine = [id for id in ids if id in self._drafts]
        found = [(id, one) for id in mine for one in self._drafts[id].awaited or ()][:limit]
        others = [id for id in ids if id not in self._drafts] if mine else ids
        kept = [id for id in mine if self._drafts[id].awaited is None and self._drafts[id].fold.waiting is not None]
        return [*found, *self._view.edges([*others, *kept], limit - len(found))]

    def noted(self, id: str, version: int) -> e.Noted:
        """Return a note of a task."""
        noted = self._read(id, version)
        assert isinstance(noted, e.Noted)
        return noted

    def created(self, id: str) -> e.Created:
        """Return the first event of a task."""
        created = self._read(id, 1)
        assert isinstance(created, e.Created)
        return created

    def keyed(self, key: str) -> list[Envelope]:
        """Return the events that carry a key, those included that this unit of work is about to append."""
        mine = [one for draft in self._drafts.values() for one in draft.envelopes if one.idempotency_key == key]
        return [*self._view.keyed(key), *mine]

    def show(self, task: TaskFold, known: Task | None = None) -> Task:
        """Make the Task of a fold, and read from the log the contents to which the fold points."""
        return to_task(task, lambda version, source=None: self._read(source or task.id, version), known)

    def _current(self, id: str, saved: Saved | None) -> TaskFold | None:
        """Return a task as it is after the steps so far: the selected one (`saved`), or else the one of this id."""
        draft = self._drafts.get(id)
        if draft is not None:
            return draft.fold
        if saved is None:
            saved = self._load(id)
        else:
            self._saved[id] = saved
        return None if saved is None else saved.fold

    def _load(self, id: str) -> Saved | None:
        if id not in self._saved:
            self._saved[id] = self._view.saved(f"task/{id}")
        return self._saved[id]

    def _read(self, id: str, version: int) -> e.Recordable:
        """Return an event on record, or one that is about to be appended, always from its bytes."""
        last = self._read_last
        if last is not None and last[0] == id and last[1] == version:
            return last[2]
        draft = self._drafts.get(id)
        if draft is not None and version > draft.expected:
            event = draft.event(version)
        else:
            event = self._view.event(f"task/{id}", version)
        self._read_last = (id, version, event)
        return event

    # --- taking events -------------------------------------------------------------------------------------------

    def _take(self, task: TaskFold, events: tuple[e.Recordable, ...], step: CommandEntry) -> TaskFold:
        draft = self._drafts.get(task.id)
        if draft is None:
            draft = self._drafts[task.id] = Draft(self._load(task.id), task)
        after = draft.take(events, step, self._now_ms)
        if self.is_limited(after) or (after.queue != task.queue and self.is_limited(task)):
            self.accounts.take_account(task, after)
        self._parents.note(task, after)
        if after.dedupe is not None:
            self.dedupes.note(task, after)
        return after

    # --- repeats -------------------------------------------------------------------------------------------------

    def _answer_repeat(self, step: CommandEntry, earlier: Sequence[Envelope]) -> Task:
        """Answer a key on record: the same command gets the task as it is now, any other is a conflict. [REPEAT-4]"""
        command, first, key = step.command, earlier[0], step.idempotency_key or ""
        event = read(first)
        id = id_of(first)
        # A creation under another drawn id is still the same creation: it has the same idempotency key.
        if not may_have_marked(command, e.NAMES[type(event)]):
            raise key_taken(key, first, {"command": "the command is another one"})
        if id != command.task and not step.drawn:
            raise key_taken(key, first, differences({"task": command.task}, {"task": id}))
        if isinstance(command, c.Acquire) and len(earlier) > 1:
            raise key_taken(key, first, {"command": f"it was a claim, which leased {len(earlier)} tasks"})
        # After the read of the event: a name that was changed in the file leads to no task.
        task = self._named(id, first.name)
        if isinstance(command, c.Amend) and isinstance(event, e.Amended) and not states_payload(event):
            command = self._without_known_payload(task, command)
        compare_keyed(key, command, first, event, task)
        if isinstance(event, e.Leased) and (task.lease is None or task.lease.fence != event.fence):
            raise _acquired_and_ended(task, event.fence, key)
        if isinstance(command, c.RetryAsNew):
            return self._successor_at(task, first.version, command)
        return self.show(task)

    def _named(self, id: str, event: str) -> TaskFold:
        """Return the task that an event names."""
        task = self.task(id)
        if task is None:
            raise Corrupt(
                f"{event} names task {id!r}, which is not found: stop, keep the file, and compare it with a backup",
                task=id,
            )
        return task


# Commands that depend on other tasks, or on undos that are on record.
_SPECIAL: Final[Mapping[type[c.Command], Callable[[UnitOfWork, TaskFold, Decision, CommandEntry], Task]]] = {
    c.Heartbeat: UnitOfWork._renew,
    c.Park: UnitOfWork._park,
    c.AdoptChild: UnitOfWork._adopt_child,
    c.Register: UnitOfWork._register,
    c.Fail: UnitOfWork._register,
    c.Complete: UnitOfWork._complete,
    c.RetryAsNew: UnitOfWork._succeed,
}


# Commands that depend on limits, which the operation reads.
_FILLED_IN: Final[Mapping[type[c.Command], Callable[[UnitOfWork, TaskFold | None, Any], c.Command]]] = {
    c.Create: UnitOfWork._with_limits_checked,
    c.Acquire: UnitOfWork._with_units,
    c.Use: UnitOfWork._with_rate,
}


def _governed(saved: Saved) -> Projection:
    """Project a running task whose queue has settings from now on."""
    look_ms = None if saved.row is None else saved.row.check_ms
    return limited_projection(saved.fold, None, None, True, look_ms=look_ms)


def _acquired_and_ended(task: TaskFold, fence: int, key: str) -> LeaseLost:
    fields: dict[str, Any] = {"task": task.id, "fence": fence, "current": task.fence, "state": str(task.state)}
    return LeaseLost(
        f"idempotency key {key!r} has leased task {task.id!r} under fence {fence}, and that lease has ended (newest "
        f"fence {task.fence}); acquire it anew under another idempotency key",
        **fields,
    )
