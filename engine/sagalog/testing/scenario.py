"""Given, when, then: tests of one task's life in the kernel, without a store, a clock or an engine.

    given(Create(...), Acquire(...)).when(Release(task="t", fence=1), now_ms=5).then(Released(1, "release", 5))

Rule: a test expects events, a repeat or a refusal, never the inside of a fold. Every check also makes sure that its
arguments are unchanged [RECORD-3], that the verb lists the events, and that they can be folded [RECORD-1].
Checks raise AssertionError and name what was expected and what was found. Knows no store.
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
    """A task as its history made it (`task` None: there is none yet), and the time and epoch at which it stands."""

    task: TaskFold | None = None
    id: str = "t"
    now_ms: int = 0
    epoch: int = 0

    def given(self, *history: Recordable | Command, now_ms: int | None = None, epoch: int | None = None) -> Scenario:
        """The scenario after more history: events are folded as they are; commands are decided first.

        Raises:
            AssertionError: a command of the history is a repeat.
            SagalogError: a command of the history is refused, or an event cannot stand there.
        """
        after = self.at(now_ms, epoch)
        for step in history:
            decision: Decision = (step,) if isinstance(step, Recordable) else after._decide(step)
            assert not isinstance(decision, Repeat), f"{step!r} is no history: it repeats version {decision.version}"
            after = after._fold(decision)
        return after

    def at(self, now_ms: int | None = None, epoch: int | None = None) -> Scenario:
        """The same task at another time, which may be earlier, or in another epoch; None leaves it as it is."""
        return replace(
            self,
            now_ms=self.now_ms if now_ms is None else now_ms,
            epoch=self.epoch if epoch is None else epoch,
        )

    def when(self, command: Command, now_ms: int | None = None, epoch: int | None = None) -> Outcome:
        """What `command` comes to."""
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
    """What a command came to on `before`: events, a repeat, or the error it was refused with.

    Each `then` checks it and gives the scenario that it leads to, so that a story can go on.
    """

    before: Scenario
    command: Command
    decision: Decision | SagalogError

    def then(self, *events: Recordable) -> Scenario:
        """Exactly these events follow, in this order."""
        assert self.decision == events, self._found(f"the events {events!r}")
        return self.before._fold(events)

    def then_nothing(self) -> Scenario:
        """Accepted, and there was nothing to write."""
        assert self.decision == (), self._found("nothing to write")
        return self.before

    def then_repeat(self, version: int) -> Scenario:
        """Recognised as a repeat of the event at `version`; nothing is written."""
        assert self.decision == Repeat(version), self._found(f"a repeat of version {version}")
        return self.before

    def then_refused(self, error: type[SagalogError], **fields: Any) -> Scenario:
        """Refused with exactly this class and, where given, with these fields; nothing has changed."""
        assert type(self.decision) is error, self._found(f"the refusal {error.__name__}")
        found = {name: self.decision.fields.get(name) for name in fields}
        assert found == fields, self._found(f"the refusal {error.__name__} with {fields!r}")
        return self.before

    def _found(self, expected: str) -> str:
        return f"{self.command!r}\n  expected: {expected}\n  found:    {self.decision!r}"


def given(*history: Recordable | Command, id: str = "t", now_ms: int = 0, epoch: int = 0) -> Scenario:
    """A scenario that begins with this history of the task `id`: events, or commands that lead to them."""
    return Scenario(id=id, now_ms=now_ms, epoch=epoch).given(*history)
