"""A batch: commands recorded in a `with` block and carried out in one commit when it ends, all or none or each alone.

Rule: nothing of the caller's code runs inside the transaction; a block that raises writes nothing. The verbs are those
of `Engine` and `Lease`, with the lease as first argument where one is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from sagalog.actors import optional_actor, worker_actor
from sagalog.engine.task import Desk, Lease, Task, undoer
from sagalog.engine.unit_of_work import Step
from sagalog.errors import InvalidValue, OverBound, Rejected, SagalogError, Unknown
from sagalog.forks import generation, require_own
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Budget, Compensation, Failure, Purpose, Suspects, UnrecordedStep
from sagalog.store import Blob
from sagalog.validation import commands as forms
from sagalog.validation.arguments import blob, optional_name, taken_in
from sagalog.validation.commands import Asked
from sagalog.validation.values import check_cause

# What a batch records: a command, a claim, or commands that stand or fall together.
Entry = Step | Asked | list[Step]
Result = Lease | Task | list[Lease] | tuple[Lease | Task, ...] | SagalogError


class Batch:
    """Commands to be carried out in one commit.

    `results` holds, after the block, what became of each, in order: a Lease or a Task; for a claim the list of its
    leases; and, where each stands by itself (`together=False`), perhaps the SagalogError that refused it. Several may
    stand together, `with batch.group():`, and their place holds a tuple of results or the one refusal.
    """

    def __init__(
        self,
        carry_out: Callable[[list[Entry]], list[Any]],
        draw_id: Callable[[], str],
        desk: Desk,
        actor: str | None,
        together: bool = True,
    ) -> None:
        self._carry_out = carry_out
        self._together = together
        self._draw_id = draw_id
        self._desk = desk
        self._actor = actor
        self._entries: list[Entry] = []
        self._count = 0
        self._is_open = False
        self._is_done = False
        self._group: list[Step] | None = None
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
            answers = self._carry_out(self._entries)
        except Unknown as unknown:
            steps = [step for entry in self._entries for step in steps_of(entry)]
            ids = [step.command.task for step in steps if isinstance(step.command, c.Create)]
            text = f"{unknown.message}; repeat the creations with the ids in the field `identity`"
            raise Unknown(text, **{**unknown.fields, "identity": {"ids": ids}}) from unknown
        self.results = [self._result(entry, answer) for entry, answer in zip(self._entries, answers, strict=True)]

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def group(self) -> Iterator[None]:
        """What is recorded within stands or falls together, in a batch whose commands else stand by themselves.

        Where all commands of the batch stand or fall together anyway, it only gathers results: a tuple in their place.
        A block that raises leaves nothing of itself in the batch.
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
            self._entries.append(group)

    def create(
        self,
        kind: str,
        payload: Any = None,
        *,
        id: str | None = None,
        actor: str | None = None,
        cause: str | None = None,
        idempotency_key: str | None = None,
        inputs: Mapping[str, bytes] | None = None,
        **arguments: Any,
    ) -> str:
        """Record a creation with the arguments of `Engine.create`; its id, so that later commands can name it.

        A batch that shall be repeatable gives ids of its own: a drawn one is another each time.
        """
        task = self._draw_id() if id is None else id
        named, blobs = taken_in(inputs)
        command = forms.create(kind, payload, id=task, inputs=named, **arguments)
        self._add(command, actor, idempotency_key, cause, drawn=id is None, blobs=blobs)
        return task

    def carry(self, step: Step) -> None:
        """Record a command that was made, and checked, before."""
        self._append(step)

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        now: bool = False,
        *,
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record a cancel."""
        self._add(forms.cancel(id, reason, now), actor, idempotency_key)

    def quarantine(self, id: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None) -> None:
        """Record a quarantine of a task, held or not; `quarantine_held` is its holder's."""
        self._add(forms.quarantine(id, reason), actor, idempotency_key)

    def signal(
        self, id: str, name: str, data: Any = None, *, actor: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Record a signal."""
        self._add(forms.signal(id, name, data), actor, idempotency_key)

    def note(
        self,
        id: str,
        text: str,
        settles: Iterable[str] = (),
        *,
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record a note."""
        self._add(forms.note(id, text, settles), actor, idempotency_key)

    def waive(
        self, id: str, compensation: str, reason: str, *, actor: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Record a waiver of one compensation."""
        self._add(forms.waive(id, compensation, reason), actor, idempotency_key)

    def retry_as_new(
        self,
        id: str,
        *,
        results: Mapping[str, Any] | None = None,
        rerun: Iterable[str] = (),
        actor: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Record a retry of an ended task as a new one; its result is the successor.

        A signal that no wait had taken is not handed on: send it to the successor. [WAIT-1]
        """
        self._add(forms.retry_as_new(id, self._draw_id(), results, rerun), actor, idempotency_key)

    def acquire(
        self,
        task_id: str,
        *,
        owner: str,
        ttl_ms: int | None,
        purpose: Purpose = "work",
        kinds: Iterable[str] | None = None,
        idempotency_key: str | None = None,
        waive_compensation: str | None = None,
    ) -> None:
        """Record an acquisition with the arguments of `Engine.acquire`; its result is the lease."""
        command = forms.acquire(task_id, owner, ttl_ms, purpose, kinds, waive_compensation)
        self._append(
            Step(command, worker_actor(owner), idempotency_key=optional_name(idempotency_key, "idempotency_key"))
        )

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
    ) -> None:
        """Record a claim with the arguments of `Engine.claim`.

        In a batch that is carried out together it comes last: it leases nothing if a command before it is refused, and
        nothing that the batch itself has written. In any other it finds what earlier commands made ready.
        It looks once: where it has to put a task aside, another claim may find what stands behind that.
        """
        self._append(
            forms.claim(
                queues, owner, ttl_ms, limit, kinds, affinity, purpose, idempotency_key, suspects, waive_compensation
            )
        )

    def heartbeat(self, lease: Lease, ttl_ms: int | None = None, progress: Any = None) -> None:
        """Record a renewal."""
        self._hold(lease, forms.heartbeat, ttl_ms, progress)

    def register(self, lease: Lease, compensation: Compensation) -> None:
        """Record a compensation."""
        self._hold(lease, forms.register, compensation)

    def step(self, lease: Lease, name: str, result: Any = None, compensation: str | Compensation | None = None) -> None:
        """Record the result of a step, and which undo on record is its."""
        self._hold(lease, forms.step, name, result, compensation)

    def put_artifact(self, lease: Lease, name: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Record an artifact."""
        given = blob(data, "data")
        self._hold(lease, forms.put_artifact, name, given, media_type, blobs=(given,))

    def adopt_child(self, lease: Lease, name: str, child: str) -> None:
        """Record that a predecessor's child is taken over."""
        self._hold(lease, forms.adopt_child, name, child)

    def park(
        self,
        lease: Lease,
        name: str,
        signal: str | None = None,
        after: str | Sequence[str] = (),
        until_ms: int | None = None,
        number: int = 1,
    ) -> None:
        """Record a wait."""
        self._hold(lease, forms.park, name, signal, after, until_ms, number)

    def release(self, lease: Lease, reason: str | None = None, run_at_ms: int | None = None) -> None:
        """Record a release."""
        self._hold(lease, forms.release, reason, run_at_ms)

    def retry(
        self,
        lease: Lease,
        error: str | Failure,
        run_at_ms: int | None = None,
        budget: Budget = "attempt",
        retry_after_ms: int | None = None,
    ) -> None:
        """Record a retry."""
        jitter = self._desk.jitter()
        self._hold(lease, forms.retry, error, run_at_ms, budget, jitter, retry_after_ms)

    def complete(self, lease: Lease, result: Any = None) -> None:
        """Record a completion."""
        self._hold(lease, forms.complete, result, undoer(_lease(lease), self._desk))

    def fail(
        self,
        lease: Lease,
        reason: str | Failure,
        compensations: Iterable[Compensation] = (),
        waive_compensation: str | None = None,
        or_quarantine: bool = False,
    ) -> None:
        """Record a failure; with `or_quarantine` a human is to look where it lacks a compensation."""
        self._hold(lease, forms.fail, reason, compensations, waive_compensation, or_quarantine)

    def quarantine_held(
        self,
        lease: Lease,
        reason: str | Failure,
        steps: Iterable[str | UnrecordedStep] = (),
    ) -> None:
        """Record that a human must look, says the holder: as `Lease.quarantine`."""
        self._hold(lease, forms.quarantine_held, reason, steps)

    def compensation_done(self, lease: Lease, id: str) -> None:
        """Record an undo that was carried out."""
        self._hold(lease, forms.compensation_done, id)

    def compensation_failed(
        self,
        lease: Lease,
        id: str,
        error: str | Failure,
        run_at_ms: int | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        """Record an undo that failed."""
        jitter = self._desk.jitter()
        self._hold(lease, forms.compensation_failed, id, error, run_at_ms, jitter, retry_after_ms)

    def _add(
        self,
        command: c.Command,
        actor: str | None,
        idempotency_key: str | None,
        cause: str | None = None,
        drawn: bool = False,
        blobs: tuple[Blob, ...] = (),
    ) -> None:
        self._append(
            Step(
                command,
                optional_actor(actor, "actor") or self._actor,
                None if cause is None else check_cause(cause, "cause"),
                optional_name(idempotency_key, "idempotency_key"),
                drawn=drawn,
                blobs=blobs,
            )
        )

    def _require_own(self) -> None:
        """In a fork of the process that has begun it, a batch would be carried out twice. [FORK-2]"""
        require_own(self._made, "this batch")

    def _hold(self, lease: Lease, form: Callable[..., c.Held], *arguments: Any, blobs: tuple[Blob, ...] = ()) -> None:
        _lease(lease)._require_own()
        command = form(lease.task.id, lease.fence, *arguments)
        self._append(Step(command, worker_actor(lease.owner), known=lease.task, blobs=blobs))

    def _append(self, entry: Step | Asked) -> None:
        self._require_open()
        if self._count >= bounds.BATCH_COMMANDS_MAX:
            raise OverBound(
                f"a batch holds at most {bounds.BATCH_COMMANDS_MAX:,} commands, those of groups included; use several",
                bound="batch_commands",
                maximum=bounds.BATCH_COMMANDS_MAX,
            )
        if self._group is None:
            self._entries.append(entry)
        elif isinstance(entry, Step):
            self._group.append(entry)
        else:
            raise Rejected("a claim stands by itself: record it outside the group")
        self._count += 1

    def _require_open(self) -> None:
        self._require_own()
        if not self._is_open:
            raise Rejected("a batch takes commands inside its `with` block only: `with engine.batch() as batch:`")
        if self._together and self._entries and isinstance(self._entries[-1], Asked):
            raise Rejected("the claim of a batch that is carried out together comes last; or use batch(together=False)")

    def _leased(self) -> list[Lease]:
        """What its claims and acquisitions have leased, for who has to give it back."""
        leased: list[Lease] = []
        for entry, result in zip(self._entries, self.results, strict=False):
            if isinstance(entry, Asked) and isinstance(result, list):
                leased += result
            elif not isinstance(result, SagalogError):
                steps, several = steps_of(entry), result if isinstance(result, tuple) else (result,)
                pairs = zip(steps, several, strict=True)
                leased += [one for step, one in pairs if isinstance(step.command, c.Acquire) and isinstance(one, Lease)]
        return leased

    def _result(self, entry: Entry, answer: Any) -> Result:
        """A lease that lives on is handed back as such."""
        if isinstance(answer, SagalogError):
            return answer
        if isinstance(entry, Asked):
            return [Lease(task, self._desk) for task in answer]
        if isinstance(entry, list):
            return tuple(self._lease_or_task(step, task) for step, task in zip(entry, answer, strict=True))
        return self._lease_or_task(entry, answer)

    def _lease_or_task(self, entry: Step, answer: Any) -> Lease | Task:
        command, task = entry.command, answer
        assert isinstance(task, Task)
        if isinstance(command, c.Acquire):
            return Lease(task, self._desk)
        lives = isinstance(command, c.Held) and task.lease is not None and task.lease.fence == command.fence
        return Lease(task, self._desk) if lives else task


def _lease(given: object) -> Lease:
    if not isinstance(given, Lease):
        raise InvalidValue(f"lease: expected a Lease, found {type(given).__name__}", path="lease")
    return given


def steps_of(entry: Entry) -> list[Step]:
    """The commands of an entry; a claim is none."""
    if isinstance(entry, list):
        return entry
    return [entry] if isinstance(entry, Step) else []
