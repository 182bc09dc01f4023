"""Requests that wait: taken up as jobs, done one at a time, answered as the target answers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.adapters.ollama.gateways import CHAT, Gateway, frames, gateway
from tests.faulty_upstream import FaultyUpstream, Gate, Script, flapping
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]


def test_a_stream_passes_byte_for_byte_with_its_content_type(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-5]"""
    upstream.next("/api/chat", Script.example(STREAM))

    answer = ollama.chat()

    assert (200, STREAM.body) == (answer.status_code, answer.content)
    assert "application/x-ndjson" == answer.headers["content-type"]


def test_a_whole_answer_passes_byte_for_byte(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(EXAMPLES["chat"]))

    answer = ollama.chat(stream=False)

    assert (200, EXAMPLES["chat"].body) == (answer.status_code, answer.content)
    assert EXAMPLES["chat"].content_type == answer.headers["content-type"]


def test_the_target_gets_the_body_byte_for_byte(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-4]"""
    upstream.next("/api/chat", Script.example(STREAM))
    body = b'{ "model":"tiny" ,"unknown":[1e400, "\\u00e9"],"messages":[], "keep_alive": "7m"  }'

    ollama.client.post("/api/chat", content=body, headers={"content-type": "application/json"})

    [call] = upstream.of("/api/chat")
    assert body == call.body


def test_the_target_gets_no_header_that_is_the_gateways(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    sent = {"authorization": "Bearer mine", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", "idempotency-key": "k"}

    with gateway(tmp_path, upstream.url, target_token="theirs") as ollama:  # noqa: S106  a word of this test
        ollama.chat(headers=sent)

    [call] = upstream.of("/api/chat")
    assert "Bearer theirs" == call.header("authorization")
    assert [None] * 3 == [call.header(name) for name in ("cookie", "x-forwarded-for", "idempotency-key")]
    assert upstream.url.removeprefix("http://") == call.header("host")


def test_a_chunk_reaches_the_client_before_the_next_one_is_there(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-5]"""
    gate = Gate()
    first, *others = STREAM.frames
    upstream.next("/api/chat", Script().head().send(first).wait(gate).send(b"".join(others)).end())

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        assert first == next(parts)
        gate.open()
        assert b"".join(others) == b"".join(parts)


@pytest.mark.parametrize("split", [[1], [5, 6, 7], list(range(1, 120, 3))])
def test_frames_that_are_split_at_any_byte_pass(ollama: Gateway, upstream: FaultyUpstream, split: list[int]) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.body, split).end())

    assert STREAM.body == ollama.chat().content


def test_jobs_run_one_at_a_time(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-2]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().wait(gate).send(STREAM.body).end())
    upstream.next("/api/chat", *(Script.example(STREAM) for _ in range(4)))

    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(ollama.chat) for _ in range(5)]
        ollama.wait_until(lambda: len(ollama.tasks()) == 5)
        gate.wait_reached()
        assert 1 == len(upstream.of("/api/chat"))
        gate.open()

    assert [STREAM.body] * 5 == [answer.result().content for answer in answers]


def test_a_request_that_comes_later_is_begun_without_a_poll(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """The worker waits for commits: a poll of the store would cost each request its interval. [GATEWAY-2]"""
    upstream.always("/api/chat", Script.example(STREAM))
    ollama.chat()

    took_s = [ollama.chat().elapsed.total_seconds() for _ in range(5)]

    assert min(took_s) < 0.5


def test_an_answer_names_its_job_and_its_place(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    answer = ollama.chat()

    job = ollama.job(answer.headers["x-sagalog-job-id"])
    assert ("completed", "tiny", "/api/chat") == (job["state"], job["model"], job["path"])
    assert "1" == answer.headers["x-sagalog-queue-position"]


# --- what the target refuses, or does not answer ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 429, 499, 500, 502, 503])
def test_an_answer_with_an_error_is_final_and_passes(ollama: Gateway, upstream: FaultyUpstream, status: int) -> None:
    """[GATEWAY-6]"""
    upstream.next("/api/chat", Script.error(status, "made up"))

    answer = ollama.chat()

    assert (status, {"error": "made up"}) == (answer.status_code, answer.json())
    assert 1 == len(upstream.of("/api/chat"))
    assert "failed" == ollama.job(answer.headers["x-sagalog-job-id"])["state"]


def test_an_error_that_is_html_passes_as_it_is(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.answer("<html>bad gateway</html>", 502, "text/html"))

    answer = ollama.chat(stream=False)

    assert (502, "<html>bad gateway</html>") == (answer.status_code, answer.text)


def test_an_answer_that_an_operator_names_is_tried_again(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", *flapping(2, lambda: Script.error(503, "busy"), Script.example(STREAM)))

    with gateway(tmp_path, upstream.url, retry_statuses=(503,)) as ollama:
        answer = ollama.chat()

    assert (200, STREAM.body) == (answer.status_code, answer.content)


def test_the_last_of_several_answers_with_errors_passes(tmp_path: Path, upstream: FaultyUpstream) -> None:
    cut = Script().head(content_type="application/json", framing="length", length=100).send(b'{"model"').close()
    upstream.next("/api/chat", cut, Script.error(503, "busy"))

    with gateway(tmp_path, upstream.url, retry_statuses=(503,), attempts=2) as ollama:
        answer = ollama.chat(stream=False)

        assert (503, {"error": "busy"}) == (answer.status_code, answer.json())
        again = ollama.client.get(f"/jobs/{answer.headers['x-sagalog-job-id']}/answer")
        assert (503, {"error": "busy"}) == (again.status_code, again.json())


def test_a_target_that_flaps_is_tried_again_without_loss(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-6]"""
    upstream.next("/api/chat", *flapping(2, lambda: Script().reset(), Script.example(STREAM)))

    answer = ollama.chat()

    assert (200, STREAM.body) == (answer.status_code, answer.content)
    assert 3 == len(upstream.of("/api/chat"))


def test_three_attempts_are_made_and_the_last_error_is_kept(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-6]"""
    upstream.next("/api/chat", *(Script().reset() for _ in range(3)))

    answer = ollama.chat()

    assert 502 == answer.status_code
    assert "the target could not be asked" in answer.json()["error"]
    job = ollama.job(answer.headers["x-sagalog-job-id"])
    assert ("failed", 3) == (job["state"], len(upstream.of("/api/chat")))
    assert answer.json()["error"] == job["error"]


def test_a_target_that_refuses_connections_is_502(ollama: Gateway, upstream: FaultyUpstream) -> None:
    with upstream.refusing():
        answer = ollama.chat(stream=False)

    assert 502 == answer.status_code
    assert "the target could not be asked" in answer.json()["error"]


def test_a_whole_answer_that_breaks_off_is_tried_again(ollama: Gateway, upstream: FaultyUpstream) -> None:
    cut = Script().head(content_type="application/json", framing="length", length=100).send(b'{"model"').close()
    upstream.next("/api/chat", cut, Script.example(EXAMPLES["chat"]))

    answer = ollama.chat(stream=False)

    assert (200, EXAMPLES["chat"].body) == (answer.status_code, answer.content)


def test_json_that_ends_too_early_is_tried_again(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next(
        "/api/chat",
        Script.answer(b'{"model": "ti', framing="until close"),
        Script.example(EXAMPLES["chat"]),
    )

    assert EXAMPLES["chat"].body == ollama.chat(stream=False).content


def test_a_stream_that_breaks_off_ends_with_an_error_frame(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """The official Python client takes a stream that just ends for a whole one. [GATEWAY-5]"""
    first = STREAM.frames[0]
    upstream.next("/api/chat", Script().head().send(first).close(), Script.example(STREAM))

    answer = ollama.chat()

    [content, error] = frames(answer.content)
    assert (200, False) == (answer.status_code, content["done"])
    assert "the answer broke off" in error["error"]


def test_a_frame_that_is_cut_is_not_passed_on(ollama: Gateway, upstream: FaultyUpstream) -> None:
    first = STREAM.frames[0]
    upstream.next("/api/chat", Script().head().send(first + first[:20]).reset(), Script.example(STREAM))

    assert ["content", "error"] == ["error" if "error" in one else "content" for one in frames(ollama.chat().content)]


def test_a_frame_that_is_cut_by_a_cancel_is_not_passed_on(ollama: Gateway, upstream: FaultyUpstream) -> None:
    first = STREAM.frames[0]
    upstream.next("/api/chat", Script().head().send(first + first[:20]))

    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        parts = answer.iter_raw()
        got = next(parts)
        ollama.client.delete(f"/jobs/{answer.headers['x-sagalog-job-id']}")
        rest = b"".join(parts)

    assert (first, [{"error": "request canceled"}]) == (got, frames(rest))


def test_an_error_frame_without_a_line_end_comes_once(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(b'{"error":"boom"}').end())

    assert b'{"error":"boom"}' == ollama.chat().content


def test_a_stream_without_its_last_frame_is_no_success(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(EXAMPLES["chat stream, without its end"]), Script.example(STREAM))

    answer = ollama.chat()

    assert "error" in frames(answer.content)[-1]
    job = ollama.ended(answer.headers["x-sagalog-job-id"])
    assert ("completed", 2) == (job["state"], len(upstream.of("/api/chat")))


def test_an_error_frame_of_the_target_is_the_last_one(ollama: Gateway, upstream: FaultyUpstream) -> None:
    broken = EXAMPLES["chat stream, an error in its midst"]
    upstream.next("/api/chat", Script.example(broken))

    answer = ollama.chat()

    assert broken.body == answer.content
    assert "failed" == ollama.job(answer.headers["x-sagalog-job-id"])["state"]


@pytest.mark.parametrize("content_type", ["", "x" * 3_000, "application/json\u20ac"])
def test_an_odd_type_costs_no_answer(ollama: Gateway, upstream: FaultyUpstream, content_type: str) -> None:
    odd = Script().raw(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: {content_type}\r\n\r\n".encode())
    upstream.next("/api/chat", odd.raw(b"{}").end())

    answer = ollama.chat(stream=False)

    assert (200, b"{}", 1) == (answer.status_code, answer.content, len(upstream.of("/api/chat")))


def test_a_cookie_of_the_target_stays_with_no_client(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/embed", Script.answer({"embeddings": []}, headers=[("Set-Cookie", "sid=one")]))
    upstream.next("/api/embed", Script.answer({"embeddings": []}))
    for _ in range(2):
        ollama.client.post("/api/embed", json={"model": "e", "input": "x"})

    assert [None, None] == [call.header("cookie") for call in upstream.of("/api/embed")]


def test_a_header_that_is_not_ascii_is_no_defect(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/embed", Script.answer({"embeddings": []}))
    accept = {b"accept": "caf\u00e9".encode("latin-1")}

    passed = ollama.client.post("/api/embed", json={"model": "e", "input": "x"}, headers=accept)
    refused = ollama.client.post("/api/chat", content=b"{}", headers={b"content-type": "caf\u00e9".encode("latin-1")})

    assert (200, 400) == (passed.status_code, refused.status_code)


def test_a_target_that_falls_silent_is_tried_again(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script(), Script.example(STREAM))

    with gateway(tmp_path, upstream.url, silence_ms=200) as ollama:
        answer = ollama.chat()

    assert (200, STREAM.body) == (answer.status_code, answer.content)


# --- models -----------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_404_after_one_more_poll(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-7]"""
    before = len(upstream.of("/api/tags"))

    answer = ollama.chat(model="absent")

    assert 404 == answer.status_code
    assert {"error": 'model "absent" not found, try pulling it first'} == answer.json()
    assert before + 1 == len(upstream.of("/api/tags"))
    assert [] == ollama.tasks()


def test_a_model_that_was_pulled_meanwhile_is_found_by_that_poll(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.have_models("tiny", "new")
    upstream.next("/api/chat", Script.example(STREAM))

    assert 200 == ollama.chat(model="new").status_code


def test_a_request_is_taken_up_while_the_target_was_never_seen(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with upstream.refusing(), gateway(tmp_path, upstream.url, attempts=1) as ollama:
        id = ollama.submit()

        assert "failed" == ollama.ended(id)["state"]


# --- what is no request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b"{", "the body cannot be read"),
        (b"\xff", "the body cannot be read"),
        (b"{}", "model is required"),
        (b"[" * 10_000, "the body cannot be read"),
    ],
)
def test_a_body_that_is_none_is_400_and_no_job(ollama: Gateway, body: bytes, said: str) -> None:
    answer = ollama.client.post("/api/chat", content=body)

    assert 400 == answer.status_code
    assert said in answer.json()["error"]
    assert [] == ollama.tasks()


def test_a_body_that_is_too_large_is_413(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url, body_bytes_max=1_000) as ollama:
        answer = ollama.chat(padding="x" * 2_000)

        assert (413, []) == (answer.status_code, ollama.tasks())


def test_more_requests_than_may_wait_are_503(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script())
    with gateway(tmp_path, upstream.url, waiting_max=1, grace_ms=0) as ollama:
        ollama.submit()
        refused: list[httpx.Response] = []

        def is_refused() -> bool:
            refused[:] = [ollama.chat(headers={"prefer": "respond-async"})]
            return refused[0].status_code == 503

        ollama.wait_until(is_refused)

        assert "wait" in refused[0].json()["error"]


def test_the_errors_of_v1_have_the_form_of_openai(ollama: Gateway) -> None:
    answer = ollama.client.post("/v1/chat/completions", json={**CHAT, "model": "absent"})

    assert (404, "not_found_error") == (answer.status_code, answer.json()["error"]["type"])


def test_the_errors_of_messages_have_the_form_of_anthropic(ollama: Gateway) -> None:
    answer = ollama.client.post("/v1/messages", json={**CHAT, "model": "absent"})

    assert (404, "error") == (answer.status_code, answer.json()["type"])


# --- beside the queue -------------------------------------------------------------------------------------------------


def test_embeddings_run_side_by_side_and_past_the_queue(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-8]"""
    chat, embed = Gate(), Gate()
    upstream.next("/api/chat", Script().head().wait(chat).send(STREAM.body).end())
    vectors = EXAMPLES["embed"]
    upstream.always("/api/embed", Script().wait(embed).head(content_type=vectors.content_type).send(vectors.body).end())
    with ThreadPoolExecutor(4) as pool:
        chatting = pool.submit(ollama.chat)
        chat.wait_reached()
        embedding = [pool.submit(ollama.client.post, "/api/embed", json={"model": "e", "input": "x"}) for _ in range(3)]
        upstream.wait_for("/api/embed", 3)
        embed.open()

        assert [vectors.body] * 3 == [one.result().content for one in embedding]
        assert 1 == len(ollama.tasks())
        chat.open()
        assert 200 == chatting.result().status_code


def test_an_embedding_while_the_target_is_away_is_502(ollama: Gateway, upstream: FaultyUpstream) -> None:
    with upstream.refusing():
        answer = ollama.client.post("/api/embed", json={"model": "e", "input": "x"})

    assert 502 == answer.status_code
    assert "the target could not be asked" in answer.json()["error"]


def test_a_route_that_an_operator_takes_out_passes_through(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    with gateway(tmp_path, upstream.url, queue_paths=("/api/generate",)) as ollama:
        answer = ollama.chat()

        assert (STREAM.body, []) == (answer.content, ollama.tasks())


def test_other_questions_pass_through(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/show", Script.answer({"modelfile": "FROM x"}))
    upstream.next("/v1/models/team/tiny", Script.answer({"id": "team/tiny"}))

    shown = ollama.client.post("/api/show?ts=1&verbose=1", json={"model": "tiny"})

    assert {"modelfile": "FROM x"} == shown.json()
    assert "verbose=1" == upstream.of("/api/show")[0].query
    assert {"id": "team/tiny"} == ollama.client.get("/v1/models/team/tiny").json()


def test_an_unknown_path_is_404_and_never_reaches_the_target(ollama: Gateway, upstream: FaultyUpstream) -> None:
    for path in ("/api/unknown", "/v2", "/api/chat/", "/api/..%2fdelete", "/v1/models/../../api/delete"):
        answer = ollama.client.get(path)
        assert answer.status_code in (400, 404, 405), path

    assert [] == [call for call in upstream.calls if call.path not in ("/api/tags", "/api/ps")]


def test_the_gateway_says_that_it_runs_also_while_the_target_is_away(ollama: Gateway, upstream: FaultyUpstream) -> None:
    with upstream.refusing():
        assert "Ollama is running" == ollama.client.get("/").text
        assert 200 == ollama.client.head("/").status_code


# --- clients that leave -----------------------------------------------------------------------------------------------


def test_a_job_goes_on_without_its_client(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-10]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().wait(gate).send(STREAM.body).end())
    with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
        id = answer.headers["x-sagalog-job-id"]
    gate.open()

    assert "completed" == ollama.ended(id)["state"]
    assert STREAM.body == ollama.client.get(f"/jobs/{id}/answer").content


def test_a_job_that_no_client_reads_is_called_off_where_that_is_set(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]))
    with gateway(tmp_path, upstream.url, abandoned_ms=200) as ollama:
        with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
            id = answer.headers["x-sagalog-job-id"]
        upstream.wait_left(upstream.wait_for("/api/chat"))

        assert "cancelled" == ollama.ended(id)["state"]


def test_a_job_that_another_client_reads_is_not_called_off(tmp_path: Path, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate).send(STREAM.body).end())
    with gateway(tmp_path, upstream.url, abandoned_ms=200) as ollama:
        with ollama.client.stream("POST", "/api/chat", json=CHAT) as answer:
            id = answer.headers["x-sagalog-job-id"]
            reader = ollama.client.stream("GET", f"/jobs/{id}/stream")
            reading = reader.__enter__()
        threading.Event().wait(0.6)
        gate.open()
        reading.read()
        reader.__exit__(None, None, None)

        assert "completed" == ollama.ended(id)["state"]
