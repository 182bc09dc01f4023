"""Changes of the engine that are kept as text and made in a copy of it, so that what they touch is counted by doing it.

Rule: an edit names its place by words that are once in its file; where they do no more, the edit is to be written
anew, and so is nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
ENGINE: Final = ROOT / "engine" / "sagalog"


class Edit(NamedTuple):
    """`text` that comes behind the `place`, or before it; in a new file there is no place."""

    text: str
    place: str = ""
    is_before: bool = False


# File, as seen from the package -> what is added to it.
Change = Mapping[str, Sequence[Edit]]


def behind(place: str, text: str) -> Edit:
    return Edit(text, place)


def before(place: str, text: str) -> Edit:
    return Edit(text, place, is_before=True)


def new(text: str) -> Edit:
    return Edit(text)


def changed(folder: Path, change: Change) -> Path:
    """A copy of the engine in `folder` with the change made; where it is found.

    The copy has what is compiled too: Python compares the time and the size of each source, so it takes no stale one.
    """
    package = folder / "sagalog"
    # What another process is about to compile has such a name for a moment.
    shutil.copytree(ENGINE, package, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name, edits in change.items():
        path = package / name
        content = path.read_text(encoding="utf-8") if path.exists() else ""
        for edit in edits:
            content = _edited(content, edit, name)
        path.write_text(content, encoding="utf-8")
    return folder


def without(folder: Path, whole: Path, name: str) -> Path:
    """A copy in `folder` of an engine with a change, in which one file is as it was before; where it is found."""
    package = folder / "sagalog"
    shutil.copytree(whole / "sagalog", package, copy_function=os.link)
    # The file is linked: what is written in place would be in the other copy too.
    (package / name).unlink()
    if (ENGINE / name).exists():
        shutil.copy2(ENGINE / name, package / name)
    return folder


def run(program: str, engine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of these tests by itself on a copy of the engine."""
    paths = [str(engine), str(ROOT / "adapters"), str(ROOT)]
    return subprocess.run(
        [sys.executable, "-m", program, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def _edited(content: str, edit: Edit, name: str) -> str:
    if not edit.place:
        assert not content, f"{name} is there already: name the place of the edit"
        return edit.text
    count = content.count(edit.place)
    assert count == 1, f"{edit.place!r} stands {count} times in {name}: write the edit for what stands there now"
    added = edit.text + edit.place if edit.is_before else edit.place + edit.text
    return content.replace(edit.place, added)
