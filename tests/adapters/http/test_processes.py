"""Two server processes on one store: what one of them revokes is dead in the other, in the middle of a stream too."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx

import sagalog
from sagalog_http import Tokens
from tests.adapters.cli.calls import environment

PROGRAM: Final = """
import asyncio, sys
import sagalog
from sagalog_http import Application, Call, Route, Server, Tokens, ndjson, scope

async def who(call: Call):
    return {"token": call.access.token}

async def revoke(call: Call):
    tokens = Tokens(call.engine.plain)
    await asyncio.to_thread(tokens.revoke, call.path["name"], call.actor)

async def ever(call: Call):
    async def frames():
        yield {"n": 1}
        await asyncio.sleep(600)
    return ndjson(frames())

routes = [
    Route("GET", "/who", who, scope("read")),
    Route("GET", "/ever", ever, scope("read")),
    Route("DELETE", "/tokens/{name}", revoke, scope("admin")),
]
with sagalog.open(sys.argv[1]) as engine:
    server = Server(Application(routes, engine), port=0)
    server.start_in_thread()
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop_thread()
"""


@contextmanager
def process(url: str) -> Iterator[str]:
    """A server process on a store; gives its URL."""
    one = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert one.stdout is not None
        yield one.stdout.readline().strip()
    finally:
        one.communicate(timeout=20)


def test_a_token_revoked_in_one_process_is_dead_in_another_within_1_s(tmp_path: Path) -> None:
    """[TOKEN-4] For new requests, and for a stream that it has begun there."""
    store = f"sqlite:///{tmp_path}/store.db"
    with sagalog.open(store) as engine:
        tokens = Tokens(engine)
        admin = {"authorization": f"Bearer {tokens.create('admin', ['admin'])[1]}"}
        reader = {"authorization": f"Bearer {tokens.create('reader', ['read'])[1]}"}
    with ExitStack() as stack:
        first, second = stack.enter_context(process(store)), stack.enter_context(process(store))
        client = stack.enter_context(httpx.Client(timeout=20))
        for url in (first, second):
            assert client.get(f"{url}/who", headers=reader).json() == {"token": "reader"}
        with client.stream("GET", f"{second}/ever", headers=reader) as answer:
            found = answer.iter_lines()
            assert next(found) == '{"n":1}'
            assert client.delete(f"{first}/tokens/reader", headers=admin).status_code == 204
            revoked_s = time.monotonic()
            last = json.loads(next(found))
            assert time.monotonic() - revoked_s < 1.0
            assert last["error"]["code"] == "unauthenticated"
            assert list(found) == []
        for url in (first, second):
            assert client.get(f"{url}/who", headers=reader).status_code == 401
            assert client.get(f"{url}/who", headers=admin).status_code == 200
