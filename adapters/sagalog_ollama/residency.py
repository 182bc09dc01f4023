"""What the target has loaded, and for how long: drained before the next model, pinned meanwhile, then given back.

Rule: bodies are never changed. While others wait for what a job has loaded, an empty prompt with its model and its
runner options keeps that loaded, for a bounded time; after the last of them another one says what the client's own
`keep_alive` would have said. Both are sent while the job runs, so no other job comes in between.
[GATEWAY-3] [GATEWAY-4]
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from sagalog.aio import AsyncEngine
from sagalog_ollama.inventory import Inventory
from sagalog_ollama.prompts import Prompt
from sagalog_ollama.settings import Settings
from sagalog_ollama.upstream import Unreachable, Upstream

RESIDENCY: Final = "residency"

_log: Final = logging.getLogger("sagalog.ollama")

# After the job's own request, which has to come first: it would set its client's time again. The first ones come soon,
# since a job may be over soon; afterwards the time is renewed when half of it is over.
_FIRST_S: Final = (0.02, 0.25, 1.0)
# A job without company looks whether others wait by now, after commits, but not after each flush of its own answer.
_LOOK_MS: Final = 5_000
_PAUSE_S: Final = 0.25
_GIVE_BACK_S: Final = 1.0
_SPACE: Final = "ollama-residency"


class _Loaded(msgspec.Struct, frozen=True):
    """What the last job has loaded, beside the log; `is_kept`: longer than its clients ask for."""

    residency: str
    is_kept: bool = False

    @classmethod
    def read(cls, kept: str | None) -> _Loaded | None:
        return None if kept is None else msgspec.json.decode(kept, type=cls)


class Residency:
    """What is loaded at the target, as far as the jobs of all gateways in front of it say."""

    def __init__(self, engine: AsyncEngine, upstream: Upstream, inventory: Inventory, settings: Settings) -> None:
        self._engine = engine
        self._upstream = upstream
        self._inventory = inventory
        self._settings = settings
        self._last: Prompt | None = None
        self._is_busy = False

    def preferred(self) -> list[str]:
        """Return what a claim asks for first: what the last job has loaded, or else what the target says."""
        known = _Loaded.read(self._engine.plain.kept(_SPACE, self._settings.queue))
        return list(self._inventory.loaded) if known is None else [known.residency]

    async def begin(self, prompt: Prompt) -> None:
        """Note what the job that begins has loaded, for the claims of all gateways."""
        known = await self._known()
        if known is None or known.residency != prompt.residency:
            await self._note(_Loaded(prompt.residency))

    @asynccontextmanager
    async def kept_loaded(self, prompt: Prompt) -> AsyncIterator[asyncio.Event]:
        """Keep loaded what a job needs while others wait for it, and give it back after the last; for the block.

        The event that it gives is to be set once the target has begun to answer.
        """
        self._last, self._is_busy = prompt, True
        answering = asyncio.Event()
        pinning = asyncio.create_task(self._pin(prompt, answering))
        try:
            yield answering
        finally:
            pinning.cancel()
            await asyncio.gather(pinning, return_exceptions=True)
            await self._give_back(prompt)
            self._is_busy = False

    async def tidy(self) -> None:
        """Give back what was kept for jobs that have gone without running; call it now and then."""
        known = await self._known()
        if self._last is None or self._is_busy or known is None or not known.is_kept:
            return
        if not await self._engine.find(queue=self._settings.queue, state="running", limit=1):
            await self._give_back(self._last)

    async def _give_back(self, prompt: Prompt) -> None:
        """Have a model that was kept stay for as long as its last client asks, if none waits for it.

        A target that hangs holds the queue up for a moment only.
        """
        known = await self._known()
        if known is None or known.residency != prompt.residency or not known.is_kept or await self._is_awaited(prompt):
            return
        try:
            async with asyncio.timeout(_GIVE_BACK_S):
                await self._load(prompt, prompt.keep_alive)
        except TimeoutError:
            _log.info("the time of the model %s could not be set in time; it is tried again", prompt.model)
            return
        await self._note(_Loaded(prompt.residency))

    async def _known(self) -> _Loaded | None:
        return _Loaded.read(await self._engine.kept(_SPACE, self._settings.queue))

    async def _note(self, loaded: _Loaded) -> None:
        # Only the holder of the queue's slot writes it; of two at once one loses nothing but a preference.
        before = await self._engine.kept(_SPACE, self._settings.queue)
        await self._engine.keep(_SPACE, self._settings.queue, before, msgspec.json.encode(loaded).decode())

    async def _pin(self, prompt: Prompt, answering: asyncio.Event) -> None:
        pauses = self._pauses()
        while True:
            since = await self._engine.changes()
            if await self._is_awaited(prompt):
                await _until(answering, next(pauses))
                await self._note(_Loaded(prompt.residency, is_kept=True))
                await self._load(prompt, f"{self._settings.pin_ms}ms")
            else:
                await asyncio.sleep(_PAUSE_S)
                await self._engine.wait_change(since, _LOOK_MS)

    def _pauses(self) -> Iterator[float]:
        yield from _FIRST_S
        while True:
            yield self._settings.pin_ms / 2_000

    async def _is_awaited(self, prompt: Prompt) -> bool:
        """Whether another job waits for what this one has loaded."""
        found = await self._engine.find(
            queue=self._settings.queue, state="pending", tags={RESIDENCY: prompt.residency}, limit=1
        )
        return bool(found)

    async def _load(self, prompt: Prompt, keep_alive: Any) -> None:
        """Send an empty prompt, which only sets how long the model stays."""
        wanted: dict[str, Any] = {"model": prompt.model, "prompt": "", "stream": False}
        wanted |= {"options": prompt.options} if prompt.options else {}
        wanted |= {} if prompt.shift is None else {"shift": prompt.shift}
        wanted |= {} if keep_alive in (None, msgspec.UNSET) else {"keep_alive": keep_alive}
        try:
            await self._upstream.load("/api/generate", msgspec.json.encode(wanted))
        except Unreachable as error:
            # The job itself meets the same target, and says so.
            _log.info("the time of the model %s could not be set: %s", prompt.model, error)


async def _until(event: asyncio.Event, pause_s: float) -> None:
    """Wait for the event or for the pause, whichever is over first; an event that is set counts once."""
    if event.is_set():
        await asyncio.sleep(pause_s)
        return
    try:
        async with asyncio.timeout(pause_s):
            await event.wait()
    except TimeoutError:
        pass
