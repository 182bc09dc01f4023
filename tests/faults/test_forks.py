"""Forks of real processes amid writers and kills: what was acknowledged is there, or nothing was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import sagalog
from tests.warm_processes import ROOT


def start(module: str, *words: object, output: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", f"tests.faults.{module}", *map(str, words)]
    return subprocess.Popen(command, stdout=output, cwd=ROOT, env=environment, start_new_session=True)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """At the end of the block neither the process nor any of its children lives."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def require_all(url: str, acknowledged: set[str]) -> None:
    """Every acknowledged task is there, and the store is sound, as a process sees it that comes afterwards."""
    with sagalog.open(url) as engine:
        found = {task.id for task in engine.find()}
        assert acknowledged - found == set(), "acknowledged and lost"
        report = engine.verify()
        assert report.ok, report.faults


def campaign(tmp_path: Path, forks: int, seed: int) -> None:
    """Two processes that write and fork, killed and begun anew at random, until there were so many forks."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    sagalog.open(url).close()
    entropy = random.Random(seed)
    told = tmp_path / "told"
    said = 0
    round_ = 0
    with told.open("ab") as output:
        while said < forks:
            round_ += 1
            processes = [
                start("forker", url, f"{seed}-{round_}-{name}", max(2, min(20, forks // 4)), output=output.fileno())
                for name in "ab"
            ]
            try:
                until = time.monotonic() + 3 + entropy.random() * 4
                while time.monotonic() < until and any(one.poll() is None for one in processes):
                    time.sleep(0.05)
                victim = entropy.choice(processes)
                # Its children live on, and write.
                victim.kill()
                time.sleep(entropy.random())
            finally:
                for process in processes:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait(20)
            said = told.read_text().count("forked ")
    lines = told.read_text().splitlines()
    assert [line for line in lines if line.startswith("foreign")] == []
    refused = [line for line in lines if line.startswith("refused")]
    assert [line for line in refused if "start processes by spawn or forkserver" not in line] == []
    acknowledged = {line.split()[1] for line in lines if line.startswith("acknowledged")}
    assert len(acknowledged) > forks
    require_all(url, acknowledged)
    sys.stdout.write(
        f"{said} forks in {round_} rounds, {len(acknowledged)} acknowledged, {len(refused)} children refused\n"
    )


def test_what_parents_and_children_acknowledged_survives_kills(tmp_path: Path) -> None:
    """[FORK-1] The processes fork meanwhile."""
    campaign(tmp_path, forks=10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_three_hundred_forks_amid_writers_and_kills_lose_nothing(tmp_path: Path) -> None:
    """[FORK-1]"""
    campaign(tmp_path, forks=300, seed=2)


def ask(port: int, id: str) -> str:
    """What the server answers to one request; empty where it has died meanwhile."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(f"{id}\n".encode())
            with connection.makefile() as lines:
                return lines.readline().strip()
    except (ConnectionError, TimeoutError):
        return ""


def test_a_server_that_forks_after_opening_outlives_its_children(tmp_path: Path) -> None:
    """[FORK-1] It serves again after its own death."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    told = tmp_path / "told"
    acknowledged: set[str] = set()
    with told.open("ab") as output:
        server = start("prefork", url, 3, output=output.fileno())
        with ended(server):
            port = int(told_after(told, "port", 1)[0])
            for number in range(60):
                if ask(port, f"r{number}") == "ok":
                    acknowledged.add(f"r{number}")
                if number in (15, 30):
                    children = told_after(told, "child", 3 + (number == 30))
                    os.kill(int(children[-1]), signal.SIGKILL)
                    told_after(told, "child", 4 + (number == 30))
            assert len(acknowledged) >= 55
            server.kill()
            server.wait(20)
            # Those that it has forked still serve.
            assert ask(port, "orphan") in ("ok", "")
    words = told.read_text().split()
    acknowledged |= {words[at + 1] for at, word in enumerate(words[:-1]) if word == "acknowledged"}
    require_all(url, acknowledged)


def told_after(told: Path, word: str, count: int) -> list[str]:
    """What was said after a word, once it was said so often."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        lines = [line.split()[1] for line in told.read_text().splitlines() if line.startswith(f"{word} ")]
        if len(lines) >= count:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"{word} was not said {count} times: {told.read_text()[-500:]}")
