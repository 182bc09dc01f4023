"""The commands of a unit of work: decide, take the events, or compare a repeat with the event on record.

Rule: it recognises a repeat, and compares its content with the event on record [REPEAT-1] [REPEAT-6]. What a command
needs of other tasks, of limits and of dedupe keys is looked up here, so that the kernel decides from arguments alone.
Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sagalog.actors import MAINTENANCE
from sagalog.codec import Envelope, read
from sagalog.engine.entries import CommandEntry
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
from sagalog.engine.json_blobs import require_whole, whole
from sagalog.engine.relations import (
    in_order,
    new_task,
    newest_successors,
    require_child_of_predecessor,
    require_limit,
    with_ended,
)
from sagalog.engine.task import Task
from sagalog.engine.task_changes import TaskChanges
from sagalog.errors import Corrupt, LeaseLost, Pruned
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide import Decision, Repeat, decide, succeed, undo_left
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TaskEnd
from sagalog.store import Blob, Saved, View


class Maintained(msgspec.Struct, frozen=True):
    """The maintenance of one task, as `Engine.recover` has done it.

    task     its id
    events   the names of the events that were written
    state    the state in which that left it
    """

    task: str
    events: tuple[str, ...]
    state: str


class CommandWork(TaskChanges):
    """Commands on tasks, one step after the other."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._blobs: tuple[Blob, ...] = ()
        # What a look for maintenance has found to live of the tasks that one waits for.
        self._open: dict[str, tuple[str, ...]] = {}

    # --- commands ----------------------------------------------------------------------------------------------------

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
                saved = self._view.saved(f"limit/{name}")
                require_limit(saved, new_task(command.task), name, units, task=command.task)
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

    def _healthy(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Close the breaker of which the lease is the probe. [BREAKER-3]"""
        assert isinstance(step.command, c.Healthy)
        if self.is_limited(task):
            self.breakers.healthy(task, step.command.limit)
        return self._settle(task, decision, step)

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

    def _amend(self, task: TaskFold, decision: Decision, step: CommandEntry) -> Task:
        """Amend a task; require the limits that it has not used so far, or not with so many units. [LIMIT-1]"""
        for event in () if isinstance(decision, Repeat) else decision:
            assert isinstance(event, e.Amended)
            before = task.uses or {}
            for name, units in (event.uses or {}).items():
                if before.get(name) != units:
                    saved = self._view.saved(f"limit/{name}")
                    require_limit(saved, f"task {task.id!r}", name, units, task=task.id)
        return self._settle(task, decision, step)

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
        self._require_kept(task, create)
        create = msgspec.structs.replace(create, deadline_ms=command.deadline_ms, start_by_ms=command.start_by_ms)
        create = self.dedupes.inherited(task, self._as_of_now(create)) if create.dedupe else self._as_of_now(create)
        return self.decide(CommandEntry(create, step.actor, f"task/{task.id}@{version}", step.idempotency_key))

    def _require_kept(self, task: TaskFold, create: c.Create) -> None:
        """Require that the bytes and values which a successor takes over were not pruned. [PRUNE-3]"""
        require_whole(self._read(task.id, task.payload_version or 1), "the payload", task.id)
        for step in create.steps:
            what = f"the result of the step {step.name!r}"
            require_whole(self._read(step.task, step.version), what, step.task, step.name)
        for end in [end for kept in create.waits for _, end in kept.numbered() if end is not None]:
            unblocked = self._read(end.task, end.version)
            assert isinstance(unblocked, e.Unblocked)
            signalled = self._read(end.task, unblocked.signal_version or 0)
            require_whole(signalled, f"the signal for {unblocked.wait!r}", end.task)
        for one in create.inputs:
            if self._view.blob_size(one.digest) is None:
                raise Pruned(
                    f"the input {one.name!r} of task {task.id!r} was pruned, so no other task can take it over: create "
                    "one anew with the same bytes",
                    task=task.id,
                    digest=one.digest,
                )

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

    # --- maintenance of one task -------------------------------------------------------------------------------------

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

    # --- repeats -----------------------------------------------------------------------------------------------------

    def _answer_repeat(self, step: CommandEntry, earlier: Sequence[Envelope]) -> Task:
        """Answer a key on record: the same command gets the task as it is now, any other is a conflict. [REPEAT-4]"""
        command, first, key = step.command, earlier[0], step.idempotency_key or ""
        event = whole(read(first), self._blob)
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
_SPECIAL: Final[Mapping[type[c.Command], Callable[[CommandWork, TaskFold, Decision, CommandEntry], Task]]] = {
    c.Heartbeat: CommandWork._renew,
    c.Healthy: CommandWork._healthy,
    c.Park: CommandWork._park,
    c.Amend: CommandWork._amend,
    c.AdoptChild: CommandWork._adopt_child,
    c.Register: CommandWork._register,
    c.Fail: CommandWork._register,
    c.Complete: CommandWork._complete,
    c.RetryAsNew: CommandWork._succeed,
}


# Commands that depend on limits, which the operation reads.
_FILLED_IN: Final[Mapping[type[c.Command], Callable[[CommandWork, TaskFold | None, Any], c.Command]]] = {
    c.Create: CommandWork._with_limits_checked,
    c.Acquire: CommandWork._with_units,
    c.Use: CommandWork._with_rate,
}


def _acquired_and_ended(task: TaskFold, fence: int, key: str) -> LeaseLost:
    fields: dict[str, Any] = {"task": task.id, "fence": fence, "current": task.fence, "state": str(task.state)}
    return LeaseLost(
        f"idempotency key {key!r} has leased task {task.id!r} under fence {fence}, and that lease has ended (newest "
        f"fence {task.fence}); acquire it anew under another idempotency key",
        **fields,
    )
