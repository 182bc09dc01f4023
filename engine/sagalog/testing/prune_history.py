"""The property of prunings in a log: no bytes were pruned that a task might still need. [PRUNE-1]

Rule: as in `history`, it reads the recorded events only, and trusts no fold. Knows no reducer and no table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.kernel.values import TERMINAL
from sagalog.testing.inheritance import Found


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
    named: defaultdict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for event in log:
        now, id = event.event, event.stream.partition("/")[2]
        if isinstance(now, e.Pruned):
            for digest in now.digests:
                if digest not in named:
                    yield event, f"it prunes {digest}, which no task names"
                for one in {other for task in named.pop(digest, ()) for other in tasks.needing(task)}:
                    ended_ms = tasks.ended_ms[one]
                    if ended_ms is None or ended_ms + now.older_than_ms > event.at_ms:
                        yield event, f"it prunes {digest}, and task {one!r} has not ended {now.older_than_ms} ms before"
            size_bytes = sum(sizes.get(digest, 0) for digest in now.digests)
            if size_bytes != now.size_bytes:
                yield event, f"it says that it prunes {now.size_bytes} bytes, and they are {size_bytes}"
        elif event.stream.startswith("task/"):
            tasks.take(id, event)
            given = now.inputs if isinstance(now, e.Created) else (now,) if isinstance(now, e.ArtifactPut) else ()
            for named_bytes in given:
                named[named_bytes.digest].append(id)
                sizes[named_bytes.digest] = named_bytes.size_bytes
