"""The classifiers that come with the package; their rules stand in `classifiers/`, as data.

Rule: what they claim was seen from the program that they are for, at the version that their file names, or their file
says where else it comes from.
"""

from typing import Final

from sagalog_command.loading import load_shipped
from sagalog_command.rules import Classifier

# Any command: an exit status of 0 is success, every other a failed attempt.
EXIT_STATUS: Final[Classifier] = load_shipped("exit_status")
# The program `claude`, printing JSON.
CLAUDE: Final[Classifier] = load_shipped("claude")
# The program `codex`, printing JSON.
CODEX: Final[Classifier] = load_shipped("codex")
# The program `gemini`, printing JSON.
GEMINI: Final[Classifier] = load_shipped("gemini")
