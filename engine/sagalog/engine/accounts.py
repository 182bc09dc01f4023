"""The accounts of limits within a unit of work: what is free, what a lease takes, and what its end gives back.

Rule: an account changes only with the events of the same commit, and by what follows from them for maintenance
[LIMIT-7]. `admission` decides from them which tasks are ready. Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from sagalog.kernel.accounts import Account, Refusal, account_of_queue, stream_of_account
from sagalog.kernel.bounds import LINE_LOOK_MS, READY_MAX
from sagalog.kernel.state import LimitFold, QueueFold, TaskFold
from sagalog.kernel.values import BreakerState, Lack, LeaseRecord, Limit, State, Units
from sagalog.store import Saved, View
from sagalog.store.accounts import breaker_of, is_of_schedule, is_paused, limit_of
from sagalog.store.limit_uses import asked_of, leased_of


class Entry:
    """An account as a unit of work leaves it.

    before      as the store has it
    account     as it is now; a rate has what it had when it was charged last, or set
    limit       what it allows
    is_paused   whether its limit or its key is paused
    breaker     the state of its breaker; None: it has none [BREAKER-1]
    """

    __slots__ = ("_free", "_free_of", "account", "before", "breaker", "is_paused", "limit")

    def __init__(self, account: Account) -> None:
        self.before = self.account = account
        # What was free of which account, since a unit of work asks several times before anything changes.
        self._free: int | None = None
        self._free_of: Account | None = None
        self.limit = Limit()
        self.is_paused = False
        self.breaker: BreakerState | None = None

    def govern(self, name: str, settings: LimitFold | QueueFold | None) -> None:
        """Take what the settings of its stream say of the account."""
        self.limit, self.is_paused = limit_of(name, settings), is_paused(name, settings)
        self.breaker = breaker_of(name, settings)
        self._free_of = None

    def at(self, now_ms: int) -> Account:
        """Return the account as time leaves it."""
        return self.account.at(self.limit.rate, now_ms)

    def free(self, now_ms: int) -> int | None:
        """Return how many units a task may take; None: any number."""
        if self._free_of is not self.account:
            is_closed = self.is_paused or (self.breaker is not None and self.breaker.lets_none(now_ms))
            self._free = 0 if is_closed else self.at(now_ms).free(self.limit)
            self._free_of = self.account
        return self._free

    def room(self, now_ms: int) -> int | None:
        """Return for how many tasks a section has room: one where the breaker lets a probe through. [LIMIT-5]"""
        free = self.free(now_ms)
        if self.breaker is None or not self.breaker.may_probe(now_ms):
            return free
        return 1 if free is None else min(free, 1)


class _Mark(NamedTuple):
    """The accounts and the settings as they were at some point of a unit of work."""

    accounts: Mapping[str, Account]
    settings: Mapping[str, Any]


class Accounts:
    """The accounts that one unit of work reads and changes.

    touched   the names of those at which a task may come in by what has changed
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.now_ms = view.now_ms
        self._entries: dict[str, Entry] = {}
        self._settings: dict[str, Any] = {}
        self._asked: dict[Any, tuple[Units, ...]] = {}
        self.touched: dict[str, None] = {}

    # --- what there is --------------------------------------------------------------------------------------------

    def entry(self, name: str) -> Entry:
        """Return an account with what its limit allows."""
        found = self._entries.get(name)
        if found is None:
            # [LOG-5] A schedule limits nothing, so its account needs no stream that can be read.
            settings = None if is_of_schedule(name) else self.settings(stream_of_account(name))
            found = self._entries[name] = Entry(self._view.account(name) or Account())
            found.govern(name, settings)
        return found

    def settings(self, stream: str) -> LimitFold | QueueFold | None:
        """Return the fold of the stream that says what an account allows; None: there is none."""
        if stream not in self._settings:
            saved = self._view.saved(stream)
            self._settings[stream] = None if saved is None else saved.fold
        found: LimitFold | QueueFold | None = self._settings[stream]
        return found

    def room(self, name: str) -> int | None:
        """Return for how many tasks of each section an account has room now; None: any number. [LIMIT-5]"""
        return self.entry(name).room(self.now_ms)

    def asked(self, task: TaskFold) -> tuple[Units, ...]:
        """Return the units that a task asks of its named limits and its key."""
        # A unit of work asks this about ten times for each task.
        key = task.queue, task.key, None if task.uses is None else (*task.uses.items(),)
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = asked_of(task, self._view.is_governed(task.queue))
        return found

    def is_kind_paused(self, kind: str) -> bool:
        """Check whether a kind is paused. [PAUSE-1]"""
        store = self._view.store
        return store is not None and kind in store.paused_kinds

    def lack_of_queue(self, queue: str) -> Lack | None:
        """Return why a queue is closed for claims for work; None: it is open. [LIMIT-2] [PAUSE-1]"""
        if not self._view.is_governed(queue):
            return None
        name = account_of_queue(queue)
        settings = self.settings(name)
        if isinstance(settings, QueueFold) and settings.paused:
            return Lack(name, "paused")
        entry = self.entry(name)
        if entry.breaker is not None and entry.breaker.lets_none(self.now_ms):
            return Lack(name, "breaker")
        free = entry.free(self.now_ms)
        return Lack(name, "units") if free is not None and free < 1 else None

    def lack(self, task: TaskFold) -> Lack | None:
        """Return what a task lacks of its named limits and its key; None: nothing. [LIMIT-2]"""
        for one in self.asked(task):
            if (lack := self._lack_at(task, one)) is not None:
                return lack
        return None

    def units(self, task: TaskFold) -> tuple[Units, ...]:
        """Return the units that a lease takes: of named limits, and of those of its queue and its key, if any."""
        asked = self.asked(task)
        if self._view.is_governed(task.queue):
            asked = (Units(account_of_queue(task.queue), 1), *asked)
        taken = [(one, self.entry(one.account)) for one in asked]
        return tuple(
            Units(one.account, entry.limit.needed(one.units), self._generation(one.account, entry))
            for one, entry in taken
            if entry.limit.most is not None or entry.breaker is not None or one.account.startswith("limit/")
        )

    def _generation(self, name: str, entry: Entry) -> int | None:
        """Return the generation of a lease that begins; of a probe it is the one that begins with it. [BREAKER-3]"""
        if entry.breaker is None:
            return None
        settings = self.settings(name)
        assert settings is not None, "a breaker is part of the settings"
        return settings.version + 1 if entry.breaker.may_probe(self.now_ms) else entry.breaker.generation

    def _lack_at(self, task: TaskFold, asked: Units) -> Lack | None:
        name, entry = asked.account, self.entry(asked.account)
        if entry.is_paused:
            return Lack(name, "paused")
        if entry.breaker is not None and entry.breaker.lets_none(self.now_ms):
            return Lack(name, "breaker")
        free = entry.free(self.now_ms)
        if free is None:
            return None
        if free < entry.limit.needed(asked.units):
            return Lack(name, "units")
        if entry.account.refused and self._is_passed(task, name):
            return Lack(name, "line")
        return None

    # --- who may pass whom ----------------------------------------------------------------------------------------

    def _is_passed(self, task: TaskFold, name: str) -> bool:
        """Check whether a task would pass one that is first in line. [LIMIT-6]

        Of two tasks that are first in line at different accounts, the one that was refused earlier goes first: else
        each would hold up the other.
        """
        first = self._first_in_line(name)
        if first is None or first.task == task.id:
            return False
        mine = [self.entry(one.account).account.first_in_line(self.now_ms) for one in self.asked(task)]
        ahead = [one for one in mine if one is not None and one.task == task.id]
        return all((one.since_ms, one.task) > (first.since_ms, first.task) for one in ahead)

    def _first_in_line(self, name: str) -> Refusal | None:
        """Return the refusal of the first in line, unless it is paused, lacks something else, or asks no more."""
        first = self.entry(name).account.first_in_line(self.now_ms)
        if first is None:
            return None
        saved = self._view.saved(f"task/{first.task}")
        task = None if saved is None else saved.fold
        if not isinstance(task, TaskFold) or task.state is not State.PENDING or task.waiting is not None:
            self.change(name, self.entry(name).account.forget(first.task))
            return self._first_in_line(name)
        if task.run_at_ms > self.now_ms or self.is_kind_paused(task.kind) or self.lack_of_queue(task.queue) is not None:
            return None
        others = [one for one in self.asked(task) if one.account != name]
        return None if any(self._has_too_few(one) for one in others) else first

    def _has_too_few(self, asked: Units) -> bool:
        entry = self.entry(asked.account)
        free = entry.free(self.now_ms)
        return free is not None and free < max(entry.limit.needed(asked.units), 1)

    # --- what changes ---------------------------------------------------------------------------------------------

    def change(self, name: str, account: Account) -> None:
        """Set an account."""
        self.entry(name).account = account

    def mark(self) -> _Mark:
        """Return all accounts and settings as they are now, for `go_back`."""
        return _Mark({name: entry.account for name, entry in self._entries.items()}, dict(self._settings))

    def go_back(self, mark: _Mark) -> None:
        """Take back every change since the mark."""
        self._settings.update(mark.settings)
        for name, entry in self._entries.items():
            entry.account = mark.accounts.get(name, entry.before)
            if (stream := stream_of_account(name)) in mark.settings:
                entry.govern(name, mark.settings[stream])

    def take_account(self, before: TaskFold, after: TaskFold) -> None:
        """Take account of a task that has changed: its lease ends, begins, or states what it has used. [LIMIT-2]"""
        old, new = _work_lease(before), _work_lease(after)
        if old is not None and (new is None or new.fence != old.fence):
            for one in leased_of(before, self._view.is_governed(before.queue)):
                self.change(one.account, self.entry(one.account).account.give_back(one.units))
                self.touched.setdefault(one.account)
        if new is not None and (old is None or new.fence != old.fence):
            self._charge(after, new)
        elif new is not None and old is not None and new.uses != old.uses:
            self._correct(old, new)
        asked = self.asked(before)
        still = {one.account for one in self.asked(after)} if asked and after.state is State.PENDING else ()
        for one in asked:
            if one.account not in still:
                self._leave_line(one.account, before.id)

    def _leave_line(self, name: str, task: str) -> None:
        """Forget the refusal of a task that no longer asks; those that it let not pass may come in. [LIMIT-6]"""
        account = self.entry(name).account
        if account.refused and (left := account.forget(task)) is not account:
            self.change(name, left)
            self.touched.setdefault(name)

    def _charge(self, task: TaskFold, lease: LeaseRecord) -> None:
        recorded = {one.account for one in lease.uses}
        for one in leased_of(task, self._view.is_governed(task.queue)):
            entry = self.entry(one.account)
            if one.account in recorded:
                self.change(one.account, entry.at(self.now_ms).take(one.units))
            else:
                self.change(one.account, _with_slots(entry.account, one.units))
            free = entry.free(self.now_ms)
            if free is None or free >= READY_MAX:
                # The section of a leased task was full at `READY_MAX`: another may come in.
                self.touched.setdefault(one.account)
            elif entry.account.due_ms is not None and not entry.account.is_due(self.now_ms):
                self.wait_for_time(one.account)

    def _correct(self, old: LeaseRecord, new: LeaseRecord) -> None:
        """Charge the stated use of a rate in place of what was charged before. [LIMIT-3]"""
        earlier = {one.account: one.units for one in old.uses}
        for one in new.uses:
            if one.units != earlier[one.account]:
                account = self.entry(one.account).at(self.now_ms).correct(one.units, earlier[one.account])
                self.change(one.account, account)
                self.touched.setdefault(one.account)

    def set(self, stream: str, fold: LimitFold | QueueFold) -> None:
        """Take account of new settings: what is allowed from now on, and who may come in by that. [LIMIT-1]"""
        entry = self.entry(stream)
        self._settings[stream] = fold
        self._entries = {name: one for name, one in self._entries.items() if stream_of_account(name) != stream}
        self._entries[stream] = entry
        self._govern(entry, stream, fold)
        if entry.account.rate is not None:
            entry.account = entry.at(self.now_ms)
        if isinstance(fold, QueueFold):
            # Every key of the queue may have more by now: maintenance looks at all that hold tasks back.
            entry.account = msgspec.structs.replace(entry.account, keys_after="")
        self.touched.setdefault(stream)

    def fail(self, name: str, failures: int) -> None:
        """Note how many leases have failed in a row at a breaker."""
        account = self.entry(name).account
        if account.failures != failures:
            self.change(name, msgspec.structs.replace(account, failures=failures))

    def is_unchanged(self, stream: str) -> bool:
        """Check whether the breaker of a stream is still in the generation in which the store has it."""
        saved, state = self._view.saved(stream), self.entry(stream).breaker
        return saved is not None and state is not None and saved.fold.breaker_state.generation == state.generation

    def turn(self, stream: str, fold: LimitFold | QueueFold) -> None:
        """Take account of a breaker that has opened, let a probe through, or closed: who may come in by that."""
        entry = self.entry(stream)
        self._settings[stream] = fold
        self._govern(entry, stream, fold)
        if entry.account.rate is not None:
            # As by every event of its stream, so that the log gives the same account.
            entry.account = entry.at(self.now_ms)
        self.touched.setdefault(stream)

    def _govern(self, entry: Entry, stream: str, fold: LimitFold | QueueFold) -> None:
        """Take new settings; what has failed in another generation of the breaker counts no more. [BREAKER-2]"""
        before = None if entry.breaker is None else entry.breaker.generation
        entry.govern(stream, fold)
        if entry.account.failures and (entry.breaker is None or entry.breaker.generation != before):
            entry.account = msgspec.structs.replace(entry.account, failures=0)

    def seed(self, running: Iterable[Saved]) -> None:
        """Count the leases that live in a queue which has settings from now on. [LIMIT-1]"""
        for saved in running:
            task: TaskFold = saved.fold
            recorded = set() if task.lease is None else {one.account for one in task.lease.uses}
            for one in leased_of(task, is_governed=True):
                if one.account not in recorded:
                    self.change(one.account, _with_slots(self.entry(one.account).account, one.units))

    def refuse(self, task: TaskFold, lack: Lack) -> None:
        """Note what a task lacks: a larger one is in line from now on, and time may give units."""
        name = lack.account
        assert name is not None
        entry = self.entry(name)
        asked = sum(one.units for one in self.asked(task) if one.account == name)
        if lack.why == "units" and entry.limit.slots is not None and entry.limit.needed(asked) > 1:
            self.change(name, entry.account.refuse(task.id, self.now_ms))
        if not entry.account.is_due(self.now_ms):
            # One that is due already keeps its time: a look has still to give away what is free.
            self.wait_for_time(name)

    def touch_due(self, task: TaskFold) -> None:
        """Have those who wait at due accounts of a task come in before it: time has freed units for them. [LIMIT-5]"""
        for one in self.asked(task):
            if self.entry(one.account).account.is_due(self.now_ms):
                self.touched.setdefault(one.account)

    def wait_for_time(self, name: str) -> None:
        """Have maintenance look at an account that holds tasks back when time gives it a unit, or lets it probe."""
        entry = self.entry(name)
        state = entry.breaker
        if state is not None and state.lets_none(self.now_ms):
            # The end of a probe lets others in.
            self.be_due(name, state.until_ms if state.mode == "open" else None)
            return
        account = entry.at(self.now_ms)
        free = account.free(entry.limit)
        due_ms = None
        if not entry.is_paused and free is not None and free < READY_MAX:
            due_ms = account.refilled_ms(entry.limit, max(free, 0) + 1)
        if account.first_in_line(self.now_ms) is not None:
            # [LIMIT-6] Whether others may pass it depends on what it lacks elsewhere, of which no event is here.
            look_ms = self.now_ms + LINE_LOOK_MS
            if account.due_ms is not None and account.due_ms > self.now_ms:
                # A look that is to come is not put off by each lease.
                look_ms = min(look_ms, account.due_ms)
            due_ms = look_ms if due_ms is None else min(due_ms, look_ms)
        self.be_due(name, due_ms)

    def be_due(self, name: str, due_ms: int | None) -> None:
        """Have maintenance look at an account from a time on; None: not because of time."""
        account = self.entry(name).account
        since_ms = None if due_ms is None else self.now_ms
        if account.due_ms != due_ms or (account.since_ms or 0) > self.now_ms:
            self.change(name, msgspec.structs.replace(account, due_ms=due_ms, since_ms=since_ms))

    def changed(self) -> tuple[tuple[str, Account], ...]:
        """Return the accounts that differ from what the store has, by name."""
        return tuple(
            (name, entry.account) for name, entry in sorted(self._entries.items()) if entry.account != entry.before
        )


def _work_lease(task: TaskFold) -> LeaseRecord | None:
    """Return the lease of a running task: undo takes no units. [LIMIT-2]"""
    return task.lease if task.state is State.RUNNING else None


def _with_slots(account: Account, units: int) -> Account:
    return msgspec.structs.replace(account, slots_used=account.slots_used + units)
