"""Bytes in and out of a task by the command line, as they are."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import sagalog
from tests.adapters.cli.calls import call, start

BYTES = b"\x00\xff\r\n\x80 not text"


def printed(*words: str) -> bytes:
    """What the command as a process writes to standard output."""
    with start(*words, stdout=subprocess.PIPE) as command:
        out, _ = command.communicate()
    assert command.returncode == 0
    return bytes(out)


def test_bytes_go_in_as_a_file_and_come_out_as_they_were(tmp_path: Path) -> None:
    """[BLOB-1]"""
    db, file = f"{tmp_path}/store.db", tmp_path / "spec"
    file.write_bytes(BYTES)
    assert call("create", "build", "--db", db, "--id", "a", "--input", f"spec={file}").status == 0
    with sagalog.open(f"sqlite:///{db}") as engine:
        engine.acquire("a", owner="w", ttl_ms=60_000).put_artifact("log", BYTES + b"!", "text/plain")

    assert printed("input", "a", "spec", "--db", db) == BYTES
    assert printed("artifact", "a", "log", "--db", db) == BYTES + b"!"
    [document] = call("artifact", "a", "log", "--db", db, "--json").documents
    assert base64.b64decode(document.pop("data")) == BYTES + b"!"
    assert (document["name"], document["media_type"], document["fence"]) == ("log", "text/plain", 1)


def test_lines_give_bytes_as_base64(tmp_path: Path) -> None:
    db = f"{tmp_path}/store.db"
    text = base64.b64encode(BYTES).decode()
    line = f'{{"kind": "build", "id": "a", "inputs": {{"spec": "{text}"}}}}'
    assert call("create", "--many", "--db", db, given=line).status == 0
    [document] = call("input", "a", "spec", "--db", db, "--json").documents
    assert document == {"name": "spec", "data": text}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    db = f"{tmp_path}/store.db"
    assert "cannot read" in call("create", "build", "--db", db, "--input", f"spec={tmp_path}/no").err
    call("create", "build", "--db", db, "--id", "a")
    for word in ("artifact", "input"):
        answer = call(word, "a", "no", "--db", db)
        assert (answer.status, f"has no {word} 'no'" in answer.err) == (4, True)
