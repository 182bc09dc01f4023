"""The contract of subscriptions: readers of the whole log, and checkpoints that outlive them. [SUBSCRIBE-1]

Rule: a reader misses nothing, whatever other callers write, save or close meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from sagalog.codec import Recorded
from sagalog.engine import Engine
from sagalog.engine.audit import CHECKPOINTS
from sagalog.engine.subscription import Subscription
from sagalog.errors import Closed, Conflict, Corrupt, InvalidValue, UnknownEvent
from sagalog.testing.contract.base import Contract
from sagalog.testing.contract.projections import rewritten
from sagalog.testing.entropy import SeededEntropy

_PATIENCE_S: Final = 30
_LONG_MS: Final = 3_600_000


class SubscriptionContract(Contract):
    """The tests of readers of the log, alone and beside others."""

    def beside(self) -> Engine:
        """Make an engine beside the first: over another handle, as of another process, if the store can have one."""
        return (
            Engine(self.another_store(), clock=self.clock, entropy=SeededEntropy(2)) if self.persists else self.engine
        )

    def checkpoint(self, name: str) -> int | None:
        """Read the checkpoint on record."""
        with self.store.read() as snapshot:
            kept = snapshot.kept(CHECKPOINTS, name)
        return None if kept is None else int(kept)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def test_saving_a_checkpoint_writes_no_event_and_rebuilding_leaves_it(self) -> None:
        """[SUBSCRIBE-5]"""
        self.create("a", "b")
        reader = self.engine.subscribe("r")
        read = reader.read(2)
        self.writes_nothing(reader.save)
        self.engine.rebuild()
        assert self.checkpoint("r") == read[-1].position
        self.sound()

    def test_a_checkpoint_beyond_the_log_is_a_fault(self) -> None:
        """[SUBSCRIBE-5]"""
        self.create("a")
        newest = self.engine.newest_position()
        self.store.keep(CHECKPOINTS, "at its end", None, str(newest))
        assert self.engine.verify().ok
        self.store.keep(CHECKPOINTS, "beyond", None, str(newest + 1))
        [fault] = self.engine.verify().faults
        assert (fault.code, "beyond" in fault.text) == ("checkpoint", True)

    def test_a_checkpoint_that_is_no_position_is_a_fault(self) -> None:
        """[SUBSCRIBE-5]"""
        self.store.keep(CHECKPOINTS, "odd", None, '"seven"')
        [fault] = self.engine.verify().faults
        assert (fault.code, "odd" in fault.text) == ("checkpoint", True)
        self.refused(Corrupt, self.engine.subscribe, "odd")

    # --- reading on ---------------------------------------------------------------------------------------------

    def test_a_new_name_reads_the_log_from_its_beginning_to_its_end(self) -> None:
        self.create("a", "b")
        self.acquire("a").complete()
        reader = self.engine.subscribe("r")
        read = [*reader.read(1), *reader.read(2), *reader.read()]
        assert read == self.engine.events()
        assert (reader.position, reader.read()) == (len(read), [])

    def test_what_is_written_while_it_reads_comes_next(self) -> None:
        reader = self.engine.subscribe("r")
        read: list[Recorded] = []
        for id in "abc":
            self.create(id)
            read += reader.read(1)
        read += reader.read()
        assert [one.position for one in read] == [1, 2, 3, 4]

    def test_a_new_name_may_begin_anywhere_in_the_log_and_nowhere_else(self) -> None:
        self.create("a", "b")
        newest = self.engine.newest_position()
        assert [one.position for one in self.engine.subscribe("r", after=1).read()] == [2, 3]
        self.engine.subscribe("now", after=newest)
        self.create("c")
        assert [one.stream for one in self.engine.subscribe("now").read()] == ["task/c"]
        self.refused(InvalidValue, self.engine.subscribe, "beyond", after=newest + 2)
        assert self.checkpoint("beyond") is None

    def test_a_name_that_never_saved_still_knows_where_it_began(self) -> None:
        """[SUBSCRIBE-2]"""
        self.create("a")
        self.engine.subscribe("r", after=self.engine.newest_position())
        self.create("b")
        again = self.beside().subscribe("r", after=self.engine.newest_position())
        assert [one.stream for one in again.read()] == ["task/b"]

    def test_what_was_read_and_not_saved_is_given_again(self) -> None:
        """[SUBSCRIBE-2]"""
        self.create("a", "b")
        first = self.engine.subscribe("r")
        first.read(1)
        first.save()
        lost = first.read()
        again = self.beside().subscribe("r")
        assert (again.position, again.checkpoint) == (1, 1)
        assert again.read() == lost

    def test_names_read_independently_of_one_another(self) -> None:
        self.create("a")
        one, other = self.engine.subscribe("one"), self.engine.subscribe("other")
        one.read()
        one.save()
        assert len(other.read()) == 2
        assert (self.checkpoint("one"), self.checkpoint("other")) == (2, 0)

    def test_of_two_under_one_name_the_second_to_save_is_refused(self) -> None:
        """[SUBSCRIBE-3]"""
        self.create("a", "b")
        first, second = self.engine.subscribe("r"), self.beside().subscribe("r")
        first.read(2)
        second.read(3)
        first.save()
        refusal = self.refused(Conflict, second.save)
        assert (refusal.subscription, refusal.position, refusal.checkpoint) == ("r", 3, 2)
        assert self.checkpoint("r") == 2

    def test_of_two_that_read_equally_far_the_second_to_save_is_refused_too(self) -> None:
        """[SUBSCRIBE-3]"""
        self.create("a")
        first, second = self.engine.subscribe("r"), self.beside().subscribe("r")
        first.read()
        second.read()
        first.save()
        self.refused(Conflict, second.save)

    def test_readers_in_threads_that_hand_a_name_over_miss_nothing(self) -> None:
        """[SUBSCRIBE-2]"""
        self.create(*"abcdefgh")
        read: set[int] = set()

        def work(engine: Engine) -> None:
            # A reader that is refused subscribes again and goes on where the other one is.
            while (reader := engine.subscribe("r")).position < 9:
                got = reader.read(1)
                try:
                    reader.save()
                except Conflict:
                    continue
                read.update(one.position for one in got)

        threads = [threading.Thread(target=work, args=(engine,)) for engine in (self.engine, self.beside())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE_S)
        assert (sorted(read), self.checkpoint("r")) == (list(range(1, 10)), 9)

    # --- what cannot be read --------------------------------------------------------------------------------------

    def test_an_event_that_cannot_be_read_is_refused_at_its_place(self) -> None:
        """[SUBSCRIBE-4] [LOG-5]"""
        self.create("a", "b", "c")
        old = self.log()[2]
        new = rewritten(old, type="renewed_twice")
        self.change_event(old, new)
        reader = self.engine.subscribe("r")
        assert [one.position for one in reader.read()] == [1, 2]
        for _ in range(2):
            refusal = self.refused(UnknownEvent, reader.read)
            assert (refusal.stream, refusal.version, reader.position) == ("task/b", 1, 2)
        reader.save()
        self.change_event(new, old)
        assert [one.stream for one in self.engine.subscribe("r").read()] == ["task/b", "task/c"]

    # --- waiting --------------------------------------------------------------------------------------------------

    def woken(self, reader: Subscription) -> Callable[[], list[bool]]:
        """Start a reader that waits in a thread of its own; return a function that returns its result, if any."""
        found: list[bool] = []

        def wait() -> None:
            try:
                found.append(reader.wait(_LONG_MS))
            except Closed:
                return

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()

        def result() -> list[bool]:
            thread.join(_PATIENCE_S)
            assert not thread.is_alive(), "the reader still waits"
            return found

        return result

    def test_who_has_something_to_read_does_not_wait(self) -> None:
        reader = self.engine.subscribe("r")
        assert reader.wait(_LONG_MS)
        reader.read()
        assert not reader.wait(0)

    def test_a_reader_that_waits_is_woken_by_who_writes(self) -> None:
        reader = self.engine.subscribe("r", after=self.engine.newest_position())
        found = self.woken(reader)
        self.beside().create("build", id="a")
        assert found() == [True]
        assert [one.stream for one in reader.read()] == ["task/a"]

    def test_a_checkpoint_that_another_saves_is_nothing_to_read(self) -> None:
        engine = self.engine
        reader = engine.subscribe("r", after=engine.newest_position())
        self.beside().subscribe("other", after=1)
        assert not reader.wait(0)

    def test_a_reader_that_waits_is_told_when_its_handle_is_closed(self) -> None:
        engine = self.engine
        found = self.woken(engine.subscribe("r", after=engine.newest_position()))
        self.store.close()
        assert found() == []

    def test_who_sleeps_until_a_change_is_told_when_its_handle_is_closed(self) -> None:
        self.create("a")
        store, seen, told = self.store, self.store.changes(), threading.Event()

        def sleep() -> None:
            try:
                store.wait_change(seen, _LONG_MS)
            except Closed:
                told.set()

        threading.Thread(target=sleep, daemon=True).start()
        store.close()
        assert told.wait(_PATIENCE_S)

    # --- handles ----------------------------------------------------------------------------------------------------

    def test_a_checkpoint_outlives_the_handle_that_saved_it(self) -> None:
        """[SUBSCRIBE-2]"""
        self.create("a", "b")
        reader = self.engine.subscribe("r")
        reader.read(2)
        reader.save()
        if self.persists:
            self.store.close()
        again = self.beside().subscribe("r")
        assert [one.position for one in again.read()] == [3]

    def test_a_closed_handle_saves_nothing(self) -> None:
        reader = self.engine.subscribe("r")
        reader.read()
        engine = self.engine
        self.store.close()
        for call in (reader.save, reader.read, lambda: reader.wait(0), lambda: engine.subscribe("s")):
            try:
                answer = call()
            except Closed:
                continue
            raise AssertionError(f"expected Closed, found {answer!r}")
