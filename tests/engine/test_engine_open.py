"""Opening and closing: URLs, the store's own id, and what a closed engine says."""

from __future__ import annotations

from pathlib import Path

import pytest

import sagalog
from sagalog import Closed, Engine, InvalidValue, Unavailable
from sagalog.store.memory import MemoryStore
from sagalog.testing import ManualClock, SeededEntropy
from tests.conftest import START_MS, OpenEngine
from tests.engine.checking import log_of
from tests.store_of import store_of


@pytest.mark.parametrize("url", ["oracle://x", "", "agents.db", "/tmp/agents.db"])  # noqa: S108  never opened
def test_an_unknown_scheme_names_the_known_ones(url: str) -> None:
    with pytest.raises(ValueError, match="memory, sqlite"):
        sagalog.open(url)


MINE = """
from sagalog.store.memory import MemoryStore

class Mine(MemoryStore):
    pass

def open_store(url, *, create, clock, durability):
    return Mine(clock)
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that are installed for the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_package_that_is_named_after_a_scheme_opens_its_urls(packages: Path) -> None:
    (packages / "sagalog_mine.py").write_text(MINE)
    with sagalog.open("mine://anywhere") as engine:
        assert type(store_of(engine)).__name__ == "Mine"


@pytest.mark.parametrize(("scheme", "opened"), [("other", True), ("other+tls", True), ("memory", False)])
def test_a_package_with_another_name_registers_its_scheme(packages: Path, scheme: str, opened: bool) -> None:
    """It takes no scheme away from the package that is named after it."""
    (packages / f"registered_{opened}.py").write_text(MINE)
    found = packages / "registered-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: registered\nVersion: 1.0\n")
    (found / "entry_points.txt").write_text(f"[sagalog.stores]\n{scheme} = registered_{opened}:open_store\n")
    with sagalog.open(f"{scheme}:") as engine:
        assert (type(store_of(engine)).__name__ == "Mine") is opened


def test_a_path_in_place_of_a_url_is_refused_with_the_url_of_that_file() -> None:
    with pytest.raises(ValueError, match=r"the URL of a file is 'sqlite:////srv/agents\.db'$"):
        sagalog.open("/srv/agents.db")


def test_a_new_store_is_founded_once(open_engine: OpenEngine, clock: ManualClock) -> None:
    engine = open_engine()
    [founded] = log_of(engine)
    assert (founded.type, founded.stream, founded.at_ms) == ("founded", f"store/{engine.store_id}", START_MS)
    assert (founded.event.id, founded.event.format) == (engine.store_id, 0)  # type: ignore[attr-defined]


def test_opening_again_finds_the_same_store(sqlite_url: str) -> None:
    with sagalog.open(sqlite_url) as first:
        first.create("build", id="t")
        with sagalog.open(sqlite_url) as second:
            assert second.store_id == first.store_id
            assert second.get("t") == first.get("t")
            assert len(log_of(second)) == 2


def test_an_absent_store_is_not_made_where_it_must_exist(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        sagalog.open(sqlite_url, create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="always new"):
        sagalog.open("memory:", create=False)


def test_memory_has_no_name() -> None:
    with pytest.raises(ValueError, match="memory:"):
        sagalog.open("memory:agents")


def test_an_actor_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidValue) as caught:
        sagalog.open("memory:", actor="")
    assert caught.value.path == "actor"


def test_time_and_chance_are_the_machines_where_none_are_given() -> None:
    with sagalog.open("memory:") as engine:
        first, second = engine.create("build"), engine.create("build")
        assert first.id < second.id
        assert first.created_ms > START_MS


def test_an_engine_is_closed_at_the_end_of_its_block_and_says_so(open_engine: OpenEngine) -> None:
    with open_engine() as engine:
        lease = engine.acquire(engine.create("build").id, owner="ann", ttl_ms=None)
    for call in (engine.create, engine.history):
        with pytest.raises(Closed):
            call("t")
    with pytest.raises(Closed):
        lease.complete()
    with pytest.raises(Unavailable):
        engine.recover()
    engine.close()


def test_a_store_may_be_given_to_an_engine_by_hand(clock: ManualClock) -> None:
    store = MemoryStore(clock)
    first = Engine(store, clock=clock, entropy=SeededEntropy(1))
    second = Engine(store, clock=clock, entropy=SeededEntropy(2))
    first.create("build", id="t")
    assert second.store_id == first.store_id
    assert second.get("t") == first.get("t")
