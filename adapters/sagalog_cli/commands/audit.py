"""The commands that go through a whole store: `verify`, `rebuild` and `prune`.

Rule: a command prints all that is wrong on standard output, and then raises an error of the branch `corrupt`: so a
script that looks at the status alone stops.
"""

from __future__ import annotations

import signal

import click

from sagalog import Corrupt
from sagalog_cli import arguments, json_output, render
from sagalog_cli.interrupts import heeding
from sagalog_cli.progress import bar
from sagalog_cli.session import LIMIT, Session, StoreCommand, pass_session
from sagalog_cli.tables import counted, show_line, show_table


@click.command("verify", cls=StoreCommand, short_help="Audit the log and every projection.")
@pass_session
def verify(session: Session) -> None:
    """Audit the whole store: every event's digest and place, and every projection against the log.

    It changes nothing. If it finds faults, the status is 8: keep the file with its -wal, and compare it with a backup.
    """
    with heeding(signal.SIGTERM), session.open() as engine, bar(session, "verify") as progress:
        report = engine.verify(progress.show)

    def show_report() -> None:
        read = f"{counted(report.events, 'event')} of {counted(report.tasks, 'task')} were read"
        show_line(f"{'ok' if report.ok else 'FAULTS'}: {read}")
        if report.pruned:
            show_line(f"pruned: {counted(report.pruned, 'blob')}, {counted(report.pruned_bytes, 'byte')}")
        show_table(render.faults(report.faults))

    session.answer(lambda: json_output.verified(report), show_report)
    if not report.ok:
        advice = "keep the file with its -wal and compare it with a backup; `rebuild` mends projections only"
        raise Corrupt(f"the audit found {counted(len(report.faults), 'fault')}", faults=len(report.faults), hint=advice)


@click.command("rebuild", cls=StoreCommand, short_help="Fold every projection afresh.")
@pass_session
def rebuild(session: Session) -> None:
    """Fold every projection afresh from the log; the log stays as it is.

    Use it if `verify` finds faults in projections only. If tasks cannot be read, the status is 8.
    """
    with heeding(signal.SIGTERM), session.open() as engine, bar(session, "rebuild") as progress:
        report = engine.rebuild(progress.show)

    def show_report() -> None:
        show_line(f"folded {counted(report.tasks, 'task')} afresh")
        for id in report.unreadable:
            show_line(f"unreadable: {id}")

    session.answer(lambda: json_output.rebuilt(report), show_report)
    if report.unreadable:
        found = len(report.unreadable)
        raise Corrupt(f"{counted(found, 'task')} cannot be read", unreadable=found, hint="`verify` says why")


@click.command("prune", cls=StoreCommand, short_help="Delete bytes that nothing needs any more.")
@click.option(
    "--older-than",
    "older_than_ms",
    metavar="DURATION",
    required=True,
    callback=arguments.duration,
    help="How long ago the tasks have to have ended, like 24h or 7d.",
)
@click.option("--queue", metavar="NAME", help="Only what tasks of this queue alone name.")
@click.option("--limit", metavar="N", type=LIMIT, help="At most so many blobs.  [default: all]")
@click.option("--dry-run", is_flag=True, help="Only say what it would delete.")
@pass_session
def prune(session: Session, older_than_ms: int, queue: str | None, limit: int | None, dry_run: bool) -> None:
    """Delete inputs, artifacts and other bytes that only tasks name which ended long ago.

    A task that succeeds one of them, is its parent, or has waited for it, counts too. The events stay, and `verify`
    counts what was pruned. It may be broken off: the next call goes on.
    """
    with heeding(signal.SIGTERM), session.open() as engine, bar(session, "prune") as progress:
        report = engine.prune(older_than_ms, queue=queue, limit=limit, dry_run=dry_run, progress=progress.show)

    def show_report() -> None:
        what = f"{counted(report.blobs, 'blob')} of {counted(report.tasks, 'task')}"
        show_line(f"{'would prune' if dry_run else 'pruned'} {what}, {counted(report.size_bytes, 'byte')}")

    session.answer(lambda: json_output.pruned(report), show_report)
