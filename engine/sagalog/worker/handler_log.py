"""The log of a worker's handlers, `sagalog.worker`: that they begin and end, fail and are retried.

Rule: it decides nothing and writes nothing to the store. The text of a failure is the one that the store keeps, because
to make it anew of a foreign exception would run foreign code.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from sagalog.engine.lease import Lease
from sagalog.engine.task import Task
from sagalog.kernel.values import Failure
from sagalog.outcomes import Interrupted, Outcome, Park, Transient
from sagalog.recurrence import spelled
from sagalog.sentences import worded

_log: Final = logging.getLogger("sagalog.worker")

# The outcome of a pending task, by the verb with which its lease was settled.
_PENDING: Final = {"retry": "retried", "park": "parked"}


def begun(lease: Lease) -> None:
    """Log that a handler begins."""
    _log.debug("the handler of %s begins", _named(lease))


def ended(lease: Lease, error: BaseException | None, failure: Failure | None, undo: str | None = None) -> None:
    """Log that a handler has ended: as a WARNING if it failed; `undo` is the current compensation.

    The record has a traceback unless the handler has raised an outcome to which no other exception led.

    The record also has `failure_details`, the details that the store keeps: among them the lines of the traceback.
    """
    what = f"the undo {undo!r} of {_named(lease)}" if undo else f"the handler of {_named(lease)}"
    if error is None:
        _log.debug("%s has ended", what)
    elif failure is None or isinstance(error, Park | Interrupted):
        _log.debug("%s has ended: %s", what, type(error).__name__)
    else:
        # Formatting a foreign exception runs foreign code.
        with suppress(Exception):
            has_said_all = isinstance(error, Outcome) and error.__cause__ is None and error.__context__ is None
            trace = None if has_said_all else (type(error), error, error.__traceback__)
            said = ("%s failed: %s: %s", what, failure.code, worded(failure).message)
            _log.warning(*said, exc_info=trace, extra={"failure_details": failure.details})
        if undo is None and isinstance(error, Transient):
            _warn_of_limit(lease, failure.limit)


def _warn_of_limit(lease: Lease, limit: str | None) -> None:
    """Warn that a failure strikes no breaker, since its task uses no limit of the name that it gives. [BREAKER-2]"""
    if limit is not None and limit not in lease.task.uses:
        _log.warning(
            "the failure of %s strikes no breaker: the task does not use the limit %r; it uses %s",
            _named(lease),
            limit,
            ", ".join(map(repr, lease.task.uses)) or "none",
        )


def settled(lease: Lease, verb: str, task: Task) -> str:
    """Log that the lease of a handler is settled; return the outcome of its task as a word for the counts."""
    outcome = _outcome(verb, task)
    if outcome == "retried":
        delay_ms = task.run_at_ms - task.updated_ms
        _log.warning("%s is due again in %.3f s, at %s", _named(lease), delay_ms / 1_000, spelled(task.run_at_ms))
    elif outcome in ("failed", "compensating", "quarantined"):
        why = "" if task.code is None else f": {task.code}"
        _log.warning("task %s (%s) is %s%s", task.id, task.kind, outcome, why)
    return outcome


def affinity_failed(error: Exception, is_new: bool) -> None:
    """Warn that the function which gives a worker's affinities has failed; further failures in a row are of no news."""
    if is_new:
        # Formatting a foreign exception runs foreign code.
        with suppress(Exception):
            _log.warning("the affinities of this worker are unknown, so it claims without: %s", error, exc_info=error)


def unknown(kinds: list[str], queues: tuple[str, ...]) -> None:
    """Warn of kinds whose tasks are ready, and for which this worker has no handler."""
    for kind in kinds:
        _log.warning(
            "tasks of the kind %r are ready in %s, and this worker has no handler for it: register one with "
            "@worker.task, or run another worker that knows it",
            kind,
            ", ".join(map(repr, queues)),
        )


def left(kinds: list[str], queues: tuple[str, ...]) -> None:
    """Warn of kinds without a handler whose tasks are left after the worker has drained its queues."""
    for kind in kinds:
        _log.warning(
            "tasks of the kind %r are left in %s, because this worker has no handler for it: register one with "
            "@worker.task, or run another worker that knows it",
            kind,
            ", ".join(map(repr, queues)),
        )


def _outcome(verb: str, task: Task) -> str:
    if task.is_terminal:
        return str(task.state)
    if task.state == "compensating":
        return {"compensation_failed": "retried", "release": "released"}.get(verb, "compensating")
    return _PENDING.get(verb, "released")


def _named(lease: Lease) -> str:
    return f"task {lease.task.id} ({lease.task.kind}, attempt {lease.attempt})"
