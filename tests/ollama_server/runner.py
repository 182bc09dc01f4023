"""One loaded model: llama.cpp in this process, which turns a prompt into tokens, and texts into vectors.

Rule: answers are greedy unless a request asks for chance, so that the same prompt has the same answer. It must not know
HTTP, nor which model is to be loaded.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import xllamacpp

from tests.ollama_server.model_file import CONTEXT_TOKENS, model_bytes

# The options that a runner is started with: another value of one of them needs another runner.
RUNNER_OPTIONS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")
_SILENT: Final = -1


class RunnerFailure(Exception):
    """The model refused a prompt, for instance one that is longer than its context."""


class Completion(msgspec.Struct, frozen=True):
    """How an answer ended: tokens of the prompt and of the answer, and nanoseconds for each."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    prompt_ns: int
    tokens: int
    tokens_ns: int


class Sampling(msgspec.Struct, frozen=True):
    """What a request may choose of its answer."""

    tokens_max: int
    stop: tuple[str, ...] = ()
    temperature: float = 0
    seed: int = 0


class Runner:
    """A model, loaded with its runner options; `close` unloads it."""

    def __init__(self, model: str, options: Mapping[str, Any], parallel: int) -> None:
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            Path(file.name).write_bytes(model_bytes(model))
            self._server: Any = xllamacpp.Server(_parameters(file.name, options, parallel))
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="tiny-model")

    async def answer(self, prompt: str, sampling: Sampling) -> AsyncGenerator[str | Completion]:
        """Yield the tokens of an answer as text, one by one, and at last how it ended.

        A caller that stops early stops the model too.
        """
        loop = asyncio.get_running_loop()
        given: asyncio.Queue[str | Completion | Exception] = asyncio.Queue()
        left = False

        def take(chunk: Mapping[str, Any]) -> bool:
            for one in _read(chunk):
                loop.call_soon_threadsafe(given.put_nowait, one)
            return left

        body = {
            "prompt": prompt,
            "n_predict": sampling.tokens_max,
            "stop": list(sampling.stop),
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
        }
        work = loop.run_in_executor(self._threads, self._complete, body, take)
        try:
            while True:
                match await given.get():
                    case Exception() as failure:
                        raise failure
                    case Completion() as end:
                        yield end
                        return
                    case text:
                        yield text
        finally:
            left = True
            await work

    async def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """Return a vector of each text, and how many tokens they have together.

        Raises:
            RunnerFailure: a text is longer than the context.
        """
        call = self._server.handle_embeddings
        loop = asyncio.get_running_loop()
        # Unlike Ollama, llama.cpp refuses a text without any token.
        answered = await loop.run_in_executor(self._threads, call, {"input": [text or " " for text in texts]})
        _refuse_error(answered)
        return [one["embedding"] for one in answered["data"]], answered["usage"]["prompt_tokens"]

    def close(self) -> None:
        """Unload the model, once its last answer is over."""
        self._threads.shutdown()
        self._server = None

    def _complete(self, body: Mapping[str, Any], take: Callable[[Mapping[str, Any]], bool]) -> None:
        answered = self._server.handle_completions(body, take)
        if answered is not None:
            take(answered)


def _read(chunk: Mapping[str, Any]) -> list[str | Completion | Exception]:
    try:
        _refuse_error(chunk)
    except RunnerFailure as failure:
        return [failure]
    [choice] = chunk["choices"]
    if (reason := choice["finish_reason"]) is None:
        return [choice["text"]] if choice["text"] else []
    usage, timings = chunk["usage"], chunk["timings"]
    end = Completion(
        reason,
        usage["prompt_tokens"],
        int(timings["prompt_ms"] * 1e6),
        usage["completion_tokens"],
        int(timings["predicted_ms"] * 1e6),
    )
    return [choice["text"], end] if choice["text"] else [end]


def _refuse_error(answered: Mapping[str, Any]) -> None:
    if "error" in answered:
        raise RunnerFailure(answered["error"]["message"])


def _parameters(path: str, options: Mapping[str, Any], parallel: int) -> Any:
    chosen: Any = xllamacpp.CommonParams()
    chosen.model.path = path
    chosen.n_ctx = min(int(options.get("num_ctx") or CONTEXT_TOKENS), CONTEXT_TOKENS) * parallel
    chosen.n_parallel = parallel
    chosen.cpuparams.n_threads = 1
    chosen.warmup = False
    chosen.verbosity = _SILENT
    chosen.embedding = True
    chosen.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return chosen
