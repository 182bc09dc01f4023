"""What a snapshot says of schedules: how each is now, and its next nominal times.

Rule: it shows what the log holds; only the next times are computed. It reads only. Knows no store by name.
"""

from __future__ import annotations

from sagalog.engine.open_claims import stream_ids
from sagalog.engine.queries import ScheduleStatus
from sagalog.engine.schedule_times import first_after
from sagalog.errors import NotFound
from sagalog.kernel.state import ScheduleFold
from sagalog.store import Snapshot


def schedules_of(snapshot: Snapshot) -> list[ScheduleStatus]:
    """Return the schedules, by name."""
    found = []
    for name in stream_ids(snapshot, "schedule"):
        fold: ScheduleFold = snapshot.fold(f"schedule/{name}")
        schedule = fold.schedule
        if schedule is not None and not fold.is_removed:
            found.append(
                ScheduleStatus(
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
                    bool(fold.paused),
                    fold.stopped,
                )
            )
    return found


def next_times_of(snapshot: Snapshot, name: str, limit: int, now_ms: int) -> list[int]:
    """Return the next nominal times of a schedule after now, and after what is settled; raises NotFound."""
    fold: ScheduleFold | None = snapshot.fold(f"schedule/{name}")
    if fold is None or fold.is_removed or fold.schedule is None:
        raise NotFound(f"there is no schedule {name!r}; set it first, or check its name", schedule=name)
    found: list[int] = []
    at_ms: int | None = fold.settled_at(now_ms)
    while at_ms is not None and len(found) < limit:
        at_ms = first_after(fold.schedule, fold.anchor_ms, at_ms)
        if at_ms is not None:
            found.append(at_ms)
    return found
