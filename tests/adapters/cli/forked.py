"""`sagalog` as a warm process: a tenth of the price of a new one.

Rule: nothing here checks. `calls.run` and `calls.start` are for what happens as Python begins: how words are decoded,
which streams are closed, what is imported.
"""

from __future__ import annotations

import subprocess
from typing import Any

from tests.adapters.cli.calls import Answer, environment
from tests.warm_processes import WarmProcess

Process = WarmProcess[bytes]


def start(*words: str, env: dict[str, str] | None = None, places: str = "", **settings: Any) -> Process:
    """Start the command as `calls.start` does; `places` are those of `held`, where it stops."""
    module, given = ("tests.adapters.cli.held", [places, *words]) if places else ("sagalog_cli", [*words])
    streams = {"stderr": subprocess.PIPE, **settings}
    return Process(module, given, bytes, environment() if env is None else env, **streams)


def run(*words: str, given: bytes = b"", **settings: Any) -> Answer:
    """Run the command so, to its end."""
    process = start(*words, **settings)
    out, err = process.communicate(given, timeout=60)
    return Answer(process.wait(), out.decode(errors="replace"), err.decode(errors="replace"))
