"""Commands -> units of a commit: load, decide, evolve, enclose, all within what the store has locked.

Rule: a unit's function is pure in what its view shows and may be run again. A repeat is recognised here and its content
compared with the one event that is on record. [REPEAT-1] [REPEAT-6] Knows the ports and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sagalog.actors import MAINTENANCE, worker_actor
from sagalog.codec import Envelope, decode, enclose, read
from sagalog.errors import Conflict, Corrupt, LeaseLost, NotFound, Rejected, SagalogError
from sagalog.forms import Asked
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import Decision, Repeat, decide, keeps_steps, next_lease_fits, succeed, undo_left
from sagalog.kernel.evolve import evolve, evolve_store
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import TERMINAL, TaskEnd
from sagalog.ports import Append, Blob, Claim, Decided, Due, Unit, View
from sagalog.repeats import YIELDS, compare
from sagalog.sizes import CHARACTERS_THAT_FIT, GROWING, hands_over, require_event_fits, require_fold_fits
from sagalog.task import Task, picture
from sagalog.versions import is_newer

STORE_FORMAT: Final = 0

# What nearly every look for upkeep comes to.
_NOTHING_DUE: Final = Decided((), ())


class Step(msgspec.Struct, frozen=True, gc=False):
    """One command with who asks (`actor`), because of which event (`cause`), under which identity (`idempotency_key`).

    `known` is an earlier picture of the task, if the caller has one. `drawn`: the id of a creation is no choice of the
    caller's. `blobs` are the bytes that the command names.
    """

    command: c.Command
    actor: str | None = None
    cause: str | None = None
    idempotency_key: str | None = None
    known: Task | None = None
    drawn: bool = False
    blobs: tuple[Blob, ...] = ()


class Tended(msgspec.Struct, frozen=True):
    """What upkeep did to one task: the names of the events it wrote, and the state it left."""

    task: str
    events: tuple[str, ...]
    state: str


def writing(steps: Sequence[Step], together: bool = False) -> Unit:
    """A unit that carries out all steps in order, or none of them; answers a list of Tasks.

    Steps that were given `together` are named: a refusal says which it was by the field `command`, its index from 0.
    """

    def run(view: View) -> Decided:
        desk = _Desk(view)
        tasks = _all_or_none(desk, steps) if together else [desk.carry_out(step) for step in steps]
        return desk.decided(tasks)

    return Unit(run, tasks=_written_by(steps))


def _written_by(steps: Sequence[Step]) -> tuple[str, ...]:
    """The tasks that these may write, or whose end must not come unseen."""
    ids = [step.command.task for step in steps]
    for step in steps:
        match command := step.command:
            case c.Park():
                ids += command.after
            case c.RetryAsNew():
                ids.append(command.successor)
            case c.Complete(undoer=str(undoer)):
                ids.append(undoer)
            case _:
                pass
    return tuple(dict.fromkeys(ids))


class Claimed(msgspec.Struct, frozen=True):
    """What a claim leased; `again` if it put tasks aside, so that another look may find others behind them.

    `repeated` if its idempotency key is on record, so that it never leases anything new.
    """

    tasks: list[Task]
    again: bool = False
    repeated: bool = False


def claiming(asked: Asked) -> Unit:
    """A unit that leases what a claim selects; answers `Claimed`, the Tasks as they were leased."""

    def run(view: View) -> Decided:
        desk = _Desk(view)
        claimed, unreadable = desk.claim(asked)
        return Decided(desk.appends(), claimed, unreadable)

    return Unit(run, claim=asked.claim)


def settling(steps: Sequence[Step], asked: Asked) -> Unit:
    """A unit that carries out all steps and then claims, or does neither; answers the Tasks and `Claimed`.

    The claim selects from what was there before the steps, and takes nothing that they have written.
    """

    def run(view: View) -> Decided:
        desk = _Desk(view)
        tasks = _all_or_none(desk, steps)
        claimed, unreadable = desk.claim(asked)
        return desk.decided((tasks, claimed), unreadable)

    return Unit(run, tasks=_written_by(steps), claim=asked.claim)


def upkeep(due: Due) -> Unit:
    """A unit that ends the leases and waits which are over in some queues; answers what it did. [UPKEEP-1]"""

    def run(view: View) -> Decided:
        due = view.due
        if not due:
            return _NOTHING_DUE
        desk = _Desk(view)
        tended = [desk.tend(c.Tend(task=task.id), task) for task in due]
        return Decided(desk.appends(), [one for one in tended if one is not None])

    return Unit(run, due=due)


def letting_in(due: Due) -> Unit:
    """A unit that only lets in tasks whose time has come; answers how many. [UPKEEP-2]"""

    def run(view: View) -> Decided:
        return Decided((), view.let_in)

    return Unit(run, due=due)


def tending(commands: Sequence[c.Tend], actor: str = MAINTENANCE) -> Unit:
    """A unit that does what is due on the given tasks, leaving out those that cannot be read; answers what it did.

    `actor` is who is on record for it: who has declared that no worker knows some kind of undo. [ACTOR-2]
    """

    def run(view: View) -> Decided:
        desk = _Desk(view)
        tended = []
        for command in commands:
            try:
                tended.append(desk.tend(command, None, actor))
            except SagalogError:
                # [LOG-5] One damaged task never stops the others.
                continue
        return Decided(desk.appends(), [one for one in tended if one is not None])

    return Unit(run, tasks=tuple(command.task for command in commands))


def acquiring(steps: Sequence[Step]) -> tuple[Unit, ...]:
    """The unit that goes before these steps where they acquire tasks: the upkeep of those, whatever becomes of them.

    [UPKEEP-2] None where they acquire nothing.
    """
    acquired = [step.command.task for step in steps if isinstance(step.command, c.Acquire)]
    return (tending([c.Tend(task=id) for id in dict.fromkeys(acquired)]),) if acquired else ()


def founding(id: str, writer: str) -> Unit:
    """A unit that founds the store, or records that a newer version begins to write; answers its StoreFold. [LOG-7]"""

    def run(view: View) -> Decided:
        store = view.store
        event: e.StoreEvent
        if store is None:
            event = e.Founded(id=id, format=STORE_FORMAT, writer=writer)
        elif is_newer(writer, store.writer):
            event = e.Upgraded(writer=writer)
        else:
            return Decided((), store)
        version = 0 if store is None else store.version
        fold = evolve_store(store, event, version + 1)
        stream = f"store/{fold.id}"
        envelope = enclose(stream, version + 1, view.now_ms, event)
        return Decided((Append(stream, version, (envelope,), fold),), fold)

    return Unit(run)


def _all_or_none(desk: _Desk, steps: Sequence[Step]) -> list[Task]:
    tasks = []
    for index, step in enumerate(steps):
        try:
            tasks.append(desk.carry_out(step))
        except SagalogError as refusal:
            fields = {**refusal.fields, "command": index}
            raise type(refusal)(f"command {index} of {len(steps)}: {refusal.message}", **fields) from refusal
    return tasks


class _Desk:
    """The work of one unit: folds as they stand after each step, and what is to be appended."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._folds: dict[str, TaskFold] = {}
        self._expected: dict[str, int] = {}
        self._envelopes: dict[str, list[Envelope]] = {}
        self._blobs: tuple[Blob, ...] = ()
        # The event that was read last: many undos of one task stand in one `created`, which may be large.
        self._read_last: tuple[str, int, e.Recordable] | None = None

    def decided(self, answer: object, unreadable: tuple[str, ...] = ()) -> Decided:
        """What the unit comes to."""
        return Decided(self.appends(), answer, unreadable, self._blobs)

    def appends(self) -> tuple[Append, ...]:
        """Everything to append, a stream at a time, in the order in which the streams were first written."""
        return tuple(
            [
                Append(f"task/{id}", self._expected[id], tuple(envelopes), self._folds[id])
                for id, envelopes in self._envelopes.items()
            ]
        )

    def carry_out(self, step: Step, loaded: TaskFold | None = None) -> Task:
        """Decide one command and take its events; the task afterwards. `loaded` is its fold, if the view gave it."""
        if step.idempotency_key is not None:
            earlier = self._keyed(step.idempotency_key)
            if earlier:
                return self._answer_again(step, earlier)
        return self.decide(step, loaded)

    def decide(self, step: Step, loaded: TaskFold | None = None) -> Task:
        """As `carry_out`, for a step whose idempotency key, if any, is known to be new."""
        command = step.command
        task = self._folds.get(command.task) or loaded or self._view.task(command.task)
        decision = decide(task, command, self._view.now_ms, self._view.epoch)
        is_new = type(decision) is not Repeat
        match command:
            case c.Park() if command.after and is_new:
                # Only now: a repeat and a late holder are answered as such, whatever has become of the other tasks.
                decision = decide(task, self._with_ended(command), self._view.now_ms, self._view.epoch)
            case c.AdoptChild() if is_new:
                self._require_child_of_predecessor(command)
            case c.Fail() | c.Register() if task is not None:
                self._compare_registered(task, command)
            case c.RetryAsNew() if task is not None:
                return self._succeed(task, decision, step, command)
            case c.Complete() if is_new and task is not None and (left := task.left()):
                completed = self._settle(task, decision, step)
                self._hand_over(self._folds[command.task], left, step, command.undoer or "")
                return completed
            case _:
                pass
        return self._settle(task, decision, step)

    def _settle(self, task: TaskFold | None, decision: Decision, step: Step) -> Task:
        """Take the events that were decided, or compare a repeat with what is on record; the task afterwards."""
        command = step.command
        if isinstance(decision, Repeat):
            assert task is not None
            compare(command, self._read(decision.task or task.id, decision.version), task)
        elif decision:
            task = self._take(task or TaskFold(command.task), decision, step)
            if step.blobs:
                self._blobs += step.blobs
        assert task is not None
        return self._picture(task, step.known)

    def _with_ended(self, command: c.Park) -> c.Park:
        """The command with what it waits for looked up: tasks that exist, and do not wait for this one themselves.

        One that cannot be read exists: it holds up a task that waits for it, and does not fail it. [LOG-5]
        """
        for id in command.after:
            if not self._exists(id):
                raise NotFound(
                    f"task {command.task!r} cannot wait for {id!r}: there is no such task; create it first", task=id
                )
        self._refuse_circle(command)
        return msgspec.structs.replace(command, ended=self._ended(command.after))

    def _require_child_of_predecessor(self, command: c.AdoptChild) -> None:
        """[STEP-2] No task with another parent is adopted. All that is read here never changes, so it needs no lock."""
        if self._peek(command.child) is None:
            text = f"task {command.task!r} cannot adopt {command.child!r}: there is no such task"
            raise NotFound(text, task=command.child)
        parent, before = self._created(command.child).parent, self._created(command.task).predecessor
        while before is not None and before != parent:
            fold = self._peek(before)
            before = self._created(before).predecessor if fold is not None and keeps_steps(fold) else None
        fold = None if before is None else self._peek(before)
        if fold is None or not keeps_steps(fold):
            raise Rejected(
                f"task {command.task!r} cannot adopt {command.child!r}: its parent is {parent!r}, no predecessor "
                "that it goes on from; create a child of its own",
                task=command.task,
                child=command.child,
            )

    def _refuse_circle(self, command: c.Park) -> None:
        """[WAIT-4] Tasks that wait for one another would wait for ever."""
        seen: set[str] = set()
        ahead = list(command.after)
        while ahead:
            id = ahead.pop()
            other = None if id in seen else self._peek_readable(id)
            seen.add(id)
            if other is None or other.waiting is None or not other.waiting.after:
                continue
            if command.task in other.waiting.after:
                raise Rejected(
                    f"task {command.task!r} cannot wait for {id!r}, which waits for it: neither would ever go on",
                    task=command.task,
                    wait=command.name,
                )
            ahead += other.waiting.after

    def _ended(self, ids: Iterable[str]) -> tuple[TaskEnd, ...]:
        """The ends of those tasks that have ended, as far as can be read. They are for ever, so need no lock. [TERM-1]

        One that cannot be read holds up the tasks that wait for it, and never the upkeep of others. [LOG-5]
        """
        ends = []
        for id in ids:
            other = self._peek_readable(id)
            if other is not None and other.state in TERMINAL:
                ends.append(TaskEnd(id, other.version, other.state))
        return tuple(ends)

    def _exists(self, id: str) -> bool:
        """Whether there is such a task, if only one that cannot be read. [LOG-5]"""
        try:
            return self._peek(id) is not None
        except Corrupt:
            return True

    def _peek_readable(self, id: str) -> TaskFold | None:
        try:
            return self._peek(id)
        except Corrupt:
            return None

    def _peek(self, id: str) -> TaskFold | None:
        return self._folds.get(id) or self._view.task(id)

    def _succeed(self, task: TaskFold, decision: Decision, step: Step, command: c.RetryAsNew) -> Task:
        """[TERM-2] The successor of an ended task: created in the same commit as the note that names it."""
        if isinstance(decision, Repeat):
            compare(command, self._read(task.id, decision.version), task)
            return self._successor_at(task, decision.version)
        version = self._take(task, decision, step).version
        create = succeed(task, self._created(task.id), command.successor, command.results, command.rerun)
        return self.decide(Step(create, step.actor, f"task/{task.id}@{version}", step.idempotency_key))

    def _hand_over(self, task: TaskFold, left: tuple[str, ...], step: Step, undoer: str) -> None:
        """[COMP-7] The task that undoes what a completed one has left, in the same commit."""
        create = undo_left(task, self._created(task.id), left, undoer)
        self.decide(Step(create, step.actor, f"task/{task.id}@{task.version}"))

    def _created(self, id: str) -> e.Created:
        created = self._read(id, 1)
        assert isinstance(created, e.Created)
        return created

    def _successor_at(self, task: TaskFold, version: int) -> Task:
        """The successor that a note names, as it is now. [REPEAT-7]"""
        noted = self._read(task.id, version)
        assert isinstance(noted, e.Noted)
        id = noted.successor or ""
        return self._picture(self._named(id, f"task/{task.id}@{version}"), None)

    def tend(self, command: c.Tend, loaded: TaskFold | None, actor: str = MAINTENANCE) -> Tended | None:
        """Do what is due on one task; None if nothing was. [ACTOR-2]"""
        task = self._folds.get(command.task) or loaded or self._view.task(command.task)
        if task is not None and task.waiting is not None and task.waiting.after:
            command = msgspec.structs.replace(command, ended=self._ended(task.waiting.after))
        decision = decide(task, command, self._view.now_ms, self._view.epoch)
        if isinstance(decision, Repeat) or not decision:
            return None
        assert task is not None
        after = self._take(task, decision, Step(command, actor))
        return Tended(task.id, tuple(e.NAMES[type(event)] for event in decision), str(after.state))

    def claim(self, asked: Asked) -> tuple[Claimed, tuple[str, ...]]:
        """Lease what the view's claim selects; what it came to, and the ids of tasks that cannot be read."""
        claim, idempotency_key = asked.claim, asked.idempotency_key
        if idempotency_key is not None and (repeated := self.claimed_before(idempotency_key, asked)) is not None:
            return Claimed(repeated, repeated=True), ()
        leased: list[Task] = []
        unreadable: list[str] = []
        put_aside = False
        selected = self._view.claimed
        for task in selected:
            if task.id in self._folds or (task.is_suspect and not _may_take(claim, selected)):
                continue
            if not next_lease_fits(task):
                # [BOUND-2] It would be refused at the head of every claim for ever.
                self.tend(c.Tend(task=task.id), task)
                put_aside = True
                continue
            command = c.Acquire(
                task=task.id,
                owner=asked.owner,
                ttl_ms=asked.ttl_ms,
                purpose=claim.purpose,
                kinds=claim.kinds,
                waiver=asked.waivers.get(task.kind),
            )
            try:
                leased.append(
                    self.decide(Step(command, actor=worker_actor(asked.owner), idempotency_key=idempotency_key), task)
                )
            except Corrupt:
                # [LOG-5] One damaged task never stops the others.
                self.forget(task.id)
                unreadable.append(task.id)
                put_aside = True
        return Claimed(leased, put_aside), tuple(unreadable)

    def claimed_before(self, idempotency_key: str, asked: Asked) -> list[Task] | None:
        """The leases of a repeated claim that still live; None if the idempotency key is new. [REPEAT-4] [REPEAT-6]"""
        earlier = self._keyed(idempotency_key)
        if not earlier:
            return None
        if len(earlier) > asked.claim.limit:
            raise _idempotency_key_taken(idempotency_key, earlier[0])
        living = []
        for envelope in earlier:
            try:
                event, task = read(envelope), self._view.task(_id_of(envelope))
                if not isinstance(event, e.Leased) or task is None or not _gives(asked, event, task):
                    raise _idempotency_key_taken(idempotency_key, envelope)
                if task.lease is not None and task.lease.fence == event.fence:
                    living.append(self._picture(task, None))
            except Corrupt:
                # [LOG-5] One damaged task does not keep the others from their holder.
                continue
        return living

    def forget(self, id: str) -> None:
        """Take back what was decided for one task."""
        for kept in (self._folds, self._expected, self._envelopes):
            kept.pop(id, None)
        self._read_last = None

    def _take(self, task: TaskFold, events: tuple[e.Recordable, ...], step: Step) -> TaskFold:
        now_ms, stream = self._view.now_ms, f"task/{task.id}"
        if task.id not in self._envelopes:
            self._expected[task.id] = task.version
            self._envelopes[task.id] = []
        envelopes = self._envelopes[task.id]
        for event in events:
            version = task.version + 1
            envelope = enclose(stream, version, now_ms, event, step.actor, step.cause, step.idempotency_key)
            if len(envelope.body) > CHARACTERS_THAT_FIT and not hands_over(event):
                require_event_fits(envelope)
            envelopes.append(envelope)
            task = evolve(task, event, version, now_ms)
        if not GROWING.isdisjoint(map(type, events)):
            require_fold_fits(task, events)
        self._folds[task.id] = task
        return task

    def _picture(self, task: TaskFold, known: Task | None) -> Task:
        return picture(task, lambda version, source=None: self._read(source or task.id, version), known)

    def _read(self, id: str, version: int) -> e.Recordable:
        """An event on record, or one that this unit is about to append: always from its bytes, as it will be stored."""
        last = self._read_last
        if last is not None and last[0] == id and last[1] == version:
            return last[2]
        if id in self._envelopes and version > self._expected[id]:
            event = decode(self._envelopes[id][version - self._expected[id] - 1])
        else:
            event = self._view.event(id, version)
        self._read_last = (id, version, event)
        return event

    def _keyed(self, idempotency_key: str) -> list[Envelope]:
        mine = [
            one for envelopes in self._envelopes.values() for one in envelopes if one.idempotency_key == idempotency_key
        ]
        return [*self._view.keyed(idempotency_key), *mine]

    def _answer_again(self, step: Step, earlier: list[Envelope]) -> Task:
        """[REPEAT-4] The key is on record: the same command gets the task as it is now, any other is a conflict."""
        command, first = step.command, earlier[0]
        id = _id_of(first)
        event = read(first)
        if e.NAMES[type(event)] not in YIELDS.get(type(command), ()):
            raise _idempotency_key_taken(step.idempotency_key or "", first)
        # A creation under an id that was drawn anew is still the same creation: its idempotency key says so.
        if id != command.task and not step.drawn:
            raise _idempotency_key_taken(step.idempotency_key or "", first)
        # After the event was read: a name that was changed in the file leads to no task.
        task = self._named(id, first.name)
        if isinstance(command, c.Acquire) and len(earlier) > 1:
            raise _idempotency_key_taken(step.idempotency_key or "", first)
        compare(command, event, task)
        if isinstance(event, e.Leased) and (task.lease is None or task.lease.fence != event.fence):
            raise _acquired_and_ended(task, event.fence, step.idempotency_key)
        if isinstance(command, c.RetryAsNew):
            return self._successor_at(task, first.version)
        return self._picture(task, None)

    def _named(self, id: str, event: str) -> TaskFold:
        """The task that an event names."""
        task = self._peek(id)
        if task is None:
            raise Corrupt(
                f"{event} names task {id!r}, which is not found: stop, keep the file, and compare it with a backup",
                task=id,
            )
        return task

    def _compare_registered(self, task: TaskFold, asked: c.Fail | c.Register) -> None:
        """[REPEAT-3] A compensation that is on record under the same id must be the same one."""
        for one in asked.compensations if isinstance(asked, c.Fail) else (asked.compensation,):
            record = task.compensations.get(one.id or "")
            if record is not None:
                command = c.Register(task=task.id, fence=0, compensation=one)
                compare(command, self._read(task.stream_of(record.source), record.version), task)


def _may_take(claim: Claim, selected: Sequence[TaskFold]) -> bool:
    """[LEASE-5] Whether a claim may lease a suspect: alone, and not where it said that it looks past them."""
    return claim.suspects != "never" and len(selected) == 1


def _id_of(envelope: Envelope) -> str:
    return envelope.stream.partition("/")[2]


def _gives(asked: Asked, event: e.Leased, task: TaskFold) -> bool:
    """Whether such a claim could have come to this lease. [REPEAT-6] [UNDO-1]"""
    claim = asked.claim
    waiver = asked.waivers.get(task.kind) if claim.purpose == "work" else None
    given = (asked.owner, claim.purpose, asked.ttl_ms, waiver)
    if (event.owner, event.purpose, event.ttl_ms, event.waiver) != given or task.queue not in claim.queues:
        return False
    kinds = {task.kind} if claim.purpose == "work" else {task.compensations[id].kind for id in task.owed()}
    return claim.kinds is None or kinds <= claim.kinds


def _acquired_and_ended(task: TaskFold, fence: int, idempotency_key: str | None) -> LeaseLost:
    return LeaseLost(
        f"idempotency key {idempotency_key!r} has leased task {task.id!r} under fence {fence}, and that lease has "
        f"ended (newest fence {task.fence}); acquire it anew under another idempotency key",
        task=task.id,
        fence=fence,
        current=task.fence,
        state=str(task.state),
    )


def _idempotency_key_taken(idempotency_key: str, envelope: Envelope) -> Conflict:
    return Conflict(
        f"idempotency key {idempotency_key!r} is on record for something else ({envelope.type} in {envelope.name}): "
        "give every command an idempotency key of its own",
        idempotency_key=idempotency_key,
        stream=envelope.stream,
        version=envelope.version,
    )
