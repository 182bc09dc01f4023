"""The idempotency of commands: whether a command that is on record already is the same command.

Rule: the engine compares what the command gives, not what it left to defaults, clock or entropy [REPEAT-6]; the same
content gets the first answer, any other is a conflict. Each verb names the values, and this module compares them as
JSON. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sagalog.codec import Envelope
from sagalog.engine.json_blobs import as_given
from sagalog.errors import AlreadyExists, Conflict
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import VERB_OF
from sagalog.kernel.state import TaskFold
from sagalog.validation.json_values import canonical

_UNSHOWN: Final = frozenset({"payload", "inputs", "params", "result", "results", "data", "compensations", "error"})


def may_have_marked(command: c.Command, event: str) -> bool:
    """Check whether such a command leaves its idempotency key in events of this name. [REPEAT-4]"""
    return event in VERB_OF[type(command)].marks


def id_of(envelope: Envelope) -> str:
    """Return the id of the task whose event it is."""
    return envelope.stream.partition("/")[2]


def compare(command: c.Command, event: e.Recordable, task: TaskFold) -> None:
    """Compare what the command gives with the event on record under the same id. [REPEAT-6]

    Raises:
        AlreadyExists: another creation. Conflict: anything else of other content.
    """
    differs = _differences_from(command, event, task)
    if not differs:
        return
    shown = "; ".join(differs.values())
    if isinstance(command, c.Create):
        raise AlreadyExists(
            f"task {task.id!r} exists with other content ({shown}); choose another id, or repeat it as it was",
            task=task.id,
            differs=list(differs),
        )
    if isinstance(command, c.RetryAsNew) and isinstance(event, e.Noted) and event.successor:
        raise _retried_otherwise(task, event, differs)
    raise Conflict(
        f"task {task.id!r}: the same {e.NAMES[type(event)]!r} is on record with other content ({shown})",
        task=task.id,
        differs=list(differs),
    )


def require_same_deadlines(command: c.RetryAsNew, noted: e.Noted, created: e.Created, task: TaskFold) -> None:
    """Compare the deadlines that a retry gives with those of the successor that is on record. [REPEAT-6]

    Raises:
        Conflict: the retry gives another one.
    """
    given = {name: getattr(command, name) for name in ("deadline_ms", "start_by_ms")}
    given = {name: value for name, value in given.items() if value is not None}
    differs = differences(given, {name: getattr(created, name) for name in given}) if given else {}
    if differs:
        raise _retried_otherwise(task, noted, differs)


def states_payload(of: c.Amend | e.Amended) -> bool:
    """Check whether it gives a payload, be it null. [AMEND-1]"""
    blob = of.payload_blob if isinstance(of, e.Amended) else None
    return of.payload is not None or blob is not None or "payload" in of.removes


def compare_keyed(key: str, command: c.Command, envelope: Envelope, event: e.Recordable, task: TaskFold) -> None:
    """Compare what the command gives with the event on record under the same idempotency key. [REPEAT-4] [REPEAT-6]

    Raises:
        Conflict: other content, a creation's too.
    """
    differs = _differences_from(command, event, task)
    if differs:
        raise key_taken(key, envelope, differs)


def key_taken(key: str, envelope: Envelope, differs: Mapping[str, str]) -> Conflict:
    """Return the refusal of a key that is on record with other content; `differs` is in words, by name. [REPEAT-6]"""
    task = id_of(envelope)
    what, _, _ = envelope.stream.partition("/")
    return Conflict(
        f"idempotency key {key!r} was used by {what} {task!r} ({envelope.type!r}, version {envelope.version}) with "
        f"other content ({'; '.join(differs.values())}); give this call a key of its own, or repeat the first one as "
        "it was",
        idempotency_key=key,
        task=task,
        differs=sorted(differs),
        stream=envelope.stream,
        version=envelope.version,
    )


def differences(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    """Return, in words by name, each given value that is not equal as JSON to the one on record under its name."""
    names = sorted(name for name in given if canonical(_plain(given[name])) != canonical(_plain(found.get(name))))
    return {name: difference(name, given[name], found.get(name)) for name in names}


def _retried_otherwise(task: TaskFold, noted: e.Noted, differs: Mapping[str, str]) -> Conflict:
    return Conflict(
        f"task {task.id!r} was retried as {noted.successor!r} with other content ({'; '.join(differs.values())}); look "
        "at that one, or repeat the retry as it was",
        task=task.id,
        differs=list(differs),
        successor=noted.successor,
    )


def _differences_from(command: c.Command, event: e.Recordable, task: TaskFold) -> dict[str, str]:
    event = as_given(event, command)
    contents = VERB_OF[type(command)].contents
    assert contents is not None, "a command without an identity is never a repeat"
    return differences(*contents(command, event, task))


def _plain(value: Any) -> Any:
    """Return a value as plain JSON, with encoded bytes decoded."""
    return msgspec.json.decode(msgspec.json.encode(value))


def difference(name: str, given: Any, found: Any) -> str:
    """Describe what differs; it names a value that may hold a secret of another caller, and does not show it."""
    if name in _UNSHOWN:
        return f"{name} differ" if name.endswith("s") else f"{name} differs"
    return f"{name}: {_short(given)} given, {_short(found)} on record"


def _short(value: Any) -> str:
    text = repr(_plain(value))
    return text if len(text) <= 60 else text[:59] + "…"
