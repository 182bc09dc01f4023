"""The commands on what may run: named limits, the limits of queues, pauses; and those of `schedules`.

Rule: a command states what is to be, so one that is so already writes nothing, and a repeat needs no identity. Knows
no task: the operation looks up whether a live one uses a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sagalog.errors import NotFound, OverBound, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import PAUSES_MAX
from sagalog.kernel.decide.rules import cut
from sagalog.kernel.decide.schedules import SCHEDULE_DECIDERS
from sagalog.kernel.state import LimitFold, QueueFold, StoreFold
from sagalog.kernel.values import Limit

Events = tuple[e.Recordable, ...]


@dataclass(frozen=True, slots=True)
class SettingVerb:
    """One command on a stream that is no task's, and the function that decides it.

    command   its type
    category  the name of the category of the stream
    decide    fold and command -> the events, perhaps none; raises the refusal
    writes    the names of the events that it can write
    """

    command: type[c.Setting]
    category: str
    decide: Callable[[Any, Any], Events]
    writes: frozenset[str]


def set_limit(limit: LimitFold, command: c.SetLimit) -> Events:
    """Set a named limit. [LIMIT-1]"""
    asked = (Limit(command.slots, command.rate), command.breaker)
    if limit.version and not limit.is_removed and (limit.limit, limit.breaker) == asked:
        return ()
    return (e.LimitSet(command.slots, command.rate, command.breaker),)


def remove_limit(limit: LimitFold, command: c.RemoveLimit) -> Events:
    """Remove a named limit, unless a live task uses it. [LIMIT-1]"""
    _require_limit(limit, command)
    if command.in_use is not None:
        raise WrongState(
            f"cannot remove the limit {command.id!r}: task {command.in_use!r} uses it; wait until all such tasks have "
            "ended, or cancel them",
            limit=command.id,
            task=command.in_use,
        )
    return (e.LimitRemoved(),)


def limit_queue(queue: QueueFold, command: c.LimitQueue) -> Events:
    """Set the limits of a queue and of its keys. [LIMIT-1]"""
    own, per_key = Limit(command.slots, command.rate), Limit(command.per_key_slots, command.per_key_rate)
    if (own, per_key, command.breaker) == (queue.own, queue.per_key, queue.breaker):
        return ()
    per_key_given = (command.per_key_slots, command.per_key_rate)
    return (e.QueueLimited(command.slots, command.rate, *per_key_given, command.breaker),)


def reset_limit_breaker(limit: LimitFold, command: c.ResetLimitBreaker) -> Events:
    """Close the breaker of a named limit. [BREAKER-4]"""
    _require_limit(limit, command)
    _require_breaker(limit, "limit")
    return () if limit.breaker_state.mode == "closed" else (e.LimitBreakerClosed("reset"),)


def reset_queue_breaker(queue: QueueFold, command: c.ResetQueueBreaker) -> Events:
    """Close the breaker of a queue. [BREAKER-4]"""
    _require_breaker(queue, "queue")
    return () if queue.breaker_state.mode == "closed" else (e.QueueBreakerClosed("reset"),)


def set_queue(queue: QueueFold, command: c.SetQueue) -> Events:
    """Set what a queue does besides limiting. [ORDER-2]"""
    if command.affinity_wait_ms == queue.affinity_wait_ms:
        return ()
    return (e.QueueSet(command.affinity_wait_ms),)


def pause_limit(limit: LimitFold, command: c.PauseLimit) -> Events:
    """Pause a named limit. [PAUSE-1]"""
    _require_limit(limit, command)
    return () if limit.paused else (e.LimitPaused(cut(command.reason)),)


def resume_limit(limit: LimitFold, command: c.ResumeLimit) -> Events:
    """Resume a named limit. [PAUSE-1]"""
    _require_limit(limit, command)
    return (e.LimitResumed(),) if limit.paused else ()


def pause_queue(queue: QueueFold, command: c.PauseQueue) -> Events:
    """Pause a queue. [PAUSE-1]"""
    return () if queue.paused else (e.QueuePaused(cut(command.reason)),)


def resume_queue(queue: QueueFold, command: c.ResumeQueue) -> Events:
    """Resume a queue. [PAUSE-1]"""
    return (e.QueueResumed(),) if queue.paused else ()


def pause_key(queue: QueueFold, command: c.PauseKey) -> Events:
    """Pause a key within a queue. [PAUSE-1]"""
    if command.key in queue.paused_keys:
        return ()
    _require_place(queue.paused_keys, f"queue {command.id!r} has", "keys", "pause the whole queue")
    return (e.KeyPaused(command.key, cut(command.reason)),)


def resume_key(queue: QueueFold, command: c.ResumeKey) -> Events:
    """Resume a key within a queue. [PAUSE-1]"""
    return (e.KeyResumed(command.key),) if command.key in queue.paused_keys else ()


def pause_kind(store: StoreFold, command: c.PauseKind) -> Events:
    """Pause a kind in every queue. [PAUSE-1]"""
    if command.kind in store.paused_kinds:
        return ()
    _require_place(store.paused_kinds, "the store has", "kinds", "pause queues")
    return (e.KindPaused(command.kind, cut(command.reason)),)


def resume_kind(store: StoreFold, command: c.ResumeKind) -> Events:
    """Resume a kind. [PAUSE-1]"""
    return (e.KindResumed(command.kind),) if command.kind in store.paused_kinds else ()


def _require_limit(limit: LimitFold, command: c.Setting) -> None:
    if not limit.version or limit.is_removed:
        raise NotFound(f"there is no limit {command.id!r}; set it first, or check its name", limit=command.id)


def _require_breaker(fold: LimitFold | QueueFold, what: str) -> None:
    if fold.breaker is None:
        text = f"the {what} {fold.id!r} has no breaker; set one first, or check the name"
        raise NotFound(text, **{what: fold.id})


def _require_place(paused: Sequence[str] | dict[str, int], who: str, what: str, instead: str) -> None:
    if len(paused) >= PAUSES_MAX:
        raise OverBound(
            f"{who} {len(paused):,} paused {what} and the bound is {PAUSES_MAX:,}; resume some, or {instead}",
            bound="pauses",
            maximum=PAUSES_MAX,
        )


SETTING_VERBS: Final = (
    SettingVerb(c.SetLimit, "limit", set_limit, frozenset({"limit_set"})),
    SettingVerb(c.RemoveLimit, "limit", remove_limit, frozenset({"limit_removed"})),
    SettingVerb(c.LimitQueue, "queue", limit_queue, frozenset({"queue_limited"})),
    SettingVerb(c.ResetLimitBreaker, "limit", reset_limit_breaker, frozenset({"limit_breaker_closed"})),
    SettingVerb(c.ResetQueueBreaker, "queue", reset_queue_breaker, frozenset({"queue_breaker_closed"})),
    SettingVerb(c.SetQueue, "queue", set_queue, frozenset({"queue_set"})),
    SettingVerb(c.PauseLimit, "limit", pause_limit, frozenset({"limit_paused"})),
    SettingVerb(c.ResumeLimit, "limit", resume_limit, frozenset({"limit_resumed"})),
    SettingVerb(c.PauseQueue, "queue", pause_queue, frozenset({"queue_paused"})),
    SettingVerb(c.ResumeQueue, "queue", resume_queue, frozenset({"queue_resumed"})),
    SettingVerb(c.PauseKey, "queue", pause_key, frozenset({"key_paused"})),
    SettingVerb(c.ResumeKey, "queue", resume_key, frozenset({"key_resumed"})),
    SettingVerb(c.PauseKind, "store", pause_kind, frozenset({"kind_paused"})),
    SettingVerb(c.ResumeKind, "store", resume_kind, frozenset({"kind_resumed"})),
    *(SettingVerb(command, "schedule", decide, writes) for command, decide, writes in SCHEDULE_DECIDERS),
)
SETTING_VERB_OF: Final[dict[type[c.Setting], SettingVerb]] = {verb.command: verb for verb in SETTING_VERBS}


def decide_setting(fold: Any, command: c.Setting) -> Events:
    """Decide what a command does to a stream that is no task's; raises the refusal."""
    return SETTING_VERB_OF[type(command)].decide(fold, command)
