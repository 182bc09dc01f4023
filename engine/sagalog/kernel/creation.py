"""The change by `created`: a new task, and what a successor inherits and keeps.

Rule: a successor takes over by reference, and the fold keeps the references [COMP-7]. Knows no other event.
"""

from __future__ import annotations

from sagalog.kernel import events as e
from sagalog.kernel.damage import damaged
from sagalog.kernel.ends import digest_of_ids
from sagalog.kernel.state import CompensationRecord, EndedWaits, KeptPolicy, StepRecord, TakenSignal, TaskFold, Waiting
from sagalog.kernel.values import DedupeKey, KeptWaits, SignalEnd, State


def created(task: TaskFold, event: e.Created, version: int, at_ms: int) -> None:
    """Fill the fold of a new task from its `created`."""
    task.kind, task.queue, task.priority = event.kind, event.queue, event.priority
    task.affinity, task.key, task.tags, task.run_at_ms = event.affinity, event.key, event.tags, event.run_at_ms
    task.policy, task.has_waiver = KeptPolicy.of(event.policy), event.waiver is not None
    if event.inherited or event.steps or event.waits:
        _take_over(task, event, version)
    if event.compensations or event.inherited:
        task.compensations = _compensations_of(event, version, task.sources)
    if event.outcome is not None:
        if not event.inherited:
            raise damaged(task, "created", version, "it only undoes and inherits nothing")
        task.outcome = event.outcome
    task.uses = event.uses
    task.data_key, task.parent, task.correlation_id = event.data_key, event.parent, event.correlation_id
    task.deadline_ms, task.start_by_ms = event.deadline_ms, event.start_by_ms
    task.created_ms = at_ms
    if event.dedupe is not None:
        _require_sound(task, event.dedupe, version, at_ms)
        task.dedupe = event.dedupe
    if event.build is not None:
        task.build = event.build
    if event.on_parent_end is not None:
        task.ends_with_parent = event.on_parent_end == "cancel" and event.parent is not None
    if event.after or event.on_failed is not None:
        _wait_for_others(task, event, version)


def _require_sound(task: TaskFold, dedupe: DedupeKey, version: int, at_ms: int) -> None:
    """Require that a dedupe key has a period exactly by its scope, and that it ends in time. [DEDUPE-4]"""
    period_ms, until_ms = dedupe.period_ms, dedupe.until_ms
    if [period_ms is not None, until_ms is not None] != [dedupe.scope == "period"] * 2:
        text = f"its dedupe key has the scope {dedupe.scope!r}, the period {period_ms} and ends at {until_ms}"
        raise damaged(task, "created", version, text)
    if period_ms is not None and until_ms is not None and until_ms > at_ms + period_ms:
        raise damaged(task, "created", version, f"its dedupe key ends at {until_ms}, after its period of {period_ms}")


def _wait_for_others(task: TaskFold, event: e.Created, version: int) -> None:
    """Begin the wait that a creation names. It has the number 0: no handler has asked for it. [WAIT-5]"""
    if not event.after or event.on_failed is None:
        raise damaged(task, "created", version, f"it waits for {list(event.after)} and names {event.on_failed!r}")
    if task.id in event.after or len(set(event.after)) < len(event.after):
        raise damaged(task, "created", version, "it waits for its own end, or twice for one task")
    if event.to is State.COMPENSATING:
        raise damaged(task, "created", version, "it only undoes and waits for other tasks")
    digest = digest_of_ids(event.after)
    task.waiting = Waiting("after", 0, version, None, len(event.after), None, digest, event.on_failed)
    task.is_blocked = True


def _compensations_of(event: e.Created, version: int, sources: tuple[str, ...]) -> dict[str, CompensationRecord]:
    """Return the records of the compensations that a creation plans or inherits. [COMP-7]

    The task owes what it inherits at once. A successor that only undoes keeps its plan for its own successors.
    """
    planned = () if event.to is State.COMPENSATING else event.compensations
    records = {one.id or "": CompensationRecord(one.kind, version, at, "planned") for at, one in enumerate(planned)}
    for one in event.inherited:
        planned_here = records.get(one.id)
        if planned_here is None:
            source = sources.index(one.task) + 1
            records[one.id] = CompensationRecord(one.kind, one.version, one.index, "owed", source=source)
        else:
            records[one.id] = CompensationRecord(planned_here.kind, version, planned_here.index, "owed")
    return records


def _take_over(task: TaskFold, event: e.Created, version: int) -> None:
    """Keep and inherit, by reference, what a predecessor recorded; a task that only undoes keeps no steps.

    [STEP-1] [COMP-7]
    """
    if event.predecessor is None:
        raise damaged(task, "created", version, "it inherits or keeps something and names no predecessor")
    named = [one.id for one in event.inherited], [one.name for one in event.steps], [one.name for one in event.waits]
    if any(len(set(names)) < len(names) for names in named):
        raise damaged(task, "created", version, "it inherits or keeps something twice")
    if (event.steps or event.waits) and event.to is State.COMPENSATING:
        raise damaged(task, "created", version, "it only undoes and keeps steps or waits")
    taken = [end for one in event.waits for end in one.ends if isinstance(end, SignalEnd)]
    named_tasks = [one.task for one in event.inherited] + [one.task for one in event.steps]
    task.sources = tuple(dict.fromkeys(named_tasks + [end.task for end in taken]))
    task.steps = {
        one.name: StepRecord(one.version, 0, task.sources.index(one.task) + 1, one.compensation) for one in event.steps
    }
    if any(not _is_well_formed(one) for one in event.waits):
        raise damaged(task, "created", version, "it keeps waits that are no row of sleeps, signals and gaps")
    task.waits = {one.name: _kept_waits(one, task.sources) for one in event.waits}
    task.kept_wait_names = len(task.waits)


def _is_well_formed(waits: KeptWaits) -> bool:
    """Check that after each wait which is asked anew another one is over. [WAIT-1]"""
    return bool(waits.ends) and waits.ends[-1] != 0 and all(not isinstance(end, int) or end <= 0 for end in waits.ends)


def _kept_waits(waits: KeptWaits, sources: tuple[str, ...]) -> EndedWaits:
    return EndedWaits.of(
        [end if isinstance(end, int) else TakenSignal(end.version, sources.index(end.task) + 1) for end in waits.ends]
    )
