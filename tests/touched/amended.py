"""A made-up event: `amended`, by which an operator changes the priority of a live task; and every call of its verb.

Rule: nothing is here that could be left out; a test leaves out each file, and what is promised fails.
"""

from __future__ import annotations

from typing import Final

from tests.touched.copies import Change, before, behind

# Decided, written, folded, shown, checked, repeated and rebuilt, by every store.
EVENT: Final[Change] = {
    "kernel/events.py": (
        before(
            "class Founded(",
            '''class Amended(Recordable, frozen=True):
    """The task has another priority."""

    priority: int
    reason: FreeText | None = None


''',
        ),
        behind("    | Noted\n", "    | Amended\n"),
        behind('    Noted: "noted",\n', '    Amended: "amended",\n'),
    ),
    "kernel/commands.py": (
        before(
            "class RetryAsNew(",
            '''class Amend(Command, frozen=True, kw_only=True):
    """Give a live task another priority."""

    priority: int
    reason: FreeText | None = None


''',
        ),
    ),
    "kernel/lifecycle.py": tuple(
        behind(f'        Row("noted", {state}),\n', f'        Row("amended", {state}),\n')
        for state in ("PENDING", "RUNNING", "COMPENSATING")
    ),
    "kernel/changes.py": (
        before(
            "CHANGES: Final",
            """def _amended(task: TaskFold, event: e.Amended, version: int, at_ms: int) -> None:
    task.priority = event.priority


""",
        ),
        behind("    e.Noted: _noted,\n", "    e.Amended: _amended,\n"),
    ),
    "kernel/decide/interventions.py": (
        before(
            "def _cancelled_contents(",
            '''def amend(task: TaskFold | None, command: c.Amend, now_ms: int, epoch: int) -> Decision:
    """Another priority, in every live state."""
    task = in_place(existing(task, command.task), "amended", "amend")
    require_room(task, "amend")
    return (e.Amended(priority=command.priority, reason=cut(command.reason)),)


''',
        ),
        behind(
            "VERBS: Final = (\n",
            """    Verb(
        c.Amend,
        amend,
        names("amended"),
        marks=names("amended"),
        contents=fields(("priority", "priority"), ("reason", "reason")),
    ),
""",
        ),
    ),
    "kernel/state.py": (behind("FOLD_FORMAT: Final = ", "1 + "),),
}

# What callers have of it: a verb of the engine, of batches, and of both for asyncio.
CALL: Final[Change] = {
    "validation/commands.py": (
        before(
            "def retry_as_new(",
            '''def amend(task: str, priority: int, reason: str | None) -> c.Amend:
    """The command behind `Engine.amend`; raises InvalidValue."""
    check_integer(priority, "priority", bounds.PRIORITY_MIN, bounds.PRIORITY_MAX)
    return c.Amend(task=check_id(task, "id"), priority=priority, reason=optional_text(reason, "reason"))


''',
        ),
    ),
    "engine/verbs.py": (
        before(
            "def waive(",
            '''def amend(
    executor: Executor,
    id: str,
    priority: int,
    reason: str | None = None,
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Give a live task another priority."""
    return _by_caller(executor, forms.amend(id, priority, reason), actor, idempotency_key)


''',
        ),
    ),
    "engine/facade.py": (behind("    note = carried_out(verbs.note)\n", "    amend = carried_out(verbs.amend)\n"),),
    "engine/batch.py": (behind("    note = recorded(verbs.note)\n", "    amend = recorded(verbs.amend)\n"),),
    "aio/engine.py": (behind("    note = as_coroutine(Engine.note)\n", "    amend = as_coroutine(Engine.amend)\n"),),
    "aio/batch.py": (behind("    note = passed_on(Batch.note)\n", "    amend = passed_on(Batch.amend)\n"),),
}
