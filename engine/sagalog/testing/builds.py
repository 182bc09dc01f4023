"""The property of builds in a log: work begins only under the build to which its task is pinned.

Rule: as in `history`, a property reads events alone. Knows no fold.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagalog.codec import Recorded
from sagalog.kernel import events as e
from sagalog.testing.inheritance import Found, streams


def builds(log: Sequence[Recorded]) -> Found:
    """Check that every lease for work of a pinned task names its build. [BUILD-1]"""
    for stream in streams(log):
        pinned: str | None = None
        for event in stream:
            now = event.event
            if isinstance(now, e.Created):
                pinned = now.build
            elif isinstance(now, e.Amended):
                pinned = None if "build" in now.removes else now.build or pinned
            elif isinstance(now, e.Leased) and now.purpose == "work" and pinned not in (None, now.build):
                yield event, f"the task is pinned to {pinned!r}, and a worker of {now.build!r} begins"
