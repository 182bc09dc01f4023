"""Change an SQLite store's tables behind its back, as an operator with the file and a shell would.

Rule: a process of its own does it (`python tampering.py`, a change as a line of JSON on stdin), since a connection of
this process would be no outsider. One process serves all tests: it opens the file for each change, and closes it. The
triggers that guard the log are dropped and put back.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import apsw

Statement = tuple[str, list[Any]]


def tamper(path: Path, *statements: Statement) -> None:
    """Run statements on the file in another process; bytes are given as {"hex": …}."""
    outsider = _outsider()
    assert outsider.stdin is not None
    assert outsider.stdout is not None
    outsider.stdin.write(json.dumps([str(path), statements]) + "\n")
    outsider.stdin.flush()
    answer = outsider.stdout.readline()
    assert answer == '"done"\n', answer


@cache
def _outsider() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )
    atexit.register(process.communicate)
    return process


def _value(given: Any) -> Any:
    return bytes.fromhex(given["hex"]) if isinstance(given, dict) else given


def _run(path: str, statements: list[Statement]) -> str:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(10_000)
    try:
        with connection:
            triggers = list(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            for name, _ in triggers:
                connection.execute(f'DROP TRIGGER "{name}"')
            for text, values in statements:
                connection.execute(text, [_value(value) for value in values])
                if connection.changes() != 1:
                    raise ValueError(f"{text} {values} changed {connection.changes()} rows")
            for _, sql in triggers:
                connection.execute(sql)
    except (apsw.Error, ValueError) as error:
        return repr(error)
    finally:
        connection.close()
    return "done"


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)  # noqa: T201  this is how the test is told
