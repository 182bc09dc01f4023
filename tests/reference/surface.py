"""Which names are public, and under which headings they are told.

Rule: a public module says itself which names are public, by `__all__`; a test compares that with what is listed here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

from sagalog import SagalogError


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Public modules in the order of the reference; of each the headings, and which names come under them in which order.
# A module without headings is one list, in the order of its `__all__`.
MODULES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "sagalog": {
        "Opening a store": _words("open"),
        "Engine, leases, batches, subscriptions": _words("Engine Lease Renewal Batch Subscription"),
        "Journals": _words("Journal JournalReader JournalEntry JournalCursor JournalInfo"),
        "What callers give": _words("Compensation Retry Rate Breaker Dedupe Failure UnrecordedStep"),
        "What callers read": _words("""
            Task State TaskCompensation TaskWait Policy LeaseRecord Units Input Artifact WaitOutcome LimitStatus
            QueueStatus BreakerStatus ScheduleStatus Pause Explanation Reason Recorded Envelope
        """),
        "Looking after a store": _words("""
            Maintained Health FileHealth UnclaimedUndo PinnedTasks Progress VerifyReport Fault RebuildReport
            PruneReport            WorkerInfo FailedPreflight
        """),
        "Worker": _words("Worker"),
        "Outcomes of a handler": _words("""
            Outcome Failed Transient Permanent ChildFailed Quarantine StepMismatch Park Interrupted
        """),
    },
    "sagalog.worker": {
        "Contexts of handlers": _words("Context WorkContext UndoContext AsyncContext AsyncWorkContext"),
        "Journals of handlers": _words("TaskJournal AsyncTaskJournal"),
        "Numbers of a run": _words("WorkerStats"),
    },
    "sagalog.aio": {},
    "sagalog_queue": {},
    "sagalog_command": {},
    "sagalog_http": {},
    "sagalog_pytest": {},
    "sagalog.testing": {},
    "sagalog.store": {},
}
# Public names that a module's `__all__` leaves out: `open` would hide Python's own where all names are imported.
_LEFT_OUT: Final[Mapping[str, tuple[str, ...]]] = {"sagalog": ("open",)}


@dataclass(frozen=True)
class Name:
    """One public name: the module that shows it, and what it names; of a fixture of pytest, its function."""

    module: str
    name: str
    found: Any
    is_fixture: bool = False

    @property
    def title(self) -> str:
        """How the reference calls it: `Engine`, `aio.AsyncEngine`, `sagalog_queue.Queue`."""
        return f"{self.module}.{self.name}".removeprefix("sagalog.")

    @property
    def heading(self) -> str:
        """The heading of its section; one that is no class and no call says so, as two names may differ in case."""
        if self.is_fixture:
            return f"`{self.title}` (fixture)"
        return f"`{self.title}`" if self.is_class or self.is_call else f"`{self.title}` (constant)"

    @property
    def is_class(self) -> bool:
        """Whether it is a class, of errors too."""
        return inspect.isclass(self.found)

    @property
    def is_error(self) -> bool:
        """Whether it is an error of `sagalog.errors`: those have a table of their own."""
        return inspect.isclass(self.found) and issubclass(self.found, SagalogError)

    @property
    def is_call(self) -> bool:
        """Whether it is a function."""
        return inspect.isfunction(self.found)


@cache
def module_of(name: str) -> ModuleType:
    """The module of a name."""
    return importlib.import_module(name)


@cache
def shown_by(module: str) -> tuple[str, ...]:
    """The public names of a module, as the module itself says."""
    shown: list[str] = [*_LEFT_OUT.get(module, ()), *module_of(module).__all__]
    return tuple(shown)


def headings_of(module: str) -> dict[str, list[Name]]:
    """The headings of a module, each with its names; errors have none."""
    headings = MODULES[module] or {"": shown_by(module)}
    return {
        heading: [one for one in (name_of(module, name) for name in names) if not one.is_error and _is_new(one)]
        for heading, names in headings.items()
    }


def name_of(module: str, name: str) -> Name:
    """A public name of a module."""
    found = getattr(module_of(module), name)
    is_fixture = hasattr(found, "__wrapped__") and not (inspect.isfunction(found) or inspect.isclass(found))
    return Name(module, name, inspect.unwrap(found) if is_fixture else found, is_fixture)


@cache
def all_names() -> tuple[Name, ...]:
    """Every public name once, errors included: where several modules show it, by the first."""
    names = (name_of(module, name) for module in MODULES for name in shown_by(module))
    return tuple(one for one in names if _is_new(one))


def _is_new(one: Name) -> bool:
    """Whether no module before shows the same thing."""
    before = list(MODULES)[: list(MODULES).index(one.module)]
    if not (one.is_class or one.is_call):
        return True
    return not any(getattr(module_of(module), name) is one.found for module in before for name in shown_by(module))
