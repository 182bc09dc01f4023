"""What a handler raises when its work does not end with a result: the outcomes of a task, for a worker to record.

Rule: an outcome says what becomes of the task, never how it is written down. This file knows no engine, no store, no
clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal


class Transient(Exception):
    """Nothing is wrong with the work: try again later, at the cost of `budget` alone."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "transient",
        retry_after_ms: int | None = None,
        budget: Literal["transient", "quota"] = "transient",
        details: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after_ms = retry_after_ms
        self.budget = budget
        self.details = details


class Permanent(Exception):
    """Trying again is useless."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "permanent",
        compensations: Sequence[Any] = (),
        waive_compensation: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.compensations = tuple(compensations)
        self.waive_compensation = waive_compensation
        self.details = details


class Quarantine(Exception):
    """A human must look before anything else is done."""

    def __init__(self, message: str, *, code: str = "handler", details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details


class Failed(Exception):
    """A real failure: it burns an attempt."""

    def __init__(self, message: str, *, code: str = "failed", details: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details
