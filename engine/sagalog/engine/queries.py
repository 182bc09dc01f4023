"""Queries: what an engine can be asked without writing, and what is answered beside tasks.

Rule: each is answered from one consistent state, and no writer waits for it. A task whose events cannot be read is left
out of listings and raises where it is asked for by id. [LOG-5] This file says what is asked, and knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from sagalog.codec import Envelope, Recorded
from sagalog.engine.explanation import Explanation, Reason
from sagalog.engine.journal_values import JournalCursor, JournalInfo, JournalPage
from sagalog.engine.task import Task
from sagalog.engine.workers import WorkerInfo
from sagalog.kernel.values import Breaker, BreakerMode, BreakerOpening, Missed, Overlap, Rate, State, Stopped, WaitEnd
from sagalog.store import PinnedTasks
from sagalog.validation.commands import ClaimRequest


class Artifact(msgspec.Struct, frozen=True):
    """Bytes that a task has made, as `Engine.artifact` reads them. [BLOB-1]

    name        the name under which the task keeps them; the newest of a name is the one that is read
    data        the bytes
    media_type  what they are, as their maker said
    digest      their SHA-256, in hex
    fence       the fence of the lease that put them
    """

    name: str
    data: bytes
    media_type: str
    digest: str
    fence: int


class WaitOutcome(msgspec.Struct, frozen=True):
    """The end of a wait: by a signal, by the end of the tasks that it named, or by time. [WAIT-3]

    name     the name of the wait
    by       "signal", "tasks" or "time"
    data     of a signal: what it carried
    number   which wait of this name it was, from 1 on
    ended    of a wait for tasks that have all ended: the state of each by its id, in the order in which the wait named
             them
    """

    name: str
    by: WaitEnd
    data: Any = None
    number: int = 1
    ended: dict[str, State] = {}


class Pause(msgspec.Struct, frozen=True):
    """A pause, as its event says it. [PAUSE-1]

    actor    who has paused it; None: not on record
    at_ms    since when, in milliseconds since 1970; None: its event cannot be read
    reason   why; None: no reason was given
    """

    actor: str | None
    at_ms: int | None
    reason: str | None


class LimitStatus(msgspec.Struct, frozen=True):
    """A named limit as it is now. [LIMIT-1]

    name     its name
    slots    how many units leases may have at a time; None: it has no slots
    rate     how many units leases may take per period; None: it has no rate
    used     how many units living leases have
    free     how many units a task may take now; below zero after a correction, or where the limit was lowered; None:
             any number, where it has a breaker alone
    paused   whether it is paused
    pause    the pause; None: it is not paused
    held     how many tasks it holds back, counted up to 1,000
    code     "unreadable": this version cannot read its stream, so nothing is known but its name and `held`; else None
    error    why it cannot be read; else None
    breaker  its breaker; None: it has none
    breaker_mode   "closed", "open" or "half_open"; None: it has none. `breakers` says more
    """

    name: str
    slots: int | None
    rate: Rate | None
    used: int
    free: int | None
    paused: bool
    pause: Pause | None = None
    held: int = 0
    code: Literal["unreadable"] | None = None
    error: str | None = None
    breaker: Breaker | None = None
    breaker_mode: BreakerMode | None = None


class QueueStatus(msgspec.Struct, frozen=True):
    """A queue that has settings, as it is now. [LIMIT-1]

    name                          its name
    slots, rate                   its own limits; None: not limited so
    per_key_slots, per_key_rate   those of each key within it
    used                          how many of its tasks run
    free                          how many may start now by its own limits; None: any number
    paused                        whether it is paused
    paused_keys                   the keys that are paused, sorted, and the pause of each
    pause                         the pause of the queue; None: it is not paused
    code, error, breaker          as of a `LimitStatus`
    affinity_wait_ms              as `set_queue` set it [ORDER-2]
    breaker_mode                  as of a `LimitStatus`
    """

    name: str
    slots: int | None
    rate: Rate | None
    per_key_slots: int | None
    per_key_rate: Rate | None
    used: int
    free: int | None
    paused: bool
    paused_keys: dict[str, Pause]
    pause: Pause | None = None
    code: Literal["unreadable"] | None = None
    error: str | None = None
    breaker: Breaker | None = None
    affinity_wait_ms: int | None = None
    breaker_mode: BreakerMode | None = None


class BreakerStatus(msgspec.Struct, frozen=True):
    """The breaker of a named limit or of a queue, as it is now. [BREAKER-1]

    limit, queue   whose it is: one of the two
    breaker        when it opens, and for how long
    mode           "closed", "open", or "half_open" while its probe runs
    failures       while it is closed: how many leases have failed in a row
    trips          how often it has opened in a row
    since_ms       when it was opened last, in milliseconds since 1970; None: it is closed
    until_ms       while it is open: when the next task that starts is its probe; None: it is not open
    task           while it is half open: the probe
    code           why it has opened last: "failures" in a row, a "quota", "probe_failed", or "probe_lost", whose probe
                   ended without a verdict; None: it is closed, or the event cannot be read
    cause          the event of the task that has opened it, as in "task/ID@3"; None: as of `code`
    """

    limit: str | None
    queue: str | None
    breaker: Breaker
    mode: BreakerMode
    failures: int
    trips: int
    since_ms: int | None
    until_ms: int | None
    task: str | None
    code: BreakerOpening | None = None
    cause: str | None = None


class ScheduleStatus(msgspec.Struct, frozen=True):
    """A schedule as it is now. [SCHEDULE-1]

    name              its name
    kind, queue       of the tasks that it creates
    cron, every_ms    when it fires: one of the two
    zone              the time zone of `cron`
    missed, overlap   as `set_schedule` took them
    next_ms           when it fires next, in milliseconds since 1970; None: not while it is paused or stopped
    last_ms           the nominal time of the newest task that it has created; None: it has created none
    task              the id of that task
    paused            whether it is paused
    code              why it has stopped by itself: "zone_unknown", "never_fires", "task_refused"; None: it goes on;
                      "unreadable": this version cannot read its stream, so nothing is known but its name
    pause             the pause; None: it is not paused
    error             why it cannot be read; else None
    """

    name: str
    kind: str
    queue: str
    cron: str | None
    every_ms: int | None
    zone: str
    missed: Missed
    overlap: Overlap
    next_ms: int | None
    last_ms: int | None
    task: str | None
    paused: bool
    code: Stopped | Literal["unreadable"] | None
    pause: Pause | None = None
    error: str | None = None


class Queries(Protocol):
    """Answers what an engine is asked. Any of them may raise Unavailable or Corrupt."""

    # --- for users: the calls of `Engine` that only read ------------------------------------------------------------

    def get(self, id: str) -> Task | None:
        """Get a task as it is now; None where there is no such task."""
        ...

    def explain(self, id: str | None = None, *, schedule: str | None = None) -> Explanation:
        """Say why no claim leases a task now, or that one would: what it waits for, what holds it back, who holds it.

        Of a schedule it says why no claim creates a task now: it has stopped, is paused or is not due, or its task of
        the time before lives. The answer is of one state of the store, and one about what cannot be read says so. It
        writes nothing. [EXPLAIN-1]

        Args:
            id: the id of the task; or
            schedule: the name of a schedule.

        Raises:
            NotFound: there is no such task, or no such schedule.
            InvalidValue: both are given, or neither; or no task or schedule is called so.
        """
        ...

    def held_back(self, tasks: Iterable[Task]) -> dict[str, tuple[Reason, ...]]:
        """Say what holds back those of some tasks that are pending and due: pauses, open breakers, and limits.

        For a listing: it looks at no units and no workers, so it costs much less than `explain`, whose reasons these
        are. A task that is held under a limit has `held` last. [EXPLAIN-1] [LIMIT-5]

        Args:
            tasks: tasks as `find` gives them.

        Returns:
            The reasons by id, for each task that something holds back. One that is leased, ended, parked or not due has
            none.

        Raises:
            InvalidValue: one of them is no `Task`.
        """
        ...

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
        """Find tasks that fit everything given, in order of creation.

        A task that this version cannot read is left out; `unreadable` gives its id. [LOG-5]

        Args:
            queue: only tasks of this queue, or of one of these.
            kind: only tasks of this kind.
            state: only tasks in this state, such as "running", or in one of these.
            tags: only tasks that have each of these tags, with this text.
            waiting: only tasks that are parked for a wait of this name; True: for any wait. [WAIT-1]
            parent: only children of the task with this id. A child that a successor has adopted keeps its parent.
            correlation_id: only tasks that share this name.
            since_ms: only tasks whose newest event, perhaps a heartbeat, came at this time or later, in milliseconds
                since 1970. No index is ordered by it, so every task that fits the rest is looked at.
            newest_first: the opposite order, in which `limit` gives the newest.
            limit: how many tasks at most; None: all of them.

        Raises:
            InvalidValue: an argument is none of its kind; the field `path` names it.
            OverBound: more queues or states than `QUEUES_MAX`. [BOUND-1]
        """
        ...

    def ids_with_prefix(self, prefix: str, limit: int = 10) -> list[str]:
        """Give the ids of tasks that begin with a prefix, in order of code points.

        A task whose id is the prefix itself comes first. Tasks that this version cannot read are among them. The cost
        is the same however many tasks there are.

        Args:
            prefix: the first characters of the ids.
            limit: how many ids at most.

        Raises:
            InvalidValue: no id begins so, or the limit is not from 1 to 10,000.
        """
        ...

    def unreadable(self) -> list[str]:
        """Give the ids of the tasks that were put aside since this version cannot read them. [LOG-5]

        They come in order of creation. `find` leaves these tasks out; `verify` says why each cannot be read.
        """
        ...

    def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """Count the tasks, by queue and state.

        Args:
            queue: only of this queue; None: of every one.

        Returns:
            Queue -> state -> number of tasks, those that this version cannot read included.
        """
        ...

    def stale(self) -> list[Task]:
        """List the tasks whose lease is over by the clock and has not ended yet. [LEASE-2]

        `recover`, or the next claim of their queue, ends these leases.
        """
        ...

    def history(
        self,
        id: str | None = None,
        *,
        limit: str | None = None,
        queue: str | None = None,
        schedule: str | None = None,
        journal: str | None = None,
    ) -> list[Recorded]:
        """Read every event of a task, in order; or of a limit, of a queue's settings, of a schedule, or of a journal.

        What was removed keeps its history.

        Args:
            id: the id of the task; or
            limit: the name of a limit: how it was set, paused and removed, and the changes of its breaker; or
            queue: the name of a queue that has settings; or
            schedule: the name of a schedule; or
            journal: the name of a journal; with `id`, of one of that task. `Journal.read` gives its entries.

        Raises:
            InvalidValue: none of them is given, or several are.
            NotFound: there is no such task, or what is named was never set.
            UnknownEvent: an event has a type, field or schema that this version does not know. [LOG-5]
            LogDamaged: an event is not the one that was written. [LOG-4]
        """
        ...

    def input(self, id: str, name: str) -> bytes:
        """Read bytes that a task was given at its creation.

        Args:
            name: the name under which it was given them.

        Raises:
            NotFound: there is no such task, or it has no input of this name.
            Pruned: the bytes are gone, since nothing has needed them for long. [PRUNE-3]
            Corrupt: the bytes are not those that were given. [BLOB-1]
        """
        ...

    def artifact(self, id: str, name: str) -> Artifact:
        """Read the newest artifact of a name. [BLOB-1]

        Args:
            name: the name under which the task keeps it.

        Raises:
            NotFound: there is no such task, or it has no artifact of this name.
            Pruned: the bytes are gone, since nothing has needed them for long. [PRUNE-3]
            Corrupt: the bytes are not those that were put.
        """
        ...

    def blob(self, digest: str) -> bytes:
        """Read the bytes that an event names by their digest: an input, an artifact, or the JSON of a large value.

        `history` and subscriptions show such a value as a blob, in a field like `payload_blob`. [BLOB-2]

        Args:
            digest: their SHA-256 in hex.

        Raises:
            NotFound: no event names such bytes. Pruned: they are gone. [PRUNE-3]
            Corrupt: the bytes are not those that were given.
        """
        ...

    def journals(self, after: str = "", limit: int = 1_000) -> list[JournalInfo]:
        """List journals that have entries or are closed, those of tasks under the task's id. [JOURNAL-1]

        Args:
            after: only those beyond this `JournalInfo.id`; "": from the first.
            limit: how many at most, 1 to 10,000.
        """
        ...

    def journal_status(self, name: str, task: str | None) -> JournalInfo:
        """Return how a journal is now; one without entries is empty. Raises NotFound for the task."""
        ...

    def journal_page(
        self, name: str, task: str | None, after: JournalCursor, limit: int, from_newest: bool
    ) -> JournalPage:
        """Read entries of a journal behind a cursor, at most `limit`, and no more than some bytes of them.

        `from_newest` passes over the entries of all leases but the newest that has written. [JOURNAL-5]
        """
        ...

    def step_result(self, id: str, name: str) -> Any:
        """Read the result of a step that is on record, as JSON gives it back. [STEP-1]

        Args:
            name: the name of the step.

        Raises:
            NotFound: there is no such task, or it has no such step on record.
        """
        ...

    def wait_end(self, id: str, name: str, number: int = 1) -> WaitOutcome | None:
        """Read how one wait of a task ended; None while it is not over or has not begun. [WAIT-1]

        Args:
            name: the name of the wait.
            number: which wait of this name, from 1 on.

        Raises:
            NotFound: there is no such task.
        """
        ...

    def wait_ends(self, id: str) -> dict[str, list[WaitOutcome]]:
        """Read how all waits of a task that are over ended: by name, in the order of their numbers. [WAIT-1]

        The numbers of a successor may have gaps: there the waits of its predecessor ended in a way that is not kept.

        Raises:
            NotFound: there is no such task.
        """
        ...

    def ready_kinds(self, queues: str | Sequence[str], build: str | None = None) -> list[str]:
        """List the kinds of the tasks that are ready in these queues, sorted: what workers there need handlers for.

        Args:
            queues: one name or several; at most 1,000 kinds of each queue are listed.
            build: the build of those workers, for tasks that are pinned to it; left out, only for those that are pinned
                to none. [BUILD-1]
        """
        ...

    def limits(self) -> list[LimitStatus]:
        """List the named limits, by name. [LIMIT-1] One that cannot be read hides no other. [LOG-5]"""
        ...

    def queues(self) -> list[QueueStatus]:
        """List the queues that have settings, by name. [LIMIT-1] One that cannot be read hides no other. [LOG-5]"""
        ...

    def breakers(self) -> list[BreakerStatus]:
        """List the breakers: those of named limits, by name, and then those of queues. [BREAKER-1]"""
        ...

    def paused_kinds(self) -> dict[str, Pause]:
        """List the kinds that are paused, sorted, and the pause of each. [PAUSE-1]"""
        ...

    def holders(
        self, *, limit: str | None = None, queue: str | None = None, key: str | None = None
    ) -> list[tuple[str, int]]:
        """List the ids of the tasks whose leases have units of a limit, and how many, oldest task first. [LIMIT-2]

        Args:
            limit: a named limit; or
            queue: a queue that has settings; or
            key: a key within that queue (left out: "default").

        Returns:
            At most 10,000 of them.

        Raises:
            NotFound: there is no limit of this name.
        """
        ...

    def schedules(self) -> list[ScheduleStatus]:
        """List the schedules, by name. [SCHEDULE-1] One that cannot be read hides no other. [LOG-5]"""
        ...

    def next_times(self, name: str, limit: int = 10) -> list[int]:
        """List the next nominal times of a schedule, in milliseconds since 1970, as if it were not paused. [SCHEDULE-1]

        Args:
            name: its name.
            limit: how many at most, 1 to 1,000.

        Raises:
            NotFound: there is no such schedule.
            InvalidValue: this machine does not know its zone.
        """
        ...

    def newest_position(self) -> int:
        """Get the newest position of the log: the number of its events, since positions have no gaps. [LOG-1]"""
        ...

    # --- for leases, workers and subscriptions ----------------------------------------------------------------------

    def leased_as(self, id: str, fence: int) -> Task | None:
        """The task as it was when it was leased under this fence; None: it never was."""
        ...

    def called_off(self, held: Mapping[str, int]) -> tuple[set[str], set[str]]:
        """Of tasks held under these fences: those whose lease has ended, and those whose holder was asked to stop.

        Those that cannot be read are left out, and so are leases that their holder has ended: by settling the last
        undo, or by a quarantine.
        """
        ...

    def claimable_ms(self, requests: Iterable[ClaimRequest]) -> int | None:
        """When one of these claims may find something; 0: now, None: not before a process commits.

        Perhaps it finds nothing then: a time or the end of a lease or wait was near, of another kind than is claimed.
        """
        ...

    def has_live(self, requests: Iterable[ClaimRequest]) -> bool:
        """Whether one of these claims could lease a task of its queues, now or later.

        For work these are the pending and running tasks of its kinds: due, delayed, parked or leased. For undo these
        are the compensating tasks that owe nothing but its kinds. A task that cannot be read counts as none. [LOG-5]
        """
        ...

    def live_kinds(self, queues: str | Sequence[str]) -> list[str]:
        """The kinds of the pending and running tasks of these queues, sorted. It reads every one of them."""
        ...

    def standing(self, requests: Iterable[ClaimRequest]) -> set[str]:
        """Ids of the tasks that these claims would lease now, without any maintenance."""
        ...

    def envelopes(self, after: int, limit: int) -> list[Envelope]:
        """Events of the whole log with positions beyond `after`, in order, at most `limit`, as they are stored."""
        ...

    def kept(self, space: str, name: str) -> str | None:
        """What is kept beside the log under a name of a space; None: nothing. [KEEP-1]"""
        ...

    def kept_in(self, space: str, after: str, limit: int) -> list[tuple[str, str]]:
        """The first names of a space beyond `after`, with what is kept under each, as `Reads.kept_in`."""
        ...

    def workers(self) -> list[WorkerInfo]:
        """List the workers of this store by name, each as it was last seen: those that run, and those of the last day.

        Each worker writes itself into the store at its start, every 10 s or so, and at its end. One that was not seen
        for 30 s is not live: it was killed, has lost its store, or its machine sleeps. The engine decides nothing by
        it. [WORKER-7]
        """
        ...

    def absent_builds(self) -> list[PinnedTasks]:
        """List the builds to which live tasks are pinned and that no live worker of their queue names. [BUILD-4]

        By build, then queue. Start a worker of that build there, or amend the tasks to another one. A worker whose row
        has no room for all its queues counts as one of every queue.
        """
        ...
