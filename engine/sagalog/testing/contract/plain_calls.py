"""The contract of plain calls: an operation has the same result, whether or not a store asks its `plain`.

Rule: it works below the engine's calls. A store need not ask an operation's `plain`; one that does has to pass this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sagalog.errors import NotFound
from sagalog.store import Claim, Due, EventOf, Operation, Plain, Result, Saved, View
from sagalog.testing.contract.appends import noting
from sagalog.testing.contract.base import TTL_MS, Contract


class PlainCallContract(Contract):
    """The tests of what `plain` gets, and of what the store does with its answer."""

    def looked(self, **declared: Any) -> tuple[Any, list[Any]]:
        """Return what a view shows of the one stream of an operation, and what its `plain` got, if it was asked."""
        given: list[Any] = []

        def plain(saved: Saved | None, now_ms: int, epoch: int, event_of: EventOf, *_: object) -> None:
            given.append((saved, now_ms, epoch, None if saved is None else event_of(1)))

        def decide(view: View) -> Result:
            saved = self._shown(view, **declared)
            return Result((saved, view.now_ms, view.epoch, None if saved is None else view.event(saved.stream, 1)))

        [shown] = self.store.commit([Operation(decide, plain=plain, **declared)])
        return shown, given

    def _shown(self, view: View, writes: tuple[str, ...] = (), claim: Claim | None = None, **_: Any) -> Saved | None:
        if writes:
            return view.saved(writes[0])
        selected = view.select(claim) if claim is not None else [*view.expired, *view.waits_over, *view.promotable]
        return selected[0] if selected else None

    def test_plain_is_given_what_the_view_shows(self) -> None:
        self.create("a", "b")
        self.acquire("a")
        claim = Claim(("default",), "work", 1)
        for declared in (
            {"writes": ("task/a",)},
            {"writes": ("task/b",)},
            {"writes": ("task/new",), "drawn": ("task/new",)},
            {"claim": claim},
            {"claim": msgspec.structs.replace(claim, queues=("empty",))},
            {"due": Due(("default",), 64)},
        ):
            shown, given = self.looked(**declared)
            assert all(one == shown for one in given), declared

    def test_where_something_is_due_plain_is_not_told_that_nothing_is(self) -> None:
        self.create("a")
        self.acquire("a")
        self.clock.advance(TTL_MS)
        shown, given = self.looked(due=Due(("default",), 64))
        assert shown[0].stream == "task/a"
        assert given == []

    def test_what_plain_decides_is_written_as_what_the_view_would_decide(self) -> None:
        self.create("a")
        decide = _noting("a", "the same")

        def plain(saved: Saved | None, now_ms: int, epoch: int, *_: object) -> Result:
            return decide(_OneStream(saved, now_ms, epoch))

        assert self.store.commit([Operation(decide, ("task/a",), plain=plain)] * 2) == ["noted", "noted"]
        assert self.types("a") == ["created", "noted", "noted"]
        self.sound()

    def test_where_plain_has_no_answer_or_refuses_the_view_decides(self) -> None:
        self.create("a")

        def none(*_: Any) -> None:
            return None

        def refusing(*_: Any) -> Result:
            raise NotFound("plain sees too little")

        for plain in (none, refusing):
            assert self.store.commit([Operation(_noting("a", "seen"), ("task/a",), plain=plain)]) == ["noted"]
        assert self.types("a") == ["created", "noted", "noted"]
        self.sound()

    def test_a_plain_operation_beside_one_that_begins_anew_is_written_once(self) -> None:
        self.create("a", "b")

        def look(view: View) -> Result:
            return Result(view.saved("task/b") is not None)

        plain = _plainly(_noting("a", "once"))
        noted = Operation(_noting("a", "once"), ("task/a",), plain=plain)
        assert self.store.commit([noted, Operation(look), noted]) == ["noted", True, "noted"]
        assert self.types("a") == ["created", "noted", "noted"]
        self.sound()


class _OneStream:
    """The one stream that `plain` gets, as a view for a function that asks one."""

    def __init__(self, saved: Saved | None, now_ms: int, epoch: int) -> None:
        self._saved = saved
        self.now_ms = now_ms
        self.epoch = epoch

    def saved(self, _: str, /) -> Saved | None:
        return self._saved


def _noting(task: str, text: str) -> Callable[[Any], Result]:
    return lambda view: Result("noted", (noting(task, text)(view),))


def _plainly(decide: Callable[[Any], Result]) -> Plain:
    return lambda saved, now_ms, epoch, *_: decide(_OneStream(saved, now_ms, epoch))
