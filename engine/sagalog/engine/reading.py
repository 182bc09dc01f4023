"""What an engine tells without writing: tasks, listings, counts, history, and waiting for an end.

Rule: reads only, each from one consistent snapshot, and no writer waits for it. A task whose events cannot be read is
left out of listings and raises where it is asked for by id. [LOG-5]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import msgspec

from sagalog.codec import Recorded, read, recorded_log, recorded_stream
from sagalog.engine.task import Task, picture
from sagalog.errors import Corrupt, InvalidValue, LogDamaged, NotFound
from sagalog.kernel import bounds
from sagalog.kernel.events import ArtifactPut, Created, Leased, Signalled, Unblocked, step_result
from sagalog.kernel.state import TakenSignal, TaskFold
from sagalog.kernel.values import Input, State, WaitEnd
from sagalog.ports import Clock
from sagalog.store import Query, Snapshot, Store
from sagalog.store.projection import refold
from sagalog.validation import arguments
from sagalog.validation.values import check_id, check_integer, check_milliseconds, check_tags, shown

# How long whoever waits sleeps at most before it looks again, whatever it was told of changes.
WAIT_SLICE_MS: Final = 50
_STATES: Final = tuple(str(state) for state in State)


class Artifact(msgspec.Struct, frozen=True):
    """Something that a task has made: its bytes, and the fence of the lease that put it."""

    name: str
    data: bytes
    media_type: str
    digest: str
    fence: int


class WaitOutcome(msgspec.Struct, frozen=True):
    """How a wait ended: by a signal (with its `data`), by the end of its tasks, or by time.

    `number` tells it from the other waits of its `name`; they are numbered from 1. `ended` gives, of a wait for tasks
    that all have ended, the state of each by its id, in the order in which the wait named them. [WAIT-3]
    """

    name: str
    by: WaitEnd
    data: Any = None
    number: int = 1
    ended: dict[str, State] = {}


class Reading:
    """The calls of an engine that only read."""

    _store: Store
    _clock: Clock

    def now_ms(self) -> int:
        """The time by this engine's clock, for due times that are told as a distance from now."""
        return self._clock.now_ms()

    def get(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id, "id")
        with self._store.read() as snapshot:
            task = snapshot.task(id)
            return None if task is None else _picture(snapshot, task)

    def find(
        self,
        *,
        queue: str | None = None,
        kind: str | None = None,
        state: str | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """Tasks in order of creation that fit everything given; those that cannot be read are left out."""
        if state is not None and state not in _STATES:
            raise InvalidValue(f"state: expected one of {', '.join(_STATES)}, found {shown(state)}", path="state")
        query = Query(
            queue=arguments.optional_name(queue, "queue"),
            kind=arguments.optional_name(kind, "kind"),
            state=None if state is None else str(state),
            tags=() if tags is None else tuple(check_tags(tags).items()),
            limit=None if limit is None else check_integer(limit, "limit", 1, bounds.TIME_MS_MAX),
        )
        with self._store.read() as snapshot:
            return _pictures(snapshot, [listed.fold for listed in snapshot.find(query)])

    def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """How many tasks there are: queue -> state -> number."""
        with self._store.read() as snapshot:
            return snapshot.counts(arguments.optional_name(queue, "queue"))

    def stale(self) -> list[Task]:
        """Tasks whose lease is over by the clock and was not ended yet; `recover` or the next claim ends it."""
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            return _pictures(snapshot, snapshot.over(now_ms))

    def history(self, id: str) -> list[Recorded]:
        """Every event of a task, in order; raises NotFound, UnknownEvent."""
        check_id(id, "id")
        with self._store.read() as snapshot:
            envelopes = snapshot.history(f"task/{id}")
            saved = snapshot.saved(f"task/{id}")
        fold = None if saved is None else saved.fold
        if not envelopes and fold is None:
            raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)
        events = list(recorded_stream(envelopes))
        if fold is not None and fold.version > len(events):
            raise LogDamaged(
                f"task/{id} has {len(events)} events and had {fold.version}: stop, keep the file, and compare it with "
                "a backup",
                stream=f"task/{id}",
                version=len(events) + 1,
                type=None,
            )
        return events

    def events(self, after: int = 0, limit: int = 1_000) -> list[Recorded]:
        """Events of the whole log with positions beyond `after`, in order, at most `limit`; raises UnknownEvent."""
        check_integer(after, "after", 0, bounds.INTEGER_MAX)
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        with self._store.read() as snapshot:
            return list(recorded_log(snapshot.events(after, limit), after))

    def input(self, id: str, name: str) -> bytes:
        """The bytes that the task was given under a name; raises NotFound, Corrupt."""
        with self._store.read() as snapshot:
            created = read(snapshot.recorded(id, 1)) if _existing(snapshot, id) else None
            given = {one.name: one for one in created.inputs} if isinstance(created, Created) else {}
            if name not in given:
                raise NotFound(
                    f"task {id!r} has no input {shown(name)}; it has: {sorted(given) or 'none'}", task=id, input=name
                )
            return _bytes(snapshot, given[name], f"the input {name!r} of task {id!r}")

    def artifact(self, id: str, name: str) -> Artifact:
        """The newest artifact of a name; raises NotFound, Corrupt. [BLOB-1]"""
        with self._store.read() as snapshot:
            known = _existing(snapshot, id).artifacts
            if name not in known:
                raise NotFound(
                    f"task {id!r} has no artifact {shown(name)}; it has: {sorted(known) or 'none'}",
                    task=id,
                    artifact=name,
                )
            event = read(snapshot.recorded(id, known[name].version))
            assert isinstance(event, ArtifactPut)
            data = _bytes(snapshot, event, f"the artifact {name!r} of task {id!r}")
            return Artifact(name, data, event.media_type, event.digest, event.fence)

    def step_result(self, id: str, name: str) -> Any:
        """The recorded result of a step; raises NotFound. [STEP-1]"""
        with self._store.read() as snapshot:
            task = _existing(snapshot, id)
            known = task.steps
            if name not in known:
                raise NotFound(
                    f"task {id!r} has no step {shown(name)} on record; it has: {list(known) or 'none'}",
                    task=id,
                    step=name,
                )
            source = task.stream_of(known[name].source)
            return step_result(read(snapshot.recorded(source, known[name].version)), name)

    def wait_end(self, id: str, name: str, number: int = 1) -> WaitOutcome | None:
        """How a wait ended, by its name and its number among those of the name, from 1. [WAIT-1]

        None while it is not over, or never was begun.
        """
        check_integer(number, "number", 1, bounds.INTEGER_MAX)
        with self._store.read() as snapshot:
            task = _existing(snapshot, id)
            place = task.waits[name].places().get(number) if name in task.waits else None
            return None if place is None else _wait_end(snapshot, task, name, number, place)

    def wait_ends(self, id: str) -> dict[str, list[WaitOutcome]]:
        """How all waits of a task that are over ended: by name, in the order of their numbers. [WAIT-1]

        A successor's numbers may have gaps: there its predecessor's waits ended in a way that is not kept.
        """
        with self._store.read() as snapshot:
            task = _existing(snapshot, id)
            return {
                name: [_wait_end(snapshot, task, name, number, place) for number, place in ended.places().items()]
                for name, ended in task.waits.items()
            }

    def called_off(self, held: Mapping[str, int]) -> tuple[set[str], set[str]]:
        """Of tasks held under these fences: those whose lease has ended, and those whose holder was asked to stop.

        Those that cannot be read are left out, and so are leases that their holder has ended: by settling the last
        undo, or by a quarantine.
        """
        lost, asked = set(), set()
        with self._store.read() as snapshot:
            for id, fence in held.items():
                with suppress(Corrupt):
                    task = snapshot.task(id)
                    if task is None or _ended_by_holder(task, fence):
                        continue
                    if task.lease is None or task.lease.fence != fence:
                        lost.add(id)
                    elif task.cancel_version and task.lease.purpose == "work":
                        asked.add(id)
        return lost, asked

    def ready_kinds(self, queues: str | Sequence[str]) -> list[str]:
        """The kinds of the tasks that stand ready in these queues, sorted: what workers there need handlers for.

        At most `KINDS_MAX` of each queue.
        """
        where = arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        with self._store.read() as snapshot:
            return snapshot.ready_kinds(where, bounds.KINDS_MAX)

    def asked_to_stop(self, ids: Iterable[str]) -> set[str]:
        """Which of these running tasks somebody has asked to stop; those that cannot be read are left out."""
        found = set()
        with self._store.read() as snapshot:
            for id in ids:
                with suppress(Corrupt):
                    task = snapshot.task(id)
                    if task is not None and task.cancel_version and not task.is_terminal:
                        found.add(id)
        return found

    def changes(self) -> int:
        """A number that differs once anybody has committed since, in this process or another."""
        return self._store.changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        """Return when `changes()` differs from `since`, or when the time is over."""
        self._store.wait_change(since, timeout_ms)

    def newest_position(self) -> int:
        """The newest position of the log: as many events as there are, since positions have no gaps. [LOG-1]"""
        with self._store.read() as snapshot:
            return snapshot.head()[1]

    def wait(self, id: str, timeout_ms: int) -> Task:
        """The task once it is terminal.

        Raises:
            NotFound; TimeoutError: it has not ended in time.
        """
        check_milliseconds(timeout_ms, "timeout_ms")
        started_ms = self._clock.monotonic_ms()
        while True:
            changes = self._store.changes()
            task = self.get(id)
            if task is None:
                raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)
            if task.is_terminal:
                return task
            left_ms = timeout_ms - (self._clock.monotonic_ms() - started_ms)
            if left_ms <= 0:
                raise TimeoutError(f"task {id!r} is {task.state} after {timeout_ms} ms; wait again or see its history")
            self._store.wait_change(changes, min(left_ms, WAIT_SLICE_MS))


def _ended_by_holder(task: TaskFold, fence: int) -> bool:
    if task.ended is None or task.ended.fence != fence:
        return False
    return task.state is State.COMPENSATED or task.is_quarantined_by_holder


def _existing(snapshot: Snapshot, id: str) -> TaskFold:
    check_id(id, "id")
    task = snapshot.task(id)
    if task is None:
        raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)
    return task


def _wait_end(snapshot: Snapshot, task: TaskFold, name: str, number: int, place: TakenSignal) -> WaitOutcome:
    """The end of a wait, by where its `unblocked` stands; of a sleep, at version 0, there is nothing to read."""
    if not place.version:
        return WaitOutcome(name, "time", None, number)
    id = task.stream_of(place.source)
    unblocked = read(snapshot.recorded(id, place.version))
    assert isinstance(unblocked, Unblocked)
    data = None
    if unblocked.signal_version is not None:
        signalled = read(snapshot.recorded(id, unblocked.signal_version))
        assert isinstance(signalled, Signalled)
        data = signalled.data
    return WaitOutcome(name, unblocked.by, data, number, {one.task: one.state for one in unblocked.ended})


def _bytes(snapshot: Snapshot, named: Input | ArtifactPut, what: str) -> bytes:
    """The bytes of a digest, compared with it. [BLOB-1] [KEY-2]"""
    digest = named.digest
    if named.data_key is not None:
        raise Corrupt(
            f"{what} is encrypted under the key {named.data_key!r}, which this version does not know: upgrade sagalog",
            digest=digest,
            data_key=named.data_key,
        )
    data = snapshot.blob(digest)
    if data is None or sha256(data).hexdigest() != digest:
        found = "gone" if data is None else "changed"
        raise Corrupt(f"{what} is {found}: stop, keep the file, and compare it with a backup", digest=digest)
    return data


def leased_as(snapshot: Snapshot, id: str, fence: int) -> Task | None:
    """The task as it was when it was leased under this fence; None if it never was."""
    envelopes = snapshot.history(f"task/{id}")
    for number, envelope in enumerate(envelopes, start=1):
        leased = read(envelope)
        if isinstance(leased, Leased) and leased.fence == fence:
            return _picture(snapshot, refold(id, envelopes[:number]))
    return None


def _picture(snapshot: Snapshot, task: TaskFold) -> Task:
    return picture(task, lambda version, source=None: read(snapshot.recorded(source or task.id, version)))


def _pictures(snapshot: Snapshot, tasks: Sequence[TaskFold]) -> list[Task]:
    """The Tasks of a listing, without those whose events cannot be read. [LOG-5]"""
    pictures = []
    for task in tasks:
        with suppress(Corrupt):
            pictures.append(_picture(snapshot, task))
    return pictures
