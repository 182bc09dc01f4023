"""The results of the children that a handler gathers: in the order in which it gave their payloads.

Rule: a child that has not completed is an error that names it, and never a result. It knows tasks that have ended, and
must not know how a handler waits for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sagalog.engine import verbs
from sagalog.engine.task import Task
from sagalog.errors import InvalidValue, Pruned
from sagalog.kernel.values import State
from sagalog.outcomes import ChildFailed, StepMismatch
from sagalog.validation.json_values import as_json, canonical
from sagalog.validation.values import shown

# The names of the arguments of a child; its actor and its cause are those of its parent's handler.
_OF_CHILDREN: Final = {*inspect.signature(verbs.create).parameters, "on_parent_end"} - {
    "executor",
    "actor",
    "cause",
    "idempotency_key",
}


def payloads_of(given: object) -> list[Any]:
    """Return the payloads of the children to gather; raises InvalidValue where they are no list."""
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise InvalidValue(f"payloads: expected a list, found {shown(given)}", path="payloads")
    return list(given)


def require_arguments(call: str, given: Iterable[str]) -> None:
    """Refuse an argument of the name that no creation of a child has, by the call that was made; raises TypeError."""
    unknown = next((name for name in given if name not in _OF_CHILDREN), None)
    if unknown is not None:
        raise TypeError(
            f"{call}() got an unexpected keyword argument {unknown!r}; a child takes what Engine.create does, but for "
            "actor, cause and idempotency_key"
        )


def require_no_dedupe(arguments: Mapping[str, Any]) -> None:
    """Refuse one dedupe key for all children, since one task has it; raises InvalidValue. [DEDUPE-1]"""
    if arguments.get("dedupe") is not None:
        raise InvalidValue(
            "dedupe: one key for all children would be that of one task; spawn each with a key of its own, and wait "
            "for them by wait_tasks()",
            path="dedupe",
        )


def child_name(wait: str, number: int, place: int) -> str:
    """Return the name of a gathered child: of the n-th gathering of a name, that of the payload at a place."""
    return f"{wait} {number}.{place}"


def require_same(tasks: Sequence[Task], kind: str, payloads: Sequence[Any]) -> None:
    """Require that these are the children that the handler asks for; raises StepMismatch. [STEP-2]"""
    for task, payload in zip(tasks, payloads, strict=True):
        _require_kept(task, "payload")
        if task.kind != kind or canonical(task.payload) != canonical(as_json(payload, "payload")):
            raise StepMismatch(f"the child {task.id!r} exists with other content")


def results_of(tasks: Sequence[Task], return_exceptions: bool) -> list[Any]:
    """Return the results of these tasks; raise the error of the first that has not completed, or return errors too."""
    for task in tasks:
        _require_kept(task, "result")
    found: list[Any] = [task.result if task.state is State.COMPLETED else failed(task) for task in tasks]
    errors = [one for one in found if isinstance(one, ChildFailed)]
    if errors and not return_exceptions:
        raise errors[0]
    return found


def _require_kept(task: Task, name: str) -> None:
    """Require that a value of a child was not pruned; raises Pruned. [PRUNE-3]"""
    if name in task.pruned:
        raise Pruned(f"the {name} of the child {task.id!r} was pruned: create the parent anew", task=task.id)


def failed(task: Task) -> ChildFailed:
    """Make the error of a child that has ended without completing."""
    why = task.reason if task.error is None else task.error.message
    text = f"child {task.id!r} of kind {task.kind!r} has ended as {task.state}" + (f": {why}" if why else "")
    details = {"task": task.id, "kind": task.kind, "state": str(task.state), "code": task.code}
    return ChildFailed(text, task=task, details=details)
