"""What the gateway reads of a body: the model, how the answer is to come, and what has to be loaded."""

from __future__ import annotations

import re

import httpx
import msgspec
import pytest

from sagalog import InvalidValue
from sagalog_ollama.prompts import Prompt, full_name, read_prompt

JSON = "application/json"


def prompt(**given: object) -> Prompt:
    return read_prompt(msgspec.json.encode({"model": "tiny", **given}), JSON)


def test_it_sees_the_model_and_how_the_answer_is_to_come() -> None:
    found = prompt(stream=False, keep_alive="5m", messages=[{"role": "user", "content": "why"}])

    assert Prompt("tiny", False, {}, None, "5m") == found


def test_what_the_body_does_not_say_is_left_open() -> None:
    found = prompt()

    assert (None, msgspec.UNSET) == (found.stream, found.keep_alive)


@pytest.mark.parametrize("keep_alive", [0, -1, 2.5, "10m", None])
def test_each_form_of_keep_alive_is_taken(keep_alive: object) -> None:
    assert keep_alive == prompt(keep_alive=keep_alive).keep_alive


def test_keys_count_in_any_case_and_the_last_of_a_name() -> None:
    """Ollama reads them so: otherwise a body could load another model than the queue has seen."""
    found = read_prompt(b'{"MODEL": "first", "MODEL": "second", "Stream": false}', JSON)

    assert ("second", False) == (found.model, found.stream)


def test_a_key_in_two_spellings_is_refused() -> None:
    with pytest.raises(InvalidValue, match="two spellings: MODEL, model"):
        read_prompt(b'{"model": "first", "MODEL": "second"}', JSON)


@pytest.mark.parametrize("given", [{"options": {"num_ctx": "9" * 101}}, {"options": {"num_gpu": [1]}}])
def test_what_counts_of_a_body_is_small(given: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match="a number, a truth or a short text"):
        prompt(**given)


@pytest.mark.parametrize(
    ("one", "other"),
    [("tiny", "tiny:latest"), ("Tiny", "tiny"), ("library/tiny", "tiny"), ("team/tiny", "team/tiny:latest")],
)
def test_two_names_of_one_model_have_one_residency(one: str, other: str) -> None:
    assert full_name(one) == full_name(other)


def test_a_port_in_a_name_is_no_tag() -> None:
    assert "box:5000/team/tiny:latest" == full_name("box:5000/team/tiny")


def test_options_of_the_runner_are_part_of_the_residency() -> None:
    plain, wide = prompt(), prompt(options={"num_ctx": 8_192})

    assert plain.residency != wide.residency
    assert wide.residency == prompt(options={"num_ctx": 8_192, "temperature": 0.5}).residency
    assert wide.residency != prompt(options={"num_ctx": 4_096}).residency


def test_other_options_need_no_other_load() -> None:
    assert prompt().residency == prompt(options={"temperature": 0, "seed": 1}).residency


def test_whether_the_context_may_shift_is_part_of_the_residency() -> None:
    assert prompt().residency != prompt(shift=False).residency


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b"{}", "model is required"),
        (b'{"model": ""}', "model is required"),
        (b'{"model": 5}', "the body cannot be read"),
        (b'{"model": "a\\u0000b"}', "expected a name"),
        (b'{"model": "' + b"m" * 200 + b'"}', "expected a name"),
        (b'{"model": "a", "stream": "yes"}', "the body cannot be read"),
        (b'{"model": "a", "options": []}', "the body cannot be read"),
        (b"[]", "the body cannot be read"),
        (b"\xff\xfe", "the body cannot be read"),
        (b"[" * 100_000, "the body cannot be read"),
        (b'{"model": "a"', "the body cannot be read"),
    ],
)
def test_a_body_that_is_none_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(said)):
        read_prompt(body, JSON)


def test_the_model_of_a_form_is_found_beside_its_file() -> None:
    sound = bytes(range(256)) * 40 + b"\r\n--not-the-boundary\r\n"
    request = httpx.Request("POST", "http://x", data={"model": "whisper"}, files={"file": ("a.wav", sound)})

    assert "whisper" == read_prompt(request.read(), request.headers["content-type"]).model


def test_a_form_without_a_model_is_refused() -> None:
    request = httpx.Request("POST", "http://x", files={"file": ("a.wav", b"RIFF")})

    with pytest.raises(InvalidValue, match="model is required"):
        read_prompt(request.read(), request.headers["content-type"])
