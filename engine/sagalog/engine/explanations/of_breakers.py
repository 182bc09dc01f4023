"""The reasons in breakers: which of its queue and its limits let nothing start. [BREAKER-1]

Rule: as of the whole package. A breaker that lets a probe through is no reason: the task may be that probe.
"""

from __future__ import annotations

from collections.abc import Iterator

from sagalog.engine.explanation import Reason
from sagalog.engine.explanations.subject import Subject
from sagalog.kernel.accounts import account_of_limit, account_of_queue


def breakers(subject: Subject) -> Iterator[Reason]:
    """The breaker of its queue, or of a limit that it uses, is open, or half open with another probe."""
    if not subject.is_pending:
        return
    accounts = [account_of_queue(subject.task.queue)] if subject.is_governed else []
    accounts += [account_of_limit(name) for name in sorted(subject.task.uses or ())]
    for account in accounts:
        state = None if account in subject.unreadable else subject.accounts.entry(account).breaker
        if state is None or not state.lets_none(subject.now_ms):
            continue
        category, _, name = account.partition("/")
        if state.mode == "open":
            yield Reason("breaker_open", {category: name, "since_ms": state.since_ms, "until_ms": state.until_ms})
        else:
            yield Reason("breaker_half_open", {category: name, "probe": state.task or ""})
