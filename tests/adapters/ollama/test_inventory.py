"""The inventory: read at intervals, kept while the target is away, and what the gateway then says of its health."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sagalog import Breaker
from tests.adapters.ollama.gateways import Gateway, gateway
from tests.faulty_upstream import FaultyUpstream, Script
from tests.ollama_server.examples import EXAMPLES


def health(ollama: Gateway) -> dict[str, object]:
    answer = ollama.client.get("/healthz")
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    return found


def test_the_inventory_is_what_the_target_says(ollama: Gateway, upstream: FaultyUpstream) -> None:
    for path in ("/api/tags", "/api/ps"):
        assert httpx.get(upstream.url + path, trust_env=False).content == ollama.client.get(path).content


def test_clients_are_answered_without_asking_the_target(ollama: Gateway, upstream: FaultyUpstream) -> None:
    before = len(upstream.calls)

    ollama.client.get("/api/tags")
    ollama.client.get("/api/ps")

    assert before == len(upstream.calls)


def test_the_inventory_is_kept_while_the_target_is_away(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """[GATEWAY-9]"""
    with gateway(tmp_path, upstream.url, poll_interval_ms=100) as ollama:
        tags = ollama.client.get("/api/tags").content
        assert {"status": "ok", "degraded": False} == health(ollama)

        with upstream.refusing():
            ollama.wait_until(lambda: health(ollama)["degraded"] is True)
            assert ["target_away"] == health(ollama)["reasons"]
            assert tags == ollama.client.get("/api/tags").content

        ollama.wait_until(lambda: health(ollama)["degraded"] is False)


def test_an_inventory_that_was_never_read_is_503(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with upstream.refusing(), gateway(tmp_path, upstream.url) as ollama:
        answer = ollama.client.get("/api/tags")

    assert 503 == answer.status_code
    assert "the target has not answered yet" in answer.json()["error"]


@pytest.mark.parametrize(
    "answer",
    [
        Script.answer(b"{"),
        Script.error(500),
        Script.answer("<html>", 200, "text/html"),
        Script.answer(b"[" * 100_000),
        Script.answer(b"no gzip", headers=[("Content-Encoding", "gzip")]),
        Script().head().send(b" " * 20_000_000),
        Script().raw(b"SSH-2.0-OpenSSH\r\n"),
    ],
    ids=["cut", "refused", "html", "nested", "encoded", "endless", "other protocol"],
)
def test_an_inventory_that_cannot_be_read_counts_as_away(
    tmp_path: Path, upstream: FaultyUpstream, answer: Script
) -> None:
    upstream.always("/api/tags", answer)

    with gateway(tmp_path, upstream.url) as ollama:
        assert ["target_away"] == health(ollama)["reasons"]
        assert "the target has not answered" in ollama.client.get("/api/tags").json()["error"]


def test_a_gateway_whose_worker_was_stopped_is_degraded(ollama: Gateway) -> None:
    [worker] = ollama.engine.workers()
    ollama.engine.stop_worker(worker.name)

    ollama.wait_until(lambda: health(ollama)["degraded"] is True)

    assert ["not_working"] == health(ollama)["reasons"]


def test_a_load_that_takes_too_long_is_degraded(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """Its lists stay green while a target hangs in a load; only the age of the load tells. [GATEWAY-9]"""
    upstream.next("/api/chat", Script())
    with gateway(tmp_path, upstream.url, loading_max_ms=1_000, grace_ms=0) as ollama:
        id = ollama.submit()
        upstream.wait_for("/api/chat")
        assert health(ollama)["degraded"] is False

        ollama.wait_until(lambda: health(ollama)["degraded"] is True)
        assert ["loading_too_long"] == health(ollama)["reasons"]
        ollama.client.delete(f"/jobs/{id}")
        ollama.wait_until(lambda: health(ollama)["degraded"] is False)


def test_the_embedding_model_is_loaded_at_the_start_and_on_return(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.always("/api/embed", Script.example(EXAMPLES["embed"]))
    with gateway(tmp_path, upstream.url, embedding_model="nomic", poll_interval_ms=100) as ollama:
        first = upstream.wait_for("/api/embed")
        with upstream.refusing():
            ollama.wait_until(lambda: health(ollama)["degraded"] is True)
        upstream.wait_for("/api/embed", 2)

    assert b'{"model":"nomic","input":[]}' == first.body


def test_a_poll_does_not_wait_for_the_embedding_model(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.always("/api/embed", Script())

    with gateway(tmp_path, upstream.url, embedding_model="nomic") as ollama:
        assert 200 == ollama.client.get("/api/tags").status_code
        assert 404 == ollama.chat(model="absent").status_code


def test_a_breaker_that_an_operator_has_set_stays_and_is_told(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url) as ollama:
        ollama.engine.limit_queue(ollama.settings.queue, slots=1, breaker=Breaker(failures=1))
    upstream.next("/api/chat", Script().reset())

    with gateway(tmp_path, upstream.url, grace_ms=0) as ollama:
        ollama.submit()

        ollama.wait_until(lambda: health(ollama)["degraded"] is True)
        assert ["breaker_open"] == health(ollama)["reasons"]


def test_the_queue_of_a_target_runs_one_job_whatever_was_set(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url) as ollama:
        ollama.engine.limit_queue(ollama.settings.queue, slots=5)

    with gateway(tmp_path, upstream.url) as ollama:
        [queue] = ollama.engine.queues()
        assert 1 == queue.slots
