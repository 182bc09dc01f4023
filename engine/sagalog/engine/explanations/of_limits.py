"""The reasons in limits: which units a task lacks, who has them, and which tasks come before it. [LIMIT-2] [LIMIT-5]

Rule: as of the whole package. Units count only once it is due: before that, what is free says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject, without
from sagalog.kernel.accounts import account_of_queue, key_of_account, stream_of_account
from sagalog.kernel.bounds import READY_MAX
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
    """It is held though it lacks nothing: others of its queue and kind come before it, or maintenance lets it in."""
    account = subject.held
    is_lacking = any(True for _ in lacks(subject))
    if account is None or not subject.is_startable or is_lacking or stream_of_account(account) in subject.unreadable:
        return
    room = subject.accounts.room(account)
    ready = subject.snapshot.placed(account, "ready", READY_MAX + 1, section_of(subject.task))
    is_full = ready >= min(READY_MAX if room is None else room, READY_MAX)
    yield Reason("behind_others" if is_full else "let_in_next", {**_named(account), "ready": ready})


def _of_lack(subject: Subject, lack: Lack) -> Reason | None:
    """Return the reason of what it lacks; None for a pause or a breaker, which have reasons of their own."""
    account = lack.account or ""
    match lack.why:
        case "units":
            return _lacking(subject, account, sum(one.units for one in subject.asked if one.account == account))
        case "line":
            first = subject.accounts.entry(account).account.first_in_line(subject.now_ms)
            assert first is not None, "the account says that it is behind the first in line"
            return Reason("behind_larger", {**_named(account), "first": first.task, "since_ms": first.since_ms})
        case _:
            return None


def _lacking(subject: Subject, account: str, units: int) -> Reason:
    entry = subject.accounts.entry(account)
    asked = entry.limit.needed(units)
    parameters: Parameters = {**_named(account), "asked": asked, "free": entry.free(subject.now_ms) or 0}
    if holders := tuple(id for id, _ in subject.snapshot.holders(account, HOLDERS_MAX)):
        parameters["holders"] = holders
    if (refilled_ms := entry.at(subject.now_ms).refilled_ms(entry.limit, asked)) is not None:
        parameters["refilled_ms"] = refilled_ms
    return Reason("lacks_units", parameters)


def _named(account: str) -> Parameters:
    """Return the parameters that name an account: a limit, a queue, or a key within a queue."""
    category, _, name = stream_of_account(account).partition("/")
    key = key_of_account(account)
    return {category: name} if key is None else {category: name, "key": key}
