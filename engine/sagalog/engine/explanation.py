"""What `Engine.explain` answers: why no claim leases a task now, or creates one of a schedule, as codes.

Rule: a reason is data, a code with parameters, and its sentence is made when it is read [RECORD-6]; a later version may
add codes and parameters. Knows no store.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from sagalog.kernel.values import Parameters, State
from sagalog.sentences import advice_on, told

# In the order of an answer.
ReasonCode = Literal[
    "unreadable",
    "ended",
    "leased",
    "lease_over",
    "deadline_passed",
    "not_due",
    "waits_for_signal",
    "waits_for_tasks",
    "sleeps",
    "wait_over",
    "paused_kind",
    "paused_queue",
    "paused_key",
    "paused_limit",
    "settings_unreadable",
    "breaker_open",
    "breaker_half_open",
    "lacks_units",
    "behind_larger",
    "behind_others",
    "held",
    "no_live_worker",
    "build_absent",
    "preflight_fails",
    # What is worth knowing beside them, and keeps no claim from the task.
    "claimable",
    "let_in_next",
    "pinned",
    "owes_undo",
    "suspect",
    "cancel_requested",
    "workers_busy",
    "no_worker_known",
    "deadline_ahead",
    "start_by_ahead",
    # Of a schedule, which also has `unreadable` and `not_due`.
    "zone_unknown",
    "never_fires",
    "task_refused",
    "paused_schedule",
    "missed",
    "overlap",
    "exists",
    # What is worth knowing of one that fires.
    "due",
]
CODES: Final[tuple[str, ...]] = get_args(ReasonCode)
# A claim of a caller without a row would lease the task all the same: one that names its build, if it is pinned.
OF_WORKERS: Final = frozenset({"no_live_worker", "build_absent", "preflight_fails"})


class Reason(msgspec.Struct, frozen=True):
    """A reason why no claim leases a task now, or creates one of a schedule, or a note beside that. [EXPLAIN-1]

    code         which one
    parameters   what it names; a time is in milliseconds since 1970, and what is not known is left out
    """

    code: ReasonCode
    parameters: Parameters = {}

    @property
    def sentence(self) -> str:
        """It in words, with times in UTC."""
        return told(self.code, self.parameters)

    @property
    def advice(self) -> str | None:
        """What an operator may do about it, mostly a command of the shell; None: nothing but wait."""
        return advice_on(self.code, self.parameters)


class Explanation(msgspec.Struct, frozen=True):
    """The answer of `Engine.explain`: why no claim leases a task now, or that one would. [EXPLAIN-1]

    The reasons come in one order: the task itself, what it waits for, pauses, limits, workers.
    docs/how-to/why-a-task-does-not-run.md lists all codes in that order, each with its parameters. Of a schedule it
    says why no claim creates a task of it now, or that one would.

    task           its id; None: it is about a schedule
    state          its state; None: it cannot be read, or it is about a schedule
    is_claimable   whether a claim that asks for it would lease it in its turn: one of its queue and kind, that names
                   its build if it is pinned; what no live worker takes, a caller without a row may claim. Of a
                   schedule: whether the next claim, of whichever queue, creates a task of it
    reasons        why not
    notes          what is worth knowing besides, such as its place in its queue
    schedule       the name of the schedule; None: it is about a task
    """

    task: str | None
    state: State | None
    is_claimable: bool
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    schedule: str | None = None
