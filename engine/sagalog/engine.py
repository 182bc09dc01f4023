"""The object that users embed: every public call, from arguments to answers.

Rule: a call checks its arguments (`forms`), makes units (`units`), hands them to the store, and turns what comes back
into Tasks, Leases or an error. It decides nothing about tasks itself and knows no store by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import msgspec

from sagalog import audit, forms, units
from sagalog.batch import Batch, Entry
from sagalog.door import check_id, check_integer, check_milliseconds, shown
from sagalog.errors import InvalidValue, NotFound, SagalogError, Unknown
from sagalog.forms import Asked
from sagalog.ids import Ulids
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.state import StoreFold
from sagalog.kernel.values import Compensation, Purpose, Retry
from sagalog.observer import Observer
from sagalog.ports import Chance, Clock, Due, Store, Unit
from sagalog.reading import WAIT_SLICE_MS, Reading, leased_as
from sagalog.system import SystemChance, SystemClock
from sagalog.task import Lease, Task
from sagalog.units import Step, Tended


class Renewal(msgspec.Struct, frozen=True):
    """What became of many heartbeats: the leases renewed, and for each other one the refusal, `LeaseLost` mostly."""

    renewed: tuple[Lease, ...]
    lost: tuple[SagalogError, ...]


class Engine(Reading):
    """A store of tasks, with every call on them; a context manager, safe to share between threads.

    Calls raise errors by what to do next: `Rejected` (change the request), `Conflict` (somebody was first),
    `Unavailable` (nothing was written: repeat), `Unknown` (repeat with the same identity), `Corrupt` (call a human).
    Any call may raise the last three, which the methods below do not repeat.
    """

    def __init__(
        self, store: Store, *, clock: Clock | None = None, chance: Chance | None = None, actor: str | None = None
    ) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._chance = chance or SystemChance()
        self._ids = Ulids(self._chance.token_bytes)
        self._actor = forms.optional_name(actor, "actor")
        self._observer = Observer()
        self.store_id = self._found().id

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the store back; leases live on until they are over. A second time does nothing."""
        self._store.close()

    # --- creating -----------------------------------------------------------------------------------------------

    def create(
        self,
        kind: str,
        payload: Any = None,
        *,
        id: str | None = None,
        queue: str = "default",
        priority: int = 0,
        affinity: str | None = None,
        key: str | None = None,
        run_at_ms: int | None = None,
        retry: Retry | None = None,
        compensations: Iterable[Compensation] = (),
        waive_compensation: str | None = None,
        tags: Mapping[str, str] | None = None,
        correlation_id: str | None = None,
        parent: str | None = None,
        trace: str | None = None,
        actor: str | None = None,
        cause: str | None = None,
        request: str | None = None,
    ) -> Task:
        """Create a task; the same id (or `request`) again with the same content gives the task that exists. [REPEAT-2]

        Args:
            kind: which handler it is for; 1 to 200 printable characters, like every name here.
            payload: JSON, up to 1 MiB; refused at the door where a store could not give it back as it is.
            id: 1 to 200 printable characters; a ULID is drawn if left out.
            queue: where it waits; priority: smaller runs first; affinity: a hint for claims; key: shares a cap.
            run_at_ms: not due before this time.
            retry: budgets and delays; the log records the whole policy.
            compensations: planned undos, owed from the first lease on.
            waive_compensation: why this task may fail without any.
            tags: names and values to find it by.
            correlation_id, parent, trace: where it belongs; a task's id, a W3C traceparent.
            actor, cause, request: who asks, because of which event, under which identity.

        Raises:
            InvalidValue: naming the argument or the path in the payload. AlreadyExists: the id has other content.
            Conflict: the request is on record for something else.
        """
        drawn = self._ids.next(self._clock.now_ms()) if id is None else id
        command = forms.create(
            kind,
            payload,
            id=drawn,
            queue=queue,
            priority=priority,
            affinity=affinity,
            key=key,
            run_at_ms=run_at_ms,
            retry=retry,
            compensations=compensations,
            waive_compensation=waive_compensation,
            tags=tags,
            correlation_id=correlation_id,
            parent=parent,
            trace=trace,
        )
        try:
            return self._write(command, actor, request, cause, drawn=id is None)
        except Unknown as error:
            if id is not None or request is not None:
                raise
            raise Unknown(
                f"{error.message}; repeat the creation with id={drawn!r}", **{**error.fields, "identity": {"id": drawn}}
            ) from error

    def create_many(self, specs: Iterable[Mapping[str, Any]]) -> list[Task]:
        """Create many tasks in one commit, all or none; each spec is a mapping of `create`'s arguments.

        Raises:
            The first refusal, with the index of its spec in the field `command`.
        """
        batch = self.batch()
        with batch:
            for index, spec in enumerate(forms.listed(specs, "specs")):
                _create_in(batch, index, spec)
        return [result for result in batch.results if isinstance(result, Task)]

    def batch(self, *, together: bool = True) -> Batch:
        """Commands that are carried out in one commit when the `with` block ends without an exception.

        Args:
            together: True: all or none, as one unit, and the first refusal is raised. False: each command stands or
                falls by itself, in the order given, and `results` holds its refusal in the place of its answer; such a
                batch may also claim, so that what is done is settled and what comes next is leased in one commit.
        """
        if type(together) is not bool:
            raise InvalidValue(f"together: expected True or False, found {shown(together)}", path="together")
        return Batch(
            self._carry_out_together if together else self._carry_out_apart,
            lambda: self._ids.next(self._clock.now_ms()),
            self,
            self._actor,
            together,
        )

    # --- leasing ------------------------------------------------------------------------------------------------

    def acquire(
        self,
        task_id: str,
        *,
        owner: str,
        ttl_ms: int | None,
        purpose: Purpose = "work",
        kinds: Iterable[str] | None = None,
    ) -> Lease:
        """Lease this task, whatever its order and due time. [LEASE-1]

        Args:
            task_id: which.
            owner: who will hold it.
            ttl_ms: how long without a heartbeat; None: without end.
            purpose: "work", or "undo" for a compensating task.
            kinds: for undoing, the compensation kinds the caller knows; None: every kind.

        Raises:
            LeaseHeld: somebody holds it, perhaps the same owner. TerminalTask, NotFound.
            Blocked: it is not there for this purpose, or owes kinds the caller does not know.
        """
        command = forms.acquire(task_id, owner, ttl_ms, purpose, kinds)
        tended, answer = self._store.commit(
            (units.tending((c.Tend(task=task_id),)), units.writing((Step(command, actor=owner),)))
        )
        del tended  # [UPKEEP-2] What it did stands in the log, whatever became of the acquisition.
        return Lease(_answer(answer)[0], self)

    def resume(self, task_id: str, fence: int) -> Lease:
        """Take up a lease again by its fence, as another process of the same holder does, such as a shell script.

        The lease is given as it was when it was acquired, whatever has become of it: its verbs answer a repeat with
        what is on record, and a late holder with `LeaseLost`, as always. [FENCE-2] [REPEAT-5]

        Raises:
            NotFound: there is no such task, or it was never leased under this fence.
        """
        check_id(task_id, "task_id")
        check_integer(fence, "fence", 1, bounds.INTEGER_MAX)
        with self._store.read() as snapshot:
            task = leased_as(snapshot, task_id, fence)
        if task is None:
            raise NotFound(
                f"task {task_id!r} was never leased under fence {fence}; check both, or claim anew",
                task=task_id,
                fence=fence,
            )
        return Lease(task, self)

    def claim(
        self,
        queues: str | Sequence[str],
        *,
        owner: str,
        ttl_ms: int | None,
        limit: int = 1,
        kinds: Iterable[str] | None = None,
        affinity: str | Sequence[str] | None = None,
        purpose: Purpose = "work",
        request: str | None = None,
        wait_ms: int = 0,
    ) -> list[Lease]:
        """Lease up to `limit` ready tasks: affinities asked for first, then priority, then age; none is no error.

        Args:
            queues: one name or several.
            owner: who will hold them.
            ttl_ms: how long without a heartbeat; None: without end.
            limit: at most so many.
            kinds: only these; for "undo" the compensation kinds that the caller knows, all that a task owes [UNDO-1].
            affinity: hints to be served first, in this order.
            purpose: "work" or "undo".
            request: an identity; repeated, the claim gives those of its leases that still live. [REPEAT-4]
            wait_ms: how long to wait where there is nothing to lease; a commit of anybody wakes at once, and so does
                the time at which something becomes due. Waiting takes no turn and writes nothing.
        """
        asked = forms.claim(queues, owner, ttl_ms, limit, kinds, affinity, purpose, request)
        check_milliseconds(wait_ms, "wait_ms")
        if asked.claim.kinds is not None and not asked.claim.kinds:
            return []
        leases = self._claim(asked)
        return leases if leases or not wait_ms else self._claim_later(asked, wait_ms)

    def heartbeat(self, leases: Iterable[Lease], ttl_ms: int | None = None) -> Renewal:
        """Renew many leases in one commit, each by itself: what is lost does not hold up the others. [LEASE-3]"""
        held = list(forms.listed(leases, "leases"))
        for one in held:
            if not isinstance(one, Lease):
                raise InvalidValue(f"leases: expected Lease objects, found {type(one).__name__}", path="leases")
        forms.ttl(ttl_ms)
        if not held:
            return Renewal((), ())
        writes = [
            units.writing((Step(forms.beat(one.task.id, one.fence, ttl_ms, None), one.owner, known=one.task),))
            for one in held
        ]
        renewed: list[Lease] = []
        lost: list[SagalogError] = []
        for answer in self._store.commit(writes):
            if isinstance(answer, SagalogError):
                lost.append(answer)
            else:
                renewed.append(Lease(answer[0], self))
        return Renewal(tuple(renewed), tuple(lost))

    # --- what operators do --------------------------------------------------------------------------------------

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        now: bool = False,
        *,
        actor: str | None = None,
        request: str | None = None,
    ) -> Task:
        """Call a task off: at once where nobody holds it; else its owner is asked, or with `now` loses it. [CANCEL-1]

        Raises:
            NotFound; TerminalTask: it has ended in another way.
        """
        return self._write(forms.cancel(id, reason, now), actor, request)

    def quarantine(self, id: str, reason: str, *, actor: str | None = None, request: str | None = None) -> Task:
        """Take a task out of circulation until a human has looked; raises NotFound, TerminalTask."""
        return self._write(forms.quarantine(id, reason), actor, request)

    def note(
        self, id: str, text: str, settles: Iterable[str] = (), *, actor: str | None = None, request: str | None = None
    ) -> Task:
        """Leave a remark, in any state; after the end it may settle compensations that are still owed. [COMP-6]

        Raises:
            NotFound: no such task, or it does not owe what is to be settled. WrongState: `settles` before the end.
        """
        return self._write(forms.note(id, text, settles), actor, request)

    def waive(
        self, id: str, compensation: str, reason: str, *, actor: str | None = None, request: str | None = None
    ) -> Task:
        """Settle one owed compensation by word, in any order. [COMP-4]

        Raises:
            NotFound; AlreadySettled; TerminalTask: use a note with `settles` instead.
        """
        return self._write(forms.waive(id, compensation, reason), actor, request)

    def retry_as_new(self, id: str, *, actor: str | None = None, request: str | None = None) -> Task:
        """A successor takes the place of a task that has ended, with the same work and fresh budgets. [TERM-2]

        What the ended task still owes is handed over and owed by the successor at once [COMP-7]: it starts compensating
        where only the undoing was left, and else pending. A second call gives the same successor. [REPEAT-7]

        Returns:
            The successor; its `predecessor` names the ended task.

        Raises:
            NotFound. WrongState: it has not ended, or it has completed.
        """
        command = forms.retry_as_new(id, self._ids.next(self._clock.now_ms()))
        return self._write(command, actor, request)

    def recover(self, limit: int | None = None, unknown_kinds: Iterable[str] = ()) -> list[Tended]:
        """Do all upkeep that is due in every queue, on at most `limit` tasks; what happened to each. [UPKEEP-1]

        Ends leases that are over, lets in what has become due, and quarantines what owes compensations of
        `unknown_kinds` (kinds that nobody knows) or has waited for its undo longer than its policy allows. [UNDO-2]
        A task that cannot be read never stops the others. Doing it again changes nothing more.
        """
        unknown = forms.names(unknown_kinds, "unknown_kinds") or frozenset()
        if limit is not None:
            check_integer(limit, "limit", 1, bounds.TIME_MS_MAX)
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            over = [c.Tend(task=task.id) for task in snapshot.over(now_ms, limit)]
        tended = self._tend([*over, *self._unseen(None)], limit)
        # Read after those leases have ended, so that what they leave is looked at in this call too.
        with self._store.read() as snapshot:
            undoing = [c.Tend(task=id, unknown_kinds=unknown, overdue=True) for id in snapshot.undoing()]
        tended += self._tend(undoing, None if limit is None else limit - len(tended))
        self._let_in(limit)
        return tended

    # --- auditing -----------------------------------------------------------------------------------------------

    def rebuild(self) -> audit.RebuildReport:
        """Throw away every projection and fold it afresh from the log."""
        return audit.rebuild(self._store)

    def verify(self) -> audit.VerifyReport:
        """Audit the log (places, digests, the table of the lifecycle) and every projection against it. [LOG-4]"""
        return audit.verify(self._store)

    # --- what leases and batches need ---------------------------------------------------------------------------

    def settle(self, command: c.Held, lease: Lease) -> Task:
        """Carry out a command of a lease's holder; the verbs of `Lease` are what users call."""
        return self._carry_out((Step(command, lease.owner, known=lease.task),))[0]

    def jitter(self) -> float:
        """A number in [0, 1) for a backoff."""
        return self._chance.fraction()

    # --- inside -------------------------------------------------------------------------------------------------

    def _write(
        self,
        command: c.Command,
        actor: str | None,
        request: str | None,
        cause: str | None = None,
        drawn: bool = False,
    ) -> Task:
        step = Step(
            command,
            forms.optional_name(actor, "actor") or self._actor,
            forms.optional_name(cause, "cause"),
            forms.optional_name(request, "request"),
            drawn=drawn,
        )
        return self._carry_out((step,))[0]

    def _carry_out(self, steps: Sequence[Step]) -> list[Task]:
        tasks: list[Task] = _answer(self._store.commit((units.writing(steps),))[0])
        return tasks

    def _carry_out_together(self, entries: Sequence[Entry]) -> list[Any]:
        steps = [entry for entry in entries if isinstance(entry, Step)]
        tasks: list[Any] = _answer(self._store.commit((units.writing(steps, together=True),))[0])
        return tasks

    def _carry_out_apart(self, entries: Sequence[Entry]) -> list[Any]:
        """One commit, a unit for each entry: its Task, the tasks that it claimed, or its refusal."""
        writes = [unit for entry in entries for unit in _units_of(entry)]
        answers = iter(self._store.commit(writes))
        return [_answer_of(entry, answers) for entry in entries]

    def _claim(self, asked: Asked) -> list[Lease]:
        """What is there to be leased now."""
        writes = _units_of(asked)
        claimed = _answer(self._store.commit(writes)[1])
        while not claimed.tasks and (claimed.again or self._end_unseen(asked.claim.queues)):
            claimed = _answer(self._store.commit(writes)[1])
        return [Lease(task, self) for task in claimed.tasks]

    def _claim_later(self, asked: Asked, wait_ms: int) -> list[Lease]:
        """Wait until there may be something to lease, and lease it; none when the time is over."""
        started_ms = self._clock.monotonic_ms()
        while True:
            changes = self._store.changes()
            with self._store.read() as snapshot:
                due_ms = snapshot.claimable_ms(asked.claim)
            in_ms = None if due_ms is None else due_ms - self._clock.now_ms()
            if in_ms is not None and in_ms <= 0 and (leases := self._claim(asked)):
                return leases
            left_ms = wait_ms - (self._clock.monotonic_ms() - started_ms)
            if left_ms <= 0:
                return []
            # A clock may jump, and a manual one does not wait: look again before long in any case.
            soon_ms = WAIT_SLICE_MS if in_ms is None or in_ms <= 0 else min(WAIT_SLICE_MS, in_ms)
            self._store.wait_change(changes, min(left_ms, soon_ms))

    def _found(self) -> StoreFold:
        """The store's own fold; an absent founding event is written by whoever opens it first."""
        with self._store.read() as snapshot:
            fold = snapshot.store()
        if fold is None:
            id = self._ids.next(self._clock.now_ms())
            fold = _answer(self._store.commit((units.founding(id),))[0])
        assert isinstance(fold, StoreFold)
        return fold

    def _tend(self, commands: Sequence[c.Tend], limit: int | None) -> list[Tended]:
        """Do what is due on each task, one unit a task, until `limit` of them had something due."""
        tended: list[Tended] = []
        done = 0
        while done < len(commands) and (limit is None or len(tended) < limit):
            count = bounds.UPKEEP_LIMIT if limit is None else min(bounds.UPKEEP_LIMIT, limit - len(tended))
            some = commands[done : done + count]
            for answer in self._store.commit([units.tending((command,)) for command in some]):
                tended += _answer(answer)
            done += count
        return tended

    def _let_in(self, limit: int | None) -> None:
        """Let in everything whose time has come, a bounded share a commit, or `limit` tasks."""
        share = bounds.UPKEEP_LIMIT if limit is None else min(bounds.UPKEEP_LIMIT, limit)
        let_in = 0
        while limit is None or let_in < limit:
            more: int = _answer(self._store.commit((units.letting_in(Due(None, share)),))[0])
            let_in += more
            if more < share:
                return

    def _end_unseen(self, queues: tuple[str, ...]) -> bool:
        """End leases that only a monotonic clock can see to be over; whether there were any. [TIME-3]"""
        commands = self._unseen(queues)
        if not commands:
            return False
        return bool(_answer(self._store.commit((units.tending(commands),))[0]))

    def _unseen(self, queues: tuple[str, ...] | None) -> list[c.Tend]:
        """What the monotonic clock can say of leases whose renewal lies in the future."""
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        with self._store.read() as snapshot:
            behind = snapshot.behind(now_ms, queues)
        return self._observer.look(behind, monotonic_ms, everywhere=queues is None)


def _units_of(entry: Entry) -> tuple[Unit, ...]:
    """A command is a unit of its own; a claim has the upkeep of its queues before it."""
    if isinstance(entry, Step):
        return (units.writing((entry,)),)
    return (
        units.upkeep(Due(entry.claim.queues, bounds.UPKEEP_LIMIT)),
        units.claiming(entry.claim, entry.owner, entry.ttl_ms, entry.request),
    )


def _answer_of(entry: Entry, answers: Iterator[Any]) -> Any:
    """The answer of one entry out of those of all units; what upkeep did is nobody's answer."""
    if isinstance(entry, Step):
        answer = next(answers)
        return answer if isinstance(answer, SagalogError) else answer[0]
    next(answers)
    claimed = next(answers)
    return claimed if isinstance(claimed, SagalogError) else claimed.tasks


def _answer(answer: Any) -> Any:
    """What a unit answered, or its refusal raised."""
    if isinstance(answer, SagalogError):
        raise answer
    return answer


def _create_in(batch: Batch, index: int, spec: Mapping[str, Any]) -> None:
    """Record one spec of `create_many`; a refusal at the door says which spec it was."""
    path = f"specs[{index}]"
    if not isinstance(spec, Mapping):
        raise InvalidValue(f"{path}: expected a mapping of create's arguments", path=path, command=index)
    try:
        batch.create(**spec)
    except SagalogError as refusal:
        fields = {**refusal.fields, "command": index}
        raise type(refusal)(f"{path}: {refusal.message}", **fields) from refusal
    except TypeError as error:
        text = f"{path}: {error}; a spec holds the arguments of Engine.create"
        raise InvalidValue(text, path=path, command=index) from error
