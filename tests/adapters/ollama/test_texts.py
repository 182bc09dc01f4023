"""The text of an answer, in each form in which a target gives one."""

from __future__ import annotations

import msgspec
import pytest

from sagalog_ollama.texts import text_in

WHOLE = {
    "chat": {"message": {"role": "assistant", "content": "größe"}, "done": True},
    "generate": {"response": "größe", "done": True},
    "chat completion": {"choices": [{"message": {"role": "assistant", "content": "größe"}}]},
    "completion": {"choices": [{"text": "größe"}]},
    "response": {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "größe"}]}]},
    "message": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "größe"}]},
    "transcription": {"text": "größe"},
}
STREAMS = {
    "chat": '{"message":{"content":"grö"}}\n{"message":{"content":"ße"},"done":true}\n',
    "generate": '{"response":"grö"}\n{"response":"ße","done":true}\n',
    "chat completion": 'data: {"choices":[{"delta":{"content":"grö"}}]}\n\n'
    'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\ndata: {"choices":[{"delta":{"content":"ße"}}]}\n\n'
    "data: [DONE]\n\n",
    "response": 'event: a\ndata: {"type":"response.output_text.delta","delta":"größe"}\n\n'
    'data: {"type":"response.completed","response":{"output":[{"content":[{"text":"größe"}]}]}}\n\n',
    "message": 'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"größe"}}\n\n'
    'data: {"type":"content_block_delta","delta":{"thinking":"hm"}}\n\n',
}


@pytest.mark.parametrize("form", list(WHOLE))
def test_the_text_of_a_whole_answer_is_found(form: str) -> None:
    assert "größe" == text_in(msgspec.json.encode(WHOLE[form]), is_stream=False)


@pytest.mark.parametrize("form", list(STREAMS))
def test_the_text_of_a_stream_is_put_together(form: str) -> None:
    assert "größe" == text_in(STREAMS[form].encode(), is_stream=True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 9_999, b'{"output": [1]}', b'{"choices": [1]}'])
def test_what_is_no_answer_has_no_text(body: bytes) -> None:
    assert ["", ""] == [text_in(body, is_stream) for is_stream in (False, True)]
