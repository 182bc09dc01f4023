"""The property of schedules in a history: each nominal time once, in its time, with a task of its own.

Rule: it trusts no other module, and computes no nominal time. Knows no fold.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import TERMINAL
from sagalog.testing.inheritance import Found


class _Schedule:
    """What the events of one schedule have said so far."""

    def __init__(self) -> None:
        self.settled_ms = 0
        self.fired: set[int] = set()
        self.task: str | None = None
        self.allows_overlap = False
        self.off: set[str] = set()

    def see(self, event: e.Recordable) -> None:
        """Take what an operator, or maintenance, says of when it fires."""
        match event:
            case e.ScheduleSet():
                self.off -= {"stopped", "removed"}
                self.settled_ms = event.settled_ms
                self.allows_overlap = event.schedule.overlap == "allow"
            case e.ScheduleResumed() | e.ScheduleReset():
                self.off -= {"stopped", "paused"} if isinstance(event, e.ScheduleResumed) else set()
                self.settled_ms = event.settled_ms
            case e.ScheduleRemoved():
                self.off = {"removed"}
            case e.SchedulePaused():
                self.off.add("paused")
            case e.ScheduleStopped():
                self.off.add("stopped")
            case _:
                pass


def schedules(log: Sequence[Recorded]) -> Found:
    """Check that each nominal time is settled once, in order, not before it comes, and with its task. [SCHEDULE-2]

    No task is created while the one before lives, where the schedule says so. [SCHEDULE-5]
    """
    found: dict[str, _Schedule] = {}
    created = {one.stream: one for one in log if isinstance(one.event, e.Created) and one.version == 1}
    ended: set[str] = set()
    for event in log:
        now = event.event
        if _ends(now):
            ended.add(event.stream)
        if not event.stream.startswith("schedule/"):
            continue
        schedule = found.setdefault(event.stream, _Schedule())
        if not isinstance(now, e.ScheduleFired | e.ScheduleSkipped):
            schedule.see(now)
            continue
        nominal_ms = now.nominal_ms
        if schedule.off:
            yield event, f"the schedule is {', '.join(sorted(schedule.off))}"
        if nominal_ms > event.at_ms:
            yield event, f"the time {nominal_ms} has not come at {event.at_ms}"
        if nominal_ms <= schedule.settled_ms:
            yield event, f"the times up to {schedule.settled_ms} are settled, and so is {nominal_ms}"
        schedule.settled_ms = nominal_ms
        if isinstance(now, e.ScheduleFired):
            if nominal_ms in schedule.fired:
                yield event, f"the time {nominal_ms} has fired before"
            task = created.get(f"task/{now.task}")
            if task is None or task.cause != event.name:
                yield event, f"no creation of {now.task!r} names it as its cause"
            if schedule.task is not None and not schedule.allows_overlap and f"task/{schedule.task}" not in ended:
                yield event, f"the task before, {schedule.task!r}, lives"
            schedule.fired.add(nominal_ms)
            schedule.task = now.task


def _ends(event: e.Recordable) -> bool:
    if isinstance(event, e.Completed | e.Compensated | e.Quarantined):
        return True
    return isinstance(event, e.Failed | e.Cancelled) and event.to in TERMINAL
