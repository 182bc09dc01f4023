"""The validation of whole calls: what callers give -> commands. One function a call, which every way in uses.

Rule: it checks everything before the engine reads any state, and a refusal names the argument. What the engine took
from clock or entropy is an argument here too. Knows no state and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import UNSET, UnsetType

from sagalog.errors import InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.kernel import commands as c
from sagalog.kernel.deadlines import cannot_start
from sagalog.kernel.values import (
    Budget,
    Compensation,
    Dedupe,
    DedupeKey,
    DedupeScope,
    Failure,
    Input,
    OnFailed,
    OnParentEnd,
    Purpose,
    Retry,
    Suspects,
    UnrecordedStep,
)
from sagalog.store import Blob, Claim
from sagalog.validation.arguments import (
    check_truth,
    compensation_of,
    compensations_of,
    failure,
    listed,
    listing,
    names,
    one_of,
    optional_duration,
    optional_name,
    optional_sentence,
    optional_text,
    optional_time,
    policy_of,
    sentence,
    ttl,
)
from sagalog.validation.json_values import check_json
from sagalog.validation.settings import uses_of
from sagalog.validation.trace_context import check_traceparent, check_tracestate
from sagalog.validation.values import (
    check_dedupe_key,
    check_id,
    check_integer,
    check_milliseconds,
    check_name,
    check_tags,
    shown,
)

_DEFAULT_POLICY: Final = Retry().resolve()
_PURPOSES: Final = get_args(Purpose)
_SUSPECTS: Final = get_args(Suspects)
_BUDGETS: Final = get_args(Budget)
_ON_FAILED: Final = get_args(OnFailed)
_ON_PARENT_END: Final = get_args(OnParentEnd)
_DEDUPE_SCOPES: Final = get_args(DedupeScope)
_encode: Final = msgspec.json.Encoder().encode


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
    tracestate: str | None = None,
    data_key: str | None = None,
    uses: Mapping[str, int] | None = None,
    deadline_ms: int | None = None,
    start_by_ms: int | None = None,
    **related: Any,
) -> c.Create:
    """Make the command behind `Engine.create`; `id` is given or drawn, `inputs` are those of `arguments.taken_in`.

    `related` are `after`, `on_failed`, `on_parent_end`, `dedupe` and `build`, where they are given.

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
    planned = compensations_of(compensations)
    command = c.Create(
        task=id,
        kind=kind,
        queue=queue,
        priority=priority,
        run_at_ms=run_at_ms,
        policy=_DEFAULT_POLICY if retry is None else policy_of(retry).resolve(),
        payload=encoded,
        inputs=inputs,
        compensations=planned,
        waiver=optional_sentence(waive_compensation, "waive_compensation"),
        tags=None if tags is None else check_tags(tags) or None,
        affinity=None if affinity is None else check_name(affinity, "affinity"),
        key=None if key is None else check_name(key, "key"),
        parent=None if parent is None else check_id(parent, "parent"),
        correlation_id=None if correlation_id is None else check_name(correlation_id, "correlation_id"),
        trace=None if trace is None else check_traceparent(trace, "trace"),
        tracestate=None if tracestate is None else check_tracestate(tracestate, "tracestate", trace),
        data_key=None if data_key is None else check_name(data_key, "data_key"),
        uses=uses_of(uses),
    )
    if deadline_ms is not None or start_by_ms is not None:
        command = msgspec.structs.replace(command, **_deadlines(deadline_ms, start_by_ms))
        _require_chance(command)
    if related:
        command = _related(command, **related)
    if planned or command.after:
        _require_creation_fits(command)
    return command


def _deadlines(deadline_ms: int | None, start_by_ms: int | None) -> dict[str, int]:
    """Return those of the two that are given, by name."""
    given = {"deadline_ms": deadline_ms, "start_by_ms": start_by_ms}
    return {name: check_milliseconds(time_ms, name) for name, time_ms in given.items() if time_ms is not None}


def _require_chance(command: c.Create) -> None:
    """Refuse a task that is due only when its deadline has come: it could never start. [DEADLINE-4]"""
    due_ms = command.run_at_ms
    name = None if due_ms is None else cannot_start(due_ms, command.deadline_ms, command.start_by_ms)
    if name is not None:
        raise InvalidValue(
            f"{name}: {getattr(command, name)} is not after run_at_ms, {due_ms}: the task could never start; give a "
            "later deadline, or an earlier time",
            path=name,
        )


def _related(
    command: c.Create,
    after: str | Iterable[Any] = (),
    on_failed: OnFailed = "cancel",
    on_parent_end: OnParentEnd | None = None,
    dedupe: Dedupe | None = None,
    build: str | None = None,
) -> c.Create:
    """Return the creation with what binds it to other tasks, or to a build."""
    awaited = _after(after)
    one_of(on_failed, "on_failed", _ON_FAILED)
    if on_failed != "cancel" and not awaited:
        raise InvalidValue(f"on_failed: {on_failed!r} says nothing without `after`; name tasks there", path="on_failed")
    return msgspec.structs.replace(
        command,
        after=awaited,
        on_failed=on_failed if awaited else None,
        on_parent_end=None if on_parent_end is None else one_of(on_parent_end, "on_parent_end", _ON_PARENT_END),
        dedupe=None if dedupe is None else dedupe_of(dedupe),
        build=None if build is None else check_name(build, "build"),
    )


def dedupe_of(given: Dedupe) -> DedupeKey:
    """Check a dedupe key; raises InvalidValue, OverBound. [DEDUPE-1]"""
    if not isinstance(given, Dedupe):
        raise InvalidValue(f"dedupe: expected a sagalog.Dedupe, found {shown(given)}", path="dedupe")
    check_dedupe_key(given.key, "dedupe.key")
    one_of(given.scope, "dedupe.scope", _DEDUPE_SCOPES)
    if (given.scope == "period") != (given.period_ms is not None):
        fault = "needs a period" if given.period_ms is None else "takes no period"
        raise InvalidValue(
            f"dedupe.period_ms: the scope {given.scope!r} {fault}; give one with the scope 'period', and with no other",
            path="dedupe.period_ms",
        )
    if given.period_ms is not None:
        check_integer(given.period_ms, "dedupe.period_ms", 1, bounds.PERIOD_MS_MAX)
    return DedupeKey(given.key, given.scope, given.period_ms)


def _require_creation_fits(command: c.Create) -> None:
    """Refuse what is within its bounds part by part, and together not within that of an event. [BOUND-4]

    Without undos and tasks to wait for the parts are never as large.
    """
    # A payload that is larger is a blob. [BLOB-2]
    is_large = isinstance(command.payload, msgspec.Raw) and len(bytes(command.payload)) > bounds.INLINE_BYTES_MAX
    size = len(_encode(msgspec.structs.replace(command, payload=None) if is_large else command))
    path = "compensations" if command.compensations else "after"
    if size > bounds.EVENT_BYTES_MAX:
        raise OverBound(
            f"{path}: with them the task takes {size:,} bytes as JSON and the bound of an event is "
            f"{bounds.EVENT_BYTES_MAX:,}; keep what is large as inputs or beside the store, and give its name",
            path=path,
            bound="event_bytes",
            maximum=bounds.EVENT_BYTES_MAX,
        )


def acquire(
    task: str,
    owner: str,
    ttl_ms: int | None,
    purpose: Purpose,
    kinds: Iterable[str] | None,
    waive_compensation: str | None = None,
    build: str | None = None,
) -> c.Acquire:
    """Make the command behind `Engine.acquire`; raises InvalidValue."""
    return c.Acquire(
        task=check_id(task, "task_id"),
        owner=check_name(owner, "owner"),
        ttl_ms=ttl(ttl_ms),
        purpose=one_of(purpose, "purpose", _PURPOSES),
        kinds=names(kinds, "kinds"),
        waiver=optional_sentence(waive_compensation, "waive_compensation") if purpose == "work" else None,
        build=None if build is None else check_name(build, "build"),
    )


class ClaimRequest(msgspec.Struct, frozen=True, tag="claim"):
    """A claim as the caller asked for it: what it selects, for which owner, for how long, under which identity.

    `waivers` are, by task kind, the reasons why work under a lease of that kind needs no undo. `wait_ms` is how long
    the caller would wait where there is nothing to lease.
    """

    claim: Claim
    owner: str
    ttl_ms: int | None
    idempotency_key: str | None
    waivers: Mapping[str, str] = {}
    wait_ms: int = 0

    @property
    def build(self) -> str | None:
        """The build that the claiming worker names. [BUILD-1]"""
        return self.claim.build


def claim(
    queues: str | Sequence[str],
    owner: str,
    ttl_ms: int | None,
    limit: int,
    kinds: Iterable[str] | None,
    affinity: str | Sequence[str] | None,
    purpose: Purpose,
    idempotency_key: str | None,
    suspects: Suspects = "alone",
    waive_compensation: Mapping[str, str] | None = None,
    wait_ms: int = 0,
    build: str | None = None,
) -> ClaimRequest:
    """Make the request behind `Engine.claim`; raises InvalidValue, OverBound."""
    selected = Claim(
        queues=listing(queues, "queues", bounds.QUEUES_MAX),
        purpose=one_of(purpose, "purpose", _PURPOSES),
        limit=check_integer(limit, "limit", 1, bounds.CLAIM_LIMIT_MAX),
        kinds=names(kinds, "kinds"),
        affinities=() if affinity is None else listing(affinity, "affinity", bounds.QUEUES_MAX),
        suspects=one_of(suspects, "suspects", _SUSPECTS),
        build=None if build is None else check_name(build, "build"),
    )
    _require_looks_fit(selected)
    return ClaimRequest(
        selected,
        check_name(owner, "owner"),
        ttl(ttl_ms),
        None if idempotency_key is None else check_name(idempotency_key, "idempotency_key"),
        _waivers(waive_compensation),
        check_milliseconds(wait_ms, "wait_ms"),
    )


def _waivers(given: Mapping[str, str] | None) -> dict[str, str]:
    """Check the reasons by task kind; raises InvalidValue, OverBound."""
    path = "waive_compensation"
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidValue(f"{path}: expected a mapping of task kinds to reasons, found {shown(given)}", path=path)
    if len(given) > bounds.KINDS_MAX:
        raise OverBound(
            f"{path}: at most {bounds.KINDS_MAX} kinds, found {len(given)}; claim for fewer kinds at a time",
            bound="kinds",
            maximum=bounds.KINDS_MAX,
        )
    return {check_name(kind, path): sentence(reason, f"{path}.{kind}") for kind, reason in given.items()}


def _require_looks_fit(claim: Claim) -> None:
    """Refuse too many searches: a claim searches each queue for each kind while no other caller can write. [BOUND-1]"""
    looks = len(claim.queues) * (1 if claim.kinds is None else len(claim.kinds))
    if looks > bounds.CLAIM_LOOKS_MAX:
        raise OverBound(
            f"kinds: {len(claim.queues)} queues x {len(claim.kinds or ())} kinds are {looks:,}, and the bound of a "
            f"claim is {bounds.CLAIM_LOOKS_MAX:,}; name fewer queues a claim, or no kinds to mean every one",
            path="kinds",
            bound="claim_looks",
            maximum=bounds.CLAIM_LOOKS_MAX,
        )


def heartbeat(task: str, fence: int, ttl_ms: int | None, progress: object) -> c.Heartbeat:
    """Make the command behind `Lease.heartbeat`; raises InvalidValue."""
    encoded = check_json(progress, "progress", bounds.PROGRESS_BYTES_MAX)
    return c.Heartbeat(task=task, fence=fence, ttl_ms=ttl(ttl_ms), progress=encoded)


def register(task: str, fence: int, compensation: Compensation) -> c.Register:
    """Make the command behind `Lease.register`; raises InvalidValue."""
    return c.Register(task=task, fence=fence, compensation=compensation_of(compensation, "compensation"))


def step(task: str, fence: int, name: str, result: object, compensation: str | Compensation | None = None) -> c.Step:
    """Make the command behind `Lease.step`; raises InvalidValue."""
    return c.Step(
        task=task,
        fence=fence,
        name=check_name(name, "name"),
        result=check_json(result, "result"),
        compensation=_undo_id(compensation),
    )


def _undo_id(compensation: str | Compensation | None) -> str | None:
    if isinstance(compensation, Compensation):
        return compensation_of(compensation, "compensation").id
    return optional_name(compensation, "compensation")


def healthy(task: str, fence: int, limit: str | None) -> c.Healthy:
    """Make the command behind `Lease.healthy`; raises InvalidValue."""
    return c.Healthy(task=task, fence=fence, limit=None if limit is None else check_name(limit, "limit"))


def use(task: str, fence: int, limit: str, units: int) -> c.Use:
    """Make the command behind `Lease.use`; raises InvalidValue."""
    return c.Use(
        task=task,
        fence=fence,
        limit=check_name(limit, "limit"),
        units=check_integer(units, "units", 0, bounds.UNITS_MAX),
    )


def put_artifact(task: str, fence: int, name: str, given: Blob, media_type: str) -> c.PutArtifact:
    """Make the command behind `Lease.put_artifact`; raises InvalidValue."""
    return c.PutArtifact(
        task=task,
        fence=fence,
        name=check_name(name, "name"),
        digest=given.digest,
        size_bytes=len(given.data),
        media_type=check_name(media_type, "media_type"),
    )


def adopt_child(task: str, fence: int, name: str, child: str) -> c.AdoptChild:
    """Make the command behind `Lease.adopt_child`; raises InvalidValue."""
    return c.AdoptChild(task=task, fence=fence, name=check_name(name, "name"), child=check_id(child, "child"))


def park(
    task: str,
    fence: int,
    name: str,
    signal: str | None,
    after: str | Sequence[str],
    until_ms: int | None,
    number: int = 1,
) -> c.Park:
    """Make the command behind `Lease.park`; raises InvalidValue, OverBound."""
    ids = _after(after)
    if signal is not None and ids:
        raise InvalidValue("signal: a wait is for a signal or for tasks, not for both; wait twice", path="signal")
    if signal is None and not ids and until_ms is None:
        raise InvalidValue("park: expected a signal, tasks or a time to wait for, found none of them", path="signal")
    return c.Park(
        task=task,
        fence=fence,
        name=check_name(name, "name"),
        number=check_integer(number, "number", 1, bounds.INTEGER_MAX),
        signal=optional_name(signal, "signal"),
        after=ids,
        until_ms=None if until_ms is None else check_milliseconds(until_ms, "until_ms"),
    )


def _after(given: str | Iterable[Any]) -> tuple[str, ...]:
    """Check the tasks of a wait, by id or as tasks, each once; raises InvalidValue, OverBound. [BOUND-1]"""
    if type(given) is tuple and not given:
        return ()
    advice = "let a task of its own wait for some of them"
    several = [given] if isinstance(given, str) else listed(given, "after", bounds.AFTER_MAX, advice)
    ids = tuple(dict.fromkeys(check_id(getattr(one, "id", one), "after") for one in several))
    size = len(_encode(ids))
    if size > bounds.AFTER_BYTES_MAX:
        raise OverBound(
            f"after: the ids take {size:,} bytes as JSON and the bound is {bounds.AFTER_BYTES_MAX:,}; {advice}",
            path="after",
            bound="after_bytes",
            maximum=bounds.AFTER_BYTES_MAX,
        )
    return ids


def release(task: str, fence: int, reason: str | None, run_at_ms: int | None) -> c.Release:
    """Make the command behind `Lease.release`; raises InvalidValue."""
    return c.Release(task=task, fence=fence, reason=optional_text(reason, "reason"), run_at_ms=optional_time(run_at_ms))


def retry(
    task: str,
    fence: int,
    error: str | Failure,
    run_at_ms: int | None,
    budget: Budget,
    jitter: float,
    retry_after_ms: int | None = None,
) -> c.Retry:
    """Make the command behind `Lease.retry`; raises InvalidValue."""
    return c.Retry(
        task=task,
        fence=fence,
        error=failure(error, "error"),
        budget=one_of(budget, "budget", _BUDGETS),
        jitter=jitter,
        run_at_ms=optional_time(run_at_ms),
        retry_after_ms=optional_duration(retry_after_ms),
    )


def complete(task: str, fence: int, result: object, undoer: str | None = None) -> c.Complete:
    """Make the command behind `Lease.complete`; `undoer` was drawn. Raises InvalidValue."""
    return c.Complete(task=task, fence=fence, result=check_json(result, "result"), undoer=undoer)


def fail(
    task: str,
    fence: int,
    reason: str | Failure,
    compensations: Iterable[Compensation],
    waive_compensation: str | None,
    or_quarantine: bool = False,
) -> c.Fail:
    """Make the command behind `Lease.fail`; raises InvalidValue."""
    return c.Fail(
        task=task,
        fence=fence,
        error=failure(reason, "reason"),
        compensations=compensations_of(compensations),
        waiver=optional_text(waive_compensation, "waive_compensation"),
        or_quarantine=check_truth(or_quarantine, "or_quarantine"),
    )


def compensation_done(task: str, fence: int, compensation: str) -> c.CompensationDone:
    """Make the command behind `Lease.compensation_done`; raises InvalidValue."""
    return c.CompensationDone(task=task, fence=fence, compensation=check_name(compensation, "id"))


def compensation_failed(
    task: str,
    fence: int,
    compensation: str,
    error: str | Failure,
    run_at_ms: int | None,
    jitter: float,
    retry_after_ms: int | None = None,
) -> c.CompensationFailed:
    """Make the command behind `Lease.compensation_failed`; raises InvalidValue."""
    return c.CompensationFailed(
        task=task,
        fence=fence,
        compensation=check_name(compensation, "id"),
        error=failure(error, "error"),
        jitter=jitter,
        run_at_ms=optional_time(run_at_ms),
        retry_after_ms=optional_duration(retry_after_ms),
    )


def quarantine_held(
    task: str,
    fence: int,
    reason: str | Failure,
    steps: Iterable[str | UnrecordedStep] = (),
) -> c.QuarantineHeld:
    """Make the command behind `Lease.quarantine`; raises InvalidValue."""
    return c.QuarantineHeld(
        task=task,
        fence=fence,
        error=failure(reason, "reason"),
        steps=_unrecorded(steps),
    )


def _unrecorded(steps: Iterable[str | UnrecordedStep]) -> tuple[UnrecordedStep, ...]:
    """Check the steps that a quarantine names, each once."""
    named = []
    for one in listed(steps, "steps", bounds.STEPS_MAX, "a task has no more steps"):
        step = one if isinstance(one, UnrecordedStep) else UnrecordedStep(one)
        named.append(UnrecordedStep(check_name(step.name, "steps"), optional_name(step.compensation, "compensation")))
    if len({step.name for step in named}) < len(named):
        raise InvalidValue(f"steps: expected each step once, found {[step.name for step in named]}", path="steps")
    return tuple(named)


def signal(task: str, name: str, data: object) -> c.Signal:
    """Make the command behind `Engine.signal`; raises InvalidValue."""
    return c.Signal(task=check_id(task, "id"), name=check_name(name, "name"), data=check_json(data, "data"))


def cancel(task: str, reason: str | None, now: bool) -> c.Cancel:
    """Make the command behind `Engine.cancel`; raises InvalidValue."""
    return c.Cancel(task=check_id(task, "id"), reason=optional_text(reason, "reason"), now=check_truth(now, "now"))


def quarantine(task: str, reason: str) -> c.Quarantine:
    """Make the command behind `Engine.quarantine`; raises InvalidValue."""
    return c.Quarantine(task=check_id(task, "id"), reason=sentence(reason, "reason"))


def note(task: str, text: str, settles: Iterable[str]) -> c.Note:
    """Make the command behind `Engine.note`; raises InvalidValue."""
    settled = tuple(
        check_name(id, "settles") for id in listed(settles, "settles", bounds.COMPENSATIONS_MAX, "use several notes")
    )
    if len(set(settled)) != len(settled):
        raise InvalidValue(f"settles: expected each compensation once, found {list(settled)}", path="settles")
    return c.Note(task=check_id(task, "id"), text=sentence(text, "text"), settles=settled)


def retry_as_new(
    task: str,
    successor: str,
    results: Mapping[str, object] | None = None,
    rerun: Iterable[str] = (),
    deadline_ms: int | None = None,
    start_by_ms: int | None = None,
) -> c.RetryAsNew:
    """Make the command behind `Engine.retry_as_new`; `successor` was drawn. Raises InvalidValue, OverBound."""
    if results is not None and not isinstance(results, Mapping):
        raise InvalidValue(f"results: expected a mapping of names of steps, found {shown(results)}", path="results")
    given = dict(results or {})
    names = listed(rerun, "rerun", bounds.STEPS_MAX, "a task has no more steps")
    again = tuple(dict.fromkeys(check_name(name, "rerun") for name in names))
    if both := sorted(set(again) & set(given)):
        raise InvalidValue(f"rerun: {both} are given a result too; give it, or let them run again", path="rerun")
    return c.RetryAsNew(
        task=check_id(task, "id"),
        successor=successor,
        results={check_name(name, "results"): check_json(value, f"results[{name!r}]") for name, value in given.items()},
        rerun=again,
        **_deadlines(deadline_ms, start_by_ms),
    )


def amend(
    task: str,
    *,
    queue: str | UnsetType = UNSET,
    priority: int | UnsetType = UNSET,
    affinity: str | UnsetType | None = UNSET,
    key: str | UnsetType | None = UNSET,
    build: str | UnsetType | None = UNSET,
    run_at_ms: int | UnsetType | None = UNSET,
    payload: object = UNSET,
    retry: Retry | UnsetType | None = UNSET,
    deadline_ms: int | UnsetType | None = UNSET,
    start_by_ms: int | UnsetType | None = UNSET,
    uses: Mapping[str, int] | UnsetType | None = UNSET,
) -> c.Amend:
    """Make the command behind `Engine.amend`: what is left out stays, and None takes away what a task may lack.

    Raises:
        InvalidValue, OverBound: naming the argument; or there is nothing to change.
    """
    given: dict[str, object] = {
        "affinity": affinity,
        "key": key,
        "build": build,
        "run_at_ms": run_at_ms,
        "payload": payload,
        "deadline_ms": deadline_ms,
        "start_by_ms": start_by_ms,
        "uses": uses if uses is UNSET else uses_of(uses),
    }
    changes = {name: _amended(name, value) for name, value in given.items() if value is not UNSET and value is not None}
    if queue is not UNSET:
        changes["queue"] = check_name(queue, "queue")
    if priority is not UNSET:
        changes["priority"] = check_integer(priority, "priority", bounds.PRIORITY_MIN, bounds.PRIORITY_MAX)
    if retry is not UNSET:
        changes["policy"] = _DEFAULT_POLICY if retry is None else policy_of(retry).resolve()
    removes = tuple(name for name, value in given.items() if value is None)
    if not changes and not removes:
        raise InvalidValue("amend: expected something to change, such as priority=, found nothing", path="priority")
    return c.Amend(task=check_id(task, "id"), removes=removes, **changes)


def _amended(name: str, value: object) -> Any:
    """Check one value that a task may lack."""
    if name == "payload":
        return check_json(value, name)
    if name == "uses":
        return value
    return check_name(value, name) if name in ("affinity", "key", "build") else check_milliseconds(value, name)


def waive(task: str, compensation: str, reason: str) -> c.Waive:
    """Make the command behind `Engine.waive`; raises InvalidValue."""
    return c.Waive(
        task=check_id(task, "id"),
        compensation=check_name(compensation, "compensation"),
        reason=sentence(reason, "reason"),
    )
