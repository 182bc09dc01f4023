"""Why no claim leases a task now: one small function for each sort of reason, over one snapshot.

Rule: it reads only, takes no lock, and answers for what cannot be read too. [EXPLAIN-1] What is free, and who is first
in line, the arithmetic of claims says (`accounts`). A sort of reason is a function from the subject to reasons; its
place in the list below is its place in the answer. Knows no store by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sagalog.engine.explanation import OF_WORKERS, Explanation, Reason
from sagalog.engine.explanations import of_breakers, of_ends, of_limits, of_pauses, of_states, of_waits, of_workers
from sagalog.engine.explanations.subject import Subject
from sagalog.errors import Corrupt, NotFound
from sagalog.kernel.state import TaskFold
from sagalog.store import Snapshot

Sort = Callable[[Subject], Iterator[Reason]]

# Why no claim leases it, in the order of the answer, which `Explanation` documents.
REASONS: Final[tuple[Sort, ...]] = (
    of_ends.ended,
    of_states.leased,
    of_states.deadline_passed,
    of_states.not_due,
    of_waits.waits,
    of_pauses.kind,
    of_pauses.queue,
    of_pauses.key,
    of_pauses.limits,
    of_limits.settings_unreadable,
    of_breakers.breakers,
    of_limits.lacks_of_queue,
    of_limits.lacks,
    of_limits.behind_others,
    of_workers.no_live_worker,
    of_workers.build_absent,
    of_workers.preflights,
)
# What is worth knowing of a task that a claim would lease.
NOTES_OF_CLAIMABLE: Final[tuple[Sort, ...]] = (of_states.claimable, of_limits.let_in_next)
# What is worth knowing besides.
NOTES: Final[tuple[Sort, ...]] = (
    of_workers.pinned,
    of_states.owes_undo,
    of_states.suspect,
    of_states.cancel_requested,
    of_workers.busy,
    of_workers.none_known,
    of_workers.preflights_elsewhere,
    of_states.deadlines_ahead,
)


def explained(snapshot: Snapshot, id: str, now_ms: int) -> Explanation:
    """Return why no claim leases a task at `now_ms`; raises NotFound."""
    stream = f"task/{id}"
    try:
        task = snapshot.task(id)
    except Corrupt as error:
        reason = Reason("unreadable", {"stream": stream, "error": error.message})
        return Explanation(id, None, False, (reason,), ())
    if task is None:
        raise NotFound(f"there is no task {id!r}; check the id and the store", task=id)
    return _explanation(Subject(snapshot, task, now_ms))


def _explanation(subject: Subject) -> Explanation:
    task: TaskFold = subject.task
    reasons = tuple(reason for sort in REASONS for reason in sort(subject))
    is_claimable = all(reason.code in OF_WORKERS for reason in reasons)
    notes = [note for sort in NOTES_OF_CLAIMABLE for note in sort(subject)] if is_claimable else []
    notes += [note for sort in NOTES for note in sort(subject)]
    return Explanation(task.id, task.state, is_claimable, reasons, tuple(notes))
