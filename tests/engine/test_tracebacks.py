"""The lines of a traceback: the user's own frames first, the innermost at the top, and not too many of them."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sagalog
import sagalog_queue
from sagalog.outcomes import failure_of
from sagalog.tracebacks import CHARACTERS_MAX, lines_of

OWN = """
import asyncio, json
import traced_library

def fall(given):
    return 1 / given

def build(context, payload):
    return context.step("divide", fall, 0)

def ask(context, payload):
    return traced_library.ask(payload)

def read(context, payload):
    return json.loads("{")

async def several(context, payload):
    await asyncio.wait_for(later(), 10)

async def later():
    await asyncio.sleep(0)
    fall(0)

def deeper(depth):
    return deeper(depth - 1) if depth else fall(0)

def use(context, payload):
    context.use("nolimit", 1)
"""
LIBRARY = """
def ask(what):
    return refuse(what)

def refuse(what):
    raise ConnectionError(what)

def handler(context, payload):
    return ask(payload)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the user's, or one that is installed."""
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "traced_library.py").write_text(LIBRARY, encoding="utf-8")
    (tmp_path / "traced_tasks.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module
    for name in ("traced_tasks", "traced_library"):
        sys.modules.pop(name, None)


def recorded(handler: Any, payload: Any = None, url: str = "memory:") -> list[str]:
    """The lines that are on record of a handler that has failed, each place without its folder."""
    worker = sagalog.Worker()
    worker.task("do")(handler)
    with sagalog.open(url) as engine:
        id = engine.create("do", payload, retry=sagalog.Retry(attempts_max=1), waive_compensation="none").id
        worker.run(engine, until="idle", handle_signals=False)
        task = engine.get(id)
    assert task is not None
    assert task.error is not None
    return [short(line) for line in task.error.details["traceback"]]


def short(line: str) -> str:
    before, file, after = line.partition('File "')
    path, quote, rest = after.partition('"')
    return f"{before}{file}{Path(path).name}{quote}{rest}" if file else line


def test_the_innermost_frame_of_the_user_comes_first_and_none_of_sagalog(modules: Callable[[str], ModuleType]) -> None:
    lines = recorded(modules("traced_tasks").build)

    assert lines == [
        'File "traced_tasks.py", line 6, in fall',
        "    return 1 / given",
        'File "traced_tasks.py", line 9, in build',
        '    return context.step("divide", fall, 0)',
    ]


def test_the_frames_of_an_installed_package_come_after_those_of_the_user(modules: Callable[[str], ModuleType]) -> None:
    lines = recorded(modules("traced_tasks").ask, "no")

    assert [line for line in lines if line.startswith("File")] == [
        'File "traced_tasks.py", line 12, in ask',
        'File "traced_library.py", line 6, in refuse',
        'File "traced_library.py", line 3, in ask',
    ]


def test_the_frames_of_the_standard_library_come_after_those_of_the_user(modules: Callable[[str], ModuleType]) -> None:
    lines = recorded(modules("traced_tasks").read)

    assert lines[:2] == ['File "traced_tasks.py", line 15, in read', '    return json.loads("{")']
    assert [line for line in lines[2:] if line.startswith("File")][-1].startswith('File "__init__.py"')


def test_the_package_of_an_installed_handler_is_the_users_own(modules: Callable[[str], ModuleType]) -> None:
    lines = recorded(modules("traced_library").handler, "no")

    assert [line for line in lines if line.startswith("File")] == [
        'File "traced_library.py", line 6, in refuse',
        'File "traced_library.py", line 3, in ask',
        'File "traced_library.py", line 9, in handler',
    ]


def test_the_frames_of_the_store_below_a_call_of_the_handler_are_left_out(
    modules: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    lines = recorded(modules("traced_tasks").use, url=f"sqlite:///{tmp_path / 'log.db'}")

    assert lines == [
        'File "traced_tasks.py", line 28, in use',
        '    context.use("nolimit", 1)',
    ]


def test_the_frames_of_an_adapter_are_told_where_it_is_the_handler() -> None:
    with pytest.raises(sagalog.InvalidValue) as raised:
        sagalog_queue.open_queue("memory:", visibility_ms=0)
    assert raised.tb.tb_next is not None

    lines = [short(line) for line in lines_of(raised.tb.tb_next)]

    assert lines[0].startswith('File "fifo.py"')
    assert not any('File "arguments.py"' in line for line in lines)


def test_what_runs_coroutines_is_left_out(modules: Callable[[str], ModuleType]) -> None:
    lines = recorded(modules("traced_tasks").several)

    assert [line for line in lines if line.startswith("File")] == [
        'File "traced_tasks.py", line 6, in fall',
        'File "traced_tasks.py", line 22, in later',
        'File "traced_tasks.py", line 18, in several',
    ]


def test_where_there_are_only_frames_of_sagalog_they_are_told() -> None:
    with pytest.raises(sagalog.InvalidValue) as raised:
        sagalog.Worker(concurrency=0)
    assert raised.tb.tb_next is not None

    assert [line for line in map(short, lines_of(raised.tb.tb_next)) if line.endswith(("__init__", "check_integer"))]


def test_a_frame_that_calls_itself_again_and_again_is_told_once(modules: Callable[[str], ModuleType]) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        modules("traced_tasks").deeper(500)

    lines = [short(line) for line in lines_of(raised.tb)]

    assert lines[2:5] == [
        'File "traced_tasks.py", line 25, in deeper',
        "    return deeper(depth - 1) if depth else fall(0)",
        "    … and 500 times more",
    ]


def test_a_long_traceback_loses_its_outermost_lines_and_says_how_many() -> None:
    code = "def f0(): raise ValueError('é' * 10)\n" + "".join(f"def f{n}(): f{n - 1}()\n" for n in range(1, 400))
    names: dict[str, Any] = {}
    exec(compile(code, "é" * 200, "exec"), names)  # noqa: S102
    with pytest.raises(ValueError, match="é") as raised:
        names["f399"]()

    lines = lines_of(raised.tb)

    assert lines[0].endswith("line 1, in f0")
    assert lines[-1].startswith("… and ")
    assert int(lines[-1].split()[2]) + len(lines) - 1 >= 400
    assert sum(map(len, lines)) <= CHARACTERS_MAX + 100
    assert len(json.dumps(lines)) < 64 * 1024


def test_an_exception_that_was_never_raised_has_no_lines() -> None:
    assert failure_of(ValueError("no")).details == {"traceback": []}
