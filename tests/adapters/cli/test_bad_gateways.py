"""Every command that asks a gateway, where there is none, or something else, or where the gateway refuses."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.adapters.cli.bad_calls import OF_A_GATEWAY, told, words
from tests.adapters.cli.calls import Answer, call

SUBMITTING: Final = "ollama submit"


def asked(url: str, name: str, *more: str) -> Answer:
    return call("--json", *words(name, ("ID", "held"), ("--url", url), more=more))


@contextmanager
def standing_in(answer: bytes) -> Iterator[str]:
    """A server that reads a request and answers each with the same bytes; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def http(status: int, body: Any, media_type: str = "application/json") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Told\r\ncontent-type: {media_type}\r\ncontent-length: {len(content)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + content


@pytest.mark.parametrize("name", OF_A_GATEWAY)
def test_where_no_gateway_listens_the_status_is_6_with_what_to_do(name: str) -> None:
    error = told(asked("http://127.0.0.1:1", name), 6)

    assert ("unavailable", True) == (error["code"], "http://127.0.0.1:1 does not answer" in error["message"])
    assert "`sagalog ollama serve` runs a gateway; --url or OLLAMA_HOST names another" in error["hint"]


@pytest.mark.parametrize("name", OF_A_GATEWAY)
def test_a_host_that_does_not_exist_is_status_6(name: str) -> None:
    assert "does not answer" in told(asked("no-such-host.invalid", name), 6)["message"]


@pytest.mark.parametrize("name", OF_A_GATEWAY)
@pytest.mark.parametrize(
    "answer", [http(200, b"<html>hello</html>", "text/html"), http(200, [1]), http(302, b""), http(200, b"\xff")]
)
def test_a_server_that_is_no_gateway_is_told_by_every_command(name: str, answer: bytes) -> None:
    with standing_in(answer) as url:
        error = told(asked(url, name), 3)

    assert f"{url} answers something else than a gateway" in error["message"]
    assert "OLLAMA_HOST" in error["hint"]


@pytest.mark.parametrize("name", OF_A_GATEWAY)
def test_a_connection_that_ends_early_is_unknown_of_a_submit_alone(name: str) -> None:
    with standing_in(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{") as url:
        error = told(asked(url, name), 7 if name == SUBMITTING else 6)

    if name == SUBMITTING:
        assert "--idempotency-key" in error["hint"]


@pytest.mark.parametrize("name", OF_A_GATEWAY)
@pytest.mark.parametrize(
    ("status", "expected", "hint"),
    [
        (401, 3, "--token or OLLAMA_API_KEY"),
        (403, 3, "--token or OLLAMA_API_KEY"),
        (400, 3, "change what the message names"),
        (404, 4, "--url or OLLAMA_HOST"),
        (429, 6, "wait"),
        (500, 6, "wait"),
        (503, 6, "wait"),
    ],
)
def test_a_refusal_has_the_status_of_what_to_do_next(name: str, status: int, expected: int, hint: str) -> None:
    with standing_in(
        http(status, {"code": "made_up", "detail": "a \x1b[31mreason"}, "application/problem+json")
    ) as url:
        error = told(asked(url, name), expected)
        human = call(*words(name, ("ID", "held"), ("--url", url)))

    assert f"{url}: a \x1b[31mreason (status {status})" == error["message"]
    assert hint in error["hint"]
    assert r"a \x1b[31mreason" in human.err


def test_a_job_that_was_pruned_is_status_4_and_so_is_its_key() -> None:
    with standing_in(http(410, {"error": "it was pruned"})) as url:
        assert "`sagalog ollama jobs` shows the jobs" in told(asked(url, "ollama jobs"), 4)["hint"]
        assert "another --idempotency-key" in told(asked(url, "ollama submit", "--idempotency-key=k"), 4)["hint"]


def test_a_key_of_another_request_is_a_conflict() -> None:
    with standing_in(http(409, {"error": "the key is on record"})) as url:
        assert "the key is on record" in told(asked(url, "ollama submit", "--idempotency-key=k"), 5)["message"]


def test_a_token_that_is_none_is_refused_and_not_shown() -> None:
    answer = call("--json", *words("ollama ps", ("--token", "canary käse")))

    assert "--token" in told(answer, 2)["message"]
    assert "canary" not in answer.err


@pytest.mark.parametrize(
    ("given", "where"),
    [("127.0.0.1:1", "http://127.0.0.1:1"), ("127.0.0.1", "http://127.0.0.1:11435"), ("[::1]:1/", "http://[::1]:1")],
)
def test_the_address_is_taken_as_clients_of_ollama_take_it(given: str, where: str) -> None:
    answer = call("--json", *words("ollama ps"), env={"OLLAMA_HOST": given})

    assert told(answer, 6)["message"].startswith(f"{where} does not answer")
