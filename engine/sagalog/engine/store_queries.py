"""The queries on a store of this process.

Rule: each only reads, from one consistent snapshot, and no writer waits for it. `queries` holds their promises. Knows
no store by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, Literal

from sagalog.codec import Envelope, Recorded, read
from sagalog.engine.builds import absent_builds
from sagalog.engine.explanation import Explanation, Reason
from sagalog.engine.explanations import explained
from sagalog.engine.explanations.listed import held_back
from sagalog.engine.explanations.of_schedules import explained_schedule
from sagalog.engine.histories import history_of, stream_named
from sagalog.engine.journal_reads import page_of, status_of, statuses_of
from sagalog.engine.journal_values import JournalCursor, JournalInfo, JournalPage
from sagalog.engine.json_blobs import require_whole, whole
from sagalog.engine.open_claims import (
    account_named,
    breakers_of,
    claimable_times,
    limits_of,
    queues_of,
    require_limit,
)
from sagalog.engine.pauses import paused_kinds_of
from sagalog.engine.queries import Artifact, BreakerStatus, LimitStatus, Pause, QueueStatus, ScheduleStatus, WaitOutcome
from sagalog.engine.schedule_status import next_times_of, schedules_of
from sagalog.engine.task import Task, to_task
from sagalog.engine.workers import WorkerInfo, workers_in
from sagalog.errors import Corrupt, InvalidValue, NotFound, Pruned
from sagalog.kernel import bounds
from sagalog.kernel.events import (
    ArtifactPut,
    Created,
    JournalAppended,
    Leased,
    Recordable,
    Signalled,
    Unblocked,
    step_result,
)
from sagalog.kernel.state import TakenSignal, TaskFold
from sagalog.kernel.values import Input, JsonBlob, State
from sagalog.ports import Clock
from sagalog.store import Claim, PinnedTasks, Query, Snapshot, Store
from sagalog.store.projection import refold
from sagalog.validation import arguments
from sagalog.validation.commands import ClaimRequest
from sagalog.validation.schedules import check_schedule_name
from sagalog.validation.values import (
    check_id,
    check_integer,
    check_milliseconds,
    check_name,
    check_tags,
    check_text,
    shown,
)

_STATES: Final = tuple(str(state) for state in State)
# The live states of forward work.
_WORKABLE: Final = (str(State.PENDING), str(State.RUNNING))
_SHA_256: Final = re.compile("[0-9a-f]{64}")
# How many tasks a query reads at a time where it may have to look at all.
_PAGE: Final = 1_000


class StoreQueries:
    """`Queries` on a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def get(self, id: str) -> Task | None:
        """Answer `Queries.get`."""
        check_id(id, "id")
        with self._store.read() as snapshot:
            task = snapshot.task(id)
            return None if task is None else _task(snapshot, task)

    def find(
        self,
        *,
        queue: str | Sequence[str] | None = None,
        kind: str | None = None,
        state: str | Sequence[str] | None = None,
        tags: Mapping[str, str] | None = None,
        waiting: str | Literal[True] | None = None,
        parent: str | None = None,
        correlation_id: str | None = None,
        since_ms: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Task]:
        """Answer `Queries.find`."""
        query = Query(
            queues=None if queue is None else arguments.listing(queue, "queue", bounds.QUEUES_MAX),
            kind=arguments.optional_name(kind, "kind"),
            states=None if state is None else _states(state),
            tags=() if tags is None else tuple(check_tags(tags).items()),
            waiting=waiting if waiting is None or waiting is True else check_name(waiting, "waiting"),
            parent=None if parent is None else check_id(parent, "parent"),
            correlation_id=arguments.optional_name(correlation_id, "correlation_id"),
            since_ms=None if since_ms is None else check_milliseconds(since_ms, "since_ms"),
            newest_first=arguments.check_truth(newest_first, "newest_first"),
            limit=None if limit is None else check_integer(limit, "limit", 1, bounds.TIME_MS_MAX),
        )
        with self._store.read() as snapshot:
            return _tasks(snapshot, [listed.fold for listed in snapshot.find(query)])

    def ids_with_prefix(self, prefix: str, limit: int = 10) -> list[str]:
        """Answer `Queries.ids_with_prefix`."""
        check_id(prefix, "prefix")
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        with self._store.read() as snapshot:
            return snapshot.ids_with_prefix(prefix, limit)

    def unreadable(self) -> list[str]:
        """Answer `Queries.unreadable`."""
        with self._store.read() as snapshot:
            return snapshot.unreadable()

    def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """Answer `Queries.counts`."""
        with self._store.read() as snapshot:
            return snapshot.counts(arguments.optional_name(queue, "queue"))

    def explain(self, id: str | None = None, *, schedule: str | None = None) -> Explanation:
        """Answer `Queries.explain`."""
        if (id is None) == (schedule is None):
            found = "neither" if id is None else "both"
            raise InvalidValue(f"id, schedule: expected one of the two, found {found}", path="id")
        checked = check_id(id, "id") if schedule is None else check_schedule_name(schedule, "schedule")
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            return (explained if schedule is None else explained_schedule)(snapshot, checked, now_ms)

    def held_back(self, tasks: Iterable[Task]) -> dict[str, tuple[Reason, ...]]:
        """Answer `Queries.held_back`."""
        given = list(arguments.several(tasks, "tasks"))
        for number, one in enumerate(given):
            if not isinstance(one, Task):
                path = f"tasks[{number}]"
                raise InvalidValue(f"{path}: expected a Task, found {shown(one)}", path=path)
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            return held_back(snapshot, given, now_ms)

    def stale(self) -> list[Task]:
        """Answer `Queries.stale`."""
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            return _tasks(snapshot, snapshot.over(now_ms))

    def history(
        self,
        id: str | None = None,
        *,
        limit: str | None = None,
        queue: str | None = None,
        schedule: str | None = None,
        journal: str | None = None,
    ) -> list[Recorded]:
        """Answer `Queries.history`."""
        stream = stream_named(id, limit, queue, schedule, journal)
        with self._store.read() as snapshot:
            return history_of(snapshot, stream)

    def input(self, id: str, name: str) -> bytes:
        """Answer `Queries.input`."""
        with self._store.read() as snapshot:
            created = read(snapshot.recorded(id, 1)) if _existing(snapshot, id) else None
            given = {one.name: one for one in created.inputs} if isinstance(created, Created) else {}
            if name not in given:
                raise NotFound(
                    f"task {id!r} has no input {shown(name)}; it has: {sorted(given) or 'none'}", task=id, input=name
                )
            return _bytes(snapshot, given[name], f"the input {name!r} of task {id!r}", id)

    def artifact(self, id: str, name: str) -> Artifact:
        """Answer `Queries.artifact`."""
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
            data = _bytes(snapshot, event, f"the artifact {name!r} of task {id!r}", id)
            return Artifact(name, data, event.media_type, event.digest, event.fence)

    def blob(self, digest: str) -> bytes:
        """Answer `Queries.blob`."""
        if type(digest) is not str or not _SHA_256.fullmatch(digest):
            raise InvalidValue(
                f"digest: expected a SHA-256 of 64 hexadecimal characters, found {shown(digest)}", path="digest"
            )
        with self._store.read() as snapshot:
            data = snapshot.blob(digest)
            if data is None and snapshot.pruned(digest) is None:
                raise NotFound(f"no event names bytes by {digest}; see history for the digest", digest=digest)
            return _bytes(snapshot, JsonBlob(digest, 0), f"the blob {digest}", None)

    def step_result(self, id: str, name: str) -> Any:
        """Answer `Queries.step_result`."""
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
            event = _whole(snapshot, source, known[name].version)
            require_whole(event, f"the result of the step {name!r}", id, name)
            return step_result(event, name)

    def journals(self, after: str = "", limit: int = 1_000) -> list[JournalInfo]:
        """Answer `Queries.journals`."""
        check_text(after, "after", bounds.ID_CHARACTERS_MAX)
        check_integer(limit, "limit", 1, bounds.BATCH_COMMANDS_MAX)
        with self._store.read() as snapshot:
            return statuses_of(snapshot, after, limit)

    def journal_status(self, name: str, task: str | None) -> JournalInfo:
        """Answer `Queries.journal_status`."""
        with self._store.read() as snapshot:
            return status_of(snapshot, name, task)

    def journal_page(
        self, name: str, task: str | None, after: JournalCursor, limit: int, from_newest: bool
    ) -> JournalPage:
        """Answer `Queries.journal_page`."""
        with self._store.read() as snapshot:
            return page_of(snapshot, name, task, after, limit, from_newest, _journal_bytes)

    def wait_end(self, id: str, name: str, number: int = 1) -> WaitOutcome | None:
        """Answer `Queries.wait_end`."""
        check_integer(number, "number", 1, bounds.INTEGER_MAX)
        with self._store.read() as snapshot:
            task = _existing(snapshot, id)
            place = task.waits[name].places().get(number) if name in task.waits else None
            return None if place is None else _wait_end(snapshot, task, name, number, place)

    def wait_ends(self, id: str) -> dict[str, list[WaitOutcome]]:
        """Answer `Queries.wait_ends`."""
        with self._store.read() as snapshot:
            task = _existing(snapshot, id)
            return {
                name: [_wait_end(snapshot, task, name, number, place) for number, place in ended.places().items()]
                for name, ended in task.waits.items()
            }

    def called_off(self, held: Mapping[str, int]) -> tuple[set[str], set[str]]:
        """Answer `Queries.called_off`."""
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

    def ready_kinds(self, queues: str | Sequence[str], build: str | None = None) -> list[str]:
        """Answer `Queries.ready_kinds`."""
        where = arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        named = arguments.optional_name(build, "build")
        with self._store.read() as snapshot:
            return snapshot.ready_kinds(where, named, bounds.KINDS_MAX)

    def limits(self) -> list[LimitStatus]:
        """Answer `Queries.limits`."""
        with self._store.read() as snapshot:
            return limits_of(snapshot, self._clock.now_ms())

    def queues(self) -> list[QueueStatus]:
        """Answer `Queries.queues`."""
        with self._store.read() as snapshot:
            return queues_of(snapshot, self._clock.now_ms())

    def breakers(self) -> list[BreakerStatus]:
        """Answer `Queries.breakers`."""
        with self._store.read() as snapshot:
            return breakers_of(snapshot)

    def paused_kinds(self) -> dict[str, Pause]:
        """Answer `Queries.paused_kinds`."""
        with self._store.read() as snapshot:
            return paused_kinds_of(snapshot)

    def holders(
        self, *, limit: str | None = None, queue: str | None = None, key: str | None = None
    ) -> list[tuple[str, int]]:
        """Answer `Queries.holders`."""
        account = account_named(limit, queue, key)
        with self._store.read() as snapshot:
            if limit is not None:
                require_limit(snapshot, limit)
            return snapshot.holders(account, bounds.BATCH_COMMANDS_MAX)

    def schedules(self) -> list[ScheduleStatus]:
        """Answer `Queries.schedules`."""
        with self._store.read() as snapshot:
            return schedules_of(snapshot)

    def next_times(self, name: str, limit: int = 10) -> list[int]:
        """Answer `Queries.next_times`."""
        check_schedule_name(name)
        check_integer(limit, "limit", 1, bounds.CLAIM_LIMIT_MAX)
        with self._store.read() as snapshot:
            return next_times_of(snapshot, name, limit, self._clock.now_ms())

    def newest_position(self) -> int:
        """Answer `Queries.newest_position`."""
        with self._store.read() as snapshot:
            return snapshot.head()[1]

    def leased_as(self, id: str, fence: int) -> Task | None:
        """Answer `Queries.leased_as`."""
        with self._store.read() as snapshot:
            envelopes = snapshot.history(f"task/{id}")
            for number, envelope in enumerate(envelopes, start=1):
                leased = read(envelope)
                if isinstance(leased, Leased) and leased.fence == fence:
                    return _task(snapshot, refold(id, envelopes[:number]))
        return None

    def claimable_ms(self, requests: Iterable[ClaimRequest]) -> int | None:
        """Answer `Queries.claimable_ms`."""
        with self._store.read() as snapshot:
            now_ms = self._clock.now_ms()
            times = [time for one in requests for time in claimable_times(snapshot, one.claim, now_ms)]
        return min((time for time in times if time is not None), default=None)

    def has_live(self, requests: Iterable[ClaimRequest]) -> bool:
        """Answer `Queries.has_live`."""
        # All from one state: a task may end after it has created another one in a queue that was searched before.
        with self._store.read() as snapshot:
            return any(_has_live(snapshot, one.claim) for one in requests)

    def live_kinds(self, queues: str | Sequence[str]) -> list[str]:
        """Answer `Queries.live_kinds`."""
        where = arguments.listing(queues, "queues", bounds.QUEUES_MAX)
        with self._store.read() as snapshot:
            living = (task for queue in where for state in _WORKABLE for task in _live(snapshot, queue, state))
            return sorted({task.kind for task in living})

    def standing(self, requests: Iterable[ClaimRequest]) -> set[str]:
        """Answer `Queries.standing`."""
        with self._store.read() as snapshot:
            return {id for one in requests for id in snapshot.standing(one.claim)}

    def envelopes(self, after: int, limit: int) -> list[Envelope]:
        """Answer `Queries.envelopes`."""
        with self._store.read() as snapshot:
            return snapshot.events(after, limit)

    def kept(self, space: str, name: str) -> str | None:
        """Answer `Queries.kept`."""
        with self._store.read() as snapshot:
            return snapshot.kept(space, name)

    def kept_in(self, space: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Answer `Queries.kept_in`."""
        with self._store.read() as snapshot:
            return snapshot.kept_in(space, after, limit)

    def workers(self) -> list[WorkerInfo]:
        """Answer `Queries.workers`."""
        return workers_in(self.kept_in, self._clock.now_ms())

    def absent_builds(self) -> list[PinnedTasks]:
        """Answer `Queries.absent_builds`."""
        now_ms = self._clock.now_ms()
        with self._store.read() as snapshot:
            return absent_builds(snapshot, now_ms)


def _states(given: str | Sequence[str]) -> tuple[str, ...]:
    """Check the states that a caller asks for, one or several; raises InvalidValue, OverBound."""
    is_one = isinstance(given, str) or not isinstance(given, Iterable)
    found = [given] if is_one else arguments.listed(given, "state", bounds.QUEUES_MAX, "name each state once")
    for one in found or [None]:
        if one not in _STATES:
            raise InvalidValue(f"state: expected one of {', '.join(_STATES)}, found {shown(one)}", path="state")
    return tuple(dict.fromkeys(map(str, found)))


def _has_live(snapshot: Snapshot, claim: Claim) -> bool:
    if claim.purpose == "undo":
        undoing = (task for queue in claim.queues for task in _live(snapshot, queue, str(State.COMPENSATING)))
        return any(claim.kinds is None or _owed_kinds(task) <= claim.kinds for task in undoing)
    kinds = [None] if claim.kinds is None else sorted(claim.kinds)
    return any(_may_lease(snapshot, claim, kind) for kind in kinds)


def _may_lease(snapshot: Snapshot, claim: Claim, kind: str | None) -> bool:
    """Tell whether there is a live task of a kind that is pinned to no other build. [BUILD-1]"""
    # Nearly always the first one tells.
    after, limit = 0, 1
    while page := snapshot.find(Query(claim.queues, kind, _WORKABLE, after=after, limit=limit)):
        if any(listed.fold.build in (None, claim.build) for listed in page):
            return True
        after, limit = page[-1].order, _PAGE
    return False


def _live(snapshot: Snapshot, queue: str, state: str) -> Iterator[TaskFold]:
    """Yield the tasks of a queue in a state, a page at a time."""
    after = 0
    while page := snapshot.find(Query((queue,), states=(state,), after=after, limit=_PAGE)):
        yield from (listed.fold for listed in page)
        after = page[-1].order


def _owed_kinds(task: TaskFold) -> set[str]:
    return {task.compensations[id].kind for id in task.owed()}


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
    """Read the end of a wait from the place of its `unblocked`; a sleep, at version 0, has nothing to read."""
    if not place.version:
        return WaitOutcome(name, "time", None, number)
    id = task.stream_of(place.source)
    unblocked = read(snapshot.recorded(id, place.version))
    assert isinstance(unblocked, Unblocked)
    data = None
    if unblocked.signal_version is not None:
        signalled = _whole(snapshot, id, unblocked.signal_version)
        require_whole(signalled, f"the signal for {name!r}", task.id)
        assert isinstance(signalled, Signalled)
        data = signalled.data
    return WaitOutcome(name, unblocked.by, data, number, {one.task: one.state for one in unblocked.ended})


def _journal_bytes(snapshot: Snapshot, named: JournalAppended, what: str) -> bytes:
    return _bytes(snapshot, named, what, named.task)


def _bytes(
    snapshot: Snapshot, named: Input | ArtifactPut | JsonBlob | JournalAppended, what: str, task: str | None
) -> bytes:
    """Return the bytes of a digest, and check them against it. [BLOB-1] [KEY-2] [PRUNE-3]"""
    digest = named.digest
    if named.data_key is not None:
        raise Corrupt(
            f"{what} is encrypted under the key {named.data_key!r}, which this version does not know: upgrade sagalog",
            digest=digest,
            data_key=named.data_key,
        )
    data = snapshot.blob(digest)
    if data is None and snapshot.pruned(digest) is not None:
        raise Pruned(
            f"{what} was pruned, since nothing had needed it for long: create a task anew with the same bytes",
            task=task,
            digest=digest,
        )
    if data is None or sha256(data).hexdigest() != digest:
        found = "gone" if data is None else "changed"
        raise Corrupt(f"{what} is {found}: stop, keep the file, and compare it with a backup", digest=digest)
    return data


def _task(snapshot: Snapshot, task: TaskFold) -> Task:
    return to_task(task, lambda version, source=None: _whole(snapshot, source or task.id, version))


def _whole(snapshot: Snapshot, id: str, version: int) -> Recordable:
    """Return one event of a task, with its values. [BLOB-2]"""
    return whole(read(snapshot.recorded(id, version)), snapshot.blob)


def _tasks(snapshot: Snapshot, tasks: Sequence[TaskFold]) -> list[Task]:
    """Return the Tasks of a listing, without those whose events cannot be read. [LOG-5]"""
    read_whole = []
    for task in tasks:
        with suppress(Corrupt):
            read_whole.append(_task(snapshot, task))
    return read_whole
