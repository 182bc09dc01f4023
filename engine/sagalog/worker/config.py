"""The settings of a worker, and the numbers of what it has done.

Rule: values only. It must not know stores and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sagalog.worker.settlement import Handler

# When a run ends by itself. idle: there is nothing to claim now; drained: no live task is left that it could claim.
Until = Literal["idle", "drained"]


# Which affinities a worker asks for: the same ones always, or those that a function gives before each claim.
Affinity = str | Sequence[str] | Callable[[], str | Sequence[str] | None] | None

# [WORKER-9] How long the success of a preflight is valid, how soon one that failed is tried again, and how long one may
# take.
PREFLIGHT_VALID_MS: Final = 300_000
PREFLIGHT_RETRY_MS: Final = 15_000
PREFLIGHT_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True)
class Preflight:
    """A function that finds out whether this machine can do some kinds of work, as `Worker.preflight` takes it."""

    name: str
    function: Callable[[], Any]
    kinds: tuple[str, ...]
    compensation_kinds: tuple[str, ...]
    valid_ms: int
    retry_ms: int

    def __str__(self) -> str:
        return ", ".join([*self.kinds, *(f"compensation {kind}" for kind in self.compensation_kinds)])


@dataclass(frozen=True)
class WorkerConfig:
    """The settings of a worker; `Worker` says what each means."""

    queues: tuple[str, ...]
    handlers: Mapping[str, Handler]
    compensations: Mapping[str, Handler]
    concurrency: int
    claim_ahead: int
    ttl_ms: int
    quarantine_unknown: bool
    time_limits_ms: Mapping[str, int] = field(default_factory=dict)
    strict: frozenset[str] = frozenset()
    waivers: Mapping[str, str] = field(default_factory=dict)
    preflights: tuple[Preflight, ...] = ()
    build: str | None = None
    affinity: Affinity = None


@dataclass
class WorkerStats:
    """The numbers of one run of a worker.

    claimed    leases that it was given
    settled    leases that it has settled, by whatever verb
    refused    settlements that were refused as they were and settled in another way
    lost       leases that it has lost
    renewed    renewals
    commits    commits that it has made
    outcomes   how many of the settled ones were completed, retried, parked, released, failed, …
    """

    claimed: int = 0
    settled: int = 0
    refused: int = 0
    lost: int = 0
    renewed: int = 0
    commits: int = 0
    # The outcomes of the tasks that it has settled: completed, retried, parked, released, failed, ... and how many.
    outcomes: dict[str, int] = field(default_factory=dict)

    def count(self, outcome: str) -> None:
        """Count a lease that is settled, by its `outcome`."""
        self.settled += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
