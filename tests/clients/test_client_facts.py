"""What the clients make of good and bad answers: facts of their versions, on which a gateway relies.

Rule: a test that fails after an update of a client shows what changed; the gateway is looked at then, not the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import ollama
import openai
import pytest

from tests.clients import NodeClient, ollama_client, openai_client
from tests.clients.node import NodeFailure
from tests.faulty_upstream import FaultyUpstream, Script
from tests.ollama_server.examples import EXAMPLES

ASK = [{"role": "user", "content": "q"}]
SAYS_NOTHING, BEGIN, END = (EXAMPLES["chat stream, nothing to say yet"].frames[index] for index in (0, 2, 3))
ERROR = EXAMPLES["chat stream, an error in its midst"].frames[1]


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as upstream:
        yield upstream


def streamed(*frames: bytes) -> Script:
    script = Script().head()
    for frame in frames:
        script.send(frame)
    return script


class TestOllamaOfPython:
    def chat(self, upstream: FaultyUpstream, script: Script) -> list[str | None]:
        upstream.next("/api/chat", script)
        with ollama_client(upstream.url) as client:
            return [one.message.content for one in client.chat(model="a", messages=ASK, stream=True)]

    def test_it_always_sends_stream_and_tools_and_keeps_a_prefix(
        self, upstream: FaultyUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLLAMA_API_KEY", "canary")
        upstream.always("/prefix/api/chat", Script.example(EXAMPLES["chat"]))
        with ollama_client(f"{upstream.url}/prefix") as client:
            client.chat(model="a", messages=ASK)
        [call] = upstream.calls

        assert json.loads(call.body) == {"model": "a", "stream": False, "messages": ASK, "tools": []}
        assert (call.header("accept"), call.header("authorization")) == ("application/json", "Bearer canary")
        assert (call.header("user-agent") or "").startswith("ollama-python/")

    def test_frames_without_content_are_harmless(self, upstream: FaultyUpstream) -> None:
        script = streamed(SAYS_NOTHING, SAYS_NOTHING, BEGIN, END).end()
        assert self.chat(upstream, script) == ["", "", " wind", ""]

    def test_a_blank_line_breaks_it(self, upstream: FaultyUpstream) -> None:
        with pytest.raises(json.JSONDecodeError):
            self.chat(upstream, streamed(BEGIN, b"\n", END).end())

    def test_an_error_line_is_an_error_with_status_minus_1(self, upstream: FaultyUpstream) -> None:
        with pytest.raises(ollama.ResponseError, match="the runner has stopped") as caught:
            self.chat(upstream, streamed(BEGIN, ERROR).end())
        assert caught.value.status_code == -1

    def test_a_stream_without_its_end_is_taken_as_whole(self, upstream: FaultyUpstream) -> None:
        assert self.chat(upstream, streamed(BEGIN).end()) == [" wind"]

    def test_a_connection_that_is_cut_is_an_error_of_its_http(self, upstream: FaultyUpstream) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            self.chat(upstream, streamed(BEGIN).close())

    def test_one_body_in_place_of_a_stream_is_one_frame(self, upstream: FaultyUpstream) -> None:
        assert self.chat(upstream, Script.example(EXAMPLES["chat"])) == [" größe wind"]

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 499, 500, 502, 503])
    def test_a_status_reaches_the_caller(self, upstream: FaultyUpstream, status: int) -> None:
        with pytest.raises(ollama.ResponseError, match="made up") as caught:
            self.chat(upstream, Script.error(status))
        assert caught.value.status_code == status

    def test_a_page_of_a_proxy_is_shown_as_its_text(self, upstream: FaultyUpstream) -> None:
        with pytest.raises(ollama.ResponseError, match="<h1>Bad Gateway</h1>"):
            self.chat(upstream, Script.answer("<h1>Bad Gateway</h1>", 502, "text/html"))

    def test_a_refused_connection_is_an_error_of_python(self, upstream: FaultyUpstream) -> None:
        refused = pytest.raises(ConnectionError, match="Failed to connect to Ollama")
        with ollama_client(upstream.url) as client, upstream.refusing(), refused:
            client.chat(model="a", messages=ASK)


class TestOllamaOfJavascript:
    @pytest.fixture
    def client(self, upstream: FaultyUpstream) -> Iterator[NodeClient]:
        with NodeClient(upstream.url) as client:
            yield client

    def chat(self, client: NodeClient) -> list[str]:
        return [one["message"]["content"] for one in client.stream("chat", model="a", messages=ASK)]

    def test_frames_without_content_are_harmless(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        upstream.next("/api/chat", streamed(SAYS_NOTHING, BEGIN, END).end())
        assert self.chat(client) == ["", " wind", ""]

    def test_an_error_line_ends_it_with_the_text(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        upstream.next("/api/chat", streamed(BEGIN, ERROR).end())
        with pytest.raises(NodeFailure, match="the runner has stopped"):
            self.chat(client)

    def test_a_stream_without_its_end_is_an_error(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        """Unlike in Python."""
        upstream.next("/api/chat", streamed(BEGIN).end())
        with pytest.raises(NodeFailure, match="Did not receive done or success response in stream"):
            self.chat(client)

    def test_a_blank_line_is_harmless(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        """Unlike in Python; a line that is no JSON is only warned of."""
        upstream.next("/api/chat", streamed(b"\n", BEGIN, b"oops\n", END).end())
        assert self.chat(client) == [" wind", ""]

    def test_a_connection_that_is_cut_is_an_error(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        upstream.next("/api/chat", streamed(BEGIN).close())
        with pytest.raises(NodeFailure, match="terminated"):
            self.chat(client)

    def test_a_refused_connection_is_an_error(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        with upstream.refusing(), pytest.raises(NodeFailure, match="ECONNREFUSED"):
            self.chat(client)

    def test_it_sends_json_without_asking_for_lines(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        upstream.next("/api/chat", streamed(END).end())
        self.chat(client)
        [call] = upstream.calls

        assert json.loads(call.body) == {"model": "a", "messages": ASK, "stream": True}
        assert (call.header("accept"), call.header("content-type")) == ("application/json", "application/json")
        assert (call.header("user-agent") or "").startswith("ollama-js/0.6.4")

    def test_a_status_reaches_the_caller(self, upstream: FaultyUpstream, client: NodeClient) -> None:
        upstream.next("/api/chat", Script.error(503))
        with pytest.raises(NodeFailure, match="made up") as caught:
            self.chat(client)
        assert (caught.value.name, caught.value.status) == ("ResponseError", 503)


class TestOpenaiOfPython:
    CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'

    def chat(self, upstream: FaultyUpstream, *events: bytes) -> list[str | None]:
        script = Script().head(content_type="text/event-stream")
        for event in events:
            script.send(event)
        upstream.next("/v1/chat/completions", script.end())
        with openai_client(upstream.url) as client:
            chunks = client.chat.completions.create(model="a", messages=[{"role": "user", "content": "q"}], stream=True)
            return [one.choices[0].delta.content for one in chunks]

    def test_comments_are_harmless(self, upstream: FaultyUpstream) -> None:
        assert self.chat(upstream, b": wait\n\n", self.CHUNK, b": wait\n\n", b"data: [DONE]\n\n") == ["x"]

    def test_chunks_without_content_are_harmless(self, upstream: FaultyUpstream) -> None:
        nothing = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n'
        assert self.chat(upstream, nothing, self.CHUNK, b"data: [DONE]\n\n") == [None, "x"]

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    def test_a_status_reaches_the_caller(self, upstream: FaultyUpstream, status: int) -> None:
        upstream.next("/v1/chat/completions", Script.answer({"error": {"message": "made up"}}, status))
        with openai_client(upstream.url) as client, pytest.raises(openai.APIStatusError, match="made up") as caught:
            client.chat.completions.create(model="a", messages=[{"role": "user", "content": "q"}])
        assert caught.value.status_code == status

    def test_an_error_event_is_an_error_with_its_message(self, upstream: FaultyUpstream) -> None:
        with pytest.raises(openai.APIError, match="the runner has stopped"):
            self.chat(upstream, self.CHUNK, b'data: {"error":{"message":"the runner has stopped"}}\n\n')

    def test_a_stream_without_its_end_is_taken_as_whole(self, upstream: FaultyUpstream) -> None:
        assert self.chat(upstream, self.CHUNK) == ["x"]
