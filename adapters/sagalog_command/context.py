"""Context of an attempt: what the runner needs of the worker that calls it.

Rule: the protocol names only what the runner uses, so that any worker, and any test, can be one. The worker alone looks
after leases and heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sagalog import Task


class Context(Protocol):
    """An attempt at a task, as its handler sees it."""

    @property
    def task(self) -> Task:
        """The task that the handler works on."""

    @property
    def store_id(self) -> str:
        """The id of the store that holds the task."""

    @property
    def attempt(self) -> int:
        """1 + the failures of the task on record."""

    @property
    def fence(self) -> int:
        """The number of the lease, by which the outside world tells which of two holders is late."""

    @property
    def lost(self) -> bool:
        """Whether the lease is lost, or may be."""

    def progress(self, value: Any) -> None:
        """Put on record how far the work is.

        Args:
            value: JSON.
        """

    def artifact(self, name: str, data: bytes, *, media_type: str) -> None:
        """Keep bytes that the work has made, under a name.

        Args:
            name: the name of the artifact.
            data: the bytes.
            media_type: what they are, as in `text/plain`.
        """

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[object]:
        """Call back once within the block, from any thread, once the work should end; at once if it should now."""
