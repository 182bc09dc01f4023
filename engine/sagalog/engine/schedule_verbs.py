"""Verbs of operators on schedules; arguments -> entry.

Rule: as in `verbs`, each call is here once, with its whole signature and text. `settings_verbs` pauses and resumes
them. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagalog.actors import optional_actor
from sagalog.engine.entries import SettingEntry
from sagalog.engine.executor import Executor
from sagalog.kernel.values import Missed, Overlap, Retry
from sagalog.validation import schedules as forms


def set_schedule(
    executor: Executor,
    name: str,
    kind: str,
    payload: Any = None,
    *,
    cron: str | None = None,
    every_ms: int | None = None,
    zone: str = "UTC",
    missed: Missed = "one",
    overlap: Overlap = "skip",
    queue: str = "default",
    priority: int = 0,
    affinity: str | None = None,
    key: str | None = None,
    retry: Retry | None = None,
    waive_compensation: str | None = None,
    tags: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
    uses: Mapping[str, int] | None = None,
    actor: str | None = None,
) -> SettingEntry:
    """Set a schedule, which creates one task for each of its times, whatever the number of workers. [SCHEDULE-2]

    The id of a task is the name, "@" and the time in UTC, as in "nightly@2026-11-30T02:00:00Z". The next claim of any
    queue creates it, or `recover`, and a worker wakes for it. A schedule of this name is replaced, and nominal times
    that it has settled never fire again.

    Args:
        name: its name, of at most 170 characters.
        kind, payload: of its tasks, as for `create`; all of the schedule takes at most 64 KiB.
        cron: minute, hour, day of the month, month and day of the week, or @hourly, @daily, @weekly, @monthly, @yearly;
            or
        every_ms: an interval of at least a second, in milliseconds; the first is over so long after this call.
        zone: the IANA time zone of `cron`.
        missed: of nominal times that passed while no worker looked: "one" creates the task of the newest, "skip" none
            that is more than a minute late, "all" those of the newest 100. [SCHEDULE-4]
        overlap: while the task of the nominal time before lives: "skip" creates none, "allow" does. [SCHEDULE-5]
        queue, priority, affinity, key, retry, waive_compensation, tags, correlation_id, uses: of its tasks, as for
            `create`.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        InvalidValue: it is no expression of five fields, or one that never fires, or there is no such zone.
        OverBound: the schedule is too large.
        NotFound: there is no limit of a name in `uses`.
    """
    command = forms.set_schedule(
        name,
        kind,
        payload,
        cron=cron,
        every_ms=every_ms,
        zone=zone,
        missed=missed,
        overlap=overlap,
        queue=queue,
        priority=priority,
        affinity=affinity,
        key=key,
        retry=retry,
        waive_compensation=waive_compensation,
        tags=tags,
        correlation_id=correlation_id,
        uses=uses,
    )
    return SettingEntry(command, optional_actor(actor, "actor") or executor.actor)


def remove_schedule(executor: Executor, name: str, *, actor: str | None = None) -> SettingEntry:
    """Remove a schedule; the tasks that it has created go on. [SCHEDULE-1]

    Args:
        name: its name.
        actor: the caller on record; left out, that of `sagalog.open`. [ACTOR-1]

    Raises:
        NotFound: there is no such schedule.
    """
    return SettingEntry(forms.remove_schedule(name), optional_actor(actor, "actor") or executor.actor)
