"""What callers give -> commands: one function a call, so that every way in passes the same door.

Rule: everything is checked before any state is read, and a refusal names the argument. What was drawn by clock or
chance is an argument here too. Knows no state and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar, get_args

import msgspec

from sagalog.door import (
    check_id,
    check_integer,
    check_json,
    check_milliseconds,
    check_name,
    check_tags,
    check_text,
    compensation_id,
    cut_text,
    shown,
)
from sagalog.errors import InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.values import Budget, Compensation, Failure, Input, Purpose, Retry, Spent, State
from sagalog.ports import Blob, Claim

T = TypeVar("T")

_DEFAULT_POLICY: Final = Retry().resolve()


def create(
    kind: str,
    payload: object = None,
    *,
    id: str,
    queue: str = "default",
    priority: int = 0,
    affinity: str | None = None,
    key: str | None = None,
    run_at_ms: int | None = None,
    retry: Retry | None = None,
    inputs: tuple[Input, ...] = (),
    compensations: Iterable[Compensation] = (),
    waive_compensation: str | None = None,
    tags: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
    parent: str | None = None,
    trace: str | None = None,
) -> c.Create:
    """The command behind `Engine.create`; `id` is the caller's or was drawn, `inputs` are those of `taken_in`.

    Raises:
        InvalidValue, OverBound: naming the argument.
    """
    check_name(kind, "kind")
    check_id(id, "id")
    check_name(queue, "queue")
    check_integer(priority, "priority", bounds.PRIORITY_MIN, bounds.PRIORITY_MAX)
    encoded = check_json(payload, "payload")
    if run_at_ms is not None:
        check_milliseconds(run_at_ms, "run_at_ms")
    planned = _compensations(compensations)
    return c.Create(
        task=id,
        kind=kind,
        queue=queue,
        priority=priority,
        run_at_ms=run_at_ms,
        policy=_DEFAULT_POLICY if retry is None else _retry(retry).resolve(),
        payload=encoded,
        inputs=inputs,
        compensations=planned,
        waiver=_text(waive_compensation, "waive_compensation"),
        tags=None if tags is None else check_tags(tags) or None,
        affinity=optional_name(affinity, "affinity"),
        key=optional_name(key, "key"),
        parent=None if parent is None else check_id(parent, "parent"),
        correlation_id=optional_name(correlation_id, "correlation_id"),
        trace=optional_name(trace, "trace"),
    )


def taken_in(inputs: Mapping[str, bytes] | None) -> tuple[tuple[Input, ...], tuple[Blob, ...]]:
    """A creation's inputs: how the command names them, and their bytes; raises InvalidValue, OverBound."""
    if not inputs:
        return (), ()
    if not isinstance(inputs, Mapping):
        raise InvalidValue(f"inputs: expected a mapping of names to bytes, found {shown(inputs)}", path="inputs")
    if len(inputs) > bounds.INPUTS_MAX:
        raise OverBound(
            f"inputs: at most {bounds.INPUTS_MAX}, found {len(inputs)}; pack several into one",
            bound="inputs",
            maximum=bounds.INPUTS_MAX,
        )
    blobs = [blob(data, f"inputs.{check_name(name, 'inputs')}") for name, data in inputs.items()]
    named = zip(inputs, blobs, strict=True)
    return tuple(Input(name, one.digest, len(one.data)) for name, one in named), tuple(blobs)


def blob(data: bytes, name: str) -> Blob:
    """Bytes with their digest; raises InvalidValue, OverBound."""
    if not isinstance(data, bytes):
        raise InvalidValue(f"{name}: expected bytes, found {shown(data)}", path=name)
    if len(data) > bounds.BLOB_BYTES_MAX:
        raise OverBound(
            f"{name}: {len(data)} bytes, and the bound is {bounds.BLOB_BYTES_MAX}; keep it beside the store and name "
            "its place",
            bound="blob_bytes",
            maximum=bounds.BLOB_BYTES_MAX,
        )
    return Blob(sha256(data).hexdigest(), data)


def given_of(command: c.Create) -> set[str]:
    """The fields that a creation sets to something else than what is taken when they are left out. [REPEAT-6]"""
    left_out: dict[str, object] = {
        "queue": "default",
        "priority": 0,
        "policy": _DEFAULT_POLICY,
        "compensations": (),
        "inputs": (),
        "to": State.PENDING,
        "inherited": (),
    }
    names = set(command.__struct_fields__) - {"task"}
    return {name for name in names if getattr(command, name) != left_out.get(name)}


def acquire(task: str, owner: str, ttl_ms: int | None, purpose: Purpose, kinds: Iterable[str] | None) -> c.Acquire:
    """The command behind `Engine.acquire`; raises InvalidValue."""
    return c.Acquire(
        task=check_id(task, "task_id"),
        owner=check_name(owner, "owner"),
        ttl_ms=ttl(ttl_ms),
        purpose=one_of(purpose, "purpose", Purpose),
        kinds=names(kinds, "kinds"),
    )


class Asked(msgspec.Struct, frozen=True):
    """A claim as it was asked for: what it selects, for whom, for how long, under which identity."""

    claim: Claim
    owner: str
    ttl_ms: int | None
    request: str | None


def claim(
    queues: str | Sequence[str],
    owner: str,
    ttl_ms: int | None,
    limit: int,
    kinds: Iterable[str] | None,
    affinity: str | Sequence[str] | None,
    purpose: Purpose,
    request: str | None,
) -> Asked:
    """What stands behind `Engine.claim`; raises InvalidValue."""
    selected = Claim(
        queues=listing(queues, "queues", bounds.QUEUES_MAX),
        purpose=one_of(purpose, "purpose", Purpose),
        limit=check_integer(limit, "limit", 1, bounds.CLAIM_LIMIT_MAX),
        kinds=names(kinds, "kinds"),
        affinities=() if affinity is None else listing(affinity, "affinity", bounds.QUEUES_MAX),
    )
    return Asked(selected, check_name(owner, "owner"), ttl(ttl_ms), optional_name(request, "request"))


def beat(task: str, fence: int, ttl_ms: int | None, progress: object) -> c.Beat:
    """The command behind `Lease.heartbeat`; raises InvalidValue."""
    encoded = check_json(progress, "progress", bounds.PROGRESS_BYTES_MAX)
    return c.Beat(task=task, fence=fence, ttl_ms=ttl(ttl_ms), progress=encoded)


def register(task: str, fence: int, compensation: Compensation) -> c.Register:
    """The command behind `Lease.register`; raises InvalidValue."""
    return c.Register(task=task, fence=fence, compensation=_compensation(compensation, "compensation"))


def complete_step(task: str, fence: int, name: str, result: object) -> c.CompleteStep:
    """The command behind `Lease.step`; raises InvalidValue."""
    return c.CompleteStep(task=task, fence=fence, name=check_name(name, "name"), result=check_json(result, "result"))


def put_artifact(task: str, fence: int, name: str, given: Blob, media_type: str) -> c.PutArtifact:
    """The command behind `Lease.put_artifact`; raises InvalidValue."""
    return c.PutArtifact(
        task=task,
        fence=fence,
        name=check_name(name, "name"),
        digest=given.digest,
        size_bytes=len(given.data),
        media_type=check_name(media_type, "media_type"),
    )


def park(
    task: str, fence: int, name: str, signal: str | None, after: str | Sequence[str], until_ms: int | None
) -> c.Park:
    """The command behind `Lease.park`; raises InvalidValue, OverBound."""
    ids = (after,) if isinstance(after, str) else tuple(listed(after, "after"))
    if len(ids) > bounds.AFTER_MAX:
        raise OverBound(
            f"after: at most {bounds.AFTER_MAX} tasks, found {len(ids)}; let a task of its own wait for some of them",
            bound="after",
            maximum=bounds.AFTER_MAX,
        )
    if signal is not None and ids:
        raise InvalidValue("signal: a wait is for a signal or for tasks, not for both; wait twice", path="signal")
    if signal is None and not ids and until_ms is None:
        raise InvalidValue("park: expected a signal, tasks or a time to wait for, found none of them", path="signal")
    return c.Park(
        task=task,
        fence=fence,
        name=check_name(name, "name"),
        signal=optional_name(signal, "signal"),
        after=tuple(dict.fromkeys(check_id(id, "after") for id in ids)),
        until_ms=None if until_ms is None else check_milliseconds(until_ms, "until_ms"),
    )


def release(task: str, fence: int, reason: str | None, run_at_ms: int | None) -> c.Release:
    """The command behind `Lease.release`; raises InvalidValue."""
    return c.Release(task=task, fence=fence, reason=_text(reason, "reason"), run_at_ms=_time(run_at_ms))


def try_again(
    task: str,
    fence: int,
    error: str | Failure,
    run_at_ms: int | None,
    budget: Budget,
    jitter: float,
    retry_after_ms: int | None = None,
) -> c.TryAgain:
    """The command behind `Lease.retry`; raises InvalidValue."""
    return c.TryAgain(
        task=task,
        fence=fence,
        error=failure(error, "error"),
        budget=one_of(budget, "budget", Budget),
        jitter=jitter,
        run_at_ms=_time(run_at_ms),
        retry_after_ms=_duration(retry_after_ms),
    )


def complete(task: str, fence: int, result: object) -> c.Complete:
    """The command behind `Lease.complete`; raises InvalidValue."""
    return c.Complete(task=task, fence=fence, result=check_json(result, "result"))


def fail(
    task: str,
    fence: int,
    reason: str | Failure,
    compensations: Iterable[Compensation],
    waive_compensation: str | None,
) -> c.Fail:
    """The command behind `Lease.fail`; raises InvalidValue."""
    return c.Fail(
        task=task,
        fence=fence,
        error=failure(reason, "reason"),
        compensations=_compensations(compensations),
        waiver=_text(waive_compensation, "waive_compensation"),
    )


def finish_compensation(task: str, fence: int, compensation: str) -> c.FinishCompensation:
    """The command behind `Lease.compensation_done`; raises InvalidValue."""
    return c.FinishCompensation(task=task, fence=fence, compensation=check_name(compensation, "id"))


def fail_compensation(
    task: str,
    fence: int,
    compensation: str,
    error: str | Failure,
    run_at_ms: int | None,
    jitter: float,
    retry_after_ms: int | None = None,
) -> c.FailCompensation:
    """The command behind `Lease.compensation_failed`; raises InvalidValue."""
    return c.FailCompensation(
        task=task,
        fence=fence,
        compensation=check_name(compensation, "id"),
        error=failure(error, "error"),
        jitter=jitter,
        run_at_ms=_time(run_at_ms),
        retry_after_ms=_duration(retry_after_ms),
    )


def give_up(task: str, fence: int, reason: str | Failure) -> c.GiveUp:
    """The command behind `Lease.give_up`; raises InvalidValue."""
    return c.GiveUp(task=task, fence=fence, error=failure(reason, "reason"))


def signal(task: str, name: str, data: object) -> c.Signal:
    """The command behind `Engine.signal`; raises InvalidValue."""
    return c.Signal(task=check_id(task, "id"), name=check_name(name, "name"), data=check_json(data, "data"))


def cancel(task: str, reason: str | None, now: bool) -> c.Cancel:
    """The command behind `Engine.cancel`; raises InvalidValue."""
    if type(now) is not bool:
        raise InvalidValue(f"now: expected True or False, found {shown(now)}", path="now")
    return c.Cancel(task=check_id(task, "id"), reason=_text(reason, "reason"), now=now)


def quarantine(task: str, reason: str) -> c.Quarantine:
    """The command behind `Engine.quarantine`; raises InvalidValue."""
    return c.Quarantine(task=check_id(task, "id"), reason=_said(reason, "reason"))


def note(task: str, text: str, settles: Iterable[str]) -> c.Note:
    """The command behind `Engine.note`; raises InvalidValue."""
    settled = tuple(check_name(id, "settles") for id in listed(settles, "settles"))
    if len(set(settled)) != len(settled):
        raise InvalidValue(f"settles: expected each compensation once, found {list(settled)}", path="settles")
    return c.Note(task=check_id(task, "id"), text=_said(text, "text"), settles=settled)


def retry_as_new(task: str, successor: str) -> c.RetryAsNew:
    """The command behind `Engine.retry_as_new`; `successor` was drawn. Raises InvalidValue."""
    return c.RetryAsNew(task=check_id(task, "id"), successor=successor)


def waive(task: str, compensation: str, reason: str) -> c.Waive:
    """The command behind `Engine.waive`; raises InvalidValue."""
    return c.Waive(
        task=check_id(task, "id"),
        compensation=check_name(compensation, "compensation"),
        reason=_said(reason, "reason"),
    )


def ttl(ttl_ms: int | None) -> int | None:
    """How long a lease lasts, at least a millisecond; None: without end, or as before for a heartbeat."""
    return None if ttl_ms is None else check_integer(ttl_ms, "ttl_ms", 1, bounds.TIME_MS_MAX // 2)


def failure(error: str | Failure, name: str) -> Failure:
    """What went wrong, from a sentence or from a whole `Failure`.

    The text is often some exception's: it is cleaned rather than refused, since what ends a lease must always fit.
    [BOUND-3]
    """
    if isinstance(error, Failure):
        check_name(error.code, f"{name}.code")
        details = check_json(error.details, f"{name}.details", bounds.DETAILS_BYTES_MAX)
        return Failure(error.code, _cleaned(error.message, f"{name}.message"), details)
    return Failure("error", _cleaned(error, name))


def _cleaned(text: str, name: str) -> str:
    if type(text) is not str:
        check_text(text, name, bounds.TEXT_CHARACTERS_MAX)
    kept = cut_text(text, bounds.TEXT_CHARACTERS_MAX).encode("utf-8", "replace").decode().replace("\0", "?")
    return kept if kept.strip() else "(no message)"


def names(given: Iterable[str] | None, name: str) -> frozenset[str] | None:
    """A set of names; None stays None and means every one."""
    return None if given is None else frozenset(check_name(one, name) for one in listed(given, name))


def listing(given: str | Sequence[str], name: str, maximum: int) -> tuple[str, ...]:
    """One name or several, in the order given, each once."""
    several = (given,) if isinstance(given, str) else tuple(listed(given, name))
    if not 1 <= len(several) <= maximum:
        raise InvalidValue(f"{name}: expected 1 to {maximum} names, found {len(several)}", path=name)
    return tuple(dict.fromkeys(check_name(one, name) for one in several))


def one_of(value: T, name: str, literal: object) -> T:
    """A word of a closed set."""
    words = get_args(literal)
    if value not in words:
        raise InvalidValue(f"{name}: expected one of {', '.join(map(repr, words))}, found {shown(value)}", path=name)
    return value


def _compensations(given: Iterable[Compensation]) -> tuple[Compensation, ...]:
    if type(given) is tuple and not given:
        return ()
    checked = tuple(
        _compensation(one, f"compensations[{index}]") for index, one in enumerate(listed(given, "compensations"))
    )
    ids = [one.id for one in checked]
    if len(checked) > bounds.COMPENSATIONS_MAX:
        raise OverBound(
            f"compensations: at most {bounds.COMPENSATIONS_MAX}, found {len(checked)}; one may undo several effects",
            bound="compensations",
            maximum=bounds.COMPENSATIONS_MAX,
        )
    if len(set(ids)) != len(ids):
        twice = sorted({str(id) for id in ids if ids.count(id) > 1})
        raise InvalidValue(
            f"compensations: {twice} stand there more than once; who means one undo twice gives each an id of its own",
            path="compensations",
        )
    return checked


def _compensation(given: Compensation, path: str) -> Compensation:
    if not isinstance(given, Compensation):
        raise InvalidValue(f"{path}: expected a Compensation, found {type(given).__name__}", path=path)
    check_name(given.kind, f"{path}.kind")
    params = check_json(given.params, f"{path}.params", bounds.DETAILS_BYTES_MAX)
    id = compensation_id(given.kind, given.params) if given.id is None else check_name(given.id, f"{path}.id")
    return Compensation(given.kind, params, _text(given.reason, f"{path}.reason"), id)


def _retry(retry: Retry) -> Retry:
    if not isinstance(retry, Retry):
        raise InvalidValue(f"retry: expected a Retry, found {type(retry).__name__}", path="retry")
    for name in ("attempts_max", "transient_max", "expiries_max", "releases_max", "undo_attempts_max"):
        if getattr(retry, name) is not None:
            check_integer(getattr(retry, name), f"retry.{name}", 1, bounds.BUDGET_MAX)
    for name in ("quota_wait_max_ms", "undo_wait_ms"):
        if getattr(retry, name) is not None:
            check_milliseconds(getattr(retry, name), f"retry.{name}")
    check_integer(retry.delay_min_ms, "retry.delay_min_ms", 0, bounds.TIME_MS_MAX // 4)
    check_integer(retry.delay_max_ms, "retry.delay_max_ms", retry.delay_min_ms, bounds.TIME_MS_MAX // 4)
    one_of(retry.spent, "retry.spent", Spent)
    return retry


def listed(given: Iterable[Any], name: str) -> Iterable[Any]:
    """Several values; a lone str would be taken apart into its letters, so it is refused."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidValue(f"{name}: expected a list, found {shown(given)}", path=name)
    return given


def _text(given: str | None, name: str) -> str | None:
    return None if given is None else check_text(given, name, bounds.TEXT_CHARACTERS_MAX)


def _said(given: str, name: str) -> str:
    """Text that must say something."""
    text = check_text(given, name, bounds.TEXT_CHARACTERS_MAX)
    if not text.strip():
        raise InvalidValue(f"{name}: expected a sentence, found blanks only", path=name)
    return text


def optional_name(given: str | None, name: str) -> str | None:
    """A name, or None."""
    return None if given is None else check_name(given, name)


def _time(run_at_ms: int | None) -> int | None:
    return None if run_at_ms is None else check_milliseconds(run_at_ms, "run_at_ms")


def _duration(retry_after_ms: int | None) -> int | None:
    return None if retry_after_ms is None else check_milliseconds(retry_after_ms, "retry_after_ms")
