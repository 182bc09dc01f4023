"""A gateway in a thread of the test, in front of whatever upstream the test has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

import sagalog
from sagalog import Engine, Task
from sagalog_http import Server
from sagalog_ollama import Settings
from sagalog_ollama.serving import server_of

PATIENCE_S = 30.0
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "why"}]}


class Gateway:
    """A gateway that runs: its store, its address, and a client of it."""

    def __init__(self, engine: Engine, server: Server, settings: Settings) -> None:
        self.engine = engine
        self.url = server.url
        self.settings = settings
        self.client = httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False)

    def chat(self, *, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
        """Send a chat and return its answer, read to its end."""
        return self.client.post("/api/chat", json={**CHAT, **given}, headers=headers)

    def submit(self, *, headers: dict[str, str] | None = None, **given: Any) -> str:
        """Have a chat taken up without waiting for it; return the id of its job."""
        answer = self.chat(headers={"prefer": "respond-async", **(headers or {})}, **given)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, id: str) -> dict[str, Any]:
        """Return a job as its client sees it."""
        answer = self.client.get(f"/jobs/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, id: str) -> dict[str, Any]:
        """Wait for the end of a job and return it as its client sees it."""
        self.engine.wait(id, int(PATIENCE_S * 1_000))
        return self.job(id)

    def tasks(self) -> list[Task]:
        """Return all jobs as tasks, in order of creation."""
        return self.engine.find(queue=self.settings.queue)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; look again after each commit, or soon."""
        waiting = threading.Event()
        for _ in range(int(PATIENCE_S * 100)):
            since = self.engine.changes()
            if holds():
                return
            self.engine.wait_change(since, 10)
            waiting.wait(0.002)
        raise AssertionError("it did not come to hold in time")


@contextmanager
def gateway(folder: Path, target: str, **given: Any) -> Iterator[Gateway]:
    """Run a gateway on the store of a folder, with settings that differ from the defaults."""
    wanted = {"target": target, "bind": "127.0.0.1:0", "retry_ms": 1, "lease_ms": 1_000, **given}
    settings = Settings(**wanted)
    with sagalog.open(f"sqlite:///{folder}/ollama.db", create=True) as engine:
        server = server_of(engine, settings)
        server.start_in_thread()
        running = Gateway(engine, server, settings)
        try:
            yield running
        finally:
            running.client.close()
            server.stop_thread()


def frames(body: bytes) -> list[dict[str, Any]]:
    """Return the lines of an answer in NDJSON; each is one."""
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in body.split(b"\n")[:-1]]


def events(text: str) -> list[tuple[str, str, Any]]:
    """Return server-sent events as type, id and data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", ""), fields.get("id", ""), msgspec.json.decode(fields["data"])))
    return found
