"""The `sagalog` command: the engine for shells, scripts and people.

Rule: other code imports nothing of it but `main`.
"""

from sagalog_cli.main import main

__all__ = ["main"]
