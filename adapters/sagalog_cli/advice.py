"""What to do next after an error: one sentence for each branch, in the words of the command line.

Rule: no error leaves the command without advice; what an error says itself wins, then the kind of thing
that was not found, then its branch. Knows codes and fields only, and no exit status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sagalog import NotFound, SagalogError

# The command that lists what was not found, by the field of the error that names it.
LISTINGS: Final[Mapping[str, str]] = {
    "limit": "`sagalog limit ls` shows the limits of this store",
    "schedule": "`sagalog schedule ls` shows the schedules of this store",
    "token": "`sagalog token ls` shows the tokens of this store",
    "worker": "`sagalog worker ls` shows the workers of this store",
    # Of no error of the engine, which names the limit or the queue instead.
    "breaker": "`sagalog breaker ls` shows the breakers of this store",
    "queue": "`sagalog queue ls` shows the queues that have limits or pauses",
}
_ELSEWHERE: Final = "--db or SAGALOG_DB names another store"

# A code that is not here has the advice of its branch, which is its nearest base class that is here.
ADVICE: Final[Mapping[str, str]] = {
    "bug": "this is a defect of sagalog, please report it; SAGALOG_TRACEBACK=1 shows where it happened",
    "usage": "sagalog --help says how",
    "rejected": "change what the message names; the same request would be refused again",
    "not_found": f"`sagalog list` shows the tasks of this store; {_ELSEWHERE}",
    "conflict": "look again, as with `sagalog show`, then decide again",
    "unavailable": "nothing was written: mend what the message names, or wait, then repeat the same command",
    "unknown": "it may have been written: repeat the command with the same --id or --idempotency-key",
    "corrupt": "write nothing more to this file, keep it with its -wal, and let a human look",
    "output": "what was asked for is done, so look at the store before you repeat a command that writes",
}


def advice_for(error: SagalogError) -> str:
    """Give the advice for an error: its own, else that of its code, else that of its branch."""
    own = error.fields.get("hint")
    if own is not None:
        return str(own)
    if isinstance(error, NotFound):
        listing = next((LISTINGS[name] for name in LISTINGS if name in error.fields), None)
        if listing is not None:
            return f"{listing}; {_ELSEWHERE}"
    codes = (base.code for base in type(error).__mro__ if issubclass(base, SagalogError))
    return next((ADVICE[code] for code in codes if code in ADVICE), ADVICE["bug"])
