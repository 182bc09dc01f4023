"""The inventory of the target: its models, what it has loaded, and whether it answers.

Rule: it is read at intervals and kept while the target is away, so that clients see their models. A poll that is under
way serves all that ask for one meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from sagalog_ollama.prompts import full_name
from sagalog_ollama.settings import Settings
from sagalog_ollama.upstream import Unreachable, Upstream

_log: Final = logging.getLogger("sagalog.ollama")


class _Model(msgspec.Struct):
    name: str = ""
    model: str = ""


class _Models(msgspec.Struct):
    models: list[_Model] | None = None


class Inventory:
    """What is known of the target's models.

    tags, ps   the last answers of `/api/tags` and `/api/ps`, as they came; None: there was none yet
    is_away    whether the last poll has failed
    """

    def __init__(self, upstream: Upstream, settings: Settings) -> None:
        self._upstream = upstream
        self._settings = settings
        self.tags: bytes | None = None
        self.ps: bytes | None = None
        self.is_away = False
        self._models: frozenset[str] | None = None
        self._loaded: tuple[str, ...] = ()
        self._polling: asyncio.Task[None] | None = None
        self._is_warm = False
        self._warming: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> tuple[str, ...]:
        """The full names of the models that were loaded at the last poll."""
        return self._loaded

    async def knows(self, model: str) -> bool:
        """Say whether the target has a model; polls once more before it says no. [GATEWAY-7]

        Where the target has never answered, every model may be there.
        """
        name = full_name(model)
        if self._models is not None and name not in self._models:
            await self.poll()
        # A name with a host is listed without it where that is the target's own.
        return self._models is None or name in self._models or ("/" in name and "." in name.partition("/")[0])

    def look_soon(self) -> asyncio.Task[None]:
        """Have the inventory read now, unless a poll is under way, and return the poll; nothing waits for it."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        return self._polling

    async def poll(self) -> None:
        """Read the inventory now, or wait for the poll that is under way; what cannot be read stays as it was."""
        await asyncio.shield(self.look_soon())

    async def run(self) -> None:
        """Poll at the intervals of the settings until it is cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(self._settings.poll_interval_ms / 1_000)

    async def _poll(self) -> None:
        try:
            tags = await self._upstream.get("/api/tags")
            ps = await self._upstream.get("/api/ps")
            models, loaded = _names(tags), _names(ps)
        except Exception as error:  # noqa: BLE001  whatever the target answers, the next poll may read
            self._note_away(f"{type(error).__name__}: {error}")
            return
        if self.is_away:
            _log.info("the target answers again")
        self.is_away = False
        self.tags, self._models = tags, frozenset(models)
        self.ps, self._loaded = ps, loaded
        if self._settings.embedding_model is not None and not self._is_warm and self._warming is None:
            self._warming = asyncio.create_task(self._warm(self._settings.embedding_model))

    def _note_away(self, why: str) -> None:
        if not self.is_away:
            _log.warning("the target does not answer: %s", why)
        self.is_away, self._is_warm, self._loaded = True, False, ()

    async def _warm(self, model: str) -> None:
        """Load the embedding model, once for each time that the target comes back; embeddings must not wait for it."""
        try:
            status = await self._upstream.load("/api/embed", msgspec.json.encode({"model": model, "input": []}))
            self._is_warm = status < 400
            if not self._is_warm:
                _log.warning("the embedding model %s could not be loaded: the target answered %d", model, status)
        except Unreachable as error:
            _log.warning("the embedding model %s could not be loaded: %s", model, error)
        finally:
            self._warming = None


def _names(body: bytes) -> tuple[str, ...]:
    """Return the full names in an answer; raises where it is none."""
    found = msgspec.json.decode(body, type=_Models).models or []
    return tuple(full_name(one.model or one.name) for one in found)
