"""What `sagalog demo` tells: the layout of its report, and a failed check in full, with where to look."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sagalog_cli.demo.checks import CHECKS, check
from sagalog_cli.demo.command import demo
from sagalog_cli.demo.command_lines import CommandLines
from sagalog_cli.demo.errors import DemoFailed
from sagalog_cli.demo.evidence import Evidence
from sagalog_cli.demo.findings import finding
from sagalog_cli.demo.report import Report, show
from sagalog_cli.demo.scenario import Scenario
from sagalog_cli.demo.tasks import RESUMED
from tests.adapters.demo.broken_evidence import accepted
from tests.adapters.demo.story import tell_story

COLUMNS, TABLE_LINES = 80, 8


@pytest.fixture(scope="module")
def good() -> Evidence:
    return tell_story().evidence()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def run_with(evidence: Evidence | DemoFailed, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    """Run the command with a scenario that gives this evidence at once, or raises this error."""

    def run(_: Scenario) -> Evidence:
        if isinstance(evidence, DemoFailed):
            raise evidence
        return evidence

    monkeypatch.setattr(Scenario, "run", run)
    return CliRunner().invoke(demo, list(options))


def test_each_check_takes_half_a_line_whether_it_passes_or_fails(
    good: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the larger counts that a busy machine brings, and with every check failed."""
    large = ("lease", "fence", "event")
    many = [dataclasses.replace(one, count=999) if one.noun in large else one for one in check(good)]
    failed = [dataclasses.replace(one, faults=("it went wrong",)) for one in check(good)]

    for findings in (many, failed):
        show(Report("kept", 12_345, findings, {}), CommandLines(Path("kept")), full=False)
        table = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("✓", "✗"))]

        assert len(table) == TABLE_LINES
        assert max(map(len, table)) <= COLUMNS, table


@pytest.mark.parametrize("option", ["", "--full"])
def test_where_no_terminal_is_the_report_is_plain_and_full_if_asked_for(
    good: Evidence, folder: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    answer = run_with(good, monkeypatch, "--folder", str(folder), *([option] if option else []))

    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "\x1b" not in answer.stdout
    lines = answer.stdout.splitlines()
    assert lines[0].endswith(str(folder))
    assert answer.stdout.count("✓") == len(CHECKS)
    names = [line.split()[1] for line in lines if line.startswith("✓")]
    assert (names == [one.__name__ for one in CHECKS]) == (option == "--full")
    assert (f"history of task {RESUMED}:" in lines) == (option == "--full")


def test_a_failed_check_is_told_in_full_and_the_demo_exits_with_1(
    good: Evidence, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run_with(accepted(good), monkeypatch, "--folder", str(folder))

    assert answer.exit_code == 1
    assert answer.stdout.count("✗") == 1
    assert answer.stdout.count("✓") == len(CHECKS) - 1
    assert f"{len(CHECKS) - 1} of {len(CHECKS)} checks passed" in answer.stdout
    told = [line.strip() for line in answer.stderr.splitlines() if line]
    assert told == [
        "check late_writes_were_refused failed",
        "expected  once the lease of late-holder has expired, the store refuses all 7 verbs of a holder, "
        "the log holds none of them, and another worker completes the task",
        "seen      the late complete was accepted",
        f"look at   {sys.executable} -m sagalog_cli history late --db {folder}/log.db",
    ]
    assert (folder / "log.db").exists()


def test_a_program_is_told_of_a_failed_check_on_standard_output(
    good: Evidence, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = run_with(accepted(good), monkeypatch, "--folder", str(folder), "--json")

    assert (answer.exit_code, answer.stderr) == (1, "")
    document = json.loads(answer.stdout)
    assert not document["ok"]
    assert document["folder"] == str(folder)
    assert len(document["missing"]) == 1
    assert document["findings"]["late_writes_were_refused"]["faults"] == ["the late complete was accepted"]


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_demo_that_could_not_go_on_says_why_and_where_its_files_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    options = ["--folder", str(folder), *([option] if option else [])]
    answer = run_with(DemoFailed("worker-1 ended by itself"), monkeypatch, *options)

    assert answer.exit_code == 1
    assert folder.exists()
    if option:
        assert json.loads(answer.stdout) == {
            "ok": False,
            "folder": str(folder),
            "missing": ["worker-1 ended by itself"],
        }
    else:
        assert "did not come to its end: worker-1 ended by itself" in answer.stderr
        assert f"rm -rf {folder}" in answer.stderr


def test_command_lines_name_the_store_the_repository_or_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["elsewhere/sagalog", "demo"])
    commands = CommandLines(Path("/a folder"))

    assert commands.of(("sagalog", "list")) == "elsewhere/sagalog list --db '/a folder/log.db'"
    assert commands.of(("git", "branch")) == "git -C '/a folder/repository' branch"
    assert commands.of(("cat", "journal")) == "cat '/a folder/journal'"
    assert commands.removal() == "rm -rf '/a folder'"


def test_a_count_of_one_has_a_noun_in_the_singular() -> None:
    phrases = [finding("n", "e", count, "child", "came", faults=(), look=()).phrase for count in (1, 2)]

    assert phrases == ["1 child came", "2 children came"]
