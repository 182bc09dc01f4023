"""The `sagalog` command: the engine for shells, scripts and people.

Rule: other code imports nothing of it but `main`. It is imported when it is asked for, so that the entry point decides
first what Ctrl-C does during the imports.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagalog_cli.command_line import main

__all__ = ["main"]


def __getattr__(name: str) -> object:
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sagalog_cli.command_line import main

    return main
