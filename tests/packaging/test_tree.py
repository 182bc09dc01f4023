"""The tree is fit to be published: it names no machine and no package index.

Rule: every file that git would keep is read, text or not; what `.gitignore` names is left out.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.packaging.tree import ROOT, kept_files

# Put together here, so that this file can be read like any other.
MARKS = [
    "/" + "root/",
    "/" + "work/",
    "index" + "-url",
    "index" + "_url",
    "/" + "simple/",
]


@pytest.mark.parametrize("mark", MARKS)
def test_no_file_names_a_machine_or_a_package_index(mark: str) -> None:
    naming = [path for path in kept_files(ROOT) if mark.encode() in path.read_bytes()]

    assert naming == []


def test_the_walk_reads_the_tree_and_leaves_out_what_git_ignores(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text(".venv*/\n__pycache__/\n", encoding="utf-8")
    for name in (".venv-demo/a", ".git", "engine/__pycache__/b.pyc", "engine/c.py", ".ci/run"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")

    kept = {str(path.relative_to(tmp_path)) for path in kept_files(tmp_path)}

    assert kept == {".gitignore", "engine/c.py", ".ci/run"}


@pytest.mark.parametrize("verb", ["dev", ".ci/run"])
def test_the_verbs_can_be_executed(verb: str) -> None:
    assert os.access(ROOT / verb, os.X_OK)
