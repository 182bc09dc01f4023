"""The note that something was paused before: a pause that is there keeps its reason, its time and its actor [PAUSE-1].

Rule: it is told only after the call, whose refusal goes first. Knows no store.
"""

from __future__ import annotations

from sagalog import Pause
from sagalog_cli.session import Session
from sagalog_cli.times import instant


def note_if_before(session: Session, what: str, before: Pause | None) -> None:
    """Leave a note where `what` had this pause before the call, which has then written nothing."""
    if before is None:
        return
    since = "" if before.at_ms is None else f", since {instant(before.at_ms)}"
    by = "" if before.actor is None else f" by {before.actor}"
    why = "" if before.reason is None else f": {before.reason}"
    session.note(
        "paused_before",
        f"{what} was paused already{since}{by}{why}; resume it first to give another reason",
        actor=before.actor,
        at_ms=before.at_ms,
        reason=before.reason,
    )
