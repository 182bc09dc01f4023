"""Arguments that mean the same in every call, said once: the short list of what a docstring need not say again.

Rule: an argument that means something else in one call is told there, and that text counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHARED: Final[Mapping[str, str]] = {
    "id": "the id of the task.",
    "owner": "the name of the caller that holds the lease.",
    "reason": "why, for the log and for people.",
    "actor": "the caller on record: `user:`, `token:` or `schedule:` and a name; left out, that of `sagalog.open` "
    "[ACTOR-1]",
    "idempotency_key": "the caller's identity for this command; a repeat under it gives the first answer [REPEAT-4]",
    "lease": "the lease whose holder asks.",
    "timeout_ms": "how long to wait at most, in milliseconds.",
    "callback": "a function without arguments.",
}
