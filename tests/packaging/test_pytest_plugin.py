"""The fixtures for pytest, as a user gets them: of the wheel, found by its entry point, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.packaging.shipped import Shipped
from tests.packaging.tree import ROOT

LOADED = """
import sys

OURS = ("sagalog", "apsw", "msgspec")

def loaded():
    return sorted(name for name in sys.modules if name.startswith(OURS))
"""

BEFORE_AND_AFTER = (
    LOADED
    + """
before = loaded()

def test_that_asks_for_none():
    assert loaded() == before == ["sagalog_pytest"]

def test_that_asks_for_one(sagalog_clock):
    assert "sagalog.testing" in loaded()
"""
)

FIXTURES = """
import threading
from pathlib import Path

import sagalog

ids, engines, threads, settled = [], [], [], []

def test_the_engine_is_on_a_file_of_its_own(sagalog_engine, tmp_path):
    assert (tmp_path / "sagalog.db").exists()
    sagalog_engine.create("build")
    engines.append(sagalog_engine)

def test_each_test_has_a_new_one_and_the_last_one_is_closed(sagalog_engine):
    assert sagalog_engine.find() == []
    try:
        engines[0].find()
    except sagalog.Closed:
        return
    raise AssertionError("the engine of the test before is open")

def test_the_engine_goes_by_the_clock(sagalog_engine, sagalog_clock):
    began_ms = sagalog_engine.now_ms()
    sagalog_clock.advance(1_000)
    assert sagalog_engine.now_ms() == sagalog_clock.now_ms() == began_ms + 1_000

def test_ids_are_drawn(sagalog_engine):
    ids.append(sagalog_engine.create("build").id)

def test_ids_are_drawn_alike_in_each_test(sagalog_engine):
    assert sagalog_engine.create("build").id == ids[0]

def test_the_worker_runs_until_it_is_idle_and_again(sagalog_engine, sagalog_worker):
    @sagalog_worker.task("build")
    def build(context, payload):
        return payload

    for n in range(2):
        task = sagalog_engine.create("build", n)
        assert sagalog_worker.run().settled == 1
        assert sagalog_engine.wait(task.id, 0).result == n

def test_a_worker_may_run_in_a_thread(sagalog_engine, sagalog_worker):
    begun = threading.Event()

    @sagalog_worker.task("build")
    def build(context, payload):
        begun.set()
        context.wait_stop(60_000)

    sagalog_engine.create("build")
    threads.append(threading.Thread(target=lambda: settled.append(sagalog_worker.run(until=None).settled)))
    threads[0].start()
    assert begun.wait(60)

def test_what_runs_at_the_end_of_a_test_is_stopped_before_its_engine_is_closed():
    threads[0].join(60)
    assert settled == [1]
"""

PAGE = (ROOT / "docs" / "how-to" / "test-your-handlers.md").read_text(encoding="utf-8")


# Plugins that these tests need and their user need not have: each is imported at every start.
NOT_OF_THE_USER = [f"-pno:{name}" for name in ("hypothesispytest", "xdist", "xdist.looponfail", "timeout", "anyio")]


def ran(shipped: Shipped, folder: Path, *words: str) -> tuple[dict[str, Counter[str]], str]:
    """How many tests of each file passed, failed and so on in a run of pytest, and all that it says."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-W", "error", "--no-header", "-vp", "no:cacheprovider"),
            *(*NOT_OF_THE_USER, *words, str(folder)),
        ],
        cwd=folder,
        env={**variables, "PYTHONPATH": str(shipped.installed)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    counts: dict[str, Counter[str]] = {}
    for file, outcome in re.findall(r"^(\S+\.py)::.* ([A-Z]+) +\[", done.stdout, re.MULTILINE):
        counts.setdefault(file, Counter())[outcome] += 1
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return counts, said


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of tests that pytest takes for the root of a project."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def test_nothing_but_the_plugin_of_the_wheel_is_imported_at_first(shipped: Shipped, project: Path) -> None:
    (project / "test_before.py").write_text(BEFORE_AND_AFTER, encoding="utf-8")
    (project / "test_origin.py").write_text(
        "import sagalog_pytest\n\ndef test_it():\n"
        f"    assert sagalog_pytest.__file__.startswith({str(shipped.installed)!r})\n",
        encoding="utf-8",
    )

    counts, said = ran(shipped, project)

    assert counts == {"test_before.py": {"PASSED": 2}, "test_origin.py": {"PASSED": 1}}, said


def test_the_fixtures_are_what_the_page_says_and_its_tests_pass(shipped: Shipped, project: Path) -> None:
    (project / "test_fixtures.py").write_text(FIXTURES, encoding="utf-8")
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)):
        (project / f"test_page_{number}.py").write_text(block, encoding="utf-8")

    counts, said = ran(shipped, project)

    assert counts.pop("test_fixtures.py") == {"PASSED": 8}, said
    assert sum(counts.values(), Counter()) == {"PASSED": 5}, said


def test_a_run_may_leave_the_fixtures_out(shipped: Shipped, project: Path) -> None:
    (project / "test_it.py").write_text(LOADED + "def test_it():\n    assert loaded() == []\n", encoding="utf-8")

    counts, said = ran(shipped, project, "-p", "no:sagalog_pytest")

    assert counts == {"test_it.py": {"PASSED": 1}}, said
