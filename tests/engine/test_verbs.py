"""One verb, one spelling: from the public call through the form to the command and its decider."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from sagalog import Batch, Engine, Lease
from sagalog.engine import holder_verbs, verbs
from sagalog.engine.entries import CommandEntry
from sagalog.kernel import commands as c
from sagalog.kernel.decide import VERBS
from sagalog.testing import strategies
from sagalog.validation import commands as forms

# Maintenance asks by itself; callers say `recover`.
ASKED = [verb for verb in VERBS if verb.command not in (c.Maintain, c.CancelChild)]


def test_every_command_has_a_form_and_a_call_of_a_batch_under_its_name() -> None:
    for verb in ASKED:
        name = getattr(verb.decide, "__name__", "")
        assert callable(getattr(forms, name))
        assert callable(getattr(Batch, name))


def test_a_holders_commands_are_its_leases_calls_and_others_the_engines() -> None:
    for verb in ASKED:
        name = getattr(verb.decide, "__name__", "").removesuffix("_held")
        assert callable(getattr(Lease if issubclass(verb.command, c.Held) else Engine, name))


def test_a_late_holder_in_the_runs_of_stores_tries_every_command() -> None:
    """[FENCE-2] These are the commands of a holder."""
    assert set(strategies.LATE) == {
        getattr(verb.decide, "__name__", "") for verb in VERBS if issubclass(verb.command, c.Held)
    }


def test_the_runs_of_stores_ask_for_every_command_alone_and_in_a_batch() -> None:
    for asked in (strategies.VERBS, strategies.BATCHED):
        said = {re.sub(r" (for .*|attempt|quota|transient)$", "", name).replace(" ", "_") for name in asked}
        assert {getattr(verb.decide, "__name__", "") for verb in ASKED} - said == set()


# --- the verbs of callers -------------------------------------------------------------------------------------------


def verbs_in(module: ModuleType) -> dict[str, Callable[..., Any]]:
    return {
        name: one
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and not name.startswith("_")
    }


def shape_of(function: Callable[..., Any], filled_in: int) -> list[tuple[str, Any, Any, Any]]:
    """The parameters of a call, without its first ones."""
    parameters = list(inspect.signature(function).parameters.values())[filled_in:]
    return [(one.name, one.kind, one.default, one.annotation) for one in parameters]


HOLDER_VERBS, CALLER_VERBS = verbs_in(holder_verbs), verbs_in(verbs)
# A claim is for many tasks, so it is no command of one.
CLAIM = "claim"
# A batch waits for nothing, so its claim has no `wait_ms`.
CALLS = [
    *((Lease, name.removesuffix("_held"), verb, 2, 1) for name, verb in HOLDER_VERBS.items()),
    *((Batch, name, verb, 2, 2) for name, verb in HOLDER_VERBS.items()),
    *((Engine, name, verb, 1, 1) for name, verb in CALLER_VERBS.items()),
    *((Batch, name, verb, 1, 1) for name, verb in CALLER_VERBS.items() if name != CLAIM),
]


def test_every_command_that_callers_give_has_exactly_one_verb() -> None:
    spelled = {getattr(verb.decide, "__name__", ""): verb.command for verb in ASKED}
    of_holders = {name for name, command in spelled.items() if issubclass(command, c.Held)}

    assert set(HOLDER_VERBS) == of_holders
    assert set(CALLER_VERBS) == {*spelled, CLAIM} - of_holders


@pytest.mark.parametrize(
    ("kind", "name", "verb", "filled_in", "own"),
    [pytest.param(*one, id=f"{one[0].__name__}.{one[1]}") for one in CALLS],
)
def test_a_call_has_the_parameters_and_the_text_of_its_verb(
    kind: type, name: str, verb: Callable[..., Any], filled_in: int, own: int
) -> None:
    call = getattr(kind, name)

    assert shape_of(call, own) == shape_of(verb, filled_in)
    assert [*inspect.signature(call).parameters][:own] == ["self", "lease"][:own]
    assert (call.__doc__, call.__name__, call.__qualname__) == (verb.__doc__, name, f"{kind.__name__}.{name}")


def test_a_claim_of_a_batch_takes_what_the_verb_takes_but_does_not_wait() -> None:
    taken = [one for one in shape_of(verbs.claim, 1) if one[0] != "wait_ms"]

    assert shape_of(Batch.claim, 1) == taken
    assert len(taken) == len(shape_of(verbs.claim, 1)) - 1


def test_a_verb_makes_an_entry_and_writes_nothing(engine: Engine) -> None:
    engine.create("build", id="t")
    lease = engine.acquire("t", owner="ann", ttl_ms=None)
    before = engine.newest_position()

    entry = holder_verbs.complete(engine._executor, lease.task, {"ok": True})

    assert isinstance(entry, CommandEntry)
    assert (type(entry.command), entry.actor, entry.known) == (c.Complete, "worker:ann", lease.task)
    assert engine.newest_position() == before
