"""The verbs: each command is registered once, with all that is known of it."""

from __future__ import annotations

import re

from sagalog.kernel import commands as c
from sagalog.kernel import events as e
from sagalog.kernel.decide import VERB_OF, VERBS

COMMANDS = {
    one for one in vars(c).values() if isinstance(one, type) and issubclass(one, c.Command) and not one.__subclasses__()
}


def test_every_command_has_exactly_one_verb() -> None:
    assert sorted(one.__name__ for one in COMMANDS) == sorted(verb.command.__name__ for verb in VERBS)
    assert set(VERB_OF) == COMMANDS


def test_a_command_and_its_decider_have_one_name() -> None:
    for verb in VERBS:
        assert re.sub(r"(?<=.)(?=[A-Z])", "_", verb.command.__name__).lower() == getattr(verb.decide, "__name__", "")


def test_every_task_event_is_written_by_a_verb_and_every_one_exists() -> None:
    """Each event that a verb lists exists."""
    assert set().union(*(verb.writes for verb in VERBS)) == {e.NAMES[kind] for kind in e.TASK_EVENTS}


def test_a_verb_keeps_its_key_in_events_that_it_writes_and_compares() -> None:
    """[REPEAT-4] [REPEAT-6]"""
    keyed = [verb for verb in VERBS if verb.marks]
    assert all(verb.marks <= verb.writes and verb.contents is not None for verb in keyed)
    # What the holder of a lease asks is known by its fence.
    assert not any(issubclass(verb.command, c.Held) for verb in keyed)


def test_only_maintenance_and_what_states_all_have_no_identity_for_repeats() -> None:
    """[REPEAT-1] A renewal and what a holder states say the whole of what is to be, so a repeat changes nothing."""
    unnamed = {verb.command for verb in VERBS if verb.contents is None}
    assert unnamed == {c.Heartbeat, c.Maintain, c.Use, c.Healthy, c.CancelChild}


def test_a_verb_names_the_field_in_which_its_command_holds_a_moment() -> None:
    """[TIME-5]"""
    moments = {"run_at_ms", "until_ms"}
    for verb in VERBS:
        held = moments & set(verb.command.__struct_fields__)
        assert held == (set() if verb.time is None else {verb.time})
