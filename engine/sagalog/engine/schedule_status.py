"""What a snapshot says of schedules: how each is now, and its next nominal times.

Rule: it shows what the log holds; only the next times are computed. It reads only. Knows no store by name.
"""

from __future__ import annotations

from sagalog.engine.open_claims import stream_ids
from sagalog.engine.pauses import pause_at
from sagalog.engine.queries import ScheduleStatus
from sagalog.engine.schedule_times import first_after, no_schedule
from sagalog.errors import Corrupt
from sagalog.kernel.state import ScheduleFold
from sagalog.store import Snapshot


def schedules_of(snapshot: Snapshot) -> list[ScheduleStatus]:
    """Return the schedules, by name; one that cannot be read is only named. [LOG-5]"""
    found = [_schedule(snapshot, name) for name in stream_ids(snapshot, "schedule")]
    return [one for one in found if one is not None]


def _schedule(snapshot: Snapshot, name: str) -> ScheduleStatus | None:
    """Return a schedule; None where it was removed."""
    try:
        fold: ScheduleFold = snapshot.fold(f"schedule/{name}")
    except Corrupt as error:
        return _unreadable(name, error)
    schedule = fold.schedule
    if schedule is None or fold.is_removed:
        return None
    pause = pause_at(snapshot, f"schedule/{name}", fold.paused)
    return ScheduleStatus(
        name,
        schedule.template.kind,
        schedule.template.queue,
        schedule.cron,
        schedule.every_ms,
        schedule.zone,
        schedule.missed,
        schedule.overlap,
        fold.due_ms,
        fold.task_ms,
        fold.task,
        pause is not None,
        fold.stopped,
        pause,
    )


def _unreadable(name: str, error: Corrupt) -> ScheduleStatus:
    times = (None, None, None)
    return ScheduleStatus(name, "", "", None, None, "", "one", "skip", *times, False, "unreadable", None, error.message)


def next_times_of(snapshot: Snapshot, name: str, limit: int, now_ms: int) -> list[int]:
    """Return the next nominal times of a schedule after now, and after what is settled; raises NotFound."""
    fold: ScheduleFold | None = snapshot.fold(f"schedule/{name}")
    if fold is None or fold.is_removed or fold.schedule is None:
        raise no_schedule(name)
    found: list[int] = []
    at_ms: int | None = fold.settled_at(now_ms)
    while at_ms is not None and len(found) < limit:
        at_ms = first_after(fold.schedule, fold.anchor_ms, at_ms)
        if at_ms is not None:
            found.append(at_ms)
    return found
