"""Jobs: the requests that wait, as tasks of the target's queue, and what their clients see of them.

Rule: a job is a task and nothing besides: its body an input, its answer a journal, its client a tag. Whether a client
may see a job is decided here only; one that it may not see does not exist for it. [GATEWAY-10] [GATEWAY-11]
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from sagalog import NotFound, Pruned, Task
from sagalog.aio import AsyncEngine
from sagalog.errors import Conflict
from sagalog_http import Access
from sagalog_ollama.errors import Gone, KeyTaken
from sagalog_ollama.execution import ANSWER, BODY, KIND, WAIVER, Request, retry_of
from sagalog_ollama.residency import RESIDENCY
from sagalog_ollama.settings import Settings

CLIENT: Final = "client"
MODEL: Final = "model"
KEY: Final = "key"

JobState = Literal["queued", "loading", "working", "completed", "failed", "cancelled"]


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job as clients see it; times are in milliseconds since 1970.

    id           its id, which the header `X-Sagalog-Job-Id` of its answer names
    state        "queued", "loading" until the target begins to answer, "working", or how it ended
    path, model  what was asked for
    streams      whether the answer comes in parts
    attempt      which attempt it is at, from 1 on
    created_ms   when the gateway took it up
    ended_ms     when it ended; absent: it has not
    status       the status of the target's answer; absent: there is none
    size_bytes   of the answer that is on record
    load_ms      how long the model was loaded for it, as the target says
    error        why it failed, or why the last attempt did
    artifacts    names of what is kept of it: `GET /jobs/<id>/artifacts/<name>`
    """

    id: str
    state: JobState
    path: str
    model: str
    streams: bool
    attempt: int
    created_ms: int
    ended_ms: int | None = None
    status: int | None = None
    size_bytes: int | None = None
    load_ms: int | None = None
    error: str | None = None
    artifacts: tuple[str, ...] = ()


class Jobs:
    """The jobs of one target, whichever gateway has taken them up."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def joined(self, request: Request, body: bytes, key: str) -> Task | None:
        """Return the job of a key that the client has used on this route; None: it has not.

        Raises:
            KeyTaken: that was with another body. Gone: the job was pruned.
        """
        found = await self._engine.find(queue=self._settings.queue, tags={KEY: self._scoped(key, request)}, limit=1)
        if not found:
            return None
        if found[0].inputs[0].digest != sha256(body).hexdigest():
            raise KeyTaken("the key was used with another body on this route; send that body, or another key")
        await self.require_kept(found[0])
        return found[0]

    async def create(self, request: Request, body: bytes, key: str | None, actor: str | None) -> Task:
        """Take a request up; of two at once with one key the second gets the job of the first.

        Raises:
            KeyTaken: the other one has another body.
        """
        named = {KEY: self._scoped(key, request)} if key is not None else {}
        named |= {CLIENT: request.client} if request.client is not None else {}
        try:
            return await self._engine.create(
                KIND,
                request,
                queue=self._settings.queue,
                affinity=request.prompt.residency,
                inputs={BODY: body},
                retry=retry_of(self._settings),
                waive_compensation=WAIVER,
                tags={**named, MODEL: request.prompt.model, RESIDENCY: request.prompt.residency},
                actor=actor,
                idempotency_key=named.get(KEY),
            )
        except Conflict:
            first = None if key is None else await self.joined(request, body, key)
            if first is None:
                raise
            return first

    async def find(self, id: str, access: Access) -> Task:
        """Return a job that a client may see.

        Raises:
            NotFound: there is none, or it is another client's.
            Gone: its bytes were pruned.
        """
        task = await self._engine.get(id)
        if task is None or task.kind != KIND or task.queue != self._settings.queue or not self._may_see(task, access):
            raise NotFound(f"there is no job {id!r}; GET /jobs lists yours", task=id)
        await self.require_kept(task)
        return task

    async def require_kept(self, task: Task) -> None:
        """Refuse a job whose bytes are pruned, or may be, since it ended so long ago; raises Gone."""
        is_pruned = self._is_pruned(task)
        if task.is_terminal and not is_pruned:
            try:
                await self._engine.input(task.id, BODY)
            except Pruned:
                is_pruned = True
        if is_pruned:
            text = (
                "the request and its answer were pruned since it ended; send it again, under another key if it had one"
            )
            raise Gone(text, task=task.id)

    async def list(self, access: Access, limit: int) -> list[Job]:
        """Return the newest jobs that a client may see."""
        if not access.may_queue(self._settings.queue):
            return []
        tags = {} if access.has("admin") or access.token is None else {CLIENT: access.token}
        found = await self._engine.find(
            queue=self._settings.queue, kind=KIND, tags=tags, newest_first=True, limit=limit
        )
        return [await self.shown(task) for task in found if not self._is_pruned(task)]

    async def cancel(self, id: str, reason: str, actor: str | None = None) -> None:
        """Call a job off; one that has ended stays as it is."""
        task = await self._engine.get(id)
        if task is not None and not task.is_terminal:
            await self._engine.cancel(id, reason, actor=actor)

    async def shown(self, task: Task) -> Job:
        """Return a job as its client sees it."""
        request = request_of(task)
        result: dict[str, Any] = task.result or {}
        error = task.error
        status = result.get("status")
        if status is None and error is not None and isinstance(error.details, dict):
            status = error.details.get("status")
        return Job(
            task.id,
            await self.state(task),
            request.path,
            request.prompt.model,
            request.streams,
            task.attempt,
            task.created_ms,
            task.updated_ms if task.is_terminal else None,
            status,
            result.get("size_bytes"),
            result.get("load_ms"),
            None if error is None or task.state == "completed" else error.message,
            task.artifacts,
        )

    async def state(self, task: Task) -> JobState:
        """Return how far a job is."""
        match task.state:
            case "pending":
                return "queued"
            case "running":
                status = await self._engine.journal(ANSWER, task=task.id).status()
                is_answered = task.lease is not None and status.entries > 0 and status.fence == task.lease.fence
                return "working" if is_answered else "loading"
            case "completed":
                return "completed"
            case "cancelled":
                return "cancelled"
            case _:
                return "failed"

    def _scoped(self, key: str, request: Request) -> str:
        """Return a client's key as one of the store: of its target, client and route alone, and of any length."""
        text = msgspec.json.encode([self._settings.queue, request.client, request.path, key])
        return f"ollama:{sha256(text).hexdigest()}"

    def _may_see(self, task: Task, access: Access) -> bool:
        is_own = access.token is not None and task.tags.get(CLIENT) == access.token
        return (is_own or access.has("admin")) and access.may_queue(self._settings.queue)

    def _is_pruned(self, task: Task) -> bool:
        """Whether a job ended so long ago that its bytes may be gone."""
        return task.is_terminal and task.updated_ms + self._settings.ttl_ms <= self._engine.plain.now_ms()


def request_of(task: Task) -> Request:
    """Return the request of a job."""
    return msgspec.convert(task.payload, Request)
