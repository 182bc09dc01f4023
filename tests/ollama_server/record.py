"""What happened in the server: each request, load and unload, for the test to read or to wait for.

Rule: times are seconds of the machine's monotonic clock, so that those of several processes compare. The server's
thread writes, and any thread reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

PATIENCE_S: Final = 30.0

Reason = Literal["swapped", "options changed", "kept long enough", "asked to", "deleted", "server stopped"]
Outcome = Literal["open", "answered", "client left"]


class Request(msgspec.Struct):
    """One request; `status` is 0 until the answer begins, `ended_s` until it is over.

    `first_s` is when the first content was sent, `tokens` how many the answer has.
    """

    number: int
    method: str
    path: str
    began_s: float
    model: str = ""
    status: int = 0
    first_s: float = 0
    ended_s: float = 0
    tokens: int = 0
    outcome: Outcome = "open"


class Load(msgspec.Struct, frozen=True):
    """One load of a model; `replaced` is the model that had to leave for it."""

    model: str
    options: dict[str, object]
    began_s: float
    ended_s: float
    replaced: str | None = None


class Unload(msgspec.Struct, frozen=True):
    """One unload of a model, and why."""

    model: str
    at_s: float
    reason: Reason


class History(msgspec.Struct):
    """All of it so far, in order; `pending` is how many requests wait for a load now."""

    requests: list[Request] = []
    loads: list[Load] = []
    unloads: list[Unload] = []
    pending: int = 0

    @property
    def swaps(self) -> int:
        """How often one model left for another."""
        return sum(1 for one in self.loads if one.replaced not in (None, one.model))

    def loaded(self, *but: str) -> list[str]:
        """Return the models in the order of their loads, without these."""
        return [one.model for one in self.loads if one.model not in but]

    def of(self, *paths: str) -> list[Request]:
        """Return the requests of these paths."""
        return [one for one in self.requests if one.path in paths]

    def most_at_once(self, *paths: str) -> int:
        """Return how many requests of these paths were open at once, at most."""
        changes: list[tuple[float, int]] = []
        for one in self.of(*paths):
            changes.append((one.began_s, 1))
            changes += [(one.ended_s, -1)] if one.ended_s else []
        count = most = 0
        for _, change in sorted(changes):
            count += change
            most = max(most, count)
        return most


class Record:
    """The history that grows; `wait_until` wakes at each change."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._history = History()
        self._number = 0

    @property
    def history(self) -> History:
        """A copy of all so far."""
        with self._changed:
            return msgspec.convert(msgspec.to_builtins(self._history), History)

    def wait_until(self, holds: Callable[[History], bool], timeout_s: float = PATIENCE_S) -> History:
        """Wait until something holds of the history; return it.

        Raises:
            AssertionError: it did not hold in time; the message shows the history.
        """
        with self._changed:
            held = self._changed.wait_for(lambda: holds(self._history), timeout_s)
        history = self.history
        assert held, f"not within {timeout_s} s: {history}"
        return history

    def clear(self) -> None:
        """Forget all that is over; requests that are still open stay."""
        with self._changed:
            pending = self._history.pending
            self._history = History([one for one in self._history.requests if not one.ended_s], pending=pending)

    def begin(self, method: str, path: str) -> Request:
        """Note that a request has come in; return its entry."""
        with self._changed:
            self._number += 1
            request = Request(self._number, method, path, time.monotonic())
            self._history.requests.append(request)
            self._changed.notify_all()
        return request

    def note(self, request: Request, **changes: object) -> None:
        """Change fields of a request's entry."""
        with self._changed:
            for name, value in changes.items():
                setattr(request, name, value)
            self._changed.notify_all()

    def end(self, request: Request, outcome: Outcome, **changes: object) -> None:
        """Note that a request is over."""
        self.note(request, outcome=outcome, ended_s=time.monotonic(), **changes)

    def count_token(self, request: Request) -> None:
        """Note one more token of an answer, and when the first was there."""
        with self._changed:
            request.tokens += 1
            if request.tokens == 1:
                request.first_s = time.monotonic()
            self._changed.notify_all()

    def pend(self, pending: int) -> None:
        """Note how many requests wait for a load."""
        with self._changed:
            self._history.pending = pending
            self._changed.notify_all()

    def loaded(self, load: Load) -> None:
        """Note a load."""
        with self._changed:
            self._history.loads.append(load)
            self._changed.notify_all()

    def unloaded(self, model: str, reason: Reason) -> None:
        """Note an unload."""
        with self._changed:
            self._history.unloads.append(Unload(model, time.monotonic(), reason))
            self._changed.notify_all()
