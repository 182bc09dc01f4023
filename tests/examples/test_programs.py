"""The programs of `docs/examples` are short enough for one page, and have types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.cli.calls import ROOT
from tests.examples.programs import PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_program_is_shorter_than_sixty_lines(program: Path) -> None:
    assert len(program.read_text(encoding="utf-8").splitlines()) < 60


def test_the_programs_pass_the_strict_type_checker() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, PROGRAMS)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
