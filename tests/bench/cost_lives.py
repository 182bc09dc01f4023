"""`python -m tests.bench.cost_lives SIDE COUNT FOLDER`: so many lifecycles, by sagalog or raw, and nothing else.

Rule: run under a counter of instructions with two counts, so that the difference is the lifecycles alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sagalog_sqlite.checkpoints import PAGES
from tests.bench import raw, stores
from tests.bench.tape import record

# Before what counts: caches are filled, and every statement is prepared.
_WARM = 50


def main(side: str, count: int, folder: Path) -> None:
    """Run one side."""
    if side == "sagalog":
        with stores.open_engine(folder / "sagalog.db", "normal") as engine:
            stores.live(engine, _WARM + count)
        return
    # The tape is as long for every count, so that making it falls out of the difference.
    tape = record(folder / "tape.db", 1_000)
    with raw.opened(folder / "raw.db", tape, "normal", PAGES) as writer:
        writer.live(_WARM + count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
