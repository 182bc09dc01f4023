"""What the demo tells: a table of what happened, the life of one task, and how fast it went.

Rule: everything here is read from the evidence and its findings. One shape serves people and `--json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sagalog import Recorded
from sagalog.kernel import events as e
from sagalog_cli import shapes
from sagalog_cli.demo_checks import Finding, check
from sagalog_cli.demo_evidence import Evidence
from sagalog_cli.screen import Cell, Table, show_line, show_table
from sagalog_cli.timeline import timeline
from sagalog_cli.times import duration

# `sagalog history` shows the whole; here one line an event is enough.
_DETAILS_CHARACTERS_MAX: Final = 72


@dataclass(frozen=True)
class Throughput:
    """How fast it went while there was untouched work to claim: from the first lease to the last first lease."""

    workers: int
    durability: str
    span_ms: int
    tasks: int
    events: int

    @property
    def tasks_per_second(self) -> float:
        """Tasks that ended within the span."""
        return round(1_000 * self.tasks / max(self.span_ms, 1), 1)

    @property
    def events_per_second(self) -> float:
        """Events within the span."""
        return round(1_000 * self.events / max(self.span_ms, 1), 1)


@dataclass(frozen=True)
class Report:
    """All that one demo has to tell; `file` is None where it was not kept."""

    seed: int
    file: str | None
    elapsed_ms: int
    findings: Sequence[Finding]
    task: str
    history: Sequence[Recorded]
    refused: Sequence[str]
    throughput: Throughput

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
            "seed": self.seed,
            "file": self.file,
            "elapsed_ms": self.elapsed_ms,
            "findings": {
                one.name: {"happened": one.happened, "count": one.count, "what": one.what, "faults": list(one.faults)}
                for one in self.findings
            },
            "timeline": {
                "task": self.task,
                "events": [shapes.recorded(one, full=False) for one in self.history],
                "refused": list(self.refused),
            },
            "throughput": {
                **asdict(self.throughput),
                "tasks_per_second": self.throughput.tasks_per_second,
                "events_per_second": self.throughput.events_per_second,
            },
            "missing": self.missing,
        }


def report(evidence: Evidence, *, seed: int, durability: str, file: str | None, elapsed_ms: int) -> Report:
    """Judge the evidence and put together what there is to tell; its task is the one that saw most: the sleeper's."""
    task = next(iter(evidence.sleeper.holding), "")
    refused = [verb for verb, outcome in evidence.late.get(task, {}).items() if outcome == "lease_lost"]
    return Report(
        seed=seed,
        file=file,
        elapsed_ms=elapsed_ms,
        findings=check(evidence),
        task=task,
        history=evidence.histories.get(task, ()),
        refused=refused,
        throughput=throughput(evidence.log, evidence.racing, durability),
    )


def throughput(log: Sequence[Recorded], racing: Sequence[str], durability: str) -> Throughput:
    """Count over the time in which there was untouched work, so that waiting for a lost lease is not counted."""
    seen: set[str] = set()
    firsts: list[Recorded] = []
    for one in log:
        if isinstance(one.event, e.Leased) and one.stream not in seen:
            seen.add(one.stream)
            if one.event.owner in racing:
                firsts.append(one)
    if not firsts:
        return Throughput(len(racing), durability, 0, 0, 0)
    begin, end = firsts[0], firsts[-1]
    span = [one for one in log if begin.position <= one.position <= end.position]
    ended = sum(isinstance(one.event, e.Completed | e.Compensated | e.Quarantined) for one in span)
    return Throughput(len(racing), durability, end.at_ms - begin.at_ms, ended, len(span))


def show(told: Report) -> None:
    """Print the report for people."""
    show_line("")
    show_table(Table(("what happened", "how many", ""), [_row(one) for one in told.findings]))
    show_line("")
    show_line(f"the life of task {told.task}:")
    show_table(_life(told.history))
    if told.refused:
        show_line(f"refused when its first holder woke up: {', '.join(told.refused)}")
    show_line("")
    speed = told.throughput
    show_line(
        f"while there was work to claim, {speed.workers} workers ended {speed.tasks_per_second:.0f} tasks and wrote "
        f"{speed.events_per_second:.0f} events a second (durability {speed.durability}: each commit waits for the disk)"
    )
    kept = f"the log is in {told.file}" if told.file else "the log was in a temporary file; --keep PATH keeps it"
    show_line(f"{kept}; seed {told.seed}; {duration(told.elapsed_ms)}")


def _row(finding: Finding) -> tuple[Cell | str, ...]:
    mark = Cell("✓", "green") if finding.happened else Cell("✗", "bold red")
    return finding.sentence, _counted(finding.count, finding.what), mark


def _life(history: Sequence[Recorded]) -> Table:
    """The timeline that `sagalog history` shows, without the columns that tell nothing here."""
    head, rows = timeline(history, full=False)
    kept = [place for place, name in enumerate(head) if name in ("SINCE", "EVENT", "ACTOR", "DETAILS")]
    return Table((), [[_clipped(row[place]) for place in kept] for row in rows])


def _clipped(cell: Cell | str) -> Cell | str:
    if isinstance(cell, Cell) or len(cell) <= _DETAILS_CHARACTERS_MAX:
        return cell
    return cell[: _DETAILS_CHARACTERS_MAX - 1] + "…"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
