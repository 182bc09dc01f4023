"""Given, when, then: one task's life in the kernel, told without a store, a clock or an engine.

    given(Create(...), Acquire(...)).when(Release(task="t", fence=1), now_ms=5).then(Released(1, "release", 5))

Rule: what is expected is events, a repeat or a refusal, never the inside of a fold. Every check also sees that what was
passed in is unchanged [RECORD-3], that the verb lists what was decided, and that it can be folded [RECORD-1].
Checks raise AssertionError. A failed one names what was expected and what was found.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from sagalog.errors import SagalogError
from sagalog.kernel.commands import Command
from sagalog.kernel.decide import VERB_OF, Decision, Repeat, decide
from sagalog.kernel.events import NAMES, Recordable
from sagalog.kernel.evolve import evolve
from sagalog.kernel.state import TaskFold


@dataclass(frozen=True)
class Scenario:
    """A task as its history made it, and the time and epoch at which it is looked at.

    task     its fold; None: there is none yet
    id       its id
    now_ms   the time at which the next command comes, in milliseconds since 1970
    epoch    the epoch of the store
    """

    task: TaskFold | None = None
    id: str = "t"
    now_ms: int = 0
    epoch: int = 0

    def given(self, *history: Recordable | Command, now_ms: int | None = None, epoch: int | None = None) -> Scenario:
        """Go on with more history: events are folded as they are; commands are decided first.

        Args:
            *history: events and commands, in order.
            now_ms: the time from then on, in milliseconds since 1970; None: as before.
            epoch: the epoch from then on; None: as before.

        Raises:
            AssertionError: a command of the history is a repeat.
            SagalogError: a command of the history is refused, or an event has no place there.
        """
        after = self.at(now_ms, epoch)
        for step in history:
            decision: Decision = (step,) if isinstance(step, Recordable) else after._decide(step)
            assert not isinstance(decision, Repeat), f"{step!r} is no history: it repeats version {decision.version}"
            after = after._fold(decision)
        return after

    def at(self, now_ms: int | None = None, epoch: int | None = None) -> Scenario:
        """Move to another time, which may be earlier, or to another epoch; None leaves it as it is.

        Args:
            now_ms: in milliseconds since 1970.
            epoch: that of the store.
        """
        return replace(
            self,
            now_ms=self.now_ms if now_ms is None else now_ms,
            epoch=self.epoch if epoch is None else epoch,
        )

    def when(self, command: Command, now_ms: int | None = None, epoch: int | None = None) -> Outcome:
        """Decide a command, and give its outcome to be checked.

        Args:
            command: what is asked.
            now_ms: when, in milliseconds since 1970; None: as before.
            epoch: in which epoch; None: as before.

        Raises:
            AssertionError: the command has changed what it was decided on, or writes an event that its verb does not
                list.
        """
        before = self.at(now_ms, epoch)
        snapshot = deepcopy(before.task), deepcopy(command)
        decision: Decision | SagalogError
        try:
            decision = before._decide(command)
        except SagalogError as refusal:
            decision = refusal
        assert (before.task, command) == snapshot, f"{command!r} changed what it was decided on"
        return Outcome(before, command, decision)

    def _decide(self, command: Command) -> Decision:
        decision = decide(self.task, command, self.now_ms, self.epoch)
        written = () if isinstance(decision, Repeat) else {NAMES[type(event)] for event in decision}
        assert VERB_OF[type(command)].writes.issuperset(written), f"{command!r} writes what its verb does not list"
        return decision

    def _fold(self, events: tuple[Recordable, ...]) -> Scenario:
        task = TaskFold(self.id) if self.task is None else self.task
        for event in events:
            task = evolve(task, event, task.version + 1, self.now_ms)
        return replace(self, task=task) if events else self


@dataclass(frozen=True)
class Outcome:
    """The outcome of a command on a scenario; each `then` checks it and gives the scenario that it leads to.

    before     the scenario before the command
    command    what was asked
    decision   the events, a repeat, or the error by which it was refused
    """

    before: Scenario
    command: Command
    decision: Decision | SagalogError

    def then(self, *events: Recordable) -> Scenario:
        """Check that exactly these events follow, in this order.

        Args:
            *events: what is expected.

        Raises:
            AssertionError: they do not.
        """
        assert self.decision == events, self._found(f"the events {events!r}")
        return self.before._fold(events)

    def then_nothing(self) -> Scenario:
        """Check that the command was accepted and had nothing to write.

        Raises:
            AssertionError: it was not, or had.
        """
        assert self.decision == (), self._found("nothing to write")
        return self.before

    def then_repeat(self, version: int) -> Scenario:
        """Check that it is known as a repeat of the event at `version`; nothing is written.

        Raises:
            AssertionError: it is not.
        """
        assert self.decision == Repeat(version), self._found(f"a repeat of version {version}")
        return self.before

    def then_refused(self, error: type[SagalogError], **fields: Any) -> Scenario:
        """Check that it is refused with exactly this class and, where given, with these fields; nothing has changed.

        Args:
            error: the class.
            **fields: the fields of the error that are expected.

        Raises:
            AssertionError: it is not.
        """
        assert type(self.decision) is error, self._found(f"the refusal {error.__name__}")
        found = {name: self.decision.fields.get(name) for name in fields}
        assert found == fields, self._found(f"the refusal {error.__name__} with {fields!r}")
        return self.before

    def _found(self, expected: str) -> str:
        return f"{self.command!r}\n  expected: {expected}\n  found:    {self.decision!r}"


def given(*history: Recordable | Command, id: str = "t", now_ms: int = 0, epoch: int = 0) -> Scenario:
    """Begin a scenario with the history of one task.

    Args:
        *history: events, or commands that lead to them, in order.
        id: the id of the task.
        now_ms: the time, in milliseconds since 1970.
        epoch: the epoch of the store.

    Raises:
        AssertionError: a command of the history is a repeat.
        SagalogError: a command of the history is refused, or an event has no place there.
    """
    return Scenario(id=id, now_ms=now_ms, epoch=epoch).given(*history)
