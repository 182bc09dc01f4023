"""The engine's own sentences, in English: made of a code and its parameters when a reader asks. [RECORD-6]

Rule: one table; no other line holds words for what the kernel or a worker puts on record. A code is on record for ever,
a sentence is not. Knows no task and no store.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import Any, Final

import msgspec

from sagalog.kernel import events as e
from sagalog.kernel.values import Failure, Parameters

# A part of a template that may be left out.
_OPTIONAL: Final = re.compile(r"\[([^\]]*)\]")

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

# Behind how many units are free: who has the others, or when time gives enough.
_UNITS: Final = "[; {holders} {holders_have} units][; enough are back at {refilled}]"

# Before what has stopped a schedule; a process that finds the cause before it was recorded gives no time.
_STOPPED: Final = "[it has stopped since {since}: ]"

# What `Engine.explain` says of a task or a schedule. A part in brackets is left out where one of its fields is not
# given; a parameter `..._ms` gives a field without that end, its time, and one that counts gives fields with the ends
# of `COUNTED`. Of several, the first with all its other fields given is used.
REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    "unreadable": ("this version cannot read {stream}: {error}",),
    "ended": (
        "it has ended as {state}[ at {at}][, and {successor!r} is its successor][: {text}][; its error is {error}]",
    ),
    "leased": ("{owner!r} holds it for {purpose} under fence {fence}[ until {expires}]",),
    "lease_over": ("{owner!r} held it for {purpose} under fence {fence}, and that lease is over since {expires}",),
    "deadline_passed": ("its {deadline} came at {at}, so maintenance cancels it",),
    "not_due": ("it is not due before {until}",),
    "waits_for_signal": ("it waits for the signal {signal!r}[ until {until}]",),
    "waits_for_tasks": ("of the tasks that it waits for[ until {until}], {live_have} not ended: {ids}",),
    "sleeps": ("it sleeps until {until}",),
    "wait_over": ("its wait {wait!r} is over, and maintenance has not seen to it yet",),
    "paused_kind": ("the kind {kind!r} is paused[ since {since}][ by {actor}][: {text}]",),
    "paused_queue": ("the queue {queue!r} is paused[ since {since}][ by {actor}][: {text}]",),
    "paused_key": ("the key {key!r} of queue {queue!r} is paused[ since {since}][ by {actor}][: {text}]",),
    "paused_limit": ("the limit {limit!r} is paused[ since {since}][ by {actor}][: {text}]",),
    "settings_unreadable": ("this version cannot read {stream}, which says how much may run: {error}",),
    "breaker_open": (
        "the breaker of the limit {limit!r} is open since {since}, until {until}",
        "the breaker of its queue {queue!r} is open since {since}, until {until}",
    ),
    "breaker_half_open": (
        "the breaker of the limit {limit!r} waits for its probe, {probe!r}",
        "the breaker of its queue {queue!r} waits for its probe, {probe!r}",
    ),
    "lacks_units": (
        "it asks for {asked} of the limit {limit!r} and takes the whole of it, {takes}, of which {free_are} free"
        + _UNITS,
        f"it asks for {{asked}} of the limit {{limit!r}}, of which {{free_are}} free{_UNITS}",
        f"it asks for {{asked}} of the key {{key!r}} of queue {{queue!r}}, of which {{free_are}} free{_UNITS}",
        f"it asks for {{asked}} of its queue {{queue!r}}, of which {{free_are}} free{_UNITS}",
    ),
    "behind_larger": (
        "{first!r}, which asks for more, is first in line of the limit {limit!r}[ since {since}]",
        "{first!r}, which asks for more, is first in line of the key {key!r} of queue {queue!r}[ since {since}]",
    ),
    "behind_others": (
        "others of its queue and kind come before it under the limit {limit!r}, as many as may start at once: {ready}",
        "others of its kind come before it under the key {key!r} of queue {queue!r}, as many as may start at once: "
        "{ready}",
    ),
    "held": (
        "the limit {limit!r} holds it back",
        "the limit of the key {key!r} of queue {queue!r} holds it back",
    ),
    "no_live_worker": (
        "no live worker takes the kind {kind!r} of queue {queue!r} ({live_are} live)",
        "no live worker undoes all of {undo_kinds} of queue {queue!r} ({live_are} live)",
    ),
    "build_absent": ("it is pinned to the build {build!r}, which no live worker of its queue {queue!r} names",),
    "preflight_fails": ("on {worker!r} at {host} the preflight {preflight!r} fails[ since {since}]: {text}",),
    "claimable": (
        "a claim that names the build {build!r} leases it now[: it is number {place} of queue {queue!r}]",
        "a claim leases it now[: it is number {place} of queue {queue!r}]",
    ),
    "let_in_next": (
        "the limit {limit!r} has units for it, and the next claim lets it in",
        "the key {key!r} of queue {queue!r} has units for it, and the next claim lets it in",
    ),
    "pinned": ("it is pinned to the build {build!r}: no claim leases it that does not name it",),
    "owes_undo": ("it is undoing, and owes {kinds}",),
    "suspect": ("a lease of it has expired, and the next to expire is the last, so a claim leases it alone",),
    "cancel_requested": ("its holder was asked to stop",),
    "workers_busy": ("each live worker that takes it is busy, as it was last seen ({workers} in all)",),
    "no_worker_known": ("no worker has written itself into this store",),
    "deadline_ahead": ("its deadline comes at {at}",),
    "start_by_ahead": ("unless it is leased before {at}, it is cancelled",),
    # --- of schedules ---
    "zone_unknown": (f"{_STOPPED}the process that looked does not know its time zone {{zone!r}}",),
    "never_fires": (
        f"{_STOPPED}its fields {{cron!r}} give no time any more[: {{text}}]",
        f"{_STOPPED}its interval gives no time any more",
    ),
    "task_refused": (f"{_STOPPED}its task[ {{task!r}}] was refused[ ({{refusal}})]",),
    "paused_schedule": ("the schedule {schedule!r} is paused[ since {since}][ by {actor}][: {text}]",),
    "missed": ("it is due since {nominal}, which is too late for a task of that time",),
    "overlap": ("the nominal time {nominal} has no task while {task!r} lives",),
    "exists": ("the nominal time {nominal} has no other task than {task!r}, which exists already",),
    "due": ("it is due since {since}, and the next claim creates {task!r}",),
}
# The ends of the fields that a parameter gives besides: with a verb that fits its number.
COUNTED: Final = ("_are", "_have")
# What an operator may do about a reason: as of `REASONS`, with names quoted for a shell.
ADVICE: Final[Mapping[str, tuple[str, ...]]] = {
    "unreadable": ("sagalog verify",),
    "ended": ("sagalog show {task}, or sagalog retry {retriable}", "sagalog show {task}"),
    "lease_over": ("sagalog recover",),
    "deadline_passed": ("sagalog recover",),
    "not_due": ("sagalog amend {task} --run-at +0s",),
    "waits_for_signal": ("sagalog signal {task} {signal}",),
    "wait_over": ("sagalog recover",),
    "paused_kind": ("sagalog kind resume {kind}",),
    "paused_queue": ("sagalog queue resume {queue}",),
    "paused_key": ("sagalog queue resume {queue} --key {key}",),
    "paused_limit": ("sagalog limit resume {limit}",),
    "settings_unreadable": ("sagalog verify",),
    "breaker_open": ("sagalog breaker reset limit/{limit}", "sagalog breaker reset queue/{queue}"),
    "lacks_units": (
        "sagalog limit holders {limit}",
        "sagalog queue holders {queue} --key {key}",
        "sagalog queue holders {queue}",
    ),
    "no_live_worker": (
        "start a worker of queue {queue} that has a handler for {kind}",
        "start a worker of queue {queue} that undoes {undo_kinds}",
    ),
    "build_absent": (
        "start a worker of that build in queue {queue} (sagalog worker run --build {build}), or have any worker take "
        "it: sagalog amend {task} --without build",
    ),
    "preflight_fails": ("mend on {host} what the preflight {preflight} finds",),
    "zone_unknown": (
        "once each machine knows the zone {zone}: sagalog schedule resume {schedule}; or set another zone: "
        "sagalog schedule set {schedule}",
    ),
    "never_fires": ("set other times: sagalog schedule set {schedule}",),
    "task_refused": (
        "once that is mended: sagalog schedule resume {schedule}; or set it anew: sagalog schedule set {schedule}",
    ),
    "paused_schedule": ("sagalog schedule resume {schedule}",),
    "overlap": ("sagalog explain {task}",),
    "exists": ("sagalog show {task}",),
}


def told(code: str, parameters: Parameters, spell: Callable[[int], str] | None = None) -> str:
    """Make the sentence of a reason; `spell` says a time in words, else it is in UTC. One without words is its code."""
    return _filled(REASONS.get(code, ()), _fields(parameters, spell or _instant, repr)) or code


def advice_on(code: str, parameters: Parameters) -> str | None:
    """Make the advice on a reason; None: there is none, as where time alone gives the units that are lacking."""
    if "refilled_ms" in parameters:
        return None
    quoted = {name: shlex.quote(one) if isinstance(one, str) else one for name, one in parameters.items()}
    return _filled(ADVICE.get(code, ()), _fields(quoted, _instant, shlex.quote))


def _fields(parameters: Parameters, spell: Callable[[int], str], quote: Callable[[str], str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in parameters.items():
        if name.endswith("_ms") and isinstance(value, int):
            fields[name.removesuffix("_ms")] = spell(value)
        else:
            fields[name] = ", ".join(map(quote, value)) if isinstance(value, tuple) else value
            fields |= _counted(name, value)
    return fields


def _counted(name: str, value: Any) -> dict[str, str]:
    """Return the fields of a parameter that counts: a number with its verb, or the verb behind some names."""
    if isinstance(value, tuple):
        return {f"{name}_have": "has" if len(value) == 1 else "have"}
    if not isinstance(value, int):
        return {}
    # Less than nothing is free where a limit was lowered, or a rate was charged more afterwards.
    count = str(value) if value > 0 else "none"
    be, have = ("is", "has") if value <= 1 else ("are", "have")
    return {f"{name}_are": f"{count} {be}", f"{name}_have": f"{count} {have}"}


def _filled(templates: Sequence[str], fields: Mapping[str, Any]) -> str | None:
    """Fill in the first template whose fields are given, without the parts whose fields are not; None: none is."""
    for template in templates:
        whole = _OPTIONAL.sub(lambda part: part[1] if fields_of(part[1]) <= fields.keys() else "", template)
        if fields_of(whole) <= fields.keys():
            return whole.format_map(fields)
    return None


def _instant(time_ms: int) -> str:
    """Return a time in UTC; plain milliseconds after the year 9999."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
