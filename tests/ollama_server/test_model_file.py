"""The tiny model: the same for its name everywhere, and another for another name."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.ollama_server.model_file import model_bytes
from tests.ollama_server.runner import Completion, Runner, RunnerFailure, Sampling


def answers(model: str, prompt: str, sampling: Sampling) -> list[str | Completion]:
    async def all_of_it() -> list[str | Completion]:
        return [one async for one in runner.answer(prompt, sampling)]

    runner = Runner(model, {}, 1)
    try:
        return asyncio.run(all_of_it())
    finally:
        runner.close()


def test_a_name_gives_the_same_bytes_on_every_machine() -> None:
    assert hashlib.sha256(model_bytes("a:latest")).hexdigest().startswith("b0365f2f57b402ab")
    assert model_bytes("a:latest") != model_bytes("b:latest")


def test_an_answer_is_greedy_and_tells_which_model_gave_it() -> None:
    first, again, other = (answers(model, "the sky", Sampling(8)) for model in ("a", "a", "b"))

    assert first[:-1] == again[:-1] != other[:-1]


def test_each_token_of_an_answer_comes_alone_and_whole() -> None:
    """So the pace of a server is exact, and no frame holds half a character."""
    *tokens, end = answers("a", "the sky", Sampling(40))

    assert isinstance(end, Completion)
    assert (len(tokens), end.tokens, end.reason) == (40, 40, "length")
    text = "".join(str(token) for token in tokens)
    assert "\N{REPLACEMENT CHARACTER}" not in text
    assert any(len(letter.encode()) > 1 for letter in text)


def test_an_answer_ends_before_a_word_that_stops_it() -> None:
    *tokens, _ = answers("a", "the sky", Sampling(8))
    *fewer, end = answers("a", "the sky", Sampling(8, stop=(str(tokens[3]),)))

    assert fewer == tokens[: tokens.index(tokens[3])]
    assert isinstance(end, Completion)
    assert end.reason == "stop"


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    with pytest.raises(RunnerFailure, match="exceeds the available context size"):
        answers("a", "x " * 3_000, Sampling(1))
