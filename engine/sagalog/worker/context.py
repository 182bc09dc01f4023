"""What a handler may do: durable steps, waits, children, artifacts, progress.

Rule: every write carries the fence of the handler's lease, and is repeated while the store is away, until the lease may
be over [FENCE-2]; what is on record is not done again [STEP-1]. A handler that is to end is told so at its next call.
Knows one lease; nothing of queues, threads and other handlers.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from sagalog import forms
from sagalog.actors import worker_actor
from sagalog.arguments import compensation_of, taken_in
from sagalog.batch import Batch
from sagalog.door import check_milliseconds, check_name, type_name
from sagalog.engine import Engine
from sagalog.errors import (
    AlreadySettled,
    Closed,
    Conflict,
    Corrupt,
    InvalidValue,
    LeaseLost,
    Rejected,
    Unavailable,
    Unknown,
)
from sagalog.forks import generation, require_own
from sagalog.identities import again_id, child_id, undo_key
from sagalog.json_values import canonical
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.kernel.values import Compensation, Failure
from sagalog.outcomes import Interrupted, Park, StepMismatch
from sagalog.reading import WaitOutcome
from sagalog.task import Lease, Task, TaskCompensation
from sagalog.units import Step
from sagalog.worker.adoption import adoptable
from sagalog.worker.steps import Steps
from sagalog.worker.stopping import Stopping
from sagalog.worker.waits import OpenWait, Waits

T = TypeVar("T")

# The name of the waits by which a task is held up, and how long each lasts.
HELD_UP: Final = "sagalog: a task that it needs cannot be read"
_HELD_UP_MS: Final = 60_000
# How long a write that the store could not take waits before it is repeated, the last one for ever.
_PAUSES_MS: Final = (20, 50, 100, 250, 500, 1_000)


class StepResult(msgspec.Struct, frozen=True):
    """The recorded result of a step."""

    result: Any


def held_up(task: Task, now_ms: int) -> Park:
    """Park a task while another one that it needs cannot be read, as by a version that is older than its newest event.

    That is a wait of the engine's own, so it costs no budget of the task, and whoever looks sees it.
    """
    return Park(HELD_UP, number=task.waits.get(HELD_UP, 0) + 1, until_ms=now_ms + _HELD_UP_MS)


class Verdict(msgspec.Struct, frozen=True):
    """Why a task is quarantined whatever its handler says.

    `step` is one whose effect stands without a result, `compensation` its undo.
    """

    failure: Failure
    step: str | None = None
    compensation: Compensation | None = None


def unstorable(refusal: Rejected, what: str, step: str | None = None) -> Failure:
    """Why something that a handler gave cannot be stored: with the path of the value, and the bound that it passed."""
    code = "unstorable_result" if isinstance(refusal, InvalidValue) else refusal.code
    named = {"step": step} if step is not None else {}
    found = {name: refusal.fields[name] for name in ("path", "bound", "maximum") if name in refusal.fields}
    return Failure(code, f"{what} cannot be stored: {refusal.message}", {**named, **found} or None)


class Context:
    """What every handler may do. Safe to share between threads.

    task      the task as it was leased
    fence     the number that makes a late holder harmless; outside systems may compare it
    attempt   1 + recorded failures
    """

    def __init__(self, engine: Engine, lease: Lease, stopping: Stopping) -> None:
        self._engine = engine
        self._lease = lease
        self._stopping = stopping
        self._progress: Any = None
        self._writing: Any = None
        self._guard = threading.Lock()
        self._has_ended = False
        self.has_read_cancelled = False
        self._made = generation()
        self.task: Task = lease.task
        self.fence: int = lease.fence
        self.attempt: int = lease.attempt

    @property
    def owner(self) -> str:
        """Who holds the lease: this worker."""
        return self._lease.owner

    @property
    def store_id(self) -> str:
        """The id of the store that holds the task."""
        return self._engine.store_id

    @property
    def lost(self) -> bool:
        """Whether the lease is, or may be, somebody else's: nothing that is done now may count."""
        return self._stopping.reason == "lost"

    @property
    def cancelled(self) -> bool:
        """Whether the task is to be called off.

        A handler of a task that has read this as true and returns None has stopped: its task is then cancelled. Any
        other value completes it. [CANCEL-2]
        """
        is_cancelled = self._stopping.reason == "cancelled"
        self.has_read_cancelled = self.has_read_cancelled or is_cancelled
        return is_cancelled

    @property
    def stopping(self) -> bool:
        """Whether the worker shuts down; the handler may finish until the worker's deadline."""
        return self._stopping.announced

    @property
    def interrupted(self) -> bool:
        """Whether the handler's time limit, or the worker's deadline for shutting down, has come."""
        return self._stopping.reason in ("shutdown", "time_limit")

    @property
    def timed_out(self) -> bool:
        """Whether it is to end because its time limit has come."""
        return self._stopping.reason == "time_limit"

    def end_with_its_loop(self) -> None:
        """Take note that the handler ends because its worker does. For `sagalog.aio`."""
        self._stopping.tell_once("shutdown")

    def go_on(self) -> None:
        """Nothing, unless the handler is to end; every other call here asks so first.

        Raises:
            Interrupted: the lease is lost, the task is cancelled, or the handler's or the worker's time is over.
        """
        self._require_own()
        if (interruption := self.interruption()) is not None:
            raise interruption

    def interruption(self) -> Interrupted | None:
        """What `go_on` would raise."""
        if self._stopping.reason is not None:
            return Interrupted(self._stopping.reason)
        return Interrupted("its handler has ended") if self._has_ended else None

    def wait_stop(self, timeout_ms: int) -> bool:
        """Sleep, no longer than until the handler is to end; whether it is to end."""
        return self._stopping.wait(timeout_ms)

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block `callback` is called, once and from another thread, as soon as the handler is to end."""
        return self._stopping.calls(callback)

    def progress(self, value: Any) -> None:
        """Say how far it is, in up to 8 KiB of JSON: the worker writes the newest with its next renewal. [LEASE-3]"""
        self.go_on()
        self._progress = value

    def artifact(self, name: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        """Keep something that the work has made, byte for byte; another attempt may put another. [BLOB-1]

        Raises:
            InvalidValue, OverBound. StepMismatch: this attempt has put other bytes under this name.
            Interrupted: the lease is lost. What was made may be kept also by a handler that is to end.
        """
        if self.lost or self._has_ended:
            self.go_on()
        self._record(f"the artifact {name!r}", "put_artifact", name, data, media_type)

    # --- inside -------------------------------------------------------------------------------------------------

    def newest_progress(self) -> Any:
        """What the handler has told of its progress and is not written yet; None: nothing."""
        self._writing = self._progress
        return self._writing

    def forget_progress(self) -> None:
        """What `newest_progress` gave is written; what came since is not."""
        if self._progress is self._writing:
            self._progress = None

    def _record(self, what: str, verb: str, *arguments: Any) -> None:
        """Write something under the lease, with what has to come before it, in one commit.

        Verbs are named alike on a lease and in a batch. The newest lease knows most of its task, so it reads least.
        """

        def write() -> Any:
            if not self.begins_something:
                return getattr(self._lease, verb)(*arguments)
            with self._engine.batch() as batch:
                self._record_before(batch)
                getattr(batch, verb)(self._lease, *arguments)
            return batch.results[-1]

        try:
            after = self._persist(write)
            if isinstance(after, Lease):
                self._lease = after
                if after.task.cancel_requested and after.purpose == "work":
                    self._stopping.tell_once("cancelled")
        except Conflict as conflict:
            if isinstance(conflict, LeaseLost):
                self._lose()
            raise StepMismatch(f"{what}: {conflict.message}") from conflict

    @property
    def begins_something(self) -> bool:
        """Whether something has to be recorded before anything else that this handler writes."""
        return False

    def _record_before(self, batch: Batch) -> None:
        """Nothing comes before what a handler records, unless it has begun something else."""

    def _require_own(self) -> None:
        """Refuse the copy of a context that a handler's fork has made: the lease is its parent's. [FORK-2]"""
        require_own(self._made, f"the context of task {self.task.id!r}")

    def _persist(self, write: Callable[[], T]) -> T:
        """Repeat a write that can be repeated until the store has taken it, or the handler is to end."""
        self._require_own()
        tries = 0
        while True:
            try:
                return write()
            except (Unavailable, Unknown) as error:
                if isinstance(error, Closed):
                    raise Interrupted("the store was closed") from error
                if self._stopping.wait(_PAUSES_MS[min(tries, len(_PAUSES_MS) - 1)]):
                    self.go_on()
                tries += 1

    def _lose(self) -> NoReturn:
        self._stopping.tell("lost")
        raise Interrupted("lost")


class WorkContext(Context):
    """What a handler of a task may do."""

    def __init__(self, engine: Engine, lease: Lease, stopping: Stopping, *, strict: bool = False) -> None:
        super().__init__(engine, lease, stopping)
        self.is_strict = strict
        # Why its lease ends, where its handler has no say in that; and whether that is on record.
        self.verdict: Verdict | None = None
        self.is_settled = False
        self._steps = Steps(lease.task.id, lease.task.steps, strict)
        # By name of the step: its undo, as it was put on record.
        self._undos: dict[str, Compensation] = {}
        self._adopted = dict(lease.task.children)
        self._children: dict[str, Step | None] = {}
        self._waits = Waits(lease.task.waits, lambda: engine.wait_ends(lease.task.id))

    def allow_any_order(self) -> None:
        """Steps may come in another order than is on record: coroutines may run several at a time."""
        self._steps.allow_any_order()

    @property
    def payload(self) -> Any:
        """What the task was created with."""
        return self.task.payload

    def input(self, name: str) -> bytes:
        """The bytes that the task was given under a name; raises NotFound, Corrupt. [BLOB-1]"""
        self._require_own()
        return self._engine.input(self.task.id, name)

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self, name: str, run: Callable[..., T], *arguments: Any, compensation: Compensation | None = None) -> T:
        """Do something once, however many attempts there are: `run(*arguments)`, whose result is put on record.

        A step is identified by its name, in whatever order steps come; one that is renamed runs again. Where the result
        is on record already it is given back and nothing is run. Its undo is put on record before, and only where the
        step has not been done. One whose function raises may be asked for again. [STEP-1] [COMP-1] [WORKER-4]

        Args:
            name: the step's own, once per attempt.
            run: what to do. It is run again if the worker dies before the result is on record, so what it does should
                bear that; `fence` and the step's name tell one effect from another.
            compensation: how to undo it. Where one of the same id was settled before, as by a waiver, this one gets an
                id of its own.

        Returns:
            What `run` returned, as JSON gives it back.

        Raises:
            InvalidValue, OverBound: the name, the compensation or the function is none, or the task has too many steps;
                nothing was done.
            StepMismatch: the name is used twice; or, with `strict=True`, what is on record comes in another order.
            Interrupted: also where the result is no JSON or too large: the effect stands, so the task is quarantined
                (code `unstorable_result`) rather than have a later attempt do it again. [WORKER-1]
        """
        if inspect.iscoroutinefunction(run):
            raise InvalidValue(
                f"step {name!r}: its function is a coroutine function, which only an `async def` handler can await",
                path="run",
            )
        found = self.begin_step(name, run, compensation)
        if found is not None:
            kept: T = found.result
            return kept
        try:
            result = run(*arguments)
        except BaseException:
            self.drop_step(name)
            raise
        self.finish_step(name, result)
        return result

    def begin_step(self, name: str, run: Callable[..., object], compensation: Compensation | None) -> StepResult | None:
        """The first half of `step`: what is on record, or the undo put there; for code that runs the step otherwise."""
        self.go_on()
        check_name(name, "name")
        if not callable(run):
            raise InvalidValue(f"step {name!r}: expected a function, found {type_name(run)}", path="run")
        is_known = self._steps.ask(name)
        try:
            if is_known:
                return StepResult(self._engine.step_result(self.task.id, name))
            if compensation is not None:
                self._register(name, compensation)
                # Writing has taken time; the effect must not begin under a lease that may be gone.
                self.go_on()
        except BaseException:
            self.drop_step(name)
            raise
        return None

    def drop_step(self, name: str) -> None:
        """Let a step be asked for again: it has come to nothing that could be recorded."""
        self._steps.drop(name)

    def leave_step(self, name: str) -> None:
        """Let a step be asked for again whose result is on record by now and was given to nobody."""
        self._steps.leave(name)

    def finish_step(self, name: str, result: Any) -> None:
        """The second half of `step`: the result put on record, or the task in quarantine."""
        try:
            self._record(f"step {name!r}", "step", name, result, self._undos.get(name))
        except Rejected as refusal:
            failure = unstorable(refusal, f"step {name!r} was carried out and its result", name)
            self._give_up(Verdict(failure, name, self._undos.get(name)))
            raise Interrupted(f"quarantined: the result of step {name!r} cannot be stored") from refusal

    def _register(self, name: str, compensation: Compensation) -> None:
        """Put the undo of a step on record, under an id that stands for no settled one. [COMP-1]

        An operator may have settled an undo before anything was done that it would reverse: the effect that comes now
        needs one of its own, which later attempts find under the same id.
        """
        first = compensation_of(compensation, "compensation").id or ""
        for number in itertools.count(1):
            id = first if number == 1 else again_id(first, number)
            one = msgspec.structs.replace(compensation, id=id)
            try:
                self._record(f"the undo of step {name!r}", "register", one)
            except StepMismatch as mismatch:
                if not isinstance(mismatch.__cause__, AlreadySettled):
                    raise
            else:
                self._undos[name] = one
                return

    def _give_up(self, verdict: Verdict) -> None:
        """Quarantine the task now; what the handler does later does not count."""
        self.verdict = verdict
        try:
            self._persist(lambda: self._lease.give_up(verdict.failure, verdict.step, verdict.compensation))
        except LeaseLost:
            self._lose()
        self.is_settled = True
        self._stopping.tell("lost")

    # --- waits --------------------------------------------------------------------------------------------------

    def sleep(self, name: str, duration_ms: int) -> None:
        """Go on after this time; no thread and no lease is held meanwhile, and no restart makes it longer. [WAIT-1]

        Sleeps of one name are numbered in the order of the calls, so a loop may use one name for all its sleeps.

        Raises:
            InvalidValue: the name or the duration is none. StepMismatch: as of `wait_signal`. Interrupted.
        """
        with self.open_wait(name) as wait:
            until_ms = self._until(check_milliseconds(duration_ms, "duration_ms"))
            if not self._waits.is_over(wait):
                self._park(wait, until_ms=until_ms)

    def wait_signal(self, signal: str, *, name: str | None = None, timeout_ms: int | None = None) -> Any:
        """Go on when a signal of this name has come, perhaps long ago; its data. [WAIT-2]

        Waits of one name are numbered in the order of the calls, and each takes a signal of its own: a loop may wait
        for the same signal again and again. [WAIT-1]

        Args:
            signal: the signal's name.
            name: the wait's name; left out, the signal's. Waits that are open at the same time need names of their own.
            timeout_ms: how long to wait at most.

        Raises:
            TimeoutError: none has come in time. InvalidValue. Interrupted.
            StepMismatch: two waits of one name are open at the same time; or this one was for something else.
        """
        with self.open_wait(signal if name is None else name) as wait:
            return self.signal_of(wait, signal, timeout_ms)

    def open_wait(self, name: str) -> OpenWait:
        """Open the next wait of a name: the first half of each wait, for code that carries out the second elsewhere."""
        self.go_on()
        if check_name(name, "name") == HELD_UP:
            raise InvalidValue(f"name: {name!r} is the name of the engine's own waits; choose another one", path="name")
        return self._waits.open(name)

    def signal_of(self, wait: OpenWait, signal: str, timeout_ms: int | None) -> Any:
        """Give the data of the signal that a wait has taken, or park: the second half of `wait_signal`."""
        check_name(signal, "signal")
        outcome = self._end_of(wait, "signal", timeout_ms)
        if outcome is None:
            self._park(wait, signal=signal, until_ms=self._until(timeout_ms))
        if outcome.by == "time":
            raise TimeoutError(f"no signal {signal!r} has come within {timeout_ms} ms")
        return outcome.data

    def wait_tasks(
        self, tasks: Iterable[str] | None = None, *, name: str = "tasks", timeout_ms: int | None = None
    ) -> list[Task]:
        """Go on when all these tasks have ended, whatever they came to. [WAIT-3]

        Args:
            tasks: their ids; left out, the children that this attempt has asked for.
            name: the wait's name. Waits that are open at the same time need names of their own.
            timeout_ms: how long to wait at most.

        Returns:
            The tasks as they are now, in the order given.

        Raises:
            TimeoutError: not all have ended in time. InvalidValue, OverBound. NotFound. Interrupted.
            StepMismatch: two waits of one name are open at the same time; or this one was for something else.
        """
        ids = self.waited_tasks(tasks)
        if not ids:
            return []
        with self.open_wait(name) as wait:
            return self.tasks_of(wait, ids, timeout_ms)

    def waited_tasks(self, tasks: Iterable[str] | None) -> list[str]:
        """The tasks that `wait_tasks` means, each once."""
        return list(self._children if tasks is None else dict.fromkeys(tasks))

    def tasks_of(self, wait: OpenWait, ids: Sequence[str], timeout_ms: int | None) -> list[Task]:
        """Give the tasks whose end a wait was for, or park: the second half of `wait_tasks`."""
        outcome = self._end_of(wait, "tasks", timeout_ms)
        if outcome is None:
            self._park(wait, after=ids, until_ms=self._until(timeout_ms))
        if outcome.by == "time":
            raise TimeoutError(f"not all of {len(ids)} tasks have ended within {timeout_ms} ms")
        found = [task for id in ids if (task := self._readable(partial(self._engine.get, id))) is not None]
        if len(found) < len(ids) or not all(task.is_terminal for task in found):
            raise StepMismatch(f"wait {wait.number} of the name {wait.name!r} is over and was for other tasks")
        return found

    def spawn(
        self, name: str, kind: str, payload: Any = None, *, inputs: Mapping[str, bytes] | None = None, **arguments: Any
    ) -> str:
        """Create a child task, once per name however many attempts there are; its id. [STEP-2]

        It is created in one commit with what this handler writes next: a step, a wait, its end. A successor that goes
        on where its predecessor stopped adopts that one's child of the name, or that child's newest successor, if it
        lives or has completed.

        Args:
            name: the child's own within its parent.
            kind, payload, inputs, arguments: as of `Engine.create`.

        Raises:
            StepMismatch: the child exists with another kind, payload or parent. InvalidValue. Interrupted.
        """
        self.go_on()
        id = child_id(self.task.id, name)
        if {"id", "parent"} & set(arguments):
            raise InvalidValue("spawn: the id and the parent of a child are given by its parent and name", path="id")
        existing = self._readable(lambda: self._child(name, id))
        if existing is not None:
            if existing.kind != kind or canonical(existing.payload) != canonical(payload):
                raise StepMismatch(f"the child {name!r} of task {self.task.id!r} exists with other content")
            return existing.id
        # Checked and encoded now, while the caller can see which child it was, and written later.
        named, blobs = taken_in(inputs)
        command = forms.create(kind, payload, id=id, parent=self.task.id, inputs=named, **arguments)
        cause = f"task/{self.task.id}@{self.task.version}"
        with self._guard:
            self._children[id] = Step(command, worker_actor(self.owner), cause, blobs=blobs)
        return id

    def _child(self, name: str, id: str) -> Task | None:
        """The child of a name that is there: its own, or one that is adopted with what is written next."""
        if name in self._adopted:
            self._children.setdefault(self._adopted[name], None)
            return self._engine.get(self._adopted[name])
        existing = self._engine.get(id) if self.task.leases > 1 else None
        if existing is not None:
            if existing.parent != self.task.id:
                raise StepMismatch(f"the id of the child {name!r}, {id!r}, is taken by a task with another parent")
            self._children[id] = None
            return existing
        found = adoptable(self._engine, self.task, name)
        if found is not None:
            command = forms.adopt_child(self.task.id, self.fence, name, found.id)
            with self._guard:
                self._adopted[name] = found.id
                self._children[found.id] = Step(command, worker_actor(self.owner))
        return found

    # --- inside -------------------------------------------------------------------------------------------------

    def end(self) -> list[str]:
        """The handler has ended: nothing more is begun for it. The steps on record that it has not asked for."""
        self._has_ended = True
        return self._steps.unmet()

    @property
    def conflict(self) -> StepMismatch | None:
        """Why it must not park: two of its waits had one name at the same time. [WAIT-1]"""
        return self._waits.conflict

    def record_children(self, batch: Batch) -> None:
        """Record the children that are not there yet; whoever writes for this handler calls it first. [STEP-2]"""
        for step in list(self._children.values()):
            if step is not None:
                batch.carry(step)

    @property
    def begins_something(self) -> bool:
        """Whether a child waits to be created."""
        return any(step is not None for step in list(self._children.values()))

    def _record_before(self, batch: Batch) -> None:
        self.record_children(batch)

    def _record(self, what: str, verb: str, *arguments: Any) -> None:
        with self._guard:
            begun = [id for id, step in list(self._children.items()) if step is not None]
        super()._record(what, verb, *arguments)
        for id in begun:
            self._children[id] = None

    def _readable(self, read: Callable[[], T]) -> T:
        """Read other tasks. One that cannot be read holds this one up and never fails it. [LOG-5]"""
        try:
            return read()
        except Corrupt as unreadable:
            raise held_up(self.task, self._engine.now_ms()) from unreadable

    def _until(self, duration_ms: int | None) -> int | None:
        """When a wait is over that begins now and lasts so long, within the bound of times. [TIME-4]"""
        if duration_ms is None:
            return None
        return min(self._engine.now_ms() + check_milliseconds(duration_ms, "timeout_ms"), TIME_MS_MAX)

    def _end_of(self, wait: OpenWait, kind: str, timeout_ms: int | None) -> WaitOutcome | None:
        """How a wait ended; None: it is not over. [WAIT-1]

        Raises:
            StepMismatch: it ended in a way in which this wait cannot end, so it was another one. [WORKER-4]
        """
        if timeout_ms is not None:
            # Also where the wait is over by now: what one attempt was refused another is.
            check_milliseconds(timeout_ms, "timeout_ms")
        outcome = self._waits.end_of(wait)
        if outcome is not None and outcome.by != kind and (outcome.by != "time" or timeout_ms is None):
            raise StepMismatch(
                f"wait {wait.number} of the name {wait.name!r} was ended by {outcome.by!r}, in which this wait cannot "
                "end: the code is not the one that began this task"
            )
        return outcome

    def _park(
        self, wait: OpenWait, *, signal: str | None = None, after: Sequence[str] = (), until_ms: int | None = None
    ) -> NoReturn:
        """Park for a wait that is not over, once all that was given has been checked."""
        forms.park(self.task.id, self.fence, wait.name, signal, after, until_ms, wait.number)
        raise Park(wait.name, number=wait.number, signal=signal, after=after, until_ms=until_ms)


class UndoContext(Context):
    """What the handler of a compensation may do.

    compensation      id of the one it is to carry out
    idempotency_key   the same at every attempt to carry it out, and of no other: for outside systems that ask for one
    """

    def __init__(self, engine: Engine, lease: Lease, stopping: Stopping) -> None:
        super().__init__(engine, lease, stopping)
        self.compensation = ""

    @property
    def idempotency_key(self) -> str:
        """Task and compensation, joined without ambiguity. [NAME-2]"""
        return undo_key(self.task.id, self.compensation)

    def done(self, id: str) -> tuple[TaskCompensation, ...]:
        """Put on record that one was carried out; what is owed then. The worker calls it between two. [COMP-5]"""
        try:
            after = self._persist(lambda: self._lease.compensation_done(id))
        except AlreadySettled:
            # Somebody has settled it by word meanwhile; it is done all the same. [COMP-4]
            return self.owed()
        except LeaseLost:
            self._lose()
        return after.task.owed if isinstance(after, Lease) else ()

    def owed(self) -> tuple[TaskCompensation, ...]:
        """What is owed by now, in the order of undoing: what was settled by word is not undone. [COMP-4]"""
        self.go_on()
        task = self._persist(lambda: self._engine.get(self.task.id))
        if task is None or task.lease is None or task.lease.fence != self.fence:
            self._lose()
        return task.owed
