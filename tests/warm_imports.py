"""What the processes of tests import, imported once: `tests.warm_processes` forks them off a process that has done so.

Rule: it is all there at the begin, so that no collection of garbage looks at it again in any of them.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Final

from sagalog_cli.command_line import COMMANDS
from sagalog_cli.lazy_group import LazyGroup

_MODULES: Final = (
    "pytest",
    "sagalog.testing",
    "sagalog.worker",
    "sagalog_cli.commands",
    "sagalog_queue",
    "sagalog_sqlite.fork_hooks",
)


def _import_all() -> None:
    places = [*COMMANDS.values()]
    while places:
        place = places.pop()
        command = getattr(import_module(place.module), place.name)
        if isinstance(command, LazyGroup):
            places += command.places.values()
    for name in _MODULES:
        import_module(name)
    gc.collect()
    gc.freeze()


_import_all()
