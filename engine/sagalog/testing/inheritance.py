"""The properties of a log that span two tasks: what a successor takes over, and from which predecessor.

Rule: as in `history`, which lists them: each walks the log by itself and reads recorded events only. Knows no fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import Compensation, SignalEnd, State

Found = Iterator[tuple[Recorded, str]]
# By name and number, the waits that are over for a successor: the end that took a signal, None for a sleep.
Waits = dict[tuple[str, int], SignalEnd | None]


def streams(log: Sequence[Recorded]) -> Iterable[list[Recorded]]:
    """Group the events by task."""
    found: dict[str, list[Recorded]] = {}
    for event in log:
        if event.stream.startswith("task/"):
            found.setdefault(event.stream, []).append(event)
    return found.values()


def handed_over(log: Sequence[Recorded]) -> Found:
    """Check that a successor owes at once what the note that names it hands over; a task has one at most.

    [TERM-2] [COMP-7] The successor of a completed task only undoes.
    """
    created = {event.stream: event for event in log if isinstance(event.event, e.Created)}
    inheriting = {event.stream for event in log if isinstance(event.event, e.Created) and event.event.inherited}
    named: dict[str, Recorded] = {}
    for stream in streams(log):
        succeeded = completed = False
        for event in stream:
            now = event.event
            completed = completed or isinstance(now, e.Completed)
            if not isinstance(now, e.Noted) or now.successor is None:
                continue
            if succeeded:
                yield event, "it names a second successor"
            succeeded = True
            name = f"task/{now.successor}"
            named[name] = event
            heir = created.get(name)
            if heir is None:
                yield event, f"its successor {now.successor!r} was never created"
                continue
            taken = heir.event
            assert isinstance(taken, e.Created)
            if f"task/{taken.predecessor}" != event.stream:
                yield heir, f"{event.stream} names it as successor and it names {taken.predecessor!r}"
            if tuple(one.id for one in taken.inherited) != now.settles:
                yield heir, f"it inherits {[one.id for one in taken.inherited]}, handed over was {list(now.settles)}"
            if completed and (taken.to is not State.COMPENSATING or taken.outcome != "completed"):
                yield heir, f"{event.stream} has completed, and it does more than undo what was left"
    for name, heir in created.items():
        if name in inheriting and name not in named:
            yield heir, "it inherits what no predecessor has handed over"


def inheritance(log: Sequence[Recorded]) -> Found:
    """Check that the references of a successor are right, and that it keeps all that it should. [COMP-7] [STEP-1]"""
    events = {event.name: event.event for event in log}
    kept: dict[str, list[str]] = {}
    over: dict[str, Waits] = {}
    for stream in streams(log):
        names: list[str] = []
        waits: Waits = {}
        undos: set[tuple[str | None, str]] = set()
        undecided: set[str] = set()
        wait: e.Parked | None = None
        forward = True
        for event in stream:
            now = event.event
            if isinstance(now, e.Created):
                names = [one.name for one in now.steps]
                undos = {(one.compensation, one.name) for one in now.steps}
                forward = now.to is not State.COMPENSATING
                yield from ((event, text) for text in _misplaced(now, events))
                if now.predecessor is not None and names != kept.get(f"task/{now.predecessor}", []):
                    yield event, f"it keeps the steps {names} and not {kept.get(f'task/{now.predecessor}', [])}"
                waits = {(one.name, number): end for one in now.waits for number, end in one.numbered()}
                before = over.get(f"task/{now.predecessor}", {})
                if now.predecessor is not None and waits != before:
                    yield event, f"it keeps the waits {waits} and not {before}"
            elif isinstance(now, e.Parked):
                wait = now
            elif isinstance(now, e.Unblocked):
                if wait is not None and wait.signal is None and not wait.after:
                    waits[now.wait, now.number] = None
                elif now.by == "signal":
                    waits[now.wait, now.number] = SignalEnd(event.stream.partition("/")[2], event.version)
            elif isinstance(now, e.StepCompleted):
                names.append(now.name)
                undos.add((now.compensation, now.name))
            elif isinstance(now, e.Failed | e.Cancelled):
                forward = False
            elif isinstance(now, e.Quarantined) and forward:
                kept[event.stream] = names
                over[event.stream] = waits
                undecided = {one.name for one in now.steps}
            elif isinstance(now, e.Noted) and now.successor is not None:
                given = now.results or {}
                if lacking := sorted(undecided.difference(given, now.rerun)):
                    yield event, f"it gives neither results nor a rerun for the steps {lacking}"
                names += [name for name in given if name not in names]
                names[:] = [name for name in names if name not in now.rerun]
            elif isinstance(now, e.Noted) and event.stream in kept:
                undecided.update(name for id, name in undos if id in now.settles)


def children(log: Sequence[Recorded]) -> Found:
    """Check that a task adopts a child once under its name, from a predecessor that it goes on from. [STEP-2]"""
    created = {event.stream: event.event for event in log if isinstance(event.event, e.Created)}
    over = {event.stream for event in log if isinstance(event.event, e.Failed | e.Cancelled)}
    over |= {stream for stream, event in created.items() if event.to is State.COMPENSATING}
    at_work = {event.stream for event in log if isinstance(event.event, e.Quarantined)} - over
    for stream in streams(log):
        names: set[str] = set()
        for event in stream:
            now = event.event
            if not isinstance(now, e.ChildAdopted):
                continue
            if now.name in names:
                yield event, f"the child {now.name!r} is on record already"
            names.add(now.name)
            child = created.get(f"task/{now.task}")
            before = created[event.stream].predecessor
            while before is not None and f"task/{before}" in at_work and child is not None and child.parent != before:
                before = created[f"task/{before}"].predecessor
            if child is None or before is None or f"task/{before}" not in at_work or child.parent != before:
                yield event, f"{now.task!r} is the child of no predecessor that it goes on from"


def _misplaced(created: e.Created, events: Mapping[str, e.Recordable]) -> Iterator[str]:
    """Yield, in words, each wrong reference of a successor's creation."""
    for one in created.inherited:
        undo: object = events.get(f"task/{one.task}@{one.version}")
        if isinstance(undo, e.Created):
            undo = next(iter(undo.compensations[one.index : one.index + 1]), None)
        named = (undo.id, undo.kind) if isinstance(undo, e.CompensationRegistered | Compensation) else None
        if named != (one.id, one.kind):
            yield f"the undo {one.id!r} is not at task/{one.task}@{one.version}"
    for step in created.steps:
        found = events.get(f"task/{step.task}@{step.version}")
        if isinstance(found, e.Noted) and step.name in (found.results or {}):
            continue
        if not isinstance(found, e.StepCompleted) or (found.name, found.compensation) != (step.name, step.compensation):
            yield f"the step {step.name!r} is not at task/{step.task}@{step.version}"
    for waits in created.waits:
        for number, end in waits.numbered():
            if end is None:
                continue
            over = events.get(f"task/{end.task}@{end.version}")
            ended = (over.wait, over.number, over.by) if isinstance(over, e.Unblocked) else None
            if ended != (waits.name, number, "signal"):
                yield f"wait {number} of {waits.name!r} did not end at task/{end.task}@{end.version}"
