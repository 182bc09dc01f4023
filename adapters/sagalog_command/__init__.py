"""Command lines as tasks: `handler()` runs them for a worker, and a `Classifier` says what their end means."""

from sagalog_command.builtin import CLAUDE, CODEX, EXIT_STATUS, GEMINI
from sagalog_command.classification import Verdict, classify
from sagalog_command.command import Command
from sagalog_command.context import Context
from sagalog_command.ending import Ending
from sagalog_command.loader import load_classifier
from sagalog_command.rules import Class, Classifier
from sagalog_command.runner import handler, run

__all__ = [
    "CLAUDE",
    "CODEX",
    "EXIT_STATUS",
    "GEMINI",
    "Class",
    "Classifier",
    "Command",
    "Context",
    "Ending",
    "Verdict",
    "classify",
    "handler",
    "load_classifier",
    "run",
]
