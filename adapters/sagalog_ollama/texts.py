"""The text of an answer: what the model has said, without the frames in which it came.

Rule: it reads every dialect's answers, whole or in frames, and makes nothing of what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec


def text_in(body: bytes, is_stream: bool) -> str:
    """Return what the model has said in an answer; empty where that is no text."""
    if not is_stream:
        return "".join(_whole(_decoded(body)))
    return "".join(part for line in body.split(b"\n") for part in _said(_decoded(line.removeprefix(b"data: "))))


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(frame: dict[str, Any]) -> Iterator[str]:
    """Yield the text of one frame of a stream."""
    match frame:
        case {"message": {"content": str(text)}} | {"response": str(text)}:
            yield text
        case {"choices": [*choices]}:
            yield from _of_choices(choices)
        case {"type": "response.output_text.delta" | "transcript.text.delta", "delta": str(text)}:
            yield text
        case {"type": "content_block_delta", "delta": {"text": str(text)}}:
            yield text
        case _:
            pass


def _whole(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the text of an answer that came as one."""
    match answer:
        case {"output": [*items]}:
            for item in items:
                yield from _whole(item if isinstance(item, dict) else {})
        case {"content": [*blocks]}:
            yield from (block["text"] for block in blocks if isinstance(block, dict) and _is_text(block))
        case {"text": str(text)}:
            yield text
        case _:
            yield from _said(answer)


def _is_text(block: dict[str, Any]) -> bool:
    return isinstance(block.get("text"), str)


def _of_choices(choices: Sequence[Any]) -> Iterator[str]:
    for choice in choices:
        match choice:
            case {"delta": {"content": str(text)}} | {"message": {"content": str(text)}} | {"text": str(text)}:
                yield text
            case _:
                pass
