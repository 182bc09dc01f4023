"""The answers of `tests/data/ollama`, by name and as bytes: what an upstream sends when a test says so."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.ollama_server.exchange import NDJSON

_PATH: Final = Path(__file__).parents[1] / "data" / "ollama" / "answers.jsonl"


class Example(msgspec.Struct, frozen=True, dict=True):
    """One answer; `lines` are its frames, `shape` the type of the Python client for each."""

    name: str
    status: int
    content_type: str
    shape: str | None
    lines: list[dict[str, Any]]

    @cached_property
    def frames(self) -> tuple[bytes, ...]:
        """The frames as they are sent."""
        end = b"\n" if self.content_type == NDJSON else b""
        return tuple(msgspec.json.encode(one) + end for one in self.lines)

    @property
    def body(self) -> bytes:
        """All of them."""
        return b"".join(self.frames)


def _read() -> dict[str, Example]:
    decoder = msgspec.json.Decoder(Example)
    read = [decoder.decode(line) for line in _PATH.read_bytes().splitlines()]
    return {one.name: one for one in read}


EXAMPLES: Final[Mapping[str, Example]] = _read()
