"""The reasons in limits: which units a task lacks, who has them, and which tasks come before it. [LIMIT-2] [LIMIT-5]

Rule: as of the whole package. Units count only once it is due: before that, what is free says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject, without
from sagalog.kernel.accounts import account_of_queue, key_of_account, stream_of_account
from sagalog.kernel.bounds import MOVES_MAX, READY_MAX
from sagalog.kernel.values import Lack, Parameters
from sagalog.store import section_of

# How many of the tasks that have units are named.
HOLDERS_MAX: Final = 8


def settings_unreadable(subject: Subject) -> Iterator[Reason]:
    """What a limit or its queue allows cannot be read. [LOG-5]"""
    for stream, error in subject.unreadable.items() if subject.is_pending else ():
        yield Reason("settings_unreadable", {"stream": stream, "error": error})


def lacks_of_queue(subject: Subject) -> Iterator[Reason]:
    """Its queue has no unit free, so it is closed for claims."""
    account = account_of_queue(subject.task.queue)
    if not subject.is_startable or not subject.is_governed or account in subject.unreadable:
        return
    lack = subject.accounts.lack_of_queue(subject.task.queue)
    if lack is not None and lack.why == "units":
        yield _lacking(subject, account, 1)


def lacks(subject: Subject) -> Iterator[Reason]:
    """Each of its named limits, and its key, of which it lacks units, or where a larger task is first in line."""
    task = subject.limited
    while subject.is_startable and (lack := subject.accounts.lack(task)) is not None:
        assert lack.account is not None, "a paused kind is no account"
        if (reason := _of_lack(subject, lack)) is not None:
            yield reason
        task = without(task, lack.account)


def behind_others(subject: Subject) -> Iterator[Reason]:
    """It lacks nothing, and others of its queue, kind and build come before it: as many as may start at once."""
    if not subject.is_startable or subject.accounts.lack(subject.limited) is not None:
        return
    held = subject.held
    accounts = [held] if held is not None else [one.account for one in subject.asked] if subject.gate == "later" else []
    for account in accounts:
        if stream_of_account(account) in subject.unreadable or _comes_in(subject, account):
            continue
        yield Reason("behind_others", {**named(account), "ready": _ready_max(subject, account)})
        return


def let_in_next(subject: Subject) -> Iterator[Reason]:
    """It is held, and the next claim lets it in, or maintenance before that."""
    if subject.held is not None and subject.is_startable:
        yield Reason("let_in_next", named(subject.held))


def _comes_in(subject: Subject, account: str) -> bool:
    """Check whether the next look at an account makes the task ready: it has room, or is before what is ready."""
    section, most = section_of(subject.task), _ready_max(subject, account)
    ready = subject.snapshot.in_line(account, "ready", section, READY_MAX)
    room = most - len(ready)
    if subject.held is None:
        return room > 0 or not ready or _is_before(subject, ready[-1].stream)
    for candidate in subject.snapshot.in_line(account, "held", section, MOVES_MAX):
        if candidate.stream == f"task/{subject.task.id}":
            return room > 0
        other = subject.other(candidate.stream)
        room -= other is not None and subject.accounts.lack(other) is None
    return False


def _is_before(subject: Subject, stream: str) -> bool:
    other, task = subject.other(stream), subject.task
    return other is not None and (task.priority, task.created_ms) < (other.priority, other.created_ms)


def _ready_max(subject: Subject, account: str) -> int:
    room = subject.accounts.room(account)
    return READY_MAX if room is None else min(room, READY_MAX)


def _of_lack(subject: Subject, lack: Lack) -> Reason | None:
    """Return the reason of what it lacks; None for a pause or a breaker, which have reasons of their own."""
    account = lack.account or ""
    match lack.why:
        case "units":
            return _lacking(subject, account, sum(one.units for one in subject.asked if one.account == account))
        case "line":
            first = subject.accounts.entry(account).account.first_in_line(subject.now_ms)
            assert first is not None, "the account says that it is behind the first in line"
            return Reason("behind_larger", {**named(account), "first": first.task, "since_ms": first.since_ms})
        case _:
            return None


def _lacking(subject: Subject, account: str, units: int) -> Reason:
    entry = subject.accounts.entry(account)
    takes = entry.limit.needed(units)
    parameters: Parameters = {**named(account), "asked": units, "free": entry.free(subject.now_ms) or 0}
    if takes != units:
        # [LIMIT-4] What asks for more than a limit allows takes the whole of it.
        parameters["takes"] = takes
    if (refilled_ms := entry.at(subject.now_ms).refilled_ms(entry.limit, takes)) is not None:
        # Time alone gives these units, and the end of no lease does.
        parameters["refilled_ms"] = refilled_ms
    elif holders := tuple(id for id, _ in subject.snapshot.holders(account, HOLDERS_MAX)):
        parameters["holders"] = holders
    return Reason("lacks_units", parameters)


def named(account: str) -> Parameters:
    """Return the parameters that name an account: a limit, a queue, or a key within a queue."""
    category, _, name = stream_of_account(account).partition("/")
    key = key_of_account(account)
    return {category: name} if key is None else {category: name, "key": key}
