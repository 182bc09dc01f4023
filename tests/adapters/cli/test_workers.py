"""`worker ls`, `drain` and `stop`: what they show of workers, wherever these run, and what they ask of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sagalog
from sagalog import FailedPreflight
from sagalog.engine.workers import REQUESTS
from sagalog.worker.config import WorkerConfig
from sagalog.worker.registration import Registration
from tests.adapters.cli.calls import Answer, call
from tests.adapters.cli.forked import start

HANDLERS = """
import sagalog

worker = sagalog.Worker(concurrency=1)


@worker.task("do")
def do(context, payload):
    print("holding", flush=True)
    while not context.stopping and not context.wait_stop(10):
        pass
    return "done"
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sagalog.Engine]:
    with sagalog.open(f"sqlite:///{tmp_path / 'store.db'}") as engine:
        yield engine


def registered(engine: sagalog.Engine, name: str) -> Registration:
    config = WorkerConfig(("agents", "ci"), {"build": print}, {"remove": print}, 4, 0, 60_000, False)
    return Registration(engine, name, config)


def of(tmp_path: Path, *words: str) -> Answer:
    return call(*words, "--db", str(tmp_path / "store.db"))


def test_a_listing_shows_who_works_and_who_is_gone(engine: sagalog.Engine, tmp_path: Path) -> None:
    """[WORKER-7]"""
    live, over = registered(engine, "live"), registered(engine, "over")
    over.end()
    gone = registered(engine, "gone")
    row = gone._row(3)
    assert row.value is not None
    old = re.sub(r'"seen_ms":(\d+)', lambda found: f'"seen_ms":{int(found[1]) - 30_000}', row.value)
    assert engine._executor.keep(row.space, row.name, engine._executor.queries.kept(row.space, row.name), old)

    plain = of(tmp_path, "worker", "ls").out.splitlines()
    everything = of(tmp_path, "worker", "ls", "--all").out.splitlines()

    assert plain[0].split() == ["NAME", "STATE", "HOST", "PID", "RUNS", "SEEN", "BUILD", "QUEUES", "KINDS"]
    states = [line.split()[:2] for line in plain[1:]]
    assert states == [[gone.name, "gone"], [live.name, "working"]]
    assert plain[1].split()[4] == "3/4"
    assert plain[2].split()[-2:] == ["agents,ci", "build,undo:remove"]
    assert [over.name, "ended"] in [line.split()[:2] for line in everything]


def test_a_listing_says_what_a_worker_does_not_claim_and_why(engine: sagalog.Engine, tmp_path: Path) -> None:
    worker = registered(engine, "box")
    worker.note_preflights((FailedPreflight("claude", "no such program\x1b[31m", 0, ("build",), ("remove",)),))
    worker.write_alone(0)

    lines = of(tmp_path, "worker", "ls").out.splitlines()

    assert lines[2].startswith("    preflight claude fails since 1970-01-01T00:00:00")
    assert lines[2].endswith("so it claims no build,undo:remove: no such program\\x1b[31m")


def test_a_listing_in_json_has_every_field(engine: sagalog.Engine, tmp_path: Path) -> None:
    name = registered(engine, "w").name

    [document] = of(tmp_path, "worker", "ls", "--json").documents

    assert set(document) == set(sagalog.WorkerInfo.__struct_fields__)
    assert (document["name"], document["is_live"], document["failed_preflights"]) == (name, True, [])


def test_a_store_without_workers_says_so(engine: sagalog.Engine, tmp_path: Path) -> None:
    assert of(tmp_path, "worker", "ls").err == "note: no worker runs on this store\n"
    registered(engine, "over").end()
    answer = of(tmp_path, "worker", "ls")
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == "note: no worker runs on this store; --all lists 1 that have ended\n"


def test_a_listing_shows_the_builds_that_no_live_worker_names(engine: sagalog.Engine, tmp_path: Path) -> None:
    """[BUILD-4] So does `stats`."""
    registered(engine, "live")
    engine.create("build", queue="ci", build="b1")
    engine.create("build", queue="ci", build="b1", run_at_ms=10**15)

    lines = [line.split() for line in of(tmp_path, "worker", "ls").out.splitlines()]
    *_, document = of(tmp_path, "worker", "ls", "--json").documents
    [stats] = of(tmp_path, "stats", "--json").documents

    assert lines[2:] == [[], ["NO_WORKER_OF_BUILD", "QUEUE", "TASKS"], ["b1", "ci", "2"]]
    assert document == {"absent_build": {"build": "b1", "queue": "ci", "tasks": 2}}
    assert stats["builds"] == [document["absent_build"]]
    assert "NO_WORKER_OF_BUILD" in of(tmp_path, "stats").out


@pytest.mark.parametrize("verb", ["drain", "stop"])
def test_who_asks_is_on_record(engine: sagalog.Engine, tmp_path: Path, verb: str) -> None:
    """[WORKER-8] The first characters of a name are enough where no other live worker's name begins so."""
    registered(engine, "first").end()
    first, _ = registered(engine, "first"), registered(engine, "second")

    answer = of(tmp_path, "worker", verb, "fi", "--actor", "ann")

    assert answer.out == f"{first.name} is asked to {verb}; it ran 0 handlers when it was last seen\n"
    assert f'"verb":"{verb}","actor":"user:ann"' in (engine._executor.queries.kept(REQUESTS, first.name) or "")
    assert len(engine._executor.queries.kept_in(REQUESTS, "", 10)) == 1


def test_a_name_of_no_or_of_several_live_workers_is_refused(engine: sagalog.Engine, tmp_path: Path) -> None:
    """[WORKER-8]"""
    names = sorted(registered(engine, "twin").name for _ in range(2))

    several = of(tmp_path, "worker", "drain", "twin")
    none = of(tmp_path, "worker", "stop", "nobody")

    assert (several.status, none.status) == (3, 4)
    assert f"the names of 2 live workers begin with 'twin': {names[0]}, {names[1]}" in several.err
    assert f"there is no worker 'nobody'; the live ones are '{names[0]}', '{names[1]}'" in none.err


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_worker_that_is_stopped_in_this_way_ends_well(
    engine: sagalog.Engine, tmp_path: Path, processes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """[WORKER-8] A parent of processes does not begin another one."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    engine.create("do")
    words = ("--db", str(tmp_path / "store.db"), "worker", "run", "--handlers", "handlers:worker", *processes)
    monkeypatch.chdir(tmp_path)
    process = start(*words)
    assert process.stdout is not None
    assert process.stdout.readline() == b"holding\n"
    [worker] = engine.workers()

    assert of(tmp_path, "worker", "stop", worker.name).status == 0
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert b"1 completed" in out
    assert [one.state for one in engine.workers()] == ["ended"]


def test_options_of_run_without_that_word_are_wrong_usage(engine: sagalog.Engine, tmp_path: Path) -> None:
    answer = of(tmp_path, "worker", "--handlers", "handlers:worker")

    assert answer.status == 2
    assert "worker --help" in answer.err
