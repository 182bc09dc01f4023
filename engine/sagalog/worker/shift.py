"""One worker at work on one engine: what has ended is settled, what runs is renewed, what comes next is claimed.

Rule: whatever of these is due at one time stands in one commit. Everything that matters is in the log: a shift that is
killed between any two lines loses nothing but its leases, and those end by themselves [UPKEEP-1]. A shift is driven by
`turn`, which never waits; whoever drives it waits between turns. Knows no thread but through its crew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sagalog import forms
from sagalog.batch import Batch, Result
from sagalog.engine import Engine
from sagalog.errors import Conflict, LeaseLost, Rejected, SagalogError
from sagalog.forms import Asked
from sagalog.kernel.values import Failure, Purpose
from sagalog.ports import Clock
from sagalog.task import Lease, Task
from sagalog.worker.context import UndoContext, WorkContext
from sagalog.worker.crew import Crew, Job
from sagalog.worker.handling import Handler, Settlement, Undoing, is_coroutine_function, second_settlement
from sagalog.worker.stopping import Stopping

_log: Final = logging.getLogger("sagalog.worker")

# How often what a worker holds is looked at for a cancel, and upkeep is done, where somebody has committed since.
_LOOK_MS: Final = 500
_UPKEEP_MS: Final = 1_000
# How soon it is looked again where something seemed to be there and nothing was found.
_NOTHING_FOUND_MS: Final = 5
# How long a handler that was told to end is waited for before its thread is replaced.
_PATIENCE_MS: Final = 1_000


@dataclass(frozen=True)
class Plan:
    """How a worker works; `Worker` says what each means."""

    queues: tuple[str, ...]
    handlers: Mapping[str, Handler]
    compensations: Mapping[str, Handler]
    concurrency: int
    claim_ahead: int
    ttl_ms: int
    quarantine_unknown: bool
    time_limits_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Tally:
    """What one shift has come to so far."""

    claimed: int = 0
    settled: int = 0
    refused: int = 0
    lost: int = 0
    renewed: int = 0
    commits: int = 0


@dataclass
class _Turn:
    """What one commit is made of: the jobs behind each result, in the order in which they were recorded."""

    settled: list[Job] = field(default_factory=list)
    renewed: list[Job] = field(default_factory=list)
    claimed: list[Asked] = field(default_factory=list)


class Shift:
    """The state of one worker at work. Not safe to share; only `watch` may be called from another thread."""

    def __init__(self, engine: Engine, plan: Plan, owner: str, crew: Crew, clock: Clock) -> None:
        self._engine = engine
        self._plan = plan
        self._crew = crew
        self._clock = clock
        # In order, and a thousand of them are taken out one by one.
        self._jobs: dict[Job, None] = {}
        self._ended: dict[Job, None] = {}
        # Whether a claim may find something, by purpose; wrong at most until somebody commits or a time comes.
        self._more: dict[Purpose, bool] = {}
        self._asked: dict[Purpose, Asked] = {}
        if plan.compensations:
            self._asked["undo"] = self._ask("undo", owner, plan.compensations)
        if plan.handlers:
            self._asked["work"] = self._ask("work", owner, plan.handlers)
        self._coroutines = _coroutines_of(plan.handlers)
        self._undo_coroutines = _coroutines_of(plan.compensations)
        self._looked_ms = self._upkept_ms = clock.monotonic_ms() - _UPKEEP_MS
        self._sent_ms = 0
        # What is in the log as this worker's and is not worked on here any more.
        self._given_up: set[tuple[str, int]] = set()
        self.tally = Tally()
        self.owner = owner
        self.is_closing = False

    def _ask(self, purpose: Purpose, owner: str, kinds: Mapping[str, Handler]) -> Asked:
        plan = self._plan
        return forms.claim(plan.queues, owner, plan.ttl_ms, 1, list(kinds), None, purpose, None)

    # --- what whoever drives it asks ------------------------------------------------------------------------------

    def monotonic_ms(self) -> int:
        """The clock by which it measures how long something takes."""
        return self._clock.monotonic_ms()

    @property
    def held(self) -> int:
        """How many leases it holds."""
        return len(self._jobs)

    @property
    def room(self) -> int:
        """How many more it may hold."""
        if self.is_closing:
            return 0
        return self._plan.concurrency + self._plan.claim_ahead - len(self._jobs) + len(self._ended)

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing, and there is nothing to claim as far as it knows."""
        return not self._jobs and not any(self._more.values())

    def wait_ms(self) -> int:
        """How long nothing will be due for it, if no job ends and nobody commits."""
        if self._ended or (self.room > 0 and any(self._more.values())):
            return 0
        now_ms = self._clock.monotonic_ms()
        living = [job for job in self._jobs if not job.ended and job.stopping.reason != "lost"]
        times = [max(job.sent_ms + self._renew_ms, job.renew_after_ms) - now_ms for job in living]
        times += [job.time_limit_ms for job in self._jobs if job.time_limit_ms is not None]
        if self.room > 0 and self._asked:
            due = self._engine.claimable_ms(self._asked.values())
            if due is not None:
                # What seems to be there and was not found is not asked for all the time.
                times.append(max(_NOTHING_FOUND_MS, due - self._engine.now_ms()))
        return max(0, min(times, default=_UPKEEP_MS))

    @property
    def _renew_ms(self) -> int:
        return max(1, self._plan.ttl_ms // 3)

    # --- one turn -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Somebody has committed, or a time has come: there may be something to claim, to stop, or to tend."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._looked_ms >= _LOOK_MS and self._jobs:
            self._looked_ms = now_ms
            self._look_for_cancels()
        if now_ms - self._upkept_ms >= _UPKEEP_MS and not self.is_closing:
            self._upkept_ms = now_ms
            # Who undoes nothing has no say in what can be undone.
            declares = self._plan.quarantine_unknown and self._plan.compensations
            known = list(self._plan.compensations) if declares else None
            self._engine.recover(queues=self._plan.queues, known_kinds=known)
        if self.room > 0:
            for purpose, asked in self._asked.items():
                due_ms = None if self._more.get(purpose) else self._engine.claimable_ms([asked])
                if due_ms is not None and due_ms <= self._engine.now_ms():
                    self._more[purpose] = True

    def take(self, ended: list[Job]) -> None:
        """Jobs have come back: they are settled in the next turn."""
        for job in ended:
            if job.abandoned:
                continue
            job.ended = True
            if job.settlement is None:
                # What it did is on record already.
                del self._jobs[job]
                self.tally.settled += 1
            else:
                self._ended[job] = None

    def turn(self) -> bool:
        """Settle, renew and claim what is due, in one commit; whether there was anything.

        Raises:
            Unavailable, Unknown: the store is away; the same again, later. What was claimed in a commit whose outcome
                nobody knows is found again by `find_own`.
            Closed, Corrupt: it is no use to go on.
        """
        turn = _Turn()
        sent_ms = self._sent_ms = self._clock.monotonic_ms()
        batch = self._engine.batch(together=False)
        with batch:
            self._record_settlements(batch, turn)
            self._record_renewals(batch, turn, sent_ms)
            self._record_claims(batch, turn)
        if not len(batch):
            return False
        self.tally.commits += 1
        self._take_results(turn, batch.results, sent_ms)
        return True

    def _record_settlements(self, batch: Batch, turn: _Turn) -> None:
        for job in self._ended:
            assert job.settlement is not None
            job.settlement = _recorded(batch, job, job.settlement)
            turn.settled.append(job)

    def _record_renewals(self, batch: Batch, turn: _Turn, sent_ms: int) -> None:
        living = [
            job
            for job in self._jobs
            if not job.ended and job.stopping.reason != "lost" and job.renew_after_ms <= sent_ms
        ]
        due_ms = sent_ms - self._renew_ms
        if any(job.sent_ms <= due_ms for job in living):
            # One commit for all: those that would soon be due themselves come along.
            due_ms = sent_ms - self._renew_ms // 2
        for job in living:
            progress = job.context.newest_progress()
            if job.sent_ms <= due_ms or (progress is not None and job.sent_ms <= sent_ms - _UPKEEP_MS):
                _record_renewal(batch, job, self._plan.ttl_ms, progress)
                turn.renewed.append(job)

    def _record_claims(self, batch: Batch, turn: _Turn) -> None:
        wanted = [purpose for purpose, more in self._more.items() if more]
        room = self.room
        for left, purpose in enumerate(reversed(wanted)):
            # Undoing goes first, and leaves half of the room to work, if there is any.
            limit = min(room - room // 2 if left < len(wanted) - 1 else room, 1_000)
            if limit > 0:
                asked = self._asked[purpose]
                claim = asked.claim
                batch.claim(
                    claim.queues,
                    owner=asked.owner,
                    ttl_ms=asked.ttl_ms,
                    limit=limit,
                    kinds=claim.kinds,
                    purpose=purpose,
                )
                turn.claimed.append(asked)
                room -= limit

    # --- what a commit came to ------------------------------------------------------------------------------------

    def _take_results(self, turn: _Turn, results: list[Result], sent_ms: int) -> None:
        answers = iter(results)
        for job in turn.settled:
            self._take_settled(job, next(answers))
        for job in turn.renewed:
            self._take_renewed(job, next(answers), sent_ms)
        for asked in turn.claimed:
            self._take_claimed(asked, next(answers), sent_ms)

    def _take_settled(self, job: Job, answer: Result) -> None:
        if isinstance(answer, SagalogError) and self._settles_otherwise(job, answer):
            return
        del self._ended[job]
        del self._jobs[job]
        self.tally.settled += not isinstance(answer, SagalogError)
        if any(isinstance(one, Task) and one.state == "compensating" for one in _several(answer)):
            self._more["undo"] = "undo" in self._asked

    def _settles_otherwise(self, job: Job, refusal: SagalogError) -> bool:
        """After a refusal: whether the job is to be settled in another way in the next turn."""
        if isinstance(refusal, LeaseLost):
            self.tally.lost += 1
            _log.warning("the end of a handler came too late: %s", refusal)
            return False
        _log.error("the end of a handler was refused, and it is settled otherwise: %s", refusal)
        self.tally.refused += 1
        if job.tries >= 2 or not isinstance(refusal, Rejected | Conflict):
            return False
        job.tries += 1
        job.settlement = second_settlement(job.lease, job.undo_at, refusal)
        return True

    def _take_renewed(self, job: Job, answer: Result, sent_ms: int) -> None:
        if isinstance(answer, Lease):
            job.lease, job.sent_ms = answer, sent_ms
            job.context.forget_progress()
            self.tally.renewed += 1
            if answer.task.cancel_requested and answer.purpose == "work":
                job.stopping.tell("cancelled")
        elif isinstance(answer, LeaseLost):
            _log.warning("a lease was lost: %s", answer)
            self.tally.lost += 1
            job.stopping.tell("lost")
        elif isinstance(answer, SagalogError):
            _log.error("a renewal was refused: %s", answer)
            job.context.forget_progress()
            # Again before long, and not all the time.
            job.renew_after_ms = sent_ms + _UPKEEP_MS

    def _take_claimed(self, asked: Asked, answer: Result, sent_ms: int) -> None:
        if isinstance(answer, SagalogError):
            _log.error("a claim was refused: %s", answer)
            self._more[asked.claim.purpose] = False
            return
        assert isinstance(answer, list)
        self._more[asked.claim.purpose] = bool(answer)
        for lease in answer:
            self.begin(lease, sent_ms)

    def begin(self, lease: Lease, sent_ms: int) -> None:
        """Have the handler of a lease run."""
        stopping = Stopping()
        context: WorkContext | UndoContext
        handler = None
        if lease.purpose == "work":
            handler = self._plan.handlers[lease.task.kind]
            context = WorkContext(self._engine, lease, stopping)
        else:
            context = UndoContext(self._engine, lease, stopping)
        job = Job(lease, context, stopping, sent_ms)
        job.handler = handler
        job.time_limit_ms = self._plan.time_limits_ms.get(lease.task.kind) if handler is not None else None
        if isinstance(context, UndoContext):
            job.undoing = Undoing(context, lease, dict(self._plan.compensations))
        job.is_coroutine = self._is_coroutine(lease)
        if isinstance(context, WorkContext) and job.is_coroutine:
            context.allow_any_order()
        self.tally.claimed += 1
        self._jobs[job] = None
        if lease.task.cancel_requested and lease.purpose == "work":
            stopping.tell("cancelled")
        self._crew.begin(job)

    def _is_coroutine(self, lease: Lease) -> bool:
        """Whether it is run on an event loop: so are undoings of which any handler is a coroutine function."""
        if lease.purpose == "work":
            return lease.task.kind in self._coroutines
        return any(one.kind in self._undo_coroutines for one in lease.task.owed)

    # --- stopping -------------------------------------------------------------------------------------------------

    def watch(self) -> int:
        """Tell every handler whose lease may be over that it is lost; how soon to look again, in milliseconds.

        [WORKER-2] Measured from the sending of the last renewal that was accepted, so before the store's clock says so.
        """
        now_ms = self._clock.monotonic_ms()
        margin_ms = min(self._plan.ttl_ms // 5, 2_000)
        # Leases begin behind its back; so it looks often enough to be in time for any.
        left_ms = max(1, margin_ms // 2)
        for job in tuple(self._jobs):
            over_ms = job.sent_ms + self._plan.ttl_ms - margin_ms - now_ms
            if over_ms > 0:
                left_ms = min(left_ms, over_ms)
            elif job.stopping.reason != "lost" and not job.ended:
                _log.warning("no renewal of task %s was accepted in time: its handler is to end", job.lease.task.id)
                job.stopping.tell("lost")
        return left_ms

    def end_overdue(self) -> None:
        """Tell handlers whose time is over, and let others work in the place of those that were told and do not end.

        A lease that is lost is nobody's to settle; one whose handler has used up its time is settled without it.
        """
        now_ms = self._clock.monotonic_ms()
        for job in tuple(self._jobs):
            if job.ended or not job.begun:
                continue
            job.begun_ms = job.begun_ms or now_ms
            if job.time_limit_ms is not None and now_ms - job.begun_ms >= job.time_limit_ms:
                job.stopping.tell_once("time_limit")
            if job.stopping.reason not in ("lost", "time_limit"):
                continue
            job.told_ms = now_ms if job.told_ms is None else job.told_ms
            if now_ms - job.told_ms >= _PATIENCE_MS:
                _log.error("the handler of task %s does not end: its place is given to others", job.lease.task.id)
                if job.stopping.reason == "lost":
                    self._abandon(job)
                else:
                    self._settle_without(job, _timing_out(job))

    def announce_stop(self) -> None:
        """Claim nothing more, give back what nobody has begun, and let handlers know that the worker shuts down."""
        self.is_closing = True
        for job in self._crew.take_back():
            job.settlement = _giving_back(job, "the worker shut down before it was begun")
            self.take([job])
        for job in self._jobs:
            job.stopping.announced = True

    def interrupt(self) -> None:
        """The deadline has come: every handler is to end."""
        for job in tuple(self._jobs):
            job.stopping.tell("shutdown")

    def give_back(self) -> None:
        """Give back what is still held, whatever its handlers do."""
        for job in tuple(self._jobs):
            if not job.ended:
                self._settle_without(job, _giving_back(job, "the worker shut down and its handler did not end"))

    def find_own(self) -> None:
        """After a commit whose outcome nobody knows: begin what it has leased to this worker. [REPEAT-1]"""
        mine = {(job.lease.task.id, job.lease.fence) for job in self._jobs} | self._given_up
        for state in ("running", "compensating"):
            for task in self._engine.find(state=state):
                lease = task.lease
                if lease is not None and lease.owner == self.owner and (task.id, lease.fence) not in mine:
                    self.begin(self._engine.resume(task.id, lease.fence), self._sent_ms)

    def _settle_without(self, job: Job, settlement: Settlement) -> None:
        """Settle the lease of a job whose handler does not end."""
        self._abandon(job)
        standing_in = Job(job.lease, job.context, job.stopping, job.sent_ms)
        standing_in.undoing, standing_in.settlement, standing_in.ended = job.undoing, settlement, True
        self._jobs[standing_in] = None
        self._ended[standing_in] = None

    def _abandon(self, job: Job) -> None:
        job.abandoned = True
        self._given_up.add((job.lease.task.id, job.lease.fence))
        del self._jobs[job]
        self._crew.replace(job)

    def _look_for_cancels(self) -> None:
        jobs = [job for job in self._jobs if job.lease.purpose == "work" and job.stopping.reason is None]
        asked = self._engine.asked_to_stop(job.lease.task.id for job in jobs)
        for job in jobs:
            if job.lease.task.id in asked:
                job.stopping.tell("cancelled")


def _recorded(batch: Batch, job: Job, settlement: Settlement) -> Settlement:
    """Record a settlement; where it says what cannot be said, another, which is what it then is."""
    try:
        if not job.context.begins_something:
            settlement(batch)
        else:
            with batch.group():
                settlement(batch)
    except Exception as refusal:  # noqa: BLE001  whatever a handler has said, its lease is settled [WORKER-1]
        _log.error("what a handler said of task %s cannot be stored: %s", job.lease.task.id, refusal)
        settlement = second_settlement(job.lease, job.undo_at, refusal)
        settlement(batch)
    return settlement


def _record_renewal(batch: Batch, job: Job, ttl_ms: int, progress: object) -> None:
    try:
        batch.heartbeat(job.lease, ttl_ms, progress)
    except Rejected as refusal:
        _log.error("the progress of task %s cannot be stored: %s", job.lease.task.id, refusal)
        job.context.forget_progress()
        batch.heartbeat(job.lease, ttl_ms)


def _coroutines_of(handlers: Mapping[str, Handler]) -> frozenset[str]:
    return frozenset(kind for kind, handler in handlers.items() if is_coroutine_function(handler))


def _timing_out(job: Job) -> Settlement:
    failure = Failure("time_limit", f"its handler did not end within {job.time_limit_ms} ms, nor when it was told to")
    return lambda batch: batch.retry(job.lease, failure)


def _giving_back(job: Job, reason: str) -> Settlement:
    return lambda batch: batch.release(job.lease, reason)


def _several(answer: Result) -> tuple[object, ...]:
    return answer if isinstance(answer, tuple) else (answer,)
