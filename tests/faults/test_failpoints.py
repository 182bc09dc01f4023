"""The list of failpoints is complete: a point that is added, renamed or lost without it fails here."""

from __future__ import annotations

import re
from pathlib import Path

from sagalog import failpoints

ROOT = Path(__file__).parents[2]
REACHED = re.compile(r"\breach\(\"([\w.]+)\"\)")


def test_the_points_that_are_named_are_those_that_the_code_reaches() -> None:
    sources = [*(ROOT / "engine").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]

    reached = {name for path in sources for name in REACHED.findall(path.read_text(encoding="utf-8"))}

    assert set(failpoints.NAMES) == reached
