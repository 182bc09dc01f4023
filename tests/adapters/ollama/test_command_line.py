"""`sagalog ollama`: a gateway as a process of the shell, and what a shell asks of one."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sagalog_http.tokens import Tokens
from tests.adapters.cli.calls import Answer, call, environment
from tests.adapters.cli.forked import Process, start
from tests.adapters.ollama.gateways import Gateway
from tests.faulty_upstream import FaultyUpstream, Gate, Script
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]


def said(body: bytes) -> str:
    """The text of a streamed answer."""
    return "".join(msgspec.json.decode(line)["message"]["content"] for line in body.splitlines())


def ask(gateway: Gateway, *words: str, given: bytes = b"", **variables: str) -> Answer:
    return call("ollama", *words, given=given, env={"OLLAMA_HOST": gateway.url, **variables})


def of_text(*parts: str) -> Script:
    """A stream of Ollama that says these parts."""
    frames = [{"model": "tiny", "message": {"content": part}, "done": False} for part in parts]
    last: dict[str, Any] = {"model": "tiny", "message": {"content": ""}, "done": True, "done_reason": "stop"}
    body = b"".join(msgspec.json.encode(frame) + b"\n" for frame in [*frames, last])
    return Script().head().send(body).end()


# --- submit ---------------------------------------------------------------------------------------------------------


def test_submit_prints_the_answer_and_a_line_break(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))

    answer = ask(ollama, "submit", "tiny", "why")

    assert (0, said(STREAM.body) + "\n", "") == answer
    [request] = upstream.of("/api/chat")
    assert {"model": "tiny", "messages": [{"role": "user", "content": "why"}], "options": {}} == json.loads(
        request.body
    )


def test_submit_prints_each_part_as_it_comes(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    rest = b"".join(STREAM.frames[1:])
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate).send(rest).end())
    process = start("ollama", "submit", "tiny", "why", "--json", env=environment(OLLAMA_HOST=ollama.url))

    # The target sends nothing more before this line was read.
    first = process.stdout.readline()
    gate.open()
    others, err = process.communicate(timeout=60)

    assert (0, b"") == (process.returncode, err)
    assert [json.loads(line) for line in STREAM.body.splitlines()] == [
        json.loads(line) for line in [first, *others.splitlines()]
    ]


def test_the_prompt_system_and_options_go_to_the_model(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    options = ("--option", "num_ctx=8192", "--option", "stop=END", "--option", 'seed="7"')

    answer = ask(ollama, "submit", "tiny", "-", "--system", "be brief", *options, given="wärum?\n".encode())

    assert answer.status == 0
    sent = json.loads(upstream.of("/api/chat")[0].body)
    assert [("system", "be brief"), ("user", "wärum?")] == [(one["role"], one["content"]) for one in sent["messages"]]
    assert {"num_ctx": 8192, "stop": "END", "seed": "7"} == sent["options"]


def test_what_could_steer_a_terminal_is_escaped(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", of_text("one\n", "two \x1b]0;title\x07", "\u202ethree", "\r"))

    answer = ask(ollama, "submit", "tiny", "why")

    assert "one\ntwo \\x1b]0;title\\x07\\u202ethree\\r\n" == answer.out


def test_submit_detached_answers_with_the_job(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))

    human = ask(ollama, "submit", "tiny", "why", "--detach", "--idempotency-key", "k")
    again = ask(ollama, "submit", "tiny", "why", "--detach", "--idempotency-key", "k", "--json")

    [task] = ollama.tasks()
    assert human.out.startswith(f"{task.id} is ")
    assert (task.id, "tiny") == (again.documents[0]["id"], again.documents[0]["model"])
    other = ask(ollama, "submit", "tiny", "who", "--idempotency-key", "k", "--json")
    assert (5, "conflict") == (other.status, other.error["code"])


def test_an_unknown_model_is_status_4(ollama: Gateway) -> None:
    answer = ask(ollama, "submit", "absent", "why", "--json")

    assert (4, "") == (answer.status, answer.out)
    assert 'model "absent" not found' in answer.error["message"]
    assert "pull" in answer.error["hint"]


@pytest.mark.parametrize(("status", "expected"), [(400, 3), (500, 6)])
def test_an_error_of_the_target_before_its_answer_has_its_status(
    ollama: Gateway, upstream: FaultyUpstream, status: int, expected: int
) -> None:
    upstream.always("/api/chat", Script.error(status, "it says no"))

    answer = ask(ollama, "submit", "tiny", "why", "--json")

    assert (expected, "") == (answer.status, answer.out)
    assert "it says no" in answer.error["message"]


def test_an_error_in_the_answer_ends_what_was_printed(ollama: Gateway, upstream: FaultyUpstream) -> None:
    frames = STREAM.frames[0] + b'{"error":"the runner has \\u001b died"}\n'
    upstream.always("/api/chat", Script().head().send(frames).end())

    answer = ask(ollama, "submit", "tiny", "why")

    assert answer.status in (3, 6)
    assert said(STREAM.frames[0]) == answer.out
    assert r"the runner has \x1b died" in answer.err


# --- jobs, cancel, ps -------------------------------------------------------------------------------------------------


def test_jobs_lists_the_newest_first_or_shows_one(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    assert (0, "", "note: there is no job\n") == ask(ollama, "jobs")
    first, second = ollama.submit(), ollama.submit()
    ollama.ended(first), ollama.ended(second)

    listed = ask(ollama, "jobs", "--json").documents
    assert [second, first] == [one["id"] for one in listed]
    assert [second] == [one["id"] for one in ask(ollama, "jobs", "--limit", "1", "--json").documents]
    assert [ollama.job(first)] == ask(ollama, "jobs", first, "--json").documents
    assert [first, "completed", "tiny", "/api/chat"] == ask(ollama, "jobs", first).lines[1].split()[:4]


def test_the_answer_of_a_job_is_byte_for_byte(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    id = ollama.submit()
    ollama.ended(id)

    assert STREAM.body.decode() == ask(ollama, "jobs", id, "--answer").out
    [document] = ask(ollama, "jobs", id, "--answer", "--json").documents
    assert (id, STREAM.body) == (document["id"], base64.b64decode(document["data"]))


def test_the_answer_of_no_job_is_wrong_usage(ollama: Gateway) -> None:
    answer = ask(ollama, "jobs", "--answer", "--json")

    assert (2, True) == (answer.status, "--answer: expected the ID" in answer.error["message"])


def test_a_job_under_way_has_no_answer_and_can_be_cancelled(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]).wait(gate))
    id = ollama.submit()
    gate.wait_reached()

    early = ask(ollama, "jobs", id, "--answer", "--json")
    cancelled = ask(ollama, "cancel", id)
    gate.open()

    assert (3, True) == (early.status, "the job is running" in early.error["message"])
    assert (0, True) == (cancelled.status, cancelled.out.startswith(f"{id} is "))
    assert "cancelled" == ollama.ended(id)["state"]
    assert [f"{id} is cancelled"] == ask(ollama, "cancel", id).lines
    assert 4 == ask(ollama, "cancel", "nothing-like-it").status


def test_ps_shows_health_models_and_live_jobs(ollama: Gateway, upstream: FaultyUpstream) -> None:
    gate = Gate()
    rest = b"".join(STREAM.frames[1:])
    first = Script().head().send(STREAM.frames[0]).wait(gate).send(rest).end()
    upstream.next("/api/chat", first, Script.example(STREAM))
    running, waiting = ollama.submit(), ollama.submit()
    gate.wait_reached()

    [document] = ask(ollama, "ps", "--json").documents
    human = ask(ollama, "ps").lines
    gate.open()
    ollama.ended(waiting)

    assert ({"status": "ok", "degraded": False}, []) == (document["health"], document["loaded"])
    assert [waiting, running] == [one["id"] for one in document["jobs"]]
    assert [f"{ollama.url} is well", "loaded: nothing"] == human[:2]
    assert [[waiting, "queued"], [running, "working"]] == [line.split()[:2] for line in human[3:]]


def test_ps_shows_why_a_gateway_is_degraded(ollama: Gateway, upstream: FaultyUpstream) -> None:
    with upstream.refusing():
        ollama.client.post("/api/chat", json={"model": "absent", "messages": []})  # polls once more

        assert f"{ollama.url} is degraded (target_away)" == ask(ollama, "ps").lines[0]


def test_a_token_is_asked_for_where_one_exists(ollama: Gateway) -> None:
    _, secret = Tokens(ollama.engine).create("ann", ["read"])

    without = ask(ollama, "jobs", "--json")

    assert (3, True) == (without.status, "OLLAMA_API_KEY" in without.error["hint"])
    assert 0 == ask(ollama, "jobs", OLLAMA_API_KEY=secret).status
    refused = ask(ollama, "submit", "tiny", "why", "--token", secret, "--json")
    assert (3, True) == (refused.status, "produce" in refused.error["message"])
    assert secret not in refused.err


# --- serve ----------------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, target: str, *words: str, **variables: str) -> Iterator[tuple[Process, str]]:
    """A gateway as a process; its address."""
    given = ("--json", "--db", f"{folder}/store.db", "ollama", "serve", "--target", target, "--bind", "127.0.0.1:0")
    process = start(*given, *words, env=environment(**variables))
    try:
        for line in iter(process.stderr.readline, b""):
            if (told := json.loads(line)).get("message", "").startswith("serving at "):
                yield process, str(told["message"].removeprefix("serving at "))
                return
        raise AssertionError(process.communicate())
    finally:
        process.kill()
        process.communicate()


def test_a_shell_asks_the_gateway_that_a_shell_serves(tmp_path: Path, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))

    with serving(tmp_path, upstream.url) as (process, url):
        answer = call("ollama", "submit", "tiny", "why", "--url", url)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)

    assert (0, said(STREAM.body) + "\n") == (answer.status, answer.out)
    assert (0, b"") == (process.returncode, out)
    assert call("--db", f"{tmp_path}/store.db", "verify").status == 0


def test_ctrl_c_ends_a_gateway_gracefully_with_130(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with serving(tmp_path, upstream.url) as (process, _):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, out)
    last = json.loads(err.splitlines()[-1])
    assert "interrupted" == last["error"]["code"]


def test_settings_of_a_file_are_those_of_the_gateway(tmp_path: Path, upstream: FaultyUpstream) -> None:
    file = tmp_path / "ollama.toml"
    file.write_text('queue_paths = ["/api/generate"]\ntarget = "http://127.0.0.1:1"\n')
    upstream.always("/api/chat", Script.example(STREAM))

    with serving(tmp_path, upstream.url, "--settings", str(file)) as (_, url):
        answer = call("ollama", "submit", "tiny", "why", "--url", url)
        listed = call("ollama", "jobs", "--url", url)

    # The option wins over the file, and the route does not wait.
    assert (0, said(STREAM.body) + "\n") == (answer.status, answer.out)
    assert "" == listed.out


@pytest.mark.parametrize(
    ("words", "variables", "named"),
    [
        (["--bind", "box"], {}, "--bind: "),
        (["--target", "box"], {}, "--target: "),
        ([], {"SAGALOG_OLLAMA_TTL": "1"}, "SAGALOG_OLLAMA_TTL: "),
        ([], {"SAGALOG_OLLAMA_TTLS": "1s"}, "SAGALOG_OLLAMA_TTLS: there is no such setting"),
    ],
)
def test_a_wrong_setting_is_named_and_no_store_is_made(
    tmp_path: Path, words: list[str], variables: dict[str, str], named: str
) -> None:
    answer = call("--json", "--db", f"{tmp_path}/store.db", "ollama", "serve", *words, env=variables)

    assert (3, True) == (answer.status, answer.error["message"].startswith(named)), answer
    assert [] == list(tmp_path.iterdir())


def test_an_address_in_use_is_status_6(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = call("--json", "--db", f"{tmp_path}/store.db", "ollama", "serve", "--bind", bind)

    assert (6, True) == (answer.status, "cannot listen on" in answer.error["message"])


def test_an_open_address_without_a_token_is_refused(tmp_path: Path) -> None:
    answer = call("--json", "--db", f"{tmp_path}/store.db", "ollama", "serve", "--bind", "0.0.0.0:0")

    assert (3, "bind_refused") == (answer.status, answer.error["code"])
