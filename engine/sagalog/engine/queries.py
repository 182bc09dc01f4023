"""Queries: what an engine can be asked without writing, and what is answered beside tasks.

Rule: each is answered from one consistent state, and no writer waits for it. A task whose events cannot be read is left
out of listings and raises where it is asked for by id. [LOG-5] This file says what is asked, and knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from sagalog.codec import Envelope, Recorded
from sagalog.engine.task import Task
from sagalog.kernel.values import State, WaitEnd
from sagalog.validation.commands import ClaimRequest


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


class Queries(Protocol):
    """Answers what an engine is asked. Any of them may raise Unavailable or Corrupt."""

    # --- for users: the calls of `Engine` that only read ------------------------------------------------------------

    def get(self, id: str) -> Task | None:
        """The task as it is now, or None."""
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
        """Tasks in order of creation that fit everything given; those that cannot be read are left out.

        Args:
            queue, state: one name, or several of which any fits.
            tags: all of them must fit.
            waiting: parked for a wait of this name, or True: for any wait. [WAIT-1]
            parent: the id of the task that created it as a child. A child that a successor has adopted keeps its
                parent.
            correlation_id: what it was said to belong together with.
            since_ms: created or changed at this time or later, in milliseconds since 1970: by its newest event, which
                may be a heartbeat. No index is ordered by it, so every task that fits the rest is looked at.
            newest_first: the opposite order, in which `limit` gives the newest.
            limit: at most so many; None: all.

        Raises:
            InvalidValue: names the argument that is wrong. OverBound: more than `QUEUES_MAX` names.
        """
        ...

    def ids_with_prefix(self, prefix: str, limit: int = 10) -> list[str]:
        """The ids of tasks that begin with a prefix, in order of code points, at most `limit`.

        A task whose id is the prefix itself comes first. Tasks that cannot be read are among them. It costs the same
        however many tasks there are.

        Raises:
            InvalidValue: no id begins so, or a limit that is not from 1 to 10,000.
        """
        ...

    def unreadable(self) -> list[str]:
        """Ids of the tasks that were put aside since this version cannot read them, in order of creation. [LOG-5]

        `find` leaves them out; `verify` says why each cannot be read.
        """
        ...

    def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """How many tasks there are: queue -> state -> number."""
        ...

    def stale(self) -> list[Task]:
        """Tasks whose lease is over by the clock and was not ended yet; `recover` or the next claim ends it."""
        ...

    def history(self, id: str) -> list[Recorded]:
        """Every event of a task, in order; raises NotFound, UnknownEvent."""
        ...

    def input(self, id: str, name: str) -> bytes:
        """The bytes that the task was given under a name; raises NotFound, Corrupt."""
        ...

    def artifact(self, id: str, name: str) -> Artifact:
        """The newest artifact of a name; raises NotFound, Corrupt. [BLOB-1]"""
        ...

    def step_result(self, id: str, name: str) -> Any:
        """The recorded result of a step; raises NotFound. [STEP-1]"""
        ...

    def wait_end(self, id: str, name: str, number: int = 1) -> WaitOutcome | None:
        """How a wait ended, by its name and its number among those of the name, from 1. [WAIT-1]

        None while it is not over, or never was begun.
        """
        ...

    def wait_ends(self, id: str) -> dict[str, list[WaitOutcome]]:
        """How all waits of a task that are over ended: by name, in the order of their numbers. [WAIT-1]

        A successor's numbers may have gaps: there its predecessor's waits ended in a way that is not kept.
        """
        ...

    def ready_kinds(self, queues: str | Sequence[str]) -> list[str]:
        """The kinds of the tasks that stand ready in these queues, sorted: what workers there need handlers for.

        At most `KINDS_MAX` of each queue.
        """
        ...

    def newest_position(self) -> int:
        """The newest position of the log: as many events as there are, since positions have no gaps. [LOG-1]"""
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

    def checkpoint(self, name: str) -> int | None:
        """The checkpoint of a subscription; None: no such name is on record."""
        ...
