"""`sagalog demo`: the options, the narration, and every way in which the demo ends.

Rule: no process is left behind, and no folder whose name was not printed, whether the demo succeeds, fails or is
interrupted. `scenario` says what the demo does, and `checks` what must be true afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import click

import sagalog
from sagalog import Engine, SagalogError, Unavailable
from sagalog_cli.demo.checks import check
from sagalog_cli.demo.command_lines import STORE, CommandLines
from sagalog_cli.demo.errors import DemoFailed
from sagalog_cli.demo.evidence import Evidence
from sagalog_cli.demo.folders import DemoFolder
from sagalog_cli.demo.interruptions import Interruptions
from sagalog_cli.demo.report import Report, show, show_failed
from sagalog_cli.demo.repository import is_installed
from sagalog_cli.demo.scenario import Scenario
from sagalog_cli.demo.worker_processes import WorkerProcesses
from sagalog_cli.session import OutputFailed, Session, pass_session
from sagalog_cli.tables import printable, show_line

# Some twenty times what the demo takes on an idle machine.
_LIMIT_S: Final = 60
_FAILED: Final = 1


@click.command("demo")
@click.option(
    "--folder",
    "wanted",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Make the store, the repository and the worktrees in this folder, which must not exist yet.  "
    "[default: a new temporary folder]",
)
@click.option("--full", is_flag=True, help="Also print the history of each task, and what each check expects.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the narration.")
@pass_session
def demo(session: Session, wanted: Path | None, full: bool, as_json: bool) -> None:
    """Kill a worker in the middle of a step, and check that no work is lost, repeated or left behind.

    Tasks make branches and worktrees in a git repository of the demo's own, and build in them. Real worker processes
    run the tasks. SIGKILL ends one worker in a step, and another goes on after the recorded steps. A holder whose lease
    has expired is refused. One task fails and is undone. One has an undo that no worker knows, and is quarantined. One
    waits for a signal, and one for its children. Then the demo checks the log, git and the disk.

    The store stays, so that you can look at it; the last lines say where it is and how to remove it.

    Exits with 1 if a check fails, and says what it expected and saw.
    """
    if wanted is not None and os.path.lexists(wanted):
        raise click.UsageError(f"--folder {wanted}: it exists already, and the demo needs a new folder")
    if not is_installed():
        advice = "on Debian: apt-get install git"
        raise Unavailable("the demo works on a git repository, and there is no command `git` here", hint=advice)
    answers = Session(as_json=as_json or session.as_json)
    began_ms = _monotonic_ms()
    with Interruptions() as interruptions, DemoFolder(wanted) as folder:
        tell = _tell_nothing if answers.as_json else _narrator(began_ms)
        commands = CommandLines(folder.path)
        try:
            evidence = _run(folder.path, interruptions, tell)
        except (DemoFailed, SagalogError, RuntimeError) as error:
            with interruptions.admitted():
                _answer_incomplete(answers, str(error), folder, commands)
        with interruptions.admitted():
            report = Report(str(folder.path), _monotonic_ms() - began_ms, check(evidence), evidence.histories)
            answers.answer(report.document, lambda: show(report, commands, full))
            if not answers.as_json:
                show_failed(report, commands)
        folder.keep()
    if report.failed:
        raise click.exceptions.Exit(_FAILED)


def _run(folder: Path, interruptions: Interruptions, tell: Callable[[str], None]) -> Evidence:
    """Run the scenario on a new store; no worker is left when this returns or raises."""
    # As git spells it, since a link may lead to the temporary folder.
    real = folder.resolve()
    url = f"sqlite:///{real / STORE}"
    with (
        _new_store(url) as engine,
        WorkerProcesses(url, real, interruptions) as workers,
        interruptions.admitted(_LIMIT_S),
    ):
        tell(f"The demo makes its store and repository in {folder}")
        return Scenario(engine, real, workers, tell).run()


def _new_store(url: str) -> Engine:
    try:
        return sagalog.open(url, actor="demo")
    except ValueError as error:
        raise click.UsageError(f"--folder: {error}") from error


def _answer_incomplete(answers: Session, reason: str, folder: DemoFolder, commands: CommandLines) -> NoReturn:
    """Say why the demo did not come to its end, and end with 1; there is no evidence to check."""
    document = {"ok": False, "folder": str(folder.path), "missing": [reason]}
    answers.answer(lambda: document, lambda: None)
    if not answers.as_json:
        click.echo(f"error: the demo did not come to its end: {printable(reason)}", err=True)
        click.echo(f"  look in  {folder.path}", err=True)
        click.echo(f"  remove   {commands.removal()}", err=True)
    folder.keep()
    raise click.exceptions.Exit(_FAILED)


def _narrator(began_ms: int) -> Callable[[str], None]:
    """Make a function that prints a line at once, with the seconds since the beginning."""

    def tell(text: str) -> None:
        try:
            show_line(f"{(_monotonic_ms() - began_ms) / 1_000:4.1f} s  {text}")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(f"the narration could not be written: {error}") from error

    return tell


def _tell_nothing(_text: str) -> None:
    return


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
