"""A commit of another process between any two statements of a call: as if one of the two had come wholly first.

The other has turns of its own, as a process would that the ticket does not keep out: at any moment it may commit what
matters to the call, or is refused, since the call holds the lock, and comes once more behind it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagalog import Engine, Unavailable
from sagalog.testing import ManualClock, SeededEntropy
from sagalog_sqlite.store import SqliteStore
from sagalog_sqlite.ticket_lock import TicketLock
from tests.adapters.sqlite.stores import open_at
from tests.faults.concurrent_calls import SCENES, Outcome, Scene, empty_store_in, in_order, outcome, staged, told
from tests.faults.moments import Moments, elsewhere
from tests.store_of import store_of

BUSY_MS = 2


class Run:
    """One scene on a new file, with the change at the moment of a number, or after the call.

    moments           of the call
    committed_within  whether the change was committed within the call
    outcome           of both
    """

    def __init__(self, folder: Path, empty: Path, scene: Scene, at: int | None) -> None:
        folder.mkdir()
        shutil.copy(empty, folder / "log.db")
        stage = staged(_engines_on(folder / "log.db"))
        scene.set_up(stage)
        store = store_of(stage.ours)
        assert isinstance(store, SqliteStore)
        changed: list[Any] = []

        def change() -> None:
            answer = elsewhere(lambda: told(scene.change, stage))
            if answer != Unavailable.code:
                changed.append(answer)

        self.moments = Moments(at, change)
        with self.moments.watching(store):
            called = told(scene.call, stage)
        self.committed_within = bool(changed)
        if not changed:
            changed.append(told(scene.change, stage))
        self.outcome: Outcome = outcome(stage, called, changed[0])
        stage.others.close()
        stage.ours.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds nothing, for each run to begin with a copy of."""
    return empty_store_in(tmp_path_factory.mktemp("empty"))


def _engines_on(path: Path) -> Callable[[ManualClock, SeededEntropy], Engine]:
    """The first engine opens the file as all do, the second with turns that are no business of the first."""
    opened: list[SqliteStore] = []

    def engine_at(clock: ManualClock, entropy: SeededEntropy) -> Engine:
        if opened:
            ticket = TicketLock(str(path.with_name("other")))
            opened.append(SqliteStore(str(path), ticket, clock, "normal", BUSY_MS))
        else:
            opened.append(open_at(path, clock))
        return Engine(opened[-1], clock=clock, entropy=entropy)

    return engine_at


def following(at: int, names: list[str], was_refused: bool) -> int:
    """The moment to try after this one: while the call holds the lock each third is enough, and the commit."""
    return at + (3 if was_refused and "COMMIT" not in names[at : at + 3] else 1)


@pytest.mark.parametrize("each_moment", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SCENES)
def test_a_change_at_any_moment_of_a_call_comes_wholly_before_or_behind_it(
    tmp_path: Path, empty: Path, name: str, each_moment: bool
) -> None:
    """[LOG-1] [LOG-2] [RECORD-3] Only the campaign leaves out no moment at which the change is refused."""
    scene = SCENES[name]
    behind, before = in_order(scene, call_first=True), in_order(scene, call_first=False)
    assert behind != before
    undisturbed = Run(tmp_path / "undisturbed", empty, scene, None)
    assert undisturbed.outcome == behind
    seen: dict[str, set[str]] = {"before": set(), "behind": set(), "refused": set()}
    at, count = 0, len(undisturbed.moments.names)
    while at < count:
        run = Run(tmp_path / str(at), empty, scene, at)
        moment = f"{at}: {run.moments.names[at]}"
        assert run.outcome in (before, behind), moment
        how = "refused" if not run.committed_within else "before" if run.outcome == before else "behind"
        seen[how].add(moment)
        # With the change before it the call may take more statements than without.
        count = len(run.moments.names)
        at = following(at, run.moments.names, how == "refused" and not each_moment)
    assert all(seen.values()), seen
