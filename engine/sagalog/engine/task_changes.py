"""What the steps of a unit of work change: events of tasks and of settings, accounts of limits, and dedupe keys.

Rule: each event is taken once, with all that follows from it for limits, parents and dedupe keys in the same commit
[LIMIT-5] [CANCEL-4] [DEDUPE-1]. Decides no command on a task. Knows no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sagalog.actors import MAINTENANCE
from sagalog.engine.accounts import Accounts
from sagalog.engine.admission import Admission
from sagalog.engine.breakers import Breakers, Change
from sagalog.engine.dedupes import Dedupes
from sagalog.engine.drafts import Draft
from sagalog.engine.entries import CommandEntry, SettingEntry
from sagalog.engine.parents import EndedParents
from sagalog.engine.relations import require_limit
from sagalog.engine.schedule_times import timed
from sagalog.engine.stream_appends import append_to
from sagalog.engine.task_view import TaskView
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.breakers import recordable_in
from sagalog.kernel.categories import CATEGORIES, Category
from sagalog.kernel.decide.settings import SETTING_VERB_OF, decide_setting
from sagalog.kernel.state import QueueFold, ScheduleFold, StoreFold, TaskFold
from sagalog.kernel.values import Lack
from sagalog.store import Append, Projection, Saved, View
from sagalog.store.projection import limited_projection, projection_at


class TaskChanges(TaskView):
    """The events that the steps have appended, and what has changed beside them."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._projections: dict[str, Projection] = {}
        # Where a limit counts: accounts, gates, and streams of settings.
        self._accounts: Accounts | None = None
        self._admission: Admission | None = None
        self._breakers: Breakers | None = None
        self._settings: list[Append] = []
        # A task that lacked nothing when it was asked last, while no event was taken since.
        self._may_begin: TaskFold | None = None
        self._parents = EndedParents()
        # Where a task with a dedupe key is created or ends.
        self._dedupes: Dedupes | None = None

    # --- taking events -----------------------------------------------------------------------------------------------

    def _take(self, task: TaskFold, events: tuple[e.Recordable, ...], step: CommandEntry) -> TaskFold:
        self._may_begin = None
        draft = self._drafts.get(task.id)
        if draft is None:
            draft = self._drafts[task.id] = Draft(self._load(task.id), task)
        after = draft.take(events, step, self._now_ms)
        is_amended = after.queue != task.queue or after.uses != task.uses
        if self.is_limited(after) or (is_amended and self.is_limited(task)):
            self.accounts.take_account(task, after)
            self.breakers.take(task, after, events)
        self._parents.note(task, after)
        if after.dedupe is not None:
            self.dedupes.note(task, after)
        return after

    # --- limits ------------------------------------------------------------------------------------------------------

    @property
    def accounts(self) -> Accounts:
        """The accounts of limits, as this unit of work leaves them; nearly none needs them."""
        if self._accounts is None:
            self._accounts = Accounts(self._view)
        return self._accounts

    @property
    def breakers(self) -> Breakers:
        """The breakers of limits and queues."""
        if self._breakers is None:
            self._breakers = Breakers(self.accounts, self._turn)
        return self._breakers

    @property
    def admission(self) -> Admission:
        """The gates of tasks under limits."""
        if self._admission is None:
            self._admission = Admission(self._view, self.accounts)
        return self._admission

    def is_limited(self, task: TaskFold) -> bool:
        """Check whether a limit may count for a task: one that it names, or one of its queue."""
        return task.uses is not None or self._view.is_governed(task.queue)

    def is_kind_paused(self, kind: str) -> bool:
        """Check whether a kind is paused. [PAUSE-1]"""
        store = self._view.store
        return store is not None and kind in store.paused_kinds

    def lack_of(self, task: TaskFold) -> Lack | None:
        """Return why no lease of a task for work may begin now; None: it may. [LIMIT-2] [PAUSE-1]"""
        if task is self._may_begin:
            # A claim looks at it, and then leases it.
            return None
        if self.is_kind_paused(task.kind):
            return Lack(None, "paused")
        if not self.is_limited(task):
            return None
        lack = self.accounts.lack_of_queue(task.queue) or self.accounts.lack(task)
        self._may_begin = task if lack is None else None
        return lack

    def look_at(self, accounts: Sequence[str]) -> None:
        """Let tasks in at accounts that are due. [LIMIT-5]"""
        for name in accounts:
            self.accounts.be_due(name, None)
            self.accounts.touched.setdefault(name)

    def set(self, entry: SettingEntry) -> Any:
        """Carry out a command on the stream of a limit, a queue or the store; return its fold afterwards. [LIMIT-1]"""
        command = entry.command
        category = CATEGORIES[SETTING_VERB_OF[type(command)].category]
        stream = category.stream(command.id)
        saved = self._view.saved(stream)
        fold = category.begin(command.id) if saved is None else saved.fold
        if isinstance(command, c.RemoveLimit):
            user = self._view.any_of(stream)
            command = msgspec.structs.replace(command, in_use=user and user.partition("/")[2])
        elif isinstance(command, c.SetSchedule | c.ResumeSchedule):
            command = self._with_times(fold, command)
        events = decide_setting(fold, command)
        if not events:
            return fold
        expected = fold.version
        fold = self._append_setting(category, fold, events, entry.actor)
        if isinstance(fold, ScheduleFold):
            self.accounts.be_due(stream, fold.due_ms)
        elif not isinstance(fold, StoreFold):
            self.accounts.set(stream, fold)
            if isinstance(fold, QueueFold) and expected == 0:
                running = self._view.running(fold.id)
                self.accounts.seed(running)
                self._projections.update((one.stream, _governed(one)) for one in running)
        return fold

    def _with_times(self, fold: ScheduleFold, command: c.SetSchedule | c.ResumeSchedule) -> c.Setting:
        """Fill in the times of a schedule that begins, or goes on; require the limits of its tasks. [SCHEDULE-1]"""
        if isinstance(command, c.SetSchedule):
            for name, units in (command.schedule.template.uses or {}).items():
                saved = self._view.saved(f"limit/{name}")
                require_limit(saved, f"schedule {command.id!r}", name, units, schedule=command.id)
        return timed(fold, command, self._now_ms)

    def _turn(self, stream: str, change: Change, cause: str) -> None:
        """Append the change of a breaker to the stream of its limit or queue. [BREAKER-2]"""
        category = CATEGORIES[stream.partition("/")[0]]
        event = recordable_in(category.name, change)
        fold = self._append_setting(category, self.accounts.settings(stream), (event,), MAINTENANCE, cause)
        self.accounts.turn(stream, fold)

    def _append_setting(
        self,
        category: Category[Any],
        fold: Any,
        events: Sequence[e.Recordable],
        actor: str | None,
        cause: str | None = None,
    ) -> Any:
        """Append events to a stream that is no task's, and what carries its fold; return the fold. [CARRY-1]"""
        fold, append = append_to(category, fold, events, self._now_ms, actor, cause)
        self._settings.append(append)
        return fold

    def _project_at(
        self, fold: TaskFold, gate: str | None, held: str | None = None, awaited: tuple[str, ...] | None = None
    ) -> Projection:
        """Project a task at a gate, with its places under limits."""
        if not self.is_limited(fold):
            return projection_at(fold, gate, awaited=awaited)
        return limited_projection(fold, gate, held, self._view.is_governed(fold.queue), awaited=awaited)

    # --- dedupe keys -------------------------------------------------------------------------------------------------

    @property
    def dedupes(self) -> Dedupes:
        """The dedupe keys, as this unit of work leaves them; nearly none needs them."""
        if self._dedupes is None:
            self._dedupes = Dedupes(self._view, self.task)
        return self._dedupes


def _governed(saved: Saved) -> Projection:
    """Project a running task whose queue has settings from now on."""
    look_ms = None if saved.row is None else saved.row.check_ms
    return limited_projection(saved.fold, None, None, True, look_ms=look_ms)
