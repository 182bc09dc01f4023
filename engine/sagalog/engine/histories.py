"""Histories: every event of one stream, of a task, a limit, a queue, a schedule or a journal.

Rule: it names the stream by what the caller gave, and gives all of its events or an error. Knows no event.
"""

from __future__ import annotations

from typing import Any

from sagalog.codec import Recorded, recorded_stream
from sagalog.errors import InvalidValue, LogDamaged, NotFound
from sagalog.kernel.categories import JOURNAL, LIMIT, QUEUE, SCHEDULE, TASK, Category
from sagalog.store import Snapshot
from sagalog.validation.identities import journal_id
from sagalog.validation.values import check_id, check_name


def stream_named(
    id: str | None, limit: str | None, queue: str | None, schedule: str | None, journal: str | None = None
) -> str:
    """Return the stream of a task, a limit, a queue, a schedule or a journal, which may be one of the task `id`.

    Raises:
        InvalidValue: none of them is given, or several are.
    """
    if journal is not None and limit is None and queue is None and schedule is None:
        name, task = check_name(journal, "journal"), None if id is None else check_id(id, "id")
        return JOURNAL.stream(journal_id(name, task))
    given = {"id": id, "limit": limit, "queue": queue, "schedule": schedule, "journal": journal}
    [*named] = [(word, name) for word, name in given.items() if name is not None]
    if len(named) != 1:
        found = " and ".join(word for word, _ in named) or "none"
        raise InvalidValue(
            f"id, limit, queue, schedule, journal: expected one of them, found {found}",
            path=named[1][0] if named else "id",
        )
    [(word, name)] = named
    if word == "id":
        return TASK.stream(check_id(name, word))
    categories: dict[str, Category[Any]] = {"limit": LIMIT, "queue": QUEUE, "schedule": SCHEDULE}
    return categories[word].stream(check_name(name, word))


def history_of(snapshot: Snapshot, stream: str) -> list[Recorded]:
    """Return every event of a stream, in order; raises NotFound and Corrupt."""
    envelopes = snapshot.history(stream)
    saved = snapshot.saved(stream)
    fold = None if saved is None else saved.fold
    if not envelopes and fold is None:
        raise _absent(stream)
    events = list(recorded_stream(envelopes))
    if fold is not None and fold.version > len(events):
        raise LogDamaged(
            f"{stream} has {len(events)} events and had {fold.version}: stop, keep the file, and compare it with "
            "a backup",
            stream=stream,
            version=len(events) + 1,
            type=None,
        )
    return events


def _absent(stream: str) -> NotFound:
    category, _, name = stream.partition("/")
    if category == TASK.name:
        return NotFound(f"there is no task {name!r}; check the id and the store", task=name)
    if category == JOURNAL.name:
        return NotFound(f"there is no journal {name!r}; check its name, its task and the store", journal=name)
    text = f"the {category} {name!r} has no events, since it was never set; check its name and the store"
    return NotFound(text, **{category: name})
