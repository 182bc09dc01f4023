"""`sagalog tail`: which events it shows, how they look, how it follows, and how it ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sagalog
from sagalog import Engine
from tests.adapters.cli.calls import Answer, call, leased, past, url_of
from tests.adapters.cli.forked import run, start
from tests.contract.tampering import tamper


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events: 1 the founding, 2 to 4 of `done`, 5 and 6 of `runs` in the queue ops, 7 of `waits`."""
    path = tmp_path_factory.mktemp("made") / "store.db"
    with past(path) as engine:
        leased(engine, "done").complete({"ok": True})
        leased(engine, "runs", queue="ops")
        engine.create("deploy", id="waits", actor="ann")
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(made, tmp_path / "store.db"))


def tail(path: Path, *words: str) -> Answer:
    return call("tail", "--no-follow", *words, "--db", url_of(path))


def positions(answer: Answer) -> list[int]:
    return [document["position"] for document in answer.documents]


class Following:
    """A `tail` that follows, as a process of its own."""

    def __init__(self, path: Path, *words: str, **settings: Any) -> None:
        self.process = start("tail", *words, "--json", "--db", str(path), stdin=subprocess.DEVNULL, **settings)

    def line(self) -> dict[str, Any]:
        """The next event that it shows."""
        assert self.process.stdout is not None
        document: dict[str, Any] = json.loads(self.process.stdout.readline())
        return document

    def lines(self, count: int) -> list[int]:
        """The positions of the next events that it shows."""
        return [self.line()["position"] for _ in range(count)]

    def ends(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """Its status after a signal, and what was left to read, as far as the test can read it."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.wait(), out, err


@pytest.fixture
def open_engine(path: Path) -> Iterator[Engine]:
    with sagalog.open(url_of(path), durability="normal") as engine:
        yield engine


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_piped_line_tells_position_time_name_type_actor_and_details(path: Path) -> None:
    answer = tail(path, "--after", "4")

    assert (0, "") == (answer.status, answer.err)
    at = "2023-11-14T22:13:20.000Z"
    assert [
        ["5", at, "task/runs@1", "created", "-", "kind=build", "queue=ops", "priority=0", "run_at=now"],
        ["6", at, "task/runs@2", "leased", "worker:worker-1", "owner=worker-1", "fence=1", "attempt=1", "purpose=work"],
        ["7", at, "task/waits@1", "created", "user:ann", "kind=deploy", "queue=default", "priority=0", "run_at=now"],
    ] == [line.split()[:9] for line in answer.lines]
    assert [answer.lines[0].index("created")] * 2 == [
        answer.lines[1].index("leased"),
        answer.lines[2].index("created"),
    ]


def test_lines_that_come_one_by_one_are_aligned(path: Path) -> None:
    assert tail(path, "--after", "4").lines == [
        line for number in (4, 5, 6) for line in tail(path, "--after", str(number)).lines[:1]
    ]


def test_json_is_that_of_the_history(path: Path) -> None:
    history = call("history", "done", "--json", "--db", url_of(path))

    assert history.documents == tail(path, "--task", "done", "--json").documents


def test_at_first_come_the_last_ten(path: Path, open_engine: Engine) -> None:
    for number in range(8):
        open_engine.note("waits", f"remark {number}")

    assert list(range(6, 16)) == positions(tail(path, "--json"))


def test_of_what_is_filtered_the_last_ten_that_fit_are_looked_for(path: Path, open_engine: Engine) -> None:
    for number in range(1_200):
        open_engine.note("waits", f"remark {number}")

    assert [5, 6] == positions(tail(path, "--queue", "ops", "--json"))
    assert [2, 5, 7] == positions(tail(path, "--type", "created", "--json"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--from-start"], [1, 2, 3, 4, 5, 6, 7]),
        (["--after", "0"], [1, 2, 3, 4, 5, 6, 7]),
        (["--after", "5"], [6, 7]),
        (["--after", "7"], []),
        (["--task", "runs"], [5, 6]),
        (["--task", "nobody"], []),
        (["--queue", "ops"], [5, 6]),
        (["--queue", "default", "--after", "2"], [3, 4, 7]),
        (["--type", "created", "--type", "completed"], [2, 4, 5, 7]),
        (["--type", "founded"], [1]),
        (["--type", "created", "--queue", "default", "--task", "done"], [2]),
        (["--queue", "ops", "--task", "done"], []),
    ],
)
def test_only_what_fits_everything_given_is_shown(path: Path, words: list[str], expected: list[int]) -> None:
    answer = tail(path, *words, "--json")

    assert (0, expected) == (answer.status, positions(answer))
    notes = [json.loads(line)["note"]["code"] for line in answer.err.splitlines()]
    assert ([] if expected else ["empty"]) == notes


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--after", "1", "--from-start"], "exclude"),
        (["--after", "-1"], "--after"),
        (["--after", "x"], "--after"),
        (["--type", "complete"], "--type"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(path: Path, words: list[str], named: str) -> None:
    answer = tail(path, *words)

    assert (2, True) == (answer.status, named in answer.err)


def test_a_position_beyond_the_log_is_refused(path: Path) -> None:
    answer = tail(path, "--after", "8", "--json")

    assert (3, "invalid_value", "after") == (answer.status, answer.error["code"], answer.error["path"])


def test_an_event_that_cannot_be_read_ends_it_behind_all_that_comes_before(path: Path) -> None:
    """[SUBSCRIBE-4] [LOG-4] What was changed, and no newer version has written, is told as that."""
    tamper(path, ("UPDATE events SET schema = 9 WHERE position = ?", [6]))

    for words in ([], ["--from-start"], ["--queue", "ops"]):
        answer = tail(path, *words, "--json")
        assert (8, "log_damaged") == (answer.status, answer.error["code"])
        assert 5 == positions(answer)[-1]


# --- following --------------------------------------------------------------------------------------------------------


def test_it_follows_what_another_process_writes(path: Path) -> None:
    following = Following(path, "--after", "7")

    call("create", "build", "--id", "new", "--db", url_of(path))
    assert "task/new" == following.line()["stream"]
    call("note", "new", "seen", "--db", url_of(path))
    assert ("noted", 2) == ((line := following.line())["type"], line["version"])
    assert (143, b"") == following.ends()[:2]


def test_an_event_is_shown_long_before_it_would_be_looked_for(path: Path, open_engine: Engine) -> None:
    """Twenty commits of another process, each waited for: at a look every 100 ms that would take two seconds."""
    following = Following(path, "--after", "6")
    assert [7] == following.lines(1)

    began = time.monotonic()
    for number in range(20):
        open_engine.note("waits", f"remark {number}")
        following.line()
    took_s = time.monotonic() - began

    following.ends()
    assert took_s < 1


def test_it_shows_a_queue_alone_while_others_are_written(path: Path, open_engine: Engine) -> None:
    following = Following(path, "--queue", "ops")
    assert [5, 6] == following.lines(2)

    open_engine.note("done", "not of this queue")
    open_engine.create("build", id="new", queue="ops")
    open_engine.note("new", "of this queue")
    open_engine.note("runs", "of this queue")

    assert [9, 10, 11] == following.lines(3)
    assert 143 == following.ends()[0]


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_its_own_status(path: Path, number: signal.Signals, status: int) -> None:
    following = Following(path, "--from-start")
    following.lines(7)

    ended, out, err = following.ends(number)

    assert (status, b"", 1) == (ended, out, err.count(b"\n"))


def test_a_reader_that_has_gone_ends_it_though_nothing_happens(path: Path) -> None:
    following = Following(path, "--after", "6")
    following.lines(1)
    process = following.process
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()

    assert (0, b"") == (process.wait(60), process.stderr.read())
    process.stderr.close()


def test_a_reader_that_goes_amid_the_answer_ends_it_with_status_0(path: Path, open_engine: Engine) -> None:
    open_engine.create_many({"kind": "build", "payload": "x" * 500} for _ in range(2_000))
    process = start("tail", "--from-start", "--json", "--db", str(path), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert (0, b"") == (process.wait(60), process.stderr.read())
    process.stderr.close()


def test_a_signal_ends_it_though_no_process_reads_its_full_pipe(path: Path, open_engine: Engine) -> None:
    open_engine.create_many({"kind": "build", "payload": "x" * 500} for _ in range(2_000))
    following = Following(path, "--from-start")
    following.lines(1)

    # It hangs in its pipe, and does not offer the rest of it a second time.
    following.process.terminate()

    assert 143 == following.process.wait(60)
    following.process.communicate()


# --- under a name -----------------------------------------------------------------------------------------------------


def test_under_a_name_it_goes_on_where_it_stopped(path: Path, open_engine: Engine) -> None:
    """[SUBSCRIBE-2]"""
    assert [1, 2, 3, 4, 5, 6, 7] == positions(tail(path, "--name", "ci", "--json"))
    assert "note: no event fits\n" == tail(path, "--name", "ci").err

    open_engine.note("waits", "seen")
    assert [8] == positions(tail(path, "--name", "ci", "--json"))
    assert 8 == open_engine.subscribe("ci").position


def test_where_a_name_is_known_it_says_that_it_goes_on_there(path: Path) -> None:
    tail(path, "--name", "ci", "--after", "5")

    answer = tail(path, "--name", "ci", "--from-start")

    assert "note: ci goes on after position 7, where it stopped\nnote: no event fits\n" == answer.err


def test_a_checkpoint_passes_over_what_did_not_fit(path: Path, open_engine: Engine) -> None:
    assert [2] == positions(tail(path, "--name", "ci", "--from-start", "--task", "done", "--type", "created", "--json"))

    assert 7 == open_engine.subscribe("ci").position


def test_what_a_closed_pipe_did_not_take_comes_again(path: Path, open_engine: Engine) -> None:
    """[SUBSCRIBE-2]"""
    open_engine.create_many({"kind": "build", "payload": "x" * 500} for _ in range(2_000))
    process = start("tail", "--name", "ci", "--from-start", "--json", "--db", str(path), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.stdout.close()
    process.communicate(timeout=60)

    again = positions(tail(path, "--name", "ci", "--json"))

    # The first page is larger than a pipe, so it was never written out as a whole.
    assert 1 == first["position"]
    assert list(range(1, 2_008)) == again


def test_a_killed_follower_leaves_nothing_out(path: Path, open_engine: Engine) -> None:
    """[SUBSCRIBE-1] [SUBSCRIBE-2]"""
    seen: list[int] = []
    for turn in range(4):
        following = Following(path, "--name", "ci", "--from-start")
        for number in range(5):
            open_engine.note("waits", f"remark {turn} {number}")
        while not seen or seen[-1] < open_engine.newest_position():
            seen += following.lines(1)
        following.process.kill()
        following.process.communicate()

    assert set(range(1, 28)) == set(seen)


def test_of_two_under_one_name_one_ends_with_status_5(path: Path, open_engine: Engine) -> None:
    """[SUBSCRIBE-3]"""
    both = [Following(path, "--name", "ci", stdout=subprocess.DEVNULL) for _ in range(2)]
    while all(one.process.poll() is None for one in both):
        open_engine.create("build")

    [loser] = [one for one in both if one.process.poll() is not None]
    _, err = loser.process.communicate()
    error = json.loads(err)["error"]
    assert (5, "conflict", "ci") == (loser.process.returncode, error["code"], error["subscription"])
    both.remove(loser)
    assert (143, b"") == both[0].ends()[:2]


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    answer = run("tail", "--db", str(tmp_path / "typo.db"))

    assert (6, []) == (answer.status, list(tmp_path.iterdir()))
