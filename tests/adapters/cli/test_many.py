"""`create --many` with more lines than one commit holds: slices, what is told when it ends early, and how to go on."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from sagalog import failpoints
from sagalog.kernel.bounds import BATCH_COMMANDS_MAX
from sagalog_cli import main, slices
from sagalog_cli.commands import creation
from tests.adapters.cli.calls import Answer, call, past, url_of
from tests.adapters.cli.held import Held, held


@pytest.fixture
def path(empty: Path, tmp_path: Path) -> Path:
    """A store that exists and is empty."""
    shutil.copy(empty, tmp_path / "store.db")
    return tmp_path / "store.db"


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of three lines, for calls within this process."""
    monkeypatch.setattr(slices, "BATCH_COMMANDS_MAX", 3)


def lines(count: int, first: int = 1, with_ids: bool = False) -> str:
    """Lines that differ; the payload says which line it is."""
    named = [{"id": f"t{number}"} if with_ids else {} for number in range(first, first + count)]
    return "".join(
        json.dumps({"kind": "k", "payload": number, **name}) + "\n" for number, name in enumerate(named, first)
    )


def create(path: Path, given: str | bytes, *words: str) -> Answer:
    return call("create", "--many", *words, "--db", url_of(path), given=given)


def payloads(path: Path) -> list[Any]:
    """What was created, in order; of a log that an audit finds whole."""
    with past(path) as engine:
        assert engine.verify().ok
        return [task.payload for task in engine.find()]


@contextmanager
def at_commit(number: int, work: Callable[[], None], place: str = "commit.before_commit") -> Iterator[list[int]]:
    """Within the block, something happens in the commit of this number; which commits there were."""
    commits: list[int] = []

    def reach() -> None:
        commits.append(len(commits) + 1)
        if len(commits) == number:
            work()

    failpoints.armed[place] = reach
    try:
        yield commits
    finally:
        del failpoints.armed[place]


def refuse(error: Exception) -> Callable[[], None]:
    def raising() -> None:
        raise error

    return raising


# --- slices -----------------------------------------------------------------------------------------------------------


def test_any_number_of_lines_is_created_a_commit_a_slice(path: Path, three: None) -> None:
    with at_commit(0, lambda: None) as commits:
        answer = create(path, lines(8, with_ids=True))

    assert (0, [f"t{number}" for number in range(1, 9)], "") == (answer.status, answer.lines, answer.err)
    assert [1, 2, 3] == commits
    assert [*range(1, 9)] == payloads(path)


def slices_of(monkeypatch: pytest.MonkeyPatch, given: bytes) -> list[tuple[int, int]]:
    """The first and the last line of each slice."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    return [(one.numbers[0], one.numbers[-1]) for one in slices.read_slices(len)]


def test_a_slice_has_as_many_lines_as_a_batch_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    count = BATCH_COMMANDS_MAX

    assert [(1, count), (count + 2, count + 2)] == slices_of(monkeypatch, b"1\n" * count + b"\n1\n")
    assert [(1, count)] == slices_of(monkeypatch, b"1\n" * count)


def test_a_slice_is_bounded_in_bytes_and_a_longer_line_is_one_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES_MAX", 10)

    found = slices_of(monkeypatch, b"1234\n1234\n1\n" + b"x" * 20 + b"\n12\n")

    assert [(1, 2), (3, 3), (4, 4), (5, 5)] == found


class Spec(dict[str, Any]):
    """A line's arguments, of which one can see whether they are still held."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # each is itself alone, whatever it holds


class Made(io.RawIOBase):
    """So many lines of 20 kB, made as they are read, and perhaps a failure behind them."""

    def __init__(self, count: int, failure: OSError | None) -> None:
        super().__init__()
        self._left = count
        self._failure = failure

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            if self._failure is not None:
                raise self._failure
            return 0
        self._left -= 1
        line = json.dumps({"kind": "k", "payload": "x" * 20_000}).encode() + b"\n"
        buffer[: len(line)] = line
        return len(line)


def feed(monkeypatch: pytest.MonkeyPatch, count: int, failure: OSError | None = None) -> None:
    source = io.BufferedReader(Made(count, failure), 32_768)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source, isatty=lambda: False))


def test_no_more_lines_are_read_or_held_than_a_slice_needs(
    path: Path, three: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    living: weakref.WeakSet[Spec] = weakref.WeakSet()
    read, lines_read = creation._spec, []
    counts: list[tuple[int, int]] = []
    held_at_once: list[int] = []

    def spec(line: bytes) -> Spec:
        lines_read.append(len(line))
        made = Spec(read(line))
        living.add(made)
        held_at_once.append(len(living))
        return made

    monkeypatch.setattr(creation, "_spec", spec)
    feed(monkeypatch, 9)

    with at_commit(0, lambda: None):
        failpoints.armed["commit.before_commit"] = lambda: counts.append((len(lines_read), len(living)))
        assert 0 == main(["create", "--many", "--db", str(path)], standalone_mode=False)

    assert [(3, 3), (6, 3), (9, 3)] == counts
    # A slice that is done is let go before the next one is read.
    assert [1, 2, 3] * 3 == held_at_once
    assert 9 == len(capfd.readouterr().out.splitlines())


def test_memory_does_not_grow_with_the_input(
    path: Path, three: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes are counted, not time: the whole of the longer input would be 2.4 MB, and what it says as much again."""

    def peak_bytes(count: int) -> int:
        feed(monkeypatch, count)
        tracemalloc.reset_peak()
        begun = tracemalloc.get_traced_memory()[0]
        assert 0 == main(["create", "--many", "--db", str(path)], standalone_mode=False)
        return tracemalloc.get_traced_memory()[1] - begun

    tracemalloc.start()
    try:
        peak_bytes(3)  # imports
        short, long = peak_bytes(12), peak_bytes(120)
    finally:
        tracemalloc.stop()

    assert long < short + 400_000


# --- ends before the last line ----------------------------------------------------------------------------------------


def test_a_bad_line_leaves_earlier_slices_created_and_says_how_many(path: Path, three: None) -> None:
    given = lines(4) + '{"kind": 7}\n' + lines(2, first=6)

    answer = create(path, given)

    assert (3, 3) == (answer.status, len(answer.lines))
    assert [
        "error: line 5: Expected `str`, got `int` - at `$.kind`; tasks created: 3, of the lines before line 4",
        "hint: go on with line 4, as by `tail -n +4`; earlier lines without an id or an idempotency key would be "
        "created once more",
    ] == answer.err.splitlines()
    assert [1, 2, 3] == payloads(path)

    rest = "".join(given.splitlines(keepends=True)[3:]).replace('{"kind": 7}', '{"kind": "k", "payload": 5}')
    assert 0 == create(path, rest).status
    assert [*range(1, 8)] == payloads(path)


def test_where_all_lines_have_identities_the_whole_input_is_repeated(path: Path, three: None) -> None:
    given = lines(7, with_ids=True)
    key = '{"kind": "k", "payload": 2, "idempotency_key": "two"}\n'
    given = "".join([*given.splitlines(keepends=True)[:1], key, *given.splitlines(keepends=True)[2:]])

    broken = create(path, given.replace('"payload": 5', '"payload": 5,'), "--json")
    assert (3, 5, 3, 4) == (broken.status, *(broken.error[name] for name in ("line", "created", "next_line")))
    assert broken.error["hint"].startswith("repeat the whole input: ")
    assert ["pending"] * 3 == [task["state"] for task in broken.documents]

    again = create(path, given)
    assert (0, 7) == (again.status, len(again.lines))
    assert [*range(1, 8)] == payloads(path)


def test_a_line_that_the_engine_refuses_takes_its_whole_slice_with_it(path: Path, three: None) -> None:
    create(path, '{"kind": "other", "id": "there"}\n')

    answer = create(path, lines(4) + '{"kind": "k", "id": "there"}\n', "--json")

    assert (3, "already_exists", 5, 3, 4) == (
        answer.status,
        *(answer.error[name] for name in ("code", "line", "created", "next_line")),
    )
    assert [None, 1, 2, 3] == payloads(path)


def test_for_a_bad_line_in_the_first_slice_nothing_is_created(path: Path, three: None) -> None:
    answer = create(path, lines(2) + "{}\n")

    assert answer.err.startswith("error: line 3: Object missing required field `kind`; nothing was created\nhint: ")
    assert (3, []) == (answer.status, payloads(path))


def test_a_full_disk_is_told_with_what_was_created(path: Path, three: None) -> None:
    with at_commit(2, refuse(apsw.FullError("database or disk is full"))):
        answer = create(path, lines(7), "--json")

    assert (6, "unavailable", 3, 4) == (
        answer.status,
        *(answer.error[name] for name in ("code", "created", "next_line")),
    )
    assert answer.error["message"].endswith("; tasks created: 3, of the lines before line 4")
    assert [1, 2, 3] == payloads(path)


@pytest.mark.parametrize("with_ids", [False, True])
def test_a_slice_of_unknown_outcome_is_told_by_its_lines(path: Path, three: None, with_ids: bool) -> None:
    """[REPEAT-2]"""
    given = lines(7, with_ids=with_ids)
    with at_commit(2, refuse(apsw.IOError("the disk has gone")), "commit.after_commit"):
        answer = create(path, given, "--json")

    assert (7, "unknown", 3, 4, 6) == (
        answer.status,
        *(answer.error[name] for name in ("code", "created", "next_line", "perhaps_until_line")),
    )
    assert "tasks created: 3, of the lines before line 4, and perhaps those of lines 4 to 6" in answer.error["message"]
    if with_ids:
        assert answer.error["hint"].startswith("repeat the whole input: ")
        assert 0 == create(path, given).status
        assert [*range(1, 8)] == payloads(path)
    else:
        assert "`sagalog list`" in answer.error["hint"]
        assert "line 7 or 4" in answer.error["hint"]


def test_an_identity_counts_only_where_something_may_have_been_created(path: Path, three: None) -> None:
    """Lines of a slice that was refused are created by the repetition, once."""
    answer = create(path, lines(3, with_ids=True) + lines(1, first=4) + "{}\n", "--json")

    assert answer.error["hint"].startswith("repeat the whole input: ")


# --- real processes ---------------------------------------------------------------------------------------------------


def send(process: Held, given: str) -> None:
    process.process.stdin.write(given.encode())
    process.process.stdin.flush()


def next_ids(process: Held, count: int) -> list[bytes]:
    return [process.process.stdout.readline() for _ in range(count)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_slices_says_what_was_created(path: Path, number: signal.Signals, status: int) -> None:
    with held("slice=3", "create", "--many", "--json", "--db", str(path)) as process:
        send(process, lines(3))
        assert [1, 2, 3] == [json.loads(one)["payload"] for one in next_ids(process, 3)]
        send(process, lines(1, first=4))
        process.process.send_signal(number)
        ended, out, err = process.end()

    error = json.loads(err)["error"]
    assert (status, "", 3, 4) == (ended, out, error["created"], error["next_line"])
    assert error["message"].endswith("; tasks created: 3, of the lines before line 4")
    assert [1, 2, 3] == payloads(path)


def test_ctrl_c_within_a_slice_waits_until_it_is_created_and_told(path: Path) -> None:
    with held("slice=3,commit", "create", "--many", "--db", str(path)) as process:
        send(process, lines(5))
        process.reached()
        process.process.send_signal(signal.SIGINT)
        process.let_go()
        status, out, err = process.end()

    assert (130, 3) == (status, len(out.splitlines()))
    assert err.startswith("error: interrupted; tasks created: 3, of the lines before line 4\nhint: ")
    assert [1, 2, 3] == payloads(path)


def test_a_second_ctrl_c_in_a_slice_ends_at_once_and_says_what_is_in_doubt(path: Path) -> None:
    with held("slice=3,commit", "create", "--many", "--db", str(path)) as process:
        send(process, lines(5))
        process.reached()
        process.process.send_signal(signal.SIGINT)
        # Two of one kind at once may be heard as one.
        process.process.send_signal(signal.SIGTERM)
        status, out, err = process.end()

    assert status in (130, 143)
    assert ("", []) == (out, payloads(path))
    assert "; tasks created: 0, of the lines before line 1, and perhaps those of lines 1 to 3\nhint: look with" in err
    assert "Traceback" not in err


def test_without_a_reader_of_the_ids_it_says_what_was_created(path: Path) -> None:
    with held("slice=3", "create", "--many", "--db", str(path)) as process:
        send(process, lines(3))
        next_ids(process, 3)
        process.process.stdout.close()
        send(process, lines(7, first=4))
        process.process.stdin.close()
        status, _, err = process.end()

    assert (141, 2) == (status, len(err.splitlines()))
    assert err.startswith(
        "error: the reader of the ids has gone; tasks created: 6, of the lines before line 7\nhint: go on with line 7"
    )
    assert [*range(1, 7)] == payloads(path)


def test_if_ids_cannot_be_written_it_says_what_was_created(path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(lines(7))
    with (
        open("/dev/full", "wb") as full,
        open(tmp_path / "in", "rb") as given,
        held("slice=3", "create", "--many", "--db", str(path), stdin=given, stdout=full) as process,
    ):
        status, _, err = process.end()

    assert (9, 2) == (status, len(err.splitlines()))
    assert "No space left on device; tasks created: 3, of the lines before line 4\n" in err
    assert [1, 2, 3] == payloads(path)


def test_an_input_that_cannot_be_read_on_is_told_with_what_was_created(
    path: Path, three: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, 4, OSError(5, "Input/output error"))

    assert 6 == main(["create", "--many", "--db", str(path)], standalone_mode=False)

    out, err = capfd.readouterr()
    assert 3 == len(out.splitlines())
    assert "error: the system refused: [Errno 5] Input/output error; tasks created: 3, of the lines before" in err
