"""The gateway: its parts put together, and the handlers of the routes that Ollama's own clients call.

Rule: it decides nothing of queues, leases and journals; those are the engine's. A request is taken up as a job in one
commit before its client hears of it, and the job goes on without the client. [GATEWAY-1] [GATEWAY-10]
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.responses import Response

from sagalog import QueueStatus, Task, aio
from sagalog.aio import AsyncEngine
from sagalog_http import Call, Stream
from sagalog_http.errors import BadRequest
from sagalog_ollama.dialects import JSON, dialect_of
from sagalog_ollama.errors import InventoryUnknown, QueueFull, UnknownModel
from sagalog_ollama.execution import KIND, WAIVER, Execution, Request
from sagalog_ollama.inventory import Inventory
from sagalog_ollama.jobs import Jobs, request_of
from sagalog_ollama.prompts import read_prompt
from sagalog_ollama.proxies import Proxy, passed
from sagalog_ollama.readers import Readers
from sagalog_ollama.relay import Relay
from sagalog_ollama.residency import Residency
from sagalog_ollama.settings import Settings
from sagalog_ollama.upstream import Upstream

_log: Final = logging.getLogger("sagalog.ollama")

_PRUNE_S: Final = 600.0
_BACKLOG_S: Final = 1.0


class Gateway:
    """One process of a gateway: it answers clients, and works on the jobs of its target.

    Args:
        engine: the engine on the store that all gateways in front of the target share.
        settings: those of the operator.
    """

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.upstream = Upstream(settings)
        self.inventory = Inventory(self.upstream, settings)
        self.jobs = Jobs(engine, settings)
        self.relay = Relay(engine, settings.early_ms)
        self.readers = Readers(engine, self.jobs, settings.abandoned_ms)
        self.proxy = Proxy(self.upstream)
        self._residency = Residency(engine, self.upstream, self.inventory, settings)
        self._worker = self._made_worker()
        self._waiting = 0
        self._is_stopping = False
        self._running: list[asyncio.Task[Any]] = []

    async def start(self, stopping: asyncio.Event) -> None:
        """Set the queue as the settings say, read the inventory, and work until the event is set. [GATEWAY-2]"""
        before = await self._queue()
        if before is None:
            await self.engine.limit_queue(self.settings.queue, slots=1)
        elif before.slots != 1:
            # What else an operator has set of the queue, such as a breaker, stays.
            await self.engine.limit_queue(self.settings.queue, slots=1, rate=before.rate, breaker=before.breaker)
        await self.engine.set_queue(self.settings.queue, affinity_wait_ms=self.settings.affinity_wait_ms or None)
        await self.inventory.poll()
        self._running = [
            asyncio.create_task(self.inventory.run(), name="inventory"),
            asyncio.create_task(self._prune(), name="prune"),
            asyncio.create_task(self._count(), name="backlog"),
            asyncio.create_task(self._stop_working(stopping), name="stopping"),
            asyncio.create_task(self._worker.run(self.engine), name="worker"),
        ]

    async def stop(self) -> None:
        """Let the job that runs end within its grace, else give it back; then close all that was begun."""
        *others, worker = self._running
        with suppress(Exception):
            await worker
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.readers.close()
        await self.upstream.close()

    # --- routes -----------------------------------------------------------------------------------------------------

    async def generate(self, call: Call) -> Response | Stream:
        """Take a request up as a job, or join that of its key, and answer it when the target has."""
        request, job = await self._taken_up(call, call.take_body())
        headers = {"x-sagalog-job-id": job.id, "x-sagalog-queue-position": str(max(self._waiting, 1))}
        if "respond-async" in (call.header("prefer") or "").lower():
            headers |= {"location": f"/jobs/{job.id}", "preference-applied": "respond-async", "content-type": JSON}
            return Response(msgspec.json.encode(await self.jobs.shown(job)), 202, headers)
        try:
            with self.readers.reading(job.id):
                answer = await self.relay.answer(job, request)
        except asyncio.CancelledError:
            if not call.stopping.is_set():
                raise
            body = dialect_of(request.path).error_body(503, f"the gateway stops; {_later(job.id)}")
            return Response(body, 503, {**headers, "content-type": JSON})
        headers = {**answer.headers, **headers}
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, headers)
        return passed(
            self.readers.read(job.id, answer.body), dialect_of(request.path), answer.status, headers, _later(job.id)
        )

    async def tags(self, _: Call) -> Response:
        """Answer the models of the target, as they were when it last answered."""
        return _inventory(self.inventory.tags)

    async def ps(self, _: Call) -> Response:
        """Answer what the target had loaded when it last answered."""
        return _inventory(self.inventory.ps)

    async def health(self, _: Call) -> dict[str, Any]:
        """Say whether the target answers, loads no model for too long, and has no open breaker. [GATEWAY-9]"""
        reasons = []
        queue = await self._queue()
        if queue is not None and queue.breaker_mode == "open":
            reasons.append("breaker_open")
        if self.inventory.is_away:
            reasons.append("target_away")
        if any(one.done() for one in self._running) and not self._is_stopping:
            reasons.append("not_working")
        if await self._loading_ms() > self.settings.loading_max_ms:
            reasons.append("loading_too_long")
        return {"status": "ok", "degraded": bool(reasons), **({"reasons": reasons} if reasons else {})}

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _queue(self) -> QueueStatus | None:
        """Return the settings of the target's queue."""
        return next((one for one in await self.engine.queues() if one.name == self.settings.queue), None)

    async def _taken_up(self, call: Call, body: bytes) -> tuple[Request, Task]:
        """Return a request and its job; raises what its client is told where it cannot be taken up."""
        content_type = call.header("content-type") or "application/json"
        if not content_type.isascii():
            raise BadRequest("the header Content-Type is not ASCII")
        # A form with a file, or many pictures, take a while.
        prompt = await asyncio.to_thread(read_prompt, body, content_type)
        path, key = call.request.url.path, call.header("idempotency-key")
        streams = dialect_of(path).streams if prompt.stream is None else prompt.stream
        request = Request(path, call.access.token, content_type, prompt, streams)
        job = None if key is None else await self.jobs.joined(request, body, key)
        if job is None:
            if self._waiting >= self.settings.waiting_max:
                raise QueueFull(f"{self._waiting:,} requests wait; wait, and send it again", retry_after_ms=5_000)
            if not await self.inventory.knows(prompt.model):
                raise UnknownModel(f'model "{prompt.model}" not found, try pulling it first')
            self._waiting += 1
            job = await self.jobs.create(request, body, key, call.actor)
        return request, job

    def _made_worker(self) -> aio.Worker:
        worker = aio.Worker(
            self.settings.queue,
            name="ollama",
            concurrency=1,
            ttl_ms=self.settings.lease_ms,
            grace_ms=self.settings.grace_ms,
            affinity=self._residency.preferred,
        )
        execution = Execution(self.upstream, self._residency, self.inventory, self.settings)
        worker.task(KIND, waive_compensation=WAIVER)(execution.run)
        return worker

    async def _stop_working(self, stopping: asyncio.Event) -> None:
        """Begin no more jobs once the server stops, while its last requests are still answered. [GATEWAY-12]"""
        await stopping.wait()
        self._is_stopping = True
        self._worker.stop()

    async def _loading_ms(self) -> int:
        """Return for how long the job that runs, at whichever gateway, waits for the target to begin its answer."""
        now_ms = self.engine.plain.now_ms()
        for task in await self.engine.find(queue=self.settings.queue, kind=KIND, state="running"):
            # The head of an answer that does not stream comes only with its end.
            if request_of(task).streams and await self.jobs.state(task) == "loading":
                leased = [one.at_ms for one in await self.engine.history(task.id) if one.type == "leased"]
                return now_ms - leased[-1] if leased else 0
        return 0

    async def _prune(self) -> None:
        while True:
            try:
                await self.engine.prune(self.settings.ttl_ms, queue=self.settings.queue)
            except Exception as error:  # noqa: BLE001  the next one may succeed; clients are served meanwhile
                _log.warning("what has ended could not be pruned: %s", error)
            await asyncio.sleep(min(_PRUNE_S, self.settings.ttl_ms / 2_000))

    async def _count(self) -> None:
        """Count the jobs that wait, so that no request has to, and give back what was kept for those that have gone."""
        while True:
            with suppress(Exception):
                counts = await self.engine.counts(self.settings.queue)
                self._waiting = counts.get(self.settings.queue, {}).get("pending", 0)
                await self._residency.tidy()
            await asyncio.sleep(_BACKLOG_S)


def _later(id: str) -> str:
    """Say where a client finds the answer of its job, which goes on without it."""
    return f"the request goes on as a job: GET /jobs/{id}/answer"


def _inventory(found: bytes | None) -> Response:
    if found is None:
        raise InventoryUnknown("the target has not answered yet; wait, and ask again", retry_after_ms=5_000)
    return Response(found, headers={"content-type": JSON})
