"""The commands of the group `journal`: entries byte for byte, or as objects with cursors."""

from __future__ import annotations

import base64
from pathlib import Path

import sagalog
from sagalog.testing.contract.journals import append_of
from tests.adapters.cli.calls import Answer, call


def of(path: Path, *words: str) -> Answer:
    return call("journal", *words, "--db", str(path))


def written(engine: sagalog.Engine) -> None:
    """A journal of no task, which is closed, and one of the task `told`, which two leases have written."""
    journal = engine.journal("build")
    journal.append([b"one\n", b"two\n"])
    journal.close()
    engine.create("build", id="told")
    for data in (b"a\n", b"b\n"):
        lease = engine.acquire("told", owner="ann", ttl_ms=None)
        engine._executor.write_journals([append_of(lease, "tokens", data)])
        lease.release()


def test_a_listing_shows_journals_and_those_of_tasks(engine: sagalog.Engine, path: Path) -> None:
    written(engine)
    head, *rows = of(path, "ls").out.splitlines()
    assert head.split() == ["NAME", "TASK", "ENTRIES", "BYTES", "STATE"]
    assert [row.split() for row in rows] == [
        ["build", "-", "2", "13", "closed"],
        ["tokens", "told", "2", "10", "open"],
    ]
    documents = of(path, "ls", "--json").documents
    assert [(one["name"], one["task"], one["entries"], one["closed"]) for one in documents] == [
        ("build", None, 2, True),
        ("tokens", "told", 2, False),
    ]


def test_an_empty_listing_of_journals_says_so(engine: sagalog.Engine, path: Path) -> None:
    assert of(path, "ls").err == "note: there is no journal\n"


def test_entries_are_printed_byte_for_byte(engine: sagalog.Engine, path: Path) -> None:
    written(engine)
    assert of(path, "show", "build").out == "one\ntwo\n"
    assert of(path, "show", "build", "--after", "0-1").out == "two\n"
    assert of(path, "show", "tokens", "--task", "told").out == "a\nb\n"
    [first, second] = of(path, "show", "tokens", "--task", "told", "--json").documents
    assert (first["cursor"], first["number"], first["fence"]) == ("1-1", 1, 1)
    assert (second["cursor"], base64.b64decode(second["data"])) == ("2-2", b"b\n")


def test_following_ends_when_the_journal_is_closed(engine: sagalog.Engine, path: Path) -> None:
    """It begins with the newest attempt. [JOURNAL-5]"""
    written(engine)
    assert of(path, "show", "build", "--follow").out == "one\ntwo\n"
    engine.cancel("told", "enough")
    assert of(path, "show", "tokens", "--task", "told", "--follow").out == "b\n"


def test_a_journal_of_no_task_on_record_is_not_found(engine: sagalog.Engine, path: Path) -> None:
    answer = of(path, "show", "tokens", "--task", "nothing")
    assert answer.status == 4
    assert of(path, "show", "tokens", "--after", "x").status == 3
