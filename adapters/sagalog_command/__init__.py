"""Tasks that are command lines: `handler()` runs them, a `Classifier` says what their end means."""

from sagalog_command.classifying import Verdict, classify
from sagalog_command.command import Command
from sagalog_command.context import Context
from sagalog_command.ended import Ended
from sagalog_command.loading import load_classifier
from sagalog_command.rules import Class, Classifier
from sagalog_command.running import handler, run
from sagalog_command.shipped import CLAUDE, CODEX, EXIT_STATUS, GEMINI

__all__ = [
    "CLAUDE",
    "CODEX",
    "EXIT_STATUS",
    "GEMINI",
    "Class",
    "Classifier",
    "Command",
    "Context",
    "Ended",
    "Verdict",
    "classify",
    "handler",
    "load_classifier",
    "run",
]
