"""Refusals of the server, with the status and the sentence that Ollama gives."""

from __future__ import annotations

from typing import Final

import msgspec

JSON: Final = "application/json; charset=utf-8"


class Failed(msgspec.Struct, kw_only=True):
    """An error, whole or in the midst of a stream."""

    error: str


class Refused(Exception):
    """A request that is answered with an error: its status, and the sentence for the client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def unknown(model: str) -> Refused:
    """Return the refusal of a model that the server does not have."""
    return Refused(404, f"model '{model}' not found")


def not_pulled(model: str) -> Refused:
    """Return the same as the scheduler says it."""
    return Refused(404, f'model "{model}" not found, try pulling it first')


def busy() -> Refused:
    """Return the refusal of one request too many."""
    return Refused(503, "server busy, please try again.  maximum pending requests exceeded")
