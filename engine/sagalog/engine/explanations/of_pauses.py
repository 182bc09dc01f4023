"""The reasons in what operators have paused: its kind, its queue, its key, a limit that it uses. [PAUSE-1]

Rule: as of the whole package. No pause holds back what runs, nor undoing.
"""

from __future__ import annotations

from collections.abc import Iterator

from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject
from sagalog.engine.pauses import pause_at, pause_of_kind
from sagalog.engine.queries import Pause
from sagalog.kernel.state import LimitFold, QueueFold
from sagalog.kernel.values import Parameters


def kind(subject: Subject) -> Iterator[Reason]:
    """Its kind is paused."""
    pause = pause_of_kind(subject.snapshot, subject.task.kind) if subject.is_pending else None
    if pause is not None:
        yield Reason("paused_kind", {"kind": subject.task.kind, **parameters_of(pause)})


def queue(subject: Subject) -> Iterator[Reason]:
    """Its queue is paused."""
    name = subject.task.queue
    pause = pause_at(subject.snapshot, f"queue/{name}", settings.paused) if (settings := _queue(subject)) else None
    if pause is not None:
        yield Reason("paused_queue", {"queue": name, **parameters_of(pause)})


def key(subject: Subject) -> Iterator[Reason]:
    """Its key is paused within its queue."""
    settings, task = _queue(subject), subject.task
    if settings is None or task.key is None:
        return
    pause = pause_at(subject.snapshot, f"queue/{task.queue}", settings.paused_keys.get(task.key, 0))
    if pause is not None:
        yield Reason("paused_key", {"queue": task.queue, "key": task.key, **parameters_of(pause)})


def limits(subject: Subject) -> Iterator[Reason]:
    """A limit that it uses is paused."""
    for name in sorted(subject.task.uses or ()) if subject.is_pending else ():
        stream = f"limit/{name}"
        settings = subject.settings(stream)
        pause = pause_at(subject.snapshot, stream, settings.paused) if isinstance(settings, LimitFold) else None
        if pause is not None:
            yield Reason("paused_limit", {"limit": name, **parameters_of(pause)})


def _queue(subject: Subject) -> QueueFold | None:
    """Return the settings of its queue; None: it has none, or none that count for it."""
    if not subject.is_pending or not subject.is_governed:
        return None
    settings = subject.settings(f"queue/{subject.task.queue}")
    return settings if isinstance(settings, QueueFold) else None


def parameters_of(pause: Pause) -> Parameters:
    """Return what is known of a pause: by whom, since when and why."""
    given = {"actor": pause.actor, "since_ms": pause.at_ms, "text": pause.reason}
    return {name: value for name, value in given.items() if value is not None}
