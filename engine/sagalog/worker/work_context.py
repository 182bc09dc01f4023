"""The context of a task's handler: durable steps, waits, children.

Rule: a handler does not repeat what is on record [STEP-1], and parks for what is not there yet [WAIT-1]. It knows one
lease, and must not know queues, threads and other handlers.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import msgspec

from sagalog.actors import worker_actor
from sagalog.engine import Engine, holder_verbs
from sagalog.engine.batch import Batch
from sagalog.engine.entries import CommandEntry
from sagalog.engine.lease import HolderVerb, Lease
from sagalog.engine.queries import WaitOutcome
from sagalog.engine.task import Task
from sagalog.errors import AlreadyExists, AlreadySettled, Corrupt, InvalidValue, LeaseLost, Rejected, SagalogError
from sagalog.kernel.bounds import TIME_MS_MAX
from sagalog.kernel.events import Created
from sagalog.kernel.values import Compensation, Failure, OnParentEnd, UnrecordedStep
from sagalog.outcomes import Interrupted, Park, StepMismatch
from sagalog.validation import commands as forms
from sagalog.validation.arguments import compensation_of, taken_in
from sagalog.validation.identities import again_id, child_id
from sagalog.validation.json_values import as_json, canonical
from sagalog.validation.values import check_milliseconds, check_name, type_name
from sagalog.worker.adoption import adoptable
from sagalog.worker.annotations import read_back
from sagalog.worker.context import Context
from sagalog.worker.gathering import (
    child_name,
    payloads_of,
    require_arguments,
    require_no_dedupe,
    require_same,
    results_of,
)
from sagalog.worker.steps import Steps
from sagalog.worker.stop_token import StopToken
from sagalog.worker.task_journal import TaskJournal
from sagalog.worker.verdicts import HELD_UP, Verdict, held_up, unstorable
from sagalog.worker.waits import OpenWait, Waits

# How many children wait at most to be created together with what the handler writes next.
_CHILDREN_AT_ONCE: Final = 1_000

P = ParamSpec("P")
T = TypeVar("T")


class StepResult(msgspec.Struct, frozen=True):
    """The recorded result of a step."""

    result: Any


class WorkContext(Context):
    """The calls that the handler of a task may make: steps, waits and children that survive its death.

    What is on record is not done again, in whichever attempt and on whichever worker. [STEP-1] A wait holds neither a
    thread nor a lease: the handler ends, and is called again from its beginning once the wait is over. [WAIT-1]

    Example:
        import sagalog.worker

        worker = sagalog.Worker()


        @worker.task("ship", waive_compensation="it only talks")
        def ship(context: sagalog.worker.WorkContext, order: dict[str, int]) -> dict[str, int]:
            parcel = context.step("pack", lambda: {"parcel": order["id"]})
            context.wait_signal("collected", timeout_ms=86_400_000)
            return parcel


        with sagalog.open("memory:") as engine:
            task = engine.create("ship", {"id": 7})
            engine.signal(task.id, "collected")
            worker.run(engine, until="idle")
    """

    def __init__(self, engine: Engine, lease: Lease, stopping: StopToken, *, strict: bool = False) -> None:
        super().__init__(engine, lease, stopping)
        self._is_strict = strict
        # Why the worker ends the lease whatever its handler does, and whether that is on record.
        self._verdict: Verdict | None = None
        self._is_settled = False
        self._steps = Steps(lease.task.id, lease.task.steps, strict)
        # The undo of each step as recorded, by the name of the step.
        self._undos: dict[str, Compensation] = {}
        self._adopted = dict(lease.task.children)
        self._children: dict[str, CommandEntry | None] = {}
        self._pending = 0
        # The ids of children that are not adopted, by name, in the order in which the handler asked for them.
        self._places: dict[str, str] = {}
        # None for nearly every task.
        self._journals: dict[str, TaskJournal] | None = None
        self._waits = Waits(lease.task.waits, lambda: engine.wait_ends(lease.task.id))

    def _allow_any_order(self) -> None:
        """Let steps come in another order than the record: coroutines may run several at a time."""
        self._steps.allow_any_order()

    @property
    def payload(self) -> Any:
        """What the task was created with."""
        return self.task.payload

    def input(self, name: str) -> bytes:
        """Read bytes that the task was given at its creation. [BLOB-1]

        Args:
            name: the name under which it was given them.

        Raises:
            NotFound: the task has no input of this name.
            Corrupt: the bytes are not those that were given.
        """
        self._require_own()
        return self._engine.input(self.task.id, name)

    # --- journals -----------------------------------------------------------------------------------------------

    def journal(self, name: str) -> TaskJournal:
        """Give a journal of this task, which others follow while the handler writes it. [JOURNAL-2]

        Its entries carry the fence of the lease, and all are on record before the lease is settled. It closes when the
        task has ended. Each attempt writes its entries behind those of earlier ones.

        Args:
            name: its name; one attempt that asks again gets the same journal.

        Raises:
            InvalidValue: the name is none.
            Interrupted: the handler is to end.
        """
        self.go_on()
        with self._guard:
            if self._journals is None:
                self._journals = {}
            journal = self._journals.get(check_name(name, "name"))
            if journal is None:
                opened = self._persist(lambda: TaskJournal(self, self._engine, name))
                journal = self._journals[name] = opened
            return journal

    def _flush_journals(self) -> None:
        """Wait until what the handler has given to journals is on record. [JOURNAL-4]"""
        if self._journals is not None:
            for journal in list(self._journals.values()):
                journal.flush()

    def _try_to_flush_journals(self) -> None:
        """Flush as far as it is possible: the handler has failed, and its failure is what counts."""
        with suppress(SagalogError, Interrupted):
            self._flush_journals()

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self, name: str, run: Callable[..., T], *arguments: Any, compensation: Compensation | None = None) -> T:
        """Run `run(*arguments)` once, however many attempts there are, and give its result.

        The result goes on record, and later attempts get that. A step is known by its name, in whatever order steps
        come; one that is renamed runs again. Its undo goes on record before it runs. One whose function raises may be
        asked for again. [STEP-1] [COMP-1] [WORKER-4]

        Args:
            name: the name of the step, used once in an attempt.
            run: what to do. It runs again where the worker dies before the result is on record, so it must bear that;
                `fence` and the name tell one effect from another.
            *arguments: what `run` is given.
            compensation: its undo; where one of the same id is settled already, this one gets an id of its own.

        Returns:
            What `run` returned, as JSON gives it back; a Struct or a dataclass where `run` is annotated to return one.

        Raises:
            InvalidValue: the name, the function or the compensation is none; nothing was done.
            OverBound: the task has 1,000 steps, or no room left; nothing was done. [BOUND-4]
            StepMismatch: the name is used twice; what is on record does not fit the type that `run` returns; or, with
                `strict=True`, the history has another step here.
            Interrupted: also where the result is no JSON or too large: the effect is there, so the task is quarantined
                (code `unstorable_result`) instead of doing it again. [WORKER-1]
        """
        if inspect.iscoroutinefunction(run):
            raise InvalidValue(
                f"step {name!r}: its function is a coroutine function, which only an `async def` handler can await",
                path="run",
            )
        found = self._begin_step(name, run, compensation)
        if found is not None:
            kept: T = found.result
            return kept
        try:
            result = run(*arguments)
        except BaseException:
            self._drop_step(name)
            raise
        return self._finish_step(name, run, result)

    def _begin_step(
        self, name: str, run: Callable[..., object], compensation: Compensation | None
    ) -> StepResult | None:
        """Begin `step`: return what is on record, or record the undo; for code that runs the step otherwise."""
        self.go_on()
        check_name(name, "name")
        if not callable(run):
            raise InvalidValue(f"step {name!r}: expected a function, found {type_name(run)}", path="run")
        is_known = self._steps.ask(name)
        try:
            if is_known:
                return StepResult(read_back(run, name, self._engine.step_result(self.task.id, name)))
            if compensation is not None:
                self._register(name, compensation)
                # The write has taken time; the effect must not begin under a lease that may be gone.
                self.go_on()
            with self._guard:
                may_begin = self._steps.begin(name)
            if not may_begin:
                raise Interrupted("quarantined, or its handler has ended")
        except BaseException:
            self._drop_step(name)
            raise
        return None

    def _drop_step(self, name: str) -> None:
        """Let the handler ask for a step again: it has no result that could be recorded."""
        self._steps.drop(name)

    def _reopen_step(self, name: str) -> None:
        """Let the handler ask again for a step whose result is on record by now and which no caller got."""
        self._steps.reopen(name)

    def _finish_step(self, name: str, run: Callable[..., T], result: T) -> T:
        """Finish `step`: record the result, or quarantine the task; return what `step` returns.

        Raises:
            Interrupted: also if the result of a step beside it could not be stored: the quarantine names this one too,
                since it has had its effect.
        """
        children = self._children_to_create()
        try:
            self._record(f"step {name!r}", holder_verbs.step, name, result, self._undos.get(name))
        except Rejected as refusal:
            self._quarantine(_failure_of_step(name, refusal, children))
            raise Interrupted(f"quarantined: the result of step {name!r} cannot be stored") from refusal
        self._steps.record(name)
        kept: T = read_back(run, name, as_json(result, "result"))
        return kept

    def _register(self, name: str, compensation: Compensation) -> None:
        """Record the undo of a step under an id that no settled one has. [COMP-1]

        An operator may have settled an undo before anything was done that it would reverse. The effect that comes now
        needs an undo of its own, which later attempts find under the same id.
        """
        first = compensation_of(compensation, "compensation").id or ""
        for number in itertools.count(1):
            id = first if number == 1 else again_id(first, number)
            one = msgspec.structs.replace(compensation, id=id)
            try:
                self._record(f"the undo of step {name!r}", holder_verbs.register, one)
            except StepMismatch as mismatch:
                if not isinstance(mismatch.__cause__, AlreadySettled):
                    raise
            else:
                self._undos[name] = one
                return

    def _unrecorded_steps(self) -> tuple[UnrecordedStep, ...]:
        """Return the steps that have begun and are not known to be on record, with their undos; let no other begin."""
        undos = dict(self._undos)
        begun = self._steps.close()
        return tuple([UnrecordedStep(name, undos[name].id if name in undos else None) for name in begun])

    def _quarantine(self, failure: Failure) -> None:
        """Quarantine the task now; what the handler does later does not count.

        The quarantine names every step that has begun and has no record, and no other step begins from here on. If two
        results cannot be stored, the first thread to come here writes the quarantine, and names both.
        """
        with self._guard:
            if self._verdict is not None:
                return
            verdict = self._verdict = Verdict(failure, self._unrecorded_steps())
        try:
            self._persist(lambda: self._lease.quarantine(verdict.failure, verdict.steps))
        except LeaseLost:
            self._lose()
        self._is_settled = True
        self._stopping.request("lost")

    # --- waits --------------------------------------------------------------------------------------------------

    def sleep(self, name: str, duration_ms: int) -> None:
        """Sleep without a thread and without a lease; no restart makes it longer. [WAIT-1]

        Sleeps of one name are numbered in the order of the calls, so a loop may use one name for all of its sleeps.

        Args:
            name: the name of the wait.
            duration_ms: how long from the first attempt that asks, in milliseconds.

        Raises:
            InvalidValue: the name or the duration is none.
            StepMismatch: two waits of one name are open at the same time, or this one was for something else.
        """
        with self._open_wait(name) as wait:
            until_ms = self._until(check_milliseconds(duration_ms, "duration_ms"))
            if not self._waits.is_over(wait):
                self._park(wait, until_ms=until_ms)

    def wait_signal(self, signal: str, *, name: str | None = None, timeout_ms: int | None = None) -> Any:
        """Wait until a signal of this name has come, perhaps long ago, and give its data. [WAIT-2]

        Waits of one name are numbered in the order of the calls, and each takes a signal of its own: a loop may wait
        for the same signal again and again. [WAIT-1]

        Args:
            signal: the name of the signal.
            name: the name of the wait; None: that of the signal. Waits that are open at the same time need different
                names.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.

        Returns:
            What the signal carried, as `Engine.signal` was given it.

        Raises:
            TimeoutError: no signal has come in time.
            InvalidValue: an argument is none of its kind.
            StepMismatch: two waits of one name are open at the same time, or this one was for something else.
        """
        with self._open_wait(signal if name is None else name) as wait:
            return self._signal_of(wait, signal, timeout_ms)

    def _open_wait(self, name: str) -> OpenWait:
        """Open the next wait of a name: the first half of each wait, for code that runs the second half elsewhere."""
        self.go_on()
        if check_name(name, "name") == HELD_UP:
            raise InvalidValue(f"name: {name!r} is the name of the engine's own waits; choose another one", path="name")
        return self._waits.open(name)

    def _signal_of(self, wait: OpenWait, signal: str, timeout_ms: int | None) -> Any:
        """Return the data of the signal that a wait has taken, or park: the second half of `wait_signal`."""
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
        """Wait until all these tasks have ended, however they ended. [WAIT-3]

        Args:
            tasks: their ids, 10,000 at most; None: the children that this attempt has asked for.
            name: the name of the wait. Waits that are open at the same time need different names.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.

        Returns:
            The tasks as they are now, in the order given.

        Raises:
            TimeoutError: not all of them have ended in time.
            InvalidValue: an argument is none of its kind.
            OverBound: they are more than 10,000, or their ids too long.
            StepMismatch: two waits of one name are open at the same time, or this one was for something else.
        """
        ids = self._waited_tasks(tasks)
        if not ids:
            return []
        with self._open_wait(name) as wait:
            return self._tasks_of(wait, ids, timeout_ms)

    def _waited_tasks(self, tasks: Iterable[str] | None) -> list[str]:
        """Return the tasks that `wait_tasks` means, each once; children in the order in which they were asked for."""
        if tasks is not None:
            return list(dict.fromkeys(tasks))
        with self._guard:
            asked = [self._adopted.get(name, id) for name, id in self._places.items()]
            return [id for id in dict.fromkeys(asked) if id in self._children]

    def _tasks_of(self, wait: OpenWait, ids: Sequence[str], timeout_ms: int | None) -> list[Task]:
        """Return the tasks for whose end a wait was, or park: the second half of `wait_tasks`."""
        outcome = self._end_of(wait, "tasks", timeout_ms)
        if outcome is None:
            self._park(wait, after=ids, until_ms=self._until(timeout_ms))
        if outcome.by == "time":
            raise TimeoutError(f"not all of {len(ids)} tasks have ended within {timeout_ms} ms")
        found = [task for id in ids if (task := self._readable(partial(self._engine.get, id))) is not None]
        if len(found) < len(ids) or not all(task.is_terminal for task in found):
            raise StepMismatch(f"wait {wait.number} of the name {wait.name!r} is over and was for other tasks")
        return found

    def gather(
        self,
        kind: str,
        payloads: Iterable[Any],
        *,
        name: str | None = None,
        timeout_ms: int | None = None,
        return_exceptions: bool = False,
        **arguments: Any,
    ) -> list[Any]:
        """Create a child for each payload, wait for all of them, and give their results in the order given. [STEP-3]

        Gatherings of one name are numbered in the order of the calls, so a loop may gather again and again.

        Args:
            kind: the kind of the children.
            payloads: the payload of each child, 10,000 at most.
            name: the name of the wait, by which the children are named too; None: the kind.
            timeout_ms: how long to wait at most, in milliseconds; None: for ever.
            return_exceptions: whether the error of a child that has not completed takes the place of its result, where
                it is otherwise raised once all have ended.
            **arguments: the same for every child, as in `spawn`, but for `dedupe`.

        Raises:
            ChildFailed: a child has not completed; of several, the first in the order given. Its `task` is the child.
            TimeoutError: not all of them have ended in time.
            InvalidValue: an argument is none of its kind.
            OverBound: an argument is beyond a limit.
            StepMismatch: the children exist with other content, or two waits of one name are open at the same time.
        """
        given = payloads_of(payloads)
        if not given:
            self.go_on()
            return []
        with self._open_wait(kind if name is None else name) as wait:
            return self._gathered(wait, kind, given, timeout_ms, return_exceptions, arguments)

    def _gathered(
        self,
        wait: OpenWait,
        kind: str,
        payloads: Sequence[Any],
        timeout_ms: int | None,
        return_exceptions: bool,
        arguments: Mapping[str, Any],
    ) -> list[Any]:
        """Return the results of the children of a wait, or park: the second half of `gather`."""
        require_arguments("gather", arguments)
        require_no_dedupe(arguments)
        names = [child_name(wait.name, wait.number, place) for place in range(len(payloads))]
        if not self._waits.is_over(wait):
            ids = [self.spawn(one, kind, payload, **arguments) for one, payload in zip(names, payloads, strict=True)]
            self._tasks_of(wait, ids, timeout_ms)
        ids = []
        for one in names:
            own = self._place_child(one)
            ids.append(self._adopted.get(one, own))
            self._children.setdefault(ids[-1], None)
        tasks = self._tasks_of(wait, ids, timeout_ms)
        require_same(tasks, kind, payloads)
        return results_of(tasks, return_exceptions)

    def spawn(
        self,
        name: str,
        kind: str,
        payload: Any = None,
        *,
        inputs: Mapping[str, bytes] | None = None,
        on_parent_end: OnParentEnd = "cancel",
        **arguments: Any,
    ) -> str:
        """Create a child task, once per name however many attempts there are, and give its id. [STEP-2]

        The child is created in one commit with what this handler writes next: a step, a wait, its end. A successor that
        goes on where its predecessor stopped adopts that one's child of the name, if it lives or has completed.
        With a dedupe key it is created at once, or another task of its kind has the key and takes its place: which one
        is the result of the step `spawn NAME`, so all attempts get the same. No end of this task cancels another
        parent's. [DEDUPE-2]

        Args:
            name: the name of the child within its parent.
            kind, payload, inputs: as in `Engine.create`.
            on_parent_end: what becomes of it when this task is cancelled or fails: "cancel", as by `Engine.cancel`, or
                "leave". [CANCEL-4]
            **arguments: the other arguments of `Engine.create`, but for `id` and `parent`; queue and data key are the
                parent's unless they are given. [KEY-1]

        Raises:
            InvalidValue: an argument is none of its kind, or is `id` or `parent`.
            OverBound: an argument is beyond a limit.
            StepMismatch: the child exists with another kind, payload or parent.
        """
        self.go_on()
        require_arguments("spawn", arguments)
        id = self._place_child(name)
        if {"id", "parent"} & set(arguments):
            raise InvalidValue("spawn: the id and the parent of a child are given by its parent and name", path="id")
        if arguments.get("dedupe") is not None:
            return self._spawn_once(name, id, kind, payload, inputs, {"on_parent_end": on_parent_end, **arguments})
        existing = self._readable(lambda: self._child(name, id))
        if existing is not None:
            given = canonical(as_json(payload, "payload"))
            if existing.kind != kind or given not in map(canonical, self._payloads(existing)):
                raise StepMismatch(f"the child {name!r} of task {self.task.id!r} exists with other content")
            return existing.id
        # Check and encode it now, while the caller can see which child it is; the write comes later.
        entry = self._child_entry(id, kind, payload, inputs, {"on_parent_end": on_parent_end, **arguments})
        with self._guard:
            self._children[id] = entry
            self._pending += 1
        if self._pending >= _CHILDREN_AT_ONCE:
            # So no commit creates too many.
            self._record("children", holder_verbs.heartbeat)
        return id

    def _child_entry(
        self, id: str, kind: str, payload: Any, inputs: Mapping[str, bytes] | None, arguments: Mapping[str, Any]
    ) -> CommandEntry:
        """Return the creation of a child, checked and encoded."""
        named, blobs = taken_in(inputs)
        given = {"queue": self.task.queue, "data_key": self.task.data_key, **arguments}  # [KEY-1]
        command = forms.create(kind, payload, id=id, parent=self.task.id, inputs=named, **given)
        cause = f"task/{self.task.id}@{self.task.version}"
        return CommandEntry(command, worker_actor(self.owner), cause, blobs=blobs)

    def _spawn_once(
        self,
        name: str,
        id: str,
        kind: str,
        payload: Any,
        inputs: Mapping[str, bytes] | None,
        arguments: Mapping[str, Any],
    ) -> str:
        """Create a child with a dedupe key under this lease, or find the task that has the key, as a step."""
        entry = self._child_entry(id, kind, payload, inputs, arguments)

        def write() -> tuple[Any, Any]:
            with self._engine.batch() as batch:
                batch._append(entry)
                batch._append(holder_verbs.heartbeat(self._engine._executor, self._lease.task))
            created, after = batch.results
            return created, after

        def create() -> str:
            try:
                created, after = self._persist(write)
            except LeaseLost:
                self._lose()
            except AlreadyExists as other:
                raise StepMismatch(f"the child {name!r} of task {self.task.id!r}: {other.message}") from other
            if isinstance(after, Lease):
                self._lease = after
            found: str = created.id
            return found

        found = self.step(f"spawn {name}", create)
        with self._guard:
            self._children.setdefault(found, None)
            if found != id:
                self._adopted[name] = found
        return found

    def _payloads(self, child: Task) -> Iterator[Any]:
        """Yield the payload that a child has, and the one that it was created with: an operator may amend it."""
        yield child.payload
        created = self._engine.history(child.id)[0].event
        assert isinstance(created, Created)
        yield created.payload

    def _place_child(self, name: str) -> str:
        """Note a child's place among those that the handler asks for, for `wait_tasks`; return its own id."""
        id = child_id(self.task.id, name)
        with self._guard:
            self._places.setdefault(name, id)
        return id

    def _child(self, name: str, id: str) -> Task | None:
        """Return the existing child of a name: its own, or one that the next write adopts."""
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
            with self._guard:
                self._adopted[name] = found.id
                self._children[found.id] = holder_verbs.adopt_child(self._engine._executor, self.task, name, found.id)
        return found

    def use(self, limit: str, units: int) -> None:
        """State how many units of a rate this attempt uses, in place of what it was charged before. [LIMIT-3]

        Args:
            limit: a named limit with a rate, one of the task's `uses`.
            units: how many units this attempt has used in all, 0 or more.

        Raises:
            NotFound: the task uses no such limit, or the limit has slots.
            Interrupted: the lease is lost.
        """
        if self.lost or self._has_ended:
            self.go_on()
        self._record(f"the use of {limit!r}", holder_verbs.use, limit, units)

    def healthy(self, limit: str | None = None) -> None:
        """Say that what a breaker watches has answered, so that it closes before this probe has ended. [BREAKER-3]

        Only the attempt that is the probe of a half open breaker changes anything by it.

        Args:
            limit: a named limit, one of the task's `uses`; None: the queue.

        Raises:
            NotFound: the task uses no such limit.
            Interrupted: the lease is lost.
        """
        if self.lost or self._has_ended:
            self.go_on()
        self._record("that it is healthy", holder_verbs.healthy, limit)

    # --- inside -------------------------------------------------------------------------------------------------

    def _end(self) -> list[str]:
        """Note that the handler has ended, so that it begins nothing more; return the unmet steps."""
        self._has_ended = True
        if self._journals is not None:
            for journal in list(self._journals.values()):
                journal._end()
        return self._steps.unmet()

    @property
    def _conflict(self) -> StepMismatch | None:
        """Return why it must not park: two of its waits had one name at the same time. [WAIT-1]"""
        return self._waits.conflict

    def _record_children(self, batch: Batch) -> None:
        """Record the children that are missing; every write of this handler calls this first. [STEP-2]"""
        for entry in list(self._children.values()):
            if entry is not None:
                batch._append(entry)

    @property
    def _begins_something(self) -> bool:
        """Tell whether a child waits to be created."""
        return any(entry is not None for entry in list(self._children.values()))

    def _record_before(self, batch: Batch) -> None:
        self._record_children(batch)

    def _record(self, what: str, verb: HolderVerb[P], *args: P.args, **kwargs: P.kwargs) -> None:
        begun = self._children_to_create()
        super()._record(what, verb, *args, **kwargs)
        for id in begun:
            self._children[id] = None
        with self._guard:
            self._pending = max(0, self._pending - len(begun))

    def _children_to_create(self) -> list[str]:
        """Return the ids of the children that the next write creates or adopts, in that order."""
        with self._guard:
            return [id for id, entry in list(self._children.items()) if entry is not None]

    def _readable(self, read: Callable[[], T]) -> T:
        """Read other tasks. One that cannot be read holds this one up and never fails it. [LOG-5]"""
        try:
            return read()
        except Corrupt as unreadable:
            raise held_up(self.task, self._engine.now_ms()) from unreadable

    def _until(self, duration_ms: int | None) -> int | None:
        """Return when a wait that begins now and lasts so long is over, within the bound of times. [TIME-4]"""
        if duration_ms is None:
            return None
        return min(self._engine.now_ms() + check_milliseconds(duration_ms, "timeout_ms"), TIME_MS_MAX)

    def _end_of(self, wait: OpenWait, kind: str, timeout_ms: int | None) -> WaitOutcome | None:
        """Return how a wait ended; None: it is not over. [WAIT-1]

        Raises:
            StepMismatch: it ended in a way in which this wait cannot end, so it was another one. [WORKER-4]
        """
        if timeout_ms is not None:
            # Also if the wait is over by now, so that every attempt is refused alike.
            check_milliseconds(timeout_ms, "timeout_ms")
        outcome = self._waits.end_of(wait)
        if outcome is not None and outcome.by != kind and (outcome.by != "time" or timeout_ms is None):
            raise StepMismatch(
                f"wait {wait.number} of the name {wait.name!r} was ended by {outcome.by!r}, in which this wait cannot "
                "end: the code is not the one that began this task; deploy the version that began it, and retry the "
                "task as new"
            )
        return outcome

    def _park(
        self, wait: OpenWait, *, signal: str | None = None, after: Sequence[str] = (), until_ms: int | None = None
    ) -> NoReturn:
        """Park for a wait that is not over, after all arguments are checked."""
        forms.park(self.task.id, self.fence, wait.name, signal, after, until_ms, wait.number)
        raise Park(wait.name, number=wait.number, signal=signal, after=after, until_ms=until_ms)


def _failure_of_step(name: str, refusal: Rejected, children: Sequence[str]) -> Failure:
    """Make the failure of a step that has run and is not on record: for its result, or for a child written with it."""
    index = refusal.fields.get("command")
    if isinstance(index, int) and index < len(children):
        return unstorable(refusal, {"child": children[index], "step": name})
    return unstorable(refusal, {"step": name})
