"""The tree as git would keep it: where it lies, and which files are part of it.

Rule: what `.gitignore` names is not part of it, whatever tools have left there.
Asks no git, so that it serves in an unpacked sdist too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[2]


def kept_files(root: Path) -> Iterator[Path]:
    """Give each file below `root` that git would keep."""
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    # In a linked work tree `.git` is a file, and names the machine.
    ignored = GitIgnoreSpec.from_lines([*lines, ".git"])
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not ignored.match_file(f"{here / name}/")]
        yield from (root / here / name for name in names if not ignored.match_file(here / name))
