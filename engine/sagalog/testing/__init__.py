"""The public test kit: users test their own sagas with it, and sagalog's own tests use it.

    ManualClock, SeededEntropy  time and entropy that a test controls
    given                       given/when/then for one task's life in the kernel
    .contract                   the promises of every store, as classes to subclass
    .faults                     commits that fail, lose their answer or take time, as a test wants it
    .history                    a checker of recorded events, independent of the engine
    .machine                    random runs that compare a store with the memory store (needs hypothesis)

Rule: it needs no test runner; a check that fails raises AssertionError with a sentence of what it found. Knows no
adapter.
"""

from sagalog.testing.clock import ManualClock
from sagalog.testing.entropy import SeededEntropy
from sagalog.testing.scenario import Outcome, Scenario, given

__all__ = ["ManualClock", "Outcome", "Scenario", "SeededEntropy", "given"]
