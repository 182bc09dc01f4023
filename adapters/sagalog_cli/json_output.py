"""The documents of `--json`: this module alone says which fields an answer has.

Rule: every line of standard output is one JSON document, in UTF-8, and a listing is one document a line. Names and
units are those of the engine (`expires_ms`); a later version adds fields and takes none away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sagalog import (
    BreakerStatus,
    Engine,
    Explanation,
    FailedPreflight,
    Health,
    LimitStatus,
    Maintained,
    Pause,
    PinnedTasks,
    PruneReport,
    QueueStatus,
    Rate,
    Reason,
    RebuildReport,
    Recorded,
    ScheduleStatus,
    Task,
    UnclaimedUndo,
    VerifyReport,
    WorkerInfo,
)
from sagalog_cli import gates
from sagalog_cli.tables import printable

if TYPE_CHECKING:
    from sagalog.worker import WorkerStats  # a listing does not import workers
    from sagalog_command import Verdict  # nor command lines
    from sagalog_http.tokens import Token  # nor tokens
    from sagalog_queue import Item  # nor the queue

# A control character above ASCII (U+009B opens an escape sequence) steers a terminal as well as one below.
_BEYOND_ASCII: Final = re.compile(r"[^\n\x20-\x7e]")


def encode(document: Any) -> str:
    r"""Encode a document as one line of JSON; escape what no terminal should get, as in `\u009b`."""
    try:
        text = msgspec.json.encode(document).decode()
    except UnicodeEncodeError:
        # A path or an argument may be bytes that are no UTF-8: Python gives them as lone surrogates.
        text = msgspec.json.encode(_printable_texts(msgspec.to_builtins(document))).decode()
    return text if text.isascii() and text.isprintable() else _BEYOND_ASCII.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _printable_texts(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list | tuple):
        return [_printable_texts(one) for one in value]
    if isinstance(value, dict):
        return {_printable_texts(name): _printable_texts(one) for name, one in value.items()}
    return value


def task(of: Task) -> dict[str, Any]:
    """Return every field of `Task`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def listed(of: Task, now_ms: int, held_back: Sequence[Reason]) -> dict[str, Any]:
    """Return every field of `Task`, and `waits_for`: why no worker works on it; null: it is leased, or ended."""
    return {**task(of), "waits_for": gates.waits_for(of, now_ms, held_back)}


def recorded(of: Recorded, full: bool) -> dict[str, Any]:
    """Return the envelope, its digest in hexadecimal, the decoded `event`, and with `full` the stored `body`."""
    shape: dict[str, Any] = {
        "position": of.position,
        "stream": of.stream,
        "version": of.version,
        "at_ms": of.at_ms,
        "type": of.type,
        "schema": of.schema,
        "actor": of.actor,
        "cause": of.cause,
        "idempotency_key": of.idempotency_key,
        "data_key": of.data_key,
        "digest": of.digest.hex(),
        "event": msgspec.to_builtins(of.event),
    }
    return {**shape, "body": of.body} if full else shape


def item(of: Item) -> dict[str, Any]:
    """Return what a pop gives, and what an ack needs: `id` and `fence`."""
    lease = of.lease
    return {
        "id": of.id,
        "payload": of.payload,
        "attempts": of.attempts,
        "owner": lease.owner,
        "fence": lease.fence,
        "expires_ms": lease.expires_ms,
    }


def pushed(id: str) -> dict[str, Any]:
    """Return what `queue push` prints for each item."""
    return {"id": id}


def depth(queue: str, depth: int, in_flight: int, quarantined: int) -> dict[str, Any]:
    """Return how many items wait, are held and are in quarantine: the answer of `queue depth` and `queue watch`."""
    return {"queue": queue, "depth": depth, "in_flight": in_flight, "quarantined": quarantined}


def worker_stats(of: WorkerStats) -> dict[str, Any]:
    """Return every field of `WorkerStats`, which `worker` prints at its end."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def worker(of: WorkerInfo) -> dict[str, Any]:
    """Return every field of `WorkerInfo`, those of its failed preflights too."""
    shape = {name: msgspec.to_builtins(getattr(of, name)) for name in of.__struct_fields__}
    return {**shape, "failed_preflights": [_whole(one) for one in of.failed_preflights]}


def token(of: Token, now_ms: int) -> dict[str, Any]:
    """Return every field of `Token`, and its state at this time; a token knows no secret."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return {**shape, "state": of.state(now_ms)}


def breaker(of: BreakerStatus) -> dict[str, Any]:
    """Return every field of `BreakerStatus`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def schedule(of: ScheduleStatus) -> dict[str, Any]:
    """Return every field of `ScheduleStatus`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def explanation(of: Explanation) -> dict[str, Any]:
    """Return every field of `Explanation`; of each reason and note also its `sentence` and `advice`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return {**shape, "reasons": [_reason(one) for one in of.reasons], "notes": [_reason(one) for one in of.notes]}


def _reason(of: Reason) -> dict[str, Any]:
    return {"code": of.code, "parameters": of.parameters, "sentence": of.sentence, "advice": of.advice}


def limit(of: LimitStatus) -> dict[str, Any]:
    """Return every field of `LimitStatus`."""
    shape: dict[str, Any] = {**msgspec.to_builtins(of), "rate": _rate(of.rate)}
    return shape


def queue_status(of: QueueStatus) -> dict[str, Any]:
    """Return every field of `QueueStatus`."""
    rates = {"rate": _rate(of.rate), "per_key_rate": _rate(of.per_key_rate)}
    shape: dict[str, Any] = {**msgspec.to_builtins(of), **rates}
    return shape


def holder(task: str, units: int) -> dict[str, Any]:
    """Return one line of `limit holders` and `queue holders`."""
    return {"task": task, "units": units}


def kind(name: str, pause: Pause | None) -> dict[str, Any]:
    """Return a kind, and its pause; null: it is not paused."""
    return {"kind": name, "pause": msgspec.to_builtins(pause)}


def _rate(of: Rate | None) -> dict[str, Any] | None:
    return None if of is None else {"units": of.units, "period_ms": of.period_ms, "burst": of.most}


def _whole(of: FailedPreflight) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(of, name)) for name in of.__struct_fields__}


def maintained(of: Maintained) -> dict[str, Any]:
    """Return every field of `Maintained`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def rebuilt(of: RebuildReport) -> dict[str, Any]:
    """Return every field of `RebuildReport`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def pruned(of: PruneReport) -> dict[str, Any]:
    """Return every field of `PruneReport`."""
    shape: dict[str, Any] = msgspec.to_builtins(of)
    return shape


def verified(of: VerifyReport) -> dict[str, Any]:
    """Return `ok`, and every field of `VerifyReport`."""
    return {"ok": of.ok, **msgspec.to_builtins(of)}


def classified(of: Verdict) -> dict[str, Any]:
    """Return every field of `Verdict`, for `command classify`."""
    return {
        "class": str(of.class_),
        "rule": of.rule,
        "message": of.message,
        "retry_after_ms": of.retry_after_ms,
        "fields": dict(of.fields),
    }


def founded(engine: Engine, url: str, made: bool) -> dict[str, Any]:
    """Return, for `init`, which store it is, where, and whether `init` has made it."""
    return {"store_id": engine.store_id, "url": url, "made": made}


def stats(health: Health, events: int, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the document of `stats`: `queues` is queue -> state -> number of tasks, the rest is of `Health`."""
    tasks = sum(sum(states.values()) for states in counts.values())
    of_health = msgspec.to_builtins(health)
    counted = {"store_id": health.store_id, "writer": health.writer, "events": events, "tasks": tasks, "queues": counts}
    return {
        **counted,
        "file": of_health["file"],
        "undos": of_health["undos"],
        "builds": of_health["builds"],
        "errors": of_health["errors"],
    }


def unclaimed(of: UnclaimedUndo) -> dict[str, Any]:
    """Return one unclaimed undo; its only field, `undo`, with every field of `UnclaimedUndo`, tells it from a task."""
    return {"undo": msgspec.to_builtins(of)}


def absent_build(of: PinnedTasks) -> dict[str, Any]:
    """Return one build without a worker; its only field, `absent_build`, with every field of `PinnedTasks`."""
    return {"absent_build": msgspec.to_builtins(of)}


def failure(code: str, message: str, fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the document for standard error; `code` and `message` come first and win over fields of the same names."""
    plain = msgspec.to_builtins(fields, enc_hook=str, str_keys=True)
    return {"error": {"code": code, "message": message, **{k: v for k, v in plain.items() if k not in _OWN}}}


def note(code: str, message: str, **fields: object) -> dict[str, Any]:
    """Return a remark for standard error beside a correct answer."""
    return {"note": {"code": code, "message": message, **fields}}


_OWN: Final = frozenset({"code", "message"})
