"""The appends to a stream that is no task's: events in their envelopes, and the fold that such a stream carries.

Rule: a stream without an end carries its fold after so many events as its category says [CARRY-1]. Knows no command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagalog.actors import MAINTENANCE
from sagalog.codec import Envelope, enclose
from sagalog.kernel import events as e
from sagalog.kernel.categories import Category
from sagalog.kernel.references import may_refer, references_of
from sagalog.store import Append, project_fold


def append_to(
    category: Category[Any],
    fold: Any,
    events: Sequence[e.Recordable],
    now_ms: int,
    actor: str | None,
    cause: str | None = None,
    idempotency_key: str | None = None,
) -> tuple[Any, Append]:
    """Return the fold after the events, and what the store appends. [CARRY-1]"""
    stream, expected = category.stream(fold.id), fold.version
    envelopes: list[Envelope] = []

    def append(fold: Any, event: e.Recordable, actor: str | None, cause: str | None, key: str | None) -> Any:
        version = fold.version + 1
        envelopes.append(enclose(stream, version, now_ms, event, actor, cause, key))
        return category.evolve(fold, event, version, now_ms)

    for event in events:
        fold = append(fold, event, actor, cause, idempotency_key)
    if category.carry is not None and fold.length >= category.carry_events:
        fold = append(fold, category.carry(fold), MAINTENANCE, None, None)
    references = tuple([one for event in events if may_refer(event) for one in references_of(event)])
    return fold, Append(stream, expected, tuple(envelopes), project_fold(fold), references)
