"""An executor that hands entries and tasks over as bytes, as one to a server would; the server is in this process.

Rule: no struct that a caller has made reaches the executor behind it, and none comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from sagalog import Maintained, Progress, RebuildReport, SagalogError, Task, VerifyReport
from sagalog.engine.claims import Claimed
from sagalog.engine.entries import Answer, CommandEntry, Entry, JournalWrite, SettingEntry
from sagalog.engine.executor import Executor
from sagalog.engine.health import Health
from sagalog.engine.journal_values import JournalCursor
from sagalog.engine.pruning import PruneReport
from sagalog.engine.queries import Queries
from sagalog.ports import Clock
from sagalog.store import Kept
from sagalog.validation.commands import ClaimRequest

T = TypeVar("T")


def sent(value: T, kind: type[T]) -> T:
    """What comes out at the other end, of this type."""
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


def sent_entries(entries: Sequence[Entry]) -> list[Entry]:
    return msgspec.json.decode(msgspec.json.encode(entries), type=list[Entry])


class BytesExecutor:
    """One more executor, before that of the server."""

    def __init__(self, server: Executor) -> None:
        self._server = server
        self.store_id: str = server.store_id
        self.actor: str | None = server.actor
        self.clock: Clock = server.clock
        self.queries: Queries = server.queries

    def draw_id(self) -> str:
        return self._server.draw_id()

    def jitter(self) -> float:
        return self._server.jitter()

    def carry_out(self, entry: CommandEntry) -> Task:
        return sent(self._server.carry_out(sent(entry, CommandEntry)), Task)

    def carry_out_all(self, entries: Sequence[Entry], together: bool, kept: Sequence[Kept] = ()) -> list[Answer]:
        beside = [sent(one, Kept) for one in kept]
        return [_back(answer) for answer in self._server.carry_out_all(sent_entries(entries), together, beside)]

    def claim(self, request: ClaimRequest) -> Claimed:
        return sent(self._server.claim(sent(request, ClaimRequest)), Claimed)

    def claim_later(self, request: ClaimRequest, timeout_ms: int) -> list[Task]:
        return sent(self._server.claim_later(sent(request, ClaimRequest), timeout_ms), list[Task])

    def set(self, entry: SettingEntry) -> None:
        self._server.set(sent(entry, SettingEntry))

    def write_journals(self, writes: Sequence[JournalWrite]) -> list[JournalCursor | SagalogError]:
        return self._server.write_journals([sent(one, JournalWrite) for one in writes])

    def recover(
        self,
        limit: int | None,
        queues: tuple[str, ...] | None,
        unknown_kinds: frozenset[str],
        known_kinds: frozenset[str] | None,
    ) -> list[Maintained]:
        return self._server.recover(limit, queues, unknown_kinds, known_kinds)

    def keep(self, space: str, name: str, expected: str | None, value: str | None) -> bool:
        return self._server.keep(space, name, expected, value)

    def changes(self) -> int:
        return self._server.changes()

    def wait_change(self, since: int, timeout_ms: int) -> None:
        self._server.wait_change(since, timeout_ms)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        return self._server.verify(progress)

    def rebuild(self, progress: Progress | None = None) -> RebuildReport:
        return self._server.rebuild(progress)

    def prune(
        self,
        older_than_ms: int,
        limit: int | None,
        queue: str | None,
        dry_run: bool,
        progress: Progress | None = None,
    ) -> PruneReport:
        return self._server.prune(older_than_ms, limit, queue, dry_run, progress)

    def health(self) -> Health:
        return self._server.health()

    def close(self) -> None:
        self._server.close()


def _back(answer: Answer) -> Answer:
    if isinstance(answer, SagalogError):
        return answer
    return sent(answer, Task) if isinstance(answer, Task) else sent(answer, list[Task])
