"""An upstream that does what a test says, step by step, and nothing else: it splits, hangs, resets and lies.

Rule: it runs no model and sleeps never; a `Gate` decides when a script goes on, so that a test knows what the other
side has seen. It knows nothing of sagalog.
"""

from tests.faulty_upstream.script import Gate, Script
from tests.faulty_upstream.upstream import Call, FaultyUpstream, flapping

__all__ = ["Call", "FaultyUpstream", "Gate", "Script", "flapping"]
