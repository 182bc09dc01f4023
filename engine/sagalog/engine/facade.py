"""The object that users embed: every public call, from arguments to answers.

Rule: a call checks its arguments, makes an entry of them (`verbs`) or a query, and gives that to the executor, whose
answer becomes Tasks, Leases or an error. It decides nothing about tasks itself and knows no store by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from sagalog.actors import optional_actor
from sagalog.codec import Recorded, recorded_log
from sagalog.engine import verbs
from sagalog.engine.adapters import call_of
from sagalog.engine.audit import RebuildReport, VerifyReport
from sagalog.engine.batch import Batch
from sagalog.engine.entries import CommandEntry
from sagalog.engine.executor import WAIT_SLICE_MS, Executor
from sagalog.engine.health import Health
from sagalog.engine.lease import Lease, Renewal, renew, require_lease
from sagalog.engine.local_executor import LocalExecutor
from sagalog.engine.queries import Queries
from sagalog.engine.subscription import Subscription, subscribe
from sagalog.engine.task import Task
from sagalog.engine.unit_of_work import Maintained
from sagalog.errors import InvalidValue, NotFound, SagalogError, Unknown
from sagalog.kernel import bounds
from sagalog.ports import Clock, Entropy
from sagalog.store import Store
from sagalog.system import SystemClock, SystemEntropy
from sagalog.validation import arguments
from sagalog.validation.commands import ClaimRequest
from sagalog.validation.values import check_id, check_integer, check_milliseconds

P = ParamSpec("P")
R = TypeVar("R")


def carried_out(verb: Callable[Concatenate[Executor, P], CommandEntry]) -> Callable[Concatenate[Engine, P], Task]:
    """The verb carried out; the task afterwards."""

    @call_of(verb, 1)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> Task:
        executor = self._executor
        entry = verb(executor, *args, **kwargs)
        try:
            return executor.carry_out(entry)
        except Unknown as error:
            if not entry.drawn or entry.idempotency_key is not None:
                raise
            id = entry.command.task
            text = f"{error.message}; repeat the creation with id={id!r}"
            raise Unknown(text, **{**error.fields, "identity": {"id": id}}) from error

    return call


def acquired(verb: Callable[Concatenate[Executor, P], CommandEntry]) -> Callable[Concatenate[Engine, P], Lease]:
    """The verb carried out, where it leases a task; the lease."""

    @call_of(verb, 1)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> Lease:
        executor = self._executor
        return Lease(executor.carry_out(verb(executor, *args, **kwargs)), executor)

    return call


def claimed(verb: Callable[Concatenate[Executor, P], ClaimRequest]) -> Callable[Concatenate[Engine, P], list[Lease]]:
    """The claim carried out, now or once there is something to lease; the leases."""

    @call_of(verb, 1)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> list[Lease]:
        executor = self._executor
        request = verb(executor, *args, **kwargs)
        if request.claim.kinds is not None and not request.claim.kinds:
            return []
        found = executor.claim(request)
        tasks = found.tasks
        if not tasks and not found.repeated and request.wait_ms:
            tasks = executor.claim_later(request, request.wait_ms)
        return [Lease(task, executor) for task in tasks]

    return call


def asked(query: Callable[Concatenate[Queries, P], R]) -> Callable[Concatenate[Engine, P], R]:
    """The query answered by the executor."""
    name = query.__name__

    @call_of(query, 1)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> R:
        answer: R = getattr(self._executor.queries, name)(*args, **kwargs)
        return answer

    return call


class Engine:
    """A store of tasks, with every call on them; a context manager, safe to share between threads.

    `sagalog.open(url)` gives one, and the end of its `with` block closes it. The calls to know first:

        create(kind, payload)            a new task; repeated with an `id` it had, the same task
        get(id), find(state=, queue=)    tasks as they are now
        claim(queues, owner=, ttl_ms=)   leases on what is ready, whose verbs do the rest, as
                                         `lease.complete(result)`; a `Worker` does that by itself
        wait(id, timeout_ms)             the task once it has ended
        history(id)                      its events: what happened, when, and who asked for it

    Calls raise errors by what to do next: `Rejected` (change the request), `Conflict` (another
    caller was first), `Unavailable` (nothing was written: repeat), `Unknown` (repeat with the same
    identity), `Corrupt` (call a human). Any may raise the last three, so their texts do not say it.

    `store_id` is the id of the store.
    """

    def __init__(
        self, store: Store, *, clock: Clock | None = None, entropy: Entropy | None = None, actor: str | None = None
    ) -> None:
        named = optional_actor(actor, "actor")
        executor = LocalExecutor(store, clock or SystemClock(), entropy or SystemEntropy(), named)
        self._begin(executor, type(store).__name__)

    @classmethod
    def over(cls, executor: Executor) -> Engine:
        """An engine whose entries another executor than that of a store in this process carries out."""
        engine = cls.__new__(cls)
        engine._begin(executor, type(executor).__name__)
        return engine

    def _begin(self, executor: Executor, place: str) -> None:
        self._executor = executor
        self.store_id = executor.store_id
        # For people only: what the store is called, and whether this engine was closed.
        self._place = place
        self._is_open = True

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Engine {self._place} {'open' if self._is_open else 'closed'}>"

    def close(self) -> None:
        """Give the store back; leases live on until they are over. A second time does nothing."""
        self._is_open = False
        self._executor.close()

    # --- creating, and what operators do --------------------------------------------------------------------------

    create = carried_out(verbs.create)
    cancel = carried_out(verbs.cancel)
    quarantine = carried_out(verbs.quarantine)
    signal = carried_out(verbs.signal)
    note = carried_out(verbs.note)
    waive = carried_out(verbs.waive)
    retry_as_new = carried_out(verbs.retry_as_new)

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
        return Batch(self._executor, arguments.check_truth(together, "together"))

    # --- leasing --------------------------------------------------------------------------------------------------

    acquire = acquired(verbs.acquire)
    claim = claimed(verbs.claim)

    def resume(self, task_id: str, fence: int) -> Lease:
        """Take up a lease again by its fence, as another process of the same holder does, such as a shell script.

        The lease is given as it was when it was acquired, whatever has become of it: its verbs answer a repeat with
        what is on record, and a late holder with `LeaseLost`, as always. [FENCE-2] [REPEAT-5]

        Raises:
            NotFound: there is no such task, or it was never leased under this fence.
        """
        check_id(task_id, "task_id")
        check_integer(fence, "fence", 1, bounds.INTEGER_MAX)
        task = self._executor.queries.leased_as(task_id, fence)
        if task is None:
            raise NotFound(
                f"task {task_id!r} was never leased under fence {fence}; check both, or claim anew",
                task=task_id,
                fence=fence,
            )
        return Lease(task, self._executor)

    def rebind(self, lease: Lease) -> Lease:
        """The same lease, whose verbs this engine carries out: for a holder that has opened the store once more.

        Raises:
            InvalidValue: it is no lease, or one of another store. Closed: a fork's parent was leased the task. [FORK-2]
        """
        require_lease(lease)._require_own()
        if lease._executor.store_id != self.store_id:
            raise InvalidValue("lease: expected one of this store, found one of another", path="lease")
        return Lease(lease.task, self._executor)

    def heartbeat(self, leases: Iterable[Lease], ttl_ms: int | None = None) -> Renewal:
        """Renew many leases in one commit, each by itself: what is lost does not hold up the others. [LEASE-3]"""
        return renew(self._executor, leases, ttl_ms)

    def recover(
        self,
        limit: int | None = None,
        unknown_kinds: Iterable[str] = (),
        *,
        queues: str | Sequence[str] | None = None,
        known_kinds: Iterable[str] | None = None,
    ) -> list[Maintained]:
        """Do all upkeep that is due, on at most `limit` tasks; what happened to each. [UPKEEP-1]

        Ends leases and waits that are over, promotes tasks whose time has come, and quarantines what owes
        compensations that no worker knows, or has waited for its undo longer than its policy allows. [UNDO-2]
        A promotion writes no event and is not told, but for one by what this process saw. [TIME-3]
        A task that cannot be read never stops the others. Doing it again changes nothing more.

        Args:
            limit: at most so many tasks with events, and at most as many promotions without one.
            unknown_kinds: compensation kinds that no worker knows; or
            known_kinds: those that a worker knows, so that all others are unknown to every worker.
            queues: only in these; None: in every one.
        """
        unknown = arguments.names(unknown_kinds, "unknown_kinds") or frozenset()
        known = arguments.names(known_kinds, "known_kinds")
        where = None if queues is None else arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        if limit is not None:
            check_integer(limit, "limit", 1, bounds.TIME_MS_MAX)
        return self._executor.recover(limit, where, unknown, known)

    # --- reading --------------------------------------------------------------------------------------------------

    get = asked(Queries.get)
    find = asked(Queries.find)
    ids_with_prefix = asked(Queries.ids_with_prefix)
    unreadable = asked(Queries.unreadable)
    counts = asked(Queries.counts)
    stale = asked(Queries.stale)
    history = asked(Queries.history)
    input = asked(Queries.input)
    artifact = asked(Queries.artifact)
    step_result = asked(Queries.step_result)
    wait_end = asked(Queries.wait_end)
    wait_ends = asked(Queries.wait_ends)
    ready_kinds = asked(Queries.ready_kinds)
    newest_position = asked(Queries.newest_position)

    def events(self, after: int = 0, limit: int = 1_000) -> list[Recorded]:
        """Events of the whole log with positions beyond `after`, in order, at most `limit`; raises UnknownEvent."""
        check_integer(after, "after", 0, bounds.INTEGER_MAX)
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        return list(recorded_log(self._executor.queries.envelopes(after, limit), after))

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
        return subscribe(self._executor, name, after)

    # --- waiting --------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The time by this engine's clock, for due times that are told as a distance from now."""
        return self._executor.clock.now_ms()

    def changes(self) -> int:
        """A number that differs once anybody has committed since, in this process or another."""
        return self._executor.changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        self._executor.wait_change(since, timeout_ms)

    def wait(self, id: str, timeout_ms: int) -> Task:
        """The task once it is terminal.

        Raises:
            NotFound; TimeoutError: it has not ended in time.
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        executor = self._executor
        started_ms = executor.clock.monotonic_ms()
        while True:
            changes = executor.changes()
            task = self.get(id)
            if task is None:
                raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)
            if task.is_terminal:
                return task
            left_ms = timeout_ms - (executor.clock.monotonic_ms() - started_ms)
            if left_ms <= 0:
                raise TimeoutError(f"task {id!r} is {task.state} after {timeout_ms} ms; wait again or see its history")
            executor.wait_change(changes, min(left_ms, WAIT_SLICE_MS))

    # --- auditing -------------------------------------------------------------------------------------------------

    def rebuild(self) -> RebuildReport:
        """Throw away every projection and fold it afresh from the log."""
        return self._executor.rebuild()

    def health(self) -> Health:
        """How the store fares: its WAL, its disk, its last checkpoint, and due undos that no worker has leased.

        It costs the same however large the store is, so it may be asked every minute.
        """
        return self._executor.health()

    def verify(self) -> VerifyReport:
        """Audit the log (places, digests, the table of the lifecycle) and every projection against it. [LOG-4]"""
        return self._executor.verify()


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
