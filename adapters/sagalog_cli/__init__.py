"""The `sagalog` command: the engine for shells, scripts and people. This file exports `main`, nothing else."""

from sagalog_cli.main import main

__all__ = ["main"]
