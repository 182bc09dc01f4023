"""The property of prunings in a log: no bytes were pruned that a task might still need. [PRUNE-1]

Rule: as in `history`, it reads the recorded events only, and trusts no fold. Knows no reducer and no table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import TERMINAL
from sagalog.testing.inheritance import Found

# What callers give: it names nothing.
_FREE: Final = frozenset({"payload", "result", "results", "data", "params", "progress", "details", "parameters"})


def named_in(event: e.Recordable) -> Iterator[tuple[str, int]]:
    """Yield the digest and the size of all bytes that an event names, in whichever field."""
    values: list[Any] = [] if isinstance(event, e.Unblocked) else [event]
    while values:
        value = values.pop()
        if isinstance(value, tuple | list):
            values += value
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, msgspec.Struct):
            if "size_bytes" in value.__struct_fields__ and "digest" in value.__struct_fields__:
                yield value.digest, value.size_bytes  # type: ignore[attr-defined]
            values += [getattr(value, name) for name in value.__struct_fields__ if name not in _FREE]


class _Tasks:
    """The tasks of a log so far: when each ended, and which others may need what it names."""

    def __init__(self) -> None:
        self.ended_ms: dict[str, int | None] = {}
        self.parents: dict[str, str | None] = {}
        self.successors: defaultdict[str, list[str]] = defaultdict(list)
        self.awaiting: defaultdict[str, list[str]] = defaultdict(list)

    def take(self, id: str, event: Recorded) -> None:
        """Take note of one event of a task."""
        now = event.event
        if isinstance(now, e.Created):
            self.ended_ms[id], self.parents[id] = None, now.parent
            if now.predecessor is not None:
                self.successors[now.predecessor].append(id)
        if isinstance(now, e.Created | e.Parked):
            for one in now.after:
                self.awaiting[one].append(id)
        is_end = isinstance(now, e.Compensated | e.Completed | e.Quarantined)
        if is_end or (isinstance(now, e.Failed | e.Cancelled) and now.to in TERMINAL):
            self.ended_ms[id] = event.at_ms

    def needing(self, id: str) -> Iterator[str]:
        """Yield all tasks that may need what a task names, itself included."""
        ahead = [id, *self.awaiting[id]]
        parent = self.parents.get(id)
        if parent is not None:
            ahead.append(parent)
        while ahead:
            one = ahead.pop()
            if one in self.ended_ms:
                yield one
            ahead += self.successors[one]


def prunings(log: Sequence[Recorded]) -> Found:
    """Check that all tasks which may need the pruned bytes had ended, and long enough ago. [PRUNE-1]"""
    tasks = _Tasks()
    # By digest, the ids of the tasks for which events name it; None where a journal of no task does.
    named: defaultdict[str, list[str | None]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for event in log:
        now, id = event.event, event.stream.partition("/")[2]
        if isinstance(now, e.Pruned):
            for digest in now.digests:
                if digest not in named:
                    yield event, f"it prunes {digest}, which no task names"
                naming = named.pop(digest, ())
                if None in naming:
                    yield event, f"it prunes {digest}, which a journal of no task names"
                for one in {other for task in naming if task is not None for other in tasks.needing(task)}:
                    ended_ms = tasks.ended_ms[one]
                    if ended_ms is None or ended_ms + now.older_than_ms > event.at_ms:
                        yield event, f"it prunes {digest}, and task {one!r} has not ended {now.older_than_ms} ms before"
            size_bytes = sum(sizes.get(digest, 0) for digest in now.digests)
            if size_bytes != now.size_bytes:
                yield event, f"it says that it prunes {now.size_bytes} bytes, and they are {size_bytes}"
        elif event.stream.startswith("task/"):
            tasks.take(id, event)
            for digest, size_bytes in named_in(now):
                named[digest].append(id)
                sizes[digest] = size_bytes
        elif isinstance(now, e.JournalAppended):
            named[now.digest].append(now.task)
            sizes[now.digest] = now.size_bytes
