"""What a worker claims next: undos before work, and suspects by themselves.

Rule: a suspect is claimed only by a worker that holds nothing, and nothing is claimed beside it [WORKER-5]: a process
that dies with one spends no other task's expiries. Knows no handler and no thread.
"""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from sagalog.engine import Engine
from sagalog.engine.batch import Batch
from sagalog.engine.lease import Lease
from sagalog.kernel.values import Purpose, Suspects
from sagalog.validation import commands as forms
from sagalog.validation.commands import ClaimRequest
from sagalog.worker.config import WorkerConfig

# [WORKER-5] How long a worker looks past a suspect before it makes room for it.
PASSED_MS: Final = 60_000
_LIMIT_MAX: Final = 1_000


class Claims:
    """What there may be to claim, as far as one worker knows.

    `holds` tells in every call whether the worker holds a lease.
    """

    def __init__(self, engine: Engine, config: WorkerConfig, owner: str) -> None:
        self._engine = engine
        self._queries = engine._executor.queries
        # What is asked for, by purpose, undoing first; and how suspects are dealt with.
        self._requests: dict[Purpose, dict[Suspects, ClaimRequest]] = {}
        if config.compensations:
            self._requests["undo"] = _requests(config, owner, "undo", list(config.compensations))
        if config.handlers:
            self._requests["work"] = _requests(config, owner, "work", list(config.handlers))
        # Whether a claim may find something, by purpose; wrong at most until a process commits or a time comes.
        self._more: dict[Purpose, bool] = {}
        # The first of the suspects that claims have looked past, and since when.
        self._passed: dict[Purpose, tuple[str, int]] = {}
        self._has_passed = False
        # For what the rest of the room was left by a claim that stood by itself.
        self._left_to: Purpose | None = None

    def may_find(self, holds: bool, now_ms: int) -> bool:
        """Whether there is something to claim now, as far as it knows."""
        return any(self._more.values()) or (not holds and self.overdue(now_ms) is not None)

    def expect(self, purpose: Purpose) -> None:
        """There is something new of this purpose."""
        self._more[purpose] = purpose in self._requests

    def due_ms(self, holds: bool, now_ms: int) -> int | None:
        """When a claim may find something, by the store's clock; None: not before a process commits."""
        how = self._how(holds, now_ms)
        return self._queries.claimable_ms([requests[how] for requests in self._requests.values()])

    def may_ever_find(self) -> bool:
        """Whether a live task is left that it could claim now or later, whatever that waits for. It asks the store."""
        return self._queries.has_live([requests["alone"] for requests in self._requests.values()])

    def look(self, holds: bool, now_ms: int) -> None:
        """Ask the store what there may be by now."""
        how = self._how(holds, now_ms)
        for purpose, requests in self._requests.items():
            due_ms = None if self._more.get(purpose) else self._queries.claimable_ms([requests[how]])
            if due_ms is not None and due_ms <= self._engine.now_ms():
                self._more[purpose] = True

    def record(self, batch: Batch, room: int, holds: bool, now_ms: int) -> list[ClaimRequest]:
        """Record the claims that are to be made now, of no more than `room` leases; each has a result of its own."""
        how = self._how(holds, now_ms)
        wanted = [purpose for purpose in self._requests if self._more.get(purpose)]
        if how == "only":
            overdue = self.overdue(now_ms)
            wanted = [] if overdue is None else [overdue]
        elif self._left_to in wanted:
            wanted = [self._left_to]
        self._left_to = None
        recorded: list[ClaimRequest] = []
        for purpose in wanted:
            # Undoing goes first, and leaves half of the room to work, if there is any.
            limit = min(room - room // 2 if purpose != wanted[-1] else room, _LIMIT_MAX)
            if limit <= 0:
                break
            request = _limited(self._requests[purpose][how], limit)
            batch._append(request)
            recorded.append(request)
            room -= limit
            if how != "never":
                # What comes of it may be a suspect, and nothing is taken beside that.
                self._left_to = None if purpose == wanted[-1] else wanted[-1]
                break
            self._has_passed = True
        return recorded

    def take(self, request: ClaimRequest, leases: list[Lease]) -> None:
        """Take note of what a claim has found."""
        purpose = request.claim.purpose
        if request.claim.suspects == "only":
            # What was looked past is held now, by this worker or by another.
            self._passed.pop(purpose, None)
        self._more[purpose] = bool(leases)

    def overdue(self, now_ms: int) -> Purpose | None:
        """For what purpose a suspect has been looked past for too long; None: there is none."""
        overdue = (purpose for purpose, (_, since_ms) in self._passed.items() if now_ms - since_ms >= PASSED_MS)
        return next(overdue, None)

    def look_for_suspects(self, holds: bool, now_ms: int) -> None:
        """Note which suspect comes first where a claim has looked past it, and forget one that stands no more."""
        for purpose, requests in self._requests.items():
            known, passed = self._passed.get(purpose), self._has_passed and holds
            if known is None and not passed:
                continue
            first = next(iter(self._queries.standing([requests["only"]])), None)
            if known is not None and known[0] != first:
                del self._passed[purpose]
            if first is not None and passed:
                self._passed.setdefault(purpose, (first, now_ms))
        self._has_passed = False

    def _how(self, holds: bool, now_ms: int) -> Suspects:
        if holds:
            return "never"
        return "alone" if self.overdue(now_ms) is None else "only"


def _requests(config: WorkerConfig, owner: str, purpose: Purpose, kinds: list[str]) -> dict[Suspects, ClaimRequest]:
    waivers = config.waivers if purpose == "work" else None
    return {
        suspects: forms.claim(config.queues, owner, config.ttl_ms, 1, kinds, None, purpose, None, suspects, waivers)
        for suspects in get_args(Suspects)
    }


def _limited(request: ClaimRequest, limit: int) -> ClaimRequest:
    """The claim, of no more than so many leases."""
    return msgspec.structs.replace(request, claim=msgspec.structs.replace(request.claim, limit=limit))
