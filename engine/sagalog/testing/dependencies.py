"""The properties of a log that span several tasks: what waits for others, and children of tasks that have failed.

Rule: as in `history`, which lists them: each walks the log by itself and reads recorded events only. An end is for
ever, so it does not matter in which order the log has the events of one commit. Knows no fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import TERMINAL, State
from sagalog.testing.inheritance import Found, streams


def awaited(log: Sequence[Recorded]) -> Found:
    """Check that a wait for tasks is over once all have ended, as it counts; failures end a task as it was created.

    [WAIT-3] [WAIT-5]
    """
    ends = _ends(log)
    for stream in streams(log):
        created = stream[0].event
        after: tuple[str, ...] = ()
        for place, event in enumerate(stream):
            now = event.event
            if isinstance(now, e.Created | e.Parked):
                after = now.after
            if not isinstance(now, e.Unblocked) or now.by != "tasks":
                continue
            found = Counter(ends[id] for id in after if id in ends)
            if dict(found) != now.counts or found.total() != len(after):
                yield event, f"it counts {now.counts} of {len(after)} tasks, and they have ended as {dict(found)}"
            if any(ends.get(one.task) is not one.state for one in now.ended):
                yield event, "it names an end that is none"
            if now.ended and tuple(one.task for one in now.ended) != after:
                yield event, f"it names {[one.task for one in now.ended]}, and {list(after)} were waited for"
            if now.number == 0 and isinstance(created, e.Created):
                behind = stream[place + 1].event if place + 1 < len(stream) else None
                if (expected := _expected(created, found)) is not _engine_s(behind):
                    yield event, f"{expected and e.NAMES[expected]} was expected behind it, and {behind} is"


def cancelled_children(log: Sequence[Recorded]) -> Found:
    """Check that the engine cancels only children of a task that was cancelled or has failed, not left. [CANCEL-4]"""
    over = {
        (event.stream.partition("/")[2], "failed" if isinstance(event.event, e.Failed) else "cancelled")
        for event in log
        if isinstance(event.event, e.Failed | e.Cancelled)
    }
    adopted = {
        (event.event.task, event.stream.partition("/")[2]) for event in log if isinstance(event.event, e.ChildAdopted)
    }
    for stream in streams(log):
        created = stream[0].event
        is_asked = False
        for event in stream:
            now = event.event
            if not isinstance(now, e.Cancelled | e.CancelRequested) or now.code != "parent_ended":
                continue
            # As its lease ends, the request before it has the parameters.
            if is_asked and isinstance(now, e.Cancelled):
                continue
            is_asked = True
            given = now.parameters or {}
            parent = given.get("parent")
            if (parent, given.get("outcome")) not in over:
                yield event, f"its parent {parent!r} has not ended its work as {given.get('outcome')}"
            if not isinstance(created, e.Created) or created.on_parent_end != "cancel":
                yield event, "it was not to be cancelled with its parent"
            elif parent != created.parent and (event.stream.partition("/")[2], parent) not in adopted:
                yield event, f"{parent!r} is not its parent, and has not adopted it"


def _expected(created: e.Created, found: Mapping[State, int]) -> type[e.Recordable] | None:
    """Return what has to follow the end of the wait that a creation began."""
    if created.on_failed == "run" or not set(found) - {State.COMPLETED}:
        return None
    return e.Cancelled if created.on_failed == "cancel" else e.Quarantined


def _engine_s(event: e.Recordable | None) -> type[e.Recordable] | None:
    """Return the type of an event by which the engine ends a task because of those that it was to wait for."""
    if isinstance(event, e.Cancelled | e.Quarantined) and event.code == "dependency_failed":
        return type(event)
    return None


def _ends(log: Sequence[Recorded]) -> dict[str, State]:
    """Return the state in which each task has ended."""
    found: dict[str, State] = {}
    for event in log:
        now, id = event.event, event.stream.partition("/")[2]
        if isinstance(now, e.Completed):
            found[id] = State.COMPLETED
        elif isinstance(now, e.Compensated):
            found[id] = State.COMPENSATED
        elif isinstance(now, e.Quarantined):
            found[id] = State.QUARANTINED
        elif isinstance(now, e.Failed | e.Cancelled) and now.to in TERMINAL:
            found[id] = now.to
    return found
