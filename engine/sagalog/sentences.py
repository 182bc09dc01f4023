"""The engine's own sentences, in English: made of a code and its parameters when a reader asks. [RECORD-6]

Rule: one table; no other line holds words for what the kernel or a worker puts on record. A code is on record for ever,
a sentence is not. Knows no task and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any, Final

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.values import Failure, Parameters

# Of several templates, the first with all its fields given is used; `text` is the words of a caller or a handler.
SENTENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "attempts_spent": ("it has failed as often as its policy allows",),
    "transients_spent": ("its surroundings have failed as often as its policy allows",),
    "quota_wait_spent": ("it has waited for a quota for as long as its policy allows",),
    "expiries_spent": ("its leases have expired as often as its policy allows",),
    "releases_spent": ("it was given back as often as its policy allows",),
    "compensation_required": (
        "{instead_of}: the task was leased and has neither a compensation nor a waiver on record",
    ),
    "undo_attempts_spent": ("compensation {compensation!r} of kind {kind!r} failed {failures} times",),
    "undo_expiries_spent": ("no worker lived to finish the undo",),
    "undo_releases_spent": ("its undo was given back as often as its policy allows",),
    "undo_wait": ("its undo has been due for {due_for_ms} ms",),
    "unknown_compensation": ("no worker knows the compensation kinds {kinds}",),
    "bound": (
        "the task has waited {waits} times and the bound is {maximum} (waits); go on in a new task",
        "the task has waited under {wait_names} names and the bound is {maximum} (wait_names); let waits of a loop "
        "share a name: they are numbered",
        "its stream has {stream_events} events and there is no room for another lease",
    ),
    "retried_as_new": ("retried as {successor}",),
    "left_over": ("undone by {successor}",),
    "deadline": ("its deadline has come",),
    "start_by": ("no worker has leased it by the time by which it was to start",),
    "dependency_failed": ("of the tasks that it was to wait for, {failed} did not complete: {task!r} is {state}",),
    "parent_ended": (
        "its parent {parent!r} has ended its work as {outcome}",
        "its parent has ended its work without success",
    ),
    "interrupted": ("interrupted: {text}", "its handler was interrupted"),
    "not_begun": ("the worker shut down before it was begun",),
    "not_ended": ("the worker shut down and its handler did not end",),
    "undo_settled": ("its undo was settled by word meanwhile",),
    "time_limit": (
        "its handler did not end within {time_limit_ms} ms, nor when it was told to",
        "its handler was told to end at its time limit",
    ),
    "invalid_payload": ("its payload does not fit {type}: {text}",),
    "invalid_params": ("the params of compensation {compensation!r} do not fit {type}: {text}",),
}
# For refusals with any code.
_UNSTORABLE: Final = (
    "the child {child!r}, which comes with step {step!r}, cannot be stored: {text}",
    "step {step!r} was carried out and its result cannot be stored: {text}",
    "the handler has returned, and its {returned} cannot be stored: {text}",
)


def sentence(code: str, parameters: Parameters | None = None, text: str | None = None) -> str | None:
    """Make the sentence of a code, with its parameters and a caller's own words; None: there is nothing to say."""
    given = {name: _spelled(value) for name, value in (parameters or {}).items()}
    if text:
        given["text"] = text
    for template in (*SENTENCES.get(code, ()), *_UNSTORABLE):
        if fields_of(template) <= given.keys():
            made = template.format_map(given)
            return f"{made}: {text}" if text and "text" not in fields_of(template) else made
    return text or None


def fields_of(template: str) -> set[str]:
    """Return the names of a template's fields."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def worded(failure: Failure) -> Failure:
    """Return a failure with a message for readers: its own, or the sentence of its code and parameters."""
    if failure.message and failure.parameters is None:
        return failure
    message = sentence(failure.code, failure.parameters, failure.message)
    return msgspec.structs.replace(failure, message=message or failure.code)


def reason_of(event: e.Recordable) -> str | None:
    """Return the reason that an event gives: a caller's own words, or the sentence of its code; None: no reason."""
    text: str | None = getattr(event, "text" if isinstance(event, e.Noted) else "reason", None)
    code: str | None = getattr(event, "code", None)
    parameters: Parameters | None = getattr(event, "parameters", None)
    if code is None or (text and parameters is None and not isinstance(event, e.Released)):
        return text
    if isinstance(event, e.Noted) and event.successor is not None:
        parameters = {**(parameters or {}), "successor": event.successor}
    return sentence(code, parameters, text)


def _spelled(value: Any) -> Any:
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else value
