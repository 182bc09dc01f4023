"""The claims of a worker: what it claims next, undos before work, and suspects alone.

Rule: only a worker that holds nothing claims a suspect, and it claims nothing beside it. [WORKER-5] So a process that
dies with a suspect costs no other task an expiry. It must not know handlers and threads.
"""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from sagalog.engine import Engine
from sagalog.engine.batch import Batch
from sagalog.engine.lease import Lease
from sagalog.kernel import bounds
from sagalog.kernel.values import Purpose, Suspects
from sagalog.validation import commands as forms
from sagalog.validation.arguments import listing
from sagalog.validation.commands import ClaimRequest
from sagalog.worker import handler_log
from sagalog.worker.config import Affinity, WorkerConfig

# [WORKER-5] How long a worker passes over a suspect before it makes room for it.
PASSED_MS: Final = 60_000
_LIMIT_MAX: Final = 1_000


class Claims:
    """What one worker may find to claim, as far as it knows.

    `holds` says in every call whether the worker holds a lease.
    """

    def __init__(self, engine: Engine, config: WorkerConfig, owner: str) -> None:
        self._engine = engine
        self._queries = engine._executor.queries
        self._config = config
        self._owner = owner
        # The requests by purpose, undoing first, and by the way to treat suspects: now, and with nothing barred.
        self._requests: dict[Purpose, dict[Suspects, ClaimRequest]] = self._requests_without(frozenset(), frozenset())
        self._whole = self._requests
        self._barred: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        # Whether a claim may find something, by purpose. It is wrong at most until a process commits or a time comes.
        self._more: dict[Purpose, bool] = {}
        # The first suspect that claims have passed over, and since when.
        self._passed: dict[Purpose, tuple[str, int]] = {}
        self._has_passed = False
        # Whether the function that gives the affinities has failed when it was asked last.
        self._has_failed = False
        # The purpose of the next claim, if the last one was made alone and has left room.
        self._next_purpose: Purpose | None = None

    def bar(self, kinds: frozenset[str], compensation_kinds: frozenset[str]) -> None:
        """Claim none of these kinds until the next call, and every other one that the worker knows. [WORKER-9]"""
        if self._barred == (kinds, compensation_kinds):
            return
        self._barred = (kinds, compensation_kinds)
        self._requests = self._requests_without(kinds, compensation_kinds)
        for purpose in ("undo", "work"):
            if purpose not in self._requests:
                self._more.pop(purpose, None)
                self._passed.pop(purpose, None)

    def _requests_without(
        self, kinds: frozenset[str], compensation_kinds: frozenset[str]
    ) -> dict[Purpose, dict[Suspects, ClaimRequest]]:
        config, owner = self._config, self._owner
        undos = [kind for kind in config.compensations if kind not in compensation_kinds]
        tasks = [kind for kind in config.handlers if kind not in kinds]
        requests: dict[Purpose, dict[Suspects, ClaimRequest]] = {}
        if undos:
            requests["undo"] = _requests(config, owner, "undo", undos)
        if tasks:
            requests["work"] = _requests(config, owner, "work", tasks)
        return requests

    def may_find(self, holds: bool, now_ms: int) -> bool:
        """Tell whether there is something to claim now, as far as the worker knows."""
        return any(self._more.values()) or (not holds and self.overdue(now_ms) is not None)

    def note_new(self, purpose: Purpose) -> None:
        """Note that there is something new to claim for this purpose."""
        self._more[purpose] = purpose in self._requests

    def due_ms(self, holds: bool, now_ms: int) -> int | None:
        """Return when a claim may find something, by the store's clock; None: not before a process commits."""
        how = self._suspects_mode(holds, now_ms)
        return self._queries.claimable_ms([requests[how] for requests in self._requests.values()])

    def may_ever_find(self) -> bool:
        """Ask the store whether it has a live task that this worker could claim now or later."""
        return self._queries.has_live([requests["alone"] for requests in self._whole.values()])

    def look(self, holds: bool, now_ms: int) -> None:
        """Ask the store what there is to claim by now."""
        how = self._suspects_mode(holds, now_ms)
        for purpose, requests in self._requests.items():
            due_ms = None if self._more.get(purpose) else self._queries.claimable_ms([requests[how]])
            if due_ms is not None and due_ms <= self._engine.now_ms():
                self._more[purpose] = True

    def record(self, batch: Batch, room: int, holds: bool, now_ms: int) -> list[ClaimRequest]:
        """Record the claims to make now, for `room` leases at most; each has a result of its own."""
        how = self._suspects_mode(holds, now_ms)
        wanted = [purpose for purpose in self._requests if self._more.get(purpose)]
        if how == "only":
            overdue = self.overdue(now_ms)
            wanted = [] if overdue is None else [overdue]
        elif self._next_purpose in wanted:
            wanted = [self._next_purpose]
        self._next_purpose = None
        recorded: list[ClaimRequest] = []
        for purpose in wanted:
            # Undoing comes first, and leaves half of the room for work, if there may be any.
            limit = min(room - room // 2 if purpose != wanted[-1] else room, _LIMIT_MAX)
            if limit <= 0:
                break
            request = _limited(self._requests[purpose][how], limit)
            if purpose == "work" and self._config.affinity is not None:
                request = _preferring(request, self._affinities())
            batch._append(request)
            recorded.append(request)
            room -= limit
            if how != "never":
                # This claim may lease a suspect, and the worker claims nothing beside one.
                self._next_purpose = None if purpose == wanted[-1] else wanted[-1]
                break
            self._has_passed = True
        return recorded

    def note_result(self, request: ClaimRequest, leases: list[Lease]) -> None:
        """Note what a claim has found."""
        purpose = request.claim.purpose
        if request.claim.suspects == "only":
            # This worker or another holds the suspect now.
            self._passed.pop(purpose, None)
        self._more[purpose] = bool(leases)

    def overdue(self, now_ms: int) -> Purpose | None:
        """Return for which purpose claims have passed over a suspect for too long; None: there is none."""
        overdue = (purpose for purpose, (_, since_ms) in self._passed.items() if now_ms - since_ms >= PASSED_MS)
        return next(overdue, None)

    def look_for_suspects(self, holds: bool, now_ms: int) -> None:
        """Note the first suspect that a claim has passed over; forget one that is first no more."""
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

    def _affinities(self) -> tuple[str, ...]:
        """Return the affinities to ask for now; none where the function that gives them fails. [WORKER-11]"""
        try:
            found = affinities_of(self._config.affinity)
        except Exception as error:  # noqa: BLE001  it may be foreign code, and a hint stops no worker
            handler_log.affinity_failed(error, is_new=not self._has_failed)
            self._has_failed = True
            return ()
        self._has_failed = False
        return found

    def _suspects_mode(self, holds: bool, now_ms: int) -> Suspects:
        if holds:
            return "never"
        return "alone" if self.overdue(now_ms) is None else "only"


def _requests(config: WorkerConfig, owner: str, purpose: Purpose, kinds: list[str]) -> dict[Suspects, ClaimRequest]:
    waivers = config.waivers if purpose == "work" else None
    return {
        suspects: forms.claim(
            config.queues,
            owner,
            config.ttl_ms,
            1,
            kinds,
            None,
            purpose,
            None,
            suspects,
            waivers,
            build=config.build,
        )
        for suspects in get_args(Suspects)
    }


def affinities_of(given: Affinity) -> tuple[str, ...]:
    """Return the affinities to ask for now; raises what a function of a caller raises, InvalidValue, OverBound."""
    now = given() if callable(given) else given
    return () if now is None or now == () or now == [] else listing(now, "affinity", bounds.QUEUES_MAX)


def _preferring(request: ClaimRequest, affinities: tuple[str, ...]) -> ClaimRequest:
    """Return the request with affinities to be served first."""
    return msgspec.structs.replace(request, claim=msgspec.structs.replace(request.claim, affinities=affinities))


def _limited(request: ClaimRequest, limit: int) -> ClaimRequest:
    """Return the request with another limit."""
    return msgspec.structs.replace(request, claim=msgspec.structs.replace(request.claim, limit=limit))
