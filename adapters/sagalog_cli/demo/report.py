"""The report of the demo: the table of checks, what to try next, and each failed check in full.

Rule: it reads the findings and the histories, and nothing else. One shape serves people and `--json`.
The report and the narration before it fit a screen of 80 columns and 24 lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import Any, Final

import click

from sagalog import Recorded
from sagalog_cli import json_output
from sagalog_cli.demo.command_lines import CommandLines
from sagalog_cli.demo.findings import Finding
from sagalog_cli.demo.tasks import RESUMED
from sagalog_cli.tables import Cell, Table, printable, show_line, show_table
from sagalog_cli.timeline import timeline

# `sagalog history` shows the whole; here one line an event is enough.
_DETAILS_CHARACTERS_MAX: Final = 72
# Two checks share a line where a terminal is so wide, and always in a pipe.
_TWO_COLUMNS_WIDTH: Final = 80
_PASSED: Final = Cell("✓", "green")
_FAILED: Final = Cell("✗", "bold red")


@dataclass(frozen=True)
class Report:
    """All that one demo has to tell; its files are in `folder`."""

    folder: str
    elapsed_ms: int
    findings: Sequence[Finding]
    histories: Mapping[str, Sequence[Recorded]]

    @property
    def failed(self) -> list[Finding]:
        """The checks that have failed, in order."""
        return [one for one in self.findings if not one.passed]

    def document(self) -> dict[str, Any]:
        """Give the report for programs."""
        return {
            "ok": not self.failed,
            "folder": self.folder,
            "elapsed_ms": self.elapsed_ms,
            "findings": {
                one.name: {
                    "happened": one.passed,
                    "count": one.count,
                    "what": one.noun,
                    "expected": one.expected,
                    "faults": list(one.faults),
                }
                for one in self.findings
            },
            "histories": {
                task: [json_output.recorded(one, full=False) for one in events]
                for task, events in self.histories.items()
            },
            "missing": [f"{one.expected}: {'; '.join(one.seen)}" for one in self.failed],
        }


def show(report: Report, commands: CommandLines, full: bool) -> None:
    """Print the report for people; with `full` the history of each task and what each check expects."""
    if full:
        for task, events in report.histories.items():
            show_line("")
            show_line(f"history of task {task}:")
            show_table(_shortened(events))
    show_line("")
    show_table(_in_full(report.findings) if full else _on_one_screen(report.findings))
    show_line("")
    passed = f"{len(report.findings) - len(report.failed)} of {len(report.findings)}"
    show_line(f"{passed} checks passed in {report.elapsed_ms / 1_000:.1f} s. The folder of the demo is kept; try next:")
    for line in (commands.of(("sagalog", "list")), commands.of(("sagalog", "history", RESUMED)), commands.removal()):
        show_line(f"  {line}")


def show_failed(report: Report, commands: CommandLines) -> None:
    """Print each failed check to standard error: what was expected, what was seen, and where to look."""
    for one in report.failed:
        click.echo("", err=True)
        click.echo(f"check {one.name} failed", err=True)
        for name, text in _explained(one, commands):
            click.echo(f"  {name:<8}  {printable(text)}", err=True)


def _explained(one: Finding, commands: CommandLines) -> Iterator[tuple[str, str]]:
    yield "expected", one.expected
    for place, text in enumerate(one.seen):
        yield "" if place else "seen", text
    for place, words in enumerate(one.look):
        yield "" if place else "look at", commands.of(words)


def _on_one_screen(findings: Sequence[Finding]) -> Table:
    """Lay the checks out in two columns, the first half on the left; in one where the terminal is narrow."""
    cells = [_marked(one) for one in findings]
    if sys.stdout is not None and sys.stdout.isatty() and get_terminal_size().columns < _TWO_COLUMNS_WIDTH:
        return Table((), cells)
    half = (len(cells) + 1) // 2
    right = [*cells[half:], *[(" ", " ")] * (len(cells) % 2)]
    return Table((), [[*one, *other] for one, other in zip(cells[:half], right, strict=True)])


def _in_full(findings: Sequence[Finding]) -> Table:
    rows = [(_marked(one)[0], one.name, "; ".join(one.seen), one.expected) for one in findings]
    return Table((" ", "CHECK", "SEEN", "EXPECTED"), rows)


def _marked(one: Finding) -> tuple[Cell | str, ...]:
    return (_PASSED, one.phrase) if one.passed else (_FAILED, Cell(one.name, "bold red"))


def _shortened(events: Sequence[Recorded]) -> Table:
    """Make the timeline that `sagalog history` shows, without the columns that tell nothing here."""
    head, rows, *_ = timeline(events, full=False, beside={})
    kept = [place for place, name in enumerate(head) if name in ("SINCE", "EVENT", "ACTOR", "DETAILS")]
    return Table((), [[_clipped(row[place]) for place in kept] for row in rows])


def _clipped(cell: Cell | str) -> Cell | str:
    if isinstance(cell, Cell) or len(cell) <= _DETAILS_CHARACTERS_MAX:
        return cell
    return cell[: _DETAILS_CHARACTERS_MAX - 1] + "…"
