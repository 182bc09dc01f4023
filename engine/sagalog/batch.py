"""A batch: commands recorded in a `with` block and carried out as one unit when it ends, all or none.

Rule: nothing of the caller's code runs inside the transaction; a block that raises writes nothing. The verbs are those
of `Engine` and `Lease`, with the lease as first argument where one is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from sagalog import forms
from sagalog.errors import InvalidValue, OverBound, Rejected, Unknown
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Budget, Compensation, Failure
from sagalog.task import Desk, Lease, Task
from sagalog.units import Step


class Batch:
    """Commands to be carried out together. `results` holds, after the block, a Lease or Task for each, in order."""

    def __init__(
        self,
        carry_out: Callable[[list[Step]], list[Task]],
        draw_id: Callable[[], str],
        desk: Desk,
        actor: str | None,
    ) -> None:
        self._carry_out = carry_out
        self._draw_id = draw_id
        self._desk = desk
        self._actor = actor
        self._steps: list[Step] = []
        self._is_open = False
        self._is_done = False
        self.results: list[Lease | Task] = []

    def __enter__(self) -> Batch:
        if self._is_open or self._is_done:
            raise Rejected("a batch is carried out once; open a new one with engine.batch()")
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open, self._is_done = False, True
        if kind is not None or not self._steps:
            return
        try:
            tasks = self._carry_out(self._steps)
        except Unknown as unknown:
            ids = [step.command.task for step in self._steps if isinstance(step.command, c.Create)]
            text = f"{unknown.message}; repeat the creations with the ids in the field `identity`"
            raise Unknown(text, **{**unknown.fields, "identity": {"ids": ids}}) from unknown
        self.results = [self._result(step, task) for step, task in zip(self._steps, tasks, strict=True)]

    def __len__(self) -> int:
        return len(self._steps)

    def create(
        self,
        kind: str,
        payload: Any = None,
        *,
        id: str | None = None,
        actor: str | None = None,
        cause: str | None = None,
        request: str | None = None,
        **arguments: Any,
    ) -> str:
        """Record a creation with the arguments of `Engine.create`; its id, so that later commands can name it.

        A batch that shall be repeatable gives ids of its own: a drawn one is another each time.
        """
        task = self._draw_id() if id is None else id
        self._add(forms.create(kind, payload, id=task, **arguments), actor, request, cause, drawn=id is None)
        return task

    def cancel(
        self,
        id: str,
        reason: str | None = None,
        now: bool = False,
        *,
        actor: str | None = None,
        request: str | None = None,
    ) -> None:
        """Record a cancel."""
        self._add(forms.cancel(id, reason, now), actor, request)

    def quarantine(self, id: str, reason: str, *, actor: str | None = None, request: str | None = None) -> None:
        """Record a quarantine."""
        self._add(forms.quarantine(id, reason), actor, request)

    def note(
        self, id: str, text: str, settles: Iterable[str] = (), *, actor: str | None = None, request: str | None = None
    ) -> None:
        """Record a note."""
        self._add(forms.note(id, text, settles), actor, request)

    def waive(
        self, id: str, compensation: str, reason: str, *, actor: str | None = None, request: str | None = None
    ) -> None:
        """Record a waiver of one compensation."""
        self._add(forms.waive(id, compensation, reason), actor, request)

    def heartbeat(self, lease: Lease, ttl_ms: int | None = None, progress: Any = None) -> None:
        """Record a renewal."""
        self._hold(lease, forms.beat, ttl_ms, progress)

    def register(self, lease: Lease, compensation: Compensation) -> None:
        """Record a compensation."""
        self._hold(lease, forms.register, compensation)

    def release(self, lease: Lease, reason: str | None = None, run_at_ms: int | None = None) -> None:
        """Record a release."""
        self._hold(lease, forms.release, reason, run_at_ms)

    def retry(
        self, lease: Lease, error: str | Failure, run_at_ms: int | None = None, budget: Budget = "attempt"
    ) -> None:
        """Record a retry."""
        jitter = self._desk.jitter()
        self._hold(lease, forms.try_again, error, run_at_ms, budget, jitter)

    def complete(self, lease: Lease, result: Any = None) -> None:
        """Record a completion."""
        self._hold(lease, forms.complete, result)

    def fail(
        self,
        lease: Lease,
        reason: str | Failure,
        compensations: Iterable[Compensation] = (),
        waive_compensation: str | None = None,
    ) -> None:
        """Record a failure."""
        self._hold(lease, forms.fail, reason, compensations, waive_compensation)

    def compensation_done(self, lease: Lease, id: str) -> None:
        """Record an undo that was carried out."""
        self._hold(lease, forms.finish_compensation, id)

    def compensation_failed(self, lease: Lease, id: str, error: str | Failure, run_at_ms: int | None = None) -> None:
        """Record an undo that failed."""
        jitter = self._desk.jitter()
        self._hold(lease, forms.fail_compensation, id, error, run_at_ms, jitter)

    def _add(
        self,
        command: c.Command,
        actor: str | None,
        request: str | None,
        cause: str | None = None,
        drawn: bool = False,
    ) -> None:
        self._append(
            Step(
                command,
                forms.optional_name(actor, "actor") or self._actor,
                forms.optional_name(cause, "cause"),
                forms.optional_name(request, "request"),
                drawn=drawn,
            )
        )

    def _hold(self, lease: Lease, form: Callable[..., c.Held], *arguments: Any) -> None:
        if not isinstance(lease, Lease):
            raise InvalidValue(f"lease: expected a Lease, found {type(lease).__name__}", path="lease")
        self._append(Step(form(lease.task.id, lease.fence, *arguments), lease.owner, known=lease.task))

    def _append(self, step: Step) -> None:
        if not self._is_open:
            raise Rejected("a batch takes commands inside its `with` block only: `with engine.batch() as batch:`")
        if len(self._steps) >= bounds.BATCH_COMMANDS_MAX:
            raise OverBound(
                f"a batch holds at most {bounds.BATCH_COMMANDS_MAX} commands; use several",
                bound="batch_commands",
                maximum=bounds.BATCH_COMMANDS_MAX,
            )
        self._steps.append(step)

    def _result(self, step: Step, task: Task) -> Lease | Task:
        """A lease that lives on is handed back as such."""
        command = step.command
        lives = isinstance(command, c.Held) and task.lease is not None and task.lease.fence == command.fence
        return Lease(task, self._desk) if lives else task
