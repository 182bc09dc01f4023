"""Stand-in of a program: it prints the lines of a recorded case and ends as that one ended.

Rule: what it was recorded from is not needed to run it. Called with the file of cases and the name of one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(path: str, name: str) -> None:
    """Print and end."""
    case = json.loads(Path(path).read_text(encoding="utf-8"))["cases"][name]
    for stream, lines in ((sys.stdout, case.get("stdout", ())), (sys.stderr, case.get("stderr", ()))):
        stream.buffer.write("".join(f"{text_of(line)}\n" for line in lines).encode())
        stream.flush()
    status = case["exit_status"]
    while status is None:
        time.sleep(60)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


def text_of(line: Any) -> str:
    """Give a recorded line as it was printed."""
    return line if isinstance(line, str) else json.dumps(line, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(*sys.argv[1:])
