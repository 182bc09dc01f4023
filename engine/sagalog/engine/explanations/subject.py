"""What an explanation looks at: a task, its row, the accounts that it uses, and the workers, all of one snapshot.

Rule: it reads each of them once, when it is asked for first. Knows no reason.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import msgspec

from sagalog.engine.accounts import Accounts
from sagalog.engine.workers import WorkerInfo, workers_in
from sagalog.errors import Corrupt
from sagalog.kernel.accounts import Account, account_of_queue, stream_of_account
from sagalog.kernel.state import StoreFold, TaskFold
from sagalog.kernel.values import State, Units
from sagalog.store import Saved, SavedTask, Snapshot, View
from sagalog.store.row import OPEN


class ReadView:
    """What `Accounts` asks of a view, from a snapshot: so an explanation counts as a claim does, and locks nothing."""

    def __init__(self, snapshot: Snapshot, now_ms: int) -> None:
        self._snapshot = snapshot
        self.now_ms = now_ms
        self.store: StoreFold | None = snapshot.store()

    def saved(self, stream: str, /) -> Saved | None:
        """Return a stream; raises Corrupt, but for a task, which then is none that anything waits for."""
        if not stream.startswith("task/"):
            fold: Any = self._snapshot.fold(stream)
            return None if fold is None else Saved(stream, fold)
        try:
            task = self._snapshot.task(stream.partition("/")[2])
        except Corrupt:
            return None
        return None if task is None else Saved(stream, task)

    def account(self, name: str, /) -> Account | None:
        """Return an account as the store has it."""
        return self._snapshot.account(name)

    def is_governed(self, queue: str, /) -> bool:
        """Check whether a queue has settings."""
        return self._snapshot.is_governed(queue)


class Subject:
    """One task that can be read, with all that its explanation needs."""

    def __init__(self, snapshot: Snapshot, task: TaskFold, now_ms: int, accounts: Accounts | None = None) -> None:
        self.snapshot = snapshot
        self.task = task
        self.now_ms = now_ms
        # The accounts of limits, counted as a claim counts; those of a listing are shared.
        self.accounts = accounts or Accounts(cast(View, ReadView(snapshot, now_ms)))

    @property
    def is_pending(self) -> bool:
        """Whether its forward work may begin."""
        return self.task.state is State.PENDING

    @property
    def is_free(self) -> bool:
        """Whether it lives and no worker holds it."""
        return self.task.lease is None and not self.task.is_terminal

    @property
    def is_due(self) -> bool:
        """Whether it is due; an open gate stays open where the clock was set back since."""
        return self.task.run_at_ms <= self.now_ms or self.gate in OPEN or self.gate == "held"

    @property
    def is_startable(self) -> bool:
        """Whether only limits may hold back the begin of its forward work."""
        return self.is_pending and self.task.waiting is None and self.is_due

    @cached_property
    def saved(self) -> SavedTask | None:
        """Its saved projections; None: there are none that can be read."""
        try:
            return self.snapshot.saved(f"task/{self.task.id}")
        except Corrupt:
            return None

    @property
    def gate(self) -> str | None:
        """The gate at which it is saved."""
        return None if self.saved is None else self.saved.row.gate

    @property
    def held(self) -> str | None:
        """The account under which it is held; None: under none."""
        return None if self.saved is None or self.gate != "held" else self.saved.row.held

    # --- accounts -------------------------------------------------------------------------------------------------

    @cached_property
    def is_governed(self) -> bool:
        """Whether its queue has settings."""
        return self.snapshot.is_governed(self.task.queue)

    @cached_property
    def asked(self) -> tuple[Units, ...]:
        """The units that it asks for of its named limits and its key."""
        return self.accounts.asked(self.task)

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """The streams that say what its limits allow and that cannot be read, each with the reason."""
        streams = [account_of_queue(self.task.queue)] if self.is_governed else []
        streams += [stream_of_account(one.account) for one in self.asked]
        found: dict[str, str] = {}
        for stream in dict.fromkeys(streams):
            try:
                self.accounts.settings(stream)
            except Corrupt as error:
                found[stream] = error.message
        return found

    def settings(self, stream: str) -> Any:
        """Return the fold of a stream that says what a limit allows; None: there is none that can be read."""
        return None if stream in self.unreadable else self.accounts.settings(stream)

    @cached_property
    def limited(self) -> TaskFold:
        """The task as if it used nothing of what cannot be read."""
        task = self.task
        for one in self.asked:
            if stream_of_account(one.account) in self.unreadable:
                task = without(task, one.account)
        return task

    def other(self, stream: str) -> TaskFold | None:
        """Return another task; None: it cannot be read."""
        try:
            return self.snapshot.task(stream.partition("/")[2])
        except Corrupt:
            return None

    # --- workers --------------------------------------------------------------------------------------------------

    @cached_property
    def workers(self) -> list[WorkerInfo]:
        """All workers that have a row."""
        return workers_in(self.snapshot.kept_in, self.now_ms)

    @cached_property
    def live(self) -> list[WorkerInfo]:
        """Those that were seen within 30 s and take new tasks."""
        return [one for one in self.workers if one.is_live and one.state == "working"]


def without(task: TaskFold, account: str) -> TaskFold:
    """Return the task as if it asked nothing of an account: of a named limit, or of its key."""
    category, _, name = account.partition("/")
    if category == "limit":
        uses = {limit: units for limit, units in (task.uses or {}).items() if limit != name}
        return msgspec.structs.replace(task, uses=uses or None)
    return msgspec.structs.replace(task, key=None)
