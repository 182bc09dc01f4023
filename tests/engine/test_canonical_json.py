"""The canonical form of JSON, by which contents are compared, and the ids of compensations that follow from it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings

from sagalog.kernel.bounds import NAME_CHARACTERS_MAX
from sagalog.validation import values as door
from sagalog.validation.identities import compensation_id
from sagalog.validation.json_values import canonical
from sagalog.validation.values import check_name, cut_text
from tests.engine.odd_values import JSON_VALUES, same


@settings(deadline=None)
@given(JSON_VALUES)
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: object) -> None:
    assert canonical(value) == canonical(reversed_keys(value))
    assert msgspec.json.decode(canonical(value)) == value


def reversed_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reversed_keys(item) for item in value]
    return value


@settings(deadline=None)
@given(JSON_VALUES, JSON_VALUES)
def test_two_values_share_a_canonical_form_exactly_if_they_are_the_same(left: object, right: object) -> None:
    assert (canonical(left) == canonical(right)) == same(sorted_keys(left), sorted_keys(right))


def sorted_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_keys(item) for item in value]
    return value


def test_what_python_calls_equal_differs_in_canonical_form() -> None:
    forms = {canonical(value) for value in ([1], [1.0], [True], ["1"], [0], [0.0], [-0.0], [False], [None])}

    assert len(forms) == 9


def test_the_canonical_form_is_pinned() -> None:
    """Ids derived from it are in logs, so it may never change."""
    value = {"b": [1, 2.5, None, True], "\uffff": "é\n/", "😀": {}, "B": -0.0}

    assert '{"B":-0.0,"b":[1,2.5,null,true],"\uffff":"é\\n/","😀":{}}'.encode() == canonical(value)


def test_the_id_of_a_compensation_is_pinned_and_the_same_in_every_process() -> None:
    """A later attempt, perhaps of a later version, must find the same undo on record. [REPEAT-3]"""
    expected = "remove-worktree:1ef6ac403fcbb6992c7de5c9c4e8ea2e"
    program = (
        "from sagalog.validation.identities import compensation_id\n"
        "print(compensation_id('remove-worktree', {'force': True, 'path': 'wt/168'}))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(pathlib.Path(door.__file__).parents[1]), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert expected == compensation_id("remove-worktree", {"path": "wt/168", "force": True})
    assert expected == ran.stdout.strip()


def test_compensations_that_differ_in_kind_or_params_have_different_ids() -> None:
    long = "k" * NAME_CHARACTERS_MAX
    asked: list[tuple[str, object]] = [
        ("a", None),
        ("a", 1),
        ("a", 1.0),
        ("a", {}),
        ("b", None),
        (long, None),
        (long[:-1] + "l", None),
    ]

    assert len(asked) == len({compensation_id(kind, params) for kind, params in asked})


@pytest.mark.parametrize("length", [1, 167, 168, 200])
def test_the_id_of_a_compensation_is_always_a_name_that_shows_its_kind(length: int) -> None:
    kind = "k" * length

    given_id = check_name(compensation_id(kind, {"a": 1}), "id")

    assert cut_text(kind, 167) == given_id.rpartition(":")[0]
