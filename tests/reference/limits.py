"""Which bounds hold for which arguments, and all bounds with their units.

Rule: a number is that of `kernel/bounds.py`; its unit and what it bounds are those of the table in `specs/rules.md`.
A test tries, argument by argument, that a call refuses what lies beyond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from sagalog.kernel import bounds

ROOT: Final = Path(__file__).parents[2]
_ROW: Final = re.compile(r"^\| `(\w+)` \| -?[\d,]+ \|([^|]*)\|([^|]*)\|$", re.MULTILINE)

_JSON: Final = ("PAYLOAD_BYTES_MAX", "NESTING_MAX")
_NAME: Final = ("NAME_CHARACTERS_MAX",)
_ID: Final = ("ID_CHARACTERS_MAX",)
_TEXT: Final = ("TEXT_CHARACTERS_MAX",)
_TIME: Final = ("TIME_MS_MAX",)

# The bounds of an argument, by its name in whichever call; or by call and name, where that one has others.
BOUNDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("payload", "result", "data", "results"), _JSON),
    **dict.fromkeys(("id", "task_id", "parent", "child", "prefix"), _ID),
    **dict.fromkeys(("kind", "queue", "owner", "name", "key", "affinity", "correlation_id", "data_key"), _NAME),
    **dict.fromkeys(("build", "pause.limit", "resume.limit", "holders.limit", "reset_breaker.limit"), _NAME),
    **dict.fromkeys(("history.limit", "history.schedule"), _NAME),
    **dict.fromkeys(("idempotency_key", "compensation", "signal", "waiting", "media_type"), _NAME),
    **dict.fromkeys(("reason", "text", "waive_compensation", "error"), _TEXT),
    **dict.fromkeys(
        ("run_at_ms", "since_ms", "until_ms", "wait_ms", "timeout_ms", "duration_ms", "retry_after_ms"), _TIME
    ),
    "cause": ("CAUSE_CHARACTERS_MAX",),
    "actor": _NAME,  # its unit says of what
    "priority": ("PRIORITY_MIN", "PRIORITY_MAX"),
    "tracestate": ("TRACESTATE_CHARACTERS_MAX", "TRACESTATE_MEMBERS_MAX"),
    "tags": ("TAGS_MAX", "NAME_CHARACTERS_MAX"),
    "inputs": ("INPUTS_MAX", "BLOB_BYTES_MAX"),
    "compensations": ("COMPENSATIONS_MAX",),
    "after": ("AFTER_MAX",),
    "progress": ("PROGRESS_BYTES_MAX",),
    "queues": ("QUEUES_MAX",),
    "kinds": ("KINDS_MAX", "CLAIM_LOOKS_MAX"),
    "specs": ("BATCH_COMMANDS_MAX",),
    "leases": ("BATCH_COMMANDS_MAX",),
    "set_schedule.name": ("SCHEDULE_NAME_CHARACTERS_MAX",),
    "remove_schedule.name": ("SCHEDULE_NAME_CHARACTERS_MAX",),
    "explain.schedule": ("SCHEDULE_NAME_CHARACTERS_MAX",),
    "next_times.name": ("SCHEDULE_NAME_CHARACTERS_MAX",),
    "next_times.limit": ("CLAIM_LIMIT_MAX",),
    "cron": ("CRON_CHARACTERS_MAX",),
    "every_ms": ("EVERY_MS_MIN", "EVERY_MS_MAX"),
    "register.compensation": ("DETAILS_BYTES_MAX",),
    "put_artifact.data": ("BLOB_BYTES_MAX",),
    "artifact.data": ("BLOB_BYTES_MAX",),
    "progress.value": ("PROGRESS_BYTES_MAX",),
    "find.queue": ("QUEUES_MAX", *_NAME),
    "claim.limit": ("CLAIM_LIMIT_MAX",),
    "ids_with_prefix.limit": ("BATCH_COMMANDS_MAX",),
    "events.limit": ("BATCH_COMMANDS_MAX",),
    "read.limit": ("BATCH_COMMANDS_MAX",),
    "events.after": (),
    "subscribe.after": (),
    "acquire.kinds": ("KINDS_MAX",),
    "preflight.kinds": (),
    "wait_tasks.tasks": ("AFTER_MAX",),
    "gather.payloads": ("AFTER_MAX", *_JSON),
    "push_many.payloads": ("BATCH_COMMANDS_MAX", *_JSON),
    **dict.fromkeys(("unknown_kinds", "known_kinds"), ("KINDS_MAX",)),
    **dict.fromkeys(("concurrency", "claim_ahead"), ("CLAIM_LIMIT_MAX",)),
    "returns_max": ("BUDGET_MAX",),
}
# The unit of an argument, where it holds other things than those of which the bound tells.
_UNIT_OF: Final[Mapping[str, str]] = {
    "actor": "characters after its class",
    "next_times.limit": "times",
    "ids_with_prefix.limit": "ids",
    "events.limit": "events",
    "read.limit": "events",
    "specs": "tasks",
    "leases": "leases",
    "concurrency": "handlers",
    "push_many.payloads": "payloads",
    "gather.payloads": "payloads",
}
# Where these names mean that: what checks the arguments of callers and handlers. Tools have names of their own.
_DOORS: Final = (
    "Engine",
    "Lease",
    "Batch",
    "Subscription",
    "Worker",
    "Park",
    "open",
    "worker.",
    "aio.",
    "sagalog_queue.",
)
# The rule of a bound, where it is another than the one for all.
_RULES: Final[Mapping[str, str]] = {
    "TEXT_CHARACTERS_MAX": "BOUND-3",
    "EVENT_BYTES_MAX": "BOUND-4",
    "FOLD_BYTES_MAX": "BOUND-4",
    "FOLD_BYTES_RESERVE": "BOUND-4",
    "STREAM_EVENTS_MAX": "BOUND-2",
    "STREAM_EVENTS_RESERVE": "BOUND-2",
    "ROUNDS_MAX": "BOUND-5",
    "UNDECLARED_MAX": "BOUND-5",
    "UPKEEP_LIMIT": "UPKEEP-2",
    "LEASE_CHECKS_MAX": "UPKEEP-1",
    "ENDS_NAMED_MAX": "WAIT-3",
    "DEPENDANTS_LIMIT": "WAIT-3",
    "INLINE_BYTES_MAX": "BLOB-2",
    "PRUNE_DIGESTS_MAX": "PRUNE-1",
    "PRUNE_BYTES": "PRUNE-1",
    "PRUNE_LOOKS": "PRUNE-1",
    "CIRCLE_EDGES_MAX": "WAIT-4",
    "FENCE_EPOCH": "FENCE-1",
    "TRACESTATE_CHARACTERS_MAX": "TRACE-1",
    "TRACESTATE_MEMBERS_MAX": "TRACE-1",
    "TIME_MS_MAX": "TIME-4",
}


@dataclass(frozen=True)
class Bound:
    """One bound: its name and number, the unit, what it bounds, and the rule that says so."""

    name: str
    value: int
    unit: str
    of: str
    rule: str

    @property
    def told(self) -> str:
        """The number with its unit; that of times is so large that its name says more."""
        return f"`{self.name}`" if self.name == "TIME_MS_MAX" else f"{self.value:,} {self.unit}".strip()


@cache
def all_bounds() -> dict[str, Bound]:
    """Every bound by its name, in the order of `specs/rules.md`."""
    text = (ROOT / "specs" / "rules.md").read_text(encoding="utf-8")
    return {
        name: Bound(name, getattr(bounds, name), unit.strip(), of.strip(), _RULES.get(name, "BOUND-1"))
        for name, unit, of in _ROW.findall(text)
    }


def bounds_of(title: str, argument: str) -> tuple[str, ...]:
    """The names of the bounds of an argument of a call, such as `Engine.create`."""
    if not title.startswith(_DOORS):
        return ()
    call = title.rpartition(".")[2]
    return BOUNDS_OF.get(f"{call}.{argument}", BOUNDS_OF.get(argument, ()))


def limit_of(title: str, argument: str) -> str:
    """The bounds of an argument of a call, in words; "": it has none."""
    known = [all_bounds()[name] for name in bounds_of(title, argument)]
    call = title.rpartition(".")[2]
    unit = _UNIT_OF.get(f"{call}.{argument}", _UNIT_OF.get(argument))
    if known and unit is not None:
        known[0] = replace(known[0], unit=unit)
    if len(known) == 2 and known[0].name.endswith("_MIN"):
        return f"{known[0].value:,} to {known[1].value:,}"
    return ", ".join(one.told for one in known)
