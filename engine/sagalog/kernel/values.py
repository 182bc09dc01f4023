"""The frozen values that commands, events and folds share.

Rule: values only, compared by content; no behaviour depends on a task's state. Knows nothing of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NewType, get_args

import msgspec

from sagalog.kernel.bounds import FENCE_EPOCH

Purpose = Literal["work", "undo"]
Budget = Literal["attempt", "transient", "quota"]
Spent = Literal["fail", "quarantine"]
Outcome = Literal["completed", "failed", "cancelled"]
ExpiryCause = Literal["clock", "epoch", "unseen"]
WaitEnd = Literal["signal", "tasks", "time"]
# What becomes of a task that was created to wait for others, if one of them does not complete. [WAIT-5]
OnFailed = Literal["cancel", "run", "quarantine"]
# What becomes of a live child when its parent is cancelled or fails. [CANCEL-4]
OnParentEnd = Literal["cancel", "leave"]
# How long a task has its dedupe key: while it lives, for a period from its creation, or for ever. [DEDUPE-1]
DedupeScope = Literal["live", "period", "ever"]
# What a claim does with suspects: leases the first one alone, passes over them, or leases nothing else. [LEASE-5]
Suspects = Literal["alone", "never", "only"]
# What becomes of nominal times of a schedule that have passed: the newest fires, none does, or all do. [SCHEDULE-4]
Missed = Literal["one", "skip", "all"]
# Whether a nominal time fires while the task of the one before lives. [SCHEDULE-5]
Overlap = Literal["skip", "allow"]
# Why a nominal time has no task of its own: the one before lives, it was missed, or a task has its id already.
NotFired = Literal["overlap", "missed", "exists"]
# Whether a breaker lets leases begin: all, none, or one that probes. [BREAKER-1]
BreakerMode = Literal["closed", "open", "half_open"]
# Why a breaker has opened: failures in a row, a quota, a probe that failed, or one that ended without a verdict.
BreakerOpening = Literal["failures", "quota", "probe_failed", "probe_lost"]
# Why a breaker has closed: its probe was healthy, or an operator has reset it.
BreakerClosing = Literal["healthy", "reset"]
# Why a schedule has stopped by itself. [SCHEDULE-7]
Stopped = Literal["zone_unknown", "never_fires", "task_refused"]


# What callers and handlers give, as JSON or in their own words. The kernel keeps it and cuts a text at its bound. It
# may depend on whether it is there, never on what it is. Where an event names a data key, these are encrypted.
# [RECORD-5]
_FREE: Final = msgspec.Meta(extra_json_schema={"x-free": True})
FreeJson = Annotated[Any, _FREE]
FreeText = Annotated[str, _FREE]


# The engine records its own reasons as a code with parameters: names, numbers and lists of names. [RECORD-6]
Parameter = str | int | tuple[str, ...]
Parameters = dict[str, Parameter]
KernelCode = Literal[
    "attempts_spent",
    "transients_spent",
    "quota_wait_spent",
    "expiries_spent",
    "releases_spent",
    "compensation_required",
    "undo_attempts_spent",
    "undo_expiries_spent",
    "undo_releases_spent",
    "undo_wait",
    "unknown_compensation",
    "bound",
    "retried_as_new",
    "left_over",
    "deadline",
    "start_by",
    "dependency_failed",
    "parent_ended",
]
# The codes by which the engine cancels a task, or asks its holder to stop. [DEADLINE-1]
DeadlineCode = Literal["deadline", "start_by"]
DEADLINE_CODES: Final = get_args(DeadlineCode)
# The code of a failure that a worker reported, or of what an operator did: they choose it.
TheirCode = NewType("TheirCode", str)


class State(StrEnum):
    """The state of a task; equal to its lower-case name, as in `task.state == "running"`.

    PENDING        it waits to be leased
    RUNNING        a worker holds it
    COMPENSATING   its forward work is over without success, and what it owes is being undone
    COMPLETED      it has ended: its work is done
    FAILED         it has ended without success, and owed nothing
    COMPENSATED    it has ended without success, and everything that it owed is settled
    CANCELLED      it was called off, and owed nothing
    QUARANTINED    it has ended where a human must look; what it owes is named
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


LIVE: Final = frozenset({State.PENDING, State.RUNNING, State.COMPENSATING})
TERMINAL: Final = frozenset(State) - LIVE
# The states of forward work.
FORWARD: Final = frozenset({State.PENDING, State.RUNNING})


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of the values: frozen, compared by content, unknown fields refused.

    `gc=False` here, and in other structs that a call makes by the dozen: they form no cycles, so the garbage collector
    need not track them.
    """


class Compensation(Value, frozen=True, omit_defaults=True):
    """An undo as data, so that any worker can carry it out later, also where its author has died. [COMP-1]

    The same undo of a later attempt is the same one: its id is derived from kind and params. A caller that means one
    undo twice gives each an id of its own. [REPEAT-3]

    kind     the name of the handler that carries it out
    params   what that handler is given: JSON of at most 64 KiB; a Struct or a dataclass is stored as JSON
    reason   why it would be needed, for people
    id       its name within its task; None: derived from kind and params

    Example:
        import sagalog

        remove = sagalog.Compensation("remove-worktree", {"path": "wt/168"})
        with sagalog.open("memory:") as engine:
            engine.create("build", compensations=[remove])
    """

    kind: str
    params: FreeJson = None
    reason: FreeText | None = None
    id: str | None = None


class Inherited(Value, frozen=True, omit_defaults=True):
    """An undo that a predecessor owed, by reference: its id, its kind, and the event that holds its params.

    That event is in the stream of `task` at `version`: a `created`, which plans it as compensation `index`; or, where
    `index` is -1, a `compensation_registered`. [COMP-7]
    """

    id: str
    kind: str
    task: str
    version: int
    index: int


class KeptStep(Value, frozen=True, omit_defaults=True):
    """A step that a predecessor recorded, by reference: its result is in the stream of `task` at `version`.

    That event is the `step_completed` of this name, or a `noted` that gives its result. `compensation` is the id of the
    undo that the step names. [STEP-1]
    """

    name: str
    task: str
    version: int
    compensation: str | None = None


class UnrecordedStep(Value, frozen=True, omit_defaults=True):
    """A step that had begun and has no result on record: perhaps its effect is there. [STEP-1]

    name           the name of the step
    compensation   the id of its undo; None: it has none
    """

    name: str
    compensation: str | None = None


class SignalEnd(Value, frozen=True):
    """The end of a predecessor's wait that took a signal: its `unblocked`, in the stream of `task` at `version`."""

    task: str
    version: int


class KeptWaits(Value, frozen=True):
    """The waits of one name that are over for a successor: -n for n sleeps in a row, and the ends that took signals.

    0 is each other wait before one of these. It ended by time or by the ends of tasks, and the successor waits again
    under its number. [WAIT-1]
    """

    name: str
    ends: tuple[int | SignalEnd, ...]

    def numbered(self) -> Iterator[tuple[int, SignalEnd | None]]:
        """Yield each wait that is over: its number, and the end that took its signal; None for a sleep."""
        number = 1
        for end in self.ends:
            if not isinstance(end, int):
                yield number, end
            elif end:
                yield from ((number + at, None) for at in range(-end))
            number += 1 if not isinstance(end, int) or not end else -end


class TaskEnd(Value, frozen=True):
    """A task that has ended by this version of its stream, in this state. [WAIT-3]"""

    task: str
    version: int
    state: State


class Input(Value, frozen=True, omit_defaults=True):
    """A reference to bytes that a task was given; `Engine.input` reads them. [BLOB-1]

    name         the name under which the task has them
    digest       the SHA-256 of what is stored, in hex
    size_bytes   the size of what is stored
    data_key     the name of the key under which they are encrypted; None: they are not [KEY-2]
    """

    name: str
    digest: str
    size_bytes: int
    data_key: str | None = None


class JsonBlob(Value, frozen=True, omit_defaults=True):
    """A reference to a value that is too large for its event: its JSON is a blob. [BLOB-2]

    digest       the SHA-256 of that JSON, in hex
    size_bytes   how many bytes it has
    data_key     the name of the key under which they are encrypted; None: they are not [KEY-2]
    """

    digest: str
    size_bytes: int
    data_key: str | None = None


class Failure(Value, frozen=True, omit_defaults=True):
    """A failure: what went wrong, for programs and for people.

    code         a slug for programs, of 1 to 200 characters
    message      a sentence for people, cut at 8,192 characters
    details      JSON of at most 64 KiB, such as a traceback
    parameters   of the engine's own codes: the names and numbers of which readers make the message [RECORD-6]
    limit        of a failure of the surroundings: the named limit whose breaker it strikes; None: that of the queue
                 [BREAKER-2]
    """

    code: str
    message: FreeText
    details: FreeJson = None
    parameters: Parameters | None = None
    limit: str | None = None


class Policy(Value, frozen=True):
    """The whole policy of a task, as `created` records it: a later version with other defaults keeps it. [RECORD-2]

    `Retry` says what each field means. A budget of n is spent by the n-th, and None is without end. [ATTEMPT-2]
    """

    attempts_max: int | None
    transient_max: int | None
    expiries_max: int | None
    releases_max: int | None
    quota_wait_max_ms: int | None
    delay_min_ms: int
    delay_max_ms: int
    spent: Spent
    undo_attempts_max: int | None
    undo_wait_ms: int | None


class Retry(Value, frozen=True):
    """The budgets and delays of a task, as a caller gives them; the log records the whole `Policy`.

    A budget of n is spent by the n-th, and None is without end. [ATTEMPT-2] A delay is drawn between `delay_min_ms` and
    a ceiling that doubles with every failure, up to `delay_max_ms`. [ATTEMPT-4]

    attempts_max        real failures of the work; 1: no second try
    transient_max       failures of the surroundings: overload, connections, rate limits
    expiries_max        leases that ran out since their worker was gone; counted anew while undoing
    releases_max        leases that were given back; counted anew while undoing
    quota_wait_max_ms   how long a run of "quota" retries may last
    delay_min_ms        the shortest backoff
    delay_max_ms        the longest backoff
    spent               what a spent budget does: "fail", and then undo what is owed; or "quarantine"
    undo_attempts_max   failures of undos before the task is quarantined [UNDO-3]
    undo_wait_ms        how long a due undo may wait for a worker that knows its kind before it is quarantined [UNDO-2]
    """

    attempts_max: int | None = 3
    transient_max: int | None = 20
    expiries_max: int | None = 3
    releases_max: int | None = None
    quota_wait_max_ms: int | None = 86_400_000
    delay_min_ms: int = 1_000
    delay_max_ms: int = 300_000
    spent: Spent = "fail"
    undo_attempts_max: int | None = 5
    undo_wait_ms: int | None = 604_800_000

    def resolve(self) -> Policy:
        """Give the policy with no default left out."""
        return Policy(**msgspec.structs.asdict(self))


class Rate(Value, frozen=True, omit_defaults=True):
    """A rate: so many units per period on average, and at most `burst` at once.

    The units come back evenly over the period, one by one, and never by the end of a lease. The first period after a
    pause may use almost `units + burst`: 119 of 60 a minute without a `burst`. For a quota that must not be exceeded,
    give a small one. What the numbers may be is checked where the rate is set.

    units       how many units a period gives
    period_ms   how long a period is, in milliseconds
    burst       how many may be used at once after a pause; None: as many as `units`

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            engine.set_limit("provider", rate=sagalog.Rate(60, period_ms=60_000, burst=1))
            engine.create("chat", uses={"provider": 1})
    """

    units: int
    period_ms: int
    burst: int | None = None

    @property
    def most(self) -> int:
        """How many units may be used at once."""
        return self.units if self.burst is None else self.burst


class Dedupe(Value, frozen=True, omit_defaults=True):
    """A key of which each kind has at most one task: a creation that names it again gives that task. [DEDUPE-1]

    key         a name, of 1 to 256 characters; each kind has keys of its own
    scope       how long the task has the key: "live", until it has ended; "period", for `period_ms`; "ever", for good
    period_ms   how long from its creation on, in milliseconds; only with the scope "period"

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            first = engine.create("report", dedupe=sagalog.Dedupe("nightly-2026-11-30"))
            again = engine.create("report", dedupe=sagalog.Dedupe("nightly-2026-11-30"))
        assert again.id == first.id and again.deduplicated
    """

    key: str
    scope: DedupeScope = "live"
    period_ms: int | None = None


class DedupeKey(Value, frozen=True, omit_defaults=True):
    """The dedupe key of a task, as the log records it.

    key, scope, period_ms   as of the `Dedupe` that its caller gave
    until_ms                of a period: when it is over, in milliseconds since 1970
    """

    key: str
    scope: DedupeScope
    period_ms: int | None = None
    until_ms: int | None = None

    def plain(self) -> Dedupe:
        """Return what a caller gave for it."""
        return Dedupe(self.key, self.scope, self.period_ms)

    def begun(self, now_ms: int) -> DedupeKey:
        """Return it with the end of its period, which is never further from now than the period is long. [DEDUPE-4]"""
        if self.period_ms is None:
            return self
        until_ms = now_ms + self.period_ms
        if self.until_ms is not None:
            until_ms = min(until_ms, self.until_ms)
        return msgspec.structs.replace(self, until_ms=until_ms)


class Limit(Value, frozen=True, omit_defaults=True):
    """What a limit allows: `slots` units at a time, and `rate`; None: it limits nothing of that kind. [LIMIT-1]"""

    slots: int | None = None
    rate: Rate | None = None

    @property
    def most(self) -> int | None:
        """How many units one task may use; None: any number."""
        found = [one for one in (self.slots, None if self.rate is None else self.rate.most) if one is not None]
        return min(found, default=None)

    def needed(self, units: int) -> int:
        """Return how many units a task takes that asks for `units`: the whole of a smaller limit. [LIMIT-4]"""
        most = self.most
        return units if most is None else min(units, most)


class Breaker(Value, frozen=True):
    """A circuit breaker of a named limit or a queue: it lets nothing start while what it watches is down.

    It opens at so many failures of the surroundings in a row, and after a pause it lets one task through as a probe.
    [BREAKER-1] What the numbers may be is checked where the breaker is set.

    failures       how many failures in a row open it
    pause_ms       how long it stays open, in milliseconds; twice as long after each probe that fails
    pause_max_ms   how long it stays open at most, in milliseconds

    Example:
        import sagalog

        with sagalog.open("memory:") as engine:
            engine.set_limit("provider", slots=8, breaker=sagalog.Breaker(failures=3))
            engine.create("chat", uses={"provider": 1})
    """

    failures: int = 5
    pause_ms: int = 60_000
    pause_max_ms: int = 3_600_000


class BreakerPolicy(Value, frozen=True):
    """The numbers of a breaker, as the log records them; `Breaker` says what each means. [RECORD-2]"""

    failures: int
    pause_ms: int
    pause_max_ms: int

    def pause_after(self, trips: int) -> int:
        """Return how long it stays open when it has opened `trips` times in a row, in milliseconds."""
        return min(self.pause_ms << min(trips - 1, 40), self.pause_max_ms)


class BreakerState(Value, frozen=True, omit_defaults=True):
    """A breaker as the log gives it: whether it lets leases begin, and since which event. [BREAKER-1]

    mode         "closed", "open", or "half_open" while its probe runs
    generation   the version of the event of its stream by which this began; an outcome counts only if its lease has it
    since_ms     when it was opened last
    until_ms     while it is open: when it lets a probe through
    trips        how often it has opened in a row
    task         while it is half open: the probe
    """

    mode: BreakerMode
    generation: int
    since_ms: int
    until_ms: int
    trips: int
    task: str | None = None

    def may_probe(self, now_ms: int) -> bool:
        """Tell whether it lets one lease through as its probe: its pause is over, or the clock is behind it."""
        return self.mode == "open" and not self.since_ms <= now_ms < self.until_ms

    def lets_none(self, now_ms: int) -> bool:
        """Tell whether it lets no lease begin."""
        return self.mode == "half_open" or (self.mode == "open" and not self.may_probe(now_ms))


# The state of a breaker before any event; of one that is off.
CLOSED: Final = BreakerState("closed", 0, 0, 0, 0)


class Units(Value, frozen=True, omit_defaults=True):
    """The units that a lease has taken of a limit. [LIMIT-2]

    account      `limit/` and the name of a limit, `queue/` and the name of a queue, or `key/`, a queue, `/` and a key
    units        how many units
    generation   that of the breaker there, as the lease began; None: there was none [BREAKER-2]
    """

    account: str
    units: int
    generation: int | None = None


class Lack(Value, frozen=True):
    """The reason why no lease of a task may begin now: an account, and what it lacks. [LIMIT-2]

    account   of the limit, the queue or the key; None: a kind is paused
    why       "units": too few are free; "line": a larger task is first in line; "paused": it is paused; "breaker": its
              breaker is open, or half open
    """

    account: str | None
    why: Literal["units", "line", "paused", "breaker"]


class TaskTemplate(Value, frozen=True, omit_defaults=True):
    """The task that a schedule creates each time: what `create` takes, without what belongs to one task alone."""

    kind: str
    queue: str
    priority: int
    policy: Policy
    payload: FreeJson = None
    waiver: FreeText | None = None
    tags: dict[str, str] | None = None
    affinity: str | None = None
    key: str | None = None
    correlation_id: str | None = None
    uses: dict[str, int] | None = None


class Schedule(Value, frozen=True, omit_defaults=True):
    """A schedule: when it fires, and which task it creates then. [SCHEDULE-1]

    zone, missed, overlap   the IANA time zone of `cron`; what becomes of missed nominal times, and of those during
                            which the task before lives
    template                the task
    cron, every_ms          five fields, or an interval in milliseconds: one of the two
    """

    zone: str
    missed: Missed
    overlap: Overlap
    template: TaskTemplate
    cron: str | None = None
    every_ms: int | None = None


class LeaseRecord(Value, frozen=True):
    """A lease as the log knows it: plain data without verbs.

    owner        the name of its holder
    fence        the number that rises with every lease of the task: epoch * 2**32 + n, n the number of its leases
                 [FENCE-1]
    attempt      1 + recorded failures of this purpose
    purpose      "work" or "undo"
    ttl_ms       how long it lasts without a heartbeat; None: without end
    expires_ms   when it is over, in milliseconds since 1970; None: never
    renewed_ms   when it was acquired or last renewed, by the store's clock
    probe        kept for later versions; False in this one
    uses         the units that it has taken of limits [LIMIT-2]
    """

    owner: str
    fence: int
    attempt: int
    purpose: Purpose
    ttl_ms: int | None
    expires_ms: int | None
    renewed_ms: int
    probe: bool = False
    uses: tuple[Units, ...] = ()

    def is_over(self, now_ms: int, epoch: int) -> bool:
        """Tell whether it is over: from `now_ms >= expires_ms` on, and in every later epoch. [LEASE-2]

        Args:
            now_ms: the time, in milliseconds since 1970 by the store's clock.
            epoch: the epoch of the store.
        """
        if self.fence // FENCE_EPOCH < epoch:
            return True
        return self.expires_ms is not None and now_ms >= self.expires_ms


class Seen(Value, frozen=True):
    """An observation by a monotonic clock: this lease, renewed at `renewed_ms`, was unchanged for `unchanged_ms`."""

    fence: int
    renewed_ms: int
    unchanged_ms: int


class Unchanged(Value, frozen=True):
    """An observation by a monotonic clock: the task, at `version`, was unchanged for `unchanged_ms`. [TIME-3]"""

    version: int
    unchanged_ms: int
