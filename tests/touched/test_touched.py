"""What a new event, category or store touches is no more than the documents say, and it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sagalog
from tests.touched import __main__ as command
from tests.touched import counted, naming, reranked
from tests.touched.copies import ROOT, Change, changed, run, without

RERANKED: Change = {**reranked.EVENT, **reranked.CALL}
COUNTED: Change = {**counted.CATEGORY, **counted.CALL}
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def sampled(change: Change) -> list[Any]:
    """Every other file for the gate; the campaign leaves out each of them."""
    return [pytest.param(file, marks=[pytest.mark.slow] if number % 2 else []) for number, file in enumerate(change)]


@pytest.fixture(scope="module")
def reranked_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the engine with the made-up event."""
    return changed(tmp_path_factory.mktemp("reranked"), RERANKED)


@pytest.fixture(scope="module")
def counted_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the engine with the made-up category."""
    return changed(tmp_path_factory.mktemp("counted"), COUNTED)


def broken_promise(folder: Path, engine: Path, program: str) -> str:
    """What a copy of the engine with a change does not keep; empty: it keeps all."""
    ended = run(program, engine, f"sqlite:///{folder / 'log.db'}")
    return ended.stderr if ended.returncode else ""


def is_read_by_this_version(folder: Path) -> bool:
    """Whether this version, which has no such event, makes something of the task that was reranked. [LOG-5]"""
    with sagalog.open(f"sqlite:///{folder / 'log.db'}", create=False) as engine:
        try:
            return engine.get("second") is not None
        except sagalog.Corrupt:
            return False


def test_a_made_up_event_touches_six_files_and_its_call_six_more(reranked_engine: Path, tmp_path: Path) -> None:
    assert len(reranked.EVENT) <= 6
    assert len(reranked.CALL) <= 6
    assert broken_promise(tmp_path, reranked_engine, "tests.touched.reranking") == ""
    assert not is_read_by_this_version(tmp_path)


@pytest.mark.parametrize("file", sampled(RERANKED))
def test_an_event_needs_each_of_the_files_that_it_touches(reranked_engine: Path, tmp_path: Path, file: str) -> None:
    engine = without(tmp_path / "engine", reranked_engine, file)
    is_broken = broken_promise(tmp_path, engine, "tests.touched.reranking") != ""
    assert is_broken or is_read_by_this_version(tmp_path)


def test_a_made_up_category_touches_nine_files_with_its_command(counted_engine: Path, tmp_path: Path) -> None:
    assert len(counted.CATEGORY) <= 5
    assert len(COUNTED) <= 9
    assert broken_promise(tmp_path, counted_engine, "tests.touched.counting") == ""


@pytest.mark.parametrize("file", sampled(COUNTED))
def test_a_category_needs_each_of_the_files_that_it_touches(counted_engine: Path, tmp_path: Path, file: str) -> None:
    engine = without(tmp_path / "engine", counted_engine, file)
    assert broken_promise(tmp_path, engine, "tests.touched.counting") != ""


def test_a_store_imports_the_kit_and_the_errors_of_sagalog_only() -> None:
    assert set(naming.imported(ROOT / "adapters" / "sagalog_sqlite")) == {"sagalog.store", "sagalog.errors"}


def test_files_that_name_something_are_found_by_names_and_strings(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text('"""Of Noted."""\nimport sagalog.store\nx = e.Signalled  # ArtifactPut\ny = "parked"\n')
    assert naming.named(path).names & {"Noted", "Signalled", "ArtifactPut"} == {"Signalled"}
    assert "parked" in naming.named(path).strings
    assert naming.imported(tmp_path) == {"sagalog.store": ["some.py"]}
    called = naming.events()
    assert [called[name] for name in ("noted", "artifact_put", "retried", "promoted")] == [
        {"Noted", "c.Note"},
        {"ArtifactPut", "c.PutArtifact"},
        {"Retried", "c.Retry"},
        {"Promoted"},
    ]


def test_the_command_prints_a_row_an_event_and_what_a_new_one_touches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All tests of the tree are as many files as all other rooms together.
    monkeypatch.setitem(naming.ROOMS, "tests", (("tests/touched",), ()))
    command.show()
    lines = capsys.readouterr().out.splitlines()
    first_words = {line.split()[0] for line in lines if line}
    assert {*naming.events(), "largest", "median", "sagalog.store", "store"} <= first_words
    assert [line.split()[0] for line in lines if " files   " in line] == ["6", "6", "5", "4"]


def test_the_architecture_names_the_command_and_each_file_that_it_counts() -> None:
    assert "python -m tests.touched" in ARCHITECTURE
    assert [file for file in {**RERANKED, **COUNTED} if f"`{file}`" not in ARCHITECTURE] == [
        "kernel/decide/counters.py"
    ]
