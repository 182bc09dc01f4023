"""The suite `gateway`: chats through a gateway, beside the same chats with the server behind it.

Rule: both sides take turns within one run, with one server at one pace; differences and ratios are taken round by
round. Without the address of a gateway the server is compared with itself: that is the noise of the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bench.chats import Chat, Order, first_token_ms, run, tokens_per_second
from bench.report import Figure, Goal
from bench.rounds import interleave, ratios, spread

SUMMARY: Final = "time to the first token and tokens a second through a gateway, beside the Ollama server behind it"

_SERVER: Final = "the server alone"
_ROOT: Final = Path(__file__).parents[1]
_GRACE_S: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the addresses and how much to measure."""
    parser.add_argument("--server", help="address of the Ollama server; one of tests/ollama_server by default")
    parser.add_argument("--gateway", help="address of the gateway before it; by default the server again")
    parser.add_argument("--model", default="a", help="name of the model (a)")
    parser.add_argument("--pace", type=float, default=50, help="tokens a second of the server that it starts (50)")
    parser.add_argument("--tokens", type=int, default=50, help="tokens of a chat (50)")
    parser.add_argument("--chats", type=int, default=10, help="chats of one side in one round (10)")
    parser.add_argument("--clients", type=int, default=4, help="clients at once where tokens are counted (4)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is shown (5)")


def facts_of(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the size."""
    size = _size(arguments)
    return {"pace": size.pace, "tokens": size.tokens, "chats": size.chats, "rounds": size.rounds}


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Yield the time to the first token of one client after another, then the tokens of several at once."""
    size = _size(arguments)
    with _server(size) as server:
        other = "the gateway" if size.gateway else "the server again"
        urls = {_SERVER: server, other: size.gateway or server}
        order = Order(size.model, size.tokens, size.chats)
        for url in urls.values():
            # The model is loaded, and the connections of the gateway are there.
            run(url, replace(order, chats=1))
        firsts = _rounds(urls, order, first_token_ms, size.rounds)
        for name in urls:
            yield Figure(f"first token: {name}", spread(firsts[name]), "ms")
        more = [one - alone for alone, one in zip(firsts[_SERVER], firsts[other], strict=True)]
        yield Figure(f"first token: {other}, above the server", spread(more), "ms", Goal("<=", 20))
        rates = _rounds(urls, replace(order, clients=size.clients), tokens_per_second, size.rounds)
        for name in urls:
            yield Figure(f"tokens: {name}", spread(rates[name]), "/s")
        parts = ratios(rates[other], rates[_SERVER])
        yield Figure(f"tokens: {other}, of the server", spread(parts), "x", Goal(">=", 0.95))


def _rounds(
    urls: dict[str, str], order: Order, figure: Callable[[list[Chat]], float], rounds: int
) -> dict[str, list[float]]:
    return interleave({name: partial(_side, url, order, figure) for name, url in urls.items()}, rounds)


def _side(url: str, order: Order, figure: Callable[[list[Chat]], float]) -> float:
    return figure(run(url, order))


@contextmanager
def _server(size: argparse.Namespace) -> Iterator[str]:
    """Give the address of the server, which this starts and ends unless there is one."""
    if size.server:
        yield size.server
        return
    words = ["--models", size.model, "--tokens-per-second", str(size.pace)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(word for word in sys.path if word)}
    command = [sys.executable, "-m", "tests.ollama_server", *words]
    process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        with process.stdout as lines:
            yield lines.readline().strip()
    finally:
        process.terminate()
        process.wait(_GRACE_S)


def _size(arguments: argparse.Namespace) -> argparse.Namespace:
    if not arguments.tiny:
        return arguments
    tiny = {"pace": 500, "tokens": 4, "chats": 3, "clients": 2, "rounds": 2}
    return argparse.Namespace(**{**vars(arguments), **tiny})
