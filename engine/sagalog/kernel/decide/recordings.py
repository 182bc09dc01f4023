"""The records that the holder of a lease makes of its work: step, put_artifact, adopt_child, use.

Rule: under the lease's fence [FENCE-2]; a step is recorded once per task [STEP-1], an artifact once per lease and name
[REPEAT-3]. Knows nothing of the contents: the unit of work compares those of a repeat.
"""

from __future__ import annotations

from typing import Any, Final

from sagalog.errors import NotFound, OverBound
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.accounts import account_of_limit
from sagalog.kernel.bounds import ARTIFACTS_MAX, STEPS_MAX
from sagalog.kernel.decide.rules import Decision, Repeat, existing, held, in_place, lost, require_room
from sagalog.kernel.decide.verbs import Contents, Verb, fields, names
from sagalog.kernel.state import TaskFold


def step(task: TaskFold | None, command: c.Step, now_ms: int, epoch: int) -> Decision:
    """Record the result of a step, for this attempt and all later ones. [STEP-1] [REPEAT-3]"""
    task = existing(task, command.task)
    known = task.steps.get(command.name)
    if held(task, command.fence, epoch) is None:
        if known is not None and known.fence == command.fence:
            return Repeat(known.version)
        raise lost(task, command.fence, "record a step of")
    in_place(task, "step_completed", "record a step of")
    if known is not None:
        return Repeat(known.version, task.stream_of(known.source) if known.source else None)
    _require_undo(task, command)
    require_room(task, "record a step of")
    _require_place(task, "steps", len(task.steps), STEPS_MAX, "one step may do several things")
    return (
        e.StepCompleted(
            name=command.name, fence=command.fence, result=command.result, compensation=command.compensation
        ),
    )


def put_artifact(task: TaskFold | None, command: c.PutArtifact, now_ms: int, epoch: int) -> Decision:
    """Record what the work has made, by the digest of its bytes; a later lease may replace it under the same name."""
    task = existing(task, command.task)
    known = task.artifacts.get(command.name)
    if known is not None and known.fence == command.fence:
        return Repeat(known.version)
    if held(task, command.fence, epoch) is None:
        raise lost(task, command.fence, "put an artifact of")
    in_place(task, "artifact_put", "put an artifact of")
    require_room(task, "put an artifact of")
    if known is None:
        _require_place(task, "artifacts", len(task.artifacts), ARTIFACTS_MAX, "pack several into one")
    return (
        e.ArtifactPut(
            name=command.name,
            fence=command.fence,
            digest=command.digest,
            size_bytes=command.size_bytes,
            media_type=command.media_type,
        ),
    )


def adopt_child(task: TaskFold | None, command: c.AdoptChild, now_ms: int, epoch: int) -> Decision:
    """Adopt a predecessor's child, for this attempt and all later ones. [STEP-2] [REPEAT-3]

    The operation, which reads the other tasks, checks whose child it was.
    """
    task = existing(task, command.task)
    known = task.children.get(command.name)
    if held(task, command.fence, epoch) is None:
        if known is not None and known.fence == command.fence:
            return Repeat(known.version)
        raise lost(task, command.fence, "adopt a child for")
    in_place(task, "child_adopted", "adopt a child for")
    if known is not None:
        return Repeat(known.version)
    require_room(task, "adopt a child for")
    return (e.ChildAdopted(name=command.name, fence=command.fence, task=command.child),)


def use(task: TaskFold | None, command: c.Use, now_ms: int, epoch: int) -> Decision:
    """State the whole use of a rate by this attempt; what is so already writes nothing. [LIMIT-3]"""
    task = existing(task, command.task)
    lease = held(task, command.fence, epoch)
    if lease is None:
        raise lost(task, command.fence, "state the use of a limit by")
    in_place(task, "used", "state the use of a limit by")
    account = account_of_limit(command.limit)
    taken = next((one for one in lease.uses if one.account == account), None)
    if taken is None or not command.is_rate:
        found = "it uses no such limit" if taken is None else "that limit has no rate, and its slots are taken whole"
        raise NotFound(
            f"cannot state the use of the limit {command.limit!r} by task {task.id!r}: {found}; name a limit with a "
            "rate from its `uses`",
            task=task.id,
            limit=command.limit,
        )
    if taken.units == command.units:
        return ()
    require_room(task, "state the use of a limit by")
    return (e.Used(fence=command.fence, limit=command.limit, units=command.units),)


def healthy(task: TaskFold | None, command: c.Healthy, now_ms: int, epoch: int) -> Decision:
    """Take an attempt for healthy; the operation closes the breaker of which it is the probe. [BREAKER-3]"""
    task = existing(task, command.task)
    if held(task, command.fence, epoch) is None:
        raise lost(task, command.fence, "report healthy")
    if command.limit is not None and command.limit not in (task.uses or ()):
        raise NotFound(
            f"cannot report the limit {command.limit!r} healthy by task {task.id!r}: it uses no such limit; name one "
            "of its `uses`, or leave the limit out for its queue",
            task=task.id,
            limit=command.limit,
        )
    return ()


def _require_undo(task: TaskFold, command: c.Step) -> None:
    """Require that the undo that a step names is on record before it. [WORKER-4]"""
    if command.compensation is not None and command.compensation not in task.compensations:
        raise NotFound(
            f"cannot record step {command.name!r} of task {task.id!r}: its compensation {command.compensation!r} is "
            "not on record; register it before the step's effect",
            task=task.id,
            compensation=command.compensation,
        )


def _require_place(task: TaskFold, bound: str, count: int, maximum: int, advice: str) -> None:
    """Refuse more than the bound allows, so that the fold that holds them all stays small. [BOUND-1]"""
    if count >= maximum:
        raise OverBound(
            f"task {task.id!r} has {count} {bound} and the bound is {maximum}; {advice}",
            task=task.id,
            bound=bound,
            maximum=maximum,
        )


def _step_contents(command: c.Step, event: e.Recordable, task: TaskFold) -> Contents:
    given: dict[str, Any] = {"result": command.result}
    if command.compensation is not None:
        given["compensation"] = command.compensation
    found = e.step_result(event, command.name)
    return given, {"result": found, "compensation": task.steps[command.name].compensation}


VERBS: Final = (
    Verb(c.Step, step, names("step_completed"), contents=_step_contents),
    Verb(
        c.PutArtifact,
        put_artifact,
        names("artifact_put"),
        contents=fields(("digest", "digest"), ("media_type", "media_type")),
    ),
    Verb(c.AdoptChild, adopt_child, names("child_adopted"), contents=fields(("child", "task"))),
    Verb(c.Use, use, names("used")),
    Verb(c.Healthy, healthy, names()),
)
