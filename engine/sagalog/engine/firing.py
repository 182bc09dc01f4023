"""What a unit of work does for schedules: which nominal times have come, and the tasks of those that fire.

Rule: the event that settles a nominal time and its task are in one commit, and the id of the task follows from the
schedule and the time; so whichever process looks first creates it, and no other does [SCHEDULE-2]. A schedule that
cannot go on stops with a code and never holds up another [SCHEDULE-7]. Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sagalog.actors import MAINTENANCE, schedule_actor
from sagalog.engine.command_work import Maintained
from sagalog.engine.entries import CommandEntry, SettingEntry
from sagalog.engine.schedule_times import asked_of
from sagalog.engine.unit_of_work import UnitOfWork
from sagalog.errors import Corrupt, SagalogError
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import MISSED_MAX, SCHEDULES_LIMIT
from sagalog.kernel.decide.settings import decide_setting
from sagalog.kernel.state import ScheduleFold
from sagalog.kernel.values import State, TaskTemplate
from sagalog.store import Undeclared
from sagalog.store.accounts import LOOK_AGAIN_MS

_PREFIX: Final = "schedule/"


def look_at(work: UnitOfWork, accounts: Sequence[str]) -> tuple[Maintained, ...]:
    """Fire the schedules among the accounts that are due, up to the bounds of a look, and let tasks in at the others.

    Return the tasks that it has created. [SCHEDULE-6] [LIMIT-5]
    """
    created: list[Maintained] = []
    schedules = [name for name in accounts if name.startswith(_PREFIX)]
    if schedules:
        created = _fire(work, schedules)
        accounts = [name for name in accounts if not name.startswith(_PREFIX)]
    work.look_at(accounts)
    return tuple(created)


def _fire(work: UnitOfWork, names: Sequence[str]) -> list[Maintained]:
    asked: list[tuple[ScheduleFold, c.Setting]] = []
    tasks = 0
    for name in names[:SCHEDULES_LIMIT]:
        if tasks >= MISSED_MAX:
            break
        try:
            saved = work.view.saved(name)
        except Corrupt:
            # [LOG-5] Another process may be able to read it.
            work.accounts.be_due(name, work.view.now_ms + LOOK_AGAIN_MS)
            continue
        if saved is None or not isinstance(saved.fold, ScheduleFold):
            work.accounts.be_due(name, None)
            continue
        command = asked_of(saved.fold, work.view.now_ms)
        if command is None:
            # The clock was set back, or the row is not what the log gives.
            work.accounts.be_due(name, saved.fold.due_ms)
        else:
            asked.append((saved.fold, command))
            tasks += len(command.due) if isinstance(command, c.FireSchedule) else 0
    _declare(work, asked)
    created: list[Maintained] = []
    for fold, command in asked:
        if isinstance(command, c.FireSchedule):
            command, ids = _create(work, fold, command)
            created += [Maintained(id, (e.NAMES[e.Created],), str(State.PENDING)) for id in ids]
        work.set(SettingEntry(command, MAINTENANCE))
    return created


def _declare(work: UnitOfWork, asked: Iterable[tuple[ScheduleFold, c.Setting]]) -> None:
    """Ask for all streams that the schedules may read or write at once, so that one more round is enough. [BOUND-5]"""
    missing = Undeclared()
    for fold, command in asked:
        if isinstance(command, c.FireSchedule) and fold.schedule is not None:
            template = fold.schedule.template
            settings = [f"limit/{name}" for name in template.uses or ()]
            if template.key is not None or settings:
                settings.append(f"queue/{template.queue}")
            for stream in (*(f"task/{id}" for id in command.tasks), *settings):
                try:
                    work.view.saved(stream)
                except Undeclared as undeclared:
                    missing = missing.and_also(undeclared).and_also(Undeclared((f"{_PREFIX}{fold.id}",)))
                except Corrupt:
                    # [LOG-5] It exists and cannot be read, so it is not created again.
                    continue
    if missing:
        raise missing


def _create(work: UnitOfWork, fold: ScheduleFold, command: c.FireSchedule) -> tuple[c.Setting, list[str]]:
    """Create the tasks of the nominal times that fire; return what is to be put on record of the schedule, and the ids.

    A task that is refused stops the schedule, and nothing of this look is written of it. [SCHEDULE-7]
    """
    assert fold.schedule is not None
    exists = tuple([id for id in command.tasks if _exists(work, id)])
    lives = fold.task is not None and bool(work.ends((fold.task,)).live)
    command = msgspec.structs.replace(command, exists=exists, lives=lives)
    created: list[str] = []
    for place, event in enumerate(decide_setting(fold, command), start=1):
        if not isinstance(event, e.ScheduleFired):
            continue
        create = _creation(event.task, fold.schedule.template)
        cause = f"{_PREFIX}{fold.id}@{fold.version + place}"
        created.append(event.task)
        try:
            work.decide(CommandEntry(create, schedule_actor(fold.id), cause))
        except SagalogError as refusal:
            work.take_back(created)
            parameters: dict[str, str | int | tuple[str, ...]] = {"task": event.task, "refusal": refusal.code}
            return c.StopSchedule(id=fold.id, code="task_refused", parameters=parameters), []
    return command, created


def _creation(id: str, template: TaskTemplate) -> c.Create:
    return c.Create(task=id, run_at_ms=None, **msgspec.structs.asdict(template))


def _exists(work: UnitOfWork, id: str) -> bool:
    try:
        return work.task(id) is not None
    except Corrupt:
        return True
