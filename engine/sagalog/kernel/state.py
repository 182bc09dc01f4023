"""The folds of streams: the little that decisions need, never the bodies of events.

Rule: only `evolve` makes or changes a fold; all other code treats it as a value. What can be large (payload, result,
errors, params of compensations) stays in its event, and the fold keeps the version of that event. Stores save folds
beside the log and may discard them: `FOLD_FORMAT` numbers their shape. Knows no event and no command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.values import (
    CLOSED,
    TERMINAL,
    BreakerPolicy,
    BreakerState,
    DedupeKey,
    LeaseRecord,
    Limit,
    OnFailed,
    Outcome,
    Policy,
    Schedule,
    State,
    Stopped,
    Unchanged,
    UnrecordedStep,
)

# Raise it with any change of the shapes below, and with any new event type or schema: versions that cannot read such an
# event must refuse a fold made from it [LOG-5]. A store folds again what has an older format, and refuses a newer one.
FOLD_FORMAT: Final = 14

Settlement = Literal["planned", "owed", "done", "waived", "noted", "void"]


class CompensationRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One undo: the event that holds it, and how it was settled.

    `source`, `version` and `index` locate its params. `source` is the stream: 0 the task's own, n that of the n-th of
    the fold's `sources`. The event there is a `created`, which plans it as number `index`, or a
    `compensation_registered` (index -1). `fence` is that of the lease which registered it, 0 for a planned or inherited
    one. `settled` is the version that settled it, 0 while open, and `done_fence` the fence of the lease that did it, 0
    if none has. The kernel recognises repeats by them.
    """

    kind: str
    version: int
    index: int
    status: Settlement
    fence: int = 0
    settled: int = 0
    done_fence: int = 0
    source: int = 0

    @property
    def is_inherited(self) -> bool:
        """Whether only a predecessor has planned or registered it. [COMP-7]"""
        return self.source > 0


class EndedLease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last lease that ended: its verb and its event, by which the kernel recognises a repeat. [REPEAT-5]"""

    fence: int
    verb: str
    version: int


class Recording(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something that a holder recorded under a name: its event, and the fence of that lease."""

    version: int
    fence: int


class AdoptedChild(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A child that a predecessor had: its id, and the lease under which this task adopted it. [STEP-2]"""

    task: str
    version: int
    fence: int


class StepRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step: the event that holds its result, the lease under which it was recorded, and the undo that it names.

    `source` is as for a compensation; a step that a successor keeps from its predecessor has the fence 0. [STEP-1]
    """

    version: int
    fence: int
    source: int = 0
    compensation: str | None = None


class KeptSignal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A signal that no wait has taken yet."""

    name: str
    version: int


class Waiting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The wait that the task is parked for [WAIT-1], or that its creation began [WAIT-5].

    Of the tasks that it is for, `tasks` is how many they are and `digest` is over their ids (`digest_of_ids`); the
    event at `version` names them.
    """

    name: str
    number: int
    version: int
    signal: str | None
    tasks: int
    until_ms: int | None
    digest: str | None = None
    on_failed: OnFailed | None = None

    @property
    def is_sleep(self) -> bool:
        """Whether it is only for a time: its end holds nothing that a later attempt has to read."""
        return self.signal is None and not self.tasks

    @property
    def is_of_creation(self) -> bool:
        """Whether the task was created to wait so, before any lease. [WAIT-5]"""
        return self.number == 0


class TakenSignal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The event that ended a wait and took a signal; `source` is as for a compensation."""

    version: int
    source: int = 0


class EndedWaits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The waits of one name that are over.

    `count` is how many follow one another from the first on, so the next is one more. `ends` is what ended them, in
    their order: a signal that was taken, the version of any other `unblocked`, or -n for n sleeps in a row. So a task
    that polls keeps one number, however long it does.
    `later` is what a successor keeps behind its next wait. It begins with 0, and each 0 is one wait that the successor
    begins again; the others keep their numbers. [WAIT-1]
    """

    count: int = 0
    ends: tuple[int | TakenSignal, ...] = ()
    later: tuple[int | TakenSignal, ...] = ()

    @classmethod
    def of(cls, all: Iterable[int | TakenSignal]) -> EndedWaits:
        """Return the waits that one row of ends describes; in it, 0 is a wait that begins again."""
        return cls()._followed_by((), tuple(all))

    def and_more(self, end: int | TakenSignal) -> EndedWaits:
        """Return these and the next wait with its `end`, -1 for a sleep; waits over behind it keep their numbers."""
        return self._followed_by((end,), self.later[1:])

    def _followed_by(self, ends: tuple[int | TakenSignal, ...], behind: tuple[int | TakenSignal, ...]) -> EndedWaits:
        gap = next((at for at, end in enumerate(behind) if end == 0), len(behind))
        count, row = self.count, list(self.ends)
        for end in (*ends, *behind[:gap]):
            count += -end if isinstance(end, int) and end < 0 else 1
            last = row[-1] if row else 0
            if isinstance(end, int) and isinstance(last, int) and end < 0 and last < 0:
                row[-1] = last + end
            else:
                row.append(end)
        return EndedWaits(count, tuple(row), behind[gap:])

    def kept(self) -> tuple[int | TakenSignal, ...]:
        """Return the waits that are over for a successor: sleeps and taken signals, 0 for each other one.

        No 0 ends the row: the successor's next wait has that number in any case.
        """
        kept = [0 if isinstance(end, int) and end > 0 else end for end in (*self.ends, *self.later)]
        while kept and kept[-1] == 0:
            kept.pop()
        return tuple(kept)

    def places(self) -> dict[int, TakenSignal]:
        """Return, by its number, the event that ended each wait which is over; at version 0 for a sleep."""
        found: dict[int, TakenSignal] = {}
        number = 1
        for end in (*self.ends, *self.later):
            if not isinstance(end, int):
                found[number] = end
            elif end:
                found |= {number + at: TakenSignal(max(end, 0)) for at in range(max(-end, 1))}
            number += -end if isinstance(end, int) and end < 0 else 1
        return found


class KeptPolicy(Policy, frozen=True, array_like=True):
    """The policy of a task as its fold holds it: fields by position, since a store saves the fold with every write."""

    @classmethod
    def of(cls, policy: Policy) -> KeptPolicy:
        """Return the same policy as a fold holds it."""
        return cls(
            policy.attempts_max,
            policy.transient_max,
            policy.expiries_max,
            policy.releases_max,
            policy.quota_wait_max_ms,
            policy.delay_min_ms,
            policy.delay_max_ms,
            policy.spent,
            policy.undo_attempts_max,
            policy.undo_wait_ms,
        )

    def plain(self) -> Policy:
        """Return the same policy as `created` records it."""
        return Policy(*msgspec.structs.astuple(self))


class TaskFold(msgspec.Struct, array_like=True, gc=False):
    """A task's stream, folded. Compare whole folds with `==`; change them only through `evolve`.

    Fields that nearly every task fills come first: a saved fold leaves out trailing fields that have their defaults.
    """

    id: str
    version: int = 0
    state: State | None = None
    kind: str = ""
    queue: str = ""
    priority: int = 0
    run_at_ms: int = 0
    policy: KeptPolicy | None = None
    created_ms: int = 0
    updated_ms: int = 0
    # How many events count against the bound of a stream: all but heartbeats. [BOUND-2]
    length: int = 0
    leases: int = 0
    lease: LeaseRecord | None = None
    ended: EndedLease | None = None
    has_waiver: bool = False
    # Whether a worker took a lease for work without a waiver of its own: then its work may need an undo. [COMP-2]
    needs_undo: bool = False
    # Versions of the events that hold what readers see of a task; 0 is none.
    progress_version: int = 0
    result_version: int = 0
    error_version: int = 0
    reason_version: int = 0
    successor_version: int = 0
    affinity: str | None = None
    key: str | None = None
    tags: dict[str, str] | None = None
    data_key: str | None = None
    # The task that created it as a child, and the name of the group of its work: callers find it by them.
    parent: str | None = None
    correlation_id: str | None = None
    compensations: dict[str, CompensationRecord] = {}
    # By name: recorded steps, artifacts and children, and waits that are over; `rounds` counts all those waits.
    steps: dict[str, StepRecord] = {}
    artifacts: dict[str, Recording] = {}
    children: dict[str, AdoptedChild] = {}
    waits: dict[str, EndedWaits] = {}
    rounds: int = 0
    waiting: Waiting | None = None
    signals: tuple[KeptSignal, ...] = ()
    # Budgets of the forward work, then of undoing. [ATTEMPT-2]
    failures: int = 0
    transients: int = 0
    expiries: int = 0
    releases: int = 0
    quota_since_ms: int | None = None
    undo_failures: int = 0
    undo_expiries: int = 0
    undo_releases: int = 0
    cancel_version: int = 0
    outcome: Outcome | None = None
    code: str | None = None
    # Predecessors whose streams hold what this task has inherited or kept; records name them by place.
    sources: tuple[str, ...] = ()
    # Names of waits that it keeps from a predecessor: neither they nor what ended there count against its bounds.
    kept_wait_names: int = 0
    # The steps that its quarantine names: their functions had begun, and their results are not on record.
    unrecorded_steps: tuple[UnrecordedStep, ...] = ()
    # Named limits, and how many units of each a lease for work takes. [LIMIT-2]
    uses: dict[str, int] | None = None
    # When the engine cancels it, and why it had asked its holder to stop. [DEADLINE-1]
    deadline_ms: int | None = None
    start_by_ms: int | None = None
    cancel_code: str | None = None
    # The newest events that have amended its payload and its policy; 0: they are as it was created. [AMEND-3]
    payload_version: int = 0
    policy_version: int = 0
    # Whether the tasks that it was created to wait for have not let it go on: a successor waits for them anew. [WAIT-5]
    is_blocked: bool = False
    # Whether it is cancelled when its parent is cancelled or fails. [CANCEL-4]
    ends_with_parent: bool = False
    # The key of which its kind has only this task, as its creation says. [DEDUPE-1]
    dedupe: DedupeKey | None = None
    # The build of the workers that may lease it for work; None: any worker may. [BUILD-1]
    build: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether only notes may follow. [TERM-1]"""
        return self.state in TERMINAL

    @property
    def subject(self) -> str:
        """The name of its data key: the one given at its creation, else its own id. [KEY-1]"""
        return self.id if self.data_key is None else self.data_key

    @property
    def attempt(self) -> int:
        """1 + the recorded failures of its present phase: forward work or undoing. [ATTEMPT-1]"""
        return 1 + (self.undo_failures if self.state is State.COMPENSATING else self.failures)

    def next_wait(self, name: str) -> int:
        """Return the number of the next wait of this name. [WAIT-1]"""
        ended = self.waits.get(name)
        return 1 if ended is None else ended.count + 1

    @property
    def is_suspect(self) -> bool:
        """Whether its next expired lease would spend `expiries_max`, and one has expired already. [LEASE-5]

        Perhaps its handler kills its worker: a claim leases it alone, so that no other task's lease expires with it.
        """
        expiries = self.undo_expiries if self.state is State.COMPENSATING else self.expiries
        if not expiries:
            return False
        maximum = None if self.policy is None else self.policy.expiries_max
        return maximum is not None and expiries + 1 >= maximum

    @property
    def is_quarantined_by_holder(self) -> bool:
        """Whether its last holder asked for its quarantine: a holder gives an error, an operator only a reason."""
        ended = self.ended
        return ended is not None and ended.verb == "quarantine" and self.error_version == ended.version

    @property
    def fence(self) -> int:
        """The fence of the newest lease; 0 before the first."""
        if self.lease is not None:
            return self.lease.fence
        return self.ended.fence if self.ended is not None else 0

    def owed(self) -> list[str]:
        """Return the ids of the compensations that are owed, in order of registration. [COMP-1]"""
        return [id for id, record in self.compensations.items() if record.status == "owed"]

    def left(self) -> tuple[str, ...]:
        """Return the inherited undos that are owed and that no plan, step or registration of this task replaces."""
        if not self.compensations:
            return ()
        inherited = [id for id, record in self.compensations.items() if record.is_inherited and record.status == "owed"]
        named = {step.compensation for step in self.steps.values()} if inherited else ()
        return tuple(id for id in inherited if id not in named)

    def stream_of(self, source: int) -> str:
        """Return the id of the task whose stream holds a record of this source."""
        return self.sources[source - 1] if source else self.id


def shows_due(task: TaskFold, seen: Unchanged | None, due_ms: int | None, now_ms: int) -> bool:
    """Check whether an observation shows that a task's time has come. [TIME-3]

    While the clock is before the task's last event, it cannot show that. The task was to wait for
    `due_ms - updated_ms`; an observer that has seen it unchanged for so long shows it instead.
    """
    if seen is None or due_ms is None or not now_ms < task.updated_ms <= due_ms:
        return False
    return seen.version == task.version and seen.unchanged_ms >= due_ms - task.updated_ms


class StoreFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The store's own stream, folded; `writer` is the newest version of sagalog on record. [LOG-7]"""

    id: str
    version: int = 0
    format: int = 0
    epoch: int = 0
    writer: str = ""
    # The version of the event that has paused each kind. [PAUSE-1]
    paused_kinds: dict[str, int] = {}


class LimitFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The stream of a named limit, folded; `paused` is the version of the event that has paused it, 0: none has.

    `length` counts the events since its fold was last carried. [CARRY-1]
    """

    id: str
    version: int = 0
    length: int = 0
    is_removed: bool = False
    limit: Limit = Limit()
    paused: int = 0
    breaker: BreakerPolicy | None = None
    breaker_state: BreakerState = CLOSED


class QueueFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The stream of a queue, folded: its own limits, those of each key within it, and what is paused, by version.

    `length` is as for a limit. `affinity_wait_ms` is how long a ready task with an affinity waits before it goes before
    all others; None: it never does. [ORDER-2]
    """

    id: str
    version: int = 0
    length: int = 0
    own: Limit = Limit()
    per_key: Limit = Limit()
    paused: int = 0
    paused_keys: dict[str, int] = {}
    breaker: BreakerPolicy | None = None
    breaker_state: BreakerState = CLOSED
    affinity_wait_ms: int | None = None


class ScheduleFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The stream of a schedule, folded.

    length             as for a limit
    schedule           as it was set last; None: never
    anchor_ms          from when on an interval counts
    settled_ms         up to when its nominal times are settled: fired, skipped, or before it was set or resumed
    next_ms            its next nominal time; None: it never fires again
    task, task_ms      the newest task that it has created, and the nominal time of that
    paused, stopped    the version of the event that has paused it, 0: none has; the code with which it has stopped
    """

    id: str
    version: int = 0
    length: int = 0
    is_removed: bool = False
    schedule: Schedule | None = None
    anchor_ms: int = 0
    settled_ms: int = 0
    next_ms: int | None = None
    task: str | None = None
    task_ms: int | None = None
    paused: int = 0
    stopped: Stopped | None = None

    @property
    def due_ms(self) -> int | None:
        """When maintenance has to look at it; None: it is removed, paused or stopped, or never fires again."""
        is_off = self.is_removed or self.paused or self.stopped is not None
        return None if is_off else self.next_ms

    def is_ahead(self, now_ms: int) -> bool:
        """Check whether it is ahead of the clock by more than its period, as after a clock that jumped. [SCHEDULE-3]"""
        period_ms = 0 if self.next_ms is None else self.next_ms - self.settled_ms
        return self.settled_ms - now_ms > period_ms

    def settled_at(self, now_ms: int) -> int:
        """Return up to when nominal times are settled, for a schedule that begins, or goes on, now."""
        return now_ms if self.is_ahead(now_ms) else max(self.settled_ms, now_ms)


class JournalFold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The stream of a journal, folded: counts only. [JOURNAL-1]

    length       as for a limit
    entries      how many entries it has, which is the number of the newest one
    size_bytes   how many bytes the store keeps of them
    task         the id of the task to which it belongs; None: it is no task's
    fence        that of the lease that has written the newest entries; 0 if it is no task's
    first        the number of the first entry under that fence; 0: there is none
    """

    id: str
    version: int = 0
    length: int = 0
    entries: int = 0
    size_bytes: int = 0
    task: str | None = None
    fence: int = 0
    first: int = 0
    is_closed: bool = False


def epoch_of(fence: int) -> int:
    """Return the store's epoch in which a fence was given out. [FENCE-1]"""
    return fence // FENCE_EPOCH
