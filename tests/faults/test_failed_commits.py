"""Calls that fail after they have read, or written, what a store keeps for the next one: nothing of it is believed.

Each call is brought to fail at one moment, then repeated on the same store: it gives what it would have given at once,
the log is what it would have been, and what comes later finds what it would have found.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import pytest

from sagalog import Engine, SagalogError, Unavailable, Unknown
from sagalog.engine.audit import verify
from sagalog.errors import OverBound, Rejected, VersionConflict
from sagalog.kernel import events as e
from sagalog.kernel.bounds import ROUNDS_MAX
from sagalog.kernel.state import TaskFold
from sagalog.store import Due, Operation, Result, Saved, View
from sagalog.testing import ManualClock, SeededEntropy
from sagalog_sqlite.store import SqliteStore
from sagalog_sqlite.ticket_lock import TicketLock
from tests.adapters.sqlite.faulty_files import FaultyFiles, failing, faulty_files
from tests.adapters.sqlite.stores import (
    appended,
    claiming,
    created,
    engine_on,
    ids_of,
    leased,
    open_at,
    result,
    seeing,
    shown,
    tending,
    versions,
    work,
    writing,
)
from tests.faults.concurrent_calls import SCENES, Outcome, Scene, empty_store_in, in_order, outcome, staged, told
from tests.faults.moments import Moments, elsewhere

# One scene for each call; repeated, `retry_as_new` draws another id.
REPEATED = {
    name: SCENES[name]
    for name in (
        "create, and one of the same id",
        "claim, and a more urgent task of another kind",
        "claim of nothing, and a task of a new kind",
        "claim where a lease is over, and another",
        "claim where a time has come, and a cancel",
        "claim where a wait is over, and the signal",
        "claim where a task was woken, and its cancel",
        "claim where a suspect comes to be, and another",
        "heartbeat, and a cancel",
        "step, and a note",
        "complete, and a wait for that",
        "complete with others in a batch, and one of those",
        "complete where a task is woken, and its cancel",
        "park for a task, and the end of that",
        "park for a signal, and the signal",
        "undo, and its waiver",
    )
}


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    with faulty_files() as files:
        yield files


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds nothing, for each call to begin with a copy of."""
    return empty_store_in(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def moments_of(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Callable[[str], list[str]]:
    """The moments of a scene's call where nothing fails."""

    @cache
    def moments_of(name: str) -> list[str]:
        run = Failing(tmp_path_factory.mktemp("undisturbed") / "run", empty, REPEATED[name], None, _interrupt)
        run.close()
        return run.moments.names

    return moments_of


class Failing:
    """The call of a scene on a new file, which fails at a moment, or does not (None), and may then be repeated.

    error    by which it failed
    """

    def __init__(
        self,
        folder: Path,
        empty: Path,
        scene: Scene,
        at: int | None,
        fail: Callable[[], None],
        durability: str = "normal",
    ) -> None:
        folder.mkdir()
        shutil.copy(empty, folder / "log.db")
        opened: list[SqliteStore] = []

        def engine_at(clock: ManualClock, entropy: SeededEntropy) -> Engine:
            opened[:] = opened or [open_at(folder / "log.db", clock, durability=durability)]
            return Engine(opened[0], clock=clock, entropy=entropy)

        self._scene = scene
        self._stage = staged(engine_at)
        scene.set_up(self._stage)
        self.error: BaseException | None = None
        self.moments = Moments(at, fail)
        with self.moments.watching(opened[0]):
            try:
                scene.call(self._stage)
            except (KeyboardInterrupt, SagalogError) as error:
                self.error = error

    def repeat(self) -> Outcome:
        """Repeat the call, then make the change: the outcome of both."""
        called = told(self._scene.call, self._stage)
        return outcome(self._stage, called, told(self._scene.change, self._stage))

    def close(self) -> None:
        self._stage.ours.close()


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", REPEATED)
def test_a_call_interrupted_at_any_moment_is_repeated_as_if_new(
    tmp_path: Path, empty: Path, moments_of: Callable[[str], list[str]], name: str
) -> None:
    """[LOG-1] [LOG-2] [RECORD-3]"""
    scene = REPEATED[name]
    right = in_order(scene, call_first=True)
    for at in range(len(moments_of(name))):
        run = Failing(tmp_path / str(at), empty, scene, at, _interrupt)
        assert isinstance(run.error, KeyboardInterrupt)
        assert run.repeat() == right, f"{at}: {run.moments.names[at]}"
        run.close()


FAULTS = {
    "a disk that is full": ("write", apsw.FullError, Unavailable),
    "a lock that is not got": ("write", apsw.BusyError, Unavailable),
    "a write that fails": ("write", apsw.IOError, Unknown),
    "a sync that fails": ("sync", apsw.IOError, Unknown),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", REPEATED)
def test_a_call_whose_commit_has_failed_is_repeated_as_if_it_had_not(
    tmp_path: Path,
    empty: Path,
    moments_of: Callable[[str], list[str]],
    files: FaultyFiles,
    name: str,
    fault: str,
) -> None:
    """[LOG-1] [LOG-2] [RECORD-3]"""
    scene, (operation, error, answer) = REPEATED[name], FAULTS[fault]

    def fail() -> None:
        files.strike = failing(operation, "-wal", error)

    moments = moments_of(name)
    run = Failing(tmp_path / "run", empty, scene, moments.index("COMMIT"), fail, durability="full")
    files.strike = None
    wrote = any(one.startswith(("INSERT", "UPDATE")) for one in moments)
    assert isinstance(run.error, answer if wrote else type(None))
    assert run.repeat() == in_order(scene, call_first=True)
    run.close()


# --- operations that are refused, or ask for more ---------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store that knows two ready tasks of different kinds, `old` and `other`; afterwards its file is sound."""
    store = open_at(tmp_path / "log.db")
    engine_on(store)
    store.commit([writing("old", created()), writing("other", created(kind="test"))])
    assert ready(store) == ["old", "other"]
    yield store
    with store.read() as snapshot:
        assert snapshot.check() == []
    assert verify(store).ok
    store.close()


def ready(store: SqliteStore) -> list[str]:
    """What a claim would select, and that nothing is due."""
    claim = work(limit=9)
    look = seeing(lambda view: ids_of(view.select(claim)), claim=claim)
    found, due = store.commit([look, tending(Due(("q",), 9))])
    assert due == []
    return list(found)


def begun_once(id: str) -> Operation:
    """An operation that creates a task and leases it, unless it is there."""

    def decide(view: View) -> Result:
        saved = shown(view, id)
        if saved.fold.version:
            return Result("there")
        return result("begun", appended(saved, [created(kind=f"kind of {id}"), leased(at_ms=view.now_ms)], view.now_ms))

    return Operation(decide, (f"task/{id}",))


def asking(*ids: str) -> Operation:
    """An operation that looks at tasks which it has not declared, one after the other; answers their versions."""

    def decide(view: View) -> Result:
        found = [view.saved(f"task/{id}") for id in ids]
        return Result([None if saved is None else saved.fold.version for saved in found])

    return Operation(decide)


def test_what_an_operation_has_read_before_its_refusal_is_as_it_was_read(store: SqliteStore) -> None:
    def decide(view: View) -> Result:
        assert (ids_of(view.select(work())), view.expired, view.promotable) == (["old"], [], [])
        assert (view.saved("task/other"), view.saved("task/none")) != (None, None)
        raise Rejected("no")

    refused = Operation(decide, (), ("task/other", "task/none"), claim=work(), due=Due(("q",), 9))
    [refusal, begun] = store.commit([refused, begun_once("none")])
    assert isinstance(refusal, Rejected)
    assert begun == "begun"
    assert ready(store) == ["old", "other"]
    assert store.commit([claiming(work(limit=9)), asking("none")]) == [["old", "other"], [2]]


def test_what_an_operation_appends_where_it_did_not_say_is_not_believed(store: SqliteStore) -> None:
    """[LOG-2]"""

    def decide(view: View) -> Result:
        behind = Saved("task/old", TaskFold("old"))
        return result("written", appended(behind, [created(kind="another")], view.now_ms))

    [refusal] = store.commit([Operation(decide, ("task/old",))])
    assert isinstance(refusal, VersionConflict)
    assert store.commit([claiming(work(limit=9)), asking("old")]) == [["old", "other"], [2]]


def test_what_was_written_in_a_round_that_is_begun_anew_is_not_believed(store: SqliteStore) -> None:
    """[LOG-1] A task that was begun, two that were leased, one that has ended: each is so once, by the last round."""
    ending = writing("ending", created(), leased(), e.Completed(1, "complete"))
    answers = store.commit([begun_once("new"), claiming(work(limit=9)), ending, asking("old", "new", "ending")])
    assert answers == ["begun", ["old", "other"], 3, [2, 2, 3]]
    assert versions(store) == {"old": 2, "other": 2, "new": 2, "ending": 3}
    assert store.commit([begun_once("new"), asking("old")]) == ["there", [2]]


def test_what_a_restarted_round_had_read_is_right_for_the_next_call(store: SqliteStore) -> None:
    claim = work(kinds=None, limit=1)
    look = seeing(lambda view: ids_of(view.select(claim)), claim=claim)
    assert store.commit([look, asking("none", "other")]) == [["old"], [None, 1]]
    assert store.commit([begun_once("none"), claiming(work(limit=9))]) == ["begun", ["old", "other"]]


def test_an_operation_beside_one_of_too_many_rounds_is_written_once(store: SqliteStore) -> None:
    """[BOUND-5]"""
    asked = [f"t{number}" for number in range(ROUNDS_MAX)]
    begun, refusal, claimed = store.commit([begun_once("new"), asking(*asked), claiming(work(limit=9))])
    assert (begun, claimed) == ("begun", ["old", "other"])
    assert isinstance(refusal, OverBound)
    assert versions(store) == {"old": 2, "other": 2, "new": 2}
    assert ready(store) == []


def test_a_commit_of_several_rounds_that_was_interrupted_is_repeated(
    store: SqliteStore,
) -> None:
    """[LOG-1] The interrupt comes at any moment, and the repeat finds nothing of it."""

    def commit(name: str) -> list[Any]:
        return store.commit([begun_once(name), asking("old", "other")])

    undisturbed = Moments()
    with undisturbed.watching(store):
        assert commit("first") == ["begun", [1, 1]]
    assert undisturbed.names.count("ROLLBACK") == 2
    for at in range(len(undisturbed.names)):
        with Moments(at, _interrupt).watching(store), pytest.raises(KeyboardInterrupt):
            commit(f"t{at}")
        begun = "begun" if at <= undisturbed.names.index("COMMIT") else "there"
        assert commit(f"t{at}") == [begun, [1, 1]], undisturbed.names[at]
    assert set(versions(store).values()) == {1, 2}
    assert ready(store) == ["old", "other"]


def test_what_another_commits_between_two_rounds_is_seen_by_the_last(store: SqliteStore, tmp_path: Path) -> None:
    """[LOG-2]"""
    other = SqliteStore(str(tmp_path / "log.db"), TicketLock(str(tmp_path / "other")), store._clock, "normal", 2)
    seen = []
    for at in range(20):
        asked, begun = f"asked{at}", f"begun{at}"
        store.commit([writing(asked, created())])

        def change(asked: str = asked) -> None:
            with suppress(Unavailable):
                other.commit([writing(asked, leased())])

        with Moments(at, lambda: elsewhere(change)).watching(store):
            [_, [found]] = store.commit([begun_once(begun), asking(asked)])
        [[now]] = store.commit([asking(asked)])
        seen.append((found, now))
        if now == 1:
            assert other.commit([writing(asked, leased())]) == [2]
        assert store.commit([asking(asked, begun)]) == [[2, 2]]
    assert set(seen) == {(1, 1), (2, 2), (1, 2)}
    other.close()
