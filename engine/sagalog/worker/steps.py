"""The steps of one attempt: which are on record, which it has asked for, and in which order they may come.

Rule: a step is identified by its name [STEP-1]; only a handler that asked for strictness is held to the order of the
history and to all of it [WORKER-4]. Knows neither lease nor store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sagalog.errors import OverBound
from sagalog.kernel.bounds import STEPS_MAX
from sagalog.outcomes import StepMismatch


class Steps:
    """The steps that an attempt asks for. Safe to share between threads.

    recorded   names of those on record when the attempt began, in order
    strict     refuse a step where the history has another one
    """

    def __init__(self, task: str, recorded: Iterable[str], strict: bool) -> None:
        self._task = task
        self._strict = strict
        self._guard = threading.Lock()
        self._recorded = set(recorded)
        # What is on record and was not asked for yet.
        self._unmet = dict.fromkeys(recorded)
        self._asked: set[str] = set()
        self._taken = len(self._recorded)
        # Those whose functions have begun and that are not on record.
        self._begun: dict[str, None] = {}
        self._is_closed = False

    def allow_any_order(self) -> None:
        """Let a strict handler ask in another order than is on record: coroutines run several steps at a time."""
        self._strict = False

    def ask(self, name: str) -> bool:
        """Ask for a step; whether it is on record.

        Raises:
            StepMismatch: it was asked for already, or a strict handler's history has another one here.
            OverBound: it would be one more than a task may have; nothing has been done then. [BOUND-1]
        """
        with self._guard:
            if name in self._asked:
                raise StepMismatch(f"step {name!r} is asked for twice: give every step a name of its own")
            if self._strict and self._unmet and next(iter(self._unmet)) != name:
                raise StepMismatch(
                    f"step {name!r} comes now, where the history has {next(iter(self._unmet))!r}: the code is not the "
                    "one that began this task; deploy the version that began it, and retry the task as new"
                )
            is_known = name in self._recorded
            if not is_known:
                self._require_place(name)
            self._asked.add(name)
            self._unmet.pop(name, None)
        return is_known

    def begin(self, name: str) -> bool:
        """Take note that the function of a step begins now; False: none may begin any more."""
        with self._guard:
            if not self._is_closed:
                self._begun[name] = None
            return not self._is_closed

    def record(self, name: str) -> None:
        """Take note that the result of a step is on record."""
        with self._guard:
            self._begun.pop(name, None)

    def close(self) -> list[str]:
        """Let no function begin from now on; the steps that have begun and are not known to be on record.

        One whose result is being written at this moment is among them: the store knows which came first.
        """
        with self._guard:
            self._is_closed = True
            return list(self._begun)

    def drop(self, name: str) -> None:
        """Forget that a step was asked for: it failed, so it may be asked for again."""
        with self._guard:
            self._begun.pop(name, None)
            if name in self._asked:
                self._asked.discard(name)
                self._taken -= name not in self._recorded

    def leave(self, name: str) -> None:
        """Forget that a step was asked for, and know that it is on record: no caller was given its result."""
        with self._guard:
            self._asked.discard(name)
            self._recorded.add(name)

    def unmet(self) -> list[str]:
        """The steps on record that were not asked for, in order."""
        with self._guard:
            return list(self._unmet)

    def _require_place(self, name: str) -> None:
        if self._taken >= STEPS_MAX:
            raise OverBound(
                f"step {name!r} is not begun: task {self._task!r} has {self._taken} steps and the bound is "
                f"{STEPS_MAX:,}; one step may do several things, or go on in a child",
                task=self._task,
                bound="steps",
                maximum=STEPS_MAX,
            )
        self._taken += 1
