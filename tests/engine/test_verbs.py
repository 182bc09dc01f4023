"""One verb, one spelling: from the public call through the form to the command and its decider."""

from __future__ import annotations

from sagalog import Batch, Engine, Lease
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERBS
from sagalog.testing import draws
from sagalog.validation import commands as forms

# Upkeep asks by itself; callers say `recover`.
ASKED = [verb for verb in VERBS if verb.command is not c.Maintain]


def test_every_command_has_a_form_and_a_call_of_a_batch_under_its_name() -> None:
    for verb in ASKED:
        name = getattr(verb.decide, "__name__", "")
        assert callable(getattr(forms, name))
        assert callable(getattr(Batch, name))


def test_every_command_of_a_holder_is_a_call_of_its_lease_and_every_other_one_of_the_engine() -> None:
    for verb in ASKED:
        name = getattr(verb.decide, "__name__", "").removesuffix("_held")
        assert callable(getattr(Lease if issubclass(verb.command, c.Held) else Engine, name))


def test_a_late_holder_in_the_runs_of_stores_tries_every_command_of_a_holder() -> None:
    """[FENCE-2]"""
    assert set(draws.LATE) == {
        getattr(verb.decide, "__name__", "") for verb in VERBS if issubclass(verb.command, c.Held)
    }
