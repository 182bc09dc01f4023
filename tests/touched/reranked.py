"""A made-up event: `reranked`, by which an operator changes the priority of a live task; and every call of its verb.

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
            '''class Reranked(Recordable, frozen=True):
    """The task has another priority."""

    priority: int
    reason: FreeText | None = None


''',
        ),
        behind("    | Noted\n", "    | Reranked\n"),
        behind('    Noted: "noted",\n', '    Reranked: "reranked",\n'),
    ),
    "kernel/commands.py": (
        before(
            "class RetryAsNew(",
            '''class Rerank(Command, frozen=True, kw_only=True):
    """Give a live task another priority."""

    priority: int
    reason: FreeText | None = None


''',
        ),
    ),
    "kernel/lifecycle.py": tuple(
        behind(f'        Row("noted", {state}),\n', f'        Row("reranked", {state}),\n')
        for state in ("PENDING", "RUNNING", "COMPENSATING")
    ),
    "kernel/changes.py": (
        before(
            "CHANGES: Final",
            """def _reranked(task: TaskFold, event: e.Reranked, version: int, at_ms: int) -> None:
    task.priority = event.priority


""",
        ),
        behind("    e.Noted: _noted,\n", "    e.Reranked: _reranked,\n"),
    ),
    "kernel/decide/interventions.py": (
        before(
            "def _cancelled_contents(",
            '''def rerank(task: TaskFold | None, command: c.Rerank, now_ms: int, epoch: int) -> Decision:
    """Another priority, in every live state."""
    task = in_place(existing(task, command.task), "reranked", "rerank")
    require_room(task, "rerank")
    return (e.Reranked(priority=command.priority, reason=cut(command.reason)),)


''',
        ),
        behind(
            "VERBS: Final = (\n",
            """    Verb(
        c.Rerank,
        rerank,
        names("reranked"),
        marks=names("reranked"),
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
            '''def rerank(task: str, priority: int, reason: str | None) -> c.Rerank:
    """The command behind `Engine.rerank`; raises InvalidValue."""
    check_integer(priority, "priority", bounds.PRIORITY_MIN, bounds.PRIORITY_MAX)
    return c.Rerank(task=check_id(task, "id"), priority=priority, reason=optional_text(reason, "reason"))


''',
        ),
    ),
    "engine/verbs.py": (
        before(
            "def waive(",
            '''def rerank(
    executor: Executor,
    id: str,
    priority: int,
    reason: str | None = None,
    *,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> CommandEntry:
    """Give a live task another priority."""
    return _by_caller(executor, forms.rerank(id, priority, reason), actor, idempotency_key)


''',
        ),
    ),
    "engine/facade.py": (behind("    note = carried_out(verbs.note)\n", "    rerank = carried_out(verbs.rerank)\n"),),
    "engine/batch.py": (behind("    note = recorded(verbs.note)\n", "    rerank = recorded(verbs.rerank)\n"),),
    "aio/engine.py": (behind("    note = as_coroutine(Engine.note)\n", "    rerank = as_coroutine(Engine.rerank)\n"),),
    "aio/batch.py": (behind("    note = passed_on(Batch.note)\n", "    rerank = passed_on(Batch.rerank)\n"),),
}
