"""The routes of jobs: what a client that was cut, or that did not wait, asks for later.

Rule: a client sees its own jobs, an admin all; another one's is 404. A stream is resumed by the cursor of its last
event, which names the attempt too: where another attempt has begun, it goes on at that one's first entry.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from sagalog import JournalCursor, Task
from sagalog_http import Call, Frame, Route, Rule, Stream, server_sent_events
from sagalog_ollama.errors import NoAnswer
from sagalog_ollama.execution import ANSWER, Head
from sagalog_ollama.jobs import Job, request_of
from sagalog_ollama.relay import failure_of

if TYPE_CHECKING:
    from sagalog_ollama.gateway import Gateway

_LISTED: int = 100
_LISTED_MAX: int = 1_000


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a listing may be asked for: how many jobs at most."""

    limit: int = _LISTED


class After(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a stream goes on: behind the cursor of an event; left out, at the first entry of the newest attempt."""

    after: str | None = None


class JobRoutes:
    """The handlers of the routes of jobs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._jobs = gateway.jobs

    async def list(self, call: Call) -> dict[str, list[Job]]:
        """Answer the newest jobs, newest first."""
        limit = min(max(call.query.limit, 1), _LISTED_MAX)
        return {"jobs": await self._jobs.list(call.access, limit)}

    async def show(self, call: Call) -> Job:
        """Answer one job."""
        return await self._jobs.shown(await self._found(call))

    async def cancel(self, call: Call) -> Job:
        """Call a job off and answer it."""
        task = await self._found(call)
        await self._jobs.cancel(task.id, "its client has asked for it", call.actor)
        return await self._jobs.shown(await self._found(call))

    async def answer(self, call: Call) -> Response:
        """Answer what the job's own request was answered, once it has ended.

        Raises:
            NoAnswer: it has not ended.
        """
        task = await self._found(call)
        if not task.is_terminal:
            raise NoAnswer(f"the job is {task.state}; follow /jobs/{task.id}/stream, or ask again", task=task.id)
        found = await self._gateway.relay.whole(task.id, request_of(task))
        assert isinstance(found.body, bytes)
        return Response(found.body, found.status, found.headers)

    async def stream(self, call: Call) -> Stream:
        """Answer the job's answer as server-sent events, from its newest attempt or behind a cursor."""
        task = await self._found(call)
        given = call.header("last-event-id") or call.query.after
        after = None if not given else JournalCursor.parse(given, "after")
        return server_sent_events(self._events(task, after))

    async def artifact(self, call: Call) -> Response:
        """Answer bytes that are kept of a job under a name."""
        task = await self._found(call)
        found = await self._gateway.engine.artifact(task.id, call.path["name"])
        return Response(found.data, headers={"content-type": found.media_type})

    async def _found(self, call: Call) -> Task:
        return await self._jobs.find(call.path["id"], call.access)

    async def _events(self, task: Task, after: JournalCursor | None) -> AsyncIterator[Frame]:
        with self._gateway.readers.reading(task.id):
            journal = self._gateway.engine.journal(ANSWER, task=task.id)
            fence, first = None if after is None else after.fence, (await journal.status()).first
            async for entry in journal.follow(after):
                # An attempt begins with the head of its answer.
                if entry.fence != fence or entry.number == first:
                    fence = entry.fence
                    head = msgspec.json.decode(entry.data, type=Head)
                    yield Frame({"status": head.status, "media_type": head.media_type}, str(entry.cursor), "head")
                elif not entry.data:
                    yield Frame({}, str(entry.cursor), "broken_off")
                else:
                    yield Frame(_shown(entry.data), str(entry.cursor), "chunk")
            ended = await self._gateway.engine.get(task.id)
            assert ended is not None
            yield Frame(_end(ended), None, "end")


def job_routes(gateway: Gateway, of: Callable[..., Rule]) -> list[Route]:
    """Return the routes of jobs."""
    own = JobRoutes(gateway)
    return [
        Route("GET", "/jobs", own.list, of("read", "produce"), query=Listing),
        Route("GET", "/jobs/{id}", own.show, of("read", "produce")),
        Route("DELETE", "/jobs/{id}", own.cancel, of("produce")),
        Route("GET", "/jobs/{id}/answer", own.answer, of("read", "produce")),
        Route("GET", "/jobs/{id}/stream", own.stream, of("read", "produce"), query=After),
        Route("GET", "/jobs/{id}/artifacts/{name}", own.artifact, of("read", "produce")),
    ]


def _shown(data: bytes) -> dict[str, str]:
    """Return bytes as JSON has them: a text, or base64 where they are cut within a character."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _end(task: Task) -> dict[str, Any]:
    if task.state == "completed":
        return {"state": "completed"}
    status, text = failure_of(task)
    state = "cancelled" if task.state == "cancelled" else "failed"
    return {"state": state, "status": status, "error": text}
