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
from sagalog.engine import schedule_verbs, settings_verbs, verbs
from sagalog.engine.adapters import call_of
from sagalog.engine.audit import RebuildReport, VerifyReport
from sagalog.engine.batch import Batch
from sagalog.engine.command_work import Maintained
from sagalog.engine.entries import CommandEntry, SettingEntry
from sagalog.engine.executor import WAIT_SLICE_MS, Executor
from sagalog.engine.health import Health
from sagalog.engine.journal import Journal, journal_of
from sagalog.engine.journal_flusher import JournalFlusher
from sagalog.engine.journal_tails import Tails
from sagalog.engine.kept import keep, kept, kept_in
from sagalog.engine.lease import Lease, Renewal, renew, require_lease
from sagalog.engine.local_executor import LocalExecutor
from sagalog.engine.pruning import PruneReport
from sagalog.engine.queries import Queries
from sagalog.engine.subscription import Subscription, subscribe
from sagalog.engine.task import Task
from sagalog.engine.worker_requests import ask
from sagalog.engine.workers import WorkerInfo
from sagalog.errors import InvalidValue, NotFound, SagalogError, Unknown
from sagalog.kernel import bounds
from sagalog.ports import Clock, Entropy
from sagalog.store import Progress, Store
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


def set_by(verb: Callable[Concatenate[Executor, P], SettingEntry]) -> Callable[Concatenate[Engine, P], None]:
    """The setting carried out."""

    @call_of(verb, 1)
    def call(self: Engine, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._executor.set(verb(self._executor, *args, **kwargs))

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
    """A store of tasks with every call on it: a context manager, safe to share between threads.

    `sagalog.open(url)` makes one. Each call that writes is one transaction: when it returns, its events
    are on disk; when it raises a `Rejected`, a `Conflict` or `Unavailable`, nothing was written. The
    calls to know first:

    create(kind, payload)           a new task; repeated with an `id` it had, the same task
    get(id)                         a task as it is now
    find(state=, queue=)            all tasks that fit, as they are now
    claim(queues, owner=, ttl_ms=)  leases on what is ready, whose verbs do the rest, as in
                                    `lease.complete(result)`; a `Worker` does that by itself
    wait(id, timeout_ms)            the task once it has ended
    history(id)                     its events: what happened, when, and who asked for it; also of a limit

    store_id   the id of the store

    Raises:
        InvalidValue: an argument is none of its kind, or beyond a limit; the field `path` names it.
        OverBound: a list or a text is beyond a limit; the field `bound` names that. [BOUND-1]
        Unavailable: nothing was written: wait and repeat the call. `Closed`: the engine was closed.
        Unknown: it may have been written: repeat the call with the same identity.
        Corrupt: the store is damaged, or newer than this version: stop and call a human.
    """

    def __init__(
        self, store: Store, *, clock: Clock | None = None, entropy: Entropy | None = None, actor: str | None = None
    ) -> None:
        named = optional_actor(actor, "actor")
        executor = LocalExecutor(store, clock or SystemClock(), entropy or SystemEntropy(), named)
        self._begin(executor, type(store).__name__)

    @classmethod
    def over(cls, executor: Executor) -> Engine:
        """Make an engine whose calls another executor carries out than that of a store in this process.

        Args:
            executor: carries out entries and answers queries; `sagalog.engine.executor` says what it has to do.
        """
        engine = cls.__new__(cls)
        engine._begin(executor, type(executor).__name__)
        return engine

    def _begin(self, executor: Executor, place: str) -> None:
        self._executor = executor
        self.store_id: str = executor.store_id
        # For people only: what the store is called, and whether this engine was closed.
        self._place = place
        self._is_open = True
        # What this process knows of journals, and what writes those of its handlers.
        self._tails = Tails(executor)
        self._flusher = JournalFlusher(executor)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Engine {self._place} {'open' if self._is_open else 'closed'}>"

    def close(self) -> None:
        """Close the store; leases live on until they are over. A second call does nothing.

        Calls that other threads make meanwhile raise `Closed`.
        """
        self._is_open = False
        self._flusher.close()
        self._executor.close()

    # --- creating, and what operators do --------------------------------------------------------------------------

    create = carried_out(verbs.create)
    cancel = carried_out(verbs.cancel)
    quarantine = carried_out(verbs.quarantine)
    signal = carried_out(verbs.signal)
    note = carried_out(verbs.note)
    waive = carried_out(verbs.waive)
    retry_as_new = carried_out(verbs.retry_as_new)
    amend = carried_out(verbs.amend)

    def create_many(self, specs: Iterable[Mapping[str, Any]]) -> list[Task]:
        """Create many tasks in one commit, all or none.

        Args:
            specs: for each task a mapping of the arguments of `create`; 10,000 at most.

        Returns:
            The tasks, in the order of `specs`.

        Raises:
            InvalidValue: a spec is no such mapping; as in every refusal here, the field `command` is the index of its
                spec.
            AlreadyExists: a task of other content has the id of a spec.
            Conflict: the idempotency key of a spec is on record with other content. [REPEAT-6]
            Unknown: it may have been written; `identity` holds the `ids` to repeat the specs with.
        """
        batch = self.batch()
        with batch:
            for index, spec in enumerate(arguments.several(specs, "specs")):
                _create_in(batch, index, spec)
        return [result for result in batch.results if isinstance(result, Task)]

    def batch(self, *, together: bool = True) -> Batch:
        """Open a batch: commands that are recorded in a `with` block and carried out in one commit when it ends.

        A block that raises writes nothing.

        Args:
            together: True: all or none. The first refusal is raised, and a claim may come last, of tasks that the batch
                has not written. False: each command succeeds or is refused by itself, in order, and `results` holds its
                refusal in the place of its answer. So a worker settles what is done and leases what comes next in one
                commit.
        """
        return Batch(self._executor, arguments.check_truth(together, "together"))

    # --- what may run ---------------------------------------------------------------------------------------------

    set_limit = set_by(settings_verbs.set_limit)
    reset_breaker = set_by(settings_verbs.reset_breaker)
    remove_limit = set_by(settings_verbs.remove_limit)
    limit_queue = set_by(settings_verbs.limit_queue)
    set_queue = set_by(settings_verbs.set_queue)
    pause = set_by(settings_verbs.pause)
    resume = set_by(settings_verbs.resume)
    limits = asked(Queries.limits)
    breakers = asked(Queries.breakers)
    queues = asked(Queries.queues)
    paused_kinds = asked(Queries.paused_kinds)
    holders = asked(Queries.holders)

    # --- schedules ------------------------------------------------------------------------------------------------

    set_schedule = set_by(schedule_verbs.set_schedule)
    remove_schedule = set_by(schedule_verbs.remove_schedule)
    schedules = asked(Queries.schedules)
    next_times = asked(Queries.next_times)

    # --- journals -------------------------------------------------------------------------------------------------

    journals = asked(Queries.journals)

    def journal(self, name: str, *, task: str | None = None) -> Journal:
        """Give the journal of this name, to append to it, to read it or to follow it; this writes nothing. [JOURNAL-1]

        Args:
            name: its name; it has at most 200 characters, where `/` and `%` count as three.
            task: the id of the task whose handler writes it, by `context.journal(name)`; None: it is no task's.
        """
        return journal_of(self._executor, self._tails, name, task)

    # --- leasing --------------------------------------------------------------------------------------------------

    acquire = acquired(verbs.acquire)
    claim = claimed(verbs.claim)

    def reattach(self, task_id: str, fence: int) -> Lease:
        """Reattach to a lease by its fence, as another process of the same holder does, such as a shell script.

        The lease is given as it was when it was acquired, whatever has become of it since. Its verbs answer a repeat
        with what is on record, and a late holder with `LeaseLost`, as always. [FENCE-2] [REPEAT-5]

        Args:
            task_id: the id of the task.
            fence: the fence of the lease, as `Lease.fence` gave it.

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
        """Give the same lease with verbs that this engine carries out.

        For a holder that has opened its store once more.

        Raises:
            InvalidValue: it is no lease, or one of another store.
            Closed: the process that this one was forked from holds it. [FORK-2]
        """
        require_lease(lease)._require_own()
        if lease._executor.store_id != self.store_id:
            raise InvalidValue("lease: expected one of this store, found one of another", path="lease")
        return Lease(lease.task, self._executor)

    def heartbeat(self, leases: Iterable[Lease], ttl_ms: int | None = None) -> Renewal:
        """Renew many leases in one commit, each by itself: one that is lost holds up no other. [LEASE-3]

        Args:
            leases: 10,000 at most.
            ttl_ms: how long each lasts from now, in milliseconds; None: as long as before.

        Returns:
            The renewed leases, and for each other one the refusal, mostly `LeaseLost`.
        """
        return renew(self._executor, leases, ttl_ms)

    def recover(
        self,
        limit: int | None = None,
        unknown_kinds: Iterable[str] = (),
        *,
        queues: str | Sequence[str] | None = None,
        known_kinds: Iterable[str] | None = None,
    ) -> list[Maintained]:
        """Do all upkeep that is due, so that no task waits for a caller that comes for it. [UPKEEP-1]

        It ends leases and waits that are over, promotes tasks whose time has come, and quarantines what owes an undo
        that no worker can do or that waited for longer than `undo_wait_ms`. [UNDO-2] It fires the schedules that are
        due [SCHEDULE-6], and tells of the tasks that these create. A promotion writes no event and is not told, but for
        one by what this process saw while the clock was behind. [TIME-3]
        A task that cannot be read stops no other, and a second call changes nothing more. Claims maintain their own
        queues, so a store with workers needs no process that calls this.

        Args:
            limit: at most so many tasks with events, and as many promotions without one; None: all. Tasks that
                schedules create do not count.
            unknown_kinds: compensation kinds that no worker can carry out; or
            known_kinds: those that workers can carry out, so that all others are unknown to every worker.
            queues: only tasks of these queues; None: of every queue.

        Returns:
            What happened to each task.
        """
        unknown = arguments.names(unknown_kinds, "unknown_kinds") or frozenset()
        known = arguments.names(known_kinds, "known_kinds")
        where = None if queues is None else arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        if limit is not None:
            check_integer(limit, "limit", 1, bounds.TIME_MS_MAX)
        return self._executor.recover(limit, where, unknown, known)

    # --- reading --------------------------------------------------------------------------------------------------

    get = asked(Queries.get)
    explain = asked(Queries.explain)
    held_back = asked(Queries.held_back)
    find = asked(Queries.find)
    ids_with_prefix = asked(Queries.ids_with_prefix)
    unreadable = asked(Queries.unreadable)
    counts = asked(Queries.counts)
    stale = asked(Queries.stale)
    history = asked(Queries.history)
    input = asked(Queries.input)
    artifact = asked(Queries.artifact)
    blob = asked(Queries.blob)
    step_result = asked(Queries.step_result)
    wait_end = asked(Queries.wait_end)
    wait_ends = asked(Queries.wait_ends)
    ready_kinds = asked(Queries.ready_kinds)
    newest_position = asked(Queries.newest_position)
    workers = asked(Queries.workers)
    absent_builds = asked(Queries.absent_builds)

    def events(self, after: int = 0, limit: int = 1_000) -> list[Recorded]:
        """Read events of the whole log in order, those behind a position. [LOG-1]

        `subscribe` reads on by itself and remembers how far it has come.

        Args:
            after: the position behind which to begin; 0: at the first event.
            limit: how many events at most, 1 to 10,000.

        Raises:
            UnknownEvent: an event has a type, field or schema that this version does not know. [LOG-5]
            LogDamaged: an event is not the one that was written. [LOG-4]
        """
        check_integer(after, "after", 0, bounds.INTEGER_MAX)
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        return list(recorded_log(self._executor.queries.envelopes(after, limit), after))

    def subscribe(self, name: str | None, after: int | None = None, *, journals: bool = False) -> Subscription:
        """Read on in the log where the subscription of this name has stopped. [SUBSCRIBE-1]

        Args:
            name: the name under which its checkpoint is kept, for one reader at a time; None: none is kept.
            after: the position behind which a new name begins; None: the beginning of the log. `newest_position()`
                begins with what comes next. A name that has a checkpoint goes on there, whatever is given here. A new
                name is on record at once, so that nothing is missed where its reader dies before it saves.
                [SUBSCRIBE-2]
            journals: whether it also gives the events of journals, which are many; else it passes over them.
                [SUBSCRIBE-6]

        Raises:
            InvalidValue: `after` lies beyond the log.
            Corrupt: the checkpoint lies beyond the log, so the newest events are lost.
        """
        return subscribe(self._executor, name, after, arguments.check_truth(journals, "journals"))

    # --- beside the log -------------------------------------------------------------------------------------------

    def kept(self, space: str, name: str) -> str | None:
        """Read the text that is kept beside the log under a name of a space. [KEEP-1]

        Args:
            space: what the names are of, as `keep` has it.
            name: the name in it.

        Returns:
            The text; None: nothing is kept there.

        Raises:
            Corrupt: another program has changed it since it was kept.
        """
        return kept(self._executor, space, name)

    def kept_in(self, space: str, after: str = "", limit: int = 1_000) -> list[tuple[str, str]]:
        """List the names of a space, by code points, with the text that is kept under each. [KEEP-1]

        Args:
            space: what the names are of, as `keep` has it.
            after: the name behind which to begin; "": at the first one.
            limit: how many names at most, 1 to 10,000.
        """
        return kept_in(self._executor, space, after, limit)

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        """Keep a text beside the log under a name of a space, durably, if `expected` is kept there now. [KEEP-1]

        It is for settings of a program that are no task: no event records it, and rebuilding leaves it as it is.
        [KEEP-2]

        Args:
            space: what the names are of: a name of your program, since the engine's own spaces are refused. [KEEP-4]
            name: the name in it.
            expected: the text that is to be there, as `kept` gave it; None: nothing.
            value: JSON as text, of 65,536 bytes at most [KEEP-3]; None: remove what is there.

        Returns:
            Whether it was there; False: another caller was first, and nothing was written: read again.

        Raises:
            OverBound: the text takes more bytes.
        """
        return keep(self._executor, space, name, expected, value)

    # --- workers --------------------------------------------------------------------------------------------------

    def drain_worker(self, name: str) -> WorkerInfo:
        """Ask a worker to take nothing new, to end what it has begun, and then to return. [WORKER-8]

        The worker looks within two seconds. It gives back at once what no handler has begun, and its row says
        "draining"; `workers` shows how many handlers it still runs.

        Args:
            name: as `workers` gives it.

        Returns:
            The worker as it was last seen.

        Raises:
            NotFound: no worker has this name. Rejected: it is not live. Their field `live` names those that are.
        """
        return ask(self._executor, name, "drain")

    def stop_worker(self, name: str) -> WorkerInfo:
        """Ask a worker to stop, as the first SIGTERM does: within its grace. [WORKER-8] [WORKER-3]

        Args:
            name: as `workers` gives it.

        Returns:
            The worker as it was last seen.

        Raises:
            NotFound: no worker has this name. Rejected: it is not live. Their field `live` names those that are.
        """
        return ask(self._executor, name, "stop")

    # --- waiting --------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Read this engine's clock, in milliseconds since 1970, for due times that are given as a distance from now."""
        return self._executor.clock.now_ms()

    def changes(self) -> int:
        """Give a number that differs once a process has committed since, this one or another."""
        return self._executor.changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Wait until `changes()` differs from `since`, or until the time is over.

        Args:
            since: what `changes()` gave before the caller looked, so that no commit is missed.
            timeout_ms: how long to wait at most, in milliseconds.
        """
        self._executor.wait_change(since, timeout_ms)

    def wait(self, id: str, timeout_ms: int) -> Task:
        """Wait until a task has ended, and give it as it is then.

        Args:
            id: the id of the task.
            timeout_ms: how long to wait at most, in milliseconds; 0: only look.

        Raises:
            NotFound: there is no such task.
            TimeoutError: it has not ended in time; it goes on, and may be waited for again.
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

    def rebuild(self, progress: Progress | None = None) -> RebuildReport:
        """Throw away every projection and fold it afresh from the log, slice by slice.

        For a store whose projections `verify` finds wrong. The log itself is never changed. [LOG-3]

        Args:
            progress: called as `progress(done, total)`: how many streams were folded and tags looked at, of how many
                there were at the beginning. First with 0, then between two slices (of 100 on SQLite, of all in memory),
                last with `done == total`, and never with less than before. The thread that rebuilds calls it, outside
                every transaction. What it raises ends the rebuild and is raised here: what was folded stays so, all
                else is as it was, and another rebuild folds all of it.

        Returns:
            How many tasks were folded, and the ids of those that this version cannot read.
        """
        return self._executor.rebuild(arguments.optional_function(progress, "progress"))

    def prune(
        self,
        older_than_ms: int,
        *,
        queue: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PruneReport:
        """Remove the bytes beside the log that only tasks name which ended long ago; the events stay. [PRUNE-1]

        A task that succeeds one of them, is its parent, or has waited for it, counts as naming the same bytes. It
        deletes slice by slice, each in a commit of its own, which looks again and names what it deletes in an event of
        the store's stream. A call that was broken off needs no care: the next one finds what is left. A reader of such
        bytes gets `Pruned`, and `verify` counts them.

        Args:
            older_than_ms: how long ago such a task has to have ended at least, in milliseconds, by the times on record.
            queue: only bytes that tasks of this queue alone name; None: of every one.
            limit: how many blobs to delete at most; None: all.
            dry_run: only look, and say what a call would delete now.
            progress: called as `progress(done, total)`: at how many blobs it has looked, of how many there were at the
                beginning. First with 0, then between two slices of at most 256, last with `done == total`, and never
                with less than before. The thread that prunes calls it, outside every transaction. What it raises ends
                the pruning and is raised here: what was deleted stays so.

        Returns:
            How many tasks, blobs and bytes it has pruned, or would.

        Raises:
            InvalidValue: an argument is out of its range.
        """
        return self._executor.prune(
            check_milliseconds(older_than_ms, "older_than_ms"),
            None if limit is None else check_integer(limit, "limit", 1, bounds.TIME_MS_MAX),
            arguments.optional_name(queue, "queue"),
            arguments.check_truth(dry_run, "dry_run"),
            arguments.optional_function(progress, "progress"),
        )

    def health(self) -> Health:
        """Look at how the store fares: its WAL, its disk, its last checkpoint, and due undos that no worker has leased.

        It costs the same however large the store is, so it may be asked every minute.
        """
        return self._executor.health()

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Audit the log (places, digests, the table of the lifecycle) and every projection against it. [LOG-4]

        It reads the whole store and blocks no writer.

        Args:
            progress: called as `progress(done, total)`: how many events were read, of how many the log had at the
                beginning. First with 0, once the file as a whole was looked at, then between two slices of at most 500
                streams, last with `done == total`, and never with less than before. The thread that audits calls it,
                outside every snapshot. What it raises ends the audit and is raised here.

        Returns:
            How much was looked at, and every fault that was found.
        """
        return self._executor.verify(arguments.optional_function(progress, "progress"))


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
