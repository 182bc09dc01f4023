"""The contract of what is kept beside the log: texts under names, by compare-and-set or with a commit. [KEEP-1]

Rule: it works below the engine's calls, since no call of a user keeps a value. Knows no reader and no worker.
"""

from __future__ import annotations

import threading

from sagalog.engine import operations
from sagalog.errors import NotFound, OverBound, SagalogError
from sagalog.kernel.bounds import KEPT_BYTES_MAX
from sagalog.store import Kept, Operation, Result, View
from sagalog.testing.contract.appends import appending, noting
from sagalog.testing.contract.base import Contract

_SPACE = "space"


def keeping(*kept: Kept) -> Operation:
    """Make an operation that keeps these."""
    return Operation(lambda _: Result("kept", kept=kept))


class KeptContract(Contract):
    """The tests of `Store.keep`, and of what a commit keeps."""

    def kept(self, name: str, space: str = _SPACE) -> str | None:
        """Read what is kept under a name."""
        with self.store.read() as snapshot:
            return snapshot.kept(space, name)

    def test_a_value_is_kept_only_where_the_expected_one_is(self) -> None:
        """[KEEP-1]"""
        keep = self.store.keep
        assert self.kept("a") is None
        assert not keep(_SPACE, "a", "0", "1")
        assert keep(_SPACE, "a", None, "1")
        assert not keep(_SPACE, "a", None, "2")
        assert not keep(_SPACE, "a", "2", "3")
        assert self.kept("a") == "1"
        assert keep(_SPACE, "a", "1", "1")
        assert keep(_SPACE, "a", "1", '{"é": "\\u0000 \U0001f600"}')
        assert self.kept("a") == '{"é": "\\u0000 \U0001f600"}'

    def test_a_value_is_removed_only_where_the_expected_one_is(self) -> None:
        """[KEEP-1]"""
        keep = self.store.keep
        assert keep(_SPACE, "a", None, None)
        assert not keep(_SPACE, "a", "1", None)
        keep(_SPACE, "a", None, "1")
        assert not keep(_SPACE, "a", "2", None)
        assert self.kept("a") == "1"
        assert keep(_SPACE, "a", "1", None)
        assert self.kept("a") is None
        assert keep(_SPACE, "a", None, "2")
        assert self.kept("a") == "2"

    def test_spaces_share_no_names(self) -> None:
        """[KEEP-1]"""
        for space in ("s", "s/t", "t"):
            self.store.keep(space, "a", None, f'"{space}"')
        self.store.keep("s", "t/a", None, '"inner"')
        assert [self.kept("a", space) for space in ("s", "s/t", "t")] == ['"s"', '"s/t"', '"t"']
        with self.store.read() as snapshot:
            assert snapshot.kept_in("s", "", 10) == [("a", '"s"'), ("t/a", '"inner"')]

    def test_a_space_is_listed_by_name_in_pages(self) -> None:
        """[KEEP-1] By code points, so that every store lists in one order."""
        names = ["b", "B", "é", "a", "\U0001f600", "￿x", "a b", "ab"]
        for name in names:
            self.store.keep(_SPACE, name, None, f'"{name}"')
        pages: list[list[tuple[str, str]]] = []
        with self.store.read() as snapshot:
            while page := snapshot.kept_in(_SPACE, pages[-1][-1][0] if pages else "", 3):
                pages.append(page)
        assert [len(page) for page in pages] == [3, 3, 2]
        assert [one for page in pages for one in page] == [(name, f'"{name}"') for name in sorted(names)]

    def test_a_commit_keeps_values_beside_its_events(self) -> None:
        """[KEEP-2]"""
        self.create("a", "b")
        self.store.keep(_SPACE, "old", None, "1")
        changes = keeping(Kept(_SPACE, "z", "1"), Kept(_SPACE, "old", None), Kept(_SPACE, "never", None))
        answers = self.store.commit([appending(noting("a", "x")), changes, keeping(Kept(_SPACE, "z", "2"))])
        assert answers == ["done", "kept", "kept"]
        assert [self.kept(name) for name in ("z", "old", "never")] == ["2", None, None]
        assert self.types("a") == ["created", "noted"]
        self.sound()

    def test_a_refused_operation_keeps_nothing_and_others_do(self) -> None:
        """[KEEP-2]"""

        def refuse(_: View) -> Result:
            raise NotFound("there is none")

        answers = self.store.commit([Operation(refuse), keeping(Kept(_SPACE, "b", "2"))])
        assert isinstance(answers[0], SagalogError)
        assert self.kept("b") == "2"

    def test_a_commit_that_fails_keeps_nothing(self) -> None:
        """[KEEP-2]"""

        def fail(_: View) -> Result:
            raise ZeroDivisionError

        self.store.keep(_SPACE, "a", None, "1")
        try:
            self.store.commit([keeping(Kept(_SPACE, "a", "2"), Kept(_SPACE, "b", "1")), Operation(fail)])
        except ZeroDivisionError:
            assert (self.kept("a"), self.kept("b")) == ("1", None)
        else:
            raise AssertionError("the failure of an operation was not raised")

    def test_what_runs_again_with_more_declared_keeps_its_last_decision(self) -> None:
        """[KEEP-2]"""
        self.create("a")
        rounds: list[int] = []

        def decide(view: View) -> Result:
            rounds.append(len(rounds))
            first = Kept(_SPACE, "round", str(len(rounds)))
            view.saved("task/a")
            return Result(None, kept=(first,))

        self.store.commit([keeping(Kept(_SPACE, "before", "1")), Operation(decide)])
        assert (self.kept("before"), self.kept("round")) == ("1", "2")

    def test_keeping_writes_no_event_and_rebuilding_leaves_it(self) -> None:
        """[KEEP-2]"""
        self.create("a")
        self.writes_nothing(self.store.keep, _SPACE, "a", None, "1")
        self.writes_nothing(self.store.commit, [keeping(Kept(_SPACE, "b", "2"))])
        self.engine.rebuild()
        assert (self.kept("a"), self.kept("b")) == ("1", "2")
        self.sound()

    def test_what_is_kept_outlives_its_handle(self) -> None:
        """[KEEP-1]"""
        if self.persists:
            self.store.keep(_SPACE, "a", None, "1")
            self.store.commit([keeping(Kept(_SPACE, "b", "2"))])
            self.store.close()
            with self.another_store().read() as snapshot:
                assert snapshot.kept_in(_SPACE, "", 10) == [("a", "1"), ("b", "2")]

    def test_a_value_at_the_bound_is_kept_and_a_longer_one_is_refused(self) -> None:
        """[KEEP-3]"""
        executor = self.engine._executor
        longest = f'"{"é" * ((KEPT_BYTES_MAX - 2) // 2)}"'
        assert executor.keep(_SPACE, "a", None, longest)
        assert self.kept("a") == longest
        longer = f"{longest} "
        self.refused(OverBound, executor.keep, _SPACE, "a", longest, longer)
        self.refused(OverBound, operations.keeping, [Kept(_SPACE, "b", longer)])
        assert (self.kept("a"), self.kept("b")) == (longest, None)

    def test_of_threads_that_race_for_a_value_one_wins_each_round(self) -> None:
        """[KEEP-1]"""
        won: list[int] = []

        def count(times: int) -> None:
            while len(won) < times:
                found = self.kept("a")
                following = 1 if found is None else int(found) + 1
                if self.store.keep(_SPACE, "a", found, str(following)):
                    won.append(following)

        threads = [threading.Thread(target=count, args=(20,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == list(range(1, len(won) + 1))
