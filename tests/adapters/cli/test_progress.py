"""Bars: on a terminal alone, as wide as fits, never in the way of an answer, and gone when a command is interrupted."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.cli.calls import past
from tests.adapters.cli.forked import run
from tests.adapters.cli.terminal import Shown, on_terminal

SHOW_CURSOR = "\x1b[?25h"
WORDS = {
    "create": ["create", "--many"],
    "verify": ["verify"],
    "rebuild": ["rebuild"],
    "prune": ["prune", "--older-than", "24h"],
}
LINES = b'{"kind": "k"}\n' * 7
# Slices of three lines, so that a bar has something to show on its way.
BY_THREE = "slice=3"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a task, made once to be copied."""
    path = tmp_path_factory.mktemp("made") / "store.db"
    with past(path) as engine:
        engine.create("k", id="t", inputs={"spec": b"bytes"})
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copy(made, tmp_path / "store.db")
    return tmp_path / "store.db"


def shown(path: Path, name: str, *words: str, **settings: Any) -> Shown:
    if name == "create":
        settings = {"given": LINES, "places": BY_THREE, **settings}
    return on_terminal(*WORDS[name], *words, "--db", str(path), **settings)


@pytest.mark.parametrize("name", ["verify", "rebuild", "prune"])
def test_an_audit_a_rebuild_and_a_pruning_show_a_bar_on_a_terminal(path: Path, name: str) -> None:
    answer = shown(path, name)

    assert 0 == answer.status
    assert f"{name}  [------------------------------]    0%" == answer.frames[0]
    assert f"{name}  [##############################]  100%" == answer.frames[-1]
    assert answer.raw.endswith(f"{SHOW_CURSOR}\r\n")
    assert 1 == len(answer.out.splitlines())


def test_creating_from_a_pipe_shows_how_many_there_are_and_how_fast(path: Path) -> None:
    answer = shown(path, "create")

    assert (0, 7) == (answer.status, len(answer.out.splitlines()))
    counts = [re.fullmatch(r"create  (\d) tasks, [\d,]+/s", frame) for frame in answer.frames]
    assert "create" == answer.frames[0]
    assert ["3", "6", "7"] == [found[1] for found in counts if found]


def test_creating_from_a_file_shows_how_much_of_it_is_done(path: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(LINES)
    with open(tmp_path / "in", "rb") as given:
        answer = shown(path, "create", given=None, stdin=given)

    found = [re.search(r"\] +(\d+)%  (\d) tasks", frame) for frame in answer.frames]
    assert [("42", "3"), ("85", "6"), ("100", "7")] == [(one[1], one[2]) for one in found if one]


def test_ids_on_the_same_terminal_stand_on_lines_of_their_own(path: Path) -> None:
    answer = shown(path, "create", answers_too=True)

    drawn = [frame for frame in answer.frames if frame.startswith("create")]
    ids = [frame for frame in answer.frames if not frame.startswith("create")]
    assert ["create", *(f"create  {count} tasks" for count in (3, 6, 7))] == [one.partition(",")[0] for one in drawn]
    assert (0, 7) == (answer.status, len(ids))
    assert all(re.fullmatch(r"[0-9A-Z]{26}", one) for one in ids)
    # The line of the bar is cleared before an answer is written into it.
    assert 3 == answer.raw.count("\r\x1b[K")


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("columns", [40, 57])
def test_a_bar_fits_into_the_width_of_its_terminal(path: Path, name: str, columns: int) -> None:
    """Of standard error, that is: standard output is a pipe, and the environment says another width."""
    answer = shown(path, name, columns=columns, COLUMNS="200")

    assert 0 == answer.status
    assert columns > max(map(len, answer.frames))
    assert any(frame.startswith(name) for frame in answer.frames)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize(
    ("words", "settings"),
    [
        pytest.param(["--json"], {}, id="json"),
        pytest.param([], {"TERM": "dumb"}, id="dumb"),
        pytest.param([], {"columns": 39}, id="narrow"),
    ],
)
def test_there_is_no_bar_where_it_was_not_wanted_or_has_no_room(
    path: Path, name: str, words: list[str], settings: dict[str, Any]
) -> None:
    answer = shown(path, name, *words, **settings)

    assert (0, "") == (answer.status, answer.raw)


@pytest.mark.parametrize("name", WORDS)
def test_there_is_no_bar_in_a_pipe(path: Path, name: str) -> None:
    answer = run(*WORDS[name], "--db", str(path), given=LINES if name == "create" else b"")

    assert (0, "") == (answer.status, answer.err)


@pytest.mark.parametrize("name", WORDS)
def test_a_bar_has_no_colour(path: Path, name: str) -> None:
    """`NO_COLOR` is respected, for there is nothing that it could forbid."""
    answer = shown(path, name, NO_COLOR="1")

    assert 0 == answer.status
    assert "%" in answer.raw or "tasks" in answer.raw
    assert not re.search(r"\x1b\[[0-9;]*m", answer.raw)


def test_a_terminal_that_has_no_width_is_taken_for_80_columns(path: Path) -> None:
    assert shown(path, "verify", columns=0).frames[0].startswith("verify  [---")


def test_remarks_and_errors_stand_below_or_above_the_bar(path: Path, tmp_path: Path) -> None:
    made = on_terminal("create", "--many", "--db", str(tmp_path / "new.db"), given=b'{"kind": "k"}\n')
    broken = shown(path, "create", given=LINES[:-1] + b"}")

    assert made.frames[0].startswith("note: there was no store")
    assert "create" == made.frames[1]
    assert broken.frames[-2].startswith("error: line 7: ")
    assert f"{SHOW_CURSOR}\r\nerror: " in broken.raw


def test_an_interrupted_command_leaves_the_terminal_as_it_was(path: Path) -> None:
    """A process that interrupts itself, in the middle of what it does."""
    program = (
        "import os, signal; from sagalog.engine import audit; from sagalog_cli import main\n"
        "audit._read = lambda _: os.kill(os.getpid(), signal.SIGINT)\n"
        "main(prog_name='sagalog')"
    )
    answer = on_terminal("verify", "--db", str(path), program=("-c", program))

    assert (130, "") == (answer.status, answer.out)
    assert answer.raw.endswith(f"{SHOW_CURSOR}\r\nerror: interrupted; the store keeps what was answered\r\n")
