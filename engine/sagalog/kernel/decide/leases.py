"""The commands that create a task and lease it: create, acquire, heartbeat, release.

Rule: at most one lease that no event has ended [LEASE-1]; fences rise with every lease and are never reset [FENCE-1].
`maintain` ends a lease that is over before another begins; nothing here ends another holder's lease.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sagalog.errors import Blocked, LeaseHeld, LeaseLost, NotFound
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import FENCE_EPOCH
from sagalog.kernel.deadlines import passed_deadline
from sagalog.kernel.decide.rules import (
    Decision,
    Events,
    Repeat,
    cancelled_after,
    cut,
    due_in,
    ended_by,
    existing,
    held,
    in_place,
    is_spent,
    lost,
    policy_of,
    quarantined,
    require_compensations_fit,
    require_room,
    spent_event,
    state_after,
)
from sagalog.kernel.decide.times import require_deadlines
from sagalog.kernel.decide.verbs import Contents, Verb, names
from sagalog.kernel.decide.waits import end_of_wait
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold, Waiting
from sagalog.kernel.values import DeadlineCode, Lack, LeaseRecord, Retry, State

_DEFAULT_POLICY: Final = Retry().resolve()


def create(task: TaskFold | None, command: c.Create, now_ms: int, epoch: int) -> Decision:
    """Create a task; an id on record makes it a repeat. [REPEAT-2]"""
    if task is not None and task.state is not None:
        return Repeat(1)
    ids = {one.id for one in command.compensations} | {one.id for one in command.inherited}
    require_compensations_fit(command.task, len(ids))
    created = e.Created(
        kind=command.kind,
        queue=command.queue,
        priority=command.priority,
        run_at_ms=now_ms if command.run_at_ms is None else command.run_at_ms,
        policy=command.policy,
        to=state_after(task, "created", undoes=command.outcome is not None),
        payload=command.payload,
        inputs=command.inputs,
        compensations=command.compensations,
        waiver=cut(command.waiver),
        tags=command.tags,
        affinity=command.affinity,
        key=command.key,
        parent=command.parent,
        predecessor=command.predecessor,
        correlation_id=command.correlation_id,
        trace=command.trace,
        tracestate=command.tracestate,
        data_key=command.data_key,
        inherited=command.inherited,
        steps=command.steps,
        waits=command.waits,
        outcome=command.outcome,
        uses=command.uses,
    )
    if command.on_parent_end is not None:
        created = msgspec.structs.replace(created, on_parent_end=command.on_parent_end)
    if command.deadline_ms is not None or command.start_by_ms is not None:
        require_deadlines(command, now_ms)
        deadlines = {"deadline_ms": command.deadline_ms, "start_by_ms": command.start_by_ms}
        created = msgspec.structs.replace(created, **deadlines)
    if command.build is not None:
        created = msgspec.structs.replace(created, build=command.build)
    if command.dedupe is not None:
        created = msgspec.structs.replace(created, dedupe=command.dedupe.begun(now_ms))
    return _created_after(command, created, now_ms) if command.after else (created,)


def _created_after(command: c.Create, created: e.Created, now_ms: int) -> Events:
    """Return the creation of a task that waits for others, and what follows if all of them have ended. [WAIT-5]"""
    if command.task in command.after:
        text = f"task {command.task!r} cannot wait for {command.task!r}: there is no such task yet; name other tasks"
        raise NotFound(text, task=command.task)
    created = msgspec.structs.replace(created, after=command.after, on_failed=command.on_failed)
    return (created, *end_of_wait(evolve(TaskFold(command.task), created, 1, now_ms), command.ended, now_ms))


def acquire(task: TaskFold | None, command: c.Acquire, now_ms: int, epoch: int) -> Decision:
    """Lease the task, if no worker holds it, not even the same owner. [LEASE-1] [UNDO-1] [BUILD-1]"""
    task = existing(task, command.task)
    if task.lease is not None:
        raise _lease_held(task, task.lease)
    in_place(task, "leased", "lease")
    if task.waiting is not None:
        raise _blocked_by_wait(task, task.waiting)
    _require_purpose(task, command)
    if task.build is not None and command.purpose == "work" and command.build != task.build:
        raise _pinned(task, task.build, command.build)
    if command.lack is not None:
        raise _lacking(task, command.lack)
    if (late := passed_deadline(task, now_ms)) is not None:
        raise _blocked_by_deadline(task, late)
    require_room(task, "lease")
    return (
        e.Leased(
            owner=command.owner,
            fence=epoch * FENCE_EPOCH + task.leases + 1,
            attempt=task.attempt,
            purpose=command.purpose,
            probe=False,
            ttl_ms=command.ttl_ms,
            expires_ms=None if command.ttl_ms is None else due_in(command.ttl_ms, now_ms),
            waiver=cut(command.waiver) if command.purpose == "work" else None,
            uses=command.uses,
            build=command.build,
        ),
    )


def heartbeat(task: TaskFold | None, command: c.Heartbeat, now_ms: int, epoch: int) -> Decision:
    """Renew the lease, and write nothing where the expiry would not move. Only heartbeats ask the clock. [LEASE-3]"""
    task = existing(task, command.task)
    lease = held(task, command.fence, epoch)
    if lease is None:
        raise lost(task, command.fence, "renew the lease of")
    if lease.is_over(now_ms, epoch):
        raise LeaseLost(
            f"cannot renew the lease of task {task.id!r} under fence {command.fence}: it is over since "
            f"{lease.expires_ms} ms, and another worker may lease the task at any time; finish what is nearly done, or "
            "stop working on it",
            task=task.id,
            fence=command.fence,
            current=task.fence,
            state=str(task.state),
        )
    ttl_ms = lease.ttl_ms if command.ttl_ms is None else command.ttl_ms
    expires_ms = None if ttl_ms is None else due_in(ttl_ms, now_ms)
    if now_ms >= lease.renewed_ms and not _is_later(expires_ms, lease.expires_ms):
        if command.progress is None:
            return ()
        ttl_ms, expires_ms = lease.ttl_ms, lease.expires_ms
    return (e.Heartbeat(fence=command.fence, ttl_ms=ttl_ms, expires_ms=expires_ms, progress=command.progress),)


def release(task: TaskFold | None, command: c.Release, now_ms: int, epoch: int) -> Decision:
    """Give the lease back. It counts as no attempt and has a budget of its own. [ATTEMPT-2]"""
    task = existing(task, command.task)
    lease = held(task, command.fence, epoch)
    if lease is None:
        if repeat := ended_by(task, command.fence, "release"):
            return repeat
        raise lost(task, command.fence, "release")
    run_at_ms = now_ms if command.run_at_ms is None else command.run_at_ms
    reason = cut(command.reason)
    given_back = e.Released(
        fence=command.fence,
        verb="release",
        run_at_ms=run_at_ms,
        reason=reason,
        code=command.code,
        parameters=command.parameters,
    )
    maximum = policy_of(task).releases_max
    if lease.purpose == "undo":
        if is_spent(task.undo_releases + 1, maximum):
            return (quarantined(task, "undo_releases_spent", reason, None, command.fence, "release"),)
        return (given_back,)
    if task.cancel_version:
        return (given_back, *cancelled_after(task))
    if is_spent(task.releases + 1, maximum):
        return (spent_event(task, "releases_spent", None, command.fence, "release", reason),)
    return (given_back,)


def _is_later(expires_ms: int | None, than_ms: int | None) -> bool:
    """Check whether the first expiry is later than the second; None is without end."""
    if than_ms is None:
        return False
    return expires_ms is None or expires_ms > than_ms


def _lease_held(task: TaskFold, lease: LeaseRecord) -> LeaseHeld:
    until = "without end" if lease.expires_ms is None else f"until {lease.expires_ms} ms"
    return LeaseHeld(
        f"cannot lease task {task.id!r}: {lease.owner!r} holds it under fence {lease.fence} {until}; "
        "wait for its end or claim another",
        task=task.id,
        owner=lease.owner,
        fence=lease.fence,
        expires_ms=lease.expires_ms,
    )


def _blocked_by_wait(task: TaskFold, waiting: Waiting) -> Blocked:
    """Return the refusal: no worker leases a task that waits. [WAIT-1]"""
    if waiting.signal is not None:
        what, advice = f"the signal {waiting.signal!r}", "send it that signal, or cancel it"
    elif waiting.tasks:
        what, advice = f"{waiting.tasks} tasks", "see to those tasks, or cancel this one"
    else:
        what, advice = "a time", "wait for that, or cancel it"
    until = "" if waiting.until_ms is None else f" until {waiting.until_ms} ms"
    since = "since its creation" if waiting.is_of_creation else f"under the name {waiting.name!r}"
    return Blocked(
        f"cannot lease task {task.id!r}: {since} it waits for {what}{until}; {advice}",
        task=task.id,
        state=str(task.state),
        wait=waiting.name,
    )


def _lacking(task: TaskFold, lack: Lack) -> Blocked:
    """Return the refusal: no work begins without the units that it needs, or where it is paused. [LIMIT-2]"""
    what = f"its kind {task.kind!r}" if lack.account is None else f"the limit of {lack.account!r}"
    texts = {
        "units": (f"{what} has too few units free", "wait until others end, or raise the limit"),
        "line": (f"a larger task is first in line at {what}", "wait until it was leased"),
        "paused": (f"{what} is paused", "resume it"),
        "breaker": (f"the breaker of {what} is open", "wait until its probe has closed it, or reset it"),
    }
    why, advice = texts[lack.why]
    return Blocked(
        f"cannot lease task {task.id!r}: {why}; {advice}",
        task=task.id,
        state=str(task.state),
        limit=lack.account,
        why=lack.why,
    )


def _pinned(task: TaskFold, build: str, named: str | None) -> Blocked:
    """Return the refusal: only a worker of that build may do its work. [BUILD-1]"""
    what = "the caller names no build" if named is None else f"the caller names {named!r}"
    return Blocked(
        f"cannot lease task {task.id!r}: it is pinned to the build {build!r}, and {what}; lease it by a worker of "
        "that build, or amend its build",
        task=task.id,
        state=str(task.state),
        build=build,
    )


def _blocked_by_deadline(task: TaskFold, late: DeadlineCode) -> Blocked:
    """Return the refusal: the next maintenance cancels the task. [DEADLINE-2]"""
    return Blocked(
        f"cannot lease task {task.id!r}: its {late}_ms has come, and the next maintenance cancels it; claim another",
        task=task.id,
        state=str(task.state),
    )


def _require_purpose(task: TaskFold, command: c.Acquire) -> None:
    """Require the right purpose, and that the caller knows the task's kind, or every kind of undo owed. [UNDO-1]"""
    undoing = task.state is State.COMPENSATING
    if undoing != (command.purpose == "undo"):
        needed = "undo" if undoing else "work"
        raise Blocked(
            f"cannot lease task {task.id!r} for {command.purpose!r}: it is {task.state}; ask with purpose={needed!r}",
            task=task.id,
            state=str(task.state),
        )
    if not undoing and command.kinds is not None and task.kind not in command.kinds:
        raise Blocked(
            f"cannot lease task {task.id!r}: it is of kind {task.kind!r}, which the caller does not name",
            task=task.id,
            state=str(task.state),
            kinds=[task.kind],
        )
    if undoing and command.kinds is not None:
        unknown = sorted({task.compensations[id].kind for id in task.owed()} - command.kinds)
        if unknown:
            raise Blocked(
                f"cannot lease task {task.id!r} for undoing: it owes compensations of the kinds {unknown}, which the "
                "caller does not name",
                task=task.id,
                state=str(task.state),
                kinds=unknown,
            )


def _given_of(command: c.Create) -> set[str]:
    """Return the fields that a creation sets to something else than their defaults. [REPEAT-6]"""
    left_out: dict[str, object] = {
        "queue": "default",
        "priority": 0,
        "policy": _DEFAULT_POLICY,
        "compensations": (),
        "inputs": (),
        "inherited": (),
        "steps": (),
        "waits": (),
        "after": (),
    }
    names = set(command.__struct_fields__) - {"task", "ended"}
    return {name for name in names if getattr(command, name) != left_out.get(name)}


def _created_contents(command: c.Create, event: e.Created, _: TaskFold) -> Contents:
    names = {"kind", "payload"} | _given_of(command)
    given = {name: getattr(command, name) for name in names}
    found = {name: getattr(event, name) for name in names}
    if "after" in names:
        # Whichever order they are named in, it is the same wait. [WAIT-5]
        given["after"], found["after"] = sorted(command.after), sorted(event.after)
    if command.dedupe is not None:
        # When its period is over was decided at its creation.
        given["dedupe"] = command.dedupe.plain()
        found["dedupe"] = None if event.dedupe is None else event.dedupe.plain()
    return given, found


def _acquired_contents(command: c.Acquire, event: e.Leased, task: TaskFold) -> Contents:
    given: dict[str, Any] = {name: getattr(command, name) for name in ("owner", "purpose", "ttl_ms", "waiver", "build")}
    found: dict[str, Any] = {name: getattr(event, name) for name in given}
    if command.kinds is not None:
        work = event.purpose == "work"
        leased = {task.kind} if work else {task.compensations[id].kind for id in task.owed()}
        given["kinds"] = sorted(command.kinds)
        found["kinds"] = given["kinds"] if leased <= command.kinds else sorted(leased)
    return given, found


def _released_contents(command: c.Release, event: Any, _: TaskFold) -> Contents:
    given: dict[str, Any] = {"reason": command.reason}
    if isinstance(event, e.Released) and command.run_at_ms is not None:
        given["run_at_ms"] = command.run_at_ms
    # For a release that spent its budget the log holds the end of the task, with the worker's reason.
    return given, {"reason": event.reason, "run_at_ms": getattr(event, "run_at_ms", None)}


VERBS: Final = (
    Verb(
        c.Create,
        create,
        names("created", "unblocked", "cancelled", "quarantined"),
        marks=names("created"),
        contents=_created_contents,
        time="run_at_ms",
    ),
    Verb(c.Acquire, acquire, names("leased"), marks=names("leased"), contents=_acquired_contents),
    Verb(c.Heartbeat, heartbeat, names("heartbeat")),
    Verb(
        c.Release,
        release,
        names("released", "cancelled", "failed", "quarantined"),
        contents=_released_contents,
        time="run_at_ms",
    ),
)
