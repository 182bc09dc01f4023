"""The contract of journals: numbered entries, cursors, and the fence of the handler that writes.

Rule: what a handler writes is written here by its executor, as the flusher does. Knows no worker.
"""

from __future__ import annotations

from hashlib import sha256
from unittest.mock import ANY

from sagalog.engine.entries import JournalWrite
from sagalog.engine.journal_values import JournalCursor, framed
from sagalog.engine.lease import Lease
from sagalog.errors import Conflict, InvalidValue, LeaseLost, NotFound, OverBound, Pruned, SagalogError, WrongState
from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.bounds import JOURNAL_CARRY_EVENTS, JOURNAL_ENTRIES_MAX
from sagalog.store import Blob
from sagalog.testing.contract.base import TTL_MS, Contract
from sagalog.testing.contract.kept import keeping
from sagalog.validation.identities import journal_id


def append_of(lease: Lease, name: str, *entries: bytes, expected: int | None = None) -> JournalWrite:
    """Make the append that the holder of a lease gives to a journal of its task."""
    blob = framed(entries)
    command = c.AppendJournal(
        id=journal_id(name, lease.task.id),
        entries=len(entries),
        digest=blob.digest,
        size_bytes=len(blob.data),
        expected=expected,
        task=lease.task.id,
        fence=lease.fence,
    )
    return JournalWrite(command, f"worker:{lease.owner}", None, (blob,))


class JournalContract(Contract):
    """The tests of journals."""

    def write(self, lease: Lease, name: str, *entries: bytes, expected: int | None = None) -> JournalCursor:
        """Append as the holder of a lease; raises the refusal."""
        answer = self.engine._executor.write_journals([append_of(lease, name, *entries, expected=expected)])[0]
        if isinstance(answer, SagalogError):
            raise answer
        return answer

    def found(self, name: str, task: str | None = None, after: str | None = None) -> list[tuple[str, bytes]]:
        """Read a journal: the cursor and the bytes of each entry."""
        return [(str(one.cursor), one.data) for one in self.engine.journal(name, task=task).read(after)]

    def test_entries_are_numbered_in_the_order_of_their_appends(self) -> None:
        """[JOURNAL-1]"""
        journal = self.engine.journal("build")
        assert journal.read() == []
        assert str(journal.append([b"a", b""])) == "0-2"
        assert str(journal.append([b"c"], expected=2)) == "0-3"
        assert self.found("build") == [("0-1", b"a"), ("0-2", b""), ("0-3", b"c")]
        assert self.found("build", after="0-1") == [("0-2", b""), ("0-3", b"c")]
        assert self.found("build", after="0-3") == []
        assert [one.number for one in journal.read(limit=2)] == [1, 2]
        status = journal.status()
        assert (status.entries, status.fence, status.first, status.closed) == (3, 0, 1, False)
        self.sound()

    def test_every_place_of_a_long_journal_is_found(self) -> None:
        """[JOURNAL-5]"""
        journal = self.engine.journal("build")
        for number in range(40):
            journal.append([b"%d" % at for at in range(number % 3 + 1)])
        whole = journal.read()
        for place in range(len(whole) + 1):
            assert journal.read(JournalCursor(0, place)) == whole[place:]
        self.sound()

    def test_an_append_that_expects_another_number_is_a_conflict(self) -> None:
        """[JOURNAL-1]"""
        journal = self.engine.journal("build")
        journal.append([b"a"])
        refusal = self.refused(Conflict, journal.append, [b"b"], 2)
        assert (refusal.expected, refusal.actual) == (2, 1)
        self.refused(Conflict, journal.append, [b"b"], 0)

    def test_an_append_is_repeated_by_its_idempotency_key(self) -> None:
        """[REPEAT-4] [REPEAT-6]"""
        journal = self.engine.journal("build")
        first = journal.append([b"a", b"b"], 0, "k")
        journal.append([b"c"])
        assert self.writes_nothing(journal.append, [b"a", b"b"], 0, "k") == first
        assert self.refused(Conflict, journal.append, [b"a"], None, "k").differs == ["entries"]
        self.refused(Conflict, self.engine.journal("other").append, [b"a", b"b"], None, "k")
        self.refused(Conflict, self.engine.create, "build", idempotency_key="k")
        self.engine.create("build", id="t", idempotency_key="l")
        self.refused(Conflict, journal.append, [b"a"], None, "l")

    def test_nothing_is_appended_to_a_journal_that_is_closed(self) -> None:
        """[JOURNAL-3]"""
        journal = self.engine.journal("build")
        journal.append([b"a"])
        journal.close()
        self.writes_nothing(journal.close)
        self.refused(WrongState, journal.append, [b"b"])
        assert journal.status().closed
        assert self.found("build") == [("0-1", b"a")]
        empty = self.engine.journal("empty")
        empty.close()
        assert list(empty.follow()) == []
        self.sound()

    def test_what_is_no_entry_is_refused(self) -> None:
        """[JOURNAL-1]"""
        append = self.engine.journal("build").append
        for wrong in ([], b"a", "a", ["a"], [b"a", None], None, 3):
            self.refused(InvalidValue, append, wrong)  # type: ignore[arg-type]
        self.refused(OverBound, append, [b""] * (JOURNAL_ENTRIES_MAX + 1))
        self.refused(OverBound, append, [b"a" * 16_777_216])
        for wrong in ("", "a" * 201, "/" * 100, None):
            self.refused(InvalidValue, self.engine.journal, wrong)  # type: ignore[arg-type]

    def test_a_handler_writes_under_its_fence_until_an_event_ends_the_lease(self) -> None:
        """[JOURNAL-2] [FENCE-2]"""
        self.create("t")
        first = self.acquire("t")
        assert str(self.write(first, "tokens", b"a", b"b", expected=0)) == "1-2"
        # Over by the clock, and not by an event.
        self.clock.advance(TTL_MS)
        self.write(first, "tokens", b"c", expected=2)
        second = self.acquire("t")
        lost = self.refused(LeaseLost, self.write, first, "tokens", b"d", expected=3)
        assert (lost.fence, lost.current) == (1, 2)
        assert str(self.write(second, "tokens", b"A", expected=3)) == "2-4"
        assert self.found("tokens", "t") == [("1-1", b"a"), ("1-2", b"b"), ("1-3", b"c"), ("2-4", b"A")]
        status = self.engine.journal("tokens", task="t").status()
        assert (status.fence, status.first, status.entries) == (2, 4, 4)
        self.sound()

    def test_a_repeated_flush_is_written_once(self) -> None:
        """[JOURNAL-2] [REPEAT-1]"""
        self.create("t")
        lease = self.acquire("t")
        first = self.write(lease, "tokens", b"a", b"b", expected=0)
        assert self.writes_nothing(self.write, lease, "tokens", b"a", b"b", expected=0) == first
        self.refused(Conflict, self.write, lease, "tokens", b"a", b"c", expected=0)

    def test_the_journals_of_a_task_close_with_it(self) -> None:
        """[JOURNAL-3]"""
        self.create("t")
        lease = self.acquire("t")
        self.write(lease, "tokens", b"a")
        journal = self.engine.journal("tokens", task="t")
        assert not journal.status().closed
        lease.complete()
        assert journal.status().closed
        assert [one.data for one in journal.follow()] == [b"a"]
        assert list(self.engine.journal("never", task="t").follow()) == []
        self.refused(LeaseLost, self.write, lease, "tokens", b"b")
        self.sound()

    def test_only_the_handler_of_a_task_writes_its_journals(self) -> None:
        """[JOURNAL-2]"""
        self.create("t")
        lease = self.acquire("t")
        self.write(lease, "tokens", b"a")
        journal = self.engine.journal("tokens", task="t")
        self.refused(WrongState, journal.append, [b"b"])
        self.refused(WrongState, journal.close)
        # A journal of no task never is one of a task, whatever its name.
        self.engine.journal("t/tokens").append([b"x"])
        assert self.found("t/tokens") == [("0-1", b"x")]
        assert self.found("tokens", "t") == [("1-1", b"a")]
        self.refused(NotFound, self.engine.journal("tokens", task="none").status)

    def test_a_reader_goes_on_with_the_newest_lease_that_has_written(self) -> None:
        """[JOURNAL-5]"""
        self.create("t")
        first = self.acquire("t")
        self.write(first, "tokens", b"a", b"b")
        reader = self.engine.journal("tokens", task="t").follow()
        assert [str(one.cursor) for one in reader.take(0, 1)] == ["1-1"]
        first.release()
        second = self.acquire("t")
        assert [str(one.cursor) for one in reader.take(0)] == ["1-2"]
        self.write(second, "tokens", b"A", b"B")
        assert [str(one.cursor) for one in reader.take(0)] == ["2-3", "2-4"]
        second.complete()
        assert reader.take(0) == []
        assert reader.is_over

    def test_a_cursor_of_an_earlier_lease_goes_on_with_the_newest_one(self) -> None:
        """[JOURNAL-5]"""
        self.create("t")
        first = self.acquire("t")
        self.write(first, "tokens", b"a", b"b")
        first.release()
        second = self.acquire("t")
        journal = self.engine.journal("tokens", task="t")

        def taken(after: str | None) -> list[str]:
            return [str(one.cursor) for one in journal.follow(after).take(0)]

        assert taken("1-1") == ["1-2"]
        assert taken("1-9") == []
        self.write(second, "tokens", b"A", b"B")
        # Of an earlier lease, one beyond what is written of it, and those of the newest one.
        expected = {None: ["2-3", "2-4"], "1-1": ["2-3", "2-4"], "1-9": ["2-3", "2-4"], "2-3": ["2-4"], "2-4": []}
        assert {after: taken(after) for after in expected} == expected
        assert taken("3-1") == []
        assert [after for after, _ in self.found("tokens", "t", "1-9")] == ["2-3", "2-4"]
        assert [after for after, _ in self.found("tokens", "t", "1-1")] == ["1-2", "2-3", "2-4"]

    def test_a_journal_carries_its_counts(self) -> None:
        """[CARRY-1]"""
        journal = self.engine.journal("build")
        executor = self.engine._executor
        blob = framed([b"a"])
        command = c.AppendJournal(id="build", entries=1, digest=blob.digest, size_bytes=len(blob.data))
        for _ in range(JOURNAL_CARRY_EVENTS // 1_000):
            executor.write_journals([JournalWrite(command, None, None, (blob,))] * 1_000)
        history = self.engine.history(journal="build")
        assert len(history) == JOURNAL_CARRY_EVENTS + 1
        assert history[-1].event == e.JournalCarried(5_000, 20_000, 1)
        journal.append([b"b"])
        assert [str(one.cursor) for one in journal.read("0-4998")] == ["0-4999", "0-5000", "0-5001"]
        assert journal.read("0-2499", 1)[0].number == 2_500
        self.sound()

    def test_journals_are_listed_with_what_they_hold(self) -> None:
        """[JOURNAL-1]"""
        self.create("t")
        lease = self.acquire("t")
        self.write(lease, "a/b%", b"a")
        self.engine.journal("x/y").append([b"b"])
        self.engine.journal("z").close()
        listed = [(one.task, one.name, one.entries, one.closed) for one in self.engine.journals()]
        assert listed == [("t", "a/b%", 1, False), (None, "x/y", 1, False), (None, "z", 0, True)]
        assert [one.name for one in self.engine.journals(after="x%2Fy", limit=1)] == ["z"]
        self.engine.rebuild()
        assert [(one.task, one.name, one.entries, one.closed) for one in self.engine.journals()] == listed
        assert [one.type for one in self.engine.history("t", journal="a/b%")] == ["journal_appended"]
        self.refused(NotFound, self.engine.history, journal="nothing")

    def test_a_subscription_passes_over_journals_unless_it_asks_for_them(self) -> None:
        """[SUBSCRIBE-6]"""
        start = self.engine.newest_position()
        journal = self.engine.journal("build")
        with self.engine.subscribe("all", start, journals=True) as every, self.engine.subscribe("few", start) as few:
            journal.append([b"a"])
            self.create("t")
            for _ in range(3):
                journal.append([b"b"])
            assert [one.type for one in every.read()] == [
                "journal_appended", "created", "journal_appended", "journal_appended", "journal_appended"
            ]  # fmt: skip
            assert [one.type for one in few.read()] == ["created"]
            assert few.position == every.position
            journal.append([b"c"])
            assert not few.wait(0)
            assert few.read() == []
            assert few.position == self.engine.newest_position()
        assert self.engine.subscribe("few").position == few.position

    def test_verify_names_entries_whose_bytes_are_gone(self) -> None:
        """[BLOB-1]"""
        blob = Blob(sha256(b"never kept").hexdigest(), b"")
        command = c.AppendJournal(id="build", entries=1, digest=blob.digest, size_bytes=9)
        self.engine._executor.write_journals([JournalWrite(command)])
        assert [(one.code, one.stream, one.version) for one in self.engine.verify().faults] == [
            ("blob", "journal/build", 1)
        ]

    def test_a_journal_is_no_setting(self) -> None:
        """[JOURNAL-1]"""
        self.engine.journal("build").append([b"a"])
        self.store.commit([keeping()])
        assert self.engine.limits() == []
        assert self.engine.queues() == []
        self.create("t")
        assert self.claim()[0].task.id == "t"
        assert self.engine.journals()[0] == self.engine.journal("build").status()
        assert self.engine.journals()[0].size_bytes == ANY

    # --- what is pruned ---------------------------------------------------------------------------------------

    def test_entries_of_a_task_are_pruned_with_it(self) -> None:
        """[PRUNE-1] [PRUNE-3]"""
        self.create("t")
        lease = self.acquire("t")
        self.write(lease, "tokens", b"a", b"b")
        assert self.engine.prune(0).blobs == 0
        lease.complete()
        assert self.engine.prune(0).blobs == 1
        journal = self.engine.journal("tokens", task="t")
        assert (journal.status().entries, journal.status().closed) == (2, True)
        error = self.refused(Pruned, journal.read)
        assert error.task == "t"
        self.sound()
        self.engine.rebuild()
        self.sound()

    def test_entries_of_a_journal_of_no_task_stay(self) -> None:
        """[PRUNE-1]"""
        self.create("t")
        lease = self.acquire("t")
        self.write(lease, "tokens", b"a")
        lease.complete()
        journal = self.engine.journal("build")
        journal.append([b"a"])
        journal.close()
        assert self.engine.prune(0).blobs == 0
        assert self.found("build") == [("0-1", b"a")]
        assert self.found("tokens", "t") == [("1-1", b"a")]
        self.sound()
