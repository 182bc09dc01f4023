"""What is loaded: drained before the next model, kept loaded meanwhile, and then left as its clients ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.adapters.ollama.gateways import PATIENCE_S, Gateway, gateway
from tests.clients import ollama_client
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server import OllamaServer, Settings
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]
SHORT = {"num_predict": 4}
MESSAGES = [{"role": "user", "content": "the sky"}]


def asked(upstream: FaultyUpstream, path: str = "/api/chat") -> list[dict[str, Any]]:
    """The bodies of the requests of a route, in order."""
    return [msgspec.json.decode(call.body) for call in upstream.of(path)]


def models(upstream: FaultyUpstream) -> list[str]:
    return [body["model"] for body in asked(upstream)]


def blocked(ollama: Gateway, upstream: FaultyUpstream, **given: Any) -> Gate:
    """Have the target busy with a chat, so that what comes next waits; open the gate to end that."""
    gate = Gate()
    upstream.next("/api/chat", Script().wait(gate).head().send(STREAM.body).end())
    upstream.always("/api/chat", Script.example(STREAM))
    ollama.submit(**given)
    gate.wait_reached()
    return gate


def drained(ollama: Gateway) -> None:
    for task in ollama.tasks():
        ollama.ended(task.id)


def test_jobs_of_the_loaded_model_come_first(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-3]"""
    gate = blocked(ollama, upstream)
    for model in ("other", "tiny", "other", "tiny:latest"):
        ollama.submit(model=model)
    gate.open()
    drained(ollama)

    assert ["tiny", "tiny", "tiny:latest", "other", "other"] == models(upstream)


def test_other_options_of_the_runner_are_another_load(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = blocked(ollama, upstream)
    wide = {"num_ctx": 8_192}
    for options in (wide, {}, wide, {"temperature": 0.5}):
        ollama.submit(options=options)
    gate.open()
    drained(ollama)

    assert [None, {}, {"temperature": 0.5}, wide, wide] == [body.get("options") for body in asked(upstream)]


def test_a_job_of_another_model_waits_no_longer_than_the_bound(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url, affinity_wait_ms=50) as ollama:
        gate = blocked(ollama, upstream)
        for model in ("other", "tiny", "tiny"):
            ollama.submit(model=model)
        since_ms = ollama.engine.now_ms()
        ollama.wait_until(lambda: ollama.engine.now_ms() > since_ms + 60)
        gate.open()
        drained(ollama)

    assert "other" == models(upstream)[1]


def test_the_loaded_model_is_known_after_a_restart(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url, grace_ms=0) as ollama:
        upstream.next("/api/chat", Script.example(STREAM), Script())
        ollama.ended(ollama.submit(model="other"))
        ollama.submit(model="other")
        upstream.wait_for("/api/chat", 2)
        for model in ("tiny", "other"):
            ollama.submit(model=model)
    upstream.always("/api/chat", Script.example(STREAM))

    with gateway(tmp_path, upstream.url) as ollama:
        drained(ollama)

    assert ["other", "other", "other", "other", "tiny"] == models(upstream)


def test_a_model_that_the_target_has_loaded_is_drained_first(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.have_running("other:latest")
    upstream.always("/api/chat", Script.example(STREAM))
    with upstream.refusing(), gateway(tmp_path, upstream.url, attempts=1) as ollama:
        ollama.engine.pause(queue=ollama.settings.queue)
        for model in ("tiny", "other"):
            ollama.submit(model=model)

    with gateway(tmp_path, upstream.url) as ollama:
        ollama.engine.resume(queue=ollama.settings.queue)
        drained(ollama)

    assert ["other", "tiny"] == models(upstream)


# --- pins -------------------------------------------------------------------------------------------------------------


def test_a_model_is_kept_loaded_while_others_wait_for_it(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-4]"""
    gate = blocked(ollama, upstream, keep_alive=0, options={"num_ctx": 4_096, "seed": 1})
    ollama.submit(options={"num_ctx": 4_096})
    upstream.wait_for("/api/generate")
    gate.open()
    drained(ollama)

    pin = asked(upstream, "/api/generate")[0]
    expected = {"model": "tiny", "prompt": "", "stream": False, "options": {"num_ctx": 4_096}, "keep_alive": "600000ms"}
    assert expected == pin


def test_the_time_of_the_last_client_counts_after_the_last_job(ollama: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-4]"""
    gate = blocked(ollama, upstream)
    ollama.submit(keep_alive="7m")
    upstream.wait_for("/api/generate")
    gate.open()
    drained(ollama)

    last = asked(upstream, "/api/generate")[-1]
    assert {"model": "tiny", "prompt": "", "stream": False, "keep_alive": "7m"} == last


def test_a_client_that_asks_for_no_time_leaves_it_to_the_target(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = blocked(ollama, upstream)
    ollama.submit()
    upstream.wait_for("/api/generate")
    gate.open()
    drained(ollama)

    assert "keep_alive" not in asked(upstream, "/api/generate")[-1]


def test_the_time_is_given_back_after_a_last_job_that_fails(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = blocked(ollama, upstream)
    ollama.submit(keep_alive="7m")
    upstream.wait_for("/api/generate")
    upstream.next("/api/chat", Script.error(500))
    gate.open()
    drained(ollama)

    assert "7m" == asked(upstream, "/api/generate")[-1]["keep_alive"]


def test_the_time_is_given_back_when_those_that_waited_have_gone(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = blocked(ollama, upstream, keep_alive="7m")
    ollama.engine.pause(kind="ollama-request")
    waiting = ollama.submit()
    upstream.wait_for("/api/generate")
    gate.open()
    ollama.ended(ollama.tasks()[0].id)
    ollama.client.delete(f"/jobs/{waiting}")

    upstream.wait_until(lambda calls: b'"7m"' in [one for one in calls if one.path == "/api/generate"][-1].body)


def test_the_time_is_given_back_after_a_job_that_is_cancelled(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = blocked(ollama, upstream)
    upstream.next("/api/chat", Script())
    last = ollama.submit(keep_alive=-1)
    upstream.wait_for("/api/generate")
    gate.open()
    upstream.wait_for("/api/chat", 2)
    ollama.client.delete(f"/jobs/{last}")

    upstream.wait_until(
        lambda calls: b'"keep_alive":-1' in [one for one in calls if one.path == "/api/generate"][-1].body
    )


def test_a_job_without_company_is_left_alone(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    ollama.chat(keep_alive=0)
    ollama.chat(model="other")

    assert [] == upstream.of("/api/generate")


@pytest.mark.parametrize("keep_alive", [0, "5m", -1, None])
def test_each_time_that_a_client_asks_for_holds_at_last(tmp_path: Path, keep_alive: object) -> None:
    """Against the server with a real model: bodies with keep_alive 0 would unload it after each job."""
    with OllamaServer(Settings(models=("a",), tokens_per_second=50)) as server, gateway(tmp_path, server.url) as ollama:
        ollama.engine.pause(queue=ollama.settings.queue)
        for _ in range(4):
            ollama.submit(model="a", keep_alive=keep_alive, options={"num_predict": 4})
        ollama.engine.resume(queue=ollama.settings.queue)
        drained(ollama)

        history = server.record.history
        assert ["a:latest"] == history.loaded()
        loaded = {} if keep_alive == 0 else {"a:latest"}
        assert set(loaded) == {one["model"] for one in loaded_at(server.url)}


def loaded_at(url: str) -> list[dict[str, Any]]:

    found: list[dict[str, Any]] = httpx.get(f"{url}/api/ps", trust_env=False).json()["models"]
    return found


def test_forty_chats_with_two_models_in_turn_load_each_once(tmp_path: Path) -> None:
    """[GATEWAY-3]"""
    with OllamaServer(Settings(models=("a", "b"), tokens_per_second=50)) as server:
        with (
            gateway(tmp_path, server.url, affinity_wait_ms=0) as ollama,
            ollama_client(ollama.url) as client,
            ThreadPoolExecutor(40) as pool,
        ):
            ollama.engine.pause(queue=ollama.settings.queue)
            asked = [pool.submit(client.chat, "ab"[number % 2], MESSAGES, options=SHORT) for number in range(40)]
            ollama.wait_until(lambda: len(ollama.tasks()) == 40)
            ollama.engine.resume(queue=ollama.settings.queue)
            assert all(one.result().done for one in asked)

        history = server.record.history
        assert (2, 1) == (len(history.loads), history.swaps)


def test_another_model_starts_within_the_bound_and_one_job(tmp_path: Path) -> None:
    """Under constant load for one model, the jobs of the other would otherwise wait for ever. [GATEWAY-3]"""
    bound_ms = 1_000
    with (
        OllamaServer(Settings(models=("a", "b"), tokens_per_second=50)) as server,
        gateway(tmp_path, server.url, affinity_wait_ms=bound_ms) as ollama,
    ):
        pause = threading.Event()
        load = threading.Thread(target=lambda: _load(ollama, "a", pause))
        load.start()
        ollama.wait_until(lambda: len(ollama.tasks()) > 3)
        other = ollama.submit(model="b", options=SHORT)
        ollama.ended(other)
        pause.set()
        load.join()

        started = [one for one in ollama.engine.history(other) if one.type == "leased"]
        waited_ms = started[0].at_ms - ollama.job(other)["created_ms"]
        jobs = [ollama.job(task.id) for task in ollama.tasks() if task.is_terminal]
        longest_ms = max(one["ended_ms"] - one["created_ms"] for one in jobs if one["model"] == "b")
        assert bound_ms <= waited_ms <= bound_ms + longest_ms


def _load(ollama: Gateway, model: str, over: threading.Event) -> None:
    """Keep some requests for a model waiting until it is over."""
    with httpx.Client(base_url=ollama.url, timeout=PATIENCE_S, trust_env=False) as client:
        while not over.wait(0.05):
            body = {"model": model, "messages": MESSAGES, "options": SHORT}
            client.post("/api/chat", json=body, headers={"prefer": "respond-async"})
