"""The commands of the group `token`: what they print, what they list, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import sagalog
from sagalog_http.tokens import Tokens
from tests.adapters.cli.calls import Answer, call, run


def of(path: Path, *words: str) -> Answer:
    return call("token", *words, "--db", str(path))


def test_a_created_token_is_printed_once_and_alone(engine: sagalog.Engine, path: Path) -> None:
    answer = of(path, "create", "ci", "--scope", "produce", "--queue", "builds", "--expires", "30d")
    [secret] = answer.lines
    found = Tokens(engine).find(secret)
    assert found is not None
    assert (found.name, found.scopes, found.queues, found.created_by) == ("ci", ("produce",), ("builds",), "user:ann")
    assert "shown once" in answer.err
    assert secret not in of(path, "ls").out + of(path, "ls", "--json").out


def test_a_listing_shows_what_each_token_may_do_and_its_state(engine: sagalog.Engine, path: Path) -> None:
    Tokens(engine).create("a", ["read", "work"], kinds=["k"])
    Tokens(engine).create("b", ["admin"])
    assert of(path, "revoke", "b").out == "token b is revoked\n"
    _, first, second = of(path, "ls").lines
    assert first.split()[:5] == ["a", "live", "read,work", "-", "k"] or first.split()[:3] == ["a", "live", "read,work"]
    assert second.split()[:3] == ["b", "revoked", "admin"]
    assert of(path, "list").out == of(path, "ls").out
    assert [one["state"] for one in of(path, "ls", "--json").documents] == ["live", "revoked"]


def test_a_name_that_is_taken_or_unknown_is_refused(engine: sagalog.Engine, path: Path) -> None:
    Tokens(engine).create("a", ["read"])
    assert of(path, "create", "a", "--scope", "read", "--json").error["code"] == "token_exists"
    assert of(path, "rm", "a", "--json").error["code"] == "rejected"
    assert of(path, "revoke", "b").status == 4
    of(path, "revoke", "a")
    assert of(path, "rm", "a").out == "1 token of a removed\n"


def test_a_secret_that_could_not_be_printed_is_revoked(engine: sagalog.Engine, path: Path) -> None:
    with open("/dev/full", "wb") as full:
        assert run("token", "create", "lost", "--scope", "read", "--db", str(path), stdout=full).status == 9
    assert [one.state(engine.now_ms()) for one in Tokens(engine).list()] == ["revoked"]
