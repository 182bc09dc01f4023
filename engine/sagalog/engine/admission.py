"""The admission of tasks under limits: which are ready, which are held back, and who comes in when units are free.

Rule: of a section, that is, a queue, a kind and a pinned build, at most as many tasks are ready under an account as
units of it are free, and at most 64; the others are held under an account that they lack [LIMIT-5]. A unit of work
moves at most 64 tasks, and leaves the rest to maintenance. A task that uses no limit never comes here. Knows no
store.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from sagalog.engine.accounts import Accounts
from sagalog.errors import Corrupt
from sagalog.kernel.accounts import account_of_key
from sagalog.kernel.bounds import CLAIM_LOOKS_MAX, LET_IN_LOOKS_MAX, MOVES_MAX, READY_MAX
from sagalog.kernel.state import TaskFold
from sagalog.kernel.values import Lack, State
from sagalog.store import Saved, View
from sagalog.store.limit_uses import Candidate, section_of
from sagalog.store.row import READY, gate_of

# The order of a task that the unit of work creates: behind all that the store has.
_NEW: Final = 2**62


class Gate(NamedTuple):
    """The gate of a task, and the account that it lacks where that is `held`."""

    name: str | None
    held: str | None = None


_READY_GATE: Final = Gate("ready")


class _Place(NamedTuple):
    """A ready task in the order of its section."""

    priority: int
    order: int
    id: str


class Admission:
    """The gates of the tasks under limits that one unit of work writes or moves.

    gates   by id: of all of these
    moved   by id: those of which the unit of work writes no event
    aside   streams that it has met and that cannot be read [LOG-5]
    """

    def __init__(self, view: View, accounts: Accounts) -> None:
        self._view = view
        self._accounts = accounts
        self.gates: dict[str, Gate] = {}
        self.moved: dict[str, Saved] = {}
        self.aside: list[str] = []
        # The streams that the store has among the ready tasks, and the unit of work takes out of there.
        self._left: set[str] = set()
        # How many others the store has there, by account and section, and the last of them; once they were asked for.
        self._counts: dict[tuple[str, str], int] = {}
        self._lasts: dict[tuple[str, str], _Place | None] = {}
        # The tasks that become ready there by the unit of work, in order.
        self._joined: dict[tuple[str, str], list[_Place]] = {}
        # Tasks of which the unit of work decides the gate, so that what the store says of them does not count.
        self._written: set[str] = set()
        # Those of them that were ready and are so still, unless a better one takes their place.
        self._kept: set[str] = set()
        self._placed: dict[str, tuple[TaskFold, _Place]] = {}
        self._created: dict[str, int] = {}
        self._moves = 0
        # How many held tasks it has looked at, whether they stay or not.
        self._looks = 0
        # The accounts under which it holds tasks that the store does not have there yet.
        self._held_under: set[str] = set()

    # --- gates ----------------------------------------------------------------------------------------------------

    def write(self, task: TaskFold, before: Saved | None) -> None:
        """Note that the unit of work writes a task, or corrects its row; `place` gives its gate afterwards.

        Where it was ready and is no longer, another one may come in.
        """
        if before is not None and before.row is not None and before.row.gate in READY:
            is_same = _is_same(task, before)
            self._leave(before.fold, is_free=task.lease is None and not is_same)
            gate = gate_of(task, self._accounts.now_ms, before.row)
            if is_same and gate in READY:
                # It keeps its place, so that no other one comes in for it.
                self._be_ready(task, gate)
                self._kept.add(task.id)
        self._accounts.touch_due(task)
        self._written.add(task.id)

    def place(self, task: TaskFold, before: Saved | None) -> None:
        """Decide the gate of a task that the unit of work writes. [LIMIT-5]"""
        if task.id in self._kept:
            return
        row = None if before is None else before.row
        gate = gate_of(task, self._accounts.now_ms, row)
        if gate not in READY:
            self.gates[task.id] = Gate(gate)
        elif before is not None and row is not None and row.gate == "held" and _is_same(task, before):
            self.gates[task.id] = Gate("held", row.held)
        else:
            lack = self._accounts.lack(task) or self._lack_of_room(task)
            if lack is None:
                self._be_ready(task, gate)
            else:
                self._be_held(task, lack)

    def hold(self, saved: Saved, lack: Lack) -> None:
        """Move a ready task that a claim meets, and may not lease, under the limit that it lacks."""
        self._leave(saved.fold, is_free=True)
        self._be_held(saved.fold, lack)
        self._move(saved)

    # --- who comes in ---------------------------------------------------------------------------------------------

    def let_in(self) -> None:
        """Let tasks in at every account that was touched; what is left is due maintenance."""
        touched = self._accounts.touched
        while touched:
            name = next(iter(touched))
            del touched[name]
            if name.startswith("queue/"):
                self._look_at_keys(name)
            else:
                self._let_in_at(name)

    def _let_in_at(self, name: str) -> None:
        sections = self._view.sections(name, CLAIM_LOOKS_MAX)
        if not sections and name not in self._held_under:
            self._accounts.be_due(name, None)
            return
        room = self._accounts.room(name)
        is_any = room is None or room > 0
        # Every section, so that none waits for another one's turn.
        is_more = [self._let_in_of(name, section) for section in sections] if is_any else []
        if any(is_more):
            self._accounts.be_due(name, self._accounts.now_ms)
        else:
            self._accounts.wait_for_time(name)

    def _let_in_of(self, name: str, section: str) -> bool:
        """Let the first tasks of a section in; return whether more of them may come in at once.

        It is more only where a look has moved as many as it may: one that finds tasks which stay finds them again.
        """
        for candidate in self._held_at(name, section):
            if self._room(name, section) <= 0 or self._looks >= LET_IN_LOOKS_MAX:
                return False
            if self._moves >= MOVES_MAX:
                return True
            id = candidate.stream.partition("/")[2]
            if id in self._written:
                continue
            self._looks += 1
            saved = self._read(candidate.stream)
            if saved is not None and saved.row is not None and (saved.row.gate, saved.row.held) == ("held", name):
                self._judge(saved, name)
        return self._moves >= MOVES_MAX

    def _held_at(self, name: str, section: str) -> Iterator[Candidate]:
        """Yield the held tasks of a section in order: first as many as there is room for, which nearly always do."""
        few = min(max(self._room(name, section), 0) + len(self._written), MOVES_MAX)
        first = self._view.in_line(name, "held", section, few) if few else ()
        yield from first
        if len(first) == few < MOVES_MAX:
            yield from self._view.in_line(name, "held", section, MOVES_MAX)[few:]

    def _judge(self, saved: Saved, name: str) -> None:
        """Let a held task in, or move it under another limit that it lacks, or leave it where it is."""
        task: TaskFold = saved.fold
        gate = gate_of(task, self._accounts.now_ms, saved.row)
        lack = (self._accounts.lack(task) or self._lack_of_room(task)) if gate in READY else None
        if lack is None:
            if gate in READY:
                self._be_ready(task, gate)
            else:
                self.gates[task.id] = Gate(gate)
        elif lack.account == name:
            self._accounts.refuse(task, lack)
            return
        else:
            self._be_held(task, lack)
        self._move(saved)

    def _look_at_keys(self, name: str) -> None:
        """Look at the next keys of a queue whose settings have changed."""
        account = self._accounts.entry(name).account
        if account.keys_after is None:
            return
        prefix = account_of_key(name.removeprefix("queue/"), "")
        keys = self._view.accounts_held(prefix, account.keys_after, MOVES_MAX)
        for one in keys:
            self._accounts.touched.setdefault(one)
        is_more = len(keys) == MOVES_MAX
        self._accounts.change(name, msgspec.structs.replace(account, keys_after=keys[-1] if is_more else None))
        self._accounts.be_due(name, self._accounts.now_ms if is_more else None)

    # --- room -----------------------------------------------------------------------------------------------------

    def _room(self, name: str, section: str) -> int:
        room = self._accounts.room(name)
        if room is None:
            return READY_MAX
        return min(room, READY_MAX) - self._ready_count(name, section)

    def _lack_of_room(self, task: TaskFold) -> Lack | None:
        """Return the account of which a section is full of tasks that come before this one; else make room for it."""
        worse: list[tuple[str, _Place]] = []
        for one in self._accounts.asked(task):
            if self._room(one.account, section_of(task)) > 0:
                continue
            last = self._last_ready(one.account, section_of(task))
            if last is None or last < self._place_of(task):
                return Lack(one.account, "units")
            worse.append((one.account, last))
        for name, place in worse:
            # One that gives way under several limits is held under the first.
            if self.gates.get(place.id, _READY_GATE).name in READY:
                self._displace(place.id, name)
        return None

    def _displace(self, id: str, name: str) -> None:
        """Hold a ready task back in favour of a better one."""
        placed = self._placed.get(id)
        if placed is not None and id not in self.moved:
            task, _ = placed
            self._leave(task, is_free=True)
            self._be_held(task, Lack(name, "units"))
            return
        saved = self.moved.get(id) or self._read(f"task/{id}")
        if saved is not None:
            self._leave(saved.fold, is_free=True)
            self._be_held(saved.fold, Lack(name, "units"))
            self._move(saved)

    def _ready_count(self, name: str, section: str) -> int:
        """Count the ready tasks of a section under an account, as the unit of work leaves them."""
        at = name, section
        if at not in self._counts:
            # More than have room are as good as all.
            self._counts[at] = self._view.count_ready(name, section, self._left, READY_MAX + 1)
        return self._counts[at] + len(self._joined.get(at, ()))

    def _last_ready(self, name: str, section: str) -> _Place | None:
        """Return the last of these tasks in their line; None: there is none."""
        at = name, section
        if at not in self._lasts:
            found = self._view.last_ready(name, section, self._left)
            self._lasts[at] = None if found is None else _place(found)
        joined = self._joined.get(at, [])[-1:]
        there = [one for one in (self._lasts[at], *joined) if one is not None]
        return max(there, default=None)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _be_ready(self, task: TaskFold, gate: str | None) -> None:
        place = self._place_of(task)
        self.gates[task.id] = Gate(gate)
        if task.id in self._placed:
            return
        self._placed[task.id] = (task, place)
        for one in self._accounts.asked(task):
            insort(self._joined.setdefault((one.account, section_of(task)), []), place)

    def _be_held(self, task: TaskFold, lack: Lack) -> None:
        assert lack.account is not None, "a paused kind holds no task back"
        self.gates[task.id] = Gate("held", lack.account)
        self._held_under.add(lack.account)
        self._accounts.refuse(task, lack)

    def _leave(self, task: TaskFold, is_free: bool) -> None:
        """Take a task out of the lines in which it is ready; another one may come in its place."""
        placed = self._placed.pop(task.id, None)
        if placed is None:
            self._left.add(f"task/{task.id}")
        for one in self._accounts.asked(task):
            at = one.account, section_of(task)
            if placed is None:
                self._counts.pop(at, None)
                self._lasts.pop(at, None)
            else:
                self._joined[at].remove(placed[1])
            if is_free:
                self._accounts.touched.setdefault(one.account)

    def _move(self, saved: Saved) -> None:
        self._moves += 1
        self.moved[saved.fold.id] = saved
        self._written.add(saved.fold.id)

    def _place_of(self, task: TaskFold) -> _Place:
        placed = self._placed.get(task.id)
        if placed is not None:
            return placed[1]
        order = self._view.order(f"task/{task.id}")
        if order is None:
            order = self._created.setdefault(task.id, _NEW + len(self._created))
        return _Place(task.priority, order, task.id)

    def _read(self, stream: str) -> Saved | None:
        """Return a task; put aside one that cannot be read. [LOG-5]"""
        try:
            saved = self._view.saved(stream)
        except Corrupt:
            self.aside.append(stream)
            return None
        return saved if saved is not None and isinstance(saved.fold, TaskFold) else None


def _place(candidate: Candidate) -> _Place:
    return _Place(candidate.priority, candidate.order, candidate.stream.partition("/")[2])


def _is_same(task: TaskFold, before: Saved) -> bool:
    """Check whether a task has the place in its line that it had before."""
    found: TaskFold = before.fold
    return task.state is State.PENDING and _line(task) == _line(found) and found.lease is None


def _line(task: TaskFold) -> tuple[object, ...]:
    return task.run_at_ms, task.queue, task.kind, task.build, task.priority, task.key, task.uses
