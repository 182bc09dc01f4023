"""What a store knows of the tasks that another one waits for.

Rule: an end is for ever; of a task that lives, the store says no more. Knows no fold and no row.
"""

from __future__ import annotations

import msgspec

from sagalog.kernel.values import TaskEnd


class Ends(msgspec.Struct, frozen=True):
    """The ends of some tasks, as far as a store knows them; an id that is nowhere here is of no task.

    ended        by id: those that have ended, each with its version and state [WAIT-3]
    live         the ids of those that have not
    unreadable   the ids of those that cannot be read [LOG-5]
    """

    ended: dict[str, TaskEnd]
    live: frozenset[str]
    unreadable: frozenset[str]
