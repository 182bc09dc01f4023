"""Gateways as processes: killed in every state, stopped in order, and begun again on the same store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import sagalog
from sagalog import Engine
from tests.adapters.ollama.gateways import CHAT, PATIENCE_S, frames
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server import OllamaServer, Settings
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]


class Process:
    """A gateway in a process of its own, and a client of it."""

    def __init__(self, folder: Path, target: str, **settings: str) -> None:
        given = {"TARGET": target, "BIND": "127.0.0.1:0", "LEASE": "500ms", "RETRY": "1ms", **settings}
        words = [sys.executable, "-m", "sagalog_cli", "--db", f"sqlite:///{folder}/ollama.db", "--json"]
        self.process = subprocess.Popen(
            [*words, "ollama", "serve"],
            env={**os.environ, **{f"SAGALOG_OLLAMA_{name}": text for name, text in given.items()}},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.client = httpx.Client(base_url=self._url(), timeout=PATIENCE_S, trust_env=False)
        # What it logs is read away, so that the pipe never holds it up.
        self.logged: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def submit(self, **given: Any) -> str:
        answer = self.client.post("/api/chat", json={**CHAT, **given}, headers={"prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.close()
        return status

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _url(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            note = msgspec.json.decode(line).get("note", {})
            if note.get("code") == "serving":
                return str(note["url"])
        raise AssertionError(f"the gateway has ended with {self.process.wait()}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):
            self.logged += self.process.stderr


@contextmanager
def process(folder: Path, target: str, **settings: str) -> Iterator[Process]:
    running = Process(folder, target, **settings)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def store(folder: Path) -> Iterator[Engine]:
    with sagalog.open(f"sqlite:///{folder}/ollama.db") as engine:
        yield engine


def ended(folder: Path, ids: list[str]) -> list[str]:
    """Wait for the end of jobs; return their states."""
    with store(folder) as engine:
        return [str(engine.wait(id, int(PATIENCE_S * 1_000)).state) for id in ids]


def test_a_restart_resumes_what_waits_and_what_was_at_work(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """[GATEWAY-1]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate))
    with process(tmp_path, upstream.url) as first:
        ids = [first.submit() for _ in range(3)]
        gate.wait_reached()
        first.kill()
    upstream.always("/api/chat", Script.example(STREAM))

    with process(tmp_path, upstream.url) as second:
        assert ["completed"] * 3 == ended(tmp_path, ids)
        assert [STREAM.body] * 3 == [second.client.get(f"/jobs/{id}/answer").content for id in ids]
    assert 4 == len(upstream.of("/api/chat"))


def test_a_restart_resumes_what_was_loading(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """[GATEWAY-1]"""
    upstream.next("/api/chat", Script())
    with process(tmp_path, upstream.url) as first:
        id = first.submit()
        upstream.wait_for("/api/chat")
        first.kill()
    upstream.next("/api/chat", Script.example(STREAM))

    with process(tmp_path, upstream.url):
        assert ["completed"] == ended(tmp_path, [id])


def test_a_client_of_another_gateway_learns_that_its_answer_begins_anew(
    tmp_path: Path, upstream: FaultyUpstream
) -> None:
    """Its content is of an attempt that is over; a client without content just goes on waiting. [GATEWAY-5]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate), Script.example(STREAM))
    key = {"idempotency-key": "same"}
    # Long enough that the other gateway takes the job up only because this one is dead.
    with process(tmp_path, upstream.url, LEASE="3s") as worker:
        worker.client.post("/api/chat", json=CHAT, headers={**key, "prefer": "respond-async"})
        gate.wait_reached()
        with (
            process(tmp_path, upstream.url) as other,
            other.client.stream("POST", "/api/chat", json=CHAT, headers=key) as answer,
        ):
            parts = answer.iter_raw()
            first = next(parts)
            worker.kill()
            rest = b"".join(parts)

    assert STREAM.frames[0] == first
    assert "the answer broke off" in frames(rest)[-1]["error"]


def test_sigterm_lets_the_job_that_runs_end(tmp_path: Path, upstream: FaultyUpstream) -> None:
    """[GATEWAY-12]"""
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate).send(STREAM.body).end())
    with process(tmp_path, upstream.url) as running:
        id, waiting = running.submit(), running.submit()
        gate.wait_reached()
        running.process.send_signal(signal.SIGTERM)
        require_closed(running)
        gate.open()
        assert 0 == running.process.wait(PATIENCE_S)

    with store(tmp_path) as engine:
        states = [str(task.state) for one in (id, waiting) if (task := engine.get(one)) is not None]
    assert ["completed", "pending"] == states


def test_a_job_that_outlasts_the_grace_is_given_back_unharmed(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script())
    with process(tmp_path, upstream.url, GRACE="100ms") as running:
        id = running.submit()
        call = upstream.wait_for("/api/chat")
        assert 0 == running.stop()

    upstream.wait_left(call)
    with store(tmp_path) as engine:
        task = engine.get(id)
    assert task is not None
    assert ("pending", 1) == (str(task.state), task.attempt)


def test_a_stream_that_is_open_at_sigterm_ends_with_a_hint(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]))
    with process(tmp_path, upstream.url, GRACE="0s") as running:
        with running.client.stream("POST", "/api/chat", json=CHAT) as answer:
            parts = answer.iter_raw()
            next(parts)
            running.process.send_signal(signal.SIGTERM)
            last = frames(b"".join(parts))[-1]
        assert 0 == running.process.wait(PATIENCE_S)

    assert "the server stops" in last["error"]
    assert f"GET /jobs/{answer.headers['x-sagalog-job-id']}/answer" in last["error"]


def test_a_request_that_waits_at_sigterm_learns_the_name_of_its_job(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script())
    with process(tmp_path, upstream.url, GRACE="0s") as running:
        running.submit()
        upstream.wait_for("/api/chat")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(running.client.post, "/api/chat", json={**CHAT, "stream": False})
            while len(running.client.get("/jobs").json()["jobs"]) < 2:
                pass
            running.process.send_signal(signal.SIGTERM)
            answer = waiting.result()
        assert 0 == running.process.wait(PATIENCE_S)

    id = answer.headers["x-sagalog-job-id"]
    assert (503, f"the gateway stops; the request goes on as a job: GET /jobs/{id}/answer") == (
        answer.status_code,
        answer.json()["error"],
    )
    with store(tmp_path) as engine:
        task = engine.get(id)
    assert task is not None
    assert "pending" == task.state


def require_closed(running: Process) -> None:
    """Wait until a gateway takes no more connections."""
    with suppress(httpx.HTTPError):
        while True:
            httpx.get(running.client.base_url.join("/healthz"), trust_env=False)


def kill_at_random(folder: Path, url: str, kills: int, seed: int) -> list[str]:
    """Send requests by gateways that are killed at random moments; return the ids of those that were taken up."""
    chance = random.Random(seed)
    pause = threading.Event()
    ids: list[str] = []
    for number in range(kills):
        with process(folder, url) as running:

            def send(running: Process = running) -> None:
                # The kill closes the client too, perhaps before the next request.
                with suppress(httpx.HTTPError, AssertionError, RuntimeError):
                    while True:
                        model = chance.choice("ab")
                        ids.append(running.submit(model=model, options={"num_predict": chance.randrange(1, 6)}))
                        pause.wait(chance.random() / 20)

            sending = threading.Thread(target=send)
            if len(ids) < 3 * (number + 1):
                sending.start()
            pause.wait(chance.random() * 2)
            running.kill()
            if sending.ident is not None:
                sending.join(PATIENCE_S)
    return ids


def require_whole(folder: Path, url: str, ids: list[str]) -> None:
    """Require that each request has ended once, and that its client finds its whole answer."""
    with process(folder, url) as last:
        assert {"completed"} == set(ended(folder, ids))
        for id in ids:
            answer = last.client.get(f"/jobs/{id}/answer")
            assert answer.status_code == 200, answer.text
            lines = frames(answer.content)
            assert [True] == [line["done"] for line in lines if line["done"]]
            assert lines[-1]["done"]
    with store(folder) as engine:
        for id in ids:
            ends = [one.type for one in engine.history(id) if one.type in ("completed", "failed", "cancelled")]
            assert ["completed"] == ends
        assert engine.verify().ok


def test_a_gateway_that_is_killed_loses_no_request(tmp_path: Path) -> None:
    """[GATEWAY-1]"""
    with OllamaServer(Settings(models=("a", "b"), tokens_per_second=50)) as server:
        ids = kill_at_random(tmp_path, server.url, 4, seed=1)

        assert len(ids) >= 4
        require_whole(tmp_path, server.url, ids)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_gateway_that_is_killed_200_times_loses_no_request(tmp_path: Path) -> None:
    with OllamaServer(Settings(models=("a", "b"), tokens_per_second=200)) as server:
        require_whole(tmp_path, server.url, kill_at_random(tmp_path, server.url, 200, seed=2))
