"""Streams that wait: begun in time with frames that say nothing, and from then on with errors as frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sagalog_ollama.dialects import DIALECTS, NDJSON
from tests.adapters.ollama.gateways import CHAT, Gateway, frames, gateway
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]


@pytest.fixture
def ollama(upstream: FaultyUpstream, tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, upstream.url, early_ms=100) as running:
        yield running


def test_a_stream_that_waits_is_begun_and_says_nothing(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().wait(gate).head().send(STREAM.body).end())

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        lines = answer.iter_lines()
        waiting = [next(lines), next(lines)]
        gate.open()
        rest = "".join(f"{line}\n" for line in lines)

    for frame in frames("\n".join([*waiting, ""]).encode()):
        assert {"model": "tiny", "done": False} == {name: frame[name] for name in ("model", "done")}
        assert {"role": "assistant", "content": ""} == frame["message"]
    assert rest.endswith(STREAM.body.decode())


@pytest.mark.parametrize("path", list(DIALECTS))
def test_each_route_is_begun_in_the_form_of_its_clients(ollama: Gateway, upstream: FaultyUpstream, path: str) -> None:
    gate = Gate()
    dialect = DIALECTS[path]
    upstream.next(path, Script().wait(gate).head(400).end())
    body = {"model": "tiny", "prompt": "x", "stream": True}

    with ollama.client.stream("POST", path, json=body) as answer:
        assert (200, dialect.media_type) == (answer.status_code, answer.headers["content-type"].partition(";")[0])
        part = next(answer.iter_raw())
        gate.open()

    if dialect.media_type == NDJSON:
        assert not frames(part)[0]["done"]
    else:
        assert part.startswith((b": ", b"event: ping"))
    ollama.client.delete(f"/jobs/{answer.headers['x-sagalog-job-id']}")


def test_a_stream_that_does_not_wait_has_no_such_frame(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    assert STREAM.body == ollama.chat().content


def test_a_whole_answer_is_not_begun_before_it_is_there(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """Its status and its one body cannot be taken back."""
    gate = Gate()
    upstream.next(
        "/api/chat", Script().wait(gate).head(content_type="application/json").send(EXAMPLES["chat"].body).end()
    )

    with pytest.raises(httpx.ReadTimeout):
        ollama.client.post("/api/chat", json={**CHAT, "stream": False}, timeout=0.5)

    gate.open()


def test_an_error_after_the_begin_is_a_frame(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().wait(gate).head(503, "application/json").send(b'{"error": "busy"}').end())

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        next(parts)
        gate.open()
        last = frames(b"".join(parts))[-1]

    assert (200, {"error": "busy"}) == (answer.status_code, last)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_an_error_whose_body_comes_late_is_told_as_it_is(ollama: Gateway, upstream: FaultyUpstream, path: str) -> None:
    gate = Gate()
    upstream.next(path, Script().head(404, "application/json").wait(gate).send(b'{"error": "gone"}').end())

    with ollama.client.stream("POST", path, json={**CHAT, "stream": True}) as answer:
        parts = answer.iter_raw()
        next(parts)
        gate.open()
        rest = b"".join(parts)

    assert b'{"error":"gone"}' in rest
    assert b"defect" not in rest


def test_another_attempt_answers_after_an_error_that_came_late(tmp_path: Path, upstream: FaultyUpstream) -> None:
    gate = Gate()
    late = Script().head(503, "application/json").wait(gate).send(b'{"error": "busy"}').end()
    upstream.next("/api/chat", late, Script.example(STREAM))
    with (
        gateway(tmp_path, upstream.url, early_ms=100, retry_statuses=(503,)) as running,
        running.client.stream("POST", "/api/chat", json=CHAT) as answer,
    ):
        parts = answer.iter_raw()
        next(parts)
        gate.open()
        rest = b"".join(parts)

    assert rest.endswith(STREAM.body)
    assert not [frame for frame in frames(rest) if "error" in frame]


def test_a_target_that_cannot_be_asked_is_told_in_a_frame(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().wait(gate).reset(), Script().reset(), Script().reset())

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        next(parts)
        gate.open()
        last = frames(b"".join(parts))[-1]

    assert "the target could not be asked" in last["error"]


def test_a_client_without_content_goes_on_waiting_over_attempts(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().wait(gate).reset(), Script().head().close(), Script.example(STREAM))

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        next(parts)
        gate.open()
        rest = b"".join(parts)

    assert rest.endswith(STREAM.body)
    assert not [frame for frame in frames(rest) if "error" in frame]


def test_a_job_that_is_cancelled_ends_its_stream_with_an_error(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script())

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        next(parts)
        ollama.client.delete(f"/jobs/{answer.headers['x-sagalog-job-id']}")
        last = frames(b"".join(parts))[-1]

    assert {"error": "request canceled"} == last
