"""The server: where it may listen, how it ends, and what it writes into its log."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from pathlib import Path
from typing import Final

import httpx
import pytest

import sagalog
from sagalog import Unavailable
from sagalog_http import Application, Server, Settings, Tokens
from sagalog_http.logs import ACCESS, LOG, JsonLines, PlainLines, log_access
from sagalog_http.server import BindRefused
from tests.adapters.cli.calls import environment
from tests.adapters.http.served import ROUTES, serving

# A server as a program has it: it says where it listens, and serves until a signal.
PROGRAM: Final = """
import asyncio, sys
import sagalog
from sagalog_http import Application, Call, Route, Server, configure_logs, public, server_sent_events

async def ever(call: Call):
    async def frames():
        yield "begun"
        await asyncio.sleep(600)
    return server_sent_events(frames())

async def wait(call: Call):
    await asyncio.sleep(600)

async def stubborn(call: Call):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

routes = [Route("GET", f"/{one.__name__}", one, public()) for one in (ever, wait, stubborn)]
configure_logs(as_json=True)
with sagalog.open("sqlite:///" + sys.argv[1]) as engine:
    server = Server(Application(routes, engine), port=0)
    print(server.url, flush=True)
    status = server.run()
print("closed", flush=True)
sys.exit(status)
"""


@contextmanager
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "store.db")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        until = time.monotonic() + 20
        while True:
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                assert time.monotonic() < until
                time.sleep(0.02)
        yield process, url
    finally:
        process.kill()
        process.communicate()


# --- where ----------------------------------------------------------------------------------------------------------


def test_it_listens_on_loopback_unless_told_otherwise(engine: sagalog.Engine) -> None:
    """[HTTP-10]"""
    server = Server(Application(ROUTES, engine), port=0)
    assert server.address[0] == "127.0.0.1"
    assert server.application.authenticator.is_loopback
    server._socket.close()


def test_another_address_needs_a_token_and_a_word_on_tls(engine: sagalog.Engine) -> None:
    """[HTTP-10]"""
    application = Application(ROUTES, engine, settings=Settings(open_while_no_tokens=True))
    for without_tls in (False, True):
        with pytest.raises(BindRefused, match="sagalog token create"):
            Server(application, "0.0.0.0", 0, without_tls=without_tls)  # noqa: S104  it is refused
    Tokens(engine).create("ann", ["read"])
    with pytest.raises(BindRefused, match="without_tls"):
        Server(application, "0.0.0.0", 0)  # noqa: S104  it is refused
    server = Server(application, "0.0.0.0", 0, without_tls=True)  # noqa: S104  by a token and a word
    assert not server.application.authenticator.is_loopback
    server._socket.close()


def test_an_address_in_use_or_of_another_machine_is_told(engine: sagalog.Engine) -> None:
    first = Server(Application(ROUTES, engine), port=0)
    with pytest.raises(Unavailable, match="cannot listen"):
        Server(Application(ROUTES, engine), port=first.address[1])
    first._socket.close()
    with pytest.raises(Unavailable, match="no address of this machine"):
        Server(Application(ROUTES, engine), "no such host", 0)


def test_what_the_lifespan_raises_ends_the_server(engine: sagalog.Engine) -> None:
    @asynccontextmanager
    async def lifespan(application: Application) -> AsyncIterator[None]:
        if application.requests == 0:
            raise sagalog.Rejected("the target is no URL")
        yield

    server = Server(Application(ROUTES, engine, lifespan=lifespan), port=0)
    with pytest.raises(sagalog.Rejected, match="the target is no URL"):
        server.run()


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_and_requests_with_a_hint(tmp_path: Path, number: signal.Signals) -> None:
    """[HTTP-10] The process ends with status 0, and closes its store."""
    with program(tmp_path) as (process, url), httpx.Client(timeout=20) as client:
        with client.stream("GET", f"{url}/ever") as answer:
            found = answer.iter_lines()
            assert next(found) == 'data: "begun"'
            process.send_signal(number)
            assert "shutting_down" in "".join(found)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "closed\n"
        with pytest.raises(httpx.TransportError):
            client.get(url)


def test_a_request_that_waits_is_told_that_the_server_stops(tmp_path: Path) -> None:
    """[HTTP-10]"""
    with program(tmp_path) as (process, url):
        os.kill(process.pid, 0)
        timer = subprocess.Popen([sys.executable, "-c", f"import os,time; time.sleep(1); os.kill({process.pid}, 15)"])
        answer = httpx.get(f"{url}/wait", timeout=20)
        timer.wait()
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"] == "1"
        assert process.wait(10) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """[HTTP-10] Though a handler does not let go."""
    with program(tmp_path) as (process, url), httpx.Client(timeout=20) as client:
        with pytest.raises(httpx.TimeoutException):
            client.get(f"{url}/stubborn", timeout=0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM


# --- the log --------------------------------------------------------------------------------------------------------


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[StringIO]:
    """All that every logger of the process writes meanwhile."""
    output = StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield output
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()], ids=["json", "plain"])
def test_no_secret_is_in_the_log_or_in_the_store(tmp_path: Path, formatter: logging.Formatter) -> None:
    """[HTTP-9] [TOKEN-1] Canaries in every place where a caller can put one."""
    canary = "c4n4ry"
    with logged(formatter) as output, sagalog.open(f"sqlite:///{tmp_path}/store.db") as engine:
        with serving(ROUTES, engine) as served:
            headers = served.bearer("admin")
            secret = headers["authorization"].removeprefix("Bearer ")
            extra = {**headers, "x-canary": canary, "cookie": canary}
            served.ask("GET", "/who", headers=extra)
            served.ask("GET", f"/page?token={canary}", headers=extra)
            served.ask("GET", f"/{canary}", headers=extra)
            served.ask("GET", "/fails", headers=extra)
            served.ask("GET", "/who", headers={"authorization": f"Bearer {canary}"})
            served.ask("GET", "/who", headers={"authorization": f"Bearer {secret[:-1]}"})
            served.ask("GET", "/page", headers={"host": f"{canary}.example"})
            served.ask("POST", "/echo", content=canary.encode(), headers=extra)
            served.ask(
                "POST", "/tasks", content=f'{{"{canary}'.encode(), headers={**extra, "content-type": "text/json"}
            )
            served.ask("POST", "/tasks", json={"kind": "k", canary: 1}, headers=extra)
            served.ask("GET", f"/tasks/{canary}/end", headers=headers)
            served.send(f"{canary}\r\n\r\n".encode())
        held = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    log = output.getvalue()
    assert "/who" in log
    assert "/tasks/{id}/end" in log
    assert "ann" in log
    # httpx logs its URLs itself, in this process of the tests alone.
    ours = "".join(line for line in log.splitlines() if "httpx" not in line)
    for text in (canary, "a-canary-of-a-body", secret.removeprefix("sagalog_")[:20]):
        assert text not in ours
        assert text.encode() not in held


def test_no_line_of_uvicorn_is_written_to_a_handler_set_before(caplog: pytest.LogCaptureFixture) -> None:
    """[HTTP-9] Such a line would hold the query; `caplog` is a handler of the root that was there first."""
    caplog.set_level(logging.DEBUG)
    uvicorn = logging.getLogger("uvicorn.access")
    before = uvicorn.propagate
    try:
        with serving(ROUTES) as served:
            # As after another server of this process, which has set its own logs.
            uvicorn.propagate = True
            assert served.ask("GET", "/page?limit=7").status_code == 200
            assert served.ask("GET", "/nope?token=c4n4ry").status_code == 404
    finally:
        uvicorn.propagate = before
    assert ACCESS.name in {one.name for one in caplog.records}
    assert "uvicorn.access" not in {one.name for one in caplog.records}


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()], ids=["json", "plain"])
def test_what_a_caller_writes_begins_no_line_of_the_log(formatter: logging.Formatter) -> None:
    """[HTTP-9]"""
    with logged(formatter) as output:
        log_access("GET\r\nX", "/a\x1b[31m\u202e", 200, 1.0, "ann\nbob", "id")
        LOG.warning("said %s", "Bearer abc.def sagalog_" + "x" * 43)
    log = output.getvalue()
    assert len(log.splitlines()) == 2
    assert "\x1b" not in log
    assert "\u202e" not in log
    assert "abc.def" not in log
    assert "xxx" not in log
    if isinstance(formatter, JsonLines):
        found = json.loads(log.splitlines()[0])
        assert (found["status"], found["logger"], found["duration_ms"]) == (200, ACCESS.name, 1.0)
