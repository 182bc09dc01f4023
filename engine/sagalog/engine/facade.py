"""The object that users embed: every public call, from arguments to answers.

Rule: a call checks its arguments (`forms`), makes `operations`, hands them to the store, and turns the answers into
Tasks, Leases or an error. It decides nothing about tasks itself and knows no store by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from types import TracebackType
from typing import Any

from sagalog import versions
from sagalog.actors import optional_actor, worker_actor
from sagalog.engine import audit, operations
from sagalog.engine.batch import Batch, Entry, steps_of
from sagalog.engine.health import Health, health
from sagalog.engine.lease_watch import Observer
from sagalog.engine.leasing import Leasing, claim_operations
from sagalog.engine.maintenance import answered
from sagalog.engine.relations import depends_on
from sagalog.engine.subscription import Subscription, subscribe
from sagalog.engine.task import Lease, Task
from sagalog.engine.unit_of_work import Step
from sagalog.errors import InvalidValue, SagalogError, Unavailable, Unknown
from sagalog.ids import Ulids
from sagalog.kernel import commands as c
from sagalog.kernel.state import StoreFold
from sagalog.kernel.values import Compensation, Retry
from sagalog.ports import Chance, Clock
from sagalog.store import Blob, Operation, Store
from sagalog.system import SystemChance, SystemClock
from sagalog.validation import arguments
from sagalog.validation import commands as forms
from sagalog.validation.commands import Asked
from sagalog.validation.values import check_cause, shown


class Engine(Leasing):
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
        self._actor = optional_actor(actor, "actor")
        self._observer = Observer()
        self.store_id = self._found().id

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def clock(self) -> Clock:
        """Its clock; whoever works on it measures by that too."""
        return self._clock

    def draw_id(self) -> str:
        """A new ULID, as tasks get."""
        return self._ids.next(self._clock.now_ms())

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
        inputs: Mapping[str, bytes] | None = None,
        compensations: Iterable[Compensation] = (),
        waive_compensation: str | None = None,
        tags: Mapping[str, str] | None = None,
        correlation_id: str | None = None,
        parent: str | None = None,
        trace: str | None = None,
        tracestate: str | None = None,
        data_key: str | None = None,
        actor: str | None = None,
        cause: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Create a task; the same id or `idempotency_key` again, with the same content, gives the task that exists.

        Args:
            kind: which handler it is for; 1 to 200 printable characters, like every name here.
            payload: JSON, up to 1 MiB; refused at the door where a store could not give it back as it is.
            id: 1 to 200 printable characters; a ULID is drawn if left out.
            queue: where it waits; priority: smaller runs first; affinity: a hint for claims; key: a name that no
                claim looks at.
            run_at_ms: not due before this time.
            retry: budgets and delays; the log records the whole policy.
            inputs: bytes by name, each up to 16 MiB, kept beside the log; `input` reads them. [BLOB-1]
            compensations: planned undos, owed from the first lease for work on.
            waive_compensation: why this task may fail without any.
            tags: names and values to find it by.
            correlation_id, parent: where it belongs; a task's id.
            trace, tracestate: a W3C traceparent, and the tracestate that stands beside it. [TRACE-1]
            data_key: the name of its subject's key, as of a person or a tenant; left out, the task's own id. What is to
                be forgotten together shares one. Nothing is encrypted by this version. [KEY-1]
            actor, cause: who asks, because of which event. An actor is `user:`, `token:` or `schedule:` and a name;
                without one of these it is a user. [ACTOR-1]
            idempotency_key: under which identity; repeated, it gives the first answer. [REPEAT-2] [REPEAT-4]

        Raises:
            InvalidValue: naming the argument or the path in the payload. AlreadyExists: the id has other content.
            Conflict: the idempotency key is on record for something else.
        """
        drawn = self._ids.next(self._clock.now_ms()) if id is None else id
        named, blobs = arguments.taken_in(inputs)
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
            inputs=named,
            compensations=compensations,
            waive_compensation=waive_compensation,
            tags=tags,
            correlation_id=correlation_id,
            parent=parent,
            trace=trace,
            tracestate=tracestate,
            data_key=data_key,
        )
        try:
            return self._write(command, actor, idempotency_key, cause, drawn=id is None, blobs=blobs)
        except Unknown as error:
            if id is not None or idempotency_key is not None:
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
            for index, spec in enumerate(arguments.several(specs, "specs")):
                _create_in(batch, index, spec)
        return [result for result in batch.results if isinstance(result, Task)]

    def batch(self, *, together: bool = True) -> Batch:
        """Commands that are carried out in one commit when the `with` block ends without an exception.

        Args:
            together: True: all or none, as one unit, and the first refusal is raised; a claim may come last, of what
                the batch itself has not written. False: each command stands or falls by itself, in the order given,
                and `results` holds its refusal in the place of its answer. So what is done is settled and what comes
                next is leased in one commit.
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

    # --- what operators do --------------------------------------------------------------------------------------

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        now: bool = False,
        *,
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Call a task off: at once where nobody holds it; else its owner is asked, or with `now` loses it. [CANCEL-1]

        With `now`, undos may begin while the owner's handler still runs: what that does outside comes after them.

        Raises:
            NotFound; TerminalTask: it has ended in another way.
        """
        return self._write(forms.cancel(id, reason, now), actor, idempotency_key)

    def quarantine(self, id: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Task:
        """Take a task out of circulation until a human has looked; raises NotFound, TerminalTask."""
        return self._write(forms.quarantine(id, reason), actor, idempotency_key)

    def signal(
        self, id: str, name: str, data: Any = None, *, actor: str | None = None, idempotency_key: str | None = None
    ) -> Task:
        """Tell a task something: a wait for a signal of this name takes it, now or whenever it begins. [WAIT-2]

        Each signal is taken once, the oldest first; without `idempotency_key` a repeated call sends another one.

        Raises:
            NotFound; TerminalTask; WrongState: it is compensating. OverBound: too many that no wait has taken.
        """
        return self._write(forms.signal(id, name, data), actor, idempotency_key)

    def note(
        self,
        id: str,
        text: str,
        settles: Iterable[str] = (),
        *,
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Leave a remark, in any state; after the end it may settle compensations that are still owed. [COMP-6]

        Raises:
            NotFound: no such task, or it does not owe what is to be settled. WrongState: `settles` before the end.
        """
        return self._write(forms.note(id, text, settles), actor, idempotency_key)

    def waive(
        self, id: str, compensation: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None
    ) -> Task:
        """Settle one owed compensation by word, in any order. [COMP-4]

        Raises:
            NotFound; AlreadySettled; TerminalTask: use a note with `settles` instead.
        """
        return self._write(forms.waive(id, compensation, reason), actor, idempotency_key)

    def retry_as_new(
        self,
        id: str,
        *,
        results: Mapping[str, Any] | None = None,
        rerun: Iterable[str] = (),
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """A successor takes the place of a task that has ended, with the same work and fresh budgets. [TERM-2]

        Of a task that was quarantined in its forward work it keeps the steps and goes on [STEP-1]. What the ended task
        still owes is handed over and owed by the successor at once [COMP-7]: it starts compensating where only the
        undoing was left, and else pending. A second call gives the same successor. [REPEAT-7]
        Sleeps that are over, and signals that waits took, it keeps under their numbers; a signal that was kept and
        that no wait had taken is not handed on: send it to the successor. [WAIT-1]

        Args:
            id: the task that has ended.
            results: by name of the step, the result of a step that has none on record
                (`Task.unrecorded_steps`), or whose undo a note has settled after the end: the successor keeps it with
                this result, as JSON.
            rerun: names of such steps that the successor carries out (again), so that effects which stand come twice.
            actor, idempotency_key: who asks, under which identity.

        Returns:
            The successor; its `predecessor` names the ended task.

        Raises:
            NotFound: no such task, or no such step of which something is to be said. WrongState: it has not ended, or
                it has completed. ResultRequired: neither argument says what becomes of one of those steps.
            Conflict: it was retried as new with other results.
        """
        command = forms.retry_as_new(id, self._ids.next(self._clock.now_ms()), results, rerun)
        return self._write(command, actor, idempotency_key)

    # --- reading on ---------------------------------------------------------------------------------------------

    def subscribe(self, name: str | None, after: int | None = None) -> Subscription:
        """Read on in the log where the subscription of this name has stopped. [SUBSCRIBE-1]

        Args:
            name: under which its checkpoint is kept; one reader at a time. None: none is kept.
            after: the position behind which a new name begins; None: at the beginning of the log; `newest_position()`:
                with what comes next. A name that has a checkpoint goes on there, whatever is given here. A new name is
                put on record at once, so that nothing is missed if its reader dies before it saves.

        Raises:
            InvalidValue: `after` lies beyond the log.
        """
        return subscribe(self._store, self._clock, name, after)

    # --- auditing -----------------------------------------------------------------------------------------------

    def rebuild(self) -> audit.RebuildReport:
        """Throw away every projection and fold it afresh from the log."""
        return audit.rebuild(self._store)

    def health(self) -> Health:
        """How the store fares: its WAL, its disk, its last checkpoint, and due undos that no worker has leased.

        It costs the same however large the store is, so it may be asked every minute.
        """
        return health(self._store, self.store_id, self._clock.now_ms())

    def verify(self) -> audit.VerifyReport:
        """Audit the log (places, digests, the table of the lifecycle) and every projection against it. [LOG-4]"""
        return audit.verify(self._store)

    # --- what leases and batches need ---------------------------------------------------------------------------

    def settle(self, command: c.Held, lease: Lease, blobs: tuple[Blob, ...] = ()) -> Task:
        """Carry out a command of a lease's holder; the verbs of `Lease` are what users call."""
        lease._require_own()
        return self._carry_out((Step(command, worker_actor(lease.owner), known=lease.task, blobs=blobs),))[0]

    def jitter(self) -> float:
        """A number in [0, 1) for a backoff."""
        return self._chance.fraction()

    # --- inside -------------------------------------------------------------------------------------------------

    def _write(
        self,
        command: c.Command,
        actor: str | None,
        idempotency_key: str | None,
        cause: str | None = None,
        drawn: bool = False,
        blobs: tuple[Blob, ...] = (),
    ) -> Task:
        step = Step(
            command,
            optional_actor(actor, "actor") or self._actor,
            None if cause is None else check_cause(cause, "cause"),
            arguments.optional_name(idempotency_key, "idempotency_key"),
            drawn=drawn,
            blobs=blobs,
        )
        return self._carry_out((step,))[0]

    def _carry_out(self, steps: Sequence[Step]) -> list[Task]:
        tasks: list[Task] = answered(self._store.commit((operations.writing(steps, reads=self._depends_on(steps)),))[0])
        return tasks

    def _depends_on(self, steps: Sequence[Step]) -> tuple[str, ...]:
        """Tasks that these steps depend on without naming them; reads only for the few commands that have any."""
        commands = [step.command for step in steps if isinstance(step.command, c.AdoptChild | c.RetryAsNew)]
        if not commands:
            return ()
        with self._store.read() as snapshot:
            return depends_on(snapshot, commands)

    def _carry_out_together(self, entries: Sequence[Entry]) -> list[Any]:
        steps = [step for entry in entries for step in steps_of(entry)]
        asked = entries[-1]
        if not isinstance(asked, Asked):
            writes = (
                *operations.acquiring(steps),
                operations.writing(steps, together=True, reads=self._depends_on(steps)),
            )
            return _gathered(entries, answered(self._store.commit(writes)[-1]))
        maintenance, _ = claim_operations(asked)
        settling = operations.settling(steps, asked, self._depends_on(steps))
        tasks, claimed = answered(self._store.commit((*operations.acquiring(steps), maintenance, settling))[-1])
        return [*_gathered(entries[:-1], tasks), claimed.tasks]

    def _carry_out_apart(self, entries: Sequence[Entry]) -> list[Any]:
        """One commit, an operation for each entry: its Task, the tasks that it claimed, or its refusal."""
        writes = [self._operations_of(entry) for entry in entries]
        answers = self._store.commit([operation for several in writes for operation in several])
        ends = accumulate(len(several) for several in writes)
        return [_answer_of(entry, answers[end - 1]) for entry, end in zip(entries, ends, strict=True)]

    def _operations_of(self, entry: Entry) -> tuple[Operation, ...]:
        """A command is an operation of its own, and so is a group; maintenance goes before what leases."""
        if isinstance(entry, Asked):
            return claim_operations(entry)
        steps = steps_of(entry)
        return (*operations.acquiring(steps), operations.writing(steps, reads=self._depends_on(steps)))

    def _found(self) -> StoreFold:
        """The store's own fold, founded if it is new; a newer version than it has on record is recorded. [LOG-7]"""
        writer = versions.running()
        with self._store.read() as snapshot:
            fold = snapshot.store()
        if fold is None:
            id = self._ids.next(self._clock.now_ms())
            fold = answered(self._store.commit((operations.founding(id, writer),))[0])
        assert isinstance(fold, StoreFold)
        if not versions.is_newer(writer, fold.writer):
            return fold
        try:
            upgraded = answered(self._store.commit((operations.upgrading(fold.id, writer),))[0])
        except (Unavailable, Unknown):
            # [LOG-7] What cannot be written now, the next opening records: a store that is there is read all the same.
            return fold
        assert isinstance(upgraded, StoreFold)
        return upgraded


def _gathered(entries: Sequence[Entry], tasks: Iterable[Task]) -> list[Any]:
    """The tasks of all commands, those of a group in its place."""
    left = iter(tasks)
    return [list(islice(left, len(entry))) if isinstance(entry, list) else next(left) for entry in entries]


def _answer_of(entry: Entry, answer: Any) -> Any:
    """The answer of one entry out of that of its last operation; what maintenance did before is no entry's answer."""
    if isinstance(answer, SagalogError):
        return answer
    if isinstance(entry, Asked):
        return answer.tasks
    return answer[0] if isinstance(entry, Step) else answer


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
