"""What a made-up category promises, tried on an engine that has it: `python -m tests.touched.counting URL`.

It fails where anything is missing.
"""

from __future__ import annotations

import sys
from typing import Any

import sagalog
from sagalog.schemas import schema_files
from sagalog.testing import ManualClock
from tests.store_of import store_of


def count(url: str) -> None:
    engine: Any = sagalog.open(url, clock=ManualClock(1_700_000_000_000), durability="normal", actor="ann")
    for by in (2, 3):
        engine.count("sheep", by)
    try:
        engine.count("sheep", 0)
    except sagalog.Rejected:
        pass
    else:
        raise AssertionError("a counter has counted nothing")
    counted = [one for one in engine.events() if one.type == "counted"]
    assert [(one.stream, one.version, one.event.by) for one in counted] == [
        ("counter/sheep", 1, 2),
        ("counter/sheep", 2, 3),
    ]
    for _ in range(2):
        with store_of(engine).read() as snapshot:
            fold: Any = snapshot.fold("counter/sheep")
        assert (fold.version, fold.total) == (2, 5)
        assert engine.verify().ok
        engine.rebuild()
    engine.close()


if __name__ == "__main__":
    assert "counted.1.json" in schema_files()
    count("memory:")
    count(sys.argv[1])
