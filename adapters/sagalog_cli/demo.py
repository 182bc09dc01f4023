"""`sagalog demo`: work on a real git repository by real worker processes, with things going wrong, and the proof of it.

Rule: here are the options and the ends: whatever becomes of the demo, nothing of it is left behind. What happens stands
in `demo_stage`, what must have happened in `demo_checks`.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

import sagalog
from sagalog import Engine, SagalogError, Unavailable
from sagalog_cli.demo_crew import DidNotHappen
from sagalog_cli.demo_report import report, show
from sagalog_cli.demo_repository import is_installed
from sagalog_cli.demo_stage import Stage
from sagalog_cli.session import Session, pass_session
from sagalog_cli.tables import printable, show_line

_TERMINATED: Final = 128 + signal.SIGTERM


@click.command("demo")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FOLDER",
    help="Keep the log, the repository and the worktrees in this folder, which must not exist yet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a story.")
@pass_session
def demo(session: Session, keep: Path | None, as_json: bool) -> None:
    """Kill a worker in the middle of a step, and prove that nothing was lost, done twice or left behind.

    Tasks make branches and worktrees of a fresh git repository and build in them; workers are real processes. One is
    killed in the middle of a step, and another goes on from the steps on record. One task fails, and its worktree and
    branch are gone; one owes an undo that no worker knows, and is quarantined with all that it made; one waits for a
    signal, one for its children. Then git, the log and the disk are asked whether all of this is so.

    Exits with 1 if any of it is not.
    """
    if keep is not None and os.path.lexists(keep):
        raise click.UsageError(f"--keep {keep}: there is something already, and the demo wants a fresh folder")
    if not is_installed():
        advice = "on Debian: apt-get install git"
        raise Unavailable("the demo works on a git repository, and there is no command `git` here", hint=advice)
    answers = Session(as_json=as_json or session.as_json)
    began_ms = _monotonic_ms()
    try:
        with _orderly_end(), _folder(keep) as folder:
            url = f"sqlite:///{folder / 'demo.db'}"
            with _fresh(url) as engine:
                stage = Stage(engine, url, folder, _tell_nothing if answers.as_json else _narrator(began_ms))
                evidence = stage.play()
    except (DidNotHappen, SagalogError, RuntimeError) as error:
        # No evidence came of it, so this is all there is to say.
        missing = [str(error)]
        answers.answer(lambda: {"ok": False, "missing": missing}, lambda: None)
        _fail(missing)
    told = report(evidence, folder=None if keep is None else str(keep), elapsed_ms=_monotonic_ms() - began_ms)
    answers.answer(told.document, lambda: show(told))
    if told.missing:
        _fail(told.missing)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder in which all of it happens: made, and taken away again unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="sagalog-demo-") as folder:
            yield Path(folder).resolve()
    else:
        keep.mkdir(parents=True)
        try:
            yield keep.resolve()
        except click.UsageError:
            # Nothing has been made in it.
            keep.rmdir()
            raise


def _fresh(url: str) -> Engine:
    try:
        return sagalog.open(url, actor="demo")
    except ValueError as error:
        raise click.UsageError(f"--keep: {error}") from error


def _fail(missing: Sequence[str]) -> NoReturn:
    """Say on standard error what did not happen, and end with 1."""
    for sentence in missing:
        click.echo(f"did not happen: {printable(sentence)}", err=True)
    raise click.exceptions.Exit(1)


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Within, SIGTERM is an exception as Ctrl-C is one, so that all is cleaned up on the way out."""

    def terminated(_number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(_TERMINATED)

    handler = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _narrator(began_ms: int) -> Callable[[str], None]:
    """Tells each step with the seconds since the beginning, at once."""

    def tell(text: str) -> None:
        show_line(f"{(_monotonic_ms() - began_ms) / 1_000:5.1f} s  {text}")
        sys.stdout.flush()

    return tell


def _tell_nothing(_text: str) -> None:
    return


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
