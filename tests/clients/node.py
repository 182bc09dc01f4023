"""The official JavaScript client, in a process of node that takes calls line by line.

Rule: where node or the package is missing a test is skipped, but fails in continuous integration (`CI` is set). `./dev
setup` installs what `npm.txt` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

_HERE: Final = Path(__file__).parent
_PROGRAM: Final = _HERE / "node_client.mjs"


class NodeFailure(Exception):
    """The client of JavaScript has thrown an error: its name, its text, its status or 0."""

    def __init__(self, name: str, text: str, status: int) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text
        self.status = status


def npm_folder() -> Path:
    """Return the folder of `node_modules`, whether it is there or not."""
    return _HERE.parents[1] / ".cache" / "npm" / "node_modules"


def node_is_there() -> bool:
    """Tell whether the client can run."""
    return shutil.which("node") is not None and (npm_folder() / "ollama").is_dir()


class NodeClient:
    """The client in a process of its own, from `with` to its end; calls are made one after another."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        if not node_is_there():
            missing = "no node, or no npm package ollama: ./dev setup installs the package"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        self._words = ["node", str(_PROGRAM), str(npm_folder()), url, json.dumps(dict(headers or {}))]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._words, stdin=pipe, stdout=pipe, encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process at once, with its connections."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a method of the client that does not stream; return what it answers.

        Raises:
            NodeFailure: it has thrown an error.
        """
        answers = self._asked(name, arguments)
        return next(answers)["value"]

    def stream(self, name: str, **arguments: Any) -> Iterator[Any]:
        """Call a method that streams; yield its frames as they come.

        Raises:
            NodeFailure: it has thrown an error.
        """
        for answer in self._asked(name, {**arguments, "stream": True}):
            if "part" not in answer:
                return
            yield answer["part"]

    def _asked(self, name: str, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, "arguments": arguments or None}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if (failure := answer.get("failure")) is not None:
                raise NodeFailure(failure["name"], failure["message"], failure["status"])
            yield answer
        raise AssertionError("the process of node has ended")
