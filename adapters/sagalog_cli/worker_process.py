"""The entry of one process of `sagalog worker run --processes`.

`python -m sagalog_cli.worker_process DESCRIPTOR NUMBER WORDS…` starts it.

Rule: it runs the command itself, in a fresh interpreter, with a lifeline to its parent.
"""

from __future__ import annotations

import sys

from sagalog_cli import interrupts


def run(descriptor: str, number: str, *words: str) -> None:
    """Run the words of a command line, and end with its status."""
    interrupts.end_at_once()
    from sagalog_cli.command_line import main
    from sagalog_cli.lifeline import Lifeline
    from sagalog_cli.session import Session

    main(list(words), prog_name="sagalog", obj=Session(lifeline=Lifeline(int(descriptor), int(number))))


if __name__ == "__main__":
    run(*sys.argv[1:])
