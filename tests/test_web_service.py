"""`docs/how-to/web-service.md` is true: its service runs in a real server, and is asked, stopped and killed.

Rule: a server is a process of its own on a port of the loopback; what is waited for is an answer of it, a line that it
has printed, or an event in its store.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import sagalog
from tests.adapters.cli.calls import ROOT, environment
from tests.test_tutorial import BLOCK, MARK, unmet

TEXT: Final = (ROOT / "docs" / "how-to" / "web-service.md").read_text(encoding="utf-8")
PATIENCE_S: Final = 30.0


class Server:
    """The service of the page in a server of its own; what it has printed is in a file."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / f"server-{len(list(folder.glob('server-*')))}.log"
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "service:app", "--host", "127.0.0.1", "--port", "0"),
                    *("--timeout-graceful-shutdown", "2"),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.until(lambda: "Uvicorn running on" in self.said)
        [address] = re.findall(r"Uvicorn running on (http://\S+)", self.said)
        self.client = httpx.Client(base_url=address, timeout=PATIENCE_S)

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    @property
    def pages(self) -> list[str]:
        """The pages that its handlers have begun to write, in order."""
        return re.findall(r"^page (.*)$", self.said, re.MULTILINE)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.said
            assert self._process.poll() is None, self.said
            time.sleep(0.05)

    def create(self, key: str, **order: Any) -> dict[str, Any]:
        """Create a task, and give what the service shows of it."""
        answered = self.client.post("/renders", headers={"Idempotency-Key": key}, json=order)
        assert answered.status_code == 202, answered.text
        shown: dict[str, Any] = answered.json()
        assert answered.headers["Location"] == f"/renders/{shown['id']}"
        return shown

    def shown(self, id: str) -> dict[str, Any]:
        """What the service shows of a task."""
        found: dict[str, Any] = self.client.get(f"/renders/{id}").json()
        return found

    def ended(self, id: str) -> dict[str, Any]:
        """The same, once the task has ended."""
        self.until(lambda: self.shown(id)["state"] in ("completed", "failed", "cancelled", "quarantined"))
        return self.shown(id)

    def end(self, number: signal.Signals) -> int:
        """Send it a signal, and wait for its end; its exit status."""
        self.client.close()
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it lives."""
        self.client.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    [service, *_] = [block for language, block in BLOCK.findall(TEXT) if language == "python"]
    assert service.startswith("# service.py\n")
    (folder / "service.py").write_text(service, encoding="utf-8")
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


def history(folder: Path, id: str) -> list[str]:
    """The types of a task's events, but for the renewals of its lease."""
    with sagalog.open(f"sqlite:///{folder}/renders.db") as engine:
        return [one.type for one in engine.history(id) if one.type != "heartbeat"]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_creates_a_task_once_and_shows_it_to_its_end(server: Server) -> None:
    created = server.create("monday", name="blue", pages=2)
    again = server.create("monday", name="blue", pages=2)

    assert (again["id"], created["state"]) == (created["id"], "pending")
    assert server.ended(created["id"]) == {
        "id": created["id"],
        "state": "completed",
        "order": {"name": "blue", "pages": 2, "seconds": 0},
        "result": {"pages": 2},
        "error": None,
    }
    assert server.pages == ["1 of blue", "2 of blue"]
    assert server.client.get("/health").json() == {"renders": {"completed": 1}}


def test_a_running_task_is_cancelled_by_a_client(server: Server) -> None:
    id = server.create("monday", name="blue", pages=1, seconds=600)["id"]
    server.until(lambda: server.pages == ["1 of blue"])

    assert server.client.delete(f"/renders/{id}").status_code == 202
    assert server.ended(id)["state"] == "cancelled"
    # Once more is no fault.
    assert server.client.delete(f"/renders/{id}").status_code == 202


def test_each_error_has_the_status_that_the_page_says(server: Server) -> None:
    done = server.ended(server.create("done", name="blue", pages=1)["id"])["id"]
    keyed = {"Idempotency-Key": "k"}
    answers = {
        "no JSON": server.client.post("/renders", headers=keyed, content=b"{"),
        "no Render": server.client.post("/renders", headers=keyed, json={"name": "blue", "pages": 0}),
        "an unknown field": server.client.post("/renders", headers=keyed, json={"name": "b", "pages": 1, "page": 1}),
        "no key": server.client.post("/renders", json={"name": "blue", "pages": 1}),
        "a key that is no name": server.client.post(
            "/renders", headers={"Idempotency-Key": "k" * 201}, json={"name": "blue", "pages": 1}
        ),
        "another order": server.client.post(
            "/renders", headers={"Idempotency-Key": "done"}, json={"name": "red", "pages": 1}
        ),
        "no task to show": server.client.get("/renders/none"),
        "no task to cancel": server.client.delete("/renders/none"),
        "a task that has ended": server.client.delete(f"/renders/{done}"),
    }

    assert {what: (one.status_code, one.json()["code"]) for what, one in answers.items()} == {
        "no JSON": (400, "invalid_body"),
        "no Render": (422, "invalid_body"),
        "an unknown field": (422, "invalid_body"),
        "no key": (422, "invalid_value"),
        "a key that is no name": (422, "invalid_value"),
        "another order": (409, "conflict"),
        "no task to show": (404, "not_found"),
        "no task to cancel": (404, "not_found"),
        "a task that has ended": (409, "terminal_task"),
    }
    assert answers["no Render"].json()["message"] == "Expected `int` >= 1 - at `$.pages`"
    assert server.client.get("/health").json() == {"renders": {"completed": 1}}


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_handler_ends_in_time_when_the_server_is_told_to_stop(server: Server, tmp_path: Path) -> None:
    """[WORKER-3] SIGTERM reaches the server, and its handler finishes what it is at."""
    running = server.create("monday", name="blue", pages=1, seconds=0.5)["id"]
    server.until(lambda: server.pages == ["1 of blue"])

    status = server.end(signal.SIGTERM)

    # The server ends by the signal itself, once it has shut down, or well.
    assert status in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in server.said
    assert history(tmp_path, running) == ["created", "leased", "step_completed", "completed"]


def test_a_handler_that_does_not_end_in_time_gives_its_lease_back(server: Server, tmp_path: Path) -> None:
    """[WORKER-3] The next server may take the task at once, and no attempt is burnt."""
    id = server.create("monday", name="blue", pages=1, seconds=600)["id"]
    server.until(lambda: server.pages == ["1 of blue"])

    server.end(signal.SIGTERM)

    assert "Application shutdown complete" in server.said
    assert "Traceback" not in server.said
    assert history(tmp_path, id) == ["created", "leased", "released"]
    with sagalog.open(f"sqlite:///{tmp_path}/renders.db") as engine:
        task = engine.get(id)
        assert task is not None
        assert (task.state, task.lease, task.attempt) == ("pending", None, 1)


def test_a_task_is_done_once_more_after_its_server_was_killed(server: Server, tmp_path: Path) -> None:
    """[STEP-1] [LEASE-4] When the lease is over; what is on record is not repeated, and what was cut off is."""
    id = server.create("monday", name="blue", pages=3, seconds=1.5)["id"]
    server.until(lambda: server.pages == ["1 of blue", "2 of blue"])
    assert server.end(signal.SIGKILL) == -signal.SIGKILL

    with serving(tmp_path) as another:
        # A client that saw no answer asks again, and gets the same task.
        assert another.create("monday", name="blue", pages=3, seconds=1.5)["id"] == id
        assert another.ended(id)["result"] == {"pages": 3}
        assert another.pages == ["2 of blue", "3 of blue"]

    assert history(tmp_path, id) == [
        *("created", "leased", "step_completed"),
        *("lease_expired", "leased", "step_completed", "step_completed", "completed"),
    ]


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page need curl")
def test_every_command_says_what_the_page_shows(tmp_path: Path) -> None:
    """Typed into one shell, on a port that is free here."""
    [service] = [block for language, block in BLOCK.findall(TEXT) if language == "python"]
    [console] = [block for language, block in BLOCK.findall(TEXT) if language == "console"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uvicorn").write_text(f'#!/bin/sh\nexec {sys.executable} -m uvicorn "$@"\n')
    (tools / "uvicorn").chmod(0o755)
    (tmp_path / "service.py").write_text(service, encoding="utf-8")
    typed = [one.partition("\n") for one in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]]
    script = "trap 'kill $! 2> /dev/null || true' EXIT\n" + "".join(
        f"{words.replace('8000', port)}\necho\necho '{MARK}'\n" for words, _, _ in typed
    )

    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env=environment(PATH=f"{tools}:{os.environ['PATH']}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )

    assert done.returncode == 0, done.stdout
    said = [part.strip("\n").splitlines() for part in done.stdout.split(f"{MARK}\n")][:-1]
    wrong = {words: one for (words, _, shown), one in zip(typed, said, strict=True) if unmet(shown.splitlines(), one)}
    assert wrong == {}
