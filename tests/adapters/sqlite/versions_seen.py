"""`python -m tests.adapters.sqlite.versions_seen PATH`: the tasks of a store and their versions, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.adapters.sqlite.stores import open_at, versions

if __name__ == "__main__":
    store = open_at(Path(sys.argv[1]))
    print(json.dumps(versions(store)))  # noqa: T201  the answer
    store.close()
