"""`docs/examples/ollama` asks two models by way of a gateway: each is loaded once, however its requests come."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from tests.adapters.cli.calls import environment
from tests.adapters.ollama.gateways import gateway
from tests.examples.programs import EXAMPLES, copy
from tests.ollama_server import OllamaServer, Settings

MODELS = ["llama3.2", "qwen3"]


def test_the_program_is_answered_model_by_model(tmp_path: Path) -> None:
    program = copy("ask.py", tmp_path)
    with (
        OllamaServer(Settings(models=(*MODELS,), answer_tokens=3)) as server,
        gateway(tmp_path, server.url, affinity_wait_ms=0) as running,
    ):
        done = subprocess.run(
            [sys.executable, str(program)],
            env=environment(OLLAMA_HOST=running.url),
            capture_output=True,
            text=True,
            timeout=60,
        )
        loads = server.record.history.loaded()

    assert (0, "") == (done.returncode, done.stderr)
    assert "10 requests are answered" == done.stdout.splitlines()[-1]
    answered = re.findall(r"^(\S+) has answered", done.stdout, re.MULTILINE)
    changes = sum(1 for one, other in pairwise(answered) if one != other)
    # The first requests may be taken up one by one; the rest wait, and are drained by model.
    assert (sorted([*MODELS * 5]), 1) == (sorted(answered), changes)
    assert 2 == len(loads), loads


def test_the_page_of_the_example_names_the_models_that_the_program_asks() -> None:
    page = (EXAMPLES / "ollama" / "README.md").read_text(encoding="utf-8")

    assert f"python ask.py {' '.join(MODELS)}" in page
