"""Which model is loaded: one for chats at a time, as on a machine with one small GPU.

Rule: as in Ollama, a request for the loaded model with the same runner options goes straight to it, and any other waits
in line for a load, which begins when the loaded model has no request left. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.ollama_server.record import Load, Reason, Record
from tests.ollama_server.runner import RUNNER_OPTIONS, Runner
from tests.ollama_server.settings import Settings, normal

FOREVER_S: Final = (2**63 - 1) / 1e9
_EMBEDDING_PARALLEL: Final = 4


class ServerBusy(Exception):
    """More requests wait for a load than may."""


class Resident:
    """A loaded model, how many requests use it, and until when it stays."""

    def __init__(self, model: str, options: Mapping[str, Any], runner: Runner, parallel: int) -> None:
        self.model = model
        self.options = options
        self.runner = runner
        self.slots = asyncio.Semaphore(parallel)
        self.users = 0
        self.unused = asyncio.Event()
        self.keep_s = 0.0
        self.expires_at_s = 0.0
        self.alarm: asyncio.TimerHandle | None = None


class Residency:
    """The models that are loaded; used in the server's one event loop."""

    def __init__(self, settings: Settings, record: Record) -> None:
        self._settings = settings
        self._record = record
        self._rooms: dict[str, Resident] = {}
        self._turn = asyncio.Lock()
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def residents(self) -> list[Resident]:
        """The loaded models, the one that stays longest first."""
        return sorted(self._rooms.values(), key=lambda one: -one.expires_at_s)

    @asynccontextmanager
    async def using(
        self, model: str, options: Mapping[str, Any], keep_s: float | None
    ) -> AsyncIterator[tuple[Resident, int]]:
        """Have the model loaded while the block runs; gives it, and the nanoseconds that this took.

        Args:
            model: Its name.
            options: The request's options, of which those of the runner count.
            keep_s: Seconds for which it stays afterwards; None leaves them as they are.

        Raises:
            ServerBusy: too many wait for a load.
        """
        began_ns = time.monotonic_ns()
        resident = await self._loaded(normal(model), _runner_options(options))
        if keep_s is not None:
            resident.keep_s = keep_s
        try:
            yield resident, max(1, time.monotonic_ns() - began_ns)
        finally:
            self._leave(resident)

    def expire(self, model: str, reason: Reason = "asked to") -> None:
        """Unload a model as soon as no request uses it; one that is not loaded stays so."""
        for resident in self._rooms.values():
            if resident.model == normal(model):
                resident.keep_s = 0
                if not resident.users:
                    self._evict(resident, reason)
                return

    async def close(self) -> None:
        """Unload all."""
        for resident in [*self._rooms.values()]:
            self._evict(resident, "server stopped")
        await self._freed()

    async def _loaded(self, model: str, options: Mapping[str, Any]) -> Resident:
        """Return the loaded model with one more user."""
        room = model if model in map(normal, self._settings.embedding_models) else ""
        if (resident := self._fitting(room, model, options)) is not None:
            return resident
        if self._pending >= self._settings.pending_max:
            raise ServerBusy
        self._pend(1)
        left = asyncio.Event()
        waiting = asyncio.create_task(self._wait_for_load(room, model, options, left))
        try:
            resident = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # A load that has begun goes on without the client; one that has not never begins.
            left.set()
            waiting.add_done_callback(self._leave_loaded)
            raise
        finally:
            self._pend(-1)
        assert resident is not None
        return resident

    def _pend(self, more: int) -> None:
        self._pending += more
        self._record.pend(self._pending)

    async def _wait_for_load(
        self, room: str, model: str, options: Mapping[str, Any], left: asyncio.Event
    ) -> Resident | None:
        async with self._turn:
            replaced: Resident | None = None
            while not left.is_set():
                # Another request may have loaded it meanwhile.
                if (resident := self._fitting(room, model, options)) is not None:
                    return resident
                if (found := self._rooms.get(room)) is None:
                    await self._freed()
                    return await self._load(room, model, options, replaced)
                # A request for the loaded model may overtake this one while it waits.
                await found.unused.wait()
                if not found.users and self._rooms.get(room) is found and not left.is_set():
                    replaced = found
                    self._evict(found, "options changed" if found.model == model else "swapped")
        return None

    def _leave_loaded(self, waiting: asyncio.Task[Resident | None]) -> None:
        if not waiting.cancelled() and (resident := waiting.result()) is not None:
            self._leave(resident)

    def _fitting(self, room: str, model: str, options: Mapping[str, Any]) -> Resident | None:
        resident = self._rooms.get(room)
        if resident is None or resident.model != model or resident.options != options:
            return None
        self._enter(resident)
        return resident

    async def _load(self, room: str, model: str, options: Mapping[str, Any], replaced: Resident | None) -> Resident:
        began_s = time.monotonic()
        parallel = self._settings.parallel if not room else _EMBEDDING_PARALLEL
        runner = await asyncio.to_thread(Runner, model, options, parallel)
        await asyncio.sleep(self._settings.load_ms / 1000 - (time.monotonic() - began_s))
        resident = Resident(model, options, runner, parallel)
        resident.keep_s = self._settings.keep_alive_ms / 1000 if not room else FOREVER_S
        self._enter(resident)
        self._rooms[room] = resident
        left = None if replaced is None else replaced.model
        self._record.loaded(Load(model, dict(options), began_s, time.monotonic(), left))
        return resident

    def _enter(self, resident: Resident) -> None:
        resident.users += 1
        resident.unused.clear()
        resident.expires_at_s = time.monotonic() + resident.keep_s
        if resident.alarm is not None:
            resident.alarm.cancel()
            resident.alarm = None

    def _leave(self, resident: Resident) -> None:
        resident.users -= 1
        if resident.users:
            return
        resident.unused.set()
        resident.expires_at_s = time.monotonic() + resident.keep_s
        if resident.keep_s <= 0:
            self._evict(resident, "asked to")
        elif resident.keep_s < FOREVER_S:
            loop = asyncio.get_running_loop()
            resident.alarm = loop.call_later(resident.keep_s, self._evict, resident, "kept long enough")

    def _evict(self, resident: Resident, reason: Reason) -> None:
        """Unload a model that no request uses: no later request finds it, and its memory is freed meanwhile."""
        for room in [room for room, one in self._rooms.items() if one is resident]:
            del self._rooms[room]
            if resident.alarm is not None:
                resident.alarm.cancel()
            task = asyncio.get_running_loop().create_task(self._free(resident, reason))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _free(self, resident: Resident, reason: Reason) -> None:
        await asyncio.to_thread(resident.runner.close)
        self._record.unloaded(resident.model, reason)

    async def _freed(self) -> None:
        await asyncio.gather(*self._tasks)


def _runner_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in RUNNER_OPTIONS if options.get(name) is not None}
