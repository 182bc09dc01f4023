"""The public test kit: what users prove their own sagas with, and what sagalog is proved with.

    ManualClock, SeededEntropy  time and entropy in the hands of a test
    given                       given/when/then for one task's life in the kernel
    .contract                   what every store must keep, as classes to subclass
    .faults                     commits that fail, lose their answer or take time, as a test wants it
    .history                    a checker of recorded events, independent of the engine
    .machine                    random runs that compare a store with the memory store (needs hypothesis)

Rule: needs no test runner; a check that fails raises AssertionError with the sentence that says what was found.
"""

from sagalog.testing.clock import ManualClock
from sagalog.testing.entropy import SeededEntropy
from sagalog.testing.scenario import Outcome, Scenario, given

__all__ = ["ManualClock", "Outcome", "Scenario", "SeededEntropy", "given"]
