"""`python -m tests.ollama_server`: the server as a process, until a signal ends it; prints its address first."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.ollama_server.application import make
from tests.ollama_server.record import Record
from tests.ollama_server.serving import HOST, listen, server
from tests.ollama_server.settings import Settings


def main(words: Sequence[str] | None = None) -> None:
    """Serve as the words say."""
    arguments = _parser().parse_args(words)
    settings = Settings(
        models=_names(arguments.models),
        embedding_models=_names(arguments.embedding_models),
        tokens_per_second=arguments.tokens_per_second,
        load_ms=arguments.load_ms,
        keep_alive_ms=arguments.keep_alive_ms,
        pending_max=arguments.pending_max,
        parallel=arguments.parallel,
        answer_tokens=arguments.answer_tokens,
        token=arguments.token,
    )
    asyncio.run(_serve(settings, arguments.port))


async def _serve(settings: Settings, port: int) -> None:
    app, residency = make(settings, Record())
    listening = listen(port)
    sys.stdout.write(f"http://{HOST}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    try:
        await server(app).serve([listening])
    finally:
        await residency.close()


def _names(words: str) -> tuple[str, ...]:
    return tuple(word for word in words.split(",") if word)


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m tests.ollama_server", description="A small Ollama with real tokens."
    )
    parser.add_argument("--port", type=int, default=0, help="port of the loopback; a free one by default")
    parser.add_argument("--models", default=",".join(defaults.models), help="names of models that chat (a,b)")
    parser.add_argument("--embedding-models", default=",".join(defaults.embedding_models), help="and that only embed")
    parser.add_argument("--tokens-per-second", type=float, default=0, help="pace of an answer; 0 is as fast as it can")
    parser.add_argument("--load-ms", type=float, default=0, help="milliseconds that a load takes at least (0)")
    parser.add_argument("--keep-alive-ms", type=float, default=defaults.keep_alive_ms, help="for an idle model")
    parser.add_argument("--pending-max", type=int, default=defaults.pending_max, help="requests that may wait (512)")
    parser.add_argument("--parallel", type=int, default=1, help="answers that one model gives at once (1)")
    parser.add_argument("--answer-tokens", type=int, default=defaults.answer_tokens, help="tokens of an answer (16)")
    parser.add_argument("--token", help="bearer token that every request must carry")
    return parser


if __name__ == "__main__":
    main()
