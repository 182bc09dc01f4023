"""Change an SQLite store's tables behind its back, as an operator with the file and a shell would.

Rule: runs as a process of its own (`python tampering.py FILE`, statements as JSON on stdin), since a connection of this
process would be no outsider. The triggers that guard the log are dropped and put back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

Statement = tuple[str, list[Any]]


def tamper(path: Path, *statements: Statement) -> None:
    """Run statements on the file in another process; bytes are given as {"hex": …}."""
    subprocess.run([sys.executable, __file__, str(path)], input=json.dumps(statements), text=True, check=True)


def _value(given: Any) -> Any:
    return bytes.fromhex(given["hex"]) if isinstance(given, dict) else given


def _run(path: str, statements: list[Statement]) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(10_000)
    with connection:
        triggers = list(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
        for name, _ in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        for text, values in statements:
            connection.execute(text, [_value(value) for value in values])
            if connection.changes() != 1:
                raise SystemExit(f"{text} {values} changed {connection.changes()} rows")
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()


if __name__ == "__main__":
    _run(sys.argv[1], json.load(sys.stdin))
