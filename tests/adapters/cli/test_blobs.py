"""Bytes in and out of a task by the command line, as they are."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

import sagalog
from tests.adapters.cli.calls import call, past, start

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


# --- prune ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(tmp_path: Path) -> str:
    """A store with a task that has ended, with an input and a large payload, and with one that lives."""
    path = tmp_path / "ended.db"
    with past(path) as engine:
        engine.create("k", "x" * 70_000, id="old", inputs={"spec": b"bytes"})
        engine.cancel("old")
        engine.create("k", id="new", inputs={"spec": b"other"})
    return str(path)


def test_a_dry_run_says_what_would_go_and_a_pruning_does_it(ended: str) -> None:
    """[PRUNE-1] [PRUNE-4]"""
    words = ("prune", "--older-than", "0s", "--db", ended)
    assert (0, "would prune 2 blobs of 1 task, 70,007 bytes\n", "") == call(*words, "--dry-run")
    first = call(*words, "--limit", "1")
    assert (0, True) == (first.status, first.out.startswith("pruned 1 blob of 1 task, "))
    answer = call(*words, "--json").documents[0]
    assert (1, 1, False) == (answer["tasks"], answer["blobs"], answer["dry_run"])
    assert {"tasks": 0, "blobs": 0, "size_bytes": 0, "dry_run": False} == call(*words, "--json").documents[0]
    assert "pruned: 2 blobs, 70,007 bytes" in call("verify", "--db", ended).lines


def test_what_was_pruned_is_told_by_those_who_read_it(ended: str) -> None:
    """[PRUNE-3]"""
    call("prune", "--older-than", "0s", "--db", ended)
    refused = call("input", "old", "spec", "--db", ended, "--json")
    assert (3, "pruned") == (refused.status, refused.error["code"])
    assert ["payload"] == call("show", "old", "--db", ended, "--json").documents[0]["pruned"]
    assert any(line.split() == ["pruned", "payload"] for line in call("show", "old", "--db", ended).lines)
    assert 0 == call("history", "old", "--db", ended, "--full").status
    assert 3 == call("retry", "old", "--db", ended).status
    assert 0 == call("list", "--db", ended).status


def test_a_large_payload_goes_through_the_command_line(tmp_path: Path) -> None:
    """[BLOB-2]"""
    db = str(tmp_path / "s.db")
    text = '"' + "y" * 70_000 + '"'
    assert 0 == call("create", "k", "-", "--id", "t", "--db", db, given=text.encode()).status
    assert "y" * 70_000 == call("show", "t", "--db", db, "--json").documents[0]["payload"]
    [created] = call("history", "t", "--db", db, "--json", "--full").documents
    assert "payload_blob" in str(created)
