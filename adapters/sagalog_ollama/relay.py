"""The relay: a job's journal -> the answer that its client waits for.

Rule: the true status is given as long as nothing was sent. From then on an error is a frame of the route's dialect. A
client that has content of one attempt gets nothing of another; one that has none goes on waiting. [GATEWAY-5]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec

from sagalog import JournalEntry, Task
from sagalog.aio import AsyncEngine, AsyncJournalReader
from sagalog_ollama.dialects import Dialect, WholeFrames, dialect_of
from sagalog_ollama.execution import ANSWER, BROKEN_OFF, ERROR_FRAME, Head, Request

_WAIT_MS: Final = 600_000
# The status of a request that was cancelled, as the target gives it.
_CANCELLED: Final = 499


class Answer(msgspec.Struct, frozen=True):
    """An answer to a client: whole, or in parts of which the first have come."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]


class _Begun(msgspec.Struct, frozen=True):
    """An attempt whose answer a client reads, by its fence; without a head: one that is over."""

    fence: int
    head: Head | None = None


class Relay:
    """The answers of jobs to the clients that wait for them.

    Args:
        engine: where the jobs are.
        early_ms: when a stream is begun though the target has not answered, and how often it says so.
    """

    def __init__(self, engine: AsyncEngine, early_ms: int) -> None:
        self._engine = engine
        self._early_ms = early_ms

    async def answer(self, job: Task, request: Request) -> Answer:
        """Wait for the answer of a job: to its end, or where it comes in parts until these begin."""
        if not request.streams:
            return await self.whole(job.id, request)
        reader, over = await self._follow(job)
        if reader is None:
            return await self.whole(job.id, request)
        begun = await self._begun(reader, over)
        if reader.is_over:
            return await self.whole(job.id, request)
        dialect = dialect_of(request.path)
        parts = self._parts(job.id, request, dialect, reader, begun or _Begun(over))
        if begun is None or begun.head is None or begun.head.status >= 400:
            return Answer(200, {"content-type": dialect.media_type}, parts)
        return Answer(begun.head.status, _streamed(begun.head), parts)

    async def _follow(self, job: Task) -> tuple[AsyncJournalReader | None, int]:
        """Follow the answer of a job; return the fence up to which attempts are over and have none to pass on.

        Without a reader the job has ended without an answer.
        """
        journal = self._engine.journal(ANSWER, task=job.id)
        status, task = await journal.status(), await self._engine.get(job.id)
        assert task is not None
        if task.is_terminal:
            return (journal.follow(), 0) if _is_answer(task, status.fence) else (None, 0)
        is_live = task.lease is not None and task.lease.fence == status.fence
        return journal.follow(), 0 if is_live or not status.entries else status.fence

    async def _begun(self, reader: AsyncJournalReader, over: int) -> _Begun | None:
        """Return the attempt whose answer has begun; None: none has in time.

        An answer with an error is waited for: it is the end, or another attempt follows.
        """
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + self._early_ms / 1_000
        begun: _Begun | None = None
        while not reader.is_over and (left_ms := int((until_s - now_s()) * 1_000)) > 0:
            for entry in await reader.take(left_ms, 1):
                if entry.fence > (over if begun is None else begun.fence) and entry.data:
                    begun = _Begun(entry.fence, msgspec.json.decode(entry.data, type=Head))
                    if begun.head is not None and begun.head.status < 400:
                        return begun
        return begun

    async def whole(self, id: str, request: Request) -> Answer:
        """Wait for the end of a job and give its whole answer, or the error for which there is none."""
        while True:
            with suppress(TimeoutError):
                task = await self._engine.wait(id, _WAIT_MS)
                break
        head, body = await self.recorded(task)
        if head is not None:
            return Answer(head.status, {**head.headers, "content-length": str(len(body))}, body)
        dialect = dialect_of(request.path)
        status, text = failure_of(task)
        return Answer(status, {"content-type": "application/json; charset=utf-8"}, dialect.error_body(status, text))

    async def recorded(self, task: Task) -> tuple[Head | None, bytes]:
        """Return the head and the bytes of the answer of a job that has ended; None: it has none to pass on."""
        journal = self._engine.journal(ANSWER, task=task.id)
        status = await journal.status()
        if not status.entries or not _is_answer(task, status.fence):
            return None, b""
        entries: list[JournalEntry] = []
        after = status.base
        while page := await journal.read(after):
            entries += page
            after = page[-1].cursor
        return msgspec.json.decode(entries[0].data, type=Head), b"".join(entry.data for entry in entries[1:])

    async def _parts(
        self, id: str, request: Request, dialect: Dialect, reader: AsyncJournalReader, begun: _Begun
    ) -> AsyncIterator[bytes]:
        frames, has_content = WholeFrames(dialect), False
        while not reader.is_over:
            entries = await reader.take(self._early_ms)
            if not entries and not reader.is_over and not has_content:
                yield dialect.waiting(request.prompt.model, _now())
            for entry in entries:
                if entry.fence < begun.fence or (entry.fence == begun.fence and begun.head is None):
                    continue  # of an attempt that was over before this client came
                if entry.fence > begun.fence or not entry.data:
                    # Another attempt begins, or this one has broken off.
                    if has_content:
                        yield dialect.error_frame(502, f"the answer broke off; ask for GET /jobs/{id}/answer later")
                        return
                    if entry.data:
                        begun = _Begun(entry.fence, msgspec.json.decode(entry.data, type=Head))
                    frames.rest()
                elif begun.head is not None and begun.head.status < 400 and (whole := frames.take(entry.data)):
                    has_content = True
                    yield whole
        yield await self._last_part(id, dialect, frames.rest(), has_content)

    async def _last_part(self, id: str, dialect: Dialect, rest: bytes, has_content: bool) -> bytes:
        """Return what a stream that was begun ends with: nothing behind the target's own last frame.

        `rest` is what no end of a frame has followed; of an answer that is none it is no frame.
        """
        task = await self._engine.get(id)
        assert task is not None
        code = None if task.error is None else task.error.code
        if task.state == "completed" or (code == ERROR_FRAME and (has_content or rest)):
            return rest
        head, body = await self.recorded(task)
        if head is not None and head.status >= 400:
            return dialect.upstream_frame(head.status, body)
        return dialect.error_frame(*failure_of(task))


def _is_answer(task: Task, fence: int) -> bool:
    """Whether what an attempt has put on record is the answer of a job that has ended."""
    if task.state == "completed":
        return True
    details = None if task.error is None else task.error.details
    # An error of the target says in which attempt it came: another one may have begun to answer before it.
    return task.state == "failed" and isinstance(details, dict) and details.get("fence") == fence


def failure_of(task: Task) -> tuple[int, str]:
    """Return the status and the text of a job that has no answer to pass on."""
    if task.state == "cancelled":
        return _CANCELLED, "request canceled"
    if task.error is None:
        return 502, f"the request ended as {task.state} without an answer"
    if task.error.code == BROKEN_OFF:
        return 502, f"the target: {task.error.message}"
    return 502, task.error.message


def _streamed(head: Head) -> dict[str, str]:
    return {name: value for name, value in head.headers.items() if name != "content-length"}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
