"""The steps of one attempt: those on record, those that it has asked for, and the order in which they may come.

Rule: the name identifies a step [STEP-1]; only a strict handler has to follow the order of the history and ask for all
of it [WORKER-4]. It must not know leases and stores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sagalog.errors import OverBound
from sagalog.kernel.bounds import STEPS_MAX
from sagalog.outcomes import StepMismatch


class Steps:
    """The steps that an attempt asks for. Threads may share it.

    recorded   names of those on record when the attempt began, in order
    strict     refuse a step if the history has another one at this place
    """

    def __init__(self, task: str, recorded: Iterable[str], strict: bool) -> None:
        self._task = task
        self._strict = strict
        self._guard = threading.Lock()
        self._recorded = set(recorded)
        # The steps on record that the attempt has not asked for yet.
        self._unmet = dict.fromkeys(recorded)
        self._asked: set[str] = set()
        self._taken = len(self._recorded)
        # The steps whose functions have begun and that are not on record.
        self._begun: dict[str, None] = {}
        self._is_closed = False

    def allow_any_order(self) -> None:
        """Let a strict handler ask in another order than the record: coroutines run several steps at a time."""
        self._strict = False

    def ask(self, name: str) -> bool:
        """Ask for a step; tell whether it is on record.

        Raises:
            StepMismatch: the attempt has asked for it already, or a strict handler's history has another one here.
            OverBound: the task may have no more steps; nothing has been done then. [BOUND-1]
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
        """Note that the function of a step begins now; False: none may begin any more."""
        with self._guard:
            if not self._is_closed:
                self._begun[name] = None
            return not self._is_closed

    def record(self, name: str) -> None:
        """Note that the result of a step is on record."""
        with self._guard:
            self._begun.pop(name, None)

    def close(self) -> list[str]:
        """Let no function begin from now on; return the steps that have begun and are not known to be on record.

        A step whose result is being written at this moment is among them: the store decides which came first.
        """
        with self._guard:
            self._is_closed = True
            return list(self._begun)

    def drop(self, name: str) -> None:
        """Forget that the attempt has asked for a step: it failed, so the attempt may ask again."""
        with self._guard:
            self._begun.pop(name, None)
            if name in self._asked:
                self._asked.discard(name)
                self._taken -= name not in self._recorded

    def reopen(self, name: str) -> None:
        """Let the attempt ask again for a step that is on record by now and whose result no caller got."""
        with self._guard:
            self._asked.discard(name)
            self._recorded.add(name)

    def unmet(self) -> list[str]:
        """Return the steps on record that the attempt has not asked for, in order."""
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
