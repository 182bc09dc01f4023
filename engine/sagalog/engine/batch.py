"""A batch: commands recorded in a `with` block and carried out in one commit when it ends, all or none or each alone.

Rule: nothing of the caller's code runs inside the transaction; a block that raises writes nothing. The verbs are those
of `Engine` and `Lease`, with the lease as first argument where one is needed; here they only record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Concatenate, ParamSpec

from sagalog.engine import holder_verbs, verbs
from sagalog.engine.adapters import call_of
from sagalog.engine.entries import Answer, CommandEntry, Entry, EntryGroup, commands_of
from sagalog.engine.executor import Executor
from sagalog.engine.lease import HolderVerb, Lease, require_lease
from sagalog.engine.task import Task
from sagalog.errors import OverBound, Rejected, SagalogError, Unknown
from sagalog.forks import generation, require_own
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Purpose, Suspects
from sagalog.store import Kept
from sagalog.validation.commands import ClaimRequest

P = ParamSpec("P")

Result = Lease | Task | list[Lease] | tuple[Lease | Task, ...] | SagalogError


def recorded(verb: Callable[Concatenate[Executor, P], CommandEntry]) -> Callable[Concatenate[Batch, P], None]:
    """The verb recorded."""

    @call_of(verb, 1)
    def call(self: Batch, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._append(verb(self._executor, *args, **kwargs))

    return call


def recorded_creation(verb: Callable[Concatenate[Executor, P], CommandEntry]) -> Callable[Concatenate[Batch, P], str]:
    """The creation recorded; the id of the task, so that later commands can name it."""

    @call_of(verb, 1)
    def call(self: Batch, /, *args: P.args, **kwargs: P.kwargs) -> str:
        entry = verb(self._executor, *args, **kwargs)
        self._append(entry)
        return entry.command.task

    return call


def recorded_for(verb: HolderVerb[P]) -> Callable[Concatenate[Batch, Lease, P], None]:
    """The verb of a lease's holder recorded."""

    @call_of(verb, 2)
    def call(self: Batch, lease: Lease, *args: P.args, **kwargs: P.kwargs) -> None:
        require_lease(lease)._require_own()
        self._append(verb(self._executor, lease.task, *args, **kwargs))

    return call  # type: ignore[return-value]  # its callers may also name the lease


class Batch:
    """Commands that are recorded in a `with` block and carried out in one commit when the block ends.

    `Engine.batch` makes one. Every verb only records its command: what its text says of answers and
    errors holds for the end of the block. A block that raises writes nothing. `create` returns the id
    of the task, for later commands; a batch that must be repeatable gives ids of its own.

    results   after the block, the answer to each command in order: a Lease or a Task (of
              `retry_as_new` the successor); for a claim the list of its leases; for a group a
              tuple; with `together=False`, perhaps the refusal as an error

    Raises:
        Rejected: a verb comes outside the block or after a last claim; a batch is entered twice.
        OverBound: it would hold more than 10,000 commands. [BOUND-1]
        Closed: the batch belongs to the process that this one was forked from. [FORK-2]
        Unavailable: nothing was written: wait and repeat the whole block.
        Unknown: repeat the block with the same identities; `identity` holds the drawn `ids`.

    Example:
        import sagalog

        with sagalog.open("memory:") as engine, engine.batch() as batch:
            batch.create("deploy", parent=batch.create("build"))
    """

    def __init__(self, executor: Executor, together: bool = True) -> None:
        self._executor = executor
        self._together = together
        self._entries: list[Entry] = []
        self._count = 0
        self._is_open = False
        self._is_done = False
        self._group: list[CommandEntry] | None = None
        self._kept: tuple[Kept, ...] = ()
        self.results: list[Result] = []
        self._made = generation()

    def __enter__(self) -> Batch:
        self._require_own()
        if self._is_open or self._is_done:
            raise Rejected("a batch is carried out once; open a new one with engine.batch()")
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open, self._is_done = False, True
        if kind is not None or not self._entries:
            return
        self._require_own()
        try:
            answers = self._executor.carry_out_all(self._entries, self._together, self._kept)
        except Unknown as unknown:
            commands = [one.command for entry in self._entries for one in commands_of(entry)]
            ids = [command.task for command in commands if isinstance(command, c.Create)]
            text = f"{unknown.message}; repeat the creations with the ids in the field `identity`"
            raise Unknown(text, **{**unknown.fields, "identity": {"ids": ids}}) from unknown
        self.results = [self._result(entry, answer) for entry, answer in zip(self._entries, answers, strict=True)]

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        state = "open" if self._is_open else "over" if self._is_done else "new"
        return f"<Batch {state} commands {self._count}>"

    @contextmanager
    def group(self) -> Iterator[None]:
        """Group what is recorded within a `with` block, so that it succeeds or is refused together.

        This is for a batch of `together=False`. Its place in `results` holds a tuple of answers, or the one refusal. In
        any other batch it only gathers the answers. A block that raises leaves nothing of itself in the batch.

        Raises:
            Rejected: a group is opened within a group, or a claim is recorded in it.
        """
        if self._group is not None:
            raise Rejected("a group holds no other group")
        self._require_open()
        self._group = []
        try:
            yield
        except BaseException:
            # Half of it must not be carried out where the caller goes on.
            self._count -= len(self._group)
            self._group = None
            raise
        group, self._group = self._group, None
        if group:
            self._entries.append(EntryGroup(tuple(group)))

    # --- verbs of producers, operators and claimers ---------------------------------------------------------------

    create = recorded_creation(verbs.create)
    cancel = recorded(verbs.cancel)
    quarantine = recorded(verbs.quarantine)
    signal = recorded(verbs.signal)
    note = recorded(verbs.note)
    waive = recorded(verbs.waive)
    retry_as_new = recorded(verbs.retry_as_new)
    amend = recorded(verbs.amend)
    acquire = recorded(verbs.acquire)

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
        idempotency_key: str | None = None,
        suspects: Suspects = "alone",
        waive_compensation: Mapping[str, str] | None = None,
        build: str | None = None,
    ) -> None:
        """Record a claim, with the arguments of `Engine.claim` but for `wait_ms`: a batch waits for nothing.

        In a batch that is carried out together it comes last: it leases nothing where a command before it is refused,
        and nothing that the batch itself has written. In any other it finds what earlier commands made ready.
        It looks once: where it has to put a task aside, another claim may find what comes after that.

        Args:
            queues, ttl_ms, limit, kinds, affinity, purpose, suspects, waive_compensation, build: as in `Engine.claim`.

        Raises:
            Conflict: the idempotency key is on record with other content. [REPEAT-6]
        """
        # Written out, where every other call is made of its verb: `call_of` gives a call all of the verb's arguments,
        # and `wait_ms` has no place here. A test compares the two signatures.
        request = verbs.claim(
            self._executor,
            queues,
            owner=owner,
            ttl_ms=ttl_ms,
            limit=limit,
            kinds=kinds,
            affinity=affinity,
            purpose=purpose,
            idempotency_key=idempotency_key,
            suspects=suspects,
            waive_compensation=waive_compensation,
            build=build,
        )
        self._append(request)

    # --- verbs of a lease's holder --------------------------------------------------------------------------------

    heartbeat = recorded_for(holder_verbs.heartbeat)
    register = recorded_for(holder_verbs.register)
    step = recorded_for(holder_verbs.step)
    put_artifact = recorded_for(holder_verbs.put_artifact)
    use = recorded_for(holder_verbs.use)
    healthy = recorded_for(holder_verbs.healthy)
    adopt_child = recorded_for(holder_verbs.adopt_child)
    park = recorded_for(holder_verbs.park)
    release = recorded_for(holder_verbs.release)
    retry = recorded_for(holder_verbs.retry)
    complete = recorded_for(holder_verbs.complete)
    fail = recorded_for(holder_verbs.fail)
    quarantine_held = recorded_for(holder_verbs.quarantine_held)
    compensation_done = recorded_for(holder_verbs.compensation_done)
    compensation_failed = recorded_for(holder_verbs.compensation_failed)

    # --- inside -------------------------------------------------------------------------------------------------

    def _append(self, entry: CommandEntry | ClaimRequest) -> None:
        """Record an entry."""
        self._require_open()
        if self._count >= bounds.BATCH_COMMANDS_MAX:
            raise OverBound(
                f"a batch holds at most {bounds.BATCH_COMMANDS_MAX:,} commands, those of groups included; use several",
                bound="batch_commands",
                maximum=bounds.BATCH_COMMANDS_MAX,
            )
        if self._group is None:
            self._entries.append(entry)
        elif isinstance(entry, CommandEntry):
            self._group.append(entry)
        else:
            raise Rejected("a claim is recorded by itself: record it outside the group")
        self._count += 1

    def _keep(self, kept: Kept) -> None:
        """Keep a value beside the log in the commit of this batch of `together=False`, if it makes one. [KEEP-2]"""
        self._kept += (kept,)

    def _require_own(self) -> None:
        """In a fork of the process that has begun it, a batch would be carried out twice. [FORK-2]"""
        require_own(self._made, "this batch")

    def _require_open(self) -> None:
        self._require_own()
        if not self._is_open:
            raise Rejected("a batch takes commands inside its `with` block only: `with engine.batch() as batch:`")
        if self._together and self._entries and isinstance(self._entries[-1], ClaimRequest):
            raise Rejected("the claim of a batch that is carried out together comes last; or use batch(together=False)")

    def _leased(self) -> list[Lease]:
        """What its claims and acquisitions have leased, for a caller that has to give it back."""
        leased: list[Lease] = []
        for entry, result in zip(self._entries, self.results, strict=False):
            if isinstance(entry, ClaimRequest) and isinstance(result, list):
                leased += result
            elif not isinstance(result, SagalogError):
                several = result if isinstance(result, tuple) else (result,)
                pairs = zip(commands_of(entry), several, strict=True)
                leased += [one for by, one in pairs if isinstance(by.command, c.Acquire) and isinstance(one, Lease)]
        return leased

    def _result(self, entry: Entry, answer: Answer) -> Result:
        """A lease that lives on is handed back as such."""
        if isinstance(answer, SagalogError):
            return answer
        if isinstance(answer, Task):
            assert isinstance(entry, CommandEntry)
            return self._lease_or_task(entry, answer)
        if isinstance(entry, ClaimRequest):
            return [Lease(task, self._executor) for task in answer]
        return tuple(self._lease_or_task(one, task) for one, task in zip(commands_of(entry), answer, strict=True))

    def _lease_or_task(self, entry: CommandEntry, task: Task) -> Lease | Task:
        command = entry.command
        if isinstance(command, c.Acquire):
            return Lease(task, self._executor)
        lives = isinstance(command, c.Held) and task.lease is not None and task.lease.fence == command.fence
        return Lease(task, self._executor) if lives else task
