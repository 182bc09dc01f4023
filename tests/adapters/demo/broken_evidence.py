"""Ways in which evidence of the demo goes wrong: each makes other evidence of a good one, which stays as it is.

Rule: nothing here checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from sagalog import Fault, Recorded
from sagalog.kernel import events as e
from sagalog_cli.demo.evidence import Evidence, StepRun
from sagalog_cli.demo.tasks import FAILED, QUARANTINED, RESUMED
from tests.adapters.demo.story import FIRST_PID, SECOND, Story, tell_story

Change = Callable[[Recorded], Recorded | None]


def forged(evidence: Evidence, change: Change) -> Evidence:
    """The same with other events in its log; None takes one out."""
    log = [changed for one in evidence.log if (changed := change(one)) is not None]
    return dataclasses.replace(evidence, log=log)


def without(type: str, task: str) -> Callable[[Evidence], Evidence]:
    return lambda good: forged(good, lambda one: None if (one.type, one.stream) == (type, f"task/{task}") else one)


def with_field(type: str, task: str, **fields: Any) -> Callable[[Evidence], Evidence]:
    """The same with other fields in all events of this type in this task."""

    def change(one: Recorded) -> Recorded:
        if (one.type, one.stream) != (type, f"task/{task}"):
            return one
        return msgspec.structs.replace(one, event=msgspec.structs.replace(one.event, **fields))

    return lambda good: forged(good, change)


def undone_forwards(good: Evidence) -> Evidence:
    """The two undos of a task have changed places."""
    turned = {"delete-branch": "remove-worktree", "remove-worktree": "delete-branch"}

    def change(one: Recorded) -> Recorded:
        if not isinstance(one.event, e.CompensationDone) or one.stream != f"task/{FAILED}":
            return one
        return msgspec.structs.replace(one, event=e.CompensationDone(turned[one.event.id], one.event.fence))

    return forged(good, change)


def added(
    task: str, place: int, type: str, event: e.Recordable, actor: str = "worker:anna"
) -> Callable[[Evidence], Evidence]:
    """The same with one more event in the history of a task, before the one at `place`; -1: at its end."""

    def change(good: Evidence) -> Evidence:
        at = good.histories[task][place]
        one = msgspec.structs.replace(at, actor=actor, type=type, event=event)
        index = good.log.index(at) + (place == -1)
        return dataclasses.replace(good, log=[*good.log[:index], one, *good.log[index:]])

    return change


def one_more(act: Callable[[Story], object]) -> Callable[[Evidence], Evidence]:
    """The story with another act at its end."""

    def tell(_good: Evidence) -> Evidence:
        story = tell_story()
        act(story)
        return story.evidence()

    return tell


def left_pending(story: Story) -> None:
    story.create("forgotten")


def left_leased(story: Story) -> None:
    story.create("forgotten")
    story.lease("forgotten", SECOND)


def killed(**fields: Any) -> Callable[[Evidence], Evidence]:
    return lambda good: dataclasses.replace(good, killed=dataclasses.replace(good.killed, **fields))


def repository(**fields: Callable[[Any], Any]) -> Callable[[Evidence], Evidence]:
    """Other things on the disk: each field is made from what it was."""

    def change(good: Evidence) -> Evidence:
        changed = {name: make(getattr(good.repository, name)) for name, make in fields.items()}
        return dataclasses.replace(good, repository=dataclasses.replace(good.repository, **changed))

    return change


def ran(step: str, pid: int) -> Callable[[Evidence], Evidence]:
    return lambda good: dataclasses.replace(good, journal=[*good.journal, StepRun(RESUMED, step, pid)])


def ran_once(good: Evidence) -> Evidence:
    return dataclasses.replace(good, journal=[one for one in good.journal if one.pid == FIRST_PID])


def accepted(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late_writes={**good.late_writes, "complete": "accepted"})


def silent(good: Evidence) -> Evidence:
    return dataclasses.replace(good, late_writes={})


def other_after_rebuild(good: Evidence) -> Evidence:
    other = msgspec.structs.replace(good.rebuilt[QUARANTINED], version=99)
    return dataclasses.replace(good, rebuilt={**good.rebuilt, QUARANTINED: other})


def lost_in_rebuild(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilt={id: task for id, task in good.rebuilt.items() if id != QUARANTINED})


def unreadable(good: Evidence) -> Evidence:
    return dataclasses.replace(good, rebuilding=msgspec.structs.replace(good.rebuilding, unreadable=(QUARANTINED,)))


def damaged(good: Evidence) -> Evidence:
    fault = Fault("digest", "task/quarantined", 2, "it was changed")
    return dataclasses.replace(good, verifying=msgspec.structs.replace(good.verifying, faults=(fault,)))


def no_commits(branch: str) -> Callable[[Evidence], Evidence]:
    return repository(commits=lambda before: {**before, branch: frozenset()})
