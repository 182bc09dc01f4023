"""The documents tell the truth: their code runs, their links lead somewhere, and they name what there is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, ROOT, blocks_of, check_types
from tests.forked import Ended, Forks, forking

# As a word of a text: `CONTRIBUTING.md` names them in quotes, as those to avoid.
HIDDEN_SUBJECT = re.compile(
    r"(?<![\"`])\b(whoever|somebody|nobody|everybody|anybody|stands?|stood|comes by|came to)\b(?!-in)", re.IGNORECASE
)
BLOCKS = [
    pytest.param(block.code, id=f"{path.relative_to(ROOT)}-{block.number}")
    for path in DOCUMENTS
    for block in blocks_of(path)
]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking() as started:
        yield started


def ran(forks: Forks, folder: Path, code: str) -> Ended:
    """How the code ends in a process of its own, in a folder with nothing else in it."""
    example = folder / "empty" / "example.py"
    example.parent.mkdir()
    example.write_text(code, encoding="utf-8")
    return forks.run(example, streams=folder)


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_of_a_document_runs_in_an_empty_folder(forks: Forks, code: str, tmp_path: Path) -> None:
    done = ran(forks, tmp_path, code)

    assert done.status == 0, done.err


@pytest.mark.slow
def test_the_blocks_of_all_pages_run_twice_in_one_folder(forks: Forks, tmp_path: Path) -> None:
    """A reader tries one page after the other where the stores of the earlier ones are, and runs a block again."""
    failed = []
    for number, block in enumerate(block for _ in range(2) for page in as_read() for block in blocks_of(page)):
        program = tmp_path / "example.py"
        program.write_text(block.code, encoding="utf-8")
        if (done := forks.run(program, streams=tmp_path)).status != 0:
            failed.append(f"{number}: {block.document.name}, block {block.number}: {done.err[-500:]}")

    assert [] == failed


def as_read() -> list[Path]:
    """The README and the pages to which it links, in its order; then the rest."""
    readme = ROOT / "README.md"
    links = re.findall(r"\]\(([^)#:]+\.md)\)", readme.read_text(encoding="utf-8"))
    linked = [path for path in (ROOT / link for link in links) if path in DOCUMENTS]
    return list(dict.fromkeys([readme, *linked, *DOCUMENTS]))


@pytest.mark.parametrize(
    ("code", "said"),
    [("import sagalog\nsagalog.nothing\n", "no attribute 'nothing'"), ("raise SystemExit('no')\n", "no\n")],
)
def test_code_that_fails_is_found_out_with_its_reason(forks: Forks, code: str, said: str, tmp_path: Path) -> None:
    done = ran(forks, tmp_path, code)

    assert done.status == 1
    assert said in done.err


def test_the_example_of_the_readme_prints_what_the_readme_says(forks: Forks, tmp_path: Path) -> None:
    lines = ran(forks, tmp_path, next(blocks_of(ROOT / "README.md")).code).out.splitlines()

    assert ["undo delete-branch {'branch': 'fix/168'}", "undo remove-worktree {'path': 'wt/168'}"] == lines[:2]
    assert "compensated" == lines[2]
    assert 9 == len(lines[3:])
    assert "1 created None" == lines[3]
    assert "9 compensated worker:worker-2" == lines[-1]


def test_a_block_with_a_wrong_type_is_found_and_named_by_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "a-page.md"
    page.write_text("# A page\n\n```python\nright: int = 1\n```\n\n```python\n\nwrong: int = 'one'\n```\n", "utf-8")

    assert check_types([page]) == 1
    assert "a_page_2.py:9: error: Incompatible types in assignment" in capfd.readouterr().out


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))

    missing = [link for link in links if not (path.parent / link).exists()]

    assert [] == missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_who_acts(path: Path) -> None:
    """A sentence about `somebody` leaves open whether a worker, a caller or an operator is meant."""
    lines = path.read_text(encoding="utf-8").splitlines()

    hidden = [f"{number}: {line}" for number, line in enumerate(lines, 1) if HIDDEN_SUBJECT.search(line)]

    assert [] == hidden


@pytest.mark.parametrize("room", ["engine", "adapters", "bench", "tests"])
def test_the_comments_and_docstrings_of_the_code_name_who_acts(room: str) -> None:
    hidden = [
        f"{path.relative_to(ROOT)}: {text.strip()[:100]}"
        for path in sorted((ROOT / room).glob("**/*.py"))
        if HIDDEN_SUBJECT.search(code := path.read_text(encoding="utf-8"))
        for text in spoken(code)
        if HIDDEN_SUBJECT.search(text)
    ]

    assert [] == hidden


@pytest.mark.parametrize("room", ["engine", "adapters"])
def test_the_texts_of_errors_and_of_commands_name_who_acts(room: str) -> None:
    """The tests that are shipped with the engine use such words as names of what there is not."""
    texts = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value[:100]}"
        for path in sorted((ROOT / room).glob("**/*.py"))
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and HIDDEN_SUBJECT.search(node.value)
    ]

    assert [] == texts


def spoken(code: str) -> Iterator[str]:
    """The comments and docstrings of a module: what it says to people, and not what it works with."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from filter(None, [ast.get_docstring(node)])


def test_the_architecture_names_every_room() -> None:
    """A module that is added without its line in the map fails here."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    house = ROOT / "engine" / "sagalog"
    rooms = {path.stem for folder in (house, house / "engine") for path in folder.glob("*.py")} - {"__init__"}
    rooms |= {path.parent.name for path in house.glob("*/__init__.py")}
    rooms |= {path.name for path in (ROOT / "adapters").iterdir() if path.name.startswith("sagalog_")}

    unnamed = sorted(room for room in rooms if f"{room}`" not in text)

    assert [] == unnamed
