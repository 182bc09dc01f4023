"""`docs/tutorial.md` is true: its files are written, its commands run in one shell, and they say what the page shows.

A shown line need not be the whole answer: `…` means anything, and lines may be left out. What differs from run to
run (times, ids, numbers of processes) is compared by its form.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from tests.adapters.cli.calls import ROOT, environment

TEXT: Final = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK: Final = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MARK: Final = "=====8<====="
# What differs from run to run -> how it looks.
VOLATILE: Final = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z": "time",
    r"\b[0-9A-HJKMNP-TV-Z]{26}\b": "ULID",
    r"\bworker-\S+-\d+(?:-[0-9A-Z]{8})?\b": "worker",
    r"\b(first|second)-[0-9A-Z]{8}\b": r"\1",
    r"\+\d+(?:ms|\.\d{3}s)": "since",
    r"^\d+ +\d+ ": "place ",
    r"\b\d+ (renewals|commits|events)\b": r"n \1",
}


class Command(NamedTuple):
    """A command of the page, and the lines that the page shows below it."""

    words: str
    shown: list[str]


def files() -> dict[str, str]:
    """The blocks of Python by the name that their first line gives."""
    blocks = [block for language, block in BLOCK.findall(TEXT) if language == "python"]
    return {block.partition("\n")[0].removeprefix("# "): block for block in blocks}


def commands() -> Iterator[Command]:
    for language, block in BLOCK.findall(TEXT):
        if language == "console":
            for one in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                words, _, shown = one.partition("\n")
                yield Command(words, shown.splitlines())


def steady(line: str) -> str:
    """A line without what differs from run to run."""
    for volatile, name in VOLATILE.items():
        line = re.sub(volatile, name, line)
    return " ".join(line.split())


def fits(shown: str, said: str) -> bool:
    parts = [re.escape(part) for part in steady(shown).split("…")]
    return re.fullmatch(".*".join(parts), steady(said)) is not None


def unmet(shown: list[str], said: list[str]) -> list[str]:
    """Those of the shown lines that were not said, in this order."""
    rest = iter(said)
    return [line for line in shown if line not in ("", "…") and not any(fits(line, one) for one in rest)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Command, list[str]]]:
    """Every command with what it said, all of them typed into one shell in a folder with the files of the page."""
    folder, tools = tmp_path_factory.mktemp("tutorial"), tmp_path_factory.mktemp("tools")
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, words in {"sagalog": f"{sys.executable} -m sagalog_cli", "python": sys.executable}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (tools / name).chmod(0o755)
    script = "".join(f"{command.words}\necho '{MARK}'\n" for command in commands())
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=environment(PATH=f"{tools}:{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout
    said = [part.strip("\n").splitlines() for part in done.stdout.split(f"{MARK}\n")]
    return list(zip(commands(), said[:-1], strict=True))


def test_the_page_has_its_two_files_and_its_commands() -> None:
    assert ["tasks.py", "review.py"] == list(files())
    assert 20 <= len(list(commands()))


def test_every_command_says_what_the_page_shows(answers: list[tuple[Command, list[str]]]) -> None:
    wrong = {command.words: (unmet(command.shown, said), said) for command, said in answers}

    assert {} == {words: found for words, found in wrong.items() if found[0]}


def test_the_killed_worker_and_the_next_one_did_just_what_the_page_says(
    answers: list[tuple[Command, list[str]]],
) -> None:
    said = {command.words: lines for command, lines in answers}
    done = {
        name: [line for line in said[words] if re.match("making|writing|adding", line)]
        for name, words in {
            "first": "cat first.log",
            "second": "sagalog worker run --handlers tasks:worker --name second --until idle",
        }.items()
    }

    assert ["making the folder of red", "writing page 1 of red", "writing page 2 of red"] == done["first"]
    assert ["writing page 2 of red", "writing page 3 of red", "adding red to the index"] == done["second"]


def test_a_line_that_was_not_said_or_said_elsewhere_is_found() -> None:
    said = ["3 1 2026-11-26T16:36:05.583Z +0ms created ann kind=publish queue=sites", "b"]

    assert [] == unmet(["9    2    2027-01-01T00:00:00.000Z  +7.000s  created  ann  kind=publish …", "b"], said)
    assert ["b", "…d ann x"] == unmet(["b", "…d ann x"], said[:1])
    assert [said[0]] == unmet(["b", said[0]], said)
