"""`python -m tests.reference FILE`: write the reference."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.reference.writing import reference

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.reference FILE")
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
