"""`docs/examples/service` answers over HTTP, from a real server on a port of the loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.examples.programs import copy
from tests.test_web_service import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    copy("service.py", tmp_path)
    server = Server(tmp_path)
    yield server
    server.close()


def post(server: Server, key: str, order: Any) -> httpx.Response:
    return server.client.post("/orders", headers={"Idempotency-Key": key}, json=order)


def test_an_order_is_packed_once_however_often_it_is_sent(server: Server) -> None:
    order = {"customer": "ann", "seconds": 0.01}
    first, again = post(server, "monday", order), post(server, "monday", order)

    assert (first.status_code, first.json()["id"]) == (202, again.json()["id"])
    path = f"/orders/{first.json()['id']}"
    server.until(lambda: server.client.get(path).status_code == 200)
    shown = server.client.get(path).json()
    assert (shown["state"], shown["result"]) == ("completed", "packed for ann")


def test_an_order_under_way_is_cancelled(server: Server) -> None:
    path = f"/orders/{post(server, 'monday', {'customer': 'ann', 'seconds': 600}).json()['id']}"
    server.until(lambda: server.client.get(path).json()["state"] == "running")

    assert server.client.delete(path).status_code == 202
    server.until(lambda: server.client.get(path).json()["state"] == "cancelled")
    assert server.client.get(path).status_code == 200


def test_a_request_that_means_nothing_is_refused_with_its_reason(server: Server) -> None:
    post(server, "taken", {"customer": "ann", "seconds": 0})
    refused = {
        "no JSON": server.client.post("/orders", headers={"Idempotency-Key": "k"}, content=b"{"),
        "no order": post(server, "k", {"customer": "ann", "seconds": "all"}),
        "no key": server.client.post("/orders", json={"customer": "ann", "seconds": 0}),
        "a key of another order": post(server, "taken", {"customer": "bob", "seconds": 0}),
        "no such order": server.client.get("/orders/none"),
    }

    assert {what: answer.status_code for what, answer in refused.items()} == {
        "no JSON": 400,
        "no order": 400,
        "no key": 422,
        "a key of another order": 409,
        "no such order": 404,
    }
    assert refused["no order"].json() == {"error": "Expected `float`, got `str` - at `$.seconds`"}


def test_a_stopped_server_gives_its_tasks_back_to_the_next_one(server: Server, tmp_path: Path) -> None:
    """[WORKER-3] The lease is given back, so the next server goes on at once."""
    path = f"/orders/{post(server, 'monday', {'customer': 'ann', 'seconds': 600}).json()['id']}"
    server.until(lambda: server.client.get(path).json()["state"] == "running")
    server.end(signal.SIGTERM)
    assert "Traceback" not in server.said

    another = Server(tmp_path)
    try:
        another.until(lambda: another.client.get(path).json()["state"] == "running")
    finally:
        another.close()
