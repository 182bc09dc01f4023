"""The power goes at any moment: what was acknowledged is there afterwards, and what is there is whole.

Rule: a store works on files that write down every write, truncation, sync and deletion. From that the disk is made
again as a power cut may leave it: what was synced is kept, and of what was not, each write by itself is lost, kept, or
torn at sectors, some of them garbage. Then the store is opened from it, once more with the power going while SQLite
recovers, and compared with what was acknowledged. A disk that lies about a sync is not modelled, nor is a directory
entry that is lost by itself.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

import sagalog
from sagalog.testing import ManualClock
from sagalog_sqlite import checkpoints
from tests.adapters.sqlite.stores import START_MS, url_of

SECTOR = 512
NAME = "store.db"
TTL_MS = 1_000_000


class Entry(NamedTuple):
    """One thing that reached the files, in order; or `acked`: so many events were acknowledged by then."""

    what: str
    file: str = ""
    at: int = 0
    data: bytes = b""


class RecordedFiles(apsw.VFS):
    """The default file system while it lives, with everything that changes a file written down."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.real = apsw.vfs_names()[0]
        super().__init__("recorded", self.real, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> RecordedFile:  # noqa: N802
        return RecordedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.entries.append(Entry("delete", Path(filename).name))


class RecordedFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, files: RecordedFiles, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._entries = files.entries
        self._name = Path(str(name.filename() if isinstance(name, apsw.URIFilename) else name)).name
        super().__init__(files.real, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._entries.append(Entry("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._entries.append(Entry("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._entries.append(Entry("sync", self._name))


@contextmanager
def recorded_files() -> Iterator[RecordedFiles]:
    files = RecordedFiles()
    try:
        yield files
    finally:
        files.unregister()


# --- what is done until the power goes ------------------------------------------------------------------------------


class Story(NamedTuple):
    """A store at work: the disk before it, what reached its files, and all its events in the end."""

    before: dict[str, bytes]
    entries: list[Entry]
    events: list[tuple[str, bytes]]


def work(engine: sagalog.Engine, turns: int, name: str, acked: Callable[[], None]) -> None:
    """Whole lives of tasks: created, leased, recorded, ended; small commits and large ones."""
    for turn in range(turns):
        id = f"{name}{turn}"
        size = 9_000 if turn % 7 == 3 else 200
        undo = [sagalog.Compensation("undo", id="u")] if turn % 3 == 0 else []
        inputs = {"spec": f"{id}".encode() * 300} if turn % 5 == 0 else None
        engine.create("build", "x" * size, id=id, tags={"turn": str(turn)}, compensations=undo, inputs=inputs)
        acked()
        lease = engine.acquire(id, owner=name, ttl_ms=TTL_MS)
        acked()
        lease.step("step", {"n": turn})
        acked()
        if turn % 4 == 1:
            lease.fail("no way on", waive_compensation="harmless")
        else:
            lease.complete({"ok": turn})
        acked()
        if turn % 10 == 9:
            engine.create_many({"kind": "many", "id": f"{id}-{n}"} for n in range(20))
            acked()


def story(folder: Path, durability: str, turns: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Let a store work; checkpoints come often, so that the power goes in many of them too."""
    monkeypatch.setattr(checkpoints, "PAGES", 60)
    path = folder / NAME
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability=durability):
        pass
    before = disk_of(folder)
    with recorded_files() as files:
        engine = sagalog.open(url_of(path), clock=ManualClock(START_MS), durability=durability)

        def acked() -> None:
            # Read first: what is acknowledged by then is at least so much. Positions have no gaps. [LOG-1]
            newest = engine.newest_position()
            files.entries.append(Entry("acked", at=newest))

        crew = [threading.Thread(target=work, args=(engine, turns, f"t{n}-", acked)) for n in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
        events = [(event.stream, event.digest) for event in engine.events(limit=10_000)]
        engine.close()
        return Story(before, list(files.entries), events)


def disk_of(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name in (NAME, f"{NAME}-wal")}


# --- the disk after a power cut -------------------------------------------------------------------------------------


class Disk:
    """What is durable, and what was written since, after each entry in turn."""

    def __init__(self, before: dict[str, bytes]) -> None:
        self.durable = {name: bytearray(content) for name, content in before.items()}
        self.pending: dict[str, list[Entry]] = {}

    def take(self, entry: Entry) -> None:
        if entry.what in ("write", "truncate"):
            self.pending.setdefault(entry.file, []).append(entry)
        elif entry.what == "sync":
            content = self.durable.setdefault(entry.file, bytearray())
            for waiting in self.pending.pop(entry.file, []):
                change(content, waiting)
        elif entry.what == "delete":
            self.durable.pop(entry.file, None)
            self.pending.pop(entry.file, None)

    def after_cut(self, damage: str, entropy: random.Random) -> dict[str, bytearray]:
        """The files as the cut may leave them: what was not synced is lost, kept, or torn, each write by itself."""
        disk = {name: bytearray(content) for name, content in self.durable.items()}
        for name, waiting in self.pending.items():
            content = disk.setdefault(name, bytearray())
            for entry in waiting:
                if damage == "kept":
                    change(content, entry)
                elif damage == "torn":
                    tear(content, entry, entropy)
        return disk


def change(content: bytearray, entry: Entry) -> None:
    if entry.what == "truncate":
        del content[entry.at :]
        return
    content.extend(bytes(max(0, entry.at - len(content))))
    content[entry.at : entry.at + len(entry.data)] = entry.data


def tear(content: bytearray, entry: Entry, entropy: random.Random) -> None:
    fate = entropy.random()
    if fate < 0.3:
        change(content, entry)
    elif entry.what == "write" and fate < 0.8:
        for start in range(0, len(entry.data), SECTOR):
            sector, luck = entry.data[start : start + SECTOR], entropy.random()
            if luck < 0.50:
                change(content, Entry("write", entry.file, entry.at + start, sector))
            elif luck < 0.55:
                change(content, Entry("write", entry.file, entry.at + start, entropy.randbytes(len(sector))))


# --- what is found then ---------------------------------------------------------------------------------------------


def lay(folder: Path, disk: dict[str, bytearray]) -> Path:
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    for name, content in disk.items():
        if name in (NAME, f"{NAME}-wal"):
            (folder / name).write_bytes(content)
    return folder / NAME


def found_in(path: Path) -> list[tuple[str, bytes]]:
    """Every event that is there, in order; the store is opened, audited and closed as usual."""
    with sagalog.open(url_of(path), clock=ManualClock(START_MS), durability="normal", create=False) as engine:
        report = engine.verify()
        assert report.ok, report.faults
        return [(event.stream, event.digest) for event in engine.events(limit=10_000)]


def looked_at(path: Path) -> list[tuple[str, bytes]]:
    """The same, read by SQLite alone: a tenth of the time, and enough for most states."""
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("synchronous", "off")
        assert connection.pragma("integrity_check") == "ok"
        found: list[Any] = connection.execute(
            "SELECT e.position, s.category || '/' || s.id, e.digest FROM events e "
            "JOIN streams s ON s.number = e.stream ORDER BY e.position"
        ).fetchall()
        assert [position for position, _, _ in found] == list(range(1, len(found) + 1))
        return [(stream, digest) for _, stream, digest in found]
    finally:
        connection.close()


def cut_during_recovery(folder: Path, disk: dict[str, bytearray], entropy: random.Random) -> dict[str, bytearray]:
    """The disk after the power has gone once more, at some moment of opening, auditing and closing the store."""
    path = lay(folder, disk)
    before = disk_of(folder)
    with recorded_files() as files:
        found_in(path)
        entries = list(files.entries)
    again = Disk(before)
    for entry in entries[: entropy.randrange(len(entries) + 1)]:
        again.take(entry)
    return again.after_cut(entropy.choice(["lost", "torn", "torn"]), entropy)


class Cuts(NamedTuple):
    """How many states were looked at, in how many something acknowledged was lost, and how much at most."""

    states: int
    losing: int
    lost_most: int


def cut_everywhere(folder: Path, told: Story, states: int, seed: int) -> Cuts:
    """Cut the power at random moments of a story, with random damage; a prefix of the story must be found each time."""
    entropy = random.Random(seed)
    moments = sorted(entropy.randrange(1, len(told.entries) + 1) for _ in range(states))
    disk = Disk(told.before)
    acked = done = losing = lost_most = 0
    for moment in moments:
        for entry in told.entries[done:moment]:
            disk.take(entry)
            if entry.what == "acked":
                acked = max(acked, entry.at)
        done = moment
        damage = entropy.choice(["lost", "kept", "torn", "torn"])
        cut = disk.after_cut(damage, entropy)
        if entropy.random() < 0.1:
            cut = cut_during_recovery(folder / "cut", cut, entropy)
        path = lay(folder / "cut", cut)
        found = found_in(path) if entropy.random() < 0.1 else looked_at(path)
        where = f"seed {seed}: {damage} after entry {moment} of {len(told.entries)}"
        assert found == told.events[: len(found)], f"{where}: not what the log began with"
        if len(found) < acked:
            losing += 1
            lost_most = max(lost_most, acked - len(found))
    return Cuts(states, losing, lost_most)


STORIES: list[tuple[str, int]] = [("full", 1), ("full", 4), ("normal", 1), ("normal", 4)]


def check(folder: Path, states: int, turns: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[Any, Cuts]:
    cuts = {}
    for durability, threads in STORIES:
        place = folder / f"{durability}{threads}"
        place.mkdir()
        told = story(place, durability, turns // threads, threads, monkeypatch)
        # Beside the one at the end: how many there are depends on which threads came into one commit.
        assert sum(entry.what == "sync" and entry.file == NAME for entry in told.entries) > 1, "no checkpoints"
        cuts[durability, threads] = cut_everywhere(place, told, states // len(STORIES), seed)
    for (durability, _), found in cuts.items():
        if durability == "full":
            assert found.losing == 0, cuts
    # Else the cuts would prove nothing: without a sync a commit may be lost, the newest ones at the end of the log.
    assert any(found.losing for (durability, _), found in cuts.items() if durability == "normal"), cuts
    return cuts


def test_what_was_acknowledged_at_full_durability_outlives_the_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At normal only a tail is lost, and never a hole or a whole file. [LOG-1] [LOG-2]"""
    check(tmp_path, 800, 24, 1, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_twenty_thousand_power_cuts_lose_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[LOG-1] [LOG-2]"""
    print(check(tmp_path, 20_000, 60, 2, monkeypatch))  # noqa: T201
