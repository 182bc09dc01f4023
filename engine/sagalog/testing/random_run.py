"""One random run: its store, its last command, and the tasks and leases that its rules pick.

Rule: it picks mostly what fits (a live lease, a task in the right state, the compensation whose turn it is) and
sometimes anything else, so that runs get far and meet refusals too. Knows no command: `machine` holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from sagalog.engine.lease import Lease
from sagalog.testing.oracle_pair import Call, NewPlace, Pair, Statistics


class Run(RuleBasedStateMachine):
    """One run over a new store; `machine` adds the rules. `statistics` are those of all runs of one machine."""

    new_place: ClassVar[NewPlace]
    crash_points: ClassVar[tuple[str, ...]] = ()
    statistics: ClassVar[Statistics]

    def __init__(self) -> None:
        super().__init__()
        self._place = type(self).new_place()
        self.pair = Pair(self._place.__enter__(), self.statistics)
        self.last: tuple[str, Call] | None = None
        self.sound = True

    def teardown(self) -> None:
        """Claim what is left at the end of a run, audit and rebuild both stores, and close them.

        Every other run rebuilds them before that too: then maintenance has to let in all that waits, and in the others
        what has happened so far.
        """
        try:
            if self.sound:
                # Before a rebuild, or an end, puts right what a call has left wrong.
                self.pair.verify()
                if len(self.pair.real_log()) % 2:
                    self.pair.rebuild()
                self.pair.drain(["default", "left", "right"])
                self.pair.finish(["default", "left", "right"])
                self.pair.audit()
                self.pair.rebuild()
        finally:
            self.pair.close()
            self._place.__exit__(None, None, None)

    @invariant()
    def both_agree(self) -> None:
        """Check after every step that both stores answer every question alike."""
        self.sound = False
        self.pair.compare()
        self.sound = True

    def run(self, verb: str, call: Call, crashes: bool = True) -> bool:
        """Carry out and remember a command."""
        self.sound = False
        self.last = (verb, call)
        succeeded = self.pair.run(verb, call, crashes)
        self.sound = True
        return succeeded

    def with_lease(self, verb: str, pick: int, use: Callable[[Lease], Any], purpose: str) -> None:
        """Carry out a verb of a live lease."""
        living = self.pair.living(purpose)
        if living:
            place = living[pick % len(living)]
            self.run(verb, lambda side: use(side.leases[place]))

    def of_newest(self, verb: str, id: str, use: Callable[[Lease], Any]) -> None:
        """Carry out a verb of the newest lease of a task."""
        places = [place for place, lease in enumerate(self.pair.oracle.leases) if lease.task.id == id]
        if places:
            self.run(verb, lambda side: use(side.leases[places[-1]]))

    def task(self, pick: int, *states: str) -> str:
        """Pick the id of a task, mostly of one in these states (none: any), newest first; rarely an unknown id."""
        folds = list(reversed(self.pair.memory.tables.folds.values()))
        fitting = [fold.id for fold in folds if not states or fold.state in states] if pick < 8 else []
        ids = fitting or [fold.id for fold in folds]
        return "nobody" if pick == 9 or not ids else ids[pick % len(ids)]

    def new_id(self) -> str:
        """Make an id that no task has, short and the same in every run of the same commands."""
        return f"t{len(self.pair.memory.tables.folds)}"

    def owed_of(self, id: str) -> list[str]:
        """List what a task owes."""
        return self.pair.memory.tables.folds[id].owed() if id in self.pair.memory.tables.folds else []

    def undo_of(self, id: str, pick: int) -> str:
        """Pick the id of a task's compensation: mostly the last that is owed, or any, settled or unknown."""
        fold = self.pair.memory.tables.folds.get(id)
        known = [] if fold is None else list(fold.compensations)
        owed = self.owed_of(id)
        if owed and pick < 6:
            return owed[-1]
        return known[pick % len(known)] if known and pick < 9 else "unheard of"

    def turn(self, pick: int) -> str:
        """Pick the id of a compensation of the task whose lease `with_lease` will use."""
        living = self.pair.living("undo")
        return self.undo_of(self.pair.oracle.leases[living[pick % len(living)]].task.id, pick)
