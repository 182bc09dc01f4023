"""Every shape of an event that was ever written stays readable. [LOG-6]"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest

from sagalog.codec import SCHEMAS, UPCASTERS, Envelope, Shape, digest_of, read
from tests.engine.shapes import EVENTS, LINES, envelope_of, stored_line


def stored() -> dict[Shape, list[Envelope]]:
    """The envelopes of the file by type and schema number, in its order."""
    found: dict[Shape, list[Envelope]] = {}
    for line in LINES.read_text(encoding="utf-8").splitlines():
        envelope = envelope_of(line)
        found.setdefault((envelope.type, envelope.schema), []).append(envelope)
    return found


SHAPES: list[Shape] = sorted({*SCHEMAS.items(), *UPCASTERS, *EVENTS, *stored()})


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}.{shape[1]}")
def test_every_type_and_schema_number_has_its_lines(shape: Shape) -> None:
    """[LOG-6]"""
    assert shape in EVENTS, (
        f"{shape} is new: add its events to EVENTS in tests/engine/shapes.py, one with every optional field left out "
        "and one with every field there, and run this again for the lines to append"
    )
    if shape not in SCHEMAS.items():
        assert len(stored().get(shape, ())) == len(EVENTS[shape]), f"lines of {shape} were taken away: restore them"
        return
    lines = [stored_line(event, version) for version, event in enumerate(EVENTS[shape], start=1)]
    absent = lines[len(stored().get(shape, ())) :]
    assert not absent, f"append these lines to {LINES}, and never edit one that stands:\n" + "\n".join(absent)
    assert len(stored()[shape]) == len(lines), f"say in EVENTS what the further lines of {shape} are read as"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}.{shape[1]}")
def test_every_stored_shape_is_read_as_what_it_means(shape: Shape) -> None:
    """[LOG-6] [LOG-4]"""
    for envelope, event in zip(stored().get(shape, ()), EVENTS.get(shape, ()), strict=False):
        assert envelope.digest == digest_of(envelope)
        assert read(envelope) == event


@pytest.mark.parametrize("shape", sorted(SCHEMAS.items()), ids=lambda shape: shape[0])
def test_what_is_written_has_the_shape_on_record_for_its_schema_number(shape: Shape) -> None:
    """[LOG-6] A change of a shape raises its number."""
    for version, (envelope, event) in enumerate(
        zip(stored().get(shape, ()), EVENTS.get(shape, ()), strict=False), start=1
    ):
        assert envelope_of(stored_line(event, version)) == envelope, (
            f"{shape} is written otherwise than the lines that stand: raise its number in SCHEMAS, and add an upcaster"
        )


def told(value: Any, hint: Any) -> Iterator[tuple[type[msgspec.Struct], set[str]]]:
    """Each struct in what JSON tells, with the fields that are there."""
    if get_origin(hint) is Annotated:
        return
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if isinstance(value, dict):
            yield hint, set(value)
            for field in msgspec.structs.fields(hint):
                if field.name in value:
                    yield from told(value[field.name], field.type)
        return
    if get_origin(hint) is dict and isinstance(value, dict):
        for one in value.values():
            yield from told(one, get_args(hint)[1])
        return
    for arg in get_args(hint):
        for one in value if isinstance(value, list) else (value,):
            yield from told(one, arg)


@pytest.mark.parametrize("shape", sorted(SCHEMAS.items()), ids=lambda shape: shape[0])
def test_every_optional_field_is_once_absent_and_once_there(shape: Shape) -> None:
    """[LOG-6] In the event, and in the values that it holds."""
    seen: dict[type[msgspec.Struct], list[set[str]]] = {}
    for envelope, event in zip(stored()[shape], EVENTS[shape], strict=True):
        for kind, names in told(json.loads(envelope.body), type(event)):
            seen.setdefault(kind, []).append(names)
    for kind, all_names in seen.items():
        for field in msgspec.structs.fields(kind):
            place = f"{kind.__name__}.{field.name}"
            assert any(field.name in names for names in all_names), f"{place} is never there"
            assert field.required or any(field.name not in names for names in all_names), f"{place} is never absent"
