"""`docs/reference.md` is what the docstrings give, and a reader finds every public name in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagalog import SagalogError
from sagalog_cli.render import exit_status
from tests.reference import surface, tables
from tests.reference.constants import section
from tests.reference.limits import ROOT, all_bounds
from tests.reference.signatures import signature_of
from tests.reference.writing import COMMAND, anchor, reference

WRITTEN = ROOT / "docs" / "reference.md"


@pytest.fixture(scope="module")
def text() -> str:
    return reference()


def anchors_of(text: str) -> list[str]:
    """The anchors of the headings of a document, without what is code."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)]


def test_the_reference_in_the_documents_is_what_the_docstrings_give(text: str) -> None:
    assert WRITTEN.read_text(encoding="utf-8") == text, f"run `{COMMAND}`"


def test_another_process_writes_the_same_bytes(text: str, tmp_path: Path) -> None:
    """Sets of strings come in another order there, and objects lie elsewhere."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}

    subprocess.run(
        [sys.executable, "-m", "tests.reference", tmp_path / "new.md"], env=environment, cwd=ROOT, check=True
    )

    assert (tmp_path / "new.md").read_text(encoding="utf-8") == text
    assert re.findall(r"\bat 0x[0-9a-f]+", text) == []


def test_every_link_leads_to_a_heading(text: str) -> None:
    anchors = anchors_of(text)
    links = re.findall(r"\]\(#([^)]+)\)", text)
    rules = re.findall(r"^\[[A-Z]+-\d+\]: \.\./specs/rules\.md#(.+)$", text, re.MULTILINE)

    assert len(anchors) == len(set(anchors))
    assert set(links) - set(anchors) == set()
    assert set(rules) - set(anchors_of(tables.rules_text())) == set()


def test_every_rule_that_is_cited_has_a_link(text: str) -> None:
    cited = set(re.findall(r"\[([A-Z]+-\d+)\](?!:)", text))

    assert cited == set(re.findall(r"^\[([A-Z]+-\d+)\]:", text, re.MULTILINE))


@pytest.mark.parametrize("module", surface.MODULES)
def test_the_headings_of_a_module_hold_its_public_names_and_no_other(module: str) -> None:
    headed = [name for names in surface.MODULES[module].values() for name in names]
    public = surface.shown_by(module)
    # Errors have tables of their own, and what an earlier module shows is told there.
    elsewhere = {name for name in public if surface.name_of(module, name).is_error}
    elsewhere |= {"Worker"} if module == "sagalog.worker" else set()

    assert len(headed) == len(set(headed))
    assert not headed or set(headed) == set(public) - elsewhere


def test_every_public_name_has_a_section_or_a_row_among_the_errors(text: str) -> None:
    for one in surface.all_names():
        is_row = one.is_error and one.found is not SagalogError
        begin = f"| `{one.name}` |" if is_row else f"### {one.heading}"
        assert f"\n{begin}" in text, one.title


def test_the_tables_of_errors_tell_code_branch_and_exit_status(text: str) -> None:
    for branch in SagalogError.__subclasses__():
        told = text.split(f"\n### `{branch.__name__}`\n")[1].split("\n### ")[0]

        for kind in tables.errors_of(branch):
            assert f"| `{kind.__name__}` | `{kind.code}` | {exit_status(kind(''))} |" in told


def test_the_table_of_limits_tells_number_and_rule(text: str) -> None:
    for one in all_bounds().values():
        assert f"| `{one.name}` | {one.value:,} |" in text
        assert f"[{one.rule}]" in text


def test_a_row_of_several_arguments_tells_each_limit_once(text: str) -> None:
    told = text.split("\n#### `Engine.amend`\n")[1].split("\n#### ")[0]

    limits = "`queue`, `affinity`, `key`: 200 characters; `priority`: -2,147,483,648 to 2,147,483,647"
    assert f"worker holds it. | {limits} |" in told
    assert re.findall(r"`: `[^|]*\|$", text, re.MULTILINE) == []


def test_the_contents_list_no_more_than_a_screen_of_names_together(text: str) -> None:
    contents = text.split("\n## Contents\n")[1].split("\n## ")[0]

    assert max(line.count("](#") for line in contents.splitlines()) <= 24


def test_a_default_is_plain_data_or_a_public_name() -> None:
    class Other:
        pass

    other = Other()

    def call(text: str = "a", number: int = 30_000, several: tuple[str, ...] = (), public: Other = other) -> None:
        del text, number, several, public

    several = "several: tuple[str, ...] = ()"
    assert signature_of(call, "call", {id(other): "OTHER"}) == "\n".join(
        [
            "call(",
            '    text: str = "a",',
            "    number: int = 30_000,",
            f"    {several},",
            "    public: Other = OTHER,",
            ") -> None",
        ]
    )
    assert "public: Other = …" in signature_of(call, "call", {})


def test_a_constant_is_shown_with_the_comment_above_it() -> None:
    shown = "\n".join(section(surface.name_of("sagalog.store", "OPEN")))

    assert 'OPEN = frozenset({"ready", "ready_alone", "undo", "undo_alone"})' in shown
    assert "The gates at which a worker may claim a task." in shown
