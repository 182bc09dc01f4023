"""Jobs: how a client that was cut, or that did not wait, finds what became of its request."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.adapters.ollama.gateways import CHAT, Gateway, events, gateway
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]


def content(found: list[tuple[str, str, dict[str, str]]]) -> bytes:
    """The bytes that the events of a job's stream hold."""
    parts = [data for kind, _, data in found if kind == "chunk"]
    return b"".join(one["text"].encode() if "text" in one else base64.b64decode(one["base64"]) for one in parts)


def test_a_client_that_does_not_wait_gets_the_url_of_its_job(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    answer = ollama.chat(headers={"prefer": "respond-async"})

    assert (202, "respond-async") == (answer.status_code, answer.headers["preference-applied"])
    id = answer.json()["id"]
    assert f"/jobs/{id}" == answer.headers["location"]
    assert "completed" == ollama.ended(id)["state"]
    assert STREAM.body == ollama.client.get(f"/jobs/{id}/answer").content


def test_a_job_goes_from_queued_to_loading_to_working(ollama: Gateway, upstream: FaultyUpstream) -> None:
    loading, working = Gate(), Gate()
    upstream.next(
        "/api/chat", Script().wait(loading).head().send(STREAM.frames[0]).wait(working).send(STREAM.body).end()
    )
    upstream.next("/api/chat", Script.example(STREAM))
    first, second = ollama.submit(), ollama.submit()
    loading.wait_reached()

    assert ("loading", "queued") == (ollama.job(first)["state"], ollama.job(second)["state"])
    loading.open()
    working.wait_reached()
    ollama.wait_until(lambda: ollama.job(first)["state"] == "working")
    working.open()
    assert ["completed"] * 2 == [ollama.ended(id)["state"] for id in (first, second)]


def test_an_answer_that_is_not_there_yet_is_409(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script())
    id = ollama.submit()

    answer = ollama.client.get(f"/jobs/{id}/answer")

    assert (409, "no_answer") == (answer.status_code, answer.json()["code"])
    ollama.client.delete(f"/jobs/{id}")


def test_a_job_that_was_refused_gives_the_same_refusal_later(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.error(503, "busy"))
    id = ollama.submit()
    job = ollama.ended(id)

    answer = ollama.client.get(f"/jobs/{id}/answer")

    assert (503, {"error": "busy"}) == (answer.status_code, answer.json())
    assert ("failed", 503, "busy") == (job["state"], job["status"], job["error"])


def test_jobs_are_listed_newest_first(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    ids = [ollama.submit() for _ in range(3)]

    listed = ollama.client.get("/jobs", params={"limit": 2}).json()["jobs"]

    assert ids[:0:-1] == [one["id"] for one in listed]


@pytest.mark.parametrize("path", ["", "/answer", "/stream", "/artifacts/completion"])
def test_a_job_that_there_is_not_is_404(ollama: Gateway, path: str) -> None:
    answer = ollama.client.get(f"/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV{path}")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


def test_tasks_of_others_on_the_store_are_no_jobs(ollama: Gateway) -> None:
    other = ollama.engine.create("build", queue="default")

    assert 404 == ollama.client.get(f"/jobs/{other.id}").status_code
    assert 404 == ollama.client.delete(f"/jobs/{other.id}").status_code
    assert [] == ollama.client.get("/jobs").json()["jobs"]


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_is_cancelled_at_once(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script())
    running, waiting = ollama.submit(), ollama.submit()
    upstream.wait_for("/api/chat")

    assert "cancelled" == ollama.client.delete(f"/jobs/{waiting}").json()["state"]
    ollama.client.delete(f"/jobs/{running}")


def test_cancelling_a_job_that_runs_ends_its_request(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-10]"""
    upstream.next("/api/chat", Script())
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    call = upstream.wait_for("/api/chat")

    ollama.client.delete(f"/jobs/{id}")

    upstream.wait_left(call)
    assert "cancelled" == ollama.ended(id)["state"]
    assert 200 == ollama.chat().status_code
    answer = ollama.client.get(f"/jobs/{id}/answer")
    assert (499, {"error": "request canceled"}) == (answer.status_code, answer.json())


def test_a_whole_request_that_is_cancelled_in_its_answer_is_499(ollama: Gateway, upstream: FaultyUpstream) -> None:
    cut = Script().head(content_type="application/json", framing="length", length=100).send(b'{"model": "ti')
    upstream.next("/api/chat", cut)
    key = {"idempotency-key": "monday"}
    id = ollama.submit(stream=False, headers=key)
    ollama.wait_until(lambda: ollama.job(id)["state"] == "working")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ollama.chat, stream=False, headers=key)
        ollama.client.delete(f"/jobs/{id}")
        answers = [waiting.result(), ollama.client.get(f"/jobs/{id}/answer")]

    assert [(499, {"error": "request canceled"})] * 2 == [(one.status_code, one.json()) for one in answers]


def test_a_job_that_has_ended_stays_as_it_is(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)

    assert "completed" == ollama.client.delete(f"/jobs/{id}").json()["state"]


# --- one request, sent twice ------------------------------------------------------------------------------------------


def test_a_client_that_joins_between_attempts_waits_for_the_next(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).close(), Script.example(STREAM))
    key = {"idempotency-key": "monday"}
    with gateway(tmp_path, upstream.url, retry_ms=500) as ollama:
        id = ollama.submit(headers=key)
        ollama.wait_until(lambda: [one.type for one in ollama.engine.history(id)][-1:] == ["retried"])

        assert STREAM.body == ollama.chat(headers=key).content


def test_a_stream_that_joins_a_job_that_failed_gets_its_error(ollama: Gateway, upstream: FaultyUpstream) -> None:
    cut = Script().head().send(STREAM.frames[0]).close()
    upstream.next("/api/chat", cut, Script().reset(), Script().reset())
    key = {"idempotency-key": "monday"}
    ollama.ended(ollama.submit(headers=key))

    answer = ollama.chat(headers=key)

    assert 502 == answer.status_code
    assert "the target could not be asked" in answer.json()["error"]


def test_a_key_is_one_of_its_target(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    key = {"idempotency-key": "monday"}
    with FaultyUpstream() as second:
        second.have_models("tiny")
        second.always("/api/chat", Script.example(STREAM))
        with gateway(tmp_path, upstream.url) as one, gateway(tmp_path, second.url) as other:
            assert one.submit(headers=key) != other.submit(headers=key)
            for ollama in (one, other):
                ollama.ended(ollama.tasks()[0].id)


def test_a_key_joins_while_the_queue_is_full_and_settings_change(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    key = {"idempotency-key": "monday"}
    with gateway(tmp_path, upstream.url) as ollama:
        id = ollama.submit(headers=key)
        ollama.ended(id)
    upstream.always("/api/chat", Script())

    with gateway(tmp_path, upstream.url, attempts=5, waiting_max=1, grace_ms=0) as ollama:
        ollama.submit()
        ollama.wait_until(lambda: ollama.chat(headers={"prefer": "respond-async"}).status_code == 503)
        assert id == ollama.submit(headers=key)
        assert 409 == ollama.chat(headers=key, model="other").status_code


def test_a_key_that_was_seen_joins_its_job(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-10]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().wait(gate).send(STREAM.body).end())
    key = {"idempotency-key": "monday"}
    id = ollama.submit(headers=key)

    assert id == ollama.submit(headers=key)
    gate.open()
    answer = ollama.chat(headers=key)

    assert (STREAM.body, id) == (answer.content, answer.headers["x-sagalog-job-id"])
    assert 1 == len(upstream.of("/api/chat"))


def test_a_key_joins_its_job_whatever_else_the_client_sends(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    key = {"idempotency-key": "monday"}

    ids = {ollama.submit(headers={**key, **more}) for more in ({}, {"accept": "*/*", "user-agent": "another"})}

    assert 1 == len(ids)


def test_a_key_with_another_body_is_409(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    ollama.submit(headers={"idempotency-key": "monday"})

    answer = ollama.chat(headers={"idempotency-key": "monday"}, model="other")

    assert (409, 1) == (answer.status_code, len(ollama.tasks()))


def test_a_key_is_one_of_its_route(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    upstream.next("/api/generate", Script.example(EXAMPLES["generate stream"]))
    key = {"idempotency-key": "k" * 5_000}

    ollama.submit(headers=key)
    answer = ollama.client.post("/api/generate", json={"model": "tiny", "prompt": "x"}, headers=key)

    assert (200, 2) == (answer.status_code, len(ollama.tasks()))


# --- following --------------------------------------------------------------------------------------------------------


def test_a_stream_of_a_job_has_its_head_its_chunks_and_its_end(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()

    found = events(ollama.client.get(f"/jobs/{id}/stream").text)

    assert ("head", {"status": 200, "media_type": "application/x-ndjson"}) == (found[0][0], found[0][2])
    assert STREAM.body == content(found)
    assert ("end", {"state": "completed"}) == (found[-1][0], found[-1][2])


@pytest.mark.parametrize("way", ["after", "last-event-id"])
def test_a_stream_goes_on_behind_a_cursor(ollama: Gateway, upstream: FaultyUpstream, way: str) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)
    whole = events(ollama.client.get(f"/jobs/{id}/stream").text)
    for place in range(1, len(whole)):
        cursor = whole[place - 1][1]
        given = {"params": {"after": cursor}} if way == "after" else {"headers": {"last-event-id": cursor}}

        assert whole[place:] == events(ollama.client.get(f"/jobs/{id}/stream", **given).text)  # type: ignore[arg-type]


def test_a_cursor_of_an_earlier_attempt_goes_on_at_the_new_one(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate).close(), Script.example(STREAM))
    id = ollama.submit()
    with ollama.client.stream("GET", f"/jobs/{id}/stream") as answer:
        lines = answer.iter_lines()
        cursor = next(line for line in lines if line.startswith("id: ") and line.endswith("-2")).removeprefix("id: ")
        gate.open()
    ollama.ended(id)

    found = events(ollama.client.get(f"/jobs/{id}/stream", params={"after": cursor}).text)

    assert ("head", STREAM.body) == (found[0][0], content(found))


def test_a_cursor_before_the_first_entry_begins_with_the_head(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).close(), Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)
    first = int(events(ollama.client.get(f"/jobs/{id}/stream").text)[0][1].partition("-")[2])

    for cursor in ("0-0", "1-0", f"2-{first - 1}"):
        found = events(ollama.client.get(f"/jobs/{id}/stream", params={"after": cursor}).text)
        assert ("head", STREAM.body) == (found[0][0], content(found)), cursor


def test_a_cursor_that_is_none_is_400(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()

    answer = ollama.client.get(f"/jobs/{id}/stream", params={"after": "yesterday"})

    assert (400, "invalid_value") == (answer.status_code, answer.json()["code"])


def test_a_chunk_that_is_cut_within_a_character_is_base64(ollama: Gateway, upstream: FaultyUpstream) -> None:
    split = STREAM.body.index("ö".encode()) + 1
    upstream.next("/api/chat", Script().head().send(STREAM.body, [split]).end())
    id = ollama.submit()
    ollama.ended(id)

    assert STREAM.body == content(events(ollama.client.get(f"/jobs/{id}/stream").text))


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_whole_answer_is_an_artifact_of_its_job(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)

    answer = ollama.client.get(f"/jobs/{id}/artifacts/completion")

    assert (200, STREAM.body) == (answer.status_code, answer.content)
    assert "application/x-ndjson" == answer.headers["content-type"]
    assert 404 == ollama.client.get(f"/jobs/{id}/artifacts/other").status_code


def test_the_text_of_an_answer_is_an_artifact_too(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)

    answer = ollama.client.get(f"/jobs/{id}/artifacts/text")

    said = "".join(str(frame["message"]["content"]) for frame in STREAM.lines)
    assert (said, "text/plain; charset=utf-8") == (answer.text, answer.headers["content-type"])


def test_an_artifact_is_one_by_job_and_name_over_attempts(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-11]"""
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).close(), Script.example(STREAM))
    id = ollama.submit()

    assert ["completion", "text"] == sorted(ollama.ended(id)["artifacts"])
    assert STREAM.body == ollama.client.get(f"/jobs/{id}/artifacts/completion").content


def test_a_job_says_how_long_its_model_was_loaded(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    assert 700 == ollama.ended(ollama.submit())["load_ms"]


def test_jobs_outlive_the_gateway(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    with gateway(tmp_path, upstream.url) as first:
        id = first.submit()
        first.ended(id)

    with gateway(tmp_path, upstream.url) as second:
        assert STREAM.body == second.client.get(f"/jobs/{id}/answer").content


def test_two_gateways_on_one_store_share_queue_and_jobs(tmp_path: Path, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next(
        "/api/chat", Script().head().send(STREAM.frames[0]).wait(gate).send(b"".join(STREAM.frames[1:])).end()
    )
    upstream.next("/api/chat", Script.example(STREAM))
    with gateway(tmp_path, upstream.url) as one, gateway(tmp_path, upstream.url) as other:
        first, second = one.submit(), other.submit()
        gate.wait_reached()
        assert 1 == len(upstream.of("/api/chat"))
        with other.client.stream("GET", f"/jobs/{first}/stream") as answer:
            gate.open()
            text = answer.read().decode()

        assert STREAM.body == content(events(text))
        assert "completed" == one.ended(second)["state"]


def test_a_body_of_a_request_is_no_secret_of_the_log(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """What a request says is bytes beside the log, which can be pruned; events hold what counts of it only."""
    upstream.next("/api/chat", Script.example(STREAM))
    canary = "canary-of-a-prompt"
    id = ollama.submit(messages=[{"role": "user", "content": canary}])
    ollama.ended(id)

    assert not [one for one in ollama.engine.history(id) if canary in one.body]
    assert CHAT["model"] == ollama.job(id)["model"]


def test_a_job_that_was_pruned_is_410_and_leaves_the_list(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """[GATEWAY-11]"""
    upstream.next("/api/chat", Script.example(STREAM))
    key = {"idempotency-key": "monday"}
    with gateway(tmp_path, upstream.url, ttl_ms=1_000) as ollama:
        id = ollama.submit(headers=key)
        ollama.ended(id)
        ollama.wait_until(lambda: ollama.client.get(f"/jobs/{id}").status_code == 410)

        for path in ("", "/answer", "/stream", "/artifacts/completion"):
            answer = ollama.client.get(f"/jobs/{id}{path}")
            assert (410, "gone") == (answer.status_code, answer.json()["code"])
        assert [] == ollama.client.get("/jobs").json()["jobs"]
        ollama.wait_until(lambda: ollama.engine.prune(0).blobs == 0)
        assert 410 == ollama.chat(headers=key).status_code
        assert ollama.engine.verify().ok


def test_a_gateway_prunes_no_bytes_of_other_queues(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    with gateway(tmp_path, upstream.url, ttl_ms=1_000) as ollama:
        ollama.engine.create("invoice", id="other", queue="mine", inputs={"scan": b"pages"})
        ollama.engine.cancel("other")
        ollama.submit()
        ollama.wait_until(lambda: ollama.engine.verify().pruned > 0)

        assert b"pages" == ollama.engine.input("other", "scan")


def test_a_job_that_an_operator_has_pruned_is_410(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)
    ollama.wait_until(lambda: ollama.engine.prune(0).blobs > 0)

    for path in ("", "/answer", "/stream"):
        assert 410 == ollama.client.get(f"/jobs/{id}{path}").status_code
    assert 200 == ollama.client.get("/jobs").status_code


def test_a_gateway_prunes_what_ended_longer_ago_than_its_ttl(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    with gateway(tmp_path, upstream.url) as ollama:
        ollama.ended(ollama.submit())
        assert ollama.engine.verify().pruned == 0

    with gateway(tmp_path, upstream.url, ttl_ms=1_000) as ollama:
        ollama.wait_until(lambda: ollama.engine.verify().pruned > 0)
        assert ollama.engine.verify().ok
