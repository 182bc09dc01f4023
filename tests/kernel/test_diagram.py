"""The drawn diagrams say what the table says."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from sagalog.diagram import task_diagram, write_diagrams
from sagalog.kernel.lifecycle import TASK_LIFE, UNBORN
from sagalog.kernel.values import TERMINAL, State

DRAWN = Path(__file__).parents[2] / "docs" / "diagrams"


def test_the_diagrams_in_the_documents_are_those_that_the_table_draws(tmp_path: Path) -> None:
    """[LIFE-1]"""
    for path in write_diagrams(tmp_path / "new"):
        drawn = (DRAWN / path.name).read_text(encoding="utf-8")
        assert drawn == path.read_text(encoding="utf-8"), "run `python -m sagalog.diagram docs/diagrams`"
    assert {path.name for path in DRAWN.iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}


def test_the_diagram_of_a_task_has_an_arrow_for_every_row_and_no_other() -> None:
    """[LIFE-1]"""
    diagram = task_diagram()
    rows: set[tuple[str, str, str]] = set()
    for source, dest, events in re.findall(r"^    (\S+) --> (\w+) : (.+)$", diagram, re.MULTILINE):
        rows |= {(UNBORN if source == "[*]" else source, event, dest) for event in events.split(", ")}
    in_every_state = re.findall(r"In every state, the ended ones too: (.+)\.$", diagram, re.MULTILINE)
    rows |= {
        (str(state), event, str(state)) for names in in_every_state for event in names.split(", ") for state in State
    }
    assert rows == {(move["source"], move["trigger"], move["dest"]) for move in TASK_LIFE.moves}
    assert set(re.findall(r"^    (\w+) --> \[\*\]$", diagram, re.MULTILINE)) == {str(state) for state in TERMINAL}


def test_the_module_draws_into_the_folder_it_is_given(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-m", "sagalog.diagram", str(tmp_path)], env=environment, check=True)
    assert (tmp_path / "task.mmd").read_text(encoding="utf-8") == task_diagram()


def test_what_runs_tasks_does_not_import_what_draws_them() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = "import sys, sagalog.kernel.decide, sagalog.diagram; sys.exit('transitions' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("module", ["sagalog.diagram", "sagalog.schemas"])
def test_a_module_that_writes_files_says_how_it_is_called(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [module])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit, match=f"usage: python -m {module} FOLDER"):
        runpy.run_module(module, run_name="__main__")
