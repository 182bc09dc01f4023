"""Built-in classifiers; the files in `classifiers/` hold their rules, as data.

Rule: each claim was seen from the program that the classifier is for, at the version that its file names, or the file
says where else the claim comes from.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Final

from sagalog_command.loader import load_classifier
from sagalog_command.rules import Classifier


def load_builtin(name: str) -> Classifier:
    """Load one of the files of the package: `claude`, `codex`, `gemini`, `exit_status`."""
    data = resources.files("sagalog_command").joinpath("classifiers", f"{name}.toml").read_text(encoding="utf-8")
    return load_classifier(tomllib.loads(data), name)


# Any command: an exit status of 0 is success, every other a failed attempt.
EXIT_STATUS: Final[Classifier] = load_builtin("exit_status")
# The program `claude`, printing JSON.
CLAUDE: Final[Classifier] = load_builtin("claude")
# The program `codex`, printing JSON.
CODEX: Final[Classifier] = load_builtin("codex")
# The program `gemini`, printing JSON.
GEMINI: Final[Classifier] = load_builtin("gemini")
