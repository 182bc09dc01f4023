"""The classifiers that come with the package; their rules stand in `classifiers/`, as data.

Rule: what they claim was seen from the program that they are for, at the version that their file names, or their file
says where else it comes from.
"""

from typing import Final

from sagalog_command.loading import load_shipped
from sagalog_command.rules import Classifier

EXIT_STATUS: Final[Classifier] = load_shipped("exit_status")
CLAUDE: Final[Classifier] = load_shipped("claude")
CODEX: Final[Classifier] = load_shipped("codex")
GEMINI: Final[Classifier] = load_shipped("gemini")
