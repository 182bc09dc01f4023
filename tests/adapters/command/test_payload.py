"""Commands as values and as payloads: what is refused, and where the error says that the fault is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sagalog import InvalidValue
from sagalog_command import Command


def test_a_command_is_read_from_json_with_defaults() -> None:
    command = Command.from_payload({"words": ["git", "status"]})

    assert ("git", "status") == command.words
    assert (3_600_000, 5_000, 262_144) == (command.time_limit_ms, command.grace_ms, command.output_bytes_max)
    assert (None, None, {}, (), ()) == (
        command.cwd,
        command.input_bytes(),
        command.environment,
        command.inherit,
        command.secrets,
    )


def test_a_command_is_read_from_json_whole() -> None:
    payload = {
        "words": ["cat"],
        "cwd": "/tmp",  # noqa: S108  nothing runs here
        "environment": {"A": "b"},
        "inherit": ["C"],
        "secrets": ["D"],
        "input": "ä",
        "time_limit_ms": 1,
        "grace_ms": 0,
        "output_bytes_max": 0,
    }

    command = Command.from_payload(json.loads(json.dumps(payload)))

    assert Command(("cat",), "/tmp", {"A": "b"}, ("C",), ("D",), "ä", 1, 0, 0) == command  # noqa: S108
    assert "ä".encode() == command.input_bytes()


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (None, "payload"),
        (["ls"], "payload"),
        ({}, "payload.words"),
        ({"words": None}, "payload.words"),
        ({"words": "ls -l"}, "payload.words"),
        ({"words": []}, "payload.words"),
        ({"words": [""]}, "payload.words"),
        ({"words": ["ls", "-l", 5]}, "payload.words[2]"),
        ({"words": ["ls", "a\0b"]}, "payload.words[1]"),
        ({"words": ["ls", "\ud800"]}, "payload.words[1]"),
        ({"words": ["ls"], "word": 1}, "payload.word"),
        ({"words": ["ls"], "x` - at `$[0].y": 1}, "payload.x` - at `$[0].y"),
        ({"words": ["ls"], "\n": 1}, "payload.\n"),
        ({"words": ["ls"], 5: 1}, "payload"),
        ({"words": ["ls"], "\ud800": 1}, "payload"),
        ({"words": ["ls"], "cwd": 1}, "payload.cwd"),
        ({"words": ["ls"], "cwd": ""}, "payload.cwd"),
        ({"words": ["ls"], "environment": ["A"]}, "payload.environment"),
        ({"words": ["ls"], "environment": {"A": 1}}, "payload.environment.A"),
        ({"words": ["ls"], "environment": {"A=B": "1"}}, "payload.environment.A=B"),
        ({"words": ["ls"], "inherit": "HOME"}, "payload.inherit"),
        ({"words": ["ls"], "secrets": ["A", ""]}, "payload.secrets[1]"),
        ({"words": ["ls"], "secrets": ["A"], "environment": {"A": "1"}}, "payload.secrets[0]"),
        ({"words": ["ls"], "input": 5}, "payload.input"),
        ({"words": ["ls"], "time_limit_ms": 0}, "payload.time_limit_ms"),
        ({"words": ["ls"], "time_limit_ms": None}, "payload.time_limit_ms"),
        ({"words": ["ls"], "time_limit_ms": True}, "payload.time_limit_ms"),
        ({"words": ["ls"], "grace_ms": -1}, "payload.grace_ms"),
        ({"words": ["ls"], "output_bytes_max": 1.5}, "payload.output_bytes_max"),
    ],
)
def test_what_is_no_command_is_refused_with_its_path(payload: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Command.from_payload(payload)

    assert path == refused.value.path
    assert refused.value.message.startswith((path, f"a key of {path}"))


def test_a_command_made_in_python_is_checked_alike() -> None:
    with pytest.raises(InvalidValue, match=r"command\.words\[1\]"):
        Command(("ls", 5))  # type: ignore[arg-type]


def test_a_command_cannot_be_changed() -> None:
    given = {"A": "b"}
    command = Command(("ls",), environment=given)
    given["A"] = "c"

    assert {"A": "b"} == command.environment
    with pytest.raises(dataclasses.FrozenInstanceError):
        command.cwd = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        command.environment["A"] = "c"  # type: ignore[index]


def test_a_refusal_quotes_no_value() -> None:
    with pytest.raises(InvalidValue) as refused:
        Command.from_payload({"words": ["ls"], "environment": {"A": ["hunter2"]}})

    assert "hunter2" not in refused.value.message
