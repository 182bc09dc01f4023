"""The extra `ollama`: with it the wheel serves a gateway, and without it the commands say what is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.default_install import install
from tests.packaging.shipped import Shipped

# -I and -S as in `default_install.run`: the standard library and the folder alone.
_COMMAND = (
    "import sys; sys.path.append({folder!r}); from sagalog_cli.__main__ import run; sys.argv[0] = 'sagalog'; run()"
)


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _COMMAND.format(folder=str(folder)), "--json", *words]


def test_the_wheel_with_the_extra_serves_and_asks(shipped: Shipped, tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    install(shipped, folder, "ollama")
    words = (
        "--db",
        f"{tmp_path}/store.db",
        "ollama",
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--target",
        "http://127.0.0.1:1",
    )

    with subprocess.Popen(command(folder, *words), stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        try:
            notes = (json.loads(line) for line in serving.stderr)
            url = next(one["message"] for one in notes if one.get("message", "").startswith("serving at "))[11:]
            asked = subprocess.run(command(folder, "ollama", "ps", "--url", url), capture_output=True, text=True)
            serving.send_signal(signal.SIGTERM)
            serving.stderr.read()
            status = serving.wait(60)
        finally:
            serving.kill()

    assert (0, "", 0) == (asked.returncode, asked.stderr, status)
    assert {"status": "ok", "degraded": True, "reasons": ["target_away"]} == json.loads(asked.stdout)["health"]


@pytest.mark.parametrize("words", [("serve",), ("submit", "tiny", "why"), ("jobs",), ("cancel", "1"), ("ps",)])
def test_without_the_extra_each_command_says_what_to_install(
    default: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    db = ("--db", f"{tmp_path}/store.db")
    done = subprocess.run(command(default, *db, "ollama", *words), capture_output=True, text=True)

    error = json.loads(done.stderr)["error"]
    assert (6, "unavailable") == (done.returncode, error["code"])
    assert 'pip install "sagalog[ollama]"' in error["message"]
    assert [] == list(tmp_path.iterdir())
