"""What the runner needs of the worker that calls it.

Rule: only what is used is named here, so that any worker, and any test, can be one. Leases and heartbeats are the
worker's business.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sagalog import Task


class Context(Protocol):
    """One attempt at one task, as its handler sees it."""

    @property
    def task(self) -> Task:
        """The task that is worked on."""

    @property
    def store_id(self) -> str:
        """The id of the store that holds it."""

    @property
    def attempt(self) -> int:
        """1 + the failures on record."""

    @property
    def fence(self) -> int:
        """The number of the lease, which tells the outside world which of two holders is late."""

    @property
    def lost(self) -> bool:
        """Whether the lease is gone, or may be."""

    def progress(self, value: Any) -> None:
        """Put on record how far the work is.

        Args:
            value: JSON.
        """

    def artifact(self, name: str, data: bytes, *, media_type: str) -> None:
        """Keep what the work has left.

        Args:
            name: the name of the artifact.
            data: the bytes.
            media_type: what they are, as in `text/plain`.
        """

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[object]:
        """Call back once, from any thread, as soon as the work should end, while a `with` block lasts."""
