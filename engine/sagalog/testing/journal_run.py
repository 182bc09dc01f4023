"""The rules of a random run by which callers and holders write journals: part of `machine`.

Rule: as in `machine`, a rule draws a command and gives it to the pair. Few names, so that late holders and other
callers meet journals again, closed ones too. Knows no expected result.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sagalog.errors import SagalogError
from sagalog.testing import strategies
from sagalog.testing.contract.journals import append_of
from sagalog.testing.oracle_pair import Side
from sagalog.testing.schedule_run import ScheduleRun

NAMES: Any = st.sampled_from(["build", "build", "a/b", "tokens"])
ENTRIES: Any = st.lists(st.sampled_from([b"", b"x", b"longer"]), min_size=1, max_size=3)


def _journals_of(side: Side) -> Any:
    """What readers see of all journals: how each is, and its entries."""
    engine = side.engine
    return [(one, engine.journal(one.name, task=one.task).read()) for one in engine.journals()]


class JournalRun(ScheduleRun):
    """The rules of journals."""

    @rule(
        name=NAMES,
        entries=ENTRIES,
        expects=st.sampled_from([None, None, 0, 1, "right"]),
        key=st.sampled_from([None, None, "j1", "j2"]),
    )
    def append(self, name: str, entries: list[bytes], expects: int | str | None, key: str | None) -> None:
        """Append as a caller, with a number of entries that is right or not."""

        def call(side: Side) -> Any:
            journal = side.engine.journal(name)
            expected = journal.status().entries if isinstance(expects, str) else expects
            return [journal.append(entries, expected, key), _journals_of(side)]

        self.run("append", call, crashes=False)

    @rule(name=NAMES)
    def close_journal(self, name: str) -> None:
        """Close a journal, perhaps before its first entry."""

        def call(side: Side) -> Any:
            side.engine.journal(name).close()
            return _journals_of(side)

        self.run("close journal", call)

    @precondition(lambda self: self.pair.oracle.leases)
    @rule(pick=strategies.picks, name=NAMES, entries=ENTRIES, expects=st.sampled_from([None, 0, "right", "right"]))
    def write_journal(self, pick: int, name: str, entries: list[bytes], expects: int | str | None) -> None:
        """Write a journal of a task as the holder of a lease, which may have ended long ago. [JOURNAL-2]"""

        def call(side: Side) -> Any:
            lease = side.leases[pick % len(side.leases)]
            status = side.engine.journal(name, task=lease.task.id).status()
            expected = status.entries if isinstance(expects, str) else expects
            answer = side.engine._executor.write_journals([append_of(lease, name, *entries, expected=expected)])[0]
            if isinstance(answer, SagalogError):
                raise answer
            return [answer, _journals_of(side)]

        self.run("write journal", call, crashes=False)
