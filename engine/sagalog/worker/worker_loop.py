"""The loop of one worker on one engine: each round settles what has ended, renews what runs, and claims what is next.

Rule: all of these that are due at one time go into one commit. Everything that matters is in the log: a loop that is
killed between any two lines loses nothing but its leases, and those end by themselves [UPKEEP-1]. `run_round` never
waits; its caller waits between rounds. It must not know threads, except through its pool.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sagalog.engine import Engine
from sagalog.engine.batch import Batch, Result
from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.engine.workers import WorkerState
from sagalog.errors import Conflict, Corrupt, LeaseLost, Rejected, SagalogError, Unknown
from sagalog.ports import Clock
from sagalog.validation.commands import ClaimRequest
from sagalog.worker import handler_log
from sagalog.worker.claims import Claims
from sagalog.worker.config import Until, WorkerConfig
from sagalog.worker.handler_pool import HandlerPool, Job
from sagalog.worker.held_jobs import HeldJobs
from sagalog.worker.job_records import giving_back, record_renewal, record_settlement
from sagalog.worker.preflights import Preflights
from sagalog.worker.registration import Registration
from sagalog.worker.settlement import (
    Ending,
    Handler,
    Undoing,
    held_up_settlement,
    is_coroutine_function,
    second_settlement,
)
from sagalog.worker.stop_token import StopToken
from sagalog.worker.undo_context import UndoContext
from sagalog.worker.unknown_kinds import UnknownKinds
from sagalog.worker.unknown_undos import UnknownUndos
from sagalog.worker.work_context import WorkContext

_log: Final = logging.getLogger("sagalog.worker")

# How soon a worker looks again at what it holds after a process has committed: it notices a cancel within 100 ms.
_LOOK_MS: Final = 50
_LOOK_MS_MAX: Final = 80
# How often the worker looks at it in any case, and does maintenance.
_UPKEEP_MS: Final = 1_000
# How often it looks for undos that no worker claims.
_UNDOS_MS: Final = 60_000
# How soon it looks again after a claim that found nothing, though something seemed to be there.
_NOTHING_FOUND_MS: Final = 5


@dataclass
class _Round:
    """The content of one commit: the jobs and claims of its results, in the order in which they were recorded."""

    settled: list[Job] = field(default_factory=list)
    renewed: list[Job] = field(default_factory=list)
    claimed: list[ClaimRequest] = field(default_factory=list)


class WorkerLoop(HeldJobs):
    """The state of one running worker, for one thread; only `watch` may be called from another one."""

    def __init__(
        self,
        engine: Engine,
        config: WorkerConfig,
        owner: str,
        pool: HandlerPool,
        clock: Clock,
        registration: Registration | None = None,
        preflights: Preflights | None = None,
    ) -> None:
        super().__init__(engine, config, pool, clock)
        self._registration = registration
        self._preflights = preflights
        self._claims = Claims(engine, config, owner)
        self._unknown_undos = UnknownUndos(config.compensations)
        self._undos_ms = clock.monotonic_ms() - _UNDOS_MS
        self._unknown_kinds = UnknownKinds(config.handlers, config.queues, config.build, clock.monotonic_ms())
        self._coroutines = _coroutines_of(config.handlers)
        self._undo_coroutines = _coroutines_of(config.compensations)
        self._looked_ms = self._maintained_ms = clock.monotonic_ms() - _UPKEEP_MS
        # The store's changes at its last look; and the pause between looks, which grows with their duration.
        self._changes: int | None = None
        self._look_ms = _LOOK_MS
        self._sent_ms = 0
        # Whether the outcome of a commit is unknown: then the worker has to find what that commit has claimed.
        self._is_unknown = False
        self.owner = owner
        self.is_closing = False
        self.is_draining = False

    # --- what the caller of `run_round` asks ----------------------------------------------------------------------

    def monotonic_ms(self) -> int:
        """Return the clock by which it measures how long something takes."""
        return self._clock.monotonic_ms()

    @property
    def held(self) -> int:
        """Return how many leases it holds."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Return how many handlers it runs."""
        return sum(job.begun and not job.ended for job in self._jobs)

    @property
    def room(self) -> int:
        """Return how many more leases it may hold."""
        if self.is_closing or self.is_draining or self._suspects:
            return 0
        if self._jobs and self._claims.overdue(self._clock.monotonic_ms()) is not None:
            # It has passed over a suspect for too long, and makes room for it.
            return 0
        return self._config.concurrency + self._config.claim_ahead - len(self._jobs) + len(self._ended)

    @property
    def is_idle(self) -> bool:
        """Tell whether it holds nothing, and there is nothing to claim as far as it knows."""
        if self._preflights is not None and self._preflights.is_undecided:
            return False
        return not self._jobs and not self._claims.may_find(False, self._clock.monotonic_ms())

    def is_drained(self) -> bool:
        """Tell whether it is idle, and its queues have no live task that it could claim, now or later."""
        return self.is_idle and not self._claims.may_ever_find()

    @property
    def has_unsettled(self) -> bool:
        """Tell whether it holds a lease, or may hold one that it has not found yet."""
        return bool(self._jobs) or self._is_unknown

    def wait_ms(self) -> int:
        """Return how long nothing will be due for it, if no job ends and no caller commits."""
        now_ms, holds = self._clock.monotonic_ms(), bool(self._jobs)
        if self._ended or (self.room > 0 and self._claims.may_find(holds, now_ms)):
            return 0
        living = [job for job in self._jobs if not job.ended and job.stopping.reason != "lost"]
        times = [max(job.sent_ms + self._renew_ms, job.renew_after_ms) - now_ms for job in living]
        times += [job.time_limit_ms for job in self._jobs if job.time_limit_ms is not None]
        if self._jobs:
            next_look_ms = self._look_ms if self._engine.changes() != self._changes else _UPKEEP_MS
            times.append(self._looked_ms + next_look_ms - now_ms)
        preflight_ms = None if self._preflights is None or self.is_closing else self._preflights.wait_ms()
        if preflight_ms is not None:
            times.append(preflight_ms)
        if self.room > 0:
            due = self._claims.due_ms(holds, now_ms)
            if due is not None:
                # If a claim found nothing though something seems to be there, do not ask all the time.
                times.append(max(_NOTHING_FOUND_MS, due - self._engine.now_ms()))
        return max(0, min(times, default=_UPKEEP_MS))

    @property
    def _renew_ms(self) -> int:
        return max(1, self._config.ttl_ms // 3)

    # --- one round ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look, after a commit or from time to time, for tasks to claim or to stop, and for maintenance to do."""
        now_ms = self._clock.monotonic_ms()
        self._look_at_preflights()
        if self._jobs:
            self._look_at_jobs(now_ms)
        if now_ms - self._maintained_ms >= _UPKEEP_MS and not self.is_closing:
            self._maintained_ms = now_ms
            self._claims.look_for_suspects(bool(self._jobs), now_ms)
            # Only a worker that undoes something declares which undos are known.
            declares = self._config.quarantine_unknown and self._config.compensations
            known = list(self._config.compensations) if declares else None
            self._engine.recover(queues=self._config.queues, known_kinds=known)
            self._look_for_unknown_undos(now_ms)
            self._unknown_kinds.look(self._engine, now_ms)
        if self.room > 0:
            self._claims.look(bool(self._jobs), now_ms)

    def _look_at_preflights(self) -> None:
        """Claim from now on only what the preflights of this worker let it claim. [WORKER-9]"""
        preflights = self._preflights
        if preflights is None or self.is_closing or self.is_draining:
            return
        preflights.look()
        self._claims.bar(preflights.barred, preflights.barred_compensations)
        if self._registration is not None:
            self._registration.note_preflights(preflights.failed)

    def _look_for_unknown_undos(self, now_ms: int) -> None:
        """Warn of unknown undos that are due and that no worker has leased, whichever worker has left them."""
        if now_ms - self._undos_ms >= _UNDOS_MS:
            self._undos_ms = now_ms
            for undo in self._engine.health().undos:
                if undo.queue in self._config.queues:
                    self._unknown_undos.warn(undo.queue, [undo.kind])

    def warn_of_unknown_kinds(self, until: Until) -> None:
        """Name, at the end, the unknown kinds of ready tasks; after a drain, of all live ones."""
        now_ms = self._clock.monotonic_ms()
        self._unknown_kinds.look(self._engine, now_ms, at_the_end=True)
        if until == "drained":
            self._unknown_kinds.name_live(self._engine)
            self._undos_ms = now_ms - _UNDOS_MS
            self._look_for_unknown_undos(now_ms)

    def _look_at_jobs(self, now_ms: int) -> None:
        """Look for cancels if a process has committed since the last look, and from time to time in any case."""
        changes = self._engine.changes()
        since_ms = now_ms - self._looked_ms
        if since_ms >= _UPKEEP_MS or (changes != self._changes and since_ms >= self._look_ms):
            self._looked_ms, self._changes = now_ms, changes
            self._look_for_cancels()
            # With many jobs a look takes long; then the worker looks less often, to have time for other work.
            self._look_ms = min(max(_LOOK_MS, 10 * (self._clock.monotonic_ms() - now_ms)), _LOOK_MS_MAX)

    def collect(self, ended: list[Job]) -> None:
        """Take jobs whose handlers have ended, and settle them in the next round."""
        for job in ended:
            if job.abandoned:
                continue
            job.ended = True
            if job.settlement is None:
                # Its settlement is on record already.
                self._drop(job)
                self.stats.count("quarantined" if job.undoing is None else "compensated")
            else:
                self._ended[job] = None

    def run_round(self) -> bool:
        """Settle, renew and claim what is due, in one commit; tell whether there was anything.

        Raises:
            Unavailable, Unknown: the store is away; call it again later. After an unknown outcome, the next round first
                finds what that commit has claimed.
            Closed, Corrupt: repeating is useless.
        """
        if self._is_unknown:
            self._find_own()
            self._is_unknown = False
        self._look_at_preflights()
        current = _Round()
        sent_ms = self._sent_ms = self._clock.monotonic_ms()
        batch = self._engine.batch(together=False)
        try:
            with batch:
                self._record_settlements(batch, current)
                self._record_renewals(batch, current, sent_ms)
                current.claimed = self._claims.record(batch, self.room, bool(self._jobs), sent_ms)
                registers = self._registration is not None and self._registration.write_beside(batch, self.running)
        except Unknown:
            self._is_unknown = True
            raise
        if not len(batch):
            return False
        self.stats.commits += 1
        if registers and self._registration is not None:
            self._registration.note_written()
        self._take_results(current, batch.results, sent_ms)
        return True

    def _record_settlements(self, batch: Batch, current: _Round) -> None:
        for job in self._ended:
            assert job.settlement is not None
            job.settlement = record_settlement(batch, job, job.settlement)
            current.settled.append(job)

    def _record_renewals(self, batch: Batch, current: _Round, sent_ms: int) -> None:
        living = [
            job
            for job in self._jobs
            if not job.ended and job.stopping.reason != "lost" and job.renew_after_ms <= sent_ms
        ]
        due_ms = sent_ms - self._renew_ms
        if any(job.sent_ms <= due_ms for job in living):
            # One commit for all: renew the jobs too that would soon be due.
            due_ms = sent_ms - self._renew_ms // 2
        for job in living:
            progress = job.context._newest_progress()
            if job.sent_ms <= due_ms or (progress is not None and job.sent_ms <= sent_ms - _UPKEEP_MS):
                record_renewal(batch, job, self._config.ttl_ms, progress)
                current.renewed.append(job)

    # --- the results of a commit ----------------------------------------------------------------------------------

    def _take_results(self, current: _Round, results: list[Result], sent_ms: int) -> None:
        answers = iter(results)
        for job in current.settled:
            self._take_settled(job, next(answers))
        for job in current.renewed:
            self._take_renewed(job, next(answers), sent_ms)
        for request in current.claimed:
            self._take_claimed(request, next(answers), sent_ms)

    def _take_settled(self, job: Job, answer: Result) -> None:
        if isinstance(answer, SagalogError) and self._settle_again(job, answer):
            return
        del self._ended[job]
        self._drop(job)
        # The results of the children that it has created come before its own.
        task = _several(answer)[-1]
        if isinstance(task, Task):
            verb = job.settlement.verb if isinstance(job.settlement, Ending) else "release"
            self.stats.count(handler_log.settled(job.lease, verb, task))
        undoing = [one for one in _several(answer) if isinstance(one, Task) and one.state == "compensating"]
        for one in undoing:
            self._unknown_undos.warn(one.queue, [owed.kind for owed in one.owed])
        if undoing:
            self._claims.note_new("undo")

    def _settle_again(self, job: Job, refusal: SagalogError) -> bool:
        """Tell, after a refusal, whether the next round settles the job in another way; prepare that."""
        if isinstance(refusal, LeaseLost):
            self._count_lost(job)
            _log.warning("a handler ended too late: %s", refusal)
            return False
        _log.error("the settlement of a handler was refused, and another one is written: %s", refusal)
        self.stats.refused += 1
        if job.tries >= 2 or not isinstance(refusal, Rejected | Conflict | Corrupt):
            return False
        job.tries += 1
        if isinstance(refusal, Corrupt) and job.undo_at is None:
            job.settlement = held_up_settlement(job.lease, self._engine.now_ms())
        else:
            job.settlement = second_settlement(job.lease, job.undo_at, refusal, job.settlement)
        return True

    def _take_renewed(self, job: Job, answer: Result, sent_ms: int) -> None:
        if isinstance(answer, Lease):
            job.lease, job.sent_ms = answer, sent_ms
            job.context._forget_progress()
            self.stats.renewed += 1
            if answer.task.cancel_requested and answer.purpose == "work":
                job.stopping.request("cancelled")
        elif isinstance(answer, LeaseLost):
            _log.warning("a lease was lost: %s", answer)
            self._count_lost(job)
            job.stopping.request("lost")
        elif isinstance(answer, SagalogError):
            _log.error("a renewal was refused: %s", answer)
            job.context._forget_progress()
            # Try again soon, but not all the time.
            job.renew_after_ms = sent_ms + _UPKEEP_MS

    def _take_claimed(self, request: ClaimRequest, answer: Result, sent_ms: int) -> None:
        if isinstance(answer, SagalogError):
            _log.error("a claim was refused: %s", answer)
            self._claims.note_result(request, [])
            return
        assert isinstance(answer, list)
        self._claims.note_result(request, answer)
        for lease in answer:
            self.begin(lease, sent_ms)

    def begin(self, lease: Lease, sent_ms: int) -> None:
        """Have the pool run the handler of a lease."""
        job = self._job(lease, sent_ms)
        self.stats.claimed += 1
        self._keep(job)
        if lease.task.cancel_requested and lease.purpose == "work":
            job.stopping.request("cancelled")
        self._pool.begin(job)

    def _job(self, lease: Lease, sent_ms: int) -> Job:
        stopping = StopToken()
        context: WorkContext | UndoContext
        handler = None
        if lease.purpose == "work":
            handler = self._config.handlers[lease.task.kind]
            context = WorkContext(self._engine, lease, stopping, strict=lease.task.kind in self._config.strict)
        else:
            context = UndoContext(self._engine, lease, stopping)
        job = Job(lease, context, stopping, sent_ms)
        job.handler = handler
        job.time_limit_ms = self._config.time_limits_ms.get(lease.task.kind) if handler is not None else None
        if isinstance(context, UndoContext):
            job.undoing = Undoing(context, lease, dict(self._config.compensations))
        job.is_coroutine = self._is_coroutine(lease)
        if isinstance(context, WorkContext) and job.is_coroutine:
            context._allow_any_order()
        return job

    def _is_coroutine(self, lease: Lease) -> bool:
        """Tell whether it runs on an event loop: so does an undoing with any coroutine function among its handlers."""
        if lease.purpose == "work":
            return lease.task.kind in self._coroutines
        return any(one.kind in self._undo_coroutines for one in lease.task.owed)

    # --- stopping -------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Claim nothing more, and give back what has not begun; the handlers go on. [WORKER-8]"""
        self.is_draining = True
        self._note_state("draining")
        self._give_back_waiting()

    def announce_stop(self) -> None:
        """Claim nothing more, give back what has not begun, and announce the shutdown to the handlers."""
        self.is_closing = True
        self._note_state("stopping")
        self._give_back_waiting()
        for job in self._jobs:
            job.stopping.announced = True

    def _note_state(self, state: WorkerState) -> None:
        if self._registration is not None:
            self._registration.note_state(state)

    def _give_back_waiting(self) -> None:
        for job in self._pool.take_back():
            job.settlement = giving_back(job, "not_begun")
            self.collect([job])

    def _find_own(self) -> None:
        """Find what a commit of unknown outcome has leased to this worker; begin it, or give it back. [REPEAT-1]"""
        mine = {(job.lease.task.id, job.lease.fence) for job in self._jobs} | self._abandoned
        for queue in self._config.queues:
            for state in ("running", "compensating"):
                for task in self._engine.find(queue=queue, state=state):
                    lease = task.lease
                    if lease is not None and lease.owner == self.owner and (task.id, lease.fence) not in mine:
                        self._begin_found(self._engine.reattach(task.id, lease.fence))

    def _begin_found(self, lease: Lease) -> None:
        """Begin a lease that was found; give it back if the worker drains or shuts down. [WORKER-3]"""
        if not (self.is_closing or self.is_draining):
            self.begin(lease, self._sent_ms)
            return
        job = self._job(lease, self._sent_ms)
        job.settlement = giving_back(job, "not_begun")
        job.ended = True
        self._keep(job)
        self._ended[job] = None


def _coroutines_of(handlers: Mapping[str, Handler]) -> frozenset[str]:
    return frozenset(kind for kind, handler in handlers.items() if is_coroutine_function(handler))


def _several(answer: Result) -> tuple[object, ...]:
    return answer if isinstance(answer, tuple) else (answer,)
