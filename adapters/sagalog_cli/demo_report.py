"""What the demo tells: the life of each task, and a table of what was checked.

Rule: everything here is read from the evidence and its findings. One shape serves people and `--json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sagalog import Recorded
from sagalog_cli import json_output
from sagalog_cli.demo_audit import Finding
from sagalog_cli.demo_checks import check
from sagalog_cli.demo_evidence import Evidence
from sagalog_cli.tables import Cell, Table, show_line, show_table
from sagalog_cli.timeline import timeline
from sagalog_cli.times import duration

# `sagalog history` shows the whole; here one line an event is enough.
_DETAILS_CHARACTERS_MAX: Final = 72


@dataclass(frozen=True)
class Report:
    """All that one demo has to tell; `folder` is None where it was not kept."""

    folder: str | None
    elapsed_ms: int
    findings: Sequence[Finding]
    histories: Mapping[str, Sequence[Recorded]]

    @property
    def missing(self) -> list[str]:
        """What did not happen, one sentence each; empty where all is well."""
        return [
            f"{one.sentence}: {'; '.join(one.faults) or 'it never happened'}"
            for one in self.findings
            if not one.happened
        ]

    def document(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "ok": not self.missing,
            "folder": self.folder,
            "elapsed_ms": self.elapsed_ms,
            "findings": {
                one.name: {"happened": one.happened, "count": one.count, "what": one.what, "faults": list(one.faults)}
                for one in self.findings
            },
            "histories": {
                task: [json_output.recorded(one, full=False) for one in history]
                for task, history in self.histories.items()
            },
            "missing": self.missing,
        }


def report(evidence: Evidence, *, folder: str | None, elapsed_ms: int) -> Report:
    """Judge the evidence and put together what there is to tell."""
    return Report(folder, elapsed_ms, check(evidence), evidence.histories)


def show(told: Report) -> None:
    """Print the report for people: the life of each task, and what was checked at the end."""
    for task, history in told.histories.items():
        show_line("")
        show_line(f"the life of task {task}:")
        show_table(_life(history))
    show_line("")
    show_table(Table(("what happened", "how many", ""), [_row(one) for one in told.findings]))
    show_line("")
    where = told.folder or "a temporary folder; --keep FOLDER keeps it"
    show_line(f"log, repository and worktrees were in {where}; {duration(told.elapsed_ms)}")


def _row(finding: Finding) -> tuple[Cell | str, ...]:
    mark = Cell("✓", "green") if finding.happened else Cell("✗", "bold red")
    return finding.sentence, _counted(finding.count, finding.what), mark


def _life(history: Sequence[Recorded]) -> Table:
    """The timeline that `sagalog history` shows, without the columns that tell nothing here."""
    head, rows, _ = timeline(history, full=False, beside={})
    kept = [place for place, name in enumerate(head) if name in ("SINCE", "EVENT", "ACTOR", "DETAILS")]
    return Table((), [[_clipped(row[place]) for place in kept] for row in rows])


def _clipped(cell: Cell | str) -> Cell | str:
    if isinstance(cell, Cell) or len(cell) <= _DETAILS_CHARACTERS_MAX:
        return cell
    return cell[: _DETAILS_CHARACTERS_MAX - 1] + "…"


def _counted(count: int, noun: str) -> str:
    several = {"child": "children"}.get(noun, f"{noun}s")
    return f"{count} {noun if count == 1 else several}"
