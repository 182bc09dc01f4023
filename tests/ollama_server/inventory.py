"""The models that the server has, whether they are loaded or not.

Rule: a model is made of its name, so that a copy under another name is a link to the first.
"""

from __future__ import annotations

import hashlib
from typing import Final

from tests.ollama_server.frames import Details, Running, Tag, timestamp
from tests.ollama_server.model_file import ARCHITECTURE, CONTEXT_TOKENS, model_bytes, parameters
from tests.ollama_server.residency import FOREVER_S, Resident
from tests.ollama_server.settings import Settings, normal

_DETAILS: Final = {"parent_model": "", "format": "gguf", "family": ARCHITECTURE, "families": [ARCHITECTURE]}


class Inventory:
    """Names -> models; used in the server's one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Name -> whose bytes it has, and when it came.
        self._models: dict[str, tuple[str, str]] = {}
        for name in (*settings.models, *settings.embedding_models):
            self.add(name)

    def __contains__(self, name: str) -> bool:
        return normal(name) in self._models

    def add(self, name: str, source: str | None = None) -> None:
        """Have a model of this name, with the bytes of another if one is named."""
        bytes_of = self._models[normal(source)][0] if source is not None else normal(name)
        self._models[normal(name)] = (bytes_of, timestamp())

    def remove(self, name: str) -> None:
        """Have it no longer."""
        del self._models[normal(name)]

    def source(self, name: str) -> str:
        """Return the name of which the model's bytes are made."""
        return self._models[normal(name)][0]

    def only_embeds(self, name: str) -> bool:
        """Tell whether it can do nothing else."""
        return normal(name) in map(normal, self._settings.embedding_models)

    def details(self) -> Details:
        """Return what kind of file each of them is."""
        return Details(**_DETAILS, parameter_size=f"{parameters() / 1000:.1f}K", quantization_level="F32")  # type: ignore[arg-type]

    def tags(self) -> list[Tag]:
        """Return all, the newest first, as `/api/tags` shows them."""
        return [
            Tag(
                name=name,
                model=name,
                modified_at=came,
                size=len(model_bytes(bytes_of)),
                digest=hashlib.sha256(model_bytes(bytes_of)).hexdigest(),
                details=self.details(),
            )
            for name, (bytes_of, came) in reversed(self._models.items())
        ]

    def running(self, resident: Resident, now_s: float) -> Running:
        """Return a loaded model as `/api/ps` shows it."""
        data = model_bytes(resident.model)
        left_s = min(resident.expires_at_s - now_s, FOREVER_S)
        return Running(
            name=resident.model,
            model=resident.model,
            size=len(data),
            digest=hashlib.sha256(data).hexdigest(),
            details=self.details(),
            expires_at=timestamp(left_s),
            size_vram=len(data),
            context_length=int(resident.options.get("num_ctx") or CONTEXT_TOKENS),
        )
